"""Jobs from acceptance to deletion, under a clock that the tests move."""

import uuid

import pytest

from qjax.ionq.emulator import Timing
from tests.ionq.emulator.conftest import CNOT, H, circuit_job

REQUIRED = {
    "id", "status", "type", "backend", "dry_run", "submitter_id", "project_id", "parent_job_id",
    "child_job_ids", "session_id", "metadata", "name", "submitted_at", "started_at",
    "completed_at", "predicted_wait_time_ms", "predicted_execution_duration_ms",
    "execution_duration_ms", "failure", "output", "settings", "stats", "results",
}  # fmt: skip
X0 = {"gate": "x", "targets": [0]}


def several(*circuits, **more):
    entries = [{"name": f"c{k}", "circuit": gates} for k, gates in enumerate(circuits)]
    return {"type": "ionq.multi-circuit.v1", "input": {"circuits": entries, "qubits": 3}, **more}


class TestOneCircuit:
    def test_reply_to_creation(self, call):
        answer = call("POST", "/jobs", json=circuit_job())
        body = answer.json()
        assert answer.status_code == 201
        assert set(body) == {"id", "status", "session_id"}
        assert body["status"] == "submitted" and body["session_id"] is None
        assert uuid.UUID(body["id"]).version == 7
        assert answer.headers["x-qjax-emulator"] and answer.headers["x-request-id"]

    def test_a_bell_pair(self, call):
        job = call.run(circuit_job(name="bell", metadata={"a": "b"}, shots=7))
        assert job["status"] == "completed"
        assert set(job) >= REQUIRED
        assert job["name"] == "bell" and job["metadata"] == {"a": "b"} and job["shots"] == 7
        assert job["execution_duration_ms"] == 0 and job["noise"] == {"model": "ideal"}
        assert job["stats"] == {"qubits": 2, "circuits": 1, "gate_counts": {"1q": 1, "2q": 1}}
        url = job["results"]["probabilities"]["url"]
        assert url == f"/v0.4/jobs/{job['id']}/results/probabilities"
        assert call("GET", f"http://emulator{url}").json() == {"0": 0.5, "3": 0.5}
        form = job["results"]["ionq.result.probabilities.json.v1"]
        assert call.get(f"/jobs/{job['id']}/artifacts/{form['id']}") == {"0": 0.5, "3": 0.5}
        assert set(job["results"]) == {"probabilities", "ionq.result.probabilities.json.v1"}
        for form in ("histogram", "shots", "nonsense"):
            assert call("GET", f"/jobs/{job['id']}/results/{form}").status_code == 404

    def test_qubit_zero_is_the_least_significant_bit(self, call):
        job = call.run(circuit_job(X0, qubits=3))
        assert call.get(f"/jobs/{job['id']}/results/probabilities") == {"1": 1.0}

    def test_shots_as_text_and_unknown_fields(self, call):
        body = circuit_job(shots="12", lang="json", noise={"model": "ideal", "seed": None})
        body["input"]["format"] = "ionq.circuit.v0"
        assert call.run(body)["shots"] == 12
        texts = [entry["message"] for entry in call.get("/emulator", own=True)["warnings"]]
        assert any("`lang`" in text for text in texts)
        assert any("`input.format`" in text for text in texts)

    def test_the_old_target_key_is_ignored(self, call):
        body = circuit_job(target="qpu.forte-1")
        del body["backend"]
        assert call.run(body)["backend"] == "simulator"
        (warning,) = call.get("/emulator", own=True)["warnings"]
        assert "`target` is ignored" in warning["message"]


