"""The client against a loopback server: endpoints, options, limits, waiting."""

import asyncio
import json
from datetime import date

import numpy as np
import pytest

import qjax as qj
from qjax import ionq
from qjax.ionq import (
    AsyncIonQClient,
    BadRequestError,
    DeadlineError,
    InvalidJobError,
    IonQClient,
    JobCanceledError,
    JobFailedError,
    NotFoundError,
    PayloadError,
    ResponseError,
)
from tests.ionq.server import KEY, FakeIonQ, FakeTime, Reply, Server, job_json, serving

BELL = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
ASYMMETRIC = qj.Circuit(3, [qj.X(0)])


def client_for(server, time=None, **options):
    clock = None if time is None else time.clock
    options = {"requests_per_second": None, "clock": clock, **options}
    return AsyncIonQClient(KEY, base_url=server.url, **options)


def run(test, handler, time=None, **options):
    """Runs `await test(client)` against a server; returns its result and the requests."""

    async def main():
        async with Server(handler) as server, client_for(server, time, **options) as client:
            return await test(client), server.requests

    return asyncio.run(main())


def replies(*script):
    """A handler that gives each reply once, the last one for ever."""
    left = list(script)

    def handler(request):
        return left.pop(0) if len(left) > 1 else left[0]

    return handler


