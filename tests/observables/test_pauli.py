"""Pauli sums against dense matrices."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import qjax as qj
from qjax.errors import ObservableError
from tests.support import oracle
from tests.support.strategies import as_observable, pauli_terms, random_density_matrix

pytestmark = pytest.mark.usefixtures("x64")

SIZES = 3


@pytest.mark.parametrize("word", ["X", "Y", "Z", "I", "XZ", "YIX", "ZZZ", "III"])
def test_words(word):
    """Each letter on its own qubit, qubit 0 leftmost."""
    found = qj.PauliSum.from_strings({word: 1.0}).matrix(len(word))
    np.testing.assert_allclose(found, oracle.word_matrix(word), atol=1e-15)


def test_expression_of_gates():
    """0.5 Z0 Z1 + X0, written as in the text books."""
    found = (0.5 * qj.Z(0) @ qj.Z(1) + qj.X(0)).matrix(2)
    np.testing.assert_allclose(found, oracle.sum_matrix({"ZZ": 0.5, "XI": 1.0}), atol=1e-15)


@pytest.mark.parametrize(
    ("build", "terms"),
    [
        (lambda: qj.X(0) - qj.Y(1), {"XI": 1, "IY": -1}),
        (lambda: -qj.X(0) + qj.X(1) / 2, {"XI": -1, "IX": 0.5}),
        (lambda: 2 * (qj.X(0) + qj.Z(1)) @ qj.Y(1), {"XY": 2, "IX": -2j}),
        (lambda: qj.X(0) @ qj.Y(0), {"ZI": 1j}),
        (lambda: qj.X(1) @ qj.X(1), {"II": 1}),
        (lambda: qj.I(0) + 3.0 * qj.I(1), {"II": 4}),
        (lambda: sum([qj.Z(0), qj.Z(1)]), {"ZI": 1, "IZ": 1}),
        (lambda: np.float64(2) * qj.Z(1), {"IZ": 2}),
        (lambda: jnp.asarray(2.0) * (qj.Z(1) + qj.X(0)), {"IZ": 2, "XI": 2}),
        (lambda: (qj.Z(0) @ qj.Z(1)) * 1.5, {"ZZ": 1.5}),
    ],
)
def test_algebra(build, terms):
    """Sums, differences, scalars and products, on one qubit and on several."""
    np.testing.assert_allclose(build().matrix(2), oracle.sum_matrix(terms), atol=1e-15)


@given(pauli_terms(SIZES), pauli_terms(SIZES))
def test_products_and_sums_equal_matrices(a, b):
    """The algebra of sums is that of their matrices."""
    A, B = oracle.sum_matrix(a), oracle.sum_matrix(b)
    left, right = as_observable(a), as_observable(b)
    np.testing.assert_allclose(left.matrix(SIZES), A, atol=1e-13)
    np.testing.assert_allclose((left + right).matrix(SIZES), A + B, atol=1e-13)
    np.testing.assert_allclose((left - 2 * right).matrix(SIZES), A - 2 * B, atol=1e-13)
    np.testing.assert_allclose((left @ right).matrix(SIZES), A @ B, atol=1e-13)


@given(pauli_terms(SIZES))
def test_from_matrix_inverts_matrix(terms):
    """A Hermitian matrix, taken apart and put together again."""
    matrix = oracle.sum_matrix(terms)
    found = qj.PauliSum.from_matrix(matrix)
    assert found.num_terms <= len(terms)
    np.testing.assert_allclose(found.matrix(SIZES), matrix, atol=1e-12)


def test_from_matrix_on_given_qubits():
    """The first qubit named is the most significant bit of the matrix."""
    found = qj.PauliSum.from_matrix(oracle.word_matrix("XZ"), qubits=(2, 0))
    np.testing.assert_allclose(found.matrix(3), oracle.word_matrix("ZIX"), atol=1e-13)


def test_equal_words_are_collected():
    """Terms that name one word become one."""
    found = qj.Z(0) + 2 * qj.Z(0) + qj.X(1) @ qj.X(0)
    assert found.num_terms == 2
    np.testing.assert_allclose(sorted(found.coefficients), [1, 3])


def test_is_a_pytree():
    """The coefficients are its only leaf; it survives flattening and pickling."""
    found = 0.5 * qj.Z(0) @ qj.Z(1) + qj.X(0)
    leaves, structure = jax.tree.flatten(found)
    np.testing.assert_allclose(leaves, [[0.5, 1.0]])
    for again in (jax.tree.unflatten(structure, leaves), pickle.loads(pickle.dumps(found))):
        np.testing.assert_allclose(again.matrix(2), found.matrix(2))
    np.testing.assert_allclose(jax.tree.map(lambda c: 2 * c, found).matrix(2), 2 * found.matrix(2))


def test_gradient_in_the_coefficients():
    """d<H>/dc_k = <P_k>."""
    rho = random_density_matrix(2, seed=1)
    words = ("XY", "ZI", "IZ")

    def energy(c):
        observable = c[0] * qj.X(0) @ qj.Y(1) + c[1] * qj.Z(0) + c[2] * qj.Z(1)
        return qj.expectation(qj.Circuit(2), observable, initial_state=rho)

    expected = [oracle.expectation(rho, {word: 1}) for word in words]
    np.testing.assert_allclose(jax.grad(energy)(np.ones(3)), expected, atol=1e-13)


@pytest.mark.parametrize(
    "build",
    [
        lambda: qj.PauliSum.from_strings({"XQ": 1.0}),
        lambda: qj.PauliSum.from_strings({"XX": 1.0, "X": 1.0}),
        lambda: qj.PauliSum.from_strings({"X": np.nan}),
        lambda: qj.PauliSum.from_matrix(np.array([[0, 1], [0, 0]])),
        lambda: qj.PauliSum.from_matrix(np.eye(3)),
        lambda: qj.H(0) + qj.X(0),
        lambda: (qj.X(0) + qj.Z(0)) * qj.X(1),
        lambda: qj.expectation(qj.Circuit(1), qj.X(0) @ qj.Y(0)),
        lambda: qj.expectation(qj.Circuit(1), "Z"),
    ],
)
def test_what_is_no_observable_raises(build):
    """Letters, lengths, NaN, matrices that are not Hermitian, other gates, complex sums."""
    with pytest.raises(ObservableError, match=r"\w"):
        build()
