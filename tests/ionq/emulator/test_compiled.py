"""Jobs that are compiled before they run: on machines, with noise, and as OpenQASM 3."""

import jax
import numpy as np
import pytest

import qjax as qj
from qjax import qasm
from qjax.ionq import NOISE_MODELS, circuit_from_payload
from qjax.ionq.emulator._compile import compile_native
from qjax.ionq.emulator._qasm_text import native_program
from tests.ionq.emulator.conftest import CNOT, H, circuit_job
from tests.support import oracle

pytest.importorskip("openqasm3")

BELL = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
MID = """OPENQASM 3.0;
include "stdgates.inc";
bit[2] c;
qubit[2] q;
h q[0];
c[0] = measure q[0];
cx q[0], q[1];
c[1] = measure q[1];
"""
TELEPORT = """OPENQASM 3.0;
include "stdgates.inc";
qubit[3] q; bit a; bit b;
ry(1.1) q[0]; rz(0.7) q[0];
h q[1]; cx q[1], q[2];
cx q[0], q[1]; h q[0];
a = measure q[0]; b = measure q[1];
if (b) { x q[2]; }
if (a) { z q[2]; }
reset q[0];
rz(-0.7) q[2]; ry(-1.1) q[2];
"""


def spread(shots: int, chance: float) -> float:
    return 5 * (max(chance * (1 - chance), 1e-6) / shots) ** 0.5


@pytest.mark.usefixtures("x64")
class TestCompile:
    @pytest.mark.parametrize("gateset", ["ms", "zz"])
    def test_the_native_circuit_gives_the_same_outcomes(self, gateset):
        circuit = qj.Circuit(3, [qj.H(0), qj.CCX(0, 1, 2), qj.RY(0.3, 1), qj.CX(1, 0), qj.T(2)])
        found, native = compile_native(circuit, gateset, False)
        wanted = np.asarray(qj.probabilities(circuit))
        np.testing.assert_allclose(qj.probabilities(found), wanted, atol=1e-12)
        assert native is not None
        again = circuit_from_payload(native)
        np.testing.assert_allclose(qj.probabilities(again), wanted, atol=1e-12)
        assert {gate["gate"] for gate in native["circuit"]} <= {"gpi", "gpi2", gateset}
        text = qasm.parse(native_program(native))
        gates = [o for o in oracle.from_circuit(text) if o.name != "Measure"]
        state = oracle.statevector(3, gates)
        np.testing.assert_allclose(oracle.probabilities(state), wanted, atol=1e-12)

    @pytest.mark.parametrize("gateset", ["ms", "zz"])
    def test_stretches_between_measurements(self, gateset):
        """Teleportation gives the third qubit back as it was prepared, so it ends in |0>."""
        found, native = compile_native(qasm.parse(TELEPORT), gateset, False)
        assert native is None
        names = set(found.count_operations())
        assert names <= {"GPI", "GPI2", gateset.upper(), "RZ", "Measure", "Reset"}
        np.testing.assert_allclose(qj.probabilities(found, 2), [1, 0], atol=1e-12)


class TestMachines:
    def test_a_qis_job_on_forte(self, call):
        job = call.run(circuit_job(backend="qpu.forte-1", shots=1000))
        assert job["status"] == "completed" and "noise" not in job and job["shots"] == 1000
        assert job["output"]["error_mitigation"]["debiasing"] is True  # from 500 shots on
        assert job["output"]["compilation"]["gate_basis"] == "ZZ"
        counts = job["stats"]["gate_counts"]
        assert counts["2q"] == counts["ZZq"] == 1 and counts["1q"] == counts["GPI2q"]
        assert set(job["results"]) >= {"shots", "histogram", "ionq.result.shots.json.v2"}
        assert call.get(f"/jobs/{job['id']}/cost")["cost"]["value"] == 168.195
        found = call.get(f"/jobs/{job['id']}/results/probabilities")
        assert abs(found["0"] + found["3"] - 1) < 0.05
        off = {"error_mitigation": {"debiasing": False}}
        plain = call.run(circuit_job(backend="qpu.forte-1", shots=1000, settings=off))
        assert plain["output"]["error_mitigation"]["debiasing"] is False
        assert call.get(f"/jobs/{plain['id']}/cost")["cost"]["value"] == 25.7899

    def test_the_noise_is_that_of_the_compiled_circuit(self, call):
        shots = 100_000
        noise = {"model": "aria-2", "seed": 5}
        job = call.run(circuit_job(H, CNOT, shots=shots, noise=noise))
        found = call.get(f"/jobs/{job['id']}/results/probabilities")
        with jax.enable_x64(True):
            native, _ = compile_native(BELL, "ms", False)
            noisy = qj.insert_noise(native, NOISE_MODELS["aria-2"])
            wanted = np.asarray(qj.probabilities(noisy))
        assert wanted[1] > 0.003  # the noise shows
        for index, bits in enumerate(("00", "01", "10", "11")):
            key = str(int(bits[::-1], 2))
            assert abs(found.get(key, 0) - wanted[index]) < spread(shots, wanted[index])


