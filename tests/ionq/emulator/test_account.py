"""Prices, bills, sessions, machines and the rest of the account."""

import pytest

from qjax.ionq.emulator import Timing
from tests.ionq.emulator.conftest import circuit_job

GPI2 = {"gate": "gpi2", "target": 0, "phase": 0}
ZZ = {"gate": "zz", "targets": [0, 1], "angle": 0.25}


def native(shots=100, **more):
    return circuit_job(GPI2, ZZ, gateset="native", backend="qpu.forte-1", shots=shots, **more)


class TestPrices:
    def test_a_dry_run_is_priced_and_not_run(self, call):
        job = call.run(native(dry_run=True))
        assert job["status"] == "completed" and job["results"] is None and job["dry_run"]
        assert job["predicted_execution_duration_ms"] == round(597 + 100 * (0.130 + 0.945))
        assert "ionq.native.v1" in job["output"]["compilation"]["compiled_circuits"]
        cost = call.get(f"/jobs/{job['id']}/cost")
        assert cost["dry_run"] and cost["estimated_cost"] == {"value": 25.7899, "unit": "usd"}
        assert cost["cost"]["value"] == cost["actual_cost"]["value"] == 0
        assert call.get("/emulator/bill", own=True)["entries"] == []
        assert call("GET", f"/jobs/{job['id']}/results/probabilities").status_code == 404

    def test_a_large_job_is_priced_by_its_gates(self, call):
        gates = [GPI2] * 128 + [ZZ] * 32
        body = circuit_job(
            *gates, gateset="native", backend="qpu.forte-1", shots=10_000, dry_run=True
        )
        job = call.run(body)
        assert call.get(f"/jobs/{job['id']}/cost")["estimated_cost"]["value"] == 568.64

    def test_bill_and_usage(self, make):
        call = make(timing=Timing(latency=10))
        job_id = call.post(native(name="first", metadata={"k": "v"}))
        call.emulator.settle()
        cost = call.get(f"/jobs/{job_id}/cost")
        assert "cost" not in cost and cost["estimated_cost"]["value"] == 25.7899
        assert call.get("/emulator/bill", own=True) == {"unit": "usd", "total": 0, "entries": []}
        call.clock.advance(10)
        assert call.get(f"/jobs/{job_id}/cost")["cost"]["value"] == 25.7899
        call("DELETE", f"/jobs/{job_id}")
        bill = call.get("/emulator/bill", own=True)
        (entry,) = bill["entries"]
        assert bill["total"] == entry["amount"] == 25.7899
        assert (entry["job_id"], entry["name"], entry["shots"]) == (job_id, "first", 100)
        assert entry["metadata"] == {"k": "v"}
        for by, group in (("job", job_id), ("project", "944904d6-2e30-4cfb-8bc4-04afaabcdd42")):
            params = {"group_by": by, "modality": "daily", "start_date": "2026-01-01"}
            usage = call.get("/organizations/self/usage", params=params)
            assert usage["amount_total"] == 25.7899 and usage["job_count"] == 1
            (period,) = usage["usage_data"]
            assert period["from"] == "2026-01-01"
            assert period["group_usages"][0]["group_id"] == group
        late = call.get("/organizations/self/usage", params={"start_date": "2026-02-01"})
        assert late["amount_total"] == 0
        assert call("GET", "/organizations/other/usage").status_code == 403
        assert call.get("/projects")[0]["quotaUsage"] == 25.7899

    def test_equal_circuits_share_a_mark_on_the_bill(self, call):
        for name in ("a", "b"):
            call.run(native(name=name))
        first, second = call.get("/emulator/bill", own=True)["entries"]
        assert first["circuit"] == second["circuit"] and first["job_id"] != second["job_id"]

    def test_no_cost_before_it_is_known(self, call):
        assert call("GET", "/jobs/00000000-0000-7000-8000-000000000000/cost").status_code == 404

    def test_estimate_has_both_generations(self, call):
        params = {"backend": "qpu.forte-1", "shots": 10_000, "1q_gates": 128, "2q_gates": 32}
        found = call.get("/jobs/estimate", params=params)
        assert found["estimated_cost"] == found["estimated_total_cost"] == 568.64
        assert found["input_values"] == found["estimate_context"]
        assert found["input_values"]["qubits"] == 25
        assert found["rate_information"]["job_cost_minimum"] == 25.7899
        assert found["rate_card"]["rates"][0]["sku"] == "qpu.forte-1"
        mitigated = call.get("/jobs/estimate", params={**params, "error_mitigation": "true"})
        assert mitigated["rate_information"]["job_cost_minimum"] == 168.195
        assert call("GET", "/jobs/estimate").status_code == 400
        assert call("GET", "/jobs/estimate", params={**params, "shots": "x"}).status_code == 400


