"""Probabilities and shots against the NumPy oracle."""

import numpy as np
import pytest

import qjax as qj
from qjax import qasm
from qjax.errors import QjaxError
from qjax.ionq import GPI2, MS, NOISE_MODELS
from qjax.ionq.emulator import VirtualClock, _branches, _simulate
from qjax.ionq.emulator._branches import branch_shots
from qjax.ionq.emulator._fuse import mixed_circuit, pure_circuit
from qjax.ionq.emulator._measured import count_fresh, defer
from qjax.ionq.emulator._simulate import exact_outcomes, sample_shots
from tests.ionq.emulator.conftest import CNOT, H, circuit_job
from tests.support import oracle
from tests.support.strategies import random_unitary

pytestmark = pytest.mark.usefixtures("x64")
pytest.importorskip("starlette")

SHOTS = 20_000
ASYMMETRIC = qj.Circuit(3, [qj.X(0), qj.RY(0.6, 1), qj.CX(1, 2)])


def little_endian(vector: np.ndarray) -> np.ndarray:
    """Probabilities by the integer whose bit i is qubit i."""
    n = int(np.log2(len(vector)))
    return vector.reshape((2,) * n).transpose().reshape(-1)


def close(found: list[int], wanted: np.ndarray) -> None:
    """Frequencies within five standard errors of every probability."""
    counts = np.bincount(found, minlength=len(wanted))
    error = np.sqrt(np.maximum(wanted * (1 - wanted), 1e-9) / len(found))
    assert np.all(abs(counts / len(found) - wanted) < 5 * error + 1e-12)


def test_exact_outcomes():
    ops = oracle.from_circuit(ASYMMETRIC)
    wanted = little_endian(oracle.probabilities(oracle.statevector(3, ops)))
    found = exact_outcomes(ASYMMETRIC)
    assert list(found) == ["1", "7"]
    np.testing.assert_allclose([found["1"], found["7"]], wanted[[1, 7]], atol=1e-12)


def test_shots_follow_the_probabilities_and_the_seed():
    first, again = (sample_shots(ASYMMETRIC, SHOTS, 3).all for _ in range(2))
    assert first == again
    assert first != sample_shots(ASYMMETRIC, SHOTS, 4).all
    ops = oracle.from_circuit(ASYMMETRIC)
    close(first, little_endian(oracle.probabilities(oracle.statevector(3, ops))))


def test_shots_follow_from_the_number_of_the_job_and_not_from_the_time(make):
    """Nor do they depend on how often a client asked in between."""
    noisy = circuit_job(H, CNOT, noise={"model": "aria-1"}, shots=40)
    drawn = []
    for start, looks in ((1e9, 0), (2e9, 7)):
        call = make(clock=VirtualClock(start), seed=4)
        jobs = []
        for _ in range(2):
            jobs.append(call.run(noisy)["id"])
            for _ in range(looks):
                call.get("/jobs")
        drawn.append([call.get(f"/jobs/{name}/results/shots") for name in jobs])
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[0][1]


class TestNoise:
    CIRCUIT = qj.Circuit(2, [GPI2(0.1, 0), MS(0, 0.3, 0.25, 0, 1), GPI2(0.4, 1)] * 3)
    # Ten times the noise, so that it shows in a few thousand shots.
    MODEL = qj.NoiseModel().after("GPI2", qj.Depolarizing, 0.03).after("MS", qj.Depolarizing, 0.1)

    def noisy(self) -> qj.Circuit:
        return qj.insert_noise(self.CIRCUIT, self.MODEL)

    def wanted(self) -> np.ndarray:
        return little_endian(np.asarray(qj.probabilities(self.noisy())))

    def test_density_matrix(self):
        close(sample_shots(self.CIRCUIT, SHOTS, 5, noise=self.MODEL).all, self.wanted())

    def test_trajectories_agree_with_the_density_matrix(self, monkeypatch):
        monkeypatch.setattr(_simulate, "_LARGEST_DENSITY", 0)
        found = sample_shots(self.CIRCUIT, SHOTS, 5, noise=self.MODEL).all
        close(found, self.wanted())
        assert found == sample_shots(self.CIRCUIT, SHOTS, 5, noise=self.MODEL).all

    def test_shot_by_shot_agrees_with_the_density_matrix(self):
        found, _ = branch_shots(self.noisy(), SHOTS, np.random.default_rng(6))
        close(found.tolist(), np.asarray(qj.probabilities(self.noisy())))

    def test_the_check_sees_missing_noise(self):
        with pytest.raises(AssertionError):
            close(sample_shots(self.CIRCUIT, SHOTS, 5).all, self.wanted())

    def test_a_circuit_without_native_gates_has_no_noise(self):
        bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        found = sample_shots(bell, 100, 1, noise=NOISE_MODELS["aria-1"]).all
        assert set(found) == {0, 3}


