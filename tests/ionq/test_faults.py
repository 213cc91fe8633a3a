"""Faults of the network and the service: retries, pace, and submissions that happen once."""

import asyncio
import pickle
import random
import time as wall
from datetime import UTC, datetime
from email.utils import format_datetime

import numpy as np
import pytest

import qjax as qj
from qjax import ionq
from qjax.ionq import (
    ApiError,
    AuthenticationError,
    Backoff,
    BadRequestError,
    ConnectionFailedError,
    DeadlineError,
    RateLimitError,
    ResponseError,
    ServerError,
    Submission,
    SubmissionUnknownError,
    Timeouts,
)
from qjax.ionq._client._pace import retry_after_seconds
from tests.ionq.server import HTML, FakeIonQ, FakeTime, Reply, Server, job_json, serving
from tests.ionq.test_client import BELL, client_for, replies, run

ME = Reply(200, {"key_id": "K"})
RETRIED = [408, 409, 425, 429, 500, 502, 503, 504, 520, 529]
FINAL = [400, 401, 403, 404, 413, 422, 501]


class TestReads:
    @pytest.mark.parametrize("status", RETRIED)
    def test_transient_statuses_are_tried_again(self, status):
        time = FakeTime()
        me, requests = run(lambda c: c.whoami(), replies(Reply(status), Reply(status), ME), time)
        assert me.key_id == "K" and len(requests) == 3
        assert time.slept == [0.25, 0.5]  # half of the ceilings 0.5 and 1

    @pytest.mark.parametrize("status", FINAL)
    def test_others_are_not(self, status):
        with pytest.raises(ApiError, match=f"was answered {status}: no message") as caught:
            run(lambda c: c.whoami(), replies(Reply(status), ME))
        assert caught.value.status == status and not caught.value.retryable

    @pytest.mark.parametrize(
        "fault",
        [Reply(fault="reset"), Reply(200, {"key_id": "K"}, fault="cut"), HTML,
         Reply(200, b"<html>"), Reply(200, b'{"key_id": "K"')],
        ids=["reset", "cut", "html 502", "html 200", "half a JSON"],
    )  # fmt: skip
    def test_broken_answers_are_tried_again(self, fault):
        me, requests = run(lambda c: c.whoami(), replies(fault, ME), FakeTime())
        assert me.key_id == "K" and len(requests) == 2

    def test_no_answer_in_time(self):
        options = {"timeouts": Timeouts(read=0.05), "backoff": Backoff(tries=2)}
        with pytest.raises(ConnectionFailedError, match="GET /v0.4/whoami failed: ReadTimeout"):
            run(lambda c: c.whoami(), replies(Reply(fault="hang")), FakeTime(), **options)

    def test_deadline_ends_a_request_under_way(self):
        with pytest.raises(DeadlineError, match="last: GET /v0.4/whoami failed: no answer before"):
            run(lambda c: c.whoami(), replies(Reply(fault="hang")), deadline=0.05)

    def test_nobody_listens(self):
        async def main():
            async with Server(replies(ME)) as server:
                pass
            async with client_for(server, FakeTime(), backoff=Backoff(tries=3)) as client:
                await client.whoami()

        with pytest.raises(ConnectionFailedError, match="ConnectError") as caught:
            asyncio.run(main())
        assert not caught.value.sent

    def test_tries_end(self):
        time = FakeTime()
        with pytest.raises(ServerError) as caught:
            run(lambda c: c.whoami(), replies(Reply(500)), time, backoff=Backoff(1, 4, tries=6))
        assert time.slept == [0.5, 1, 2, 2, 2]
        assert caught.value.tries == 6 and caught.value.retryable

    def test_retry_after_in_seconds_and_as_a_date(self):
        date = format_datetime(datetime.fromtimestamp(FakeTime().now + 9, UTC), usegmt=True)
        for value, expected in (("7", 7.25), (date, 9.25)):
            time = FakeTime()
            script = replies(Reply(429, {}, {"Retry-After": value}), ME)
            run(lambda c: c.whoami(), script, time)
            assert time.slept == [pytest.approx(expected)]

    def test_retry_after_as_a_date_without_a_zone_is_universal_time(self, monkeypatch):
        monkeypatch.setenv("TZ", "America/New_York")
        wall.tzset()
        try:
            date = datetime.fromtimestamp(FakeTime().now + 9, UTC)
            text = format_datetime(date.replace(tzinfo=None))
            assert text.endswith("-0000")
            assert retry_after_seconds(text, FakeTime().clock) == pytest.approx(9)
        finally:
            monkeypatch.undo()
            wall.tzset()

    @pytest.mark.parametrize(
        "value",
        [
            "soon", "nan", "inf", "", "Wed, 99 Foo 2026 99:99:99 GMT",
            "99999999999999 Jan 2020 0:0:0 GMT",
        ],
    )  # fmt: skip
    def test_retry_after_that_means_nothing(self, value):
        assert retry_after_seconds(value, FakeTime().clock) is None

    def test_retry_after_beyond_the_deadline_fails_at_once(self):
        time = FakeTime()
        script = replies(Reply(429, {"message": "Slow down."}, {"Retry-After": "60"}))
        with pytest.raises(DeadlineError, match="last: GET /v0.4/whoami was answered 429"):
            run(lambda c: c.whoami(), script, time, deadline=30)
        assert time.slept == []

    def test_an_error_says_what_matters_and_no_more(self):
        body = {
            "statusCode": 400, "error": "Bad Request", "message": '"shots" must be a number',
            "validation": {"source": "payload", "keys": ["shots"]}, "debug": "x" * 5000,
        }  # fmt: skip
        with pytest.raises(BadRequestError) as caught:
            run(lambda c: c.whoami(), replies(Reply(400, body, {"x-request-id": "R7"})))
        assert str(caught.value) == (
            'GET /v0.4/whoami was answered 400: "shots" must be a number (fields: shots). '
            "Request R7."
        )
        assert caught.value.request_id == "R7" and isinstance(caught.value, ValueError)
        page = Reply(403, b"<html>" + b"x" * 10_000, {"Content-Type": "text/html"})
        with pytest.raises(ionq.ForbiddenError, match=r"not JSON \(text/html, 10006 bytes\)\.$"):
            run(lambda c: c.whoami(), replies(page))
        with pytest.raises(BadRequestError) as caught:
            run(lambda c: c.whoami(), replies(Reply(400, {"message": "y" * 9999})))
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ([], "owner of the key must be an object, but is list"),
            ({}, "owner of the key lacks the field `key_id`"),
            ({"key_id": 3}, "field `key_id` of the service's owner of the key must be str"),
        ],
    )
    def test_answers_of_the_wrong_shape(self, body, text):
        with pytest.raises(ResponseError, match=text) as caught:
            run(lambda c: c.whoami(), replies(Reply(200, body)))
        assert not caught.value.retryable

    @pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b'{"key_id": "'])
    def test_answers_that_cannot_be_read(self, body):
        with pytest.raises(ResponseError, match="a body that is not JSON") as caught:
            run(lambda c: c.whoami(), replies(Reply(200, body)), backoff=Backoff(tries=1))
        assert caught.value.retryable
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == str(caught.value) and again.retryable


