"""Density matrices: mixed states, channels, measurement, reset, conditions, noise models."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings

import qjax as qj
from qjax.errors import CircuitError, QjaxError, StateError
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import (
    as_circuit,
    as_observable,
    noisy_circuits,
    random_density_matrix,
    random_ket,
    random_kraus,
)

pytestmark = pytest.mark.usefixtures("x64")

NOISY = [
    Op("H", (0,)),
    Op("CX", (0, 1)),
    Op("AmplitudeDamping", (1,), (0.3,)),
    Op("RY", (1,), (0.7,)),
    Op("Depolarizing", (1, 0), (0.1,)),
    Op("ISWAP", (0, 1)),
]
TERMS = {"ZZ": 0.5, "XI": 1.0, "YX": -0.3, "II": 0.2}

MEASURED = {
    "dephasing": [Op("RY", (0,), (1.0,)), Op("Measure", (0,))],
    "feedback": [
        Op("RY", (0,), (1.0,)),
        Op("CX", (0, 1)),
        Op("Measure", (0,), data="m"),
        Op("RX", (1,), (0.7,), conditions=(("m", 1),)),
        Op("RZ", (1,), (0.3,), conditions=(("m", 0),)),
    ],
    "two records": [
        *(Op("RY", (q,), (1.0 + q,)) for q in range(2)),
        Op("Measure", (0,), data="a"),
        Op("Measure", (1,), data="b"),
        Op("X", (2,), conditions=(("a", 1), ("b", 0))),
        Op("H", (2,), conditions=(("b", 1),)),
    ],
    "reset": [Op("H", (0,)), Op("CX", (0, 1)), Op("Reset", (0,)), Op("RX", (0,), (0.3,))],
    "conditioned reset": [
        Op("RY", (0,), (1.0,)),
        Op("Measure", (0,), data="m"),
        Op("Reset", (0,), conditions=(("m", 1),)),
    ],
    "postselection": [
        Op("RY", (0,), (1.0,)),
        Op("CRY", (0, 1), (0.8,)),
        Op("Measure", (1,), data="m", postselect=1),
        Op("H", (1,)),
    ],
    "measured twice": [
        Op("RY", (0,), (1.0,)),
        Op("Measure", (0,), data="a"),
        Op("RY", (0,), (0.6,)),
        Op("Measure", (0,), data="b"),
        Op("X", (1,), conditions=(("a", 0), ("b", 1))),
    ],
    "noise and feedback": [
        Op("RY", (0,), (1.0,)),
        Op("Measure", (0,), data="m"),
        Op("BitFlip", (0,), (0.2,)),
        Op("CRX", (0, 1), (0.9,), conditions=(("m", 1),)),
        Op("AmplitudeDamping", (1,), (0.3,)),
    ],
}


@given(noisy_circuits())
@settings(max_examples=10)
def test_random_noisy_circuits_equal_oracle(drawn):
    """Gates and channels on one to three qubits."""
    n, ops = drawn
    found = qj.density_matrix(as_circuit(n, ops))
    np.testing.assert_allclose(found, oracle.density_matrix(n, ops), atol=1e-12)


class TestInitialState:
    """A ket or a density matrix to start from."""

    @pytest.mark.parametrize(
        "start", [random_ket(2, seed=1), random_density_matrix(2, seed=1)], ids=["ket", "mixed"]
    )
    def test_everything_accepts_it(self, start):
        """State, mean, variance, probabilities."""
        observable = as_observable(TERMS)

        @jax.jit
        def evaluate(circuit, start):
            return (
                qj.density_matrix(circuit, initial_state=start),
                qj.expectation(circuit, observable, initial_state=start),
                qj.variance(circuit, observable, initial_state=start),
                qj.probabilities(circuit, (1, 0), initial_state=start),
            )

        rho = oracle.density_matrix(2, NOISY, start)
        found, mean, spread, weights = evaluate(as_circuit(2, NOISY), start)
        np.testing.assert_allclose(found, rho, atol=1e-13)
        np.testing.assert_allclose(mean, oracle.expectation(rho, TERMS), atol=1e-12)
        np.testing.assert_allclose(spread, oracle.variance(rho, TERMS), atol=1e-12)
        np.testing.assert_allclose(weights, oracle.probabilities(rho, (1, 0)), atol=1e-13)

    def test_mixed_state_without_channels(self):
        """A density matrix through gates alone, asked for a mean."""
        start, ops = random_density_matrix(2, seed=2), NOISY[:2]
        found = qj.expectation(as_circuit(2, ops), as_observable(TERMS), initial_state=start)
        expected = oracle.expectation(oracle.density_matrix(2, ops, start), TERMS)
        np.testing.assert_allclose(found, expected, atol=1e-13)

    def test_partial_trace_of_a_circuit(self):
        """A circuit in place of its state."""
        found = qj.partial_trace(as_circuit(2, NOISY), (1,))
        expected = oracle.partial_trace(oracle.density_matrix(2, NOISY), (1,))
        np.testing.assert_allclose(found, expected, atol=1e-13)


class TestMeasurement:
    """Exact averages over all outcomes."""

    @pytest.mark.parametrize("case", MEASURED)
    def test_equals_branches(self, case):
        """Every record enumerated by the oracle."""
        ops = MEASURED[case]
        n = 1 + max(q for op in ops for q in op.qubits)
        found = qj.density_matrix(as_circuit(n, ops))
        np.testing.assert_allclose(found, oracle.density_matrix(n, ops), atol=1e-13)

    @pytest.mark.parametrize("case", ["feedback", "reset", "postselection"])
    def test_expectation_and_probabilities(self, case):
        """They average over the records as well."""
        ops = MEASURED[case]
        circuit, rho = as_circuit(2, ops), oracle.density_matrix(2, ops)
        np.testing.assert_allclose(
            qj.expectation(circuit, as_observable(TERMS)),
            oracle.expectation(rho, TERMS),
            atol=1e-13,
        )
        np.testing.assert_allclose(qj.probabilities(circuit), oracle.probabilities(rho), atol=1e-13)

    @pytest.mark.parametrize("key", range(4))
    @pytest.mark.parametrize("case", ["feedback", "two records", "measured twice"])
    def test_trajectories_are_branches(self, case, key):
        """A sampled state vector is one of the pure branches that the oracle lists."""
        ops = MEASURED[case]
        n = 1 + max(q for op in ops for q in op.qubits)
        ket = qj.statevector(as_circuit(n, ops), key=jax.random.key(key))
        np.testing.assert_allclose(np.linalg.norm(ket), 1, atol=1e-12)
        overlaps = [
            oracle.fidelity(np.asarray(ket), rho / np.trace(rho))
            for rho, _ in oracle.branches(n, ops)
            if np.trace(rho).real > 1e-9
        ]
        np.testing.assert_allclose(max(overlaps), 1, atol=1e-9)

    @pytest.mark.parametrize("key", range(4))
    def test_reset_trajectory(self, key):
        """Resetting half a Bell pair leaves |0> there and a random bit on the other half."""
        circuit = qj.Circuit(2, [qj.H(0), qj.CX(0, 1), qj.Reset(0)])
        weights = np.abs(qj.statevector(circuit, key=jax.random.key(key))) ** 2
        np.testing.assert_allclose(sorted(weights), [0, 0, 0, 1], atol=1e-13)
        assert np.argmax(weights) < 2

    def test_trajectory_without_key_raises(self):
        """Randomness needs a key."""
        with pytest.raises(QjaxError, match="key"):
            qj.statevector(as_circuit(2, MEASURED["feedback"]))

    def test_unknown_measurement_raises(self):
        """A condition must name an earlier measurement."""
        with pytest.raises(CircuitError, match="later"):
            qj.Circuit(2, [qj.X(1).conditioned("later"), qj.Measure(0, "later")])

    def test_gradient_through_feedback(self):
        """The exact mean is differentiable in angles before and after the measurement."""

        def ops(t):
            return [
                Op("RY", (0,), (t[0],)),
                Op("Measure", (0,), data="m"),
                Op("RX", (1,), (t[1],), conditions=(("m", 1),)),
            ]

        def mean(t):
            return qj.expectation(as_circuit(2, ops(t)), qj.Z(1))

        t = np.array([1.0, 0.7])
        p = np.sin(t[0] / 2) ** 2
        value, gradient = jax.jit(jax.value_and_grad(mean))(t)
        np.testing.assert_allclose(value, 1 - p + p * np.cos(t[1]), atol=1e-13)
        slope = np.sin(t[0]) / 2 * (np.cos(t[1]) - 1)
        np.testing.assert_allclose(gradient, [slope, -p * np.sin(t[1])], atol=1e-12)


def test_batched_angles_and_kraus_operators_in_branches():
    """Batch axes before, at and after a measurement broadcast together."""
    kraus = np.stack([np.stack(random_kraus(1, seed)) for seed in range(2)])
    angles = np.array([[0.1], [0.5], [0.7]])
    circuit = qj.Circuit(
        2,
        [
            *(qj.RY(1.0, 0), qj.Measure(0, "m")),
            *(qj.RX(angles, 1).conditioned("m"), qj.Kraus(kraus, 1)),
        ],
    )
    found = qj.density_matrix(circuit)
    assert found.shape == (3, 2, 4, 4)
    for i, j in np.ndindex(3, 2):
        ops = [
            *(Op("RY", (0,), (1.0,)), Op("Measure", (0,), data="m")),
            Op("RX", (1,), (angles[i, 0],), conditions=(("m", 1),)),
            Op("Kraus", (1,), data=kraus[j]),
        ]
        np.testing.assert_allclose(found[i, j], oracle.density_matrix(2, ops), atol=1e-13)


class TestPostselection:
    """The state given an outcome."""

    OPS = MEASURED["postselection"]

    def test_ket_equals_density_matrix(self):
        """Both engines keep the same normalised state."""
        ket = np.asarray(qj.statevector(as_circuit(2, self.OPS), key=jax.random.key(0)))
        expected = oracle.density_matrix(2, self.OPS)
        np.testing.assert_allclose(np.outer(ket, ket.conj()), expected, atol=1e-12)

    @pytest.mark.parametrize("noise", [[], [Op("BitFlip", (0,), (0.0,))]], ids=["pure", "noisy"])
    def test_impossible_outcome(self, noise):
        """Known at once it raises; inside jit values and gradients stay finite."""

        def mean(t):
            ops = [Op("RX", (0,), (t,)), *noise, Op("Measure", (0,), postselect=1)]
            return qj.expectation(as_circuit(1, ops), qj.Z(0))

        assert np.isfinite(jax.jit(jax.value_and_grad(mean))(0.0)).all()
        with pytest.raises(StateError, match="probability zero"):
            mean(0.0)
        with pytest.raises(QjaxError, match="probability zero"):
            qj.checked(jax.jit(mean))(0.0)

    def test_gradient_of_the_conditional_mean(self):
        """The normalisation is differentiated too."""

        def ops(t):
            return [Op("RY", (0,), (t,)), *self.OPS[1:]]

        def mean(t):
            return qj.expectation(as_circuit(2, ops(t)), qj.Z(0) + qj.X(0))

        def reference(t):
            return oracle.expectation(oracle.density_matrix(2, ops(t)), {"ZI": 1, "XI": 1})

        expected = (reference(1.0 + 1e-6) - reference(1.0 - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.jit(jax.grad(mean))(1.0), expected, atol=1e-8)


READ_OPS = [Op("RY", (0,), (1.0,)), Op("CX", (0, 1)), Op("RX", (1,), (0.6,))]
READOUT = {0: (0.02, 0.1), 1: (0.05, 0.0)}


class TestReadoutError:
    """Classical flips of what is read."""

    def circuit(self) -> qj.Circuit:
        errors = [qj.ReadoutError(p01, p10, q) for q, (p01, p10) in READOUT.items()]
        return qj.Circuit(2, [*as_circuit(2, READ_OPS).operations, *errors])

    @pytest.mark.parametrize("qubits", [None, (0,), (1, 0)])
    def test_probabilities(self, qubits):
        """p01 reads 1 where 0 was true, p10 reads 0 where 1 was."""
        ket = oracle.statevector(2, READ_OPS)
        np.testing.assert_allclose(
            qj.probabilities(self.circuit(), qubits),
            oracle.probabilities(ket, qubits, READOUT),
            atol=1e-13,
        )

    def test_expectation(self):
        """Each letter becomes (p10 - p01) + (1 - p01 - p10) Z."""
        p = oracle.probabilities(oracle.statevector(2, READ_OPS), None, READOUT)
        found = qj.expectation(self.circuit(), [qj.Z(0), qj.Z(1), qj.Z(0) @ qj.Z(1), qj.I(0)])
        signs = [[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [1, 1, 1, 1]]
        np.testing.assert_allclose(found, np.array(signs) @ p, atol=1e-13)

    def test_density_matrix_is_untouched(self):
        """The state itself does not change."""
        np.testing.assert_allclose(
            qj.density_matrix(self.circuit()), oracle.density_matrix(2, READ_OPS), atol=1e-13
        )

    def test_must_come_last(self):
        """Nothing may follow on its qubit."""
        with pytest.raises(CircuitError, match="ReadoutError"):
            qj.Circuit(1, [qj.ReadoutError(0.1, 0.1, 0), qj.X(0)])


CLEAN = [Op("RX", (0,), (0.4,)), Op("CX", (1, 0)), Op("H", (1,))]


class TestNoiseModel:
    """Rules that put channels after gates."""

    @pytest.mark.parametrize(
        ("model", "ops"),
        [
            (
                lambda: qj.NoiseModel().after("CX", qj.Depolarizing, 0.1),
                [*CLEAN[:2], Op("Depolarizing", (1, 0), (0.1,)), CLEAN[2]],
            ),
            (
                lambda: qj.NoiseModel().after(["RX", "CX"], qj.AmplitudeDamping, 0.2),
                [
                    *(CLEAN[0], Op("AmplitudeDamping", (0,), (0.2,)), CLEAN[1]),
                    *(Op("AmplitudeDamping", (q,), (0.2,)) for q in (1, 0)),
                    CLEAN[2],
                ],
            ),
            (
                lambda: qj.NoiseModel().after("all", qj.PhaseDamping, 0.3),
                [
                    *(CLEAN[0], Op("PhaseDamping", (0,), (0.3,)), CLEAN[1]),
                    *(Op("PhaseDamping", (q,), (0.3,)) for q in (1, 0)),
                    *(CLEAN[2], Op("PhaseDamping", (1,), (0.3,))),
                ],
            ),
        ],
        ids=["joint", "each qubit", "all gates"],
    )
    def test_equals_channels_by_hand(self, model, ops):
        """The pass gives an ordinary circuit with channels."""
        noisy = qj.insert_noise(as_circuit(2, CLEAN), model())
        assert [op.name for op in noisy.operations] == [op.name for op in ops]
        np.testing.assert_allclose(
            qj.density_matrix(noisy), oracle.density_matrix(2, ops), atol=1e-13
        )

    def test_readout(self):
        """Readout error on some qubits."""
        model = qj.NoiseModel().readout(0.02, 0.1, qubits=[1])
        noisy = qj.insert_noise(as_circuit(2, CLEAN), model)
        ket = oracle.statevector(2, CLEAN)
        np.testing.assert_allclose(
            qj.probabilities(noisy), oracle.probabilities(ket, None, {1: (0.02, 0.1)}), atol=1e-13
        )

    def test_strength_is_differentiable(self):
        """A traced strength in the model."""

        def mean(p):
            model = qj.NoiseModel().after("all", qj.Depolarizing, p)
            circuit = qj.insert_noise(qj.Circuit(1, [qj.RX(0.4, 0)]), model)
            return qj.expectation(circuit, qj.Z(0))

        np.testing.assert_allclose(jax.grad(mean)(0.0), -4 / 3 * np.cos(0.4), atol=1e-12)


@pytest.mark.parametrize("gates", ["CNOT", ["CX", "cx"], "Measure", ""])
def test_noise_after_a_gate_that_does_not_exist(gates):
    """A misspelt rule would otherwise never apply, without a word."""
    with pytest.raises(qj.QjaxError, match="`gates` must hold names of gates as printed"):
        qj.NoiseModel().after(gates, qj.Depolarizing, 0.1)