class TestJobs:
    def test_bell_from_end_to_end(self):
        service, time = FakeIonQ(polls=2), FakeTime()
        outcomes, requests = run(lambda c: c.run(BELL, backend="simulator"), service, time)
        assert outcomes.probabilities() == {"00": 0.25, "10": 0.75}  # key 1 is qubit 0
        assert [(r.method, r.path.split("/")[2]) for r in requests] == [
            ("GET", "backends"), ("POST", "jobs"), *[("GET", "jobs")] * 4
        ]  # fmt: skip
        body = requests[1].json
        assert body["type"] == "ionq.circuit.v1"
        assert body["input"] == {
            "gateset": "qis",
            "qubits": 2,
            "circuit": [
                {"gate": "h", "target": 0},
                {"gate": "cnot", "control": 0, "target": 1},
            ],
        }
        assert body["metadata"]["qjax_tag"].startswith("qjax-")
        assert body["metadata"]["qjax_qubits"] == "2"
        assert set(body) == {"type", "backend", "shots", "input", "metadata"}

    def test_several_circuits_come_back_in_order(self):
        circuits = [BELL, ASYMMETRIC, BELL]
        found, requests = run(
            lambda c: c.run(circuits, backend="simulator"), FakeIonQ(), FakeTime()
        )
        assert [o.probabilities() for o in found] == [{"00": 1.0}, {"100": 1.0}, {"01": 1.0}]
        body = requests[1].json
        assert body["type"] == "ionq.multi-circuit.v1"
        assert [c["qubits"] for c in body["input"]["circuits"]] == [2, 3, 2]

    def test_every_option_reaches_the_wire(self):
        async def create(client):
            await client.create_job(
                BELL, backend="simulator", shots=1000, name="bell", metadata={"owner": "me"},
                session_id="S", dry_run=True, noise="aria-1", seed=7,
                compilation={"opt": 0}, symmetry_verification=True, tag="mine",
            )  # fmt: skip
            await client.create_job(BELL, backend="qpu.forte-1", shots=500, debiasing=False)

        _, requests = run(create, FakeIonQ())
        first, second = (r.json for r in requests if r.method == "POST")
        assert first | {"input": None} == {
            "type": "ionq.circuit.v1", "backend": "simulator", "shots": 1000, "name": "bell",
            "metadata": {"owner": "me", "qjax_tag": "mine", "qjax_qubits": "2"}, "input": None,
            "session_id": "S", "dry_run": True, "noise": {"model": "aria-1", "seed": 7},
            "settings": {"compilation": {"opt": 0},
                         "error_mitigation": {"symmetry_verification": True}},
        }  # fmt: skip
        assert second["settings"] == {"error_mitigation": {"debiasing": False}}

    def test_openqasm_is_sent_as_it_is(self):
        text = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[1] q;\nh q[0];\n'
        _, requests = run(lambda c: c.create_job(text, backend="simulator"), FakeIonQ())
        assert requests[1].json["type"] == "ionq.qasm3.v1"
        assert requests[1].json["input"] == {"data": text}

    def test_native_gates(self):
        circuit = qj.Circuit(2, [ionq.GPI2(0.25, 0), ionq.ZZ(0.25, 0, 1)])
        _, requests = run(
            lambda c: c.create_job(circuit, backend="qpu.forte-1", gateset="native", shots=500),
            FakeIonQ(),
        )
        assert requests[1].json["input"]["gateset"] == "native"

    def test_description_of_a_machine_is_asked_for_once_a_minute(self):
        time = FakeTime()

        async def create(client):
            await client.create_job(BELL, backend="simulator")
            await client.create_job(BELL, backend="simulator")
            time.now += 61
            await client.create_job(BELL, backend="simulator")

        _, requests = run(create, FakeIonQ(), time)
        assert [r.method for r in requests] == ["GET", "POST", "POST", "GET", "POST"]

    def test_failed_job(self):
        failed = {"failure": {"code": "NotEnoughQubits", "message": "fewer qubits"}}
        handler = replies(Reply(200, job_json("J", "failed", **failed)))
        with pytest.raises(JobFailedError, match=r"Job J failed \(NotEnoughQubits\): fewer") as e:
            run(lambda c: c.wait_for_job("J"), handler)
        assert (e.value.job_id, e.value.code, e.value.retryable) == ("J", "NotEnoughQubits", False)

    def test_failure_of_the_older_form_and_without_one(self):
        older = {"failure": {"error": "broken", "code": "InternalError"}}
        for changes, text in ((older, "broken"), ({}, "gave no reason")):
            handler = replies(Reply(200, job_json("J", "failed", **changes)))
            with pytest.raises(JobFailedError, match=text):
                run(lambda c: c.wait_for_job("J"), handler)

    def test_cancelled_job(self):
        handler = replies(Reply(200, job_json("J", "canceled")))
        with pytest.raises(JobCanceledError, match="Job J was cancelled and has no results"):
            run(lambda c: c.wait_for_job("J"), handler)

    def test_failed_circuit_of_a_job(self):
        parent = job_json(
            "P", child_job_ids=["A", "B"], stats={}, results={
                "probabilities": {"url": "/v0.4/jobs/P/results/probabilities/aggregated"}},
        )  # fmt: skip
        child = job_json("B", "failed", failure={"code": "QuotaExhaustedError", "message": "q"})

        def handler(request):
            if request.path.endswith("aggregated"):
                return Reply(200, {"A": {"0": 1.0}, "B": {"error": "?"}})
            return Reply(200, child if request.path.endswith("B") else parent)

        async def both(client):
            job = await client.get_job("P")
            with pytest.raises(JobFailedError, match="Job B failed"):
                await client.results(job, num_qubits=2)
            return await client.results(job, num_qubits=[1, 2], return_exceptions=True)

        (first, second), _ = run(both, handler)
        assert first.probabilities() == {"0": 1.0}
        assert isinstance(second, JobFailedError)

    def test_polling_grows_to_its_cap(self):
        time = FakeTime()
        run(lambda c: c.run(BELL, backend="simulator"), FakeIonQ(polls=13), time)
        expected = [min(30.0, 0.5 * 1.5**k) for k in range(13)]  # jitter is 0 at random() = 0.5
        np.testing.assert_allclose(time.slept, expected)

    def test_deadline_names_the_job_and_how_to_go_on(self):
        time = FakeTime()
        with pytest.raises(DeadlineError, match=r"wait again with client.wait_for_job\('J'\)") as e:
            run(
                lambda c: c.wait_for_job("J", deadline=20),
                replies(Reply(200, job_json("J", "ready"))),
                time,
            )
        assert e.value.job_id == "J"
        assert sum(time.slept) <= 20

    def test_deadline_of_the_client_holds_for_every_call(self):
        with pytest.raises(DeadlineError, match="deadline of 3 s would pass while waiting for an"):
            run(lambda c: c.whoami(), replies(Reply(503)), FakeTime(), deadline=3)

    @pytest.mark.parametrize("cancel_remote", [False, True])
    def test_cancelling_the_task_cancels_the_job_if_wanted(self, cancel_remote):
        service = FakeIonQ(polls=10**9)

        async def cancelled(client):
            started = asyncio.Event()
            service.fault = lambda request: (
                started.set() if request.path.startswith("/v0.4/jobs/") else None
            )
            task = asyncio.ensure_future(
                client.run(BELL, backend="simulator", cancel_remote=cancel_remote)
            )
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(cancelled, service)
        (job,) = service.jobs.values()
        assert job["status"] == ("canceled" if cancel_remote else None)

    def test_cancelling_during_submission_cancels_the_job_once_it_is_known(self):
        service = FakeIonQ(polls=10**9)

        async def cancelled(client):
            arrived, go = asyncio.Event(), asyncio.Event()

            async def slow(request):
                reply = service(request)
                if request.method == "POST":
                    arrived.set()
                    await go.wait()
                return reply

            async with Server(slow) as server, client_for(server) as other:
                task = asyncio.ensure_future(
                    other.run(BELL, backend="simulator", cancel_remote=True)
                )
                await arrived.wait()
                task.cancel()
                await asyncio.sleep(0)
                go.set()
                with pytest.raises(asyncio.CancelledError):
                    await task

        run(cancelled, service)
        (job,) = service.jobs.values()
        assert job["status"] == "canceled"

    def test_cancel_is_content_with_a_job_that_is_cancelled(self):
        handler = replies(Reply(409, {"message": "no"}), Reply(200, job_json("J", "canceled")))
        run(lambda c: c.cancel_job("J"), handler)
        handler = replies(Reply(400, {"message": "too late"}), Reply(200, job_json("J")))
        with pytest.raises(BadRequestError, match="too late"):
            run(lambda c: c.cancel_job("J"), handler)

    def test_delete_is_content_if_a_try_without_answer_deleted_it(self):
        gone = Reply(404, {"message": "Resource not found."})
        run(lambda c: c.delete_job("J"), replies(Reply(fault="reset"), gone), FakeTime())
        with pytest.raises(NotFoundError, match=r"DELETE /v0.4/jobs/J was answered 404"):
            run(lambda c: c.delete_job("J"), replies(gone), FakeTime())

    def test_bulk_delete_after_a_lost_answer_looks_what_is_left(self):
        lost, gone = Reply(fault="reset"), Reply(404, {"message": "Resource not found."})
        script = replies(lost, gone, Reply(200, {"jobs": []}))
        deleted, requests = run(lambda c: c.delete_jobs(["A", "B"]), script, FakeTime())
        assert deleted == ("A", "B") and requests[-1].query == {"ids": ["A", "B"]}
        script = replies(lost, gone, Reply(200, {"jobs": [job_json("B")]}))
        with pytest.raises(NotFoundError, match="DELETE /v0.4/jobs was answered 404"):
            run(lambda c: c.delete_jobs(["A", "B"]), script, FakeTime())
        _, requests = run(lambda c: missing(c.delete_jobs(["A"])), replies(gone), FakeTime())
        assert len(requests) == 1

    def test_paging(self):
        pages = [
            Reply(200, {"jobs": [job_json("A"), job_json("B")], "next": "x"}),
            Reply(200, {"jobs": [job_json("C")]}),
        ]

        async def ids(client):
            return [job.id async for job in client.iterate_jobs(backend="simulator", limit=2)]

        found, requests = run(ids, replies(*pages))
        assert found == ["A", "B", "C"]
        queries = [r.query for r in requests]
        assert queries[0] == {"target": ["simulator"], "limit": ["2"]}
        assert queries[1]["next"] == ["x"]

    @pytest.mark.parametrize("reply", [{"jobs": [], "next": "x"}, {"jobs": [], "next": None}])
    def test_an_empty_page_ends_the_list(self, reply):
        async def ids(client):
            return [job.id async for job in client.iterate_jobs()]

        assert run(ids, replies(Reply(200, reply)))[0] == []

    def test_bulk_calls_and_clone(self):
        service = replies(Reply(200, {"ids": ["A", "B"], "status": "canceled"}))
        confirmed, requests = run(lambda c: c.cancel_jobs(["A", "B"]), service)
        assert confirmed == ("A", "B") and requests[0].json == {"ids": ["A", "B"]}
        confirmed, requests = run(lambda c: c.delete_jobs(["A", "B"]), service)
        assert (requests[0].method, requests[0].path) == ("DELETE", "/v0.4/jobs")
        script = replies(
            Reply(200, job_json("J", metadata={"a": "b"})), Reply(201, {"id": "K", "status": "s"})
        )
        created, requests = run(lambda c: c.clone_job("J", shots=7), script)
        assert created.id == "K" and requests[1].path == "/v0.4/jobs/J/clone"
        assert requests[1].json["shots"] == 7 and requests[1].json["metadata"]["a"] == "b"
        script = replies(Reply(200, job_json("J", backend="qpu.forte-1")))
        with pytest.raises(InvalidJobError, match="debiasing=True or debiasing=False"):
            run(lambda c: c.clone_job("J", shots=700), script)

    def test_a_clone_keeps_other_settings(self):
        settings = {"compilation": {"opt": 0}, "error_mitigation": {"symmetry_verification": True}}
        script = replies(
            Reply(200, job_json("J", settings=settings)), Reply(201, {"id": "K", "status": "s"})
        )
        _, requests = run(lambda c: c.clone_job("J", debiasing=False), script)
        assert requests[1].json["settings"] == {
            "compilation": {"opt": 0},
            "error_mitigation": {"symmetry_verification": True, "debiasing": False},
        }

    def test_a_clone_of_one_circuit_forgets_the_sizes_of_the_others(self):
        for stats, expected in (({"qubits": 3}, "3"), ({}, None)):
            old = job_json(
                "C", parent_job_id="P", stats=stats, metadata={"qjax_qubits": "2,3", "a": "b"}
            )
            script = replies(Reply(200, old), Reply(201, {"id": "K", "status": "s"}))
            _, requests = run(lambda c: c.clone_job("C"), script)
            metadata = requests[1].json["metadata"]
            assert metadata.get("qjax_qubits") == expected
            assert metadata["a"] == "b" and metadata["qjax_tag"].startswith("qjax-")

    def test_what_cannot_be_cloned(self):
        full = replies(Reply(200, job_json("J", metadata={str(k): "" for k in range(10)})))
        with pytest.raises(InvalidJobError, match="Job J has 10 keys of metadata, which leaves no"):
            run(lambda c: c.clone_job("J"), full)
        with pytest.raises(InvalidJobError, match="`shots` must be a whole number between 1 and"):
            run(lambda c: c.clone_job("J", shots=0), replies(Reply(200, job_json("J"))))


