"""What is refused with 400 and what is accepted and fails, with the service's words."""

import json

import pytest

from tests.ionq.emulator.conftest import H, circuit_job

ZZ = {"gate": "zz", "targets": [0, 1], "angle": 0.25}
MS = {"gate": "ms", "targets": [0, 1], "phases": [0, 0], "angle": 0.25}


def changed(**fields):
    body = circuit_job()
    body.update(fields)
    return body


def with_input(**fields):
    return {"type": "ionq.circuit.v1", "input": fields}


MANY = {"type": "ionq.multi-circuit.v1"}
ONE = {"circuit": [H]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], '"value" must be of type object'),
        ({}, '"type" is required'),
        (changed(type="nonsense"), '"type" must be one of ['),
        (changed(backend="qpu.qpu"), '"backend" must be one of [simulator, '),
        ({"type": "ionq.circuit.v1"}, '"input" is required'),
        (changed(input=3), '"input" must be of type object'),
        (changed(shots=0), '"shots" must be greater than or equal to 1'),
        (changed(shots=1_000_001), '"shots" must be less than or equal to 1000000'),
        (changed(shots=1.5), '"shots" must be an integer'),
        (changed(shots="many"), '"shots" must be a number'),
        (changed(shots="9" * 5000), '"shots" must be a number'),
        (changed(shots=10**400), '"shots" must be less than or equal to 1000000'),
        (changed(backend=["simulator"]), '"backend" must be one of [simulator, '),
        (changed(name=3), '"name" must be a string'),
        (changed(dry_run="yes"), '"dry_run" must be a boolean'),
        (changed(metadata=[]), '"metadata" must be of type object'),
        (changed(metadata={str(k): "" for k in range(11)}), "less than or equal to 10 keys"),
        (changed(metadata={"k" * 41: ""}), "exceeds 40 characters"),
        (changed(metadata={"k": "v" * 40_001}), "less than or equal to 40000 characters"),
        (changed(metadata={"k": 1}), '"metadata.k" must be a string'),
        (changed(noise={"model": "loud"}), '"noise.model" must be one of [ideal, '),
        (changed(noise={"model": "aria-1", "seed": 0}), '"noise.seed" must be between 1 and'),
        (changed(settings={"error_mitigation": 3}), '"settings.error_mitigation" must be'),
        (with_input(circuits=[ONE]), "input.circuit is required"),
        (with_input(circuit=[]), '"input.circuit" must contain at least 1 items'),
        (with_input(circuit={}), '"input.circuit" must be an array'),
        (with_input(circuit=[{}]), '"input.circuit[0].gate" is required'),
        (with_input(circuit=[H], gateset="own"), '"input.gateset" must be one of [qis, native]'),
        (with_input(circuit=[H], qubits=0), '"input.qubits" must be greater'),
        ({**MANY, "input": {}}, '"input.circuits" is required'),
        ({**MANY, "input": {**ONE, "circuits": [ONE]}}, '"input.circuit" is not allowed'),
        ({**MANY, "input": {"circuits": [ONE] * 5001}}, "between 1 and 5000 items"),
        ({**MANY, "input": {"circuits": [{"circuit": [H] * 150_001}]}}, "at most 150000 gates"),
        ({"type": "ionq.qasm3.v1", "input": {}}, '"input.data" is required'),
        (
            {"type": "ionq.qasm3.v1", "input": {"data": "", "qubits": "2"}},
            '"input.qubits" must be a number',
        ),
    ],
)
def test_shape_errors(call, body, message):
    assert message in call.refused(body)
    assert call.get("/jobs")["jobs"] == []


def test_the_body_of_a_refusal(call):
    answer = call("POST", "/jobs", json=changed(shots=0)).json()
    assert answer == {
        "statusCode": 400,
        "error": "Bad Request",
        "message": '"shots" must be greater than or equal to 1',
        "validation": {"source": "payload", "keys": ["shots"]},
    }


def test_bodies_that_are_no_json(call):
    answer = call("POST", "/jobs", content=b"{nonsense")
    assert answer.status_code == 400 and "JSON" in answer.json()["message"]
    assert call("POST", "/jobs", content=b"").status_code == 400
    text = json.dumps(circuit_job()).encode()
    assert call("POST", "/jobs", content=text, headers={"Content-Type": ""}).status_code == 201


@pytest.mark.parametrize("shots", ["Infinity", "-Infinity", "NaN", "1e999", "9" * 5000])
def test_numbers_that_are_none(call, shots):
    text = json.dumps(circuit_job(shots=0)).replace('"shots": 0', f'"shots": {shots}')
    assert call("POST", "/jobs", content=text.encode()).status_code == 400


def test_half_of_a_character_is_refused_and_a_whole_one_is_not(call):
    for name, status in (("\ud800", 400), ("\U0001f600", 201)):
        text = json.dumps(circuit_job(name=name)).encode()
        assert call("POST", "/jobs", content=text).status_code == status
    assert [job["name"] for job in call.get("/jobs")["jobs"]] == ["\U0001f600"]


@pytest.mark.parametrize(
    "path", ["/jobs?limit=", "/jobs?next=", "/jobs/estimate?backend=simulator&shots="]
)
def test_numbers_in_addresses(call, path):
    call.post(circuit_job())
    for number in ("9" * 5000, "-1", "²", "x"):
        assert call("GET", path + number).status_code == 400


