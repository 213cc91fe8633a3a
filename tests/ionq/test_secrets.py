"""The API key leaves in the Authorization header and nowhere else, whatever goes wrong."""

import asyncio
import logging
import pickle
import re
import traceback

import pytest

from qjax import ionq
from qjax.ionq import AsyncIonQClient, Backoff, ConfigurationError, IonQClient, Submission, Timeouts
from qjax.ionq._client._key import ApiKey
from tests.ionq.server import HTML, KEY, FakeIonQ, FakeTime, Reply, Server, job_json
from tests.ionq.test_client import BELL, client_for

ECHO = {"message": f"Invalid key provided: {KEY}.", "validation": {"keys": [KEY]}}
FAULTS = [
    *(
        Reply(status, ECHO, {"x-request-id": "R1"})
        for status in (400, 401, 403, 404, 409, 429, 500)
    ),
    HTML,
    Reply(200, KEY.encode()),
    Reply(200, []),
    Reply(200, {"id": KEY}, fault="cut"),
    Reply(fault="reset"),
    Reply(fault="hang"),
    Reply(302, {}, {"Location": "https://evil.example"}),
    Reply(429, {}, {"Retry-After": "1000"}),
]
CALLS = {
    "read": lambda client: client.whoami(),
    "submission": lambda client: client.create_job(BELL, backend="simulator"),
    "cancel": lambda client: client.cancel_job("J"),
    "wait": lambda client: client.wait_for_job("J"),
}


