"""HTTP: one request, one answer or one clear failure. The only file that imports httpx.

What goes wrong is told in plain values and raised afresh, outside of the handler: exceptions of
httpx, and the frames below them, hold the request with its Authorization header.
"""

import asyncio
import json
import logging
from collections.abc import Generator
from dataclasses import dataclass, field
from importlib.metadata import version
from math import isfinite
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import httpx

from qjax.ionq._client._key import ApiKey
from qjax.ionq._client._pace import check_seconds
from qjax.ionq._errors import ConfigurationError, ConnectionFailedError, ResponseError

__all__ = ["Answer", "Timeouts", "Transport"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Loggers that write what a server sent, in which it may quote the key.
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True)
class Timeouts:
    """Seconds that the parts of one request may take.

    Attributes:
        connect: to open a connection.
        read: between two pieces of the answer, and until the first.
        write: between two pieces of the request.
    """

    connect: float = 10.0
    read: float = 30.0
    write: float = 30.0

    def __post_init__(self):
        for name in ("connect", "read", "write"):
            check_seconds(getattr(self, name), name)


@dataclass(frozen=True)
class Answer:
    """What came back, with the headers that matter and the API key masked throughout."""

    method: str
    path: str
    status: int
    content: bytes = field(repr=False)
    content_type: str
    request_id: str | None
    retry_after: str | None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ResponseError: if it is not JSON.
        """
        broken = False
        value = None
        try:
            value = json.loads(self.content)
        except (ValueError, RecursionError):
            broken = True
        if broken:
            raise ResponseError(
                f"{self.method} {self.path} was answered {self.status} with a body that is not "
                f"JSON ({self.content_type or 'no content type'}, {len(self.content)} bytes).",
                retryable=True,
            )
        return value

    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")


class _KeyAuth(httpx.Auth):
    """Puts the key into the Authorization header at the moment of sending."""

    def __init__(self, key: ApiKey):
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sets the header."""
        request.headers["Authorization"] = self._key.header()
        yield request


class _KeyFilter(logging.Filter):
    """Masks the key in what the HTTP library logs of a server's headers."""

    def __init__(self, key: ApiKey):
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, masked."""
        record.msg, record.args = self._key.scrub(record.getMessage()), ()
        return True


class Transport:
    """Sends requests to one origin.

    Args:
        key: sent with each request.
        base_url: address of the API with its version, such as "https://api.ionq.co/v0.4".
        connections: how many are kept open at most.
        timeouts: of one request.

    Raises:
        ConfigurationError: if the address is not https, nor plain http on this machine.
    """

    def __init__(self, key: ApiKey, base_url: str, connections: int, timeouts: Timeouts):
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigurationError(
                "Argument `base_url` must be an address such as https://api.ionq.co/v0.4, without "
                "a user name."
            )
        self._local = parts.hostname in _LOOPBACK
        if parts.scheme == "http" and not self._local:
            raise ConfigurationError(
                "Argument `base_url` must be https, because the key travels with each request, "
                f"but is http on {parts.hostname}. Plain http is for this machine only."
            )
        self.base_url = base_url.rstrip("/")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._key, self._auth, self._filter = key, _KeyAuth(key), _KeyFilter(key)
        self._connections = connections
        self._timeouts = httpx.Timeout(
            connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=None
        )
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def resolve(self, path: str) -> str:
        """The address of an endpoint ("/jobs"), below the base."""
        return self.base_url + path

    def resolve_link(self, link: str) -> str:
        """The address that an answer names, relative to the origin.

        Raises:
            ResponseError: if it is on another host, which must not see the key.
        """
        try:
            url = urljoin(self.origin + "/", link)
            parts = urlsplit(url)
        except ValueError:
            raise ResponseError(f"The service named no address: {link[:80]!r}.") from None
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            raise ResponseError(
                f"The service named a result on another host ({parts.hostname}), which was not "
                "asked, because the key would have gone there."
            )
        return url

    async def send(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        content: bytes | None = None,
        limit: float,
    ) -> Answer:
        """Sends one request once.

        Args:
            method: of HTTP.
            url: absolute, on the origin.
            params: pairs for the query.
            content: JSON body.
            limit: seconds for all of it.

        Raises:
            ConnectionFailedError: if no whole answer came.
        """
        headers = {} if content is None else {"Content-Type": "application/json"}
        failure: tuple[str, bool] | None = None
        cancelled: tuple[Any, ...] | None = None
        answer: Answer | None = None
        try:
            async with asyncio.timeout(limit if isfinite(limit) else None):
                response = await self._open().request(
                    method, url, params=params, content=content, headers=headers, auth=self._auth
                )
            answer = self._answer(response)
        except TimeoutError:
            failure = ("no answer before the deadline", True)
        except httpx.RequestError as error:
            failure = (type(error).__name__, not isinstance(error, _NEVER_SENT))
        except asyncio.CancelledError as error:
            cancelled = error.args
        path = urlsplit(url).path
        if cancelled is not None:
            raise asyncio.CancelledError(*cancelled)
        if failure is not None or answer is None:
            reason, sent = failure or ("no answer", True)
            raise ConnectionFailedError(f"{method} {path} failed: {reason}.", sent=sent)
        return answer

    def _open(self) -> httpx.AsyncClient:
        """The connections, which belong to the event loop that first used them."""
        loop = asyncio.get_running_loop()
        if self._client is None:
            limits = httpx.Limits(
                max_connections=self._connections, max_keepalive_connections=self._connections
            )
            self._client = httpx.AsyncClient(
                limits=limits,
                timeout=self._timeouts,
                headers={"User-Agent": f"qjax/{version('qjax-qml')}"},
                trust_env=not self._local,  # a proxy must not see requests to this machine
            )
            self._loop = loop
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(self._filter)
        if self._loop is not loop:
            raise ConfigurationError(
                "A client belongs to the event loop that first used it. Make one per loop."
            )
        return self._client

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client, self._loop = self._client, None, None
        if client is not None:
            await client.aclose()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)

    def _answer(self, response: httpx.Response) -> Answer:
        """What came back; whatever the service quotes of the key ends here."""

        def header(name: str) -> str | None:
            value = response.headers.get(name)
            return None if value is None else self._key.scrub(value)

        return Answer(
            response.request.method,
            response.request.url.path,
            response.status_code,
            self._key.scrub_bytes(response.content),
            header("content-type") or "",
            header("x-request-id"),
            header("retry-after"),
        )

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Connections are not pickled. Make a new client where it is needed.")