class TestClock:
    def test_states(self, make):
        call = make(timing=Timing(latency=10, per_circuit=5))
        job_id = call.post(circuit_job())
        call.emulator.settle()

        def state():
            job = call.get(f"/jobs/{job_id}")
            return job["status"], job["started_at"], job["completed_at"], job["results"]

        assert state() == ("ready", None, None, None)
        assert call("GET", f"/jobs/{job_id}/results/probabilities").status_code == 404
        call.clock.advance(10)
        assert state() == ("started", "2026-01-01T00:00:10.000Z", None, None)
        call.clock.advance(5)
        assert state()[:3] == ("completed", "2026-01-01T00:00:10.000Z", "2026-01-01T00:00:15.000Z")

    def test_children_run_one_after_the_other(self, make):
        call = make(timing=Timing(latency=10, per_circuit=5), workers=1)
        parent = call.post(several([X0], [X0]))
        call.emulator.settle()
        children = call.get(f"/jobs/{parent}")["child_job_ids"]

        def states():
            return [call.get(f"/jobs/{name}")["status"] for name in (parent, *children)]

        assert states() == ["ready", "ready", "ready"]
        call.clock.advance(12)
        assert states() == ["started", "started", "ready"]
        call.clock.advance(5)
        assert states() == ["started", "completed", "started"]
        call.clock.advance(5)
        assert states() == ["completed", "completed", "completed"]

    def test_realistic_time_of_a_machine(self, make):
        call = make(timing=Timing(realistic=True))
        gates = [{"gate": "gpi2", "target": 0, "phase": 0}] * 120
        gates += [{"gate": "zz", "targets": [0, 1], "angle": 0.25}] * 11
        body = circuit_job(*gates, gateset="native", backend="qpu.forte-1", shots=500)
        job = call.run(body, seconds=13.5)
        assert job["status"] == "started"
        assert job["predicted_execution_duration_ms"] == round(597 + 500 * 25.995)
        call.clock.advance(0.1)
        job = call.get(f"/jobs/{job['id']}")
        assert job["status"] == "completed" and job["execution_duration_ms"] == 13594


class TestSeveralCircuits:
    def test_parent_and_children(self, call):
        parent = call.run(several([H, CNOT], [X0], metadata={"k": "v"}, name="two"))
        assert parent["status"] == "completed" and parent["type"] == "ionq.multi-circuit.v1"
        assert parent["stats"] == {
            "qubits": 3, "circuits": 2, "gate_counts": {"1q": 2, "2q": 1},
        }  # fmt: skip
        first, second = parent["child_job_ids"]
        child = call.get(f"/jobs/{first}")
        assert child["type"] == "ionq.circuit.v1" and child["parent_job_id"] == parent["id"]
        assert child["name"] == "c0" and child["metadata"] == {"k": "v"}
        wanted = {first: {"0": 0.5, "3": 0.5}, second: {"1": 1.0}}
        url = parent["results"]["probabilities"]["url"]
        assert url.endswith("/results/probabilities/aggregated")
        found = call("GET", f"http://emulator{url}").json()
        assert found == wanted and list(found) == [first, second]
        name = parent["results"]["ionq.result.probabilities-aggregate.json.v1"]["id"]
        assert call.get(f"/jobs/{parent['id']}/artifacts/{name}") == wanted
        assert call("GET", f"/jobs/{parent['id']}/results/probabilities").status_code == 404
        listed = call.get("/jobs", params={"parent_job_id": parent["id"]})["jobs"]
        assert {job["id"] for job in listed} == {first, second}
        assert [job["id"] for job in call.get("/jobs")["jobs"]] == [parent["id"]]

    def test_a_failed_child(self, call):
        parent = call.run(several([X0], [{"gate": "nonsense", "target": 0}]))
        first, second = parent["child_job_ids"]
        assert parent["status"] == "completed"
        assert call.get(f"/jobs/{second}")["failure"]["code"] == "UnsupportedGate"
        found = call.get(f"/jobs/{parent['id']}/results/probabilities/aggregated")
        assert found == {first: {"1": 1.0}, second: {}}

    def test_all_children_failed(self, call):
        parent = call.run(several([{"gate": "nonsense", "target": 0}]))
        assert parent["status"] == "failed" and parent["results"] is None
        assert parent["failure"]["code"] == "UnsupportedGate"

    def test_gatesets_of_entries(self, call):
        body = several([X0], [{"gate": "gpi", "target": 0, "phase": 0}])
        body["input"]["circuits"][1]["gateset"] = "native"
        parent = call.run(body)
        found = call.get(f"/jobs/{parent['id']}/results/probabilities/aggregated")
        assert list(found.values()) == [{"1": 1.0}, {"1": 1.0}]

    def test_live_quirks(self, make):
        call = make(live_quirks=True)
        parent = call.run(several([X0], settings={"compilation": {"opt": 0}}))
        assert parent["stats"] == {} and parent["settings"] == {}
        assert call.get(f"/jobs/{parent['child_job_ids'][0]}")["type"] == "ionq.ore.v1"


