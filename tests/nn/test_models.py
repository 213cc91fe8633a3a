"""The ready-made models: what they compute, and which of their angles can learn."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from qjax.errors import ModelError
from qjax.nn import Angle, DecodingLayer, EncodingLayer, QuantumFeatureExtractor, models
from tests.nn.checks import (
    FULL,
    as_function,
    checked_jacobians,
    finite_differences,
    largest_slopes,
    layered,
    log_scores,
    prepared,
    rotations,
)
from tests.support import oracle
from tests.support.oracle import Op

KEPT = {196: (0, 2, 4, 6), 64: (0, 1, 2, 4)}
QUBITS = {196: 8, 64: 6}


def quantum_first(num_features: int, seed: int = 0) -> Any:
    """The design's model for ten classes."""
    return models.create(
        "quantum-first", num_features=num_features, num_classes=10, rngs=nnx.Rngs(seed)
    )


def image(num_features: int, seed: int) -> np.ndarray:
    """Pixels between 0 and 1."""
    return np.random.default_rng(seed).random(num_features)


def angles_of(model: nnx.Module) -> list[np.ndarray]:
    """The arrays of angles, first layer first."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, Angle))]


def evolve(num_qubits: int, ops: Sequence[Op]) -> np.ndarray:
    """The ket after the oracle's gates, by contractions: Kronecker products are large."""
    ket = np.eye(2**num_qubits, dtype=complex)[0].reshape((2,) * num_qubits)
    for op in ops:
        k = len(op.qubits)
        matrix = oracle.kraus_of(op)[0].reshape((2,) * (2 * k))
        ket = np.tensordot(matrix, ket, (range(k, 2 * k), op.qubits))
        ket = np.moveaxis(ket, range(k), op.qubits)
    return ket.ravel()


def test_evolve_equals_kronecker_products():
    """Where these are small."""
    theta = np.random.default_rng(0).normal(size=(2, 2, 2))
    ops = [*prepared([0.1, 0.9, 0.4], 3), *layered(theta, [(1, 0)], (2, 0))]
    np.testing.assert_allclose(evolve(3, ops), oracle.statevector(3, ops), atol=1e-14)


@pytest.mark.parametrize("num_features", [196, 64])
def test_quantum_first_equals_oracle(num_features, x64):
    """Encode, extract, drop qubits, extract, read out: gate by gate, on the whole register."""
    model, n, kept = quantum_first(num_features), QUBITS[num_features], KEPT[num_features]
    x = image(num_features, 0)
    first, second, last = angles_of(model)
    assert (first.shape, second.shape, last.shape) == ((4, n, 2), (3, 4, 2), (4,))
    ops = [*prepared(x, n), *layered(first, FULL[n]), *layered(second, FULL[4], kept)]
    ket = evolve(n, [*ops, *rotations(last, kept)])
    expected = log_scores(oracle.probabilities(ket, kept), 10)
    np.testing.assert_allclose(jax.jit(model)(x), expected, atol=1e-10)


@cache
def compiled():
    """Scores of the Fashion-MNIST model and their Jacobians in angles and pixels, and angles."""
    run, leaves = as_function(quantum_first(196))
    return jax.jit(run), jax.jit(jax.jacrev(run, argnums=(0, 1))), leaves


def test_quantum_first_gradients_equal_finite_differences(x64):
    """Ten scores in all 92 angles, and in the pixels along four directions."""
    value, jacobian, leaves = compiled()
    x = image(196, 0)
    in_leaves, in_x = jacobian(leaves, x)
    flat, unflatten = ravel_pytree(leaves)
    found = np.concatenate([np.reshape(j, (10, -1)) for j in in_leaves], axis=1)
    assert found.shape == (10, 92)
    expected = finite_differences(lambda v: value(unflatten(jnp.asarray(v)), x), flat)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    ways = np.random.default_rng(1).normal(size=(4, 196))
    expected = finite_differences(lambda v: value(leaves, x + v @ ways), np.zeros(4))
    np.testing.assert_allclose(in_x @ ways.T, expected, atol=1e-6)


DEAD_ANGLES: list[tuple[int, ...]] = []


def test_quantum_first_has_no_dead_angles(x64):
    """The list of angles whose gradient is provably zero is empty.

    An angle is dead if what its gate generates, carried through all later gates, commutes with
    every score. The candidates, and why each is alive:

    - RZ before the first entangler: the encoded state is real but not a basis state.
    - Gates of the first extractor's last layer on qubits 1, 3, 5, 7, which are dropped: the CX
      after them reach the kept ones (`test_last_layer_reaches_kept_qubits`).
    - RZ of the second extractor's last layer, before a reading in the computational basis: the
      RY of the readout lies between.
    - RY of the readout: all ten outcomes together see every qubit.
    """
    _, jacobian, leaves = compiled()
    largest = [np.zeros(np.shape(leaf)) for leaf in leaves]
    for seed in range(3):
        in_leaves, _ = jacobian(angles_of(quantum_first(196, seed)), image(196, seed))
        slopes = [largest_slopes(np.asarray(j), 10) for j in in_leaves]
        largest = [np.maximum(a, b) for a, b in zip(largest, slopes, strict=True)]
    flat = np.concatenate([np.ravel(a) for a in largest])
    assert [tuple(i) for i in np.argwhere(flat < 1e-10)] == DEAD_ANGLES
    assert np.count_nonzero(flat > 1e-6) == 92 - len(DEAD_ANGLES)


def carried(xs: set[int], zs: set[int], pairs) -> tuple[set[int], set[int]]:
    """A Pauli word, X on some qubits and Z on some, conjugated by CX one after another."""
    for control, target in pairs:
        xs = xs ^ {target} if control in xs else xs
        zs = zs ^ {control} if target in zs else zs
    return xs, zs


