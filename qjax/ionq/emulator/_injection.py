"""Puts faults into answers, and marks every answer as the emulator's."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qjax.ionq.emulator._clock import Clock
from qjax.ionq.emulator._emulator import Emulator
from qjax.ionq.emulator._errors import HttpError
from qjax.ionq.emulator._faults import Fault

__all__ = ["BREAK", "HEADER", "Injection"]

HEADER = "x-qjax-emulator"
BREAK = "qjax.break"  # a server that can break connections offers this extension
_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Break = Callable[[], Awaitable[None]]


class Injection:
    """The outermost layer of the application.

    Args:
        app: what answers without faults.
        emulator: whose faults are injected.
        version: of qjax, for the header of every answer.
    """

    def __init__(self, app: ASGIApp, emulator: Emulator, version: str):
        self._app, self._emulator = app, emulator
        self._header = (HEADER.encode(), version.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        key = f"{method} {_UUID.sub('{id}', path)}"
        emulator = self._emulator
        request_id = emulator.make_id()
        marked = self._marked(send, request_id)
        if path.startswith("/emulator"):
            await self._app(scope, receive, marked)
            return
        emulator.requests[key] = emulator.requests.get(key, 0) + 1
        fault, of_job = emulator.faults.choose(method, path)
        for rule in of_job:
            scope[f"qjax.{rule.kind}"] = rule
        if fault is None:
            await self._app(scope, receive, marked)
        else:
            await self._fail(fault, scope, receive, marked)

    def _marked(self, send: Send, request_id: str) -> Send:
        more = [self._header, (b"x-request-id", request_id.encode())]

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        return mark

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer()
        if fault.after or fault.kind in ("slow", "truncated"):
            await self._app(scope, receive, answer)
        else:
            await _drain(receive)
        clock: Clock = self._emulator.clock
        if fault.kind == "slow":
            await clock.sleep(fault.seconds)
            await answer.send_on(send)
        elif fault.kind == "reset":
            await _break(scope)
        elif fault.kind == "truncated":
            await answer.send_half(send)
            await _break(scope)
        else:
            await _page_or_json(fault).send_on(send)


class _Answer:
    """An answer that is held back."""

    def __init__(self, status: int = 200, headers: Any = (), body: bytes = b""):
        self.status, self.headers, self.body = status, list(headers), body

    async def __call__(self, message: Message) -> None:
        """Takes a message instead of the network."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")

    async def send_on(self, send: Send) -> None:
        """Sends it."""
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})

    async def send_half(self, send: Send) -> None:
        """Promises all of it and sends half."""
        half = self.body[: len(self.body) // 2]
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": half, "more_body": True})


def _page_or_json(fault: Fault) -> _Answer:
    page = fault.kind == "html" or fault.page
    status = 200 if fault.kind == "html" else fault.status
    error = HttpError(status)
    text = _PAGE.format("One moment" if status == 200 else f"{status} {error.name}")
    body = text.encode() if page else json.dumps(error.body()).encode()
    headers = [
        (b"content-type", b"text/html; charset=UTF-8" if page else b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if fault.kind == "status" and fault.retry_after is not None:
        headers.append((b"retry-after", f"{fault.retry_after:g}".encode()))
    return _Answer(status, headers, body)


async def _drain(receive: Receive) -> None:
    """Reads the rest of a request, so that its sender is not stopped in the middle."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def _break(scope: Scope) -> None:
    """Breaks the connection.

    Raises:
        ConnectionResetError: where there is none, because the application is called in-process.
    """
    found: Break | None = scope.get("extensions", {}).get(BREAK)
    if found is None:
        raise ConnectionResetError("The emulator broke the connection, as its faults ask.")
    await found()