class TestSampledResults:
    @pytest.fixture
    def job(self, call):
        gates = [{"gate": "gpi", "target": 0, "phase": 0}, {"gate": "nop", "target": 0}]
        noise = {"model": "aria-1", "seed": 42}
        body = circuit_job(*gates, gateset="native", qubits=2, noise=noise, shots=2000)
        return call.run(body)

    def test_all_formats_agree(self, call, job):
        def get(form):
            return call.get(f"/jobs/{job['id']}/results/{form}")

        def artifact(form):
            name = job["results"][f"ionq.result.{form}.json.v2"]["id"]
            return call.get(f"/jobs/{job['id']}/artifacts/{name}")

        shots, counts = get("shots"), get("histogram")
        assert len(shots) == 2000 and set(shots) <= {"0", "1"}
        assert counts == {key: shots.count(key) for key in sorted(set(shots))}
        assert get("probabilities") == {key: value / 2000 for key, value in counts.items()}
        turned = {format(int(key), "02b")[::-1]: value for key, value in counts.items()}
        assert artifact("histogram")["histogram"]["registers"]["output_all"] == turned
        shares = {key: value / 2000 for key, value in turned.items()}
        assert artifact("probabilities")["probabilities"]["registers"]["output_all"] == shares
        rows = artifact("shots")["shots"]
        assert [row["registers"]["output_all"] for row in rows] == [[int(s), 0] for s in shots]

    def test_the_seed_decides(self, call, job):
        gates = [{"gate": "gpi", "target": 0, "phase": 0}]
        options = {"gateset": "native", "qubits": 2, "shots": 2000}
        same = call.run(circuit_job(*gates, noise={"model": "aria-1", "seed": 42}, **options))
        both = [call.get(f"/jobs/{j['id']}/results/shots") for j in (job, same)]
        assert both[0] == both[1]

    def test_compiled_circuits(self, call, job):
        forms = job["output"]["compilation"]["compiled_circuits"]
        native = call.get(f"/jobs/{job['id']}/artifacts/{forms['ionq.native.v1']['id']}")
        assert native["circuit"] == [{"gate": "gpi", "target": 0, "phase": 0.0}]
        text = call("GET", f"/jobs/{job['id']}/artifacts/{forms['ionq.qasm3.v1']['id']}").text
        assert "gpi(0.0) q[0];" in text
        assert call.get(f"/jobs/{job['id']}/circuits/native") == native
        assert "error_mitigation" not in job["output"]