JUNK = (None, 3, 1.5, "x", True, [], ["x"], {}, {"model": []}, {"debiasing": 3}, 10**30)


@pytest.mark.parametrize(
    "field",
    [
        "type",
        "backend",
        "input",
        "shots",
        "name",
        "metadata",
        "noise",
        "settings",
        "dry_run",
        "session_id",
    ],
)  # fmt: skip
def test_no_shape_of_a_field_breaks_the_service(call, field):
    """Junk is refused, or accepted; and what was accepted can be shown and listed."""
    for junk in JUNK:
        body = {"type": "quantum-function", "backend": "simulator", "input": {}, field: junk}
        answer = call("POST", "/jobs", json=body)
        assert answer.status_code in (201, 400, 404), (junk, answer.text)
    call.emulator.settle()
    assert all(job["status"] == "failed" for job in call.get("/jobs")["jobs"])


def test_large_bodies(call):
    text = json.dumps(changed(name="x" * 10_000_001)).encode()
    answer = call("POST", "/jobs", content=text)
    assert answer.status_code == 413 and answer.json()["statusCode"] == 413


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (circuit_job({"gate": "x", "target": 29}), "NotEnoughQubits", "has 30 qubits"),
        (circuit_job({"gate": "foo", "target": 0}), "UnsupportedGate", "foo"),
        (circuit_job({"gate": "x"}), "InvalidInput", "target"),
        (
            circuit_job({"gate": "x", "target": 8, "controls": list(range(8))}),
            "TooManyControls",
            "at most 7",
        ),
        (
            circuit_job(MS, gateset="native", backend="qpu.forte-1"),
            "UnsupportedGate",
            "qpu.forte-1 does not have the native gate 'ms'",
        ),
        (
            circuit_job(ZZ, gateset="native", backend="qpu.aria-1"),
            "UnsupportedGate",
            "qpu.aria-1 does not have the native gate 'zz'",
        ),
        (
            circuit_job(ZZ, gateset="native", noise={"model": "aria-2"}),
            "UnsupportedGate",
            "aria-2 does not have the native gate 'zz'",
        ),
        (
            circuit_job(H, qubits=26, noise={"model": "aria-1"}),
            "NotEnoughQubits",
            "takes 25 with noise aria-1",
        ),
        (circuit_job(noise={"model": "harmony"}), "SimulationError", "rates are not published"),
        (circuit_job({**MS, "angle": 0.3}, gateset="native"), "InvalidInput", "0.3"),
        (
            circuit_job({"gate": "gpi", "target": 0, "phase": 2}, gateset="native"),
            "InvalidInput",
            "phase",
        ),
        (
            circuit_job(
                H, backend="qpu.forte-1", settings={"error_mitigation": {"debiasing": True}}
            ),
            "DebiasingError",
            "at least 500 shots, but has 100",
        ),
        (
            {"type": "ionq.qasm3.v1", "input": {"data": "OPENQASM 3.0; qubit q; foo q;"}},
            "CompilationError",
            "gate `foo` is not defined",
        ),
        ({"type": "quantum-function", "input": {}}, "InvalidInput", "quantum-function"),
    ],
)  # fmt: skip
def test_failures_of_accepted_jobs(call, body, code, message):
    job = call.run(body)
    assert job["status"] == "failed" and job["results"] is None
    assert job["failure"]["code"] == code
    assert message in job["failure"]["message"]
    assert job["failure"]["error"] == job["failure"]["message"]
    assert call.get("/emulator/bill", own=True)["entries"] == []


def test_the_ideal_simulator_takes_both_native_gates(call):
    job = call.run(circuit_job(MS, ZZ, gateset="native"))
    found = call.get(f"/jobs/{job['id']}/results/probabilities")
    assert found == {"0": 0.5, "3": 0.5}


def test_zz_with_the_angle_called_phase(call):
    """As cirq-ionq writes it."""
    turn = {"gate": "gpi2", "target": 0, "phase": 0}
    gates = [turn, {"gate": "zz", "targets": [0, 1], "phase": 0.25}, {**turn, "phase": 0.25}]
    job = call.run(circuit_job(*gates, gateset="native"))
    renamed = [turn, {"gate": "zz", "targets": [0, 1], "angle": 0.25}, {**turn, "phase": 0.25}]
    same = call.run(circuit_job(*renamed, gateset="native"))
    found = [call.get(f"/jobs/{j['id']}/results/probabilities") for j in (job, same)]
    assert found[0] == found[1]


def test_memory_beyond_the_machine(call, monkeypatch):
    from qjax.sim import _memory

    monkeypatch.setattr(_memory, "available_memory", lambda: 2**20)
    job = call.run(circuit_job(H, {"gate": "x", "target": 25}))
    assert job["failure"]["code"] == "SimulationError"
    assert "state vector of 26 qubits" in job["failure"]["message"]


def test_unknown_addresses(call):
    for path in ("/calibrations/current", "/nonsense", "/jobs/x/y"):
        answer = call("GET", path)
        assert answer.status_code == 404
        assert answer.json()["error"] == "Not Found Error"
    assert call("PATCH", "/jobs").status_code == 405
