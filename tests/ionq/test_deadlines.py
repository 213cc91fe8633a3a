"""One deadline for all of a call, wherever the time goes."""

import asyncio
import time

import pytest

from qjax import ionq
from qjax.ionq import DeadlineError, Submission
from tests.ionq.server import FakeIonQ, FakeTime, Reply, job_json
from tests.ionq.test_client import BELL, replies, run

ME = Reply(200, {"key_id": "K"})
SHORT = 0.2  # seconds; what hangs would hang for an hour


def hanging(service, where):
    """A service that never answers requests with `where` in their path."""
    return lambda request: Reply(fault="hang") if where in request.path else service(request)


@pytest.mark.parametrize("where", ["/backends/", "/results/"])
def test_a_part_of_run_that_hangs(where):
    service, start = FakeIonQ(polls=0), time.monotonic()
    with pytest.raises(DeadlineError, match=f"deadline of {SHORT:g} s would pass .*{where}") as e:
        run(
            lambda c: c.run(BELL, backend="simulator", deadline=SHORT), hanging(service, where),
        )  # fmt: skip
    assert time.monotonic() - start < 30
    assert len(service.jobs) == (where == "/results/")
    assert e.value.job_id == next(iter(service.jobs), None)


def test_results_and_memory_take_deadlines():
    links = {"probabilities": {"url": "/v0.4/results/P"}, "shots": {"url": "/v0.4/results/S"}}
    handler = hanging(replies(Reply(200, job_json("J", results=links))), "/results/")

    async def both(client):
        job = await client.get_job("J")
        with pytest.raises(DeadlineError, match="results/P"):
            await client.results(job, deadline=SHORT)
        with pytest.raises(DeadlineError, match="results/S"):
            await client.memory(job, deadline=SHORT)

    run(both, handler)


def test_waiting_for_a_place_among_the_requests_under_way():
    async def crowded(client):
        first = asyncio.ensure_future(client.whoami())
        await asyncio.sleep(0)  # takes the only place
        with pytest.raises(DeadlineError, match="while waiting for one of the requests under way"):
            await client.wait_for_job("J", deadline=SHORT)
        first.cancel()
        await asyncio.wait([first])

    run(crowded, replies(Reply(fault="hang")), concurrency=1)


def test_waiting_for_a_search_by_another():
    async def crowded(client):
        first = asyncio.ensure_future(client.find_job("a"))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError, match="while waiting for a search of the list of jobs"):
            await client.find_job("b", deadline=SHORT)
        first.cancel()
        await asyncio.wait([first])

    run(crowded, replies(Reply(fault="hang")))


def test_places_are_given_back():
    async def several(client):
        for _ in range(3):
            with pytest.raises(DeadlineError):
                await client.wait_for_job("slow", deadline=0.05)
        return await asyncio.gather(*(client.whoami() for _ in range(3)))

    found, _ = run(several, hanging(replies(ME), "/jobs/slow"), concurrency=1)
    assert len(found) == 3


def test_a_deadline_that_has_passed_sends_nothing():
    time = FakeTime()

    async def late(client):
        until = client._until(1.0)
        time.now += 2
        with pytest.raises(DeadlineError, match="The deadline passed before GET was sent"):
            await client._machine("simulator", until)
        with pytest.raises(DeadlineError):
            await client.run(BELL, backend="simulator", deadline=1e-9)

    clockwork = FakeIonQ()
    _, requests = run(late, clockwork, time)
    assert not clockwork.jobs and all(r.method == "GET" for r in requests)


def test_estimates_of_many_circuits_share_one():
    time = FakeTime()

    def slow(request):
        time.now += 2
        return Reply(200, {"estimated_total_cost": 1, "estimated_unit": "usd"})

    with pytest.raises(DeadlineError):
        run(
            lambda c: c.estimate_job(BELL, backend="qpu.forte-1", shots=500), slow, time,
            deadline=1,
        )  # fmt: skip


def test_the_search_ends_with_its_deadline_and_says_so():
    service = FakeIonQ(hidden_for=10**6)
    service.fault = lambda request: (Reply(500), True) if request.method == "POST" else None
    with pytest.raises(ionq.SubmissionUnknownError, match="ended early: The deadline of 3 s"):
        run(
            lambda c: c.run(BELL, backend="simulator", deadline=3), service, FakeTime(),
            submission=Submission(window=60),
        )  # fmt: skip
