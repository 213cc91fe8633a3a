"""Requests with patience: concurrency, rate, retries and deadline. No endpoint is known here."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Literal

from qjax.ionq._client._http import Answer, Transport
from qjax.ionq._client._pace import Backoff, Clock, Deadline, RateLimit, retry_after_seconds
from qjax.ionq._errors import (
    ApiError,
    ConnectionFailedError,
    DeadlineError,
    ResponseError,
    api_error,
)

__all__ = ["Caller", "Repeat"]

logger = logging.getLogger("qjax.ionq")

Repeat = Literal["freely", "if_unsent"]
_Failure = ApiError | ConnectionFailedError | ResponseError

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, *range(520, 530)}
_LONGEST_TEXT = 300


class Caller:
    """Sends requests, again where that does no harm.

    Args:
        transport: sends each once.
        clock: for delays.
        backoff: delays between tries.
        concurrency: how many requests may be under way, or wait for a connection, at once.
        requests_per_second: limit over all requests; None for none.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        backoff: Backoff,
        concurrency: int,
        requests_per_second: float | None,
    ):
        self.transport, self.clock, self.backoff = transport, clock, backoff
        self._rate = RateLimit(requests_per_second, clock)
        self._concurrency, self._slots = concurrency, asyncio.Semaphore(concurrency)

    async def close(self) -> None:
        """Closes the connections; another event loop may use the caller afterwards."""
        self._slots = asyncio.Semaphore(self._concurrency)
        await self.transport.close()

    async def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        params: Any = None,
        body: Any = None,
        repeat: Repeat = "freely",
        link: bool = False,
        read: Callable[[Answer], Any] = Answer.json,
    ) -> Any:
        """What the successful answer to a request holds.

        Args:
            method: of HTTP.
            path: below the base, such as "/jobs"; or an address that an answer named.
            deadline: for all tries together.
            params: pairs for the query.
            body: anything JSON can hold.
            repeat: "freely" for requests that may arrive twice; "if_unsent" sends again only what
                surely was not carried out.
            link: whether `path` is an address that an answer named.
            read: takes the answer apart; an answer that it cannot read counts as lost.

        Raises:
            ApiError: if the service answered with an error, and went on doing so if transient.
            ConnectionFailedError: if no answer came.
            DeadlineError: if the deadline passed.
            ResponseError: if a link leaves the host, or the answer cannot be read.
        """
        resolve = self.transport.resolve_link if link else self.transport.resolve
        url = resolve(path)
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        failures = 0
        while True:
            error, value = await self._try(method, url, params, content, deadline, read)
            if error is None:
                return value
            failures += 1
            if isinstance(error, ApiError):
                error.tries = failures
            if failures >= self.backoff.tries or not _may_repeat(error, method, repeat):
                raise error
            asked = error.retry_after if isinstance(error, ApiError) else None
            delay = self.backoff.delay(failures, self.clock) + (asked or 0.0)
            logger.info("%s Trying again in %.2f s.", error, delay)
            last = str(error).rstrip(".")
            await deadline.sleep(delay, f"an answer to {method} {path}; last: {last}")

    async def _try(
        self,
        method: str,
        url: str,
        params: Any,
        content: bytes | None,
        deadline: Deadline,
        read: Callable[[Answer], Any],
    ) -> tuple[_Failure | None, Any]:
        """Sends a request once; returns what went wrong, or what came."""
        async with deadline.hold(self._slots, "one of the requests under way to end"):
            pause = self._rate.reserve()
            if pause:
                await deadline.sleep(pause, "a free slot under the limit of requests per second")
            limit = deadline.remaining()
            if limit <= 0:
                raise DeadlineError(f"The deadline passed before {method} was sent.")
            try:
                answer = await self.transport.send(
                    method, url, params=params, content=content, limit=limit
                )
            except ConnectionFailedError as error:
                return error, None
        logger.debug("%s %s: %d", answer.method, answer.path, answer.status)
        if not 200 <= answer.status < 300:
            return self._refusal(answer), None
        try:
            return None, read(answer)
        except ResponseError as error:
            return error, None

    def _refusal(self, answer: Answer) -> ApiError:
        """The error that an answer tells of, in our words, the service's shortened."""
        named = "" if answer.request_id is None else f" Request {answer.request_id}."
        return api_error(answer.status)(
            f"{answer.method} {answer.path} was answered {answer.status}: {_told(answer)}{named}",
            status=answer.status,
            request_id=answer.request_id,
            retryable=_is_transient(answer.status, answer.method),
            retry_after=retry_after_seconds(answer.retry_after, self.clock),
        )


def _is_transient(status: int, method: str) -> bool:
    return status in _TRANSIENT or (status == 409 and method == "GET")


def _may_repeat(error: _Failure, method: str, repeat: Repeat) -> bool:
    if isinstance(error, ConnectionFailedError):
        return repeat == "freely" or not error.sent
    if isinstance(error, ResponseError):
        return repeat == "freely" and error.retryable
    if repeat == "freely":
        return _is_transient(error.status, method)
    # These say that the request was turned away before anything was done.
    return error.status in (425, 429) or (error.status == 503 and error.retry_after is not None)


def _told(answer: Answer) -> str:
    """What the body of an error says: its message and fields, or what kind of body it is."""
    try:
        body = answer.json()
    except ResponseError:
        kind = answer.content_type or "no content type"
        return f"a body that is not JSON ({kind}, {len(answer.content)} bytes)."
    if not isinstance(body, dict):
        return "a body that is not an error object."
    text = str(body.get("message") or body.get("error") or "no message")
    text = text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
    validation = body.get("validation")
    keys = validation.get("keys") if isinstance(validation, dict) else None
    fields = f" (fields: {', '.join(map(str, keys))})" if isinstance(keys, list) and keys else ""
    return f"{text}{fields}" if text.endswith(".") else f"{text}{fields}."
