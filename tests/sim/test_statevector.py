"""State vectors, expectations, variances and probabilities of circuits of gates."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qjax as qj
from qjax.errors import CircuitError, QjaxError, StateError
from tests.support import oracle
from tests.support.oracle import GATES, Op
from tests.support.strategies import (
    as_circuit,
    as_observable,
    random_ket,
    random_unitary,
    unitary_circuits,
)

OPS = [
    *(Op("H", (q,)) for q in range(3)),
    Op("RX", (1,), (0.3,)),
    Op("CX", (0, 2)),
    Op("U", (2,), (0.1, 0.2, 0.3)),
    Op("CRY", (2, 1), (0.7,)),
    Op("ISWAP", (1, 0)),
    Op("T", (0,)),
]
TERMS = {"ZZI": 0.5, "XIY": -1.2, "III": 0.7, "YXZ": 0.4}


@pytest.fixture(scope="module")
def psi() -> np.ndarray:
    """What the oracle makes of `OPS`."""
    return oracle.statevector(3, OPS)


@given(unitary_circuits())
@settings(max_examples=12)
def test_random_circuits_equal_oracle(x64, drawn):
    """Gates, inverses, controls, Pauli rotations and matrices on one to five qubits."""
    n, ops = drawn
    found = qj.statevector(as_circuit(n, ops))
    np.testing.assert_allclose(found, oracle.statevector(n, ops), atol=1e-12)


def test_qubit_zero_is_the_most_significant_bit():
    """X on qubit 0 of three gives |100>, index 4."""
    assert np.argmax(np.abs(qj.statevector(qj.Circuit(3, [qj.X(0)])))) == 4
    assert np.argmax(np.abs(qj.statevector(qj.Circuit(3, [qj.X(2)])))) == 1


def test_bell_state():
    """The first example of every text."""
    bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
    np.testing.assert_allclose(qj.statevector(bell), np.sqrt([0.5, 0, 0, 0.5]), atol=1e-7)
    np.testing.assert_allclose(qj.expectation(bell, qj.Z(0) @ qj.Z(1)), 1, atol=1e-6)


class TestDtypes:
    """complex64 by default, complex128 under x64."""

    @staticmethod
    def results() -> list:
        """A ket, a density matrix, a mean and probabilities."""
        functions = (
            *(qj.statevector, qj.density_matrix, qj.probabilities),
            lambda circuit: qj.expectation(circuit, qj.Z(0)),
        )
        return jax.jit(lambda circuit: [f(circuit) for f in functions])(as_circuit(3, OPS))

    def test_single(self, psi):
        """Right to single precision."""
        ket, rho, weights, mean = self.results()
        assert (ket.dtype, rho.dtype) == (jnp.complex64, jnp.complex64)
        assert (weights.dtype, mean.dtype) == (jnp.float32, jnp.float32)
        np.testing.assert_allclose(ket, psi, atol=1e-6)

    def test_double(self, x64, psi):
        """Right to double precision."""
        ket, rho, weights, mean = self.results()
        assert (ket.dtype, rho.dtype) == (jnp.complex128, jnp.complex128)
        assert (weights.dtype, mean.dtype) == (jnp.float64, jnp.float64)
        np.testing.assert_allclose(ket, psi, atol=1e-14)


@pytest.mark.usefixtures("x64")
class TestInitialState:
    """`initial_state=`."""

    def test_ket(self):
        """Any ket, complex amplitudes included."""
        start = random_ket(3, seed=1)
        found = qj.statevector(as_circuit(3, OPS), initial_state=start)
        np.testing.assert_allclose(found, oracle.statevector(3, OPS, start), atol=1e-13)

    def test_expectation_and_probabilities(self):
        """The same state enters everywhere."""
        start = random_ket(3, seed=2)
        circuit, ket = as_circuit(3, OPS), oracle.statevector(3, OPS, start)
        observable = as_observable(TERMS)
        np.testing.assert_allclose(
            qj.expectation(circuit, observable, initial_state=start),
            oracle.expectation(ket, TERMS),
            atol=1e-12,
        )
        np.testing.assert_allclose(
            qj.variance(circuit, observable, initial_state=start),
            oracle.variance(ket, TERMS),
            atol=1e-12,
        )
        np.testing.assert_allclose(
            qj.probabilities(circuit, initial_state=start), oracle.probabilities(ket), atol=1e-13
        )

    @pytest.mark.parametrize("shape", [(4,), (7,), (8, 4), ()])
    def test_wrong_shape_raises(self, shape):
        """It must have 2**n amplitudes."""
        with pytest.raises(StateError, match="initial_state"):
            qj.statevector(as_circuit(3, OPS), initial_state=np.ones(shape))


@pytest.mark.usefixtures("x64")
class TestExpectation:
    """Means and variances."""

    def test_one_observable(self, psi):
        """A scalar."""
        found = qj.expectation(as_circuit(3, OPS), as_observable(TERMS))
        assert found.shape == ()
        np.testing.assert_allclose(found, oracle.expectation(psi, TERMS), atol=1e-13)

    def test_several_observables(self, psi):
        """One axis more, gates and sums mixed."""
        found = qj.expectation(as_circuit(3, OPS), [qj.Z(0), as_observable(TERMS), qj.Y(2)])
        expected = [oracle.expectation(psi, t) for t in ({"ZII": 1}, TERMS, {"IIY": 1})]
        np.testing.assert_allclose(found, expected, atol=1e-13)

    def test_every_pauli_word(self, psi):
        """All 64 of them in one list."""
        words = ["".join(letters) for letters in product("IXYZ", repeat=3)]
        found = qj.expectation(as_circuit(3, OPS), [as_observable({w: 1.0}) for w in words])
        expected = [oracle.expectation(psi, {w: 1}) for w in words]
        np.testing.assert_allclose(found, expected, atol=1e-13)

    @given(st.integers(0, 2**16))
    def test_random_sums(self, psi, seed):
        """Means and variances of sums whose words do not commute."""
        words = ["".join(letters) for letters in product("IXYZ", repeat=3)][::5]
        terms = dict(zip(words, np.random.default_rng(seed).normal(size=len(words)), strict=True))
        circuit, observable = as_circuit(3, OPS), as_observable(terms)
        np.testing.assert_allclose(
            qj.expectation(circuit, observable), oracle.expectation(psi, terms), atol=1e-12
        )
        np.testing.assert_allclose(
            qj.variance(circuit, observable), oracle.variance(psi, terms), atol=1e-11
        )

    def test_variance_in_traced_coefficients(self, psi):
        """X and Z on one qubit do not commute, but the square of their sum is Hermitian."""

        def spread(c):
            return qj.variance(as_circuit(3, OPS), c[0] * qj.X(0) + c[1] * qj.Z(0))

        c = np.array([0.4, -0.9])
        value, slope = jax.jit(jax.value_and_grad(spread))(c)
        terms = [{"XII": a, "ZII": b} for a, b in (c, c + [1e-6, 0], c - [1e-6, 0])]
        expected, plus, minus = (oracle.variance(psi, t) for t in terms)
        np.testing.assert_allclose(value, expected, atol=1e-12)
        np.testing.assert_allclose(slope[0], (plus - minus) / 2e-6, atol=1e-8)

    def test_variance_of_several(self, psi):
        """A list gives an axis."""
        found = qj.variance(as_circuit(3, OPS), [qj.Z(0), as_observable(TERMS)])
        expected = [oracle.variance(psi, t) for t in ({"ZII": 1}, TERMS)]
        np.testing.assert_allclose(found, expected, atol=1e-13)

    def test_qubit_out_of_range_raises(self):
        """The observable must fit the circuit."""
        with pytest.raises(QjaxError, match="3"):
            qj.expectation(as_circuit(3, OPS), qj.Z(3))


@pytest.mark.usefixtures("x64")
class TestProbabilities:
    """All qubits or some."""

    @pytest.mark.parametrize("qubits", [None, (0,), (1, 2), (2, 0), (2, 1, 0)])
    def test_marginals(self, psi, qubits):
        """In the order asked for."""
        found = qj.probabilities(as_circuit(3, OPS), qubits)
        np.testing.assert_allclose(found, oracle.probabilities(psi, qubits), atol=1e-13)

    def test_one_qubit_as_a_number(self, psi):
        """A bare qubit is a tuple of one."""
        found = qj.probabilities(as_circuit(3, OPS), 1)
        np.testing.assert_allclose(found, oracle.probabilities(psi, (1,)), atol=1e-13)

    @pytest.mark.parametrize("qubits", [(0, 0), (3,), (-1,)])
    def test_bad_qubits_raise(self, qubits):
        """Repeated or missing qubits."""
        with pytest.raises(CircuitError, match="qubits"):
            qj.probabilities(as_circuit(3, OPS), qubits)


@pytest.mark.usefixtures("x64")
class TestStatePreparation:
    """Amplitudes loaded onto untouched qubits."""

    @pytest.mark.parametrize("qubits", [(0, 1), (2, 0), (1,), (1, 0, 2)])
    def test_equals_oracle(self, qubits):
        """Beside a rotated spectator and before more gates."""
        spectators = [q for q in range(3) if q not in qubits]
        ops = [
            *(Op("RY", (q,), (0.4,)) for q in spectators),
            Op("StatePreparation", qubits, data=random_ket(len(qubits), seed=3)),
            Op("CX", (0, 1)),
            Op("CRY", (2, 0), (0.5,)),
        ]
        found = qj.statevector(as_circuit(3, ops))
        np.testing.assert_allclose(found, oracle.statevector(3, ops), atol=1e-13)

    def test_touched_qubits_raise(self):
        """It overwrites, so nothing may have happened there before."""
        with pytest.raises(CircuitError, match="StatePreparation"):
            qj.Circuit(1, [qj.H(0), qj.StatePreparation(np.array([0.6, 0.8]), 0)])

    def test_batched_amplitudes(self):
        """Leading axes come out in front."""
        amplitudes = np.stack([random_ket(2, seed) for seed in range(3)])
        circuit = qj.Circuit(2, [qj.StatePreparation(amplitudes, (1, 0)), qj.H(0)])
        assert circuit.batch_shape == (3,)
        expected = [
            oracle.statevector(2, [Op("StatePreparation", (1, 0), data=a), Op("H", (0,))])
            for a in amplitudes
        ]
        np.testing.assert_allclose(qj.statevector(circuit), expected, atol=1e-13)


def test_deep_circuit_on_eight_qubits(x64):
    """Sixty random gates, so that fusion, long-range gates and diagonals all meet."""
    rng = np.random.default_rng(8)
    ops = []
    for name in rng.choice(list(GATES), size=60):
        gate = GATES[str(name)]
        qubits = tuple(int(q) for q in rng.permutation(8)[: gate.num_qubits])
        params = tuple(rng.uniform(-3, 3, gate.num_params))
        ops.append(Op(str(name), qubits, params, inverse=bool(rng.integers(2))))
    found = qj.statevector(as_circuit(8, ops))
    np.testing.assert_allclose(found, oracle.statevector(8, ops), atol=1e-12)


@pytest.mark.usefixtures("x64")
class TestArrayOperations:
    """Operations that carry arrays: batches and derivatives of the arrays themselves."""

    def test_batched_unitaries(self):
        """Leading axes of matrices come out in front."""
        matrices = np.stack([random_unitary(2, seed) for seed in range(3)])
        inverse = qj.Unitary(matrices, (1, 0)).inverse()
        circuit = qj.Circuit(3, [qj.H(0), qj.Unitary(matrices, (2, 0)), inverse])
        assert circuit.batch_shape == (3,)
        expected = [
            oracle.statevector(
                3,
                [
                    *(Op("H", (0,)), Op("Unitary", (2, 0), data=matrix)),
                    Op("Unitary", (1, 0), data=matrix, inverse=True),
                ],
            )
            for matrix in matrices
        ]
        np.testing.assert_allclose(qj.statevector(circuit), expected, atol=1e-12)

    def test_gradient_in_a_matrix(self):
        """Of a rotation written as a matrix, twice."""

        def mean(t):
            matrix = jnp.array([[jnp.cos(t), -jnp.sin(t)], [jnp.sin(t), jnp.cos(t)]])
            return qj.expectation(qj.Circuit(1, [qj.Unitary(matrix, 0)]), qj.Z(0))

        found = jax.jit(jax.value_and_grad(jax.grad(mean)))(0.3)
        np.testing.assert_allclose(found, [-2 * np.sin(0.6), -4 * np.cos(0.6)], atol=1e-12)

    def test_batched_coefficients(self):
        """Leading axes of an observable's coefficients pair with those of the circuit."""
        c, t = np.arange(6.0).reshape(3, 2), np.array([0.4, 0.5, 0.6])
        observable = jnp.asarray(c[:, 0]) * qj.Z(0) + jnp.asarray(c[:, 1]) * qj.X(1)
        circuit = qj.Circuit(2, [qj.RY(0.3, 0), qj.RY(t, 1)])
        expected = c[:, 0] * np.cos(0.3) + c[:, 1] * np.sin(t)
        found = qj.expectation(circuit, [observable, qj.Z(0)])
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-13)
        np.testing.assert_allclose(found[:, 1], np.cos(0.3), atol=1e-13)


@given(st.integers(0, 2**12 - 1))
@settings(max_examples=5)
def test_twelve_qubits_of_basis_states(index):
    """A larger register: X on the set bits, then a CX ladder, is one basis state."""
    bits = [(index >> (11 - q)) & 1 for q in range(12)]
    circuit = qj.Circuit(12, [*(qj.RX(np.pi * bit, q) for q, bit in enumerate(bits)), *_ladder(12)])
    expected = np.bitwise_xor.accumulate(bits)
    weights = np.asarray(qj.probabilities(circuit))
    assert np.argmax(weights) == int("".join(map(str, expected)), 2)
    np.testing.assert_allclose(weights.max(), 1, atol=1e-5)


def _ladder(num_qubits: int) -> list:
    return [qj.CX(q, q + 1) for q in range(num_qubits - 1)]