async def missing(call):
    with pytest.raises(NotFoundError):
        await call


class TestResults:
    def test_a_histogram_is_preferred_and_links_are_followed_from_the_origin(self):
        links = {
            "histogram": {"url": "/v0.4/elsewhere/H"},
            "probabilities": {"url": "/v0.4/elsewhere/P"},
        }
        job = job_json("J", backend="qpu.forte-1", shots=4, results=links)

        def handler(request):
            if request.path == "/v0.4/elsewhere/H":
                return Reply(200, {"1": 3, "2": 1})
            if request.path == "/v0.4/elsewhere/P":
                return Reply(200, {"1": 0.75, "2": 0.25})
            return Reply(200, job)

        async def both(client):
            found = await client.get_job("J")
            voted = await client.results(found, aggregation="voting")
            return await client.results(found), voted

        (counted, voted), requests = run(both, handler)
        assert counted.counts() == voted.counts() == {"10": 3, "01": 1}
        assert requests[1].query == {"aggregation": ["voting"]}

    def test_artifacts_without_addresses(self):
        name = "ionq.result.probabilities.json.v1"
        link = {"id": "probabilities", "format": name, "media_type": "application/json"}
        job = job_json("J", results={name: link})

        def handler(request):
            return Reply(200, {"1": 1.0} if "artifacts" in request.path else job)

        async def results(client):
            return await client.results(await client.get_job("J"))

        outcomes, requests = run(results, handler)
        assert outcomes.probabilities() == {"10": 1.0}
        assert requests[1].path == "/v0.4/jobs/J/artifacts/probabilities"

    @pytest.mark.parametrize(
        "url", ["https://evil.example/x", "//evil.example/x", "http://127.0.0.1:1/x"]
    )
    def test_another_host_never_sees_the_key(self, url):
        job = job_json("J", results={"probabilities": {"url": url}})

        async def results(client):
            return await client.results(await client.get_job("J"))

        with pytest.raises(ResponseError, match="named a result on another host"):
            run(results, replies(Reply(200, job)))

    def test_redirects_are_not_followed(self):
        away = Reply(302, {}, {"Location": "http://127.0.0.1:1/elsewhere"})
        with pytest.raises(ionq.ApiError, match="answered 302"):
            run(lambda c: c.whoami(), replies(away))

    def test_memory(self):
        newer = "ionq.result.shots.json.v2"
        job = job_json("J", results={
            "shots": {"url": "/v0.4/jobs/J/results/shots"},
            newer: {"id": "shots-v2", "format": newer},
        })  # fmt: skip
        rows = [{"registers": {"c": [1, 0], "output_all": [1, 0]}}] * 2

        def handler(request):
            if request.path.endswith("shots-v2"):
                return Reply(200, {"shots": rows})
            if request.path.endswith("shots"):
                return Reply(200, ["1", "2", 3])
            return Reply(200, job)

        async def both(client):
            newest = await client.memory(await client.get_job("J"))
            return newest, await client.get_shots("J", num_qubits=2)

        (newest, older), _ = run(both, handler)
        assert newest.bits.tolist() == [[1, 0], [1, 0]]
        assert older.bits.tolist() == [[1, 0], [0, 1], [1, 1]]

    def test_no_memory_and_no_results(self):
        exact, dry = job_json("J"), job_json("D", dry_run=True, results=None)
        waiting = job_json("W", "ready")

        def handler(request):
            jobs = {job["id"]: job for job in (exact, dry, waiting)}
            return Reply(200, jobs[request.path.split("/")[-1]])

        async def errors(client):
            with pytest.raises(NotFoundError, match="kept no shots"):
                await client.memory(await client.get_job("J"))
            dry_job = await client.wait_for_job("D")
            with pytest.raises(InvalidJobError, match="was a dry run and has no results"):
                await client.results(dry_job)
            with pytest.raises(InvalidJobError, match="Job W is ready. Wait for it"):
                await client.results(await client.get_job("W"))

        run(errors, handler)

    def test_memory_of_several_circuits_is_a_list(self):
        links = {"shots": {"url": "/v0.4/results/S"}}
        parent = job_json(
            "P", child_job_ids=["A", "B"], metadata={"qjax_qubits": "2,3"}, results={}
        )

        def handler(request):
            if request.path.endswith("S"):
                return Reply(200, ["1", "2"])
            job_id = request.path.split("/")[-1]
            child = job_json(job_id, parent_job_id="P", metadata=parent["metadata"], results=links)
            return Reply(200, parent if job_id == "P" else child)

        async def memory(client):
            return await client.memory(await client.get_job("P"))

        (first, second), _ = run(memory, handler)
        assert first.bits.tolist() == [[1, 0], [0, 1]]
        assert second.bits.tolist() == [[1, 0, 0], [0, 1, 0]]

    @pytest.mark.parametrize("noted", ["abc", "2,", "", ["2"]])
    def test_sizes_that_are_no_numbers(self, noted):
        job = job_json("J", metadata={"qjax_qubits": noted})

        async def results(client):
            await client.results(await client.get_job("J"))

        with pytest.raises(ResponseError, match="metadata `qjax_qubits` of job J must be numbers"):
            run(results, replies(Reply(200, job)))

    def test_compiled_circuit(self):
        link = {"id": "native", "format": "ionq.native.v1", "media_type": "application/json"}
        output = {"compilation": {"compiled_circuits": {"ionq.native.v1": link}}}
        gates = [{"gate": "gpi2", "target": 0, "phase": 0.5}, {"gate": "zz", "targets": [0, 1]}]

        def handler(request):
            if request.path.endswith("artifacts/native"):
                return Reply(200, {"qubits": 2, "circuit": gates})
            return Reply(200, job_json("J", output=output))

        async def compiled(client):
            return await client.get_compiled(await client.get_job("J"))

        circuit, _ = run(compiled, handler)
        assert circuit.count_operations() == {"GPI2": 1, "ZZ": 1}

    @pytest.mark.parametrize(
        "output",
        [{"compilation": 3}, {"compilation": {"compiled_circuits": {"ionq.native.v1": 3}}}],
    )
    def test_compiled_circuits_of_the_wrong_shape(self, output):
        async def compiled(client):
            return await client.get_compiled(await client.get_job("J"))

        with pytest.raises(ResponseError, match="compilation|result link"):
            run(compiled, replies(Reply(200, job_json("J", output=output))))

    def test_number_of_qubits_must_be_known(self):
        job = job_json("J", stats={})

        def handler(request):
            return Reply(200, {"1": 1.0} if "results" in request.path else job)

        async def results(client):
            found = await client.get_job("J")
            with pytest.raises(ResponseError, match="Pass `num_qubits`"):
                await client.results(found)
            return await client.results(found, num_qubits=4)

        assert run(results, handler)[0].probabilities() == {"1000": 1.0}