class TestPace:
    def test_requests_per_second(self):
        time = FakeTime()

        async def several(client):
            for _ in range(4):
                await client.whoami()

        run(several, replies(ME), time, requests_per_second=2)
        np.testing.assert_allclose(time.slept, [0.5, 0.5, 0.5], atol=1e-6)

    def test_requests_under_way_are_bounded(self):
        async def busiest(concurrency, connections):
            now, most = 0, 0

            async def slow(request):
                nonlocal now, most
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.01)
                now -= 1
                return ME

            options = {"concurrency": concurrency, "connections": connections}
            async with Server(slow) as server, client_for(server, **options) as client:
                await asyncio.gather(*(client.whoami() for _ in range(20)))
            return most

        assert asyncio.run(busiest(100, 5)) == 5
        assert asyncio.run(busiest(3, 5)) == 3

    @pytest.mark.parametrize(
        ("kind", "options", "text"),
        [
            (Submission, {"window": -1}, "`window` must be at least 0, but is -1"),
            (Submission, {"first_look": 0}, "`first_look` must be positive, but is 0"),
            (Submission, {"page_size": 0}, "`page_size` must be at least 1, but is 0"),
            (Backoff, {"first": -1}, "`first` must be at least 0, but is -1"),
            (Backoff, {"cap": float("nan")}, "`cap` must be a finite number, but is nan"),
            (Backoff, {"tries": 0}, "`tries` must be at least 1, but is 0"),
            (Backoff, {"tries": 1.5}, "`tries` must be an integer, but is 1.5"),
            (ionq.PollSchedule, {"first": 0}, "`first` must be positive, but is 0"),
            (ionq.PollSchedule, {"factor": 0.5}, "`factor` must be between 1 and 100, but is 0.5"),
            (ionq.PollSchedule, {"jitter": 2}, "`jitter` must be between 0 and 1, but is 2"),
            (Timeouts, {"read": 0}, "`read` must be positive, but is 0"),
            (Timeouts, {"connect": "x"}, "`connect` must be a finite number, but is 'x'"),
        ],
    )
    def test_settings_that_make_no_sense(self, kind, options, text):
        with pytest.raises(ionq.ConfigurationError, match=text):
            kind(**options)

    def test_delays_do_not_overflow(self):
        clock = FakeTime().clock
        assert Backoff(tries=5000).delay(4000, clock) == 15
        assert ionq.PollSchedule(factor=100).delay(4000, clock) == 30

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"requests_per_second": 0}, "`requests_per_second` must be positive, but is 0"),
            ({"deadline": -1}, "`deadline` must be positive seconds or None, but is -1"),
            ({"deadline": "x"}, "`deadline` must be a finite number"),
            ({"connections": 0}, "must be at least 1, but are 0 and 100"),
        ],
    )
    def test_limits_that_make_no_sense(self, options, text):
        with pytest.raises(ionq.ConfigurationError, match=text):
            ionq.AsyncIonQClient("k", **options)

    def test_a_closed_client_can_be_used_in_another_loop(self):
        async def crowd(client):
            found = await asyncio.gather(*(client.whoami() for _ in range(3)))
            looks = await asyncio.gather(*(client.find_job(tag) for tag in "abc"))
            await client.aclose()
            return len(found), looks

        def handler(request):
            return Reply(200, {"jobs": []}) if request.path.endswith("jobs") else ME

        with serving(handler) as url:
            client = ionq.AsyncIonQClient("k", base_url=url, concurrency=1)
            for _ in range(2):
                assert asyncio.run(crowd(client)) == (3, [None] * 3)

    def test_a_client_belongs_to_its_loop(self):
        async def main():
            async with Server(replies(ME)) as server, client_for(server) as client:
                await client.whoami()
                return await asyncio.to_thread(asyncio.run, client.whoami())

        with pytest.raises(ionq.ConfigurationError, match="belongs to the event loop"):
            asyncio.run(main())