# Keys of a finished job on a machine, as records of the service have them.
SEEN = {
    "": "id type status name metadata backend submitter_id project_id parent_job_id session_id "
    "dry_run failure cost_model shots submitted_at started_at completed_at execution_duration_ms "
    "predicted_execution_duration_ms predicted_wait_time_ms output child_job_ids settings stats "
    "results",
    "output": "compilation error_mitigation",
    "output.compilation": "precision gate_basis service_version compiled_circuits",
    "output.compilation.compiled_circuits": "ionq.native.v1 ionq.qasm3.v1",
    "output.error_mitigation": "debiasing symmetry_verification",
    "output.error_mitigation.symmetry_verification": "applied num_allowed_states",
    "stats": "qubits circuits gate_counts kwh predicted_quantum_compute_time_us "
    "billed_quantum_compute_time_us",
    "stats.gate_counts": "1q 2q ZZq GPIq GPI2q",
    "results": "shots histogram probabilities ionq.result.shots.json.v2 "
    "ionq.result.histogram.json.v2 ionq.result.probabilities.json.v2",
}


def test_a_machine_job_has_the_keys_that_were_seen_on_the_service(call):
    gates = [
        {"gate": "gpi", "target": 0, "phase": 0},
        {"gate": "gpi2", "target": 0, "phase": 0},
        {"gate": "zz", "targets": [0, 1], "angle": 0.25},
    ]
    body = circuit_job(*gates, gateset="native", backend="qpu.forte-enterprise-1", shots=500)
    job = call.run(body)
    for place, keys in SEEN.items():
        found = job
        for key in place.split(".") if place else ():
            found = found[key]
        assert set(keys.split()) <= set(found), place
    assert job["settings"] == {} and job["output"]["error_mitigation"]["debiasing"] is False


class TestOpenQasm:
    @pytest.mark.parametrize("noise", [None, {"model": "aria-1", "seed": None}])
    def test_a_measurement_in_the_middle(self, call, noise):
        body = {
            "type": "ionq.qasm3.v1",
            "shots": 400,
            "noise": noise,
            "input": {"qubits": 2, "data": MID},
        }
        job = call.run(body)
        assert job["status"] == "completed" and job["stats"]["qubits"] == 2
        name = job["results"]["ionq.result.shots.json.v2"]["id"]
        rows = [s["registers"] for s in call.get(f"/jobs/{job['id']}/artifacts/{name}")["shots"]]
        assert len(rows) == 400
        agree = sum(row["c"] == row["output_all"] for row in rows)
        equal = sum(row["c"][0] == row["c"][1] for row in rows)
        assert min(agree, equal) == 400 if noise is None else min(agree, equal) > 380
        ones = sum(row["c"][0] for row in rows)
        assert abs(ones - 200) < 50
        counts = call.get(f"/jobs/{job['id']}/artifacts/histogram-v2")["histogram"]["registers"]
        assert sum(counts["c"].values()) == sum(counts["output_all"].values()) == 400

    def test_conditions_and_resets(self, call):
        body = {"type": "ionq.qasm3.v1", "shots": 200, "input": {"data": TELEPORT}}
        job = call.run(body)
        rows = call.get(f"/jobs/{job['id']}/artifacts/shots-v2")["shots"]
        assert all(row["registers"]["output_all"][2] == 0 for row in rows)
        assert all(row["registers"]["output_all"][0] == 0 for row in rows)  # it was reset
        assert {(row["registers"]["a"][0], row["registers"]["b"][0]) for row in rows} == {
            (0, 0), (0, 1), (1, 0), (1, 1),
        }  # fmt: skip
        exact = call.get(f"/jobs/{job['id']}/results/probabilities")
        assert exact == {"0": pytest.approx(0.5), "2": pytest.approx(0.5)}