class TestAccount:
    def test_estimate_shows_both_prices(self):
        def handler(request):
            mitigated = request.query["error_mitigation"] == ["true"]
            total = 168.195 if mitigated else 25.79
            return Reply(200, {"estimated_total_cost": total, "estimated_unit": "usd"})

        estimate, requests = run(
            lambda c: c.estimate_job([BELL, BELL], backend="qpu.forte-1", shots=1000), handler
        )
        assert estimate == (2 * 25.79, 2 * 168.195, "usd", True)
        assert len(requests) == 2
        assert requests[0].query["1q_gates"] == ["1"] and requests[0].query["2q_gates"] == ["1"]
        few, _ = run(lambda c: c.estimate_job(BELL, backend="qpu.forte-1", shots=499), handler)
        assert few.debiased is None and not few.debiased_by_default

    def test_sessions(self):
        session = {
            "id": "S", "backend": "qpu.forte-1", "status": "created", "active": True,
            "created_at": "2026-11-22T10:17:13Z",
            "settings": {"job_count_limit": 3, "cost_limit": {"unit": "usd", "value": 5}},
        }  # fmt: skip
        created, requests = run(
            lambda c: c.create_session("qpu.forte-1", job_count_limit=3, cost_limit_usd=5),
            replies(Reply(201, session)),
        )
        assert created.settings.cost_limit == ionq.Cost(value=5, unit="usd")
        assert requests[0].json == {
            "backend": "qpu.forte-1",
            "settings": {"job_count_limit": 3, "cost_limit": {"unit": "usd", "value": 5}},
        }
        ended, requests = run(lambda c: c.end_session("S"), replies(Reply(200, session)))
        assert requests[0].path == "/v0.4/sessions/S/end" and ended.id == "S"
        listed, requests = run(
            lambda c: c.list_sessions(active=True), replies(Reply(200, {"sessions": [session]}))
        )
        assert listed == (created,) and requests[0].query == {"active": ["true"]}

    def test_account_without_sessions(self):
        missing = Reply(404, {"message": "Resource not found."}, {"x-request-id": "R1"})
        with pytest.raises(NotFoundError, match="The account does not have sessions, or") as e:
            run(lambda c: c.create_session("qpu.forte-1"), replies(missing))
        assert (e.value.status, e.value.request_id) == (404, "R1")

    def test_usage_and_characterisations(self):
        usage, requests = run(
            lambda c: c.get_usage(date(2026, 8, 1), date(2026, 8, 31)),
            replies(Reply(200, {"amount_total": 25.79, "usage_unit": "usd", "job_count": 3})),
        )
        assert (usage.amount, usage.jobs) == (25.79, 3)
        assert requests[0].path == "/v0.4/organizations/self/usage"
        assert requests[0].query["start_date"] == ["2026-08-01"]
        record = {"id": "C", "backend": "qpu.aria-1", "fidelity": {"2q": {"median": 0.98}}}
        page, requests = run(
            lambda c: c.list_characterizations("qpu.aria-1", start=date(2026, 8, 1), limit=1),
            replies(Reply(200, {"characterizations": [record], "pages": 1})),
        )
        assert page.characterizations[0].fidelity == {"2q": 0.98}
        assert requests[0].query == {"start": ["2026-08-01"], "limit": ["1"]}


