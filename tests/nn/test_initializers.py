"""Initialisers of angles: how they draw, and that derivatives do not vanish where they start.

For a circuit of RY, RZ and CX on |0...0> and a word of Z, a mean of squares over angles drawn
independently and symmetrically around zero is a sum over Pauli words with no cross terms: RY
takes Z Z to <cos^2> Z Z + <sin^2> X X. The word that stays one of Z alone gives a lower bound of
the variance of a derivative in an RY on it: <sin^2> <cos^2>^(W - 1), where W counts the RY that it
meets on its way back through the circuit.
"""

from functools import cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import ModelError
from qjax.nn import (
    GaussianAngles,
    IdentityBlockAngles,
    NarrowUniformAngles,
    QuantumFeatureExtractor,
    uniform_angles,
)
from tests.support import oracle

KEY = jax.random.key(0)
NARROW = [GaussianAngles, NarrowUniformAngles]
COSTS = ("local", "global")
SIZES = (2, 4, 6, 8, 10)
STARTS = 400


# --- how they draw --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize(
    ("options", "shape", "variance"),
    [
        ({}, (10, 200, 2), 1 / 20),
        ({"locality": 4}, (10, 200, 3), 1 / 120),
        ({"locality": 2}, (4000,), 1 / 2),
        ({"locality": 2, "rotations": 8}, (50, 80), 1 / 16),
    ],
)
def test_variance(kind, options, shape, variance):
    """One over the qubits of the observable times the rotations of each qubit."""
    theta = kind(**options)(KEY, shape)
    assert theta.shape == shape and theta.dtype == np.float32
    assert abs(theta.mean()) < 0.05 * np.sqrt(variance)
    np.testing.assert_allclose(theta.var(), variance, rtol=0.08)


def test_uniform_stays_within_its_width():
    """sqrt(3) standard deviations; the normal distribution goes further."""
    shape = (10, 200, 2)
    width = np.sqrt(3 / 20)
    assert 0.99 * width < np.abs(NarrowUniformAngles()(KEY, shape)).max() <= width
    assert np.abs(GaussianAngles()(KEY, shape)).max() > 1.5 * width


def test_equal_ones_compare_equal():
    """A layer holds its initialiser, and equal layers share a compiled program."""
    assert GaussianAngles(2) == GaussianAngles(2) != GaussianAngles(3)
    assert GaussianAngles(2) != NarrowUniformAngles(2)
    assert hash(IdentityBlockAngles()) == hash(IdentityBlockAngles())
    graphs = [
        nnx.split(QuantumFeatureExtractor(2, angle_init=GaussianAngles(2), rngs=nnx.Rngs(seed)))[0]
        for seed in (0, 1)
    ]
    assert graphs[0] == graphs[1]


# --- derivatives over random starts ---------------------------------------------------------------


def decay(sizes: Any, values: Any) -> float:
    """Binary orders of magnitude lost per qubit: minus the slope of log2 over n."""
    return -float(np.polyfit(sizes, np.log2(values), 1)[0])


def starts(draw: Any, shape: tuple[int, ...]) -> jax.Array:
    """Angles of many starts, the same in every run of the tests."""
    return draw(KEY, (STARTS, *shape))


def mean_square(cost: Any, theta: Any, place: tuple[int, ...]) -> jax.Array:
    """The mean square over starts of the derivative in one angle, by the exact shift rule."""
    shift = jnp.zeros(theta.shape[1:]).at[place].set(np.pi / 2)
    return jnp.mean(((cost(theta + shift) - cost(theta - shift)) / 2) ** 2, axis=0)


def met_by(word: set[int], num_qubits: int, depth: int) -> list[set[int]]:
    """Qubits with a letter of the word of Z in front of the CX of each layer, first layer first.

    Carried back through CX, Z of the target becomes Z of both; Z of the control stays.
    """
    found = []
    for _ in range(depth):
        for control in reversed(range(num_qubits - 1)):
            word = word ^ {control} if control + 1 in word else word
        found.append(word)
    return found[::-1]


def word_of(kind: str, num_qubits: int) -> set[int]:
    """A local cost, Z of the first qubit, and a global one, Z of all of them."""
    return {0} if kind == "local" else set(range(num_qubits))


@cache
def variances(num_qubits: int) -> dict[tuple[str, str], float]:
    """Of the derivative in an RY in the middle of the circuit, by cost and initialiser."""
    shape = (num_qubits, num_qubits, 2)  # as deep as wide
    observables = [reduce(lambda a, b: a @ b, map(qj.Z, word_of(k, num_qubits))) for k in COSTS]
    cost = jax.jit(lambda theta: qj.expectation(qj.hardware_efficient(theta), observables))
    found = {}
    for column, kind in enumerate(COSTS):
        word = word_of(kind, num_qubits)
        middle = num_qubits // 2
        place = (middle, min(met_by(word, num_qubits, num_qubits)[middle]), 0)
        narrow = [draw(locality=len(word), rotations=2 * num_qubits) for draw in NARROW]
        draws = [uniform_angles, *narrow]
        for name, draw in zip(("uniform", "Gaussian", "narrow uniform"), draws, strict=True):
            squares = mean_square(cost, starts(draw, shape), place)
            found[kind, name] = float(squares[column])
    return found


