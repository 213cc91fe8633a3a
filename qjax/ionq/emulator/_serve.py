"""Serves the application over HTTP, with connections that faults can break."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from qjax.errors import RunError
from qjax.ionq.emulator._app import emulator_app
from qjax.ionq.emulator._emulator import Emulator
from qjax.ionq.emulator._injection import BREAK

__all__ = ["serve", "serving"]

_START = 30.0  # seconds that a server may take to start or stop
_LAST_ANSWERS = 2  # seconds that requests under way have left when the server stops


class _Protocol(H11Protocol):
    """HTTP/1.1 that offers the application to break the connection."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        app: Any = self.app

        async def breakable(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[BREAK] = self.break_off
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:  # the server stops, and the answer came too late
                await self.break_off()

        self.app = breakable

    async def break_off(self) -> None:
        """Sends what waits to be sent, then resets the connection."""
        while self.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            # With no time to linger, closing sends a reset.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()
        await asyncio.sleep(0)


def _server(emulator: Emulator, host: str, port: int) -> uvicorn.Server:
    config = uvicorn.Config(
        emulator_app(emulator),
        host=host,
        port=port,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise RunError(f"The emulator cannot listen on {host}:{port}: {error}.") from None


def serve(
    emulator: Emulator,
    *,
    host: str = "127.0.0.1",
    port: int = 8763,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serves until it is interrupted, then stops the emulator.

    Args:
        emulator: that answers.
        host: address to listen on.
        port: to listen on; a free one if 0.
        announce: called with the address of the API once connections are accepted.

    Raises:
        RunError: if the address is taken.
    """
    listening = _listen(host, port)
    try:
        if announce is not None:
            announce(_address(host, listening))
        _server(emulator, host, port).run([listening])
    finally:
        listening.close()
        emulator.close()


def _address(host: str, listening: socket.socket) -> str:
    return f"http://{host}:{listening.getsockname()[1]}/v0.4"


@contextmanager
def serving(emulator: Emulator, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves from a thread while the context is open.

    Args:
        emulator: that answers; it is left open.
        host: address to listen on.
        port: to listen on; a free one if 0.

    Yields:
        The address of the API, such as "http://127.0.0.1:41235/v0.4".

    Raises:
        RunError: if the address is taken, or the server does not start.

    Example:
        >>> import httpx
        >>> from qjax.ionq.emulator import Emulator, serving
        >>> with Emulator() as emulator, serving(emulator) as url:
        ...     httpx.get(f"{url}/backends/simulator").json()["qubits"]
        29
    """
    listening = _listen(host, port)
    server = _server(emulator, host, port)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    deadline = time.monotonic() + _START
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RunError("The emulator's server did not start.")
        time.sleep(0.005)
    try:
        yield _address(host, listening)
    finally:
        server.should_exit = True
        thread.join(_START)
        listening.close()