NOT_TAKEN = [
    Reply(429, {"message": "slow"}),
    Reply(425),
    Reply(503, {}, {"Retry-After": "1"}),
]
DOUBTFUL = [
    Reply(408), Reply(500), HTML, Reply(503), Reply(504), Reply(520), Reply(fault="reset"),
    Reply(201, {"id": "?"}, fault="cut"), Reply(201, b"<html>"), Reply(201, {"id": 3}),
]  # fmt: skip
REFUSED = [400, 401, 403, 404, 409, 413, 422]


def faulty(service, fault, carried_out, times=1):
    """Makes the first submissions go wrong."""
    left = [times]

    def decide(request):
        if request.method != "POST" or not left[0]:
            return None
        left[0] -= 1
        return fault, carried_out

    service.fault = decide
    return service


def submit(service, time, **options):
    policy = Submission(window=8, **options)
    return run(lambda c: c.create_job(BELL, backend="simulator"), service, time, submission=policy)


class TestSubmission:
    @pytest.mark.parametrize("fault", NOT_TAKEN, ids=lambda r: r.status)
    def test_what_was_turned_away_is_sent_again(self, fault):
        service = faulty(FakeIonQ(), fault, carried_out=False, times=2)
        created, requests = submit(service, FakeTime())
        assert list(service.jobs) == [created.id]
        assert [r.method for r in requests] == ["GET", "POST", "POST", "POST"]

    @pytest.mark.parametrize("fault", DOUBTFUL, ids=lambda r: f"{r.status} {r.fault}")
    @pytest.mark.parametrize("hidden_for", [0, 3])
    def test_a_lost_answer_is_found_in_the_list(self, fault, hidden_for):
        service = faulty(FakeIonQ(hidden_for=hidden_for), fault, carried_out=True)
        created, requests = submit(service, FakeTime())
        assert list(service.jobs) == [created.id]
        looks = sum(r.method == "GET" and r.path == "/v0.4/jobs" for r in requests)
        assert looks == hidden_for + 1

    @pytest.mark.parametrize("fault", DOUBTFUL, ids=lambda r: f"{r.status} {r.fault}")
    def test_what_is_not_found_is_not_sent_again(self, fault):
        service, time = faulty(FakeIonQ(), fault, carried_out=False), FakeTime()
        start = time.now
        with pytest.raises(SubmissionUnknownError, match="It was not sent again. Look again") as e:
            submit(service, time)
        assert not service.jobs and not e.value.retryable
        assert e.value.tag.startswith("qjax-") and e.value.intended_at == start
        assert time.now - start == 8  # the whole window

    @pytest.mark.parametrize("fault", DOUBTFUL, ids=lambda r: f"{r.status} {r.fault}")
    def test_unless_the_window_is_trusted(self, fault):
        service, time = faulty(FakeIonQ(), fault, carried_out=False, times=2), FakeTime()
        start = time.now
        created, requests = submit(service, time, resubmit=True)
        assert list(service.jobs) == [created.id]
        assert sum(r.method == "POST" for r in requests) == 3
        assert time.now - start == 16

    @pytest.mark.parametrize("last", [Reply(401, {"message": "no"}), Reply(429)])
    def test_a_doubt_is_not_forgotten_when_the_job_is_sent_again(self, last):
        """The first may have been taken: a refusal of the second says nothing of that."""
        posts = [(Reply(500, {"message": "first"}), True)] + [(last, False)] * 20
        service = FakeIonQ(hidden_for=10**6)
        service.fault = lambda r: posts.pop(0) if r.method == "POST" else None
        with pytest.raises(SubmissionUnknownError, match="was answered 500: first. It was sent ag"):
            submit(service, FakeTime(), resubmit=True)
        assert len(service.jobs) == 1

    @pytest.mark.parametrize("status", REFUSED)
    def test_a_refusal_is_an_error(self, status):
        service = faulty(FakeIonQ(), Reply(status, {"message": "no"}), carried_out=False)
        with pytest.raises(ApiError, match=f"was answered {status}: no"):
            submit(service, FakeTime())
        assert not service.jobs

    def test_timeout_after_acceptance(self):
        service = faulty(FakeIonQ(), Reply(fault="hang"), carried_out=True)
        options = {"timeouts": Timeouts(read=0.1), "submission": Submission(window=8)}
        created, _ = run(
            lambda c: c.create_job(BELL, backend="simulator"), service, FakeTime(), **options
        )
        assert list(service.jobs) == [created.id]

    def test_cancelling_a_submission_leaves_its_tag_in_the_log(self, caplog):
        async def cancelled(client):
            task = asyncio.ensure_future(client.create_job(BELL, backend="simulator", tag="mine"))
            await posted.wait()
            task.cancel()
            await asyncio.wait([task])

        def handler(request):
            if request.method == "GET":
                return FakeIonQ()(request)
            posted.set()
            return Reply(fault="hang")

        posted = asyncio.Event()
        run(cancelled, handler)
        (message,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert message.startswith("Cancelled while job mine was sent; it may have been taken. Look")
        assert "client.find_job('mine', since=" in message

    def test_find_job_looks_again(self):
        service = faulty(FakeIonQ(hidden_for=10**6), Reply(500), carried_out=True)

        async def later(client):
            with pytest.raises(SubmissionUnknownError) as caught:
                await client.create_job(BELL, backend="simulator")
            error = caught.value
            assert await client.find_job(error.tag, since=error.intended_at) is None
            service.hidden_for = 0
            return await client.find_job(error.tag, since=error.intended_at)

        created, _ = run(later, service, FakeTime(), submission=Submission(window=2))
        assert list(service.jobs) == [created.id]

    def test_deadline_during_the_search(self):
        service = faulty(FakeIonQ(hidden_for=10**6), Reply(500), carried_out=True)
        with pytest.raises(SubmissionUnknownError, match="The search ended early: The deadline of"):
            run(lambda c: c.create_job(BELL, backend="simulator", deadline=5), service, FakeTime())

    def test_a_search_that_fails(self):
        def handler(request):
            if "backends" in request.path:
                return FakeIonQ()(request)
            return Reply(401 if request.method == "GET" else 500, {"message": "no"})

        with pytest.raises(SubmissionUnknownError, match="ended early: GET /v0.4/jobs was answ"):
            run(lambda c: c.create_job(BELL, backend="simulator"), handler, FakeTime())

    def test_the_search_stops_at_the_time_of_intent_only_in_a_list_from_new_to_old(self):
        time = FakeTime()
        service = FakeIonQ(now=lambda: time.now)

        async def pages(client):
            for _ in range(10):
                time.now += 1000
                await client.create_job(BELL, backend="simulator")
            return await client.find_job("nothing", since=time.now - 1500)

        found, requests = run(pages, service, time)
        assert found is None
        assert sum(r.path == "/v0.4/jobs" and r.method == "GET" for r in requests) == 2
        old_first = [
            Reply(200, {"jobs": [job_json("A", submitted_at="2020-01-01T00:00:00Z"),
                                 job_json("B", submitted_at="2021-01-01T00:00:00Z")], "next": "x"}),
            Reply(200, {"jobs": [job_json("C", metadata={"qjax_tag": "T"})]}),
        ]  # fmt: skip
        found, _ = run(lambda c: c.find_job("T", since=time.now), replies(*old_first), time)
        assert found is not None and found.id == "C"

    def test_metadata_of_others_may_hold_anything(self):
        jobs = [job_json("A", metadata={"qjax_tag": ["T"]}), job_json("B", metadata=None)]
        found, _ = run(lambda c: c.find_job("T"), replies(Reply(200, {"jobs": jobs})))
        assert found is None

    def test_a_circuit_that_carries_the_tag_names_its_job(self):
        child = job_json("child", parent_job_id="P", metadata={"qjax_tag": "T"})
        found, _ = run(lambda c: c.find_job("T"), replies(Reply(200, {"jobs": [child]})))
        assert found is not None and found.id == "P"

    def test_searches_are_shared(self):
        service, left = FakeIonQ(), set(range(20))

        def decide(request):
            batch = int(request.json["metadata"]["batch"]) if request.method == "POST" else -1
            if batch not in left:
                return None
            left.discard(batch)
            return Reply(500), True

        service.fault = decide

        async def many(client):
            jobs = (
                client.create_job(BELL, backend="simulator", metadata={"batch": str(k)})
                for k in range(20)
            )
            return await asyncio.gather(*jobs)

        created, requests = run(many, service, FakeTime(), submission=Submission(page_size=100))
        assert {c.id for c in created} == set(service.jobs) and len(service.jobs) == 20
        assert sum(r.path == "/v0.4/jobs" and r.method == "GET" for r in requests) < 15


FAULTS = [
    Reply(429, {}, {"Retry-After": "0.02"}), Reply(500), Reply(502), HTML, Reply(503), Reply(504),
    Reply(520), Reply(fault="reset"), Reply(fault="hang"), Reply(200, b"<html></html>"),
    Reply(200, {"id": "x"}, fault="cut"),
]  # fmt: skip


def test_fault_storm():
    """Every circuit is taken once and answered once, though a fifth of all requests go wrong.

    Of every ten jobs, one answer is lost after the job was taken, and one before.
    """
    chance = random.Random(0)
    service = FakeIonQ(polls=2, hidden_for=2)
    unlucky = {str(k): k % 10 == 0 for k in range(25) if k % 5 == 0}

    def decide(request):
        if request.method == "POST":
            carried_out = unlucky.pop(request.json["metadata"]["batch"], None)
            fault = chance.choice(DOUBTFUL if carried_out else FAULTS)
            return None if carried_out is None else (fault, carried_out)
        return (chance.choice(FAULTS), False) if chance.random() < 0.2 else None

    service.fault = decide
    circuits = [qj.Circuit(n, [qj.X(0)]) for n in (1, 2, 3, 4)]
    options = {
        "timeouts": Timeouts(read=0.5),
        "backoff": Backoff(first=0.01, cap=0.05, tries=60),
        "polling": ionq.PollSchedule(first=0.02, cap=0.05),
        "submission": Submission(window=0.4, resubmit=True, first_look=0.02, page_size=50),
    }

    async def storm(client):
        jobs = (
            client.run(circuits, backend="simulator", metadata={"batch": str(k)}) for k in range(25)
        )
        return await asyncio.gather(*jobs)

    found, _ = run(storm, service, **options)
    for job in found:  # circuit k answers k, written with qubit 0 as the least significant bit
        assert [list(o.probabilities()) for o in job] == [["0"], ["10"], ["010"], ["1100"]]
    assert len(found) == len(service.jobs) == 25 and not unlucky
    assert set(service.bill.values()) == {1} and len(service.bill) == 100


def test_statuses_map_to_classes():
    classes = {401: AuthenticationError, 429: RateLimitError, 418: ApiError, 500: ServerError}
    for status, kind in classes.items():
        with pytest.raises(kind) as caught:
            run(lambda c: c.whoami(), replies(Reply(status)), FakeTime(), backoff=Backoff(tries=1))
        assert type(caught.value) is kind