@pytest.mark.parametrize("num_features", [196, 64])
def test_last_layer_reaches_kept_qubits(num_features):
    """What RZ and RY of every qubit generate acts on a kept qubit after the CX of the layer.

    CX on all pairs, in order, take Z_q to Z_0 ... Z_q and X_q to X_q X_(q+1), so that both Z_q
    and Y_q come out with a letter on qubit 0, which is kept.
    """
    n, kept = QUBITS[num_features], set(KEPT[num_features])
    for q in range(n):
        _, zs = carried(set(), {q}, FULL[n])
        xs, _ = carried({q}, set(), FULL[n])
        assert zs == set(range(q + 1)) and xs == {q, q + 1} - {n}
        assert zs & kept and carried({q}, {q}, FULL[n])[1] & kept


@pytest.mark.parametrize(
    ("num_features", "num_classes", "qubits", "kept"),
    [(196, 10, 8, (0, 2, 4, 6)), (64, 10, 6, (0, 1, 2, 4)), (1, 1, 2, (0,)), (4, 4, 2, (0, 1))],
)
def test_quantum_first_shape(num_features, num_classes, qubits, kept):
    """Enough amplitudes for the features; every second qubit, or enough for the classes."""
    model: Any = nnx.eval_shape(
        lambda: models.quantum_first(
            num_features=num_features, num_classes=num_classes, rngs=nnx.Rngs(0)
        )
    )
    layers: list[Any] = list(model.layers)
    first, pooling, second, readout = layers
    assert first.num_qubits == pooling.num_qubits == qubits
    assert pooling.kept_qubits == kept
    assert second.num_qubits == readout.num_qubits == len(kept)
    assert (first.depth, second.depth, readout.num_classes) == (4, 3, num_classes)


VECTORS = sorted(set(models.MODELS) - {"quantum-conv"})  # which takes images: see test_conv.py


@pytest.mark.parametrize("name", VECTORS)
def test_small_model(name, x64):
    """Every model: right gradients, no dead parameter, inputs as rays where they are amplitudes."""
    model: Any = models.create(name, num_features=3, num_classes=3, rngs=nnx.Rngs(0))
    x = np.array([0.3, -0.8, 0.4])
    in_leaves, in_x = checked_jacobians(model, x)
    for leaf in in_leaves:
        assert np.all(largest_slopes(leaf, 3) > 1e-6)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-6)
    batch = jax.jit(model)(np.stack([x, 2 * x, -x]))
    by_angles = name == "reuploading"
    assert np.allclose(batch, batch[0], atol=1e-12) == (not by_angles)  # amplitudes: rays


def test_quantum_first_scores_are_log_probabilities():
    """Their exponentials sum to one."""
    model: Any = models.create("quantum-first", num_features=4, num_classes=3, rngs=nnx.Rngs(0))
    scores = model(np.random.default_rng(0).normal(size=(5, 4)))
    assert scores.shape == (5, 3) and scores.dtype == np.float32
    np.testing.assert_allclose(np.exp(scores).sum(axis=-1), np.ones(5), rtol=1e-5)


def test_quantum_features_is_a_small_linear_readout_of_quantum_features():
    """The three layers, and how many parameters each has."""
    model: Any = nnx.eval_shape(
        lambda: models.quantum_features(num_features=64, num_classes=10, rngs=nnx.Rngs(0))
    )
    encoding, extractor, decoding = model.layers
    assert isinstance(encoding, EncodingLayer) and encoding.target_dim == 64
    assert isinstance(extractor, QuantumFeatureExtractor) and isinstance(decoding, DecodingLayer)
    assert extractor.theta.shape == (10, 6, 2) and decoding.kernel.shape == (18, 10)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_rebuilds_from_name_and_numbers(name):
    """The same structure, and the same parameters from the same seed."""
    built = [
        nnx.split(models.create(name, num_features=9, num_classes=3, rngs=nnx.Rngs(seed)))
        for seed in (0, 0, 1)
    ]
    assert built[0][0] == built[1][0] == built[2][0]
    first, again, other = (jax.tree.leaves(state) for _, state in built)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_names():
    """The design's model is there, and the default is one of them."""
    names = {
        "qcnn",
        "quantum-conv",
        "quantum-features",
        "quantum-first",
        "reuploading",
        "tree-tensor",
    }
    assert set(models.MODELS) == names
    assert models.DEFAULT in models.MODELS


BAD_ARGUMENTS = [
    ("resnet", 4, 2, r"`name` must be one of 'quantum-features', .*, but is 'resnet'"),
    ("quantum-first", 4, 5, "`num_classes` must be at most 4, the number of outcomes of 2 qubits"),
    ("quantum-first", 4, 0, "`num_classes` must be at least 1, but is 0"),
    ("quantum-features", 4, 0, "`num_classes` must be at least 1, but is 0"),
    ("quantum-first", 0, 2, "`num_features` must be at least 1, but is 0"),
    ("quantum-features", 3.5, 2, "`num_features` must be an integer, but is 3.5"),
    (["quantum-first"], 4, 2, "`name` must be one of 'quantum-features', .*, but is "),
]


@pytest.mark.parametrize(("name", "num_features", "num_classes", "text"), BAD_ARGUMENTS)
def test_bad_arguments(name, num_features, num_classes, text):
    """Unknown names, and classes that do not fit the qubits."""
    with pytest.raises(ModelError, match=text):
        models.create(name, num_features=num_features, num_classes=num_classes, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", VECTORS)
def test_inputs_that_do_not_fit(name):
    """Too many features for the amplitudes."""
    model: Any = models.create(name, num_features=4, num_classes=2, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="`x` must have (between 1 and )?4 features"):
        model(np.ones((2, 5)))
