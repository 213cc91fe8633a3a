"""The tree tensor network classifier against its circuit by hand, and that it learns."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import Angle, GaussianAngles
from qjax.nn.models import tree_tensor
from tests.library.test_tensor_network import tree
from tests.nn.checks import (
    checked_jacobians,
    iqp,
    largest_slopes,
    log_scores,
    prepared,
    rotations,
)
from tests.nn.test_qcnn import accuracy_on_digits
from tests.support import oracle

IMAGE = np.random.default_rng(0).random(16)


def build(num_features: int, num_classes: int, seed: int = 0, **options: Any) -> Any:
    """A model, the same for the same seed."""
    return tree_tensor(
        num_features=num_features, num_classes=num_classes, rngs=nnx.Rngs(seed), **options
    )


@pytest.mark.parametrize(
    ("num_classes", "read", "options", "encoding"),
    [
        (2, (0,), {}, prepared(IMAGE, 4)),
        (3, (0, 2), {}, prepared(IMAGE, 4)),
        (5, (0, 2, 3), {}, prepared(IMAGE, 4)),
        (10, (0, 1, 2, 3), {}, prepared(IMAGE, 4)),
        (2, (0,), {"encoding": "angle"}, rotations(IMAGE[:4])),
        (3, (0, 2), {"encoding": "iqp"}, iqp(IMAGE[:4])),
    ],
)
def test_equals_oracle(num_classes, read, options, encoding, x64):
    """Encode, the tree, the qubits that were dropped last: gate by gate."""
    x = IMAGE[:4] if options else IMAGE
    model = build(len(x), num_classes, **options)
    theta, last = (np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, Angle)))
    assert theta.shape == (3, 9)
    ket = oracle.statevector(4, [*encoding, *tree(theta, 4), *rotations(last, read)])
    chances = oracle.probabilities(ket, read)
    np.testing.assert_allclose(jax.jit(model)(x), log_scores(chances, num_classes), atol=1e-10)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("encoding", ["amplitude", "iqp"])
def test_gradients(num_classes, encoding, x64):
    """Equal finite differences, in all angles and inputs; no angle is dead."""
    num_features = 5 if encoding == "amplitude" else 3
    model = build(num_features, num_classes, encoding=encoding)
    x = np.array([0.3, -0.8, 0.4, 0.7, 0.2])[:num_features]
    in_leaves, in_x = checked_jacobians(model, x)
    for leaf in in_leaves:
        assert np.all(largest_slopes(leaf, num_classes) > 1e-6)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-6)


@pytest.mark.parametrize(
    ("num_features", "num_classes", "options", "num_qubits", "read"),
    [
        (196, 10, {}, 8, (0, 2, 4, 6)),
        (64, 10, {}, 6, (0, 2, 4, 5)),
        (64, 2, {}, 6, (0,)),
        (784, 2, {}, 10, (0,)),
        (3, 3, {}, 2, (0, 1)),
        (1, 1, {}, 2, (0,)),
        (2, 9, {}, 4, (0, 1, 2, 3)),
        (7, 4, {"encoding": "angle"}, 7, (0, 4)),
    ],
)
def test_shape(num_features, num_classes, options, num_qubits, read):
    """Qubits for features and classes, and the last ones of the tree."""
    model: Any = nnx.eval_shape(lambda: build(num_features, num_classes, **options))
    whole, pooling, readout = model.layers
    assert whole.num_qubits == pooling.num_qubits == num_qubits
    assert whole.theta.shape == (num_qubits - 1, 9)
    assert pooling.kept_qubits == read
    assert (readout.num_qubits, readout.num_classes) == (len(read), num_classes)


def test_initialiser():
    """It reaches every layer."""
    start = GaussianAngles(rotations=1000)
    model = build(4, 2, angle_init=start)
    assert all(np.abs(leaf).max() < 0.2 for leaf in jax.tree.leaves(nnx.state(model, Angle)))
    assert model.layers[0].angle_init == model.layers[2].angle_init == start


def test_same_structure_from_the_same_numbers():
    """So that equal models share a compiled program."""
    graphs = [nnx.split(build(16, 2, seed))[0] for seed in (0, 1)]
    assert graphs[0] == graphs[1]


def test_learns_digits():
    """Zero, one and two, where a guess is right for one in three."""
    assert accuracy_on_digits(build(16, 3), (0, 1, 2), steps=40) > 0.8


BAD_ARGUMENTS = [
    ((0, 2), {}, "`num_features` must be at least 1, but is 0"),
    ((4, 0), {}, "`num_classes` must be at least 1, but is 0"),
    ((3.5, 2), {}, "`num_features` must be an integer, but is 3.5"),
    ((4, 2), {"encoding": "basis"}, "`encoding` must be one of 'amplitude', .*, but is 'basis'"),
    (
        (2, 5),
        {"encoding": "iqp"},
        "`num_features` must be at least 3 for 5 classes and iqp encoding, .*, but is 2",
    ),
    ((1, 2), {"encoding": "angle"}, "`num_features` must be at least 2 for 2 classes and angle"),
]


@pytest.mark.parametrize(("numbers", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(numbers, options, text):
    """Each is refused when the model is built."""
    with pytest.raises(ModelError, match=text):
        build(*numbers, **options)