class TestMeasurements:
    TEXT = """OPENQASM 3.0;
    include "stdgates.inc";
    qubit[2] q; bit[3] c; bit d;
    ry(1.1) q[0];
    c[0] = measure q[0];
    if (c[0]) { x q[1]; } else { ry(0.4) q[1]; }
    reset q[0];
    c[2] = measure q[1];
    h q[1];
    d = measure q[1];
    """

    def joint(self) -> dict[tuple[int, int, int], float]:
        """Probability of (c, d, all) by hand: c[0], then c[2], then d on the turned qubit."""
        one = np.sin(0.55) ** 2
        flipped = np.sin(0.2) ** 2
        found: dict[tuple[int, int, int], float] = {}
        for first, second, chance in (
            (1, 1, one), (0, 1, (1 - one) * flipped), (0, 0, (1 - one) * (1 - flipped)),
        ):  # fmt: skip
            for last in (0, 1):
                found[first + 4 * second, last, 2 * last] = chance / 2
        return found

    def outcomes(self, noise: qj.NoiseModel | None = None) -> dict[tuple[int, int, int], float]:
        program = qasm.parse_program(self.TEXT)
        drawn = sample_shots(program.circuit, SHOTS, 2, noise=noise, registers=program.registers)
        rows = list(zip(drawn.registers["c"], drawn.registers["d"], drawn.all, strict=True))
        return {row: rows.count(row) / SHOTS for row in set(rows)}

    def check(self, found: dict[tuple[int, int, int], float]) -> None:
        wanted = self.joint()
        assert set(found) == set(wanted)
        for row, chance in wanted.items():
            assert abs(found[row] - chance) < 5 * np.sqrt(chance / SHOTS)

    def test_registers(self):
        self.check(self.outcomes())

    def test_registers_shot_by_shot(self, monkeypatch):
        monkeypatch.setattr(_simulate, "has_exact_outcomes", lambda *_: False)
        self.check(self.outcomes())
        assert self.outcomes() == self.outcomes()
        monkeypatch.setattr(_branches, "_TOGETHER", 4 * 1500)  # shots in 14 parts
        self.check(self.outcomes())

    @pytest.mark.parametrize(("largest", "fresh"), [(0, 2), (8, 2), (0, -1)])
    def test_noise_of_strength_zero_changes_nothing(self, largest, fresh, monkeypatch):
        monkeypatch.setattr(_simulate, "_LARGEST_DENSITY", largest)
        monkeypatch.setattr(_simulate, "_MOST_FRESH", fresh)
        self.check(self.outcomes(qj.NoiseModel().after("all", qj.Depolarizing, 0.0)))

    @pytest.mark.parametrize(("largest", "fresh"), [(0, 2), (8, 2), (0, -1)])
    def test_noise_after_a_conditioned_gate_is_conditioned(self, largest, fresh, monkeypatch):
        """A full flip by X of the target happens exactly where the gate does."""
        monkeypatch.setattr(_simulate, "_LARGEST_DENSITY", largest)
        monkeypatch.setattr(_simulate, "_MOST_FRESH", fresh)
        text = "OPENQASM 3.0; qubit[2] q; bit c; h q[0]; c = measure q[0]; if (c) { x q[1]; }"
        circuit = qasm.parse(text)
        model = qj.NoiseModel().after("X", qj.Depolarizing, 0.75)
        found = sample_shots(circuit, SHOTS, 7, noise=model).all
        close(found, np.array([0.5, 0.25, 0.0, 0.25]))

    def test_a_conditioned_reset_shot_by_shot(self, monkeypatch):
        """Where the outcome was 1 the second qubit is cleared, elsewhere it stays |+>."""
        monkeypatch.setattr(_simulate, "has_exact_outcomes", lambda *_: False)
        text = "qubit[2] q; bit c; h q[0]; h q[1]; c = measure q[0]; if (c) { reset q[1]; }"
        found = sample_shots(qasm.parse(text), SHOTS, 7).all
        close(found, np.array([0.25, 0.5, 0.25, 0.0]))

    ROUNDS = """OPENQASM 3.0;
    include "stdgates.inc";
    qubit[2] q; bit[20] c; bit[2] d;
    for int i in [0:19] {
        h q[0];
        c[i] = measure q[0];
        if (c[i]) { x q[1]; cx q[0], q[1]; cx q[0], q[1]; }
        reset q[0];
    }
    d = measure q;
    """

    @pytest.mark.parametrize("noise", [None, {"model": "aria-1"}])
    def test_many_rounds_on_few_qubits(self, make, noise):
        """Each round turns the second qubit by its outcome, so that it holds their parity."""
        body = {"type": "ionq.qasm3.v1", "shots": 300, "noise": noise}
        call = make()
        job = call.run({**body, "input": {"data": self.ROUNDS}})
        assert job["status"] == "completed" and job["stats"]["qubits"] == 2
        rows = call.get(f"/jobs/{job['id']}/artifacts/shots-v2")["shots"]
        outcomes = np.array([row["registers"]["c"] for row in rows])
        last = np.array([row["registers"]["d"] for row in rows])
        agree = outcomes.sum(axis=1) % 2 == last[:, 1]
        assert np.all(abs(outcomes.mean(axis=0) - 0.5) < 5 * 0.5 / np.sqrt(300))
        assert np.all(last == [row["registers"]["output_all"] for row in rows])
        exact = call.get(f"/jobs/{job['id']}/results/probabilities")
        assert sum(exact.values()) == pytest.approx(1)
        if noise is None:
            assert agree.all() and not last[:, 0].any()
            assert exact["2"] == last[:, 1].mean()
        else:
            assert 0.5 < agree.mean() < 1

    def test_rounds_that_would_take_too_long(self):
        text = self.ROUNDS.replace("qubit[2]", "qubit[28]").replace("d = measure q;", "")
        with pytest.raises(
            QjaxError, match="too long for 300 shots of 120 operations on 28 qubits"
        ):
            sample_shots(qasm.parse(text), 300, 1)

    def test_fresh_qubits_are_counted(self):
        for circuit in (qasm.parse(self.TEXT), ASYMMETRIC):
            added = defer(circuit, resets=True).circuit.num_qubits - circuit.num_qubits
            assert count_fresh(circuit) == added
        assert count_fresh(qasm.parse(self.ROUNDS)) == 40

    def test_a_last_measurement_needs_no_qubit(self):
        circuit = qj.Circuit(1, [qj.H(0), qj.Measure(0, "m")])
        deferred = defer(circuit, resets=True)
        assert deferred.circuit.num_qubits == 1
        assert deferred.outcomes == {"m": 0}