MANY = [qj.Circuit(1, [qj.X(0)])]
REFUSED = [
    ({"circuits": qj.Circuit(30, [qj.X(29)])}, "Circuit 0 has 30 qubits, but simulator has 29"),
    ({"circuits": qj.Circuit(26, [qj.X(0)]), "noise": "aria-1"}, "with noise 'aria-1' has 25"),
    ({"shots": 0}, "`shots` must be a whole number between 1 and 1000000, but is 0"),
    ({"shots": 1_000_001}, "between 1 and 1000000, but is 1000001"),
    ({"shots": 1.5}, "`shots` must be a whole number"),
    ({"circuits": qj.Circuit(1)}, "must have at least one gate, but has none"),
    ({"circuits": qj.Circuit(1, [qj.Reset(0)])}, "has no gate for Reset"),
    ({"circuits": []}, "takes 1 to 5000 circuits, but `circuits` holds 0"),
    ({"circuits": MANY * 5001}, "`circuits` holds 5001"),
    ({"circuits": [qj.Circuit(1, [qj.X(0)] * 151)] * 1000}, "150000 gates in all"),
    ({"circuits": "qubit q;"}, "begins with its version, but begins with 'qubit q;'"),
    ({"circuits": "OPENQASM 2.0; qreg q[1];"}, "Read OpenQASM 2 with qjax.qasm.parse"),
    ({"circuits": "OPENQASM 3;", "backend": "qpu.forte-1", "shots": 500}, "from $25.79 to $168.20"),
    ({"circuits": "OPENQASM 3.0;", "backend": "qpu.forte-1", "shots": 500, "gateset": "native"},
     "debiasing=True or debiasing=False"),
    ({"circuits": None}, "must be a circuit, a list of circuits or an OpenQASM 3 program, but is "),
    ({"circuits": [None]}, "but is [None]"),
    ({"circuits": qj.Circuit(1, [qj.Measure(0, "c")])}, "all qubits are measured at the end."),
    ({"backend": None}, "`backend` must be a text that is not empty, but is None"),
    ({"name": 3}, "`name` must be a text that is not empty, but is 3"),
    ({"noise": ["x"]}, "`noise` must be a text that is not empty, but is ['x']"),
    ({"tag": ""}, "`tag` must be a text that is not empty, but is ''"),
    ({"compilation": {"opt": float("nan")}}, "cannot be written as JSON: Out of range"),
    ({"compilation": {"opt": object()}}, "cannot be written as JSON: Object of type object"),
    ({"compilation": [1]}, "`compilation` must be a mapping, but is [1]"),
    ({"metadata": [1]}, "`metadata` must be a mapping, but is [1]"),
    ({"backend": "qpu.harmony"}, "Backend 'qpu.harmony' is retired"),
    ({"backend": "qpu.nope"}, "The service has no backend 'qpu.nope'"),
    ({"backend": "qpu.forte-1", "shots": 500}, "from $25.79 to $168.20."),
    ({"backend": "qpu.forte-1", "shots": 499, "debiasing": True}, "needs 500 shots or more"),
    ({"debiasing": True, "shots": 500}, "must not be True on the simulator"),
    ({"noise": "nope"}, "`noise` must be one of ideal, aria-1, forte-1, but is 'nope'"),
    ({"noise": "aria-1", "backend": "qpu.forte-1"}, "`noise` is for the simulator"),
    ({"seed": 3}, "`seed` needs a noise model"),
    ({"noise": "aria-1", "seed": 0}, "`seed` must be a whole number between 1 and"),
    ({"metadata": {str(i): "" for i in range(9)}}, "at most 8 keys, but has 9"),
    ({"metadata": {"k" * 41: ""}}, "keys of at most 40 characters"),
    ({"metadata": {"k": "v" * 40_001}}, "values of at most 40000"),
    ({"metadata": {"k": 1}}, "must map texts to texts"),
    ({"metadata": {"qjax_tag": "x"}}, "must not use the keys ['qjax_tag']"),
    ({"circuits": "OPENQASM 3.0;" + " " * 10**7}, "takes 10 MB, but this one is 10.0 MB"),
    ({"circuits": qj.Circuit(2, [ionq.MS(0, 0, 0.25, 0, 1)]), "gateset": "native",
          "backend": "qpu.forte-1"}, "uses ms, but the native gates of qpu.forte-1 are gpi,"),
    ({"circuits": qj.Circuit(2, [ionq.ZZ(0.25, 0, 1)]), "gateset": "native", "noise": "aria-1"},
     "uses zz, but the native gates of aria-1 are"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "text"), REFUSED, ids=[text[:40] for _, text in REFUSED])