class TestMitigation:
    @pytest.mark.parametrize(
        ("shots", "settings", "on"),
        [
            (100, {}, False),
            (500, {}, False),  # native circuits are not debiased by themselves
            (500, {"error_mitigation": {"debiasing": True}}, True),
            (500, {"error_mitigation": {"debiasing": False}}, False),
        ],
    )
    def test_native_jobs(self, call, shots, settings, on):
        job = call.run(native(shots=shots, settings=settings, dry_run=True))
        assert job["output"]["error_mitigation"]["debiasing"] is on
        cost = call.get(f"/jobs/{job['id']}/cost")["estimated_cost"]["value"]
        assert cost == (168.195 if on else 25.7899)

    def test_voting_gives_each_variant_to_its_winner(self, call):
        on = {"error_mitigation": {"debiasing": True}}
        job = call.run(native(shots=640, settings=on))
        path = f"/jobs/{job['id']}/results/probabilities"
        shots = [int(value) for value in call.get(f"/jobs/{job['id']}/results/shots")]
        wanted: dict[str, float] = {}
        for k in range(32):
            part = shots[k::32]
            ranked = sorted(set(part), key=lambda value: -part.count(value))
            tie = len(ranked) > 1 and part.count(ranked[0]) == part.count(ranked[1])
            for value in ranked if tie else ranked[:1]:
                share = part.count(value) / 640 if tie else 20 / 640
                wanted[str(value)] = wanted.get(str(value), 0) + share
        for params in ({"sharpen": "True"}, {"sharpen": "1"}, {"aggregation": "voting"}):
            found = call.get(path, params=params)
            assert found == pytest.approx(wanted)
        average = call.get(path)
        assert average == call.get(path, params={"sharpen": "false"}) != pytest.approx(wanted)
        assert call("GET", path, params={"aggregation": "x"}).status_code == 400

    def test_voting_changes_nothing_without_mitigation(self, call):
        job = call.run(native(shots=640))
        path = f"/jobs/{job['id']}/results/probabilities"
        assert call.get(path) == call.get(path, params={"sharpen": "true"})


