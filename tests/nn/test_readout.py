"""QuantumReadout: renormalised probabilities as logarithms, or expectation values as logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import ModelError
from qjax.nn import QuantumPooling, QuantumReadout, QuantumSequential
from tests.nn.checks import (
    checked_jacobians,
    iqp,
    largest_slopes,
    log_scores,
    prepared,
    readings,
    rotations,
)
from tests.support import oracle

X = np.array([0.4, -0.9])


def still(_, shape):
    """Angles that leave the state alone."""
    return jnp.zeros(shape)


@pytest.mark.parametrize("num_classes", [1, 3, 4])
def test_computational(num_classes, x64):
    """Outcome c scores class c; the rest is dropped and the kept ones sum to one again."""
    readout = QuantumReadout(2, num_classes, encoding="iqp", rngs=nnx.Rngs(0))
    ket = oracle.statevector(2, [*iqp(X), *rotations(readout.theta[...])])
    scores = readout(X)
    np.testing.assert_allclose(
        scores, log_scores(oracle.probabilities(ket), num_classes), atol=1e-12
    )
    np.testing.assert_allclose(np.exp(scores).sum(), 1, atol=1e-14)


def test_expectation(x64):
    """The first readings, basis-major, of the first basis before the second."""
    readout = QuantumReadout(
        2, 3, "expectation", measurement_bases=("X", "Z"), encoding="amplitude", rngs=nnx.Rngs(0)
    )
    x = np.array([0.5, -0.1, 0.7])
    ket = oracle.statevector(2, [*prepared(x, 2), *rotations(readout.theta[...])])
    np.testing.assert_allclose(readout(x), readings(ket, "XZ")[:3], atol=1e-12)


def test_one_qubit_closed_form(x64):
    """Angles of the input and the layer add: log cos^2 and log sin^2 of half of them."""
    readout = QuantumReadout(1, 2, rngs=nnx.Rngs(1))
    half = (0.3 + readout.theta[...][0]) / 2
    expected = [np.log(np.cos(half) ** 2), np.log(np.sin(half) ** 2)]
    np.testing.assert_allclose(readout(np.array([0.3])), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["computational", "expectation"])
def test_by_an_executor(kind, x64):
    """The scores from expectation values alone: of all products of Z, or of single letters."""
    asked = []

    def executor(circuit, observables):
        asked.append(len(observables))
        return qj.expectation(circuit, observables)

    options = {"kind": kind, "encoding": "iqp"}
    exact = QuantumReadout(3, 5, rngs=nnx.Rngs(0), **options)
    other = QuantumReadout(3, 5, executor=executor, rngs=nnx.Rngs(0), **options)
    x = np.array([[0.4, -0.9, 0.3], [1.0, 0.2, 0.1]])
    np.testing.assert_allclose(other(x), exact(x), atol=1e-12)
    assert asked == [8 if kind == "computational" else 9]


def test_by_an_executor_in_another_order_of_qubits(x64):
    """In a stack the readout's qubits may lie anywhere."""
    rngs = nnx.Rngs(0)
    pooling = QuantumPooling(3, keep=(2, 0), encoding="iqp")
    exact = QuantumReadout(2, 4, rngs=rngs)
    other = QuantumReadout(2, 4, executor=qj.expectation, rngs=rngs)
    other.theta[...] = exact.theta[...]
    x = np.array([0.4, -0.9, 0.3])
    found, expected = (QuantumSequential(pooling, last)(x) for last in (other, exact))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["computational", "expectation"])
def test_gradients(kind, x64):
    """In all angles and inputs."""
    readout = QuantumReadout(2, 3, kind, encoding="iqp", rngs=nnx.Rngs(2))
    (in_theta,), in_x = checked_jacobians(readout, X)
    assert np.all(largest_slopes(in_theta, 3) > 1e-3)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def test_one_class_has_nothing_to_learn(x64):
    """Its logarithm is log 1 whatever the angles: all gradients vanish."""
    (in_theta,), in_x = checked_jacobians(QuantumReadout(2, 1, rngs=nnx.Rngs(0)), X)
    np.testing.assert_allclose(in_theta, 0, atol=1e-14)
    np.testing.assert_allclose(in_x, 0, atol=1e-14)


@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
def test_outcomes_of_probability_zero(wide):
    """A finite score, the logarithm of the machine epsilon, and finite gradients."""
    with jax.enable_x64(wide):
        eps = jnp.finfo(jnp.zeros(()).dtype).eps
        readout = QuantumReadout(2, 3, angle_init=still, rngs=nnx.Rngs(0))
        found, slopes = jax.jit(lambda x: (readout(x), jax.jacrev(readout)(x)))(jnp.zeros(2))
        expected = [0, np.log(eps), np.log(eps)]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(np.exp(found).sum(), 1, atol=1e-6)
        assert np.isfinite(slopes).all()


def test_all_classes_of_probability_zero(x64):
    """Where no outcome stands for a class, all classes score alike, with finite gradients."""
    readout = QuantumReadout(2, 2, angle_init=still, rngs=nnx.Rngs(0))
    found, slopes = jax.jit(lambda x: (readout(x), jax.jacrev(readout)(x)))(jnp.array([jnp.pi, 0]))
    np.testing.assert_allclose(found, np.log([0.5, 0.5]), atol=1e-6)
    assert np.isfinite(slopes).all()


BAD_ARGUMENTS = [
    ((0, 2), {}, "`num_qubits` must be between 1 and 40, but is 0"),
    ((2, 0), {}, "`num_classes` must be at least 1, but is 0"),
    ((2, 2.5), {}, "`num_classes` must be an integer, but is 2.5"),
    ((2, 5), {}, "`num_classes` must be at most 4, the number of outcomes of 2 qubits, but is 5"),
    ((2, 7, "expectation"), {}, "at most 6, the number of expectation values of 2 qubits"),
    (
        (2, 3, "expectation"),
        {"measurement_bases": ("Z",)},
        "`num_classes` must be at most 2, .*, but is 3. Use more qubits",
    ),
    ((2, 2, "argmax"), {}, "`kind` must be one of 'computational', 'expectation', but is 'argmax'"),
    ((2, 2), {"measurement_bases": ("z",)}, "must hold distinct letters of 'X', 'Y', 'Z'"),
    ((2, 2), {"encoding": None}, "`encoding` must be one of .*, but is None"),
]


@pytest.mark.parametrize(("args", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(args, options, text):
    """Each is refused when the layer is built."""
    with pytest.raises(ModelError, match=text):
        QuantumReadout(*args, rngs=nnx.Rngs(0), **options)


def test_inputs_that_do_not_fit():
    """One angle per qubit, unless another encoding is chosen."""
    with pytest.raises(ModelError, match="`x` must have 2 features, one per qubit, for angle"):
        QuantumReadout(2, 2, rngs=nnx.Rngs(0))(np.ones((5, 3)))