@pytest.mark.parametrize(("kind", "least"), [("local", 0.55), ("global", 0.95)])
def test_uniform_angles_start_on_a_plateau(kind, least):
    """The variance loses a constant factor with each qubit."""
    values = [variances(n)[kind, "uniform"] for n in SIZES]
    assert decay(SIZES, values) > least
    assert values[-1] < {"local": 1e-2, "global": 1e-3}[kind]


def mean_squared_cosine(name: str, variance: float) -> float:
    """<cos^2> over the distribution, in closed form."""
    if name == "Gaussian":
        return (1 + np.exp(-2 * variance)) / 2
    width = np.sqrt(3 * variance)
    return (1 + np.sin(2 * width) / (2 * width)) / 2


@pytest.mark.parametrize("kind", COSTS)
@pytest.mark.parametrize("name", ["Gaussian", "narrow uniform"])
def test_narrow_angles_start_outside(name, kind):
    """The variance stays above its bound, which is a power of the number of qubits."""
    for n in SIZES:
        word = word_of(kind, n)
        variance = 1 / (len(word) * 2 * n)
        cos2 = mean_squared_cosine(name, variance)
        bound = (1 - cos2) * cos2 ** (sum(map(len, met_by(word, n, n))) - 1)
        assert bound >= variance / 2
        assert variances(n)[kind, name] > 0.9 * bound  # a mean of 400 samples
    last = variances(SIZES[-1])
    assert last[kind, name] > 5 * last[kind, "uniform"]


# --- blocks that are the identity -----------------------------------------------------------------


def blocks(theta: Any, ansatz: Any = qj.hardware_efficient) -> qj.Circuit:
    """Halves joined to inverses of halves; theta is (..., blocks, 2, depth, n, angles)."""
    circuit = qj.Circuit(theta.shape[-2])
    for block in range(theta.shape[-5]):
        first, second = (theta[..., block, half, :, :, :] for half in (0, 1))
        circuit += ansatz(first) + ansatz(second).inverse()
    return circuit


ANSATZE = {
    "linear": (qj.hardware_efficient, 2),
    "circular": (lambda theta: qj.hardware_efficient(theta, "circular"), 2),
    "strongly entangling": (qj.strongly_entangling, 3),
}


@pytest.mark.parametrize("name", ANSATZE)
def test_identity_blocks_are_the_identity(name, x64):
    """By the oracle, gate by gate; not so for angles that differ in the halves."""
    ansatz, per_qubit = ANSATZE[name]
    shape = (2, 2, 2, 3, per_qubit)
    theta = np.asarray(IdentityBlockAngles()(KEY, shape))
    assert theta.shape == shape and np.abs(theta).max() > 2
    np.testing.assert_array_equal(theta[:, 0], theta[:, 1])
    assert np.abs(theta[0] - theta[1]).max() > 0.1
    for angles, same in ((theta, True), (np.asarray(uniform_angles(KEY, shape)), False)):
        found = oracle.unitary(3, oracle.from_circuit(blocks(angles, ansatz)))
        assert np.allclose(found, np.eye(8), atol=1e-12) == same


def test_gradient_of_identity_blocks_does_not_vanish():
    """<X_0> in the first RY of qubit 0 in a block in the middle: 1, as if it stood alone.

    With uniform angles in all halves the same derivative decays with the number of qubits.
    """
    cost = jax.jit(lambda theta: qj.expectation(blocks(theta), qj.X(0)))
    uniform, sizes = [], (2, 6)
    for n in sizes:
        shape, place = (n // 2, 2, 2, n, 2), (n // 4, 0, 0, 0, 0)
        at_identity = mean_square(cost, starts(IdentityBlockAngles(), shape), place)
        np.testing.assert_allclose(at_identity, 1, atol=1e-5)
        uniform.append(float(mean_square(cost, starts(uniform_angles, shape), place)))
    assert decay(sizes, uniform) > 0.6


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"locality": 0}, "`locality` must be at least 1, but is 0"),
        ({"locality": 1.5}, "`locality` must be an integer, but is 1.5"),
        ({"rotations": 0}, "`rotations` must be at least 1, but is 0"),
    ],
)
def test_bad_arguments(kind, options, text):
    """Refused when the initialiser is built."""
    with pytest.raises(ModelError, match=text):
        kind(**options)


@pytest.mark.parametrize("kind", NARROW)
def test_shapes_that_do_not_tell_the_rotations(kind):
    """Such as those of a convolution, whose angles are shared."""
    with pytest.raises(
        ModelError, match=r"`rotations` must be given for angles of shape \(2, 15\)"
    ):
        kind()(KEY, (2, 15))


@pytest.mark.parametrize("shape", [(2, 3, 2), (3, 1, 3, 2), ()])
def test_shapes_without_halves(shape):
    """There must be two halves."""
    with pytest.raises(ModelError, match=r"`shape` must be \(..., 2, depth, .* but is \("):
        IdentityBlockAngles()(KEY, shape)