class TestBlocks:
    """Gathering gates into blocks changes no state."""

    CIRCUIT = qj.Circuit(
        4,
        [
            qj.H(0), qj.CX(0, 1), qj.RY(0.3, 1), qj.CX(1, 0), qj.T(0).inverse(), qj.S(3),
            qj.CCX(0, 1, 2), qj.RXX(0.4, 2, 1), qj.Unitary(random_unitary(2, 1), (1, 2)),
            qj.CRY(0.7, 2, 3), qj.PauliRotation(0.2, "XYZ", (0, 2, 3)), qj.RZ(0.5, 3),
        ],
    )  # fmt: skip

    def test_pure(self):
        blocks = pure_circuit(self.CIRCUIT)
        assert len(blocks) == 6
        wanted = oracle.unitary(4, oracle.from_circuit(self.CIRCUIT))
        found = oracle.unitary(4, oracle.from_circuit(blocks))
        np.testing.assert_allclose(found, wanted, atol=1e-12)

    def test_shot_by_shot(self):
        found, _ = branch_shots(self.CIRCUIT, SHOTS, np.random.default_rng(3))
        ops = oracle.from_circuit(self.CIRCUIT)
        close(found.tolist(), oracle.probabilities(oracle.statevector(4, ops)))

    def test_mixed(self):
        model = (
            qj.NoiseModel().after("all", qj.AmplitudeDamping, 0.1).after("CX", qj.Depolarizing, 0.2)
        )
        noisy = qj.insert_noise(self.CIRCUIT, model) + qj.Reset(3)
        blocks = mixed_circuit(noisy)
        assert len(blocks) < len(noisy) / 2
        wanted = oracle.density_matrix(4, oracle.from_circuit(noisy))
        found = oracle.density_matrix(4, oracle.from_circuit(blocks))
        np.testing.assert_allclose(found, wanted, atol=1e-12)