class TestSessions:
    LIMITS = {
        "job_count_limit": 1,
        "duration_limit_min": 10,
        "cost_limit": {"unit": "usd", "value": 5},
    }

    def test_life(self, call):
        session_id = call.post({"backend": "qpu.forte-1", "settings": self.LIMITS}, "/sessions")
        session = call.get(f"/sessions/{session_id}")
        assert session["status"] == "created" and session["active"]
        assert session["settings"] == {**self.LIMITS, "expires_at": "2026-01-01T00:10:00.000Z"}
        job_id = call.post(native(session_id=session_id))
        assert call.get(f"/sessions/{session_id}")["status"] == "started"
        listed = call.get(f"/sessions/{session_id}/jobs")
        assert [job["id"] for job in listed["jobs"]] == [job_id]
        assert "limited to 1 jobs" in call.refused(native(session_id=session_id))
        ended = call("POST", f"/sessions/{session_id}/end").json()
        assert ended["status"] == "ended" and not ended["active"] and ended["ender_id"]
        assert "has ended" in call.refused(native(session_id=session_id))
        assert call.get("/sessions", params={"active": "true"})["sessions"] == []
        assert len(call.get("/sessions")["sessions"]) == 1

    def test_cost_limit(self, call):
        limits = {**self.LIMITS, "job_count_limit": None}
        session_id = call.post({"backend": "qpu.forte-1", "settings": limits}, "/sessions")
        first, second = (call.run(native(session_id=session_id)) for _ in range(2))
        assert first["status"] == "completed"
        assert second["failure"]["code"] == "QuotaExhaustedError"
        assert "limited to $5.00, of which $25.79 are spent" in second["failure"]["message"]

    def test_it_expires(self, call):
        session_id = call.post({"backend": "qpu.forte-1", "settings": self.LIMITS}, "/sessions")
        call.clock.advance(600)
        assert call.get(f"/sessions/{session_id}")["status"] == "ended"
        assert "has ended" in call.refused(native(session_id=session_id))

    def test_errors(self, call):
        session_id = call.post({"backend": "qpu.forte-1"}, "/sessions")
        assert "is for qpu.forte-1" in call.refused(circuit_job(session_id=session_id))
        assert call("POST", "/jobs", json=circuit_job(session_id="x")).status_code == 404
        assert '"backend" must be one of' in call.refused({}, "/sessions")
        bad = {"backend": "qpu.forte-1", "settings": {"job_count_limit": "x"}}
        assert '"settings.job_count_limit"' in call.refused(bad, "/sessions")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ([], '"settings" must be of type object'),
            ("x", '"settings" must be of type object'),
            ({"duration_limit_min": 10**12}, '"settings.duration_limit_min" must be between 1'),
            ({"duration_limit_min": -1}, '"settings.duration_limit_min" must be between 1'),
            ({"job_count_limit": 0}, '"settings.job_count_limit" must be between 1'),
            ({"cost_limit": 5}, '"settings.cost_limit" must be of type object'),
            ({"cost_limit": {"value": "5"}}, '"settings.cost_limit.value" must be a number'),
        ],
    )
    def test_limits_that_do_not_fit(self, call, settings, message):
        body = {"backend": "qpu.forte-1", "settings": settings}
        assert message in call.refused(body, "/sessions")
        assert '"backend" must be one of' in call.refused({**body, "backend": []}, "/sessions")
        assert call.get("/sessions")["sessions"] == []

    def test_an_account_without_sessions(self, make):
        call = make(with_sessions=False)
        assert call("POST", "/sessions", json={"backend": "qpu.forte-1"}).status_code == 404
        assert call("GET", "/sessions").status_code == 404


class TestMachines:
    def test_backends(self, call):
        names = [backend["backend"] for backend in call.get("/backends")]
        assert names[:2] == ["simulator", "qpu.aria-1"]
        forte = call.get("/backends/qpu.forte-1")
        assert (forte["qubits"], forte["status"]) == (36, "available")
        assert forte["supported_native_gates"] == ["gpi", "gpi2", "zz"]
        assert call.get("/backends/simulator")["noise_models"][0] == "ideal"
        assert call("GET", "/backends/qpu.qpu").status_code == 404

    def test_characterizations(self, call):
        path = "/backends/qpu.forte-1/characterizations"
        newest = call.get("/backends/qpu.forte-1")["characterization_id"]
        page = call.get(path, params={"limit": 3})
        assert len(page["characterizations"]) == 3 and page["pages"] == 4
        record = page["characterizations"][0]
        assert record["id"] == newest and record == call.get(f"{path}/{newest}")
        assert len(record["connectivity"]) == 36 * 35 // 2
        assert record["timing"]["1q"] == 130e-6
        fidelity = {name: entry["median"] for name, entry in record["fidelity"].items()}
        # a pure state keeps 1 - r + r/d under rho -> (1 - r) rho + r I/d
        assert fidelity["1q"] == pytest.approx(1 - 0.00026667 / 2, abs=1e-6)
        assert fidelity["2q"] == pytest.approx(1 - 0.00494933 * 3 / 4, abs=1e-6)
        assert fidelity["spam"] == 1
        second = call.get(path, params={"limit": 3, "page": 2})["characterizations"]
        assert second[0]["date"] < page["characterizations"][-1]["date"]
        since = call.get(path, params={"start": "2026-01-01"})["characterizations"]
        assert [r["date"] for r in since] == ["2026-01-01T00:00:00.000Z"]
        assert call.get("/backends/simulator/characterizations")["characterizations"] == []
        assert call("GET", f"{path}/x").status_code == 404

    def test_whoami(self, call):
        assert set(call.get("/whoami")) == {"key_id", "key_name", "project_id"}
