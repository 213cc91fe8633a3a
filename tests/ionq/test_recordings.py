"""The client reads what servers of the API answered, both generations of it.

Set IONQ_RECORDINGS to a folder of recorded sessions to read those as well.
"""

import asyncio
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qjax import ionq
from qjax.ionq import ApiError, Backoff, Job, Outcomes, ShotTable
from qjax.ionq._client._results import is_outcomes, read_outcomes, read_shots
from tests.ionq.server import KEY, FakeTime, Reply, Server

GOLDEN = Path(__file__).parents[1] / "golden" / "ionq"


def sessions(folder):
    """Name -> exchanges, of the golden form or of whole recordings."""
    for path in sorted(Path(folder).glob("*.json")):
        data = json.loads(path.read_text())
        if "exchanges" not in data:
            continue
        yield (
            path.stem,
            [
                entry if "method" in entry else {**entry["request"], **entry["response"]}
                for entry in data["exchanges"]
            ],
        )


ALL = dict(sessions(GOLDEN))
if "IONQ_RECORDINGS" in os.environ:
    ALL |= dict(sessions(os.environ["IONQ_RECORDINGS"]))

ID = r"([^/]+)"
READERS = [
    ("GET", "/jobs", lambda c: c.list_jobs()),
    ("GET", "/jobs/estimate", lambda c: c.estimate(
        "b", qubits=1, shots=1, one_qubit_gates=1, two_qubit_gates=1)),
    ("GET", f"/jobs/{ID}", lambda c, i: c.get_job(i)),
    ("GET", f"/jobs/{ID}/cost", lambda c, i: c.get_cost(i)),
    ("GET", f"/jobs/{ID}/results/probabilities", lambda c, i: c.get_probabilities(
        i, num_qubits=8)),
    ("GET", f"/jobs/{ID}/results/probabilities/aggregated", lambda c, i: c.get_aggregated(i)),
    ("GET", f"/jobs/{ID}/results/shots", lambda c, i: c.get_shots(i, num_qubits=8)),
    ("GET", f"/jobs/{ID}/artifacts/{ID}", lambda c, i, a: c.get_artifact(i, a)),
    ("DELETE", f"/jobs/{ID}", lambda c, i: c.delete_job(i)),
    ("PUT", f"/jobs/{ID}/status/cancel", lambda c, i: c.cancel_job(i)),
    ("DELETE", "/jobs", lambda c: c.delete_jobs(["x"])),
    ("PUT", "/jobs/status/cancel", lambda c: c.cancel_jobs(["x"])),
    ("GET", "/backends", lambda c: c.list_backends()),
    ("GET", f"/backends/{ID}", lambda c, b: c.get_backend(b)),
    ("GET", f"/backends/{ID}/characterizations", lambda c, b: c.list_characterizations(b)),
    ("GET", f"/backends/{ID}/characterizations/{ID}",
     lambda c, b, i: c.get_characterization(b, i)),
    ("POST", "/jobs", lambda c: c._submitter._send("/jobs", {}, c._until())),
    ("POST", "/sessions", lambda c: c.create_session("b")),
    ("GET", "/sessions", lambda c: c.list_sessions()),
    ("GET", f"/sessions/{ID}", lambda c, s: c.get_session(s)),
    ("POST", f"/sessions/{ID}/end", lambda c, s: c.end_session(s)),
    ("GET", "/whoami", lambda c: c.whoami()),
]  # fmt: skip
FOREIGN = ("/", "/calibrations/current")  # addresses that only older clients ask for


def reader_of(exchange):
    """The call that asks for an answer, None for addresses that are no part of the API."""
    path = exchange["path"].removeprefix("/v0.4")
    for method, pattern, call in READERS:
        found = re.fullmatch(pattern, path)
        if method == exchange["method"] and found:
            return lambda client: call(client, *found.groups())
    assert path in FOREIGN and exchange["status"] == 404, path
    return None


async def read(exchanges):
    """What the client makes of each answer: a value or an error."""
    now: dict = {}
    made = []
    async with Server(lambda _: Reply(now["status"], now["body"], now["headers"])) as server:
        client = ionq.AsyncIonQClient(
            KEY, base_url=server.url, backoff=Backoff(tries=1), clock=FakeTime().clock,
            requests_per_second=None,
        )  # fmt: skip
        async with client:
            for now in exchanges:
                call = reader_of(now)
                if call is None:
                    continue
                try:
                    made.append((now, await call(client)))
                except Exception as error:
                    made.append((now, error))
    return made


@pytest.mark.parametrize("name", ALL)
def test_every_answer_is_read(name):
    made = asyncio.run(read(ALL[name]))
    assert made or all(reader_of(e) is None for e in ALL[name])
    for exchange, value in made:
        if exchange["status"] < 300:
            assert not isinstance(value, Exception), (exchange, value)
        elif exchange["method"] == "POST" and exchange["status"] in (500, 503, 504):
            assert "was answered" in str(value)  # a doubt: the job may have been taken
        else:
            assert isinstance(value, ApiError) and value.status == exchange["status"]
        if isinstance(value, Job):
            assert value.id == exchange["body"]["id"] and value.raw == exchange["body"]