class TestChanges:
    def test_cancel_before_the_start(self, make):
        call = make(timing=Timing(latency=10, per_circuit=5))
        job_id = call.post(circuit_job())
        for _ in range(2):
            answer = call("PUT", f"/jobs/{job_id}/status/cancel")
            assert answer.json() == {"id": job_id, "status": "canceled"}
        call.emulator.settle()
        call.clock.advance(100)
        job = call.get(f"/jobs/{job_id}")
        assert job["status"] == "canceled" and job["failure"] is None and job["results"] is None
        assert call("GET", f"/jobs/{job_id}/cost").status_code == 404
        assert call.get("/emulator/bill", own=True)["entries"] == []

    def test_a_finished_job_cannot_be_cancelled(self, call):
        job = call.run(circuit_job())
        answer = call("PUT", f"/jobs/{job['id']}/status/cancel")
        assert answer.status_code == 409 and answer.json()["error"] == "Conflict"

    def test_cancel_a_parent(self, make):
        call = make(timing=Timing(latency=10, per_circuit=5), workers=1)
        parent = call.post(several([X0], [X0]))
        call.emulator.settle()
        call.clock.advance(12)
        assert call("PUT", f"/jobs/{parent}/status/cancel").status_code == 200
        job = call.get(f"/jobs/{parent}")
        children = [call.get(f"/jobs/{name}")["status"] for name in job["child_job_ids"]]
        assert (job["status"], *children) == ("canceled", "canceled", "canceled")
        (entry,) = call.get("/emulator/bill", own=True)["entries"]  # the one that had started
        assert entry["name"] == "c0"

    def test_delete(self, call):
        job_id = call.post(circuit_job())
        assert call("DELETE", f"/jobs/{job_id}").json() == {"id": job_id, "status": "deleted"}
        assert call("GET", f"/jobs/{job_id}").status_code == 404
        assert call("DELETE", f"/jobs/{job_id}").status_code == 404
        assert call.get("/jobs")["jobs"] == []

    def test_many_at_once(self, make):
        call = make(timing=Timing(latency=10))
        ids = [call.post(circuit_job()) for _ in range(2)]
        answer = call("PUT", "/jobs/status/cancel", json={"ids": ids})
        assert answer.json() == {"ids": ids, "status": "canceled"}
        answer = call("DELETE", "/jobs", json={"ids": ids})
        assert answer.json() == {"ids": ids, "status": "deleted"}
        assert call("DELETE", "/jobs", json={"ids": ids}).status_code == 404
        assert call("DELETE", "/jobs", json={"ids": 3}).status_code == 400

    def test_clone(self, call):
        job = call.run(circuit_job(name="first"))
        twin = call.post({"name": "second", "shots": 5}, f"/jobs/{job['id']}/clone")
        call.emulator.settle()
        copy = call.get(f"/jobs/{twin}")
        assert (copy["name"], copy["shots"], copy["status"]) == ("second", 5, "completed")
        assert call.get(f"/jobs/{twin}/results/probabilities") == {"0": 0.5, "3": 0.5}
        parent = call.run(several([X0], [X0]))
        copies = call.post({}, f"/jobs/{parent['id']}/clone")
        call.emulator.settle()
        assert len(call.get(f"/jobs/{copies}")["child_job_ids"]) == 2


class TestList:
    def test_pages_newest_first(self, call):
        ids = [call.post(circuit_job()) for _ in range(5)][::-1]
        found, following = [], None
        for size in (2, 2, 1):
            params = {"limit": 2} | ({} if following is None else {"next": following})
            page = call.get("/jobs", params=params)
            assert len(page["jobs"]) == size
            found += [job["id"] for job in page["jobs"]]
            following = page["next"]
        assert found == ids and following is None

    def test_a_new_job_does_not_shift_the_pages(self, call):
        ids = [call.post(circuit_job()) for _ in range(3)][::-1]
        page = call.get("/jobs", params={"limit": 2})
        call.post(circuit_job())
        rest = call.get("/jobs", params={"limit": 2, "next": page["next"]})
        assert [job["id"] for job in rest["jobs"]] == ids[2:]

    def test_filters(self, call):
        first, second = (call.post(circuit_job()) for _ in range(2))
        call.emulator.settle()
        call("DELETE", f"/jobs/{second}")

        def ids(**params):
            return [job["id"] for job in call.get("/jobs", params=params)["jobs"]]

        assert ids(status="completed") == [first] and ids(status="failed") == []
        assert ids(target="simulator,qpu.forte-1") == [first] and ids(target="qpu.forte-1") == []
        assert ids(ids=[first, second]) == [first]
        assert call("GET", "/jobs", params={"limit": 0}).status_code == 400
        assert call("GET", "/jobs", params={"next": "x"}).status_code == 400

    def test_cirq_gets_no_next_and_sends_its_limit_in_the_body(self, call):
        for _ in range(2):
            call.post(circuit_job())
        cirq = {"User-Agent": "cirq/1.7.0 (python/3.12.1)"}
        answer = call("GET", "/jobs", json={"limit": 1}, headers=cirq).json()
        assert len(answer["jobs"]) == 1 and answer["next"]
        assert "next" not in call("GET", "/jobs", headers=cirq).json()
        assert call.get("/jobs")["next"] is None


class TestKeys:
    @pytest.mark.parametrize("header", ["", "apiKey", "apiKey  ", "Bearer abc"])
    def test_a_key_is_needed(self, call, header):
        answer = call("GET", "/jobs", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.json()["error"] == "Unauthorized Error"
        assert "Invalid key" in answer.json()["message"]

    def test_backends_are_open(self, call):
        assert call("GET", "/backends", headers={"Authorization": ""}).status_code == 200
