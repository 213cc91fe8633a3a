"""Cancelling a task that submits or waits: the job is cancelled too, or the log names it."""

import asyncio
import signal
import threading

import pytest

from qjax.ionq import IonQClient, Submission
from tests.ionq.server import KEY, FakeIonQ, FakeTime, Reply, serving
from tests.ionq.test_client import BELL, run


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


def lost(service, found):
    """Answers to submissions are lost; `found` is set when the list is searched."""

    def decide(request):
        if request.method == "POST":
            return Reply(500), True
        if request.path.endswith("/jobs"):
            found.set()
        return None

    service.fault = decide
    return service


async def cancelled(client, event, times=1, **options):
    """Runs a job and cancels the task once the event is set."""
    task = asyncio.ensure_future(client.run(BELL, backend="simulator", **options))
    await event.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


class TestDuringTheSearch:
    def test_the_log_names_the_tag(self, caplog):
        searched = asyncio.Event()
        service = lost(FakeIonQ(hidden_for=10**6), searched)
        run(lambda c: cancelled(c, searched, tag="mine"), service)
        (message,) = warnings(caplog)
        assert message.startswith("Cancelled while job mine was sent; it may have been taken.")

    def test_the_job_is_cancelled_once_it_is_found(self, caplog):
        searched = asyncio.Event()
        service = lost(FakeIonQ(hidden_for=3, polls=10**9), searched)
        run(lambda c: cancelled(c, searched, cancel_remote=True), service, FakeTime())
        (job,) = service.jobs.values()
        assert job["status"] == "canceled" and not warnings(caplog)

    def test_a_job_that_is_never_found_is_named(self, caplog):
        searched = asyncio.Event()
        service = lost(FakeIonQ(hidden_for=10**6), searched)
        test = lambda c: cancelled(c, searched, cancel_remote=True, tag="mine")  # noqa: E731
        run(test, service, FakeTime(), submission=Submission(window=60))
        (message,) = warnings(caplog)
        assert message.startswith("Job mine is not known, and so was not cancelled: It is not know")

    def test_the_end_of_the_event_loop_leaves_the_tag(self, caplog):
        """Nobody closes the client; asyncio cancels whatever is left."""
        searched = asyncio.Event()
        service = lost(FakeIonQ(hidden_for=10**6), searched)
        test = lambda c: cancelled(c, searched, 2, cancel_remote=True, tag="mine")  # noqa: E731

        async def unclosed(client):
            await test(client)
            (work,) = client._unfinished
            work.cancel()
            await asyncio.wait([work])

        run(unclosed, service)
        (message,) = warnings(caplog)
        assert message.startswith("Cancelled while job mine was sent")


def test_cancelling_twice_still_cancels_the_job():
    service = FakeIonQ(polls=10**9)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(request):
        reply = service(request)
        if request.method == "POST":
            arrived.set()
            await go.wait()
        return reply

    async def test(client):
        await cancelled(client, arrived, times=3, cancel_remote=True)
        go.set()  # the client's end waits for the work that outlived the task

    run(test, slow)
    (job,) = service.jobs.values()
    assert job["status"] == "canceled"


@pytest.mark.parametrize("answer", [None, 401])
def test_a_task_that_waits(answer, caplog):
    """Without `cancel_remote` the log names the job; so it does if the cancel is refused."""
    service, polled = FakeIonQ(polls=10**9), asyncio.Event()

    def decide(request):
        if request.method == "PUT":
            return Reply(answer, {"message": "no"}), False
        return polled.set() if request.path.startswith("/v0.4/jobs/") else None

    service.fault = decide
    run(lambda c: cancelled(c, polled, cancel_remote=answer is not None), service)
    (job_id,) = service.jobs
    (message,) = warnings(caplog)
    refused = f"Job {job_id} was not cancelled: PUT /v0.4/jobs/{job_id}/status/cancel was answered"
    kept = f"Nobody waits for job {job_id} any more; it goes on."
    assert message.startswith(kept if answer is None else refused)


def test_a_task_that_fetches_results(caplog):
    service, fetched = FakeIonQ(polls=0), asyncio.Event()

    def handler(request):
        if "/results/" not in request.path:
            return service(request)
        fetched.set()
        return Reply(fault="hang")

    run(lambda c: cancelled(c, fetched, cancel_remote=True), handler)
    (job_id,) = service.jobs
    assert warnings(caplog) == [f"Job {job_id} is completed, but its results were not fetched."]


@pytest.fixture
def interruptible():
    """Interrupts raise, also where the shell that started the tests ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("place", ["POST", "poll"])
def test_an_interrupt_of_the_blocking_client_cancels_the_job(place):
    service, interrupted = FakeIonQ(polls=10**9), []

    async def handler(request):
        reply = service(request)
        polled = request.method == "GET" and request.path.startswith("/v0.4/jobs/")
        if not interrupted and (request.method == "POST" if place == "POST" else polled):
            interrupted.append(True)
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.sleep(0.05)
        return reply

    with serving(handler) as url, pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with IonQClient(KEY, base_url=url, requests_per_second=None) as client:
            client.run(BELL, backend="simulator", cancel_remote=True)
    (job,) = service.jobs.values()
    assert job["status"] == "canceled"


def test_closing_the_blocking_client_ends_the_calls_of_other_threads(monkeypatch):
    monkeypatch.setattr("qjax.ionq._client._sync.CANCEL_SECONDS", 0.05)
    arrived, outcome = threading.Event(), []

    def handler(request):
        arrived.set()
        return Reply(fault="hang")

    def call(client):
        try:
            client.whoami()
        except BaseException as error:
            outcome.append(type(error).__name__)

    with serving(handler) as url:
        client = IonQClient(KEY, base_url=url)
        thread = threading.Thread(target=call, args=(client,))
        thread.start()
        arrived.wait()
        client.close()
        thread.join(30)
    assert outcome == ["CancelledError"]
