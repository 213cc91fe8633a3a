"""Every channel against its Kraus operators and the Bloch vector that theory gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from tests.support import oracle, systems
from tests.support.oracle import Op
from tests.support.strategies import as_circuit, random_density_matrix, random_kraus

pytestmark = pytest.mark.usefixtures("x64")

CASES = {
    "amplitude": Op("AmplitudeDamping", (1,), (0.3,)),
    "phase": Op("PhaseDamping", (1,), (0.3,)),
    "bit flip": Op("BitFlip", (1,), (0.2,)),
    "phase flip": Op("PhaseFlip", (1,), (0.2,)),
    "depolarizing": Op("Depolarizing", (1,), (0.3,)),
    "depolarizing two": Op("Depolarizing", (2, 0), (0.3,)),
    "depolarizing three": Op("Depolarizing", (2, 0, 1), (0.3,)),
    "pauli": Op("PauliChannel", (1,), (0.1, 0.05, 0.2)),
    "pauli words": Op("PauliChannel", (2, 0), data={"XY": 0.2, "IZ": 0.1}),
    "generalized": Op("GeneralizedAmplitudeDamping", (1,), (0.3, 0.2)),
    "thermal": Op("ThermalRelaxation", (1,), (50.0, 70.0, 20.0)),
    "thermal excited": Op("ThermalRelaxation", (1,), (50.0, 40.0, 20.0, 0.1)),
    "thermal limit": Op("ThermalRelaxation", (1,), (50.0, 100.0, 20.0, 0.1)),
    "kraus": Op("Kraus", (1,), data=random_kraus(1, seed=1)),
    "kraus two": Op("Kraus", (2, 0), data=random_kraus(2, seed=2)),
    "reset": Op("Reset", (1,)),
}
STRENGTHS = {
    "AmplitudeDamping": lambda p: qj.AmplitudeDamping(p, 0),
    "PhaseDamping": lambda p: qj.PhaseDamping(p, 0),
    "BitFlip": lambda p: qj.BitFlip(p, 0),
    "PhaseFlip": lambda p: qj.PhaseFlip(p, 0),
    "Depolarizing": lambda p: qj.Depolarizing(p, 0),
    "PauliChannel": lambda p: qj.PauliChannel(p / 2, p / 4, p / 4, 0),
    "GeneralizedAmplitudeDamping": lambda p: qj.GeneralizedAmplitudeDamping(p, 0.3, 0),
    "GeneralizedAmplitudeDamping excited": lambda p: qj.GeneralizedAmplitudeDamping(0.3, p, 0),
    "ThermalRelaxation time": lambda p: qj.ThermalRelaxation(50.0, 70.0, p, 0),
    "ThermalRelaxation excited": lambda p: qj.ThermalRelaxation(50.0, 70.0, 20.0, 0, excited=p),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_kraus_operators(case):
    """On one part of a random entangled mixed state."""
    rho = random_density_matrix(3, seed=3)
    found = qj.density_matrix(as_circuit(3, [CASES[case]]), initial_state=rho)
    np.testing.assert_allclose(found, oracle.density_matrix(3, [CASES[case]], rho), atol=1e-13)
    np.testing.assert_allclose(np.trace(found), 1, atol=1e-13)


@pytest.mark.parametrize("case", [c for c in CASES if c != "reset"])
def test_kraus_operators_sum_to_one(case):
    """What the operation says of itself: the same map, completely positive, trace preserving."""
    operation = as_circuit(3, [CASES[case]]).operations[0]
    found = np.asarray(operation.kraus_operators)
    size = found.shape[-1]
    np.testing.assert_allclose(
        np.einsum("mji,mjk->ik", found.conj(), found), np.eye(size), atol=1e-13
    )
    rho = random_density_matrix(int(np.log2(size)), seed=4)
    expected = sum(K @ rho @ K.conj().T for K in oracle.kraus_of(CASES[case]))
    np.testing.assert_allclose(
        np.einsum("mij,jk,mlk->il", found, rho, found.conj()), expected, atol=1e-13
    )


@pytest.mark.parametrize("system", systems.DAMPED, ids=str)
def test_bloch_vector_convention(system):
    """The three components after the channel, from an input that has all of them."""
    vector = np.array([0.3, -0.4, 0.5])
    strengths = system.params[1:]
    a, b, c = system.contraction(*strengths)
    rho = qj.density_matrix(
        qj.Circuit(1, [system.circuit((0.0, *strengths)).operations[-1]]),
        initial_state=systems.bloch(*vector),
    )
    found = [oracle.expectation(np.asarray(rho), {letter: 1}) for letter in "XYZ"]
    y_factor = {"BitFlipped": c, "PauliNoise": 1 - 2 * (0.1 + 0.2)}.get(str(system), a)
    expected = [a * vector[0], y_factor * vector[1], b + c * vector[2]]
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("channel", STRENGTHS)
def test_gradients_are_finite_at_the_ends(channel):
    """Forward, reverse and second derivatives at strength 0 and 1; the first are right inside."""

    def mean(p):
        circuit = qj.Circuit(1, [qj.RY(1.1, 0), qj.RZ(0.4, 0), STRENGTHS[channel](p)])
        return qj.expectation(circuit, qj.X(0) + 2.0 * qj.Z(0))

    @jax.jit
    @jax.vmap
    def evaluate(p):
        return mean(p), jax.jacfwd(mean)(p), *jax.value_and_grad(jax.grad(mean))(p)

    points = np.array([0.0, 1.0, 0.5 - 1e-5, 0.5, 0.5 + 1e-5])
    values, forward, reverse, second = evaluate(points)
    assert np.isfinite([forward, reverse, second]).all()
    np.testing.assert_allclose(forward, reverse, atol=1e-12)
    np.testing.assert_allclose(reverse[3], (values[4] - values[2]) / 2e-5, atol=1e-7)


@pytest.mark.parametrize("system", systems.DAMPED[:-1], ids=str)
def test_gradient_at_strength_zero(system):
    """Not merely finite there, but right."""
    params = np.array([1.2, *(0.0 for _ in system.params[1:])])

    def mean(p):
        return qj.expectation(system.circuit(p), system.observable)

    np.testing.assert_allclose(jax.jit(jax.grad(mean))(params), system.gradient(params), atol=1e-12)


def test_strength_one_is_complete():
    """Full damping ends in |0>, full dephasing keeps no coherence."""
    plus = np.full((2, 2), 0.5)
    damped = qj.density_matrix(qj.Circuit(1, [qj.AmplitudeDamping(1.0, 0)]), initial_state=plus)
    dephased = qj.density_matrix(qj.Circuit(1, [qj.PhaseDamping(1.0, 0)]), initial_state=plus)
    np.testing.assert_allclose(damped, [[1, 0], [0, 0]], atol=1e-15)
    np.testing.assert_allclose(dephased, np.eye(2) / 2, atol=1e-15)


@pytest.mark.parametrize(("num_qubits", "factor"), [(1, 4 / 3), (2, 16 / 15)])
def test_depolarizing_contracts_every_word(num_qubits, factor):
    """rho -> (1 - r) rho + r 1/d with r = 4p/3 on one qubit, 16p/15 on two."""
    rho = random_density_matrix(num_qubits, seed=5)
    circuit = qj.Circuit(num_qubits, [qj.Depolarizing(0.3, tuple(range(num_qubits)))])
    r = 0.3 * factor
    expected = (1 - r) * rho + r * np.eye(2**num_qubits) / 2**num_qubits
    np.testing.assert_allclose(qj.density_matrix(circuit, initial_state=rho), expected, atol=1e-13)


def test_channel_conditioned_on_an_outcome():
    """A channel applied only where the measurement gave 1."""
    ops = [
        Op("RY", (0,), (1.0,)),
        Op("Measure", (0,), data="m"),
        Op("AmplitudeDamping", (0,), (0.4,), conditions=(("m", 1),)),
    ]
    found = qj.density_matrix(as_circuit(1, ops))
    np.testing.assert_allclose(found, oracle.density_matrix(1, ops), atol=1e-13)


@pytest.mark.parametrize(
    "channel",
    [
        lambda: qj.AmplitudeDamping(1.2, 0),
        lambda: qj.PhaseDamping(-0.1, 0),
        lambda: qj.Depolarizing(1.5, 0),
        lambda: qj.PauliChannel(0.5, 0.5, 0.5, 0),
        lambda: qj.ThermalRelaxation(10.0, 30.0, 1.0, 0),
        lambda: qj.Kraus(np.stack([np.eye(2), np.eye(2)]), 0),
        lambda: qj.ReadoutError(1.2, 0.0, 0),
    ],
)
def test_impossible_strengths_raise(channel):
    """Concrete values that make no channel are refused when it is built."""
    with pytest.raises(CircuitError, match="must"):
        channel()


def test_batched_strengths():
    """A leading axis of strengths gives a leading axis of states."""
    strengths = jnp.array([0.0, 0.4, 1.0])
    circuit = qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(strengths, 0)])
    np.testing.assert_allclose(qj.probabilities(circuit)[:, 0], strengths, atol=1e-13)
