"""A loopback HTTP server that does what a script says, faults included, and a small IonQ on it."""

import asyncio
import contextlib
import json
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qjax.ionq import Clock

KEY = "secret-key-0123456789abcdef"


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Reply:
    """What to answer: bytes are sent as they are, anything else as JSON.

    `fault` is None, "reset" (close without an answer), "cut" (close in the middle of the body) or
    "hang" (never answer).
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


Handler = Callable[[Request], Reply | Awaitable[Reply]]
HTML = Reply(502, b"<html><body>Bad gateway</body></html>", {"Content-Type": "text/html"})


class Server:
    """Answers each request by calling a handler, and remembers all requests."""

    def __init__(self, handler: Handler):
        self.handler, self.requests = handler, []
        self._open: set[asyncio.Task] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.origin}/v0.4"
        return self

    async def __aexit__(self, *exception) -> None:
        for _ in range(5):  # connections that were just opened begin to be served
            await asyncio.sleep(0)
        self._server.close()
        while self._open:
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
        for writer in self._writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._writers.append(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            self._open.discard(task)
            writer.close()

    async def _exchange(self, reader, writer) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        parts = urlsplit(target)
        request = Request(method, parts.path, parse_qs(parts.query), headers, content)
        self.requests.append(request)
        reply = self.handler(request)
        if isinstance(reply, Awaitable):
            reply = await reply
        if reply.fault == "hang":
            await asyncio.sleep(3600)
        if reply.fault == "reset":
            return False
        raw = isinstance(reply.body, bytes)
        body = reply.body if raw else json.dumps(reply.body).encode()
        sent = {"Content-Type": "application/json", **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in sent.items())]
        lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        writer.write(body[: len(body) // 2] if reply.fault == "cut" else body)
        await writer.drain()
        return reply.fault is None


@contextlib.contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """A server in a thread of its own, for the blocking client; gives its address."""
    urls: list[str] = []
    up, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Server(handler) as server:
            urls.append(server.url)
            up.set()
            while not stop.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    up.wait()
    try:
        yield urls[0]
    finally:
        stop.set()
        thread.join()


class FakeTime:
    """A clock that jumps ahead whenever someone sleeps."""

    def __init__(self, start: float = 1.7e9):
        self.now, self.slept = start, []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: self.now, self.sleep, lambda: 0.5)


def job_json(job_id: str, status: str = "completed", **changes: Any) -> dict[str, Any]:
    """A job as the service writes it."""
    links = {"probabilities": {"url": f"/v0.4/jobs/{job_id}/results/probabilities"}}
    whole = {
        "id": job_id, "status": status, "type": "ionq.circuit.v1", "backend": "simulator",
        "metadata": {}, "shots": 100, "dry_run": False, "parent_job_id": None,
        "child_job_ids": None, "session_id": None, "name": None, "failure": None,
        "submitted_at": "2026-08-25T22:17:41.901Z", "settings": {}, "output": {},
        "stats": {"qubits": 2, "circuits": 1, "gate_counts": {"1q": 1, "2q": 1}},
        "results": links if status == "completed" else None,
    }  # fmt: skip
    return whole | changes


BACKENDS = {
    "simulator": {"backend": "simulator", "status": "available", "qubits": 29,
                  "supported_native_gates": ["gpi", "gpi2", "ms", "zz"],
                  "noise_models": ["ideal", "aria-1", "forte-1"]},
    "qpu.forte-1": {"backend": "qpu.forte-1", "status": "available", "qubits": 36,
                    "supported_native_gates": ["gpi", "gpi2", "zz"]},
    "qpu.harmony": {"backend": "qpu.harmony", "status": "retired", "qubits": 11},
}  # fmt: skip


class FakeIonQ:
    """Jobs that are taken, run and listed; each circuit answers with its place in its job.

    `fault` decides, for each request, what goes wrong: it returns a reply to send instead, and
    whether the request is carried out all the same.
    """

    def __init__(self, polls: int = 1, hidden_for: int = 0, now: Callable[[], float] | None = None):
        self.jobs: dict[str, dict[str, Any]] = {}
        self.polls, self.hidden_for = polls, hidden_for
        self.now = now or (lambda: datetime.now(UTC).timestamp())
        self.fault: Callable[[Request], tuple[Reply, bool] | None] = lambda request: None

    def __call__(self, request: Request) -> Reply:
        wrong = self.fault(request)
        if wrong is None:
            return self.answer(request)
        reply, carried_out = wrong
        if carried_out:
            self.answer(request)
        return reply

    @property
    def bill(self) -> dict[str, int]:
        """How often each circuit, by name, was taken."""
        counts: dict[str, int] = {}
        for job in self.jobs.values():
            for entry in job["request"]["input"].get("circuits", [{"name": None}]):
                name = f"{job['request']['metadata'].get('batch')}:{entry['qubits']}"
                counts[name] = counts.get(name, 0) + 1
        return counts

    def answer(self, request: Request) -> Reply:
        parts = request.path.removeprefix("/v0.4/").split("/")
        if parts[0] == "backends":
            known = BACKENDS.get(parts[1])
            return Reply(200, known) if known else Reply(404, {"message": "Resource not found."})
        if request.method == "POST":
            return self._create(request.json)
        if len(parts) == 1:
            return self._list(request)
        job = self.jobs.get(parts[1])
        if job is None:
            return Reply(404, {"message": "Resource not found."})
        if parts[-1] == "cancel":
            job["status"] = "canceled"
            return Reply(200, {"id": parts[1], "status": "canceled"})
        if parts[-1] == "aggregated":
            return Reply(200, {c: {str(i): 1.0} for i, c in enumerate(job["children"])})
        if parts[-1] == "probabilities":
            return Reply(200, {"0": 0.25, "1": 0.75})
        return Reply(200, self._job(parts[1], polled=True))

    def _create(self, body: dict[str, Any]) -> Reply:
        job_id = str(uuid.uuid4())
        children = [str(uuid.uuid4()) for _ in body["input"].get("circuits", [])]
        self.jobs[job_id] = {
            "request": body, "children": children, "polls": 0, "scans": 0, "status": None,
            "time": self.now(),
        }  # fmt: skip
        return Reply(201, {"id": job_id, "status": "submitted", "session_id": None})

    def _job(self, job_id: str, polled: bool = False) -> dict[str, Any]:
        job = self.jobs[job_id]
        job["polls"] += polled
        status = job["status"] or ("completed" if job["polls"] > self.polls else "ready")
        body = job["request"]
        path = "probabilities/aggregated" if job["children"] else "probabilities"
        links = {"probabilities": {"url": f"/v0.4/jobs/{job_id}/results/{path}"}}
        when = datetime.fromtimestamp(job["time"], UTC).isoformat().replace("+00:00", "Z")
        return job_json(
            job_id, status, metadata=body["metadata"], type=body["type"], stats={},
            child_job_ids=job["children"] or None, submitted_at=when,
            results=links if status == "completed" else None,
        )  # fmt: skip

    def _list(self, request: Request) -> Reply:
        """Newest first, two jobs per page; a job is hidden from the first scans."""
        start = int(request.query.get("next", ["0"])[0])
        size = int(request.query.get("limit", ["2"])[0])
        visible = []
        for job_id, job in self.jobs.items():
            job["scans"] += start == 0
            if job["scans"] > self.hidden_for:
                visible.append(job_id)
        visible.reverse()
        page = [self._job(job_id) for job_id in visible[start : start + size]]
        more = start + size < len(visible)
        return Reply(200, {"jobs": page, "next": str(start + size) if more else None})