def test_bad_jobs_are_refused_before_anything_is_submitted(job, text):
    job = {"circuits": BELL, "backend": "simulator", **job}

    async def create(client):
        with pytest.raises((InvalidJobError, PayloadError)) as caught:
            await client.create_job(job.pop("circuits"), **job)
        return str(caught.value)

    told, requests = run(create, FakeIonQ())
    assert text in told
    assert all(r.method == "GET" and "/backends/" in r.path for r in requests)


class TestBlockingClient:
    def test_the_same_calls(self):
        with serving(FakeIonQ(polls=0)) as url:
            with IonQClient(KEY, base_url=url, requests_per_second=None) as client:
                outcomes = client.run(BELL, backend="simulator")
                assert outcomes.probabilities() == {"00": 0.25, "10": 0.75}
                assert [job.status for job in client.iterate_jobs()] == ["completed"]
                with pytest.raises(NotFoundError):
                    client.get_job("nope")
            with pytest.raises(ionq.ConfigurationError, match="is closed"):
                client.whoami()
            client.close()

    def test_has_every_coroutine_of_the_asynchronous_one(self):
        def names(kind):
            return {n for n in dir(kind) if not n.startswith("_")}

        assert names(AsyncIonQClient) - {"aclose"} == names(IonQClient) - {"close"}


def test_body_is_json_with_its_type():
    _, requests = run(lambda c: c.create_job(BELL, backend="simulator"), FakeIonQ())
    post = requests[1]
    assert post.headers["content-type"] == "application/json"
    assert post.headers["user-agent"].startswith("qjax/")
    assert json.loads(post.content)["shots"] == 100