def bodies(name, path):
    return [e["body"] for e in ALL[name] if re.search(path, e["path"]) and e["status"] < 300]


def last_job(name):
    return Job.from_json(bodies(name, rf"/jobs/{ID}$")[-1])


class TestWhatTheyTeach:
    def test_order_of_bits(self):
        name = "cirq_asymmetric_x0_endianness"
        (payload,) = bodies(name, "results/probabilities$")
        outcomes = read_outcomes(payload, num_qubits=last_job(name).stats.qubits)
        assert outcomes.probabilities() == {"100": 1.0}

    @pytest.mark.parametrize("generation", ["legacy", "artifact", "union"])
    def test_generations_of_results(self, generation):
        job = last_job(f"shape_{generation}_cirq")
        wanted = {
            "legacy": {"probabilities"},
            "artifact": {"ionq.result.probabilities.json.v1"},
            "union": {"probabilities", "ionq.result.probabilities.json.v1"},
        }
        assert set(job.results) == wanted[generation]
        for link in job.results.values():
            assert link.url or link.id

    def test_a_sampled_job_with_shots(self):
        name = "shape_live_qiskit_qpu"
        job = last_job(name)
        assert job.is_sampled and {"shots", "histogram", "probabilities"} < set(job.results)
        (probabilities,) = bodies(name, "results/probabilities$")
        (shots,) = bodies(name, "results/shots$")
        table = read_shots(shots, num_qubits=2)
        assert isinstance(table, ShotTable) and table.bits.shape == (job.shots, 2)
        outcomes = read_outcomes(probabilities, num_qubits=2, shots=job.shots)
        assert outcomes.counts() == table.outcomes.counts()

    def test_circuits_of_a_job(self):
        name = "shape_live_ionqcore_multi"
        parent = Job.from_json(bodies(name, rf"/jobs/{ID}$")[0])
        (aggregate,) = bodies(name, "aggregate")
        assert tuple(aggregate) == parent.child_job_ids
        assert all(map(is_outcomes, aggregate.values())) and not is_outcomes(aggregate)
        assert last_job(name).type == "ionq.ore.v1"

    def test_registers_of_a_program(self):
        (payload,) = bodies("qiskit_midcircuit_qasm3", "artifacts")
        table = read_shots(payload)
        assert list(table.registers) == ["c"] and table.bits.shape == (10, 2)
        assert isinstance(table.outcomes, Outcomes)

    def test_dry_run(self):
        job = last_job("qiskit_dry_run")
        assert job.dry_run and job.is_finished and not job.results
        (native,) = bodies("qiskit_dry_run", "artifacts")
        circuit = ionq.circuit_from_payload({**native, "gateset": "native"})
        assert circuit.count_operations() == {"GPI2": 1, "ZZ": 1}

    def test_failures(self):
        for name in ("cirq_failed_job_spec_shape", "cirq_failed_job_legacy_error_key"):
            failure = last_job(name).failure
            assert failure is not None and failure.code and failure.message
        cancelled = last_job("cirq_canceled_elsewhere_failure_null")
        assert cancelled.status == "canceled" and cancelled.failure is None

    def test_estimates(self):
        older = bodies("qiskit_estimate_legacy_shape", "estimate")[0]
        both = bodies("qiskit_calibration_estimate_cancel_delete", "estimate")[0]
        newer = {k: v for k, v in both.items() if k not in ("estimated_cost", "cost_unit")}
        newer.pop("rate_information")
        read = [ionq.CostEstimate.from_json(body) for body in (older, both, newer)]
        assert len({(e.total, e.unit, e.minimum, e.rate_1q, e.rate_2q) for e in read}) == 1
        assert read[0].minimum == 97.5

    def test_retry_after(self):
        headers = [e["headers"] for e in ALL["ionqcore_retry_429_retry_after"]]
        assert any("Retry-After" in h for h in headers)

    def test_live_jobs(self):
        data = json.loads((GOLDEN / "live-jobs.json").read_text())["jobs"]
        jobs = [Job.from_json(entry) for entry in data]
        assert len(jobs) == 6 and all(job.is_finished and job.is_sampled for job in jobs)
        single = jobs[1]
        assert single.submitted_at == datetime(2026, 8, 25, 22, 17, 41, 901000, UTC)
        assert single.stats.gate_counts["1q"] == 120 and single.stats.qubits == 5
        assert not single.debiased and len(single.results) == 6
        parent, *children = jobs[2:]
        assert parent.child_job_ids == tuple(child.id for child in children)
        assert all(child.parent_job_id == parent.id for child in children)
        assert parent.stats == ionq.JobStats() and parent.stats.qubits is None
