"""States, expectations and gradients of systems that have formulas."""

import jax
import numpy as np
import pytest

import qjax as qj
from tests.support import systems

pytestmark = pytest.mark.usefixtures("x64")

ALL = [*systems.PURE, *systems.MIXED]


@pytest.mark.parametrize("system", systems.PURE, ids=str)
def test_ket(system):
    """The state vector, global phase included."""
    params = np.array(system.params)
    np.testing.assert_allclose(
        qj.statevector(system.circuit(params)), system.state(params), atol=1e-13
    )


@pytest.mark.parametrize("system", systems.MIXED, ids=str)
def test_density_matrix(system):
    """The density matrix."""
    params = np.array(system.params)
    np.testing.assert_allclose(
        qj.density_matrix(system.circuit(params)), system.state(params), atol=1e-13
    )


@pytest.mark.parametrize("system", ALL, ids=str)
def test_expectation_and_gradient(system):
    """Value and reverse-mode gradient under jit."""

    def mean(params):
        return qj.expectation(system.circuit(params), system.observable)

    params = np.array(system.params)
    value, gradient = jax.jit(jax.value_and_grad(mean))(params)
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
