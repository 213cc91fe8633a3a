"""Fidelity, purity, entropies, distances and partial traces against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qjax as qj
from qjax.errors import CircuitError, StateError
from tests.support import oracle
from tests.support.strategies import (
    density_matrices,
    kets,
    random_density_matrix,
    random_ket,
    random_unitary,
)

pytestmark = pytest.mark.usefixtures("x64")

BELL = np.array([1, 0, 0, 1]) / np.sqrt(2)
MIXED = np.eye(4) / 4
states = kets(2) | density_matrices(2)


class TestPartialTrace:
    """Against the explicit sum."""

    @pytest.mark.parametrize("keep", [0, (1,), (0, 2), (2, 0), (0, 1, 2), (2, 1, 0)])
    @pytest.mark.parametrize(
        "state", [random_ket(3, 1), random_density_matrix(3, 1)], ids=["ket", "mixed"]
    )
    def test_equals_explicit_sum(self, state, keep):
        """In the order asked for."""
        expected = oracle.partial_trace(state, (keep,) if isinstance(keep, int) else keep)
        np.testing.assert_allclose(qj.partial_trace(state, keep), expected, atol=1e-14)

    def test_bell_pair(self):
        """Half of it is maximally mixed."""
        np.testing.assert_allclose(qj.partial_trace(BELL, 0), np.eye(2) / 2, atol=1e-15)

    def test_product(self):
        """What is kept of a product is its factor."""
        one, two = random_density_matrix(1, 1), random_density_matrix(2, 2)
        rho = np.kron(one, two)
        np.testing.assert_allclose(qj.partial_trace(rho, 0), one, atol=1e-14)
        np.testing.assert_allclose(qj.partial_trace(rho, (1, 2)), two, atol=1e-14)

    def test_batched_density_matrices(self):
        """Leading axes stay in front."""
        rhos = np.stack([random_density_matrix(2, seed) for seed in range(3)])
        expected = [oracle.partial_trace(rho, (1,)) for rho in rhos]
        np.testing.assert_allclose(qj.partial_trace(rhos, 1), expected, atol=1e-14)

    def test_of_a_circuit(self):
        """A circuit in place of a state."""
        circuit = qj.Circuit(2, [qj.RY(0.7, 0), qj.CX(0, 1)])
        expected = np.diag([np.cos(0.35) ** 2, np.sin(0.35) ** 2])
        np.testing.assert_allclose(qj.partial_trace(circuit, 1), expected, atol=1e-14)

    def test_gradient(self):
        """Of a reduced population, through jit and vmap."""

        def population(t):
            circuit = qj.Circuit(2, [qj.RY(t, 0), qj.CX(0, 1)])
            return qj.partial_trace(qj.statevector(circuit), 1)[1, 1].real

        found = jax.jit(jax.vmap(jax.grad(population)))(np.array([0.3, 0.7]))
        np.testing.assert_allclose(found, np.sin([0.3, 0.7]) / 2, atol=1e-13)

    @pytest.mark.parametrize("keep", [(0, 0), (3,), (-1,)])
    def test_bad_qubits_raise(self, keep):
        """Repeated or missing qubits."""
        with pytest.raises(CircuitError, match=r"keep|partial_trace"):
            qj.partial_trace(random_ket(3, 1), keep)

    @pytest.mark.parametrize("shape", [(3,), (4, 2), (1,), ()])
    def test_bad_shapes_raise(self, shape):
        """Neither ket nor density matrix."""
        with pytest.raises(StateError, match="shape"):
            qj.partial_trace(np.ones(shape), 0)


class TestFidelity:
    """Uhlmann's, squared."""

    @given(states, states)
    def test_equals_definition(self, a, b):
        """Kets, density matrices of every rank, and one of each."""
        np.testing.assert_allclose(qj.fidelity(a, b), oracle.fidelity(a, b), atol=1e-7)

    @given(states, st.integers(0, 99))
    def test_symmetric_bounded_invariant(self, a, seed):
        """F(a, b) = F(b, a) in [0, 1]; F(a, a) = 1; unitaries change nothing."""
        b, U = random_density_matrix(2, seed), random_unitary(2, seed)
        moved = U @ a if a.ndim == 1 else U @ a @ U.conj().T
        found = qj.fidelity(a, b)
        assert -1e-9 <= found <= 1 + 1e-9
        np.testing.assert_allclose(qj.fidelity(b, a), found, atol=1e-7)
        np.testing.assert_allclose(qj.fidelity(a, a), 1, atol=1e-7)
        np.testing.assert_allclose(qj.fidelity(moved, U @ b @ U.conj().T), found, atol=1e-7)

    def test_known_values(self):
        """Orthogonal, equal, and the maximally mixed state."""
        np.testing.assert_allclose(
            qj.fidelity(np.array([1.0, 0]), np.array([0, 1.0])), 0, atol=1e-15
        )
        np.testing.assert_allclose(qj.fidelity(BELL, MIXED), 0.25, atol=1e-15)
        np.testing.assert_allclose(qj.fidelity(MIXED, MIXED), 1, atol=1e-12)

    def test_gradient(self):
        """d|<a|b(t)>|^2/dt, and finite between equal states."""

        def overlap(t):
            return qj.fidelity(qj.statevector(qj.Circuit(1, [qj.RY(t, 0)])), jnp.array([1.0, 0.0]))

        np.testing.assert_allclose(jax.grad(overlap)(0.7), -np.sin(0.7) / 2, atol=1e-13)
        np.testing.assert_allclose(jax.grad(overlap)(0.0), 0, atol=1e-13)

    def test_gradient_between_density_matrices(self):
        """Both mixed, one of them rank deficient with equal eigenvalues."""
        other = np.diag([0.5, 0.3, 0.2, 0.0])

        def overlap(t):
            circuit = qj.Circuit(2, [qj.RY(t, 0), qj.AmplitudeDamping(0.2, 0)])
            return qj.fidelity(qj.density_matrix(circuit), other)

        def reference(t):
            ops = [oracle.Op("RY", (0,), (t,)), oracle.Op("AmplitudeDamping", (0,), (0.2,))]
            return oracle.fidelity(oracle.density_matrix(2, ops), other)

        expected = (reference(0.7 + 1e-5) - reference(0.7 - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(overlap)(0.7), expected, atol=1e-6)

    def test_sizes_must_agree(self):
        """One qubit against two."""
        with pytest.raises(StateError, match="qubits"):
            qj.fidelity(np.array([1.0, 0.0]), BELL)


class TestEntropies:
    """In nats, or in any base."""

    @given(density_matrices(2))
    def test_equal_definitions(self, rho):
        """Purity, von Neumann and Rényi entropies of every rank."""
        np.testing.assert_allclose(qj.purity(rho), oracle.purity(rho), atol=1e-12)
        np.testing.assert_allclose(
            qj.von_neumann_entropy(rho), oracle.von_neumann_entropy(rho), atol=1e-10
        )
        for alpha in (0.5, 2.0, 3.0):
            np.testing.assert_allclose(
                qj.renyi_entropy(rho, alpha), oracle.renyi_entropy(rho, alpha), atol=1e-6
            )

    @pytest.mark.parametrize("state", [BELL, np.outer(BELL, BELL)], ids=["ket", "matrix"])
    def test_pure_states_have_none(self, state):
        """Zero entropy, purity one."""
        np.testing.assert_allclose(qj.von_neumann_entropy(state), 0, atol=1e-12)
        np.testing.assert_allclose(qj.renyi_entropy(state, 2.0), 0, atol=1e-12)
        np.testing.assert_allclose(qj.purity(state), 1, atol=1e-12)

    @pytest.mark.parametrize(("base", "expected"), [(None, np.log(4)), (2, 2.0), (4, 1.0)])
    def test_bases(self, base, expected):
        """Two bits in two maximally mixed qubits."""
        kwargs = {} if base is None else {"base": base}
        np.testing.assert_allclose(qj.von_neumann_entropy(MIXED, **kwargs), expected)
        np.testing.assert_allclose(qj.renyi_entropy(MIXED, 2.0, **kwargs), expected)
        np.testing.assert_allclose(qj.purity(MIXED), 0.25)

    def test_renyi_tends_to_von_neumann(self):
        """As alpha goes to one, and exactly there."""
        rho = random_density_matrix(2, seed=1)
        expected = oracle.von_neumann_entropy(rho)
        np.testing.assert_allclose(qj.renyi_entropy(rho, 1.0 + 1e-5), expected, atol=1e-4)
        np.testing.assert_allclose(qj.renyi_entropy(rho, 1), expected, atol=1e-10)

    def test_entanglement_entropy_and_its_gradient(self):
        """S(t) = -p log p - q log q with p = cos^2(t/2), dS/dt = sin(t)/2 log(p/q)."""

        def entropy(t):
            circuit = qj.Circuit(2, [qj.RY(t, 0), qj.CX(0, 1)])
            return qj.von_neumann_entropy(qj.partial_trace(circuit, 0))

        p, q = np.cos(0.35) ** 2, np.sin(0.35) ** 2
        value, slope = jax.value_and_grad(entropy)(0.7)
        np.testing.assert_allclose(value, -p * np.log(p) - q * np.log(q), atol=1e-12)
        np.testing.assert_allclose(slope, np.sin(0.7) / 2 * np.log(p / q), atol=1e-10)

    @pytest.mark.parametrize(
        "quantity",
        [
            lambda rho: qj.von_neumann_entropy(rho),
            lambda rho: qj.purity(rho),
            lambda rho: qj.renyi_entropy(rho, 2.0),
            lambda rho: qj.renyi_entropy(rho, 0.5),
            lambda rho: qj.fidelity(rho, BELL),
            lambda rho: qj.fidelity(rho, MIXED),
            lambda rho: qj.trace_distance(rho, MIXED),
        ],
    )
    @pytest.mark.parametrize("t", [0.0, np.pi / 2, np.pi])
    def test_gradients_are_finite_at_degenerate_states(self, quantity, t):
        """Equal and zero eigenvalues, of products and of Bell pairs."""

        def value(t):
            circuit = qj.Circuit(2, [qj.RY(t, 0), qj.CX(0, 1), qj.PhaseDamping(0.0, 0)])
            return quantity(qj.density_matrix(circuit))

        assert np.isfinite(jax.grad(value)(t))


class TestTraceDistance:
    """Half the trace norm of the difference."""

    @given(states, states)
    def test_equals_definition(self, a, b):
        """Kets, density matrices and one of each."""
        np.testing.assert_allclose(qj.trace_distance(a, b), oracle.trace_distance(a, b), atol=1e-10)

    def test_channels_contract_it(self):
        """No channel makes two states easier to tell apart."""
        circuit = qj.Circuit(2, [qj.Depolarizing(0.2, (0, 1)), qj.AmplitudeDamping(0.3, 1)])
        a, b = (random_density_matrix(2, seed) for seed in (1, 2))
        before = qj.trace_distance(a, b)
        after = qj.trace_distance(
            *(qj.density_matrix(circuit, initial_state=state) for state in (a, b))
        )
        assert after < before