def chain(error):
    """An exception and those behind it."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def foreign_frames(error):
    """Files of the HTTP library in the tracebacks; their locals hold the request and its header."""
    frames = [frame for one in chain(error) for frame, _ in traceback.walk_tb(one.__traceback__)]
    files = [frame.f_code.co_filename for frame in frames]
    return [file for file in files if re.search(r"site-packages/(httpx|httpcore|h11)/", file)]


def traces(error):
    """All that an exception and those behind it can show, the locals of their frames included."""
    for one in chain(error):
        yield from (str(one), repr(one), repr(one.args), repr(vars(one)))
        yield "".join(traceback.format_exception(one))
        whole = traceback.TracebackException.from_exception(one, capture_locals=True)
        yield "".join(whole.format())


async def failure(call, handler, **options):
    """The exception of a call, and what was sent."""
    time = FakeTime()
    options = {"timeouts": Timeouts(read=0.05), "backoff": Backoff(tries=2), **options}
    async with Server(handler) as server, client_for(server, time, deadline=100, **options) as c:
        try:
            await call(c)
        except ionq.IonQError as error:
            return error, server.requests
        return None, server.requests


def assert_only_in_the_header(requests):
    for request in requests:
        assert request.headers.pop("authorization") == f"apiKey {KEY}"
        assert KEY not in repr((request.path, request.query, request.headers, request.content))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.status} {f.fault}")
def test_key_is_nowhere_under_faults(name, fault, caplog):
    def handler(request):
        return FakeIonQ()(request) if "/backends/" in request.path else fault

    with caplog.at_level(logging.DEBUG):
        error, requests = asyncio.run(
            failure(CALLS[name], handler, submission=Submission(window=1))
        )
    if error is None:  # a cancellation is confirmed by its status alone
        assert name == "cancel" and fault.body == [] and fault.status == 200
        return
    texts = list(traces(error))
    assert len(texts) >= 6 and not foreign_frames(error)
    for text in texts:
        assert KEY not in text
    for record in caplog.records:
        assert KEY not in record.getMessage()
        assert KEY not in repr(record.__dict__)
    assert caplog.records
    assert_only_in_the_header(requests)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and vars(again) == vars(error)


ECHOES = {
    "header": Reply(500, {"message": "x"}, {"X-Request-Id": KEY, "X-Echo": KEY}),
    "content type": Reply(200, b"<html>", {"Content-Type": f"text/{KEY}"}),
    "content type of an error": Reply(400, b"<html>", {"Content-Type": f"text/{KEY}"}),
    "at the cut": Reply(400, {"message": "x" * 285 + KEY}),
    "wrong field": Reply(200, {"id": {"k": KEY}}),
    "reason of a failure": Reply(
        200, job_json("J", "failed", failure={"code": KEY, "message": f"key {KEY}"})
    ),
    "status": Reply(200, job_json("J", KEY)),
    "host of a link": Reply(
        200, job_json("J", results={"probabilities": {"url": f"http://{KEY}.example/x"}})
    ),
    "metadata": Reply(200, job_json("J", metadata={"qjax_qubits": KEY})),
}


@pytest.mark.parametrize("place", ECHOES)
def test_key_that_the_service_quotes(place, caplog):
    async def results(client):
        await client.results(await client.wait_for_job("J", deadline=3))

    with caplog.at_level(logging.DEBUG):
        error, requests = asyncio.run(failure(results, lambda request: ECHOES[place]))
    assert error is not None and "[key]" in str(error) + place * (place == "at the cut")
    for text in traces(error):
        assert KEY not in text and KEY[:14] not in text
    assert any(record.name.startswith("httpcore") for record in caplog.records)
    assert all(KEY not in repr(record.__dict__) for record in caplog.records)
    assert_only_in_the_header(requests)


def test_key_in_an_answer_that_is_right():
    async def main():
        job = job_json("J", name=KEY, settings={KEY: [KEY]})
        async with Server(lambda request: Reply(200, job)) as server, client_for(server) as client:
            return await client.get_job("J")

    job = asyncio.run(main())
    assert job.name == "[key]" and KEY not in repr(job) + repr(job.raw)


def test_logging_is_left_as_it_was():
    loggers = [logging.getLogger(name) for name in ("httpx", "httpcore.http11")]
    before = [list(one.filters) for one in loggers]
    asyncio.run(failure(lambda c: c.whoami(), lambda request: Reply(200, {"key_id": "K"})))
    assert [one.filters for one in loggers] == before


def test_key_is_nowhere_when_nothing_fails(caplog):
    with caplog.at_level(logging.DEBUG):
        call = lambda c: c.run(BELL, backend="simulator")  # noqa: E731
        error, requests = asyncio.run(failure(call, FakeIonQ()))
    assert error is None and len(requests) > 3
    assert all(KEY not in repr(record.__dict__) for record in caplog.records)
    assert_only_in_the_header(requests)


def test_key_is_nowhere_when_the_task_is_cancelled():
    async def main():
        arrived = asyncio.Event()

        async def hang(request):
            arrived.set()
            return Reply(fault="hang")

        async with Server(hang) as server, client_for(server) as client:
            task = asyncio.ensure_future(client.whoami())
            await arrived.wait()
            task.cancel()
            await asyncio.wait([task])
            try:
                await task
            except asyncio.CancelledError as error:
                return "".join(traces(error)), foreign_frames(error)
        return None

    told = asyncio.run(main())
    assert told is not None
    assert told[0] and KEY not in told[0] and not told[1]


@pytest.mark.parametrize("kind", [AsyncIonQClient, IonQClient])
def test_objects_hide_it(kind):
    client = kind(KEY, base_url="http://127.0.0.1:9/v0.4")
    assert repr(client) == f"{kind.__name__}('http://127.0.0.1:9/v0.4')"
    inner = client if isinstance(client, AsyncIonQClient) else client._client
    for part in (client, inner, inner._caller, inner._transport, inner._transport._key):
        assert KEY not in repr(part) and KEY not in str(part)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(client)
    for part in (inner._transport, inner._transport._key):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(part)
    if isinstance(client, IonQClient):
        client.close()


class TestKey:
    def test_comes_from_an_argument_or_the_environment(self, monkeypatch):
        monkeypatch.setenv("IONQ_API_KEY", " from-environment\n")
        assert ApiKey().header() == "apiKey from-environment"
        assert ApiKey("given").header() == "apiKey given"

    def test_is_masked_in_every_form(self):
        key = ApiKey('secret/"key"\\0123')
        for text in (
            'secret/"key"\\0123',
            'secret/\\"key\\"\\\\0123',
            'secret\\/\\"key\\"\\\\0123',
        ):
            assert key.scrub(f"<{text}>") == "<[key]>"
            assert key.scrub_bytes(f"<{text}>".encode()) == b"<[key]>"
        assert ApiKey("any").scrub_bytes(b'{"many": 1}') == b'{"many": 1}'  # no secret

    def test_missing(self, monkeypatch):
        monkeypatch.delenv("IONQ_API_KEY", raising=False)
        with pytest.raises(ConfigurationError, match="Pass `api_key` or set IONQ_API_KEY"):
            AsyncIonQClient()

    @pytest.mark.parametrize("bad", [f"{KEY}\r\nX: y", f"{KEY}é", f"{KEY} x"])
    @pytest.mark.parametrize("kind", [AsyncIonQClient, IonQClient])
    def test_that_no_header_can_hold(self, kind, bad):
        with pytest.raises(ConfigurationError, match="must be printable ASCII") as caught:
            kind(bad)
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        own = [line for frame in frames.stack for line in (frame.locals or {}).items()
               if "qjax/ionq" in frame.filename]  # fmt: skip
        assert own and KEY not in repr(own)


class TestAddress:
    def test_default_argument_and_environment(self, monkeypatch):
        monkeypatch.delenv("IONQ_API_URL", raising=False)
        assert AsyncIonQClient(KEY).base_url == "https://api.ionq.co/v0.4"
        monkeypatch.setenv("IONQ_API_URL", "http://localhost:1/v0.4/")
        assert AsyncIonQClient(KEY).base_url == "http://localhost:1/v0.4"
        assert AsyncIonQClient(KEY, base_url="https://x.org/v1").base_url == "https://x.org/v1"

    @pytest.mark.parametrize(
        ("url", "text"),
        [
            ("http://example.org/v0.4", "must be https, because the key travels"),
            ("http://127.0.0.1.example.org/v0.4", "must be https"),
            ("ftp://127.0.0.1", "must be an address such as"),
            ("127.0.0.1:80", "must be an address such as"),
            ("https://me:you@example.org", "without a user name"),
        ],
    )
    def test_that_is_not_safe(self, url, text):
        with pytest.raises(ConfigurationError, match=text):
            AsyncIonQClient(KEY, base_url=url)

    def test_names_cannot_leave_their_place_in_the_path(self):
        handler = lambda request: Reply(200, job_json("J"))  # noqa: E731
        _, requests = asyncio.run(failure(lambda c: c.get_job("../whoami?x=1"), handler))
        assert requests[0].path == "/v0.4/jobs/..%2Fwhoami%3Fx%3D1"
        for name in ("", ".", "..", None, 3):
            error, requests = asyncio.run(failure(lambda c, name=name: c.get_job(name), handler))
            assert isinstance(error, ionq.InvalidJobError) and not requests
