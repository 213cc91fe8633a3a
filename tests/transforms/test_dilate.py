"""Channels as gates on ancillas against the density matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from qjax.transforms import dilate

X = np.array([[0, 1], [1, 0]])
PHASE = np.diag([1, 1j])
KRAUS = np.stack([np.sqrt(0.5) * np.eye(2), np.sqrt(0.3) * PHASE, np.sqrt(0.2) * X])
TWO = np.stack([np.sqrt(0.6) * np.eye(4), np.sqrt(0.4) * np.kron(X, np.diag([1, -1]))])
CONDITIONED = qj.RX(0.9, 0).conditioned("a", 0).conditioned("b")

CHANNELS = {  # channel: (operations, number of ancillas)
    "amplitude damping": ([qj.AmplitudeDamping(0.3, 0)], 1),
    "phase damping": ([qj.PhaseDamping(0.3, 1)], 1),
    "bit flip": ([qj.BitFlip(0.2, 0)], 1),
    "phase flip": ([qj.PhaseFlip(0.2, 1)], 1),
    "bit and phase flip": ([qj.PauliChannel({"Y": 0.2}, 0)], 2),
    "depolarizing": ([qj.Depolarizing(0.2, 0)], 2),
    "depolarizing two": ([qj.Depolarizing(0.2, (1, 0))], 4),
    "pauli words": ([qj.PauliChannel({"XI": 0.1, "ZZ": 0.2}, (0, 1))], 3),
    "generalized damping": ([qj.GeneralizedAmplitudeDamping(0.3, 0.2, 0)], 2),
    "relaxation": ([qj.ThermalRelaxation(50.0, 70.0, 10.0, 0)], 2),
    "kraus": ([qj.Kraus(KRAUS, 0)], 2),
    "kraus two": ([qj.Kraus(TWO, (1, 0))], 1),
    "reset": ([qj.Reset(0)], 1),
    "measurement": ([qj.Measure(0)], 1),
    "condition": ([qj.Measure(0, "m"), qj.RX(0.7, 1).conditioned("m")], 1),
    "condition on zero": ([qj.Measure(1, "m"), qj.RY(0.7, 0).conditioned("m", 0)], 1),
    "two conditions": ([qj.Measure(0, "a"), qj.H(1), qj.Measure(1, "b"), CONDITIONED], 2),
    "full damping": ([qj.AmplitudeDamping(1.0, 0), qj.PhaseDamping(1.0, 1)], 2),
    "no damping": ([qj.AmplitudeDamping(0.0, 0), qj.Depolarizing(0.0, 1)], 3),
}


def noisy(operations):
    """The operations between gates that entangle."""
    first = [qj.RY(0.9, 0), qj.RX(0.4, 1), qj.CX(0, 1), qj.RZ(0.3, 1)]
    return qj.Circuit(2, [*first, *operations, qj.RX(0.2, 0), qj.CRY(0.5, 1, 0)])


@pytest.mark.parametrize("name", CHANNELS)
def test_same_reduced_state(name, x64):
    """The circuit's own qubits have the density matrix that the channel gives."""
    operations, num_ancillas = CHANNELS[name]
    circuit = noisy(operations)
    dilated = dilate(circuit)
    assert dilated.num_qubits - circuit.num_qubits == num_ancillas
    found = qj.partial_trace(qj.statevector(dilated), (0, 1))  # a ket: nothing random is left
    np.testing.assert_allclose(found, qj.density_matrix(circuit), atol=1e-13)


def test_readout_errors_stay_last():
    """They follow the gates that a channel became."""
    circuit = qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(0.2, 0), qj.ReadoutError(0.1, 0.2, 0)])
    found = qj.probabilities(dilate(circuit), 0)
    np.testing.assert_allclose(found, qj.probabilities(circuit), atol=1e-6)


def test_batch_and_derivatives(x64):
    """Strengths with a batch axis; derivatives in all of them equal those of the channels."""

    def value(transform, g, p):
        operations = [
            qj.AmplitudeDamping(g, 0),
            qj.Depolarizing(p, (0, 1)),
            qj.GeneralizedAmplitudeDamping(g, p, 1),
            qj.BitFlip(p, 0),
        ]
        return qj.expectation(transform(noisy(operations)), [qj.Z(0), qj.X(1), qj.Y(0) @ qj.Z(1)])

    g, p = jnp.array([0.2, 0.5, 0.9]), jnp.array([0.1, 0.3, 0.2])
    found, expected = value(dilate, g, p), value(lambda c: c, g, p)
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    jacobians = [jax.jacrev(value, argnums=(1, 2))(t, g, p) for t in (dilate, lambda c: c)]
    for ours, exact in zip(*jacobians, strict=True):
        assert np.abs(exact).max() > 0.05
        np.testing.assert_allclose(ours, exact, atol=1e-10)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_derivatives_are_finite_at_the_ends(strength):
    """No NaN where an arcsine of a root has an infinite slope."""

    def value(s):
        operations = [qj.AmplitudeDamping(s, 0), qj.PhaseDamping(s, 1), qj.BitFlip(s, 0)]
        return qj.expectation(dilate(noisy(operations)), qj.Z(0))

    assert np.isfinite(jax.grad(value)(strength))


def test_pure_circuit_is_left_alone():
    """Nothing to replace."""
    circuit = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
    assert dilate(circuit) is circuit


@pytest.mark.parametrize(
    ("operations", "text"),
    [
        ([qj.Measure(0, postselect=1)], "postselect=1 drops runs, which no unitary does"),
        (
            [qj.Measure(0, "m"), qj.BitFlip(0.1, 1).conditioned("m")],
            "BitFlip is conditioned on a measurement and cannot be dilated",
        ),
        (
            [qj.AmplitudeDamping(qj.Parameter("g"), 0)],
            "AmplitudeDamping has a strength that is not bound. Use `circuit.bind` first",
        ),
    ],
)
def test_refused(operations, text):
    """What no unitary can do, and what is not known yet."""
    with pytest.raises(CircuitError, match=text):
        dilate(qj.Circuit(2, operations))
