"""The QCNN against its circuit by hand; which angles can learn; and that it learns."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.data import load_digits, mean_pool
from qjax.errors import ModelError
from qjax.nn import Angle, GaussianAngles
from qjax.nn.models import qcnn
from qjax.train import Batch, Learner, evaluate
from tests.library.test_tensor_network import block
from tests.nn.checks import checked_jacobians, largest_slopes, log_scores, prepared, rotations
from tests.support import oracle
from tests.support.oracle import Op


def build(num_features: int, num_classes: int, seed: int = 0, **options: Any) -> Any:
    """A model, the same for the same seed."""
    return qcnn(num_features=num_features, num_classes=num_classes, rngs=nnx.Rngs(seed), **options)


def angles_of(model: nnx.Module) -> list[np.ndarray]:
    """The arrays of angles, first layer first."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, Angle))]


def convolution(theta: Any, pairs: Any) -> list[Op]:
    """The block of each layer on all pairs, in order."""
    return [op for layer in theta for pair in pairs for op in block(pair, layer)]


def pooling(theta: Any, pairs: Any) -> list[Op]:
    """A rotation of the kept qubit about Z if the dropped one is 1, about X if it is 0."""
    ((a, b),) = theta
    return [
        op
        for kept, dropped in pairs
        for op in (
            Op("CRZ", (dropped, kept), (float(a),)),
            Op("X", (dropped,)),
            Op("CRX", (dropped, kept), (float(b),)),
        )
    ]


RING = [(0, 1), (2, 3), (1, 2), (3, 0)]


@pytest.mark.parametrize("depth", [1, 2])
def test_equals_oracle(depth, x64):
    """Four qubits, two of them pooled, one left: gate by gate on the whole register."""
    model = build(16, 2, depth=depth)
    x = np.random.default_rng(0).random(16)
    first, drop, second, drop_again, last = angles_of(model)
    assert first.shape == second.shape == (depth, 15) and drop.shape == (1, 2)
    ops = [
        *prepared(x, 4),
        *convolution(first, RING),
        *pooling(drop, [(0, 1), (2, 3)]),
        *convolution(second, [(0, 2)]),
        *pooling(drop_again, [(0, 2)]),
        *rotations(last, (0,)),
    ]
    chances = oracle.probabilities(oracle.statevector(4, ops), (0,))
    np.testing.assert_allclose(jax.jit(model)(x), log_scores(chances, 2), atol=1e-10)


def test_more_classes_end_in_a_convolution(x64):
    """Three classes leave two qubits, which meet once more before they are read."""
    model = build(3, 3)
    x = np.array([0.3, -0.8, 0.4])
    first, drop, second, last = angles_of(model)
    ops = [
        *prepared(x, 4),
        *convolution(first, RING),
        *pooling(drop, [(0, 1), (2, 3)]),
        *convolution(second, [(0, 2)]),
        *rotations(last, (0, 2)),
    ]
    chances = oracle.probabilities(oracle.statevector(4, ops), (0, 2))
    np.testing.assert_allclose(model(x), log_scores(chances, 3), atol=1e-10)


def test_gradients(x64):
    """Equal finite differences, in all angles and inputs; no angle of this model is dead."""
    in_leaves, in_x = checked_jacobians(build(4, 3), np.array([0.3, -0.8, 0.4, 0.2]))
    for leaf in in_leaves:
        assert np.all(largest_slopes(leaf, 3) > 1e-6)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-6)


def test_the_one_dead_angle(x64):
    """The last RZ of the qubit dropped from a pair: it is diagonal, and controls what follows.

    In a larger convolution the same angle turns kept qubits as well.
    """
    in_leaves, _ = checked_jacobians(build(4, 2), np.array([0.3, -0.8, 0.4, 0.2]))
    first, drop, last = (largest_slopes(leaf, 2) for leaf in in_leaves)
    assert [tuple(i) for i in np.argwhere(first < 1e-10)] == [(0, 14)]
    assert np.all(drop > 1e-6) and np.all(last > 1e-6)


