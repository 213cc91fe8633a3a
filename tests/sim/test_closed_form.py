"""States, expectations and gradients of systems that have formulas."""

import jax
import numpy as np
import pytest

import qjax as qj
from tests.support import systems

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("system", [*systems.PURE, *systems.MIXED], ids=str)
def test_system(system):
    """State (of a ket the global phase too), expectation and reverse-mode gradient."""
    state = qj.statevector if system in systems.PURE else qj.density_matrix

    def mean(params):
        return qj.expectation(system.circuit(params), system.observable)

    @jax.jit
    def evaluate(params):
        return state(system.circuit(params)), *jax.value_and_grad(mean)(params)

    params = np.array(system.params)
    found, value, gradient = evaluate(params)
    np.testing.assert_allclose(found, system.state(params), atol=1e-13)
    np.testing.assert_allclose(value, system.expectation(params), atol=1e-13)
    np.testing.assert_allclose(gradient, system.gradient(params), atol=1e-12)


@pytest.mark.parametrize("num_qubits", [2, 4, 6])
def test_ghz_of_any_size(num_qubits):
    """The phase gathered grows with the number of qubits."""
    system = systems.GHZ(num_qubits)
    found = qj.expectation(system.circuit((0.4,)), system.observable)
    np.testing.assert_allclose(found, np.cos(num_qubits * 0.4), atol=1e-13)


@pytest.mark.parametrize("t", [0.0, np.pi / 3, 40.0])
def test_rabi_at_resonance(t):
    """Without detuning the population swings fully."""
    system = systems.Rabi()
    found = qj.expectation(system.circuit((1.0, 0.0, t)), qj.Z(0))
    np.testing.assert_allclose(found, np.cos(t), atol=1e-12)