@pytest.mark.parametrize(
    ("num_features", "num_classes", "options", "sizes"),
    [
        (196, 10, {}, [8, 8, 4, 4]),
        (64, 10, {}, [8, 8, 4, 4]),
        (64, 2, {}, [6, 6, 3, 3, 1]),
        (784, 2, {}, [10, 10, 5, 5, 1]),
        (784, 10, {}, [10, 10, 5, 5]),
        (16, 2, {}, [4, 4, 2, 2, 1]),
        (1, 1, {}, [2, 2, 1]),
        (8, 2, {"encoding": "angle"}, [8, 8, 4, 4, 2, 2, 1]),
        (7, 4, {"encoding": "iqp"}, [7, 7]),
    ],
)
def test_shape(num_features, num_classes, options, sizes):
    """Qubits of each layer; a convolution before each pooling and before a readout of several."""
    model: Any = nnx.eval_shape(lambda: build(num_features, num_classes, **options))
    layers = list(model.layers)
    assert [layer.num_qubits for layer in layers] == sizes
    assert layers[-1].num_classes == num_classes
    numbers = [layer.theta.shape[-1] for layer in layers[:-1]]
    assert numbers == [15 if i % 2 == 0 else 2 for i in range(len(numbers))]


def test_options():
    """Encoding, depth and initialiser reach the layers."""
    start = GaussianAngles(rotations=12)
    model = build(4, 2, encoding="angle", depth=3, angle_init=start)
    assert model.layers[0].encoding == "angle" and model.layers[0].theta.shape == (3, 15)
    assert all(layer.angle_init == start for layer in model.layers)
    assert all(np.abs(theta).max() < 1.2 for theta in angles_of(model))


def test_same_structure_from_the_same_numbers():
    """So that equal models share a compiled program."""
    graphs = [nnx.split(build(16, 2, seed))[0] for seed in (0, 1)]
    assert graphs[0] == graphs[1]


def accuracy_on_digits(model: nnx.Module, classes: tuple[int, ...], steps: int) -> float:
    """Share of test images of digits, pooled to 4 x 4, that a model gets right once trained."""
    data = load_digits()
    parts = []
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        chosen = np.isin(y, classes)
        images = mean_pool(x[chosen].reshape(-1, 8, 8)).reshape(-1, 16)
        parts.append((images, np.searchsorted(classes, y[chosen]).astype(np.int32)))
    (x, y), test = parts
    learner = Learner(model, optax.adam(0.1))
    state = learner.start()
    for _ in range(steps):
        state, _ = learner.step(
            state, learner.trainable(), Batch(x, y, np.ones(len(x), np.float32), len(x))
        )
    return evaluate(learner, state, *test).accuracy


def test_learns_digits():
    """Three against eight, where a guess is right for one in two."""
    assert accuracy_on_digits(build(16, 2), (3, 8), steps=40) > 0.9


BAD_ARGUMENTS = [
    ((0, 2), {}, "`num_features` must be at least 1, but is 0"),
    ((4, 0), {}, "`num_classes` must be at least 1, but is 0"),
    ((4, 2.5), {}, "`num_classes` must be an integer, but is 2.5"),
    ((4, 2), {"depth": 0}, "`depth` must be at least 1, but is 0"),
    ((4, 2), {"encoding": "basis"}, "`encoding` must be one of 'amplitude', .*, but is 'basis'"),
    ((1, 2), {"encoding": "angle"}, "`num_features` must be at least 2 for angle encoding"),
    ((2, 5), {"encoding": "iqp"}, "`num_classes` must be at most 4, the number of outcomes of 2"),
]


@pytest.mark.parametrize(("numbers", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(numbers, options, text):
    """Each is refused when the model is built."""
    with pytest.raises(ModelError, match=text):
        build(*numbers, **options)
