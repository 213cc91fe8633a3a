"""The ASGI application."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from qjax.errors import QjaxError
from qjax.ionq.emulator import _account, _backends, _jobs
from qjax.ionq.emulator._emulator import Emulator
from qjax.ionq.emulator._errors import HttpError
from qjax.ionq.emulator._faults import Fault
from qjax.ionq.emulator._injection import Injection
from qjax.ionq.emulator._requests import emulator_of, json_body, reply, with_key

__all__ = ["emulator_app"]


def emulator_app(emulator: Emulator) -> ASGIApp:
    """The emulator as an ASGI application, for any server or for `httpx.ASGITransport`.

    Beside the service's endpoints under `/v0.4` it has its own, which need no key and are spared
    by faults: `GET /emulator` says what it is, `GET /emulator/bill` what was billed,
    `GET /emulator/faults` what went wrong, and `PUT /emulator/faults` replaces the rules.

    Args:
        emulator: that answers.

    Returns:
        The application.

    Example:
        >>> import httpx
        >>> from qjax.ionq.emulator import Emulator, emulator_app
        >>> async def ask(emulator):
        ...     transport = httpx.ASGITransport(emulator_app(emulator))
        ...     async with httpx.AsyncClient(transport=transport) as client:
        ...         return (await client.get("http://emulator/v0.4/backends/simulator")).json()
        >>> import asyncio
        >>> with Emulator() as emulator:
        ...     asyncio.run(ask(emulator))["qubits"]
        29
    """
    keyed = [with_key(route) for route in (*_account.ROUTES, *_jobs.ROUTES)]
    routes = [*keyed, *_backends.ROUTES, *_OWN]
    handlers: Any = {HttpError: _refused, HTTPException: _unknown}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.emulator = emulator
    return Injection(app, emulator, _version())


def _version() -> str:
    try:
        return installed("qjax-qml")
    except PackageNotFoundError:
        return "unknown"


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return reply(error.body(), error.status)


async def _unknown(request: Request, error: Exception) -> Response:
    """An address that is not there, or a method that it does not have."""
    assert isinstance(error, HTTPException)
    return reply(HttpError(error.status_code).body(), error.status_code)


async def about(request: Request) -> Response:
    """GET /emulator."""
    emulator = emulator_of(request)
    timing = emulator.timing
    return reply(
        {
            "emulator": "qjax",
            "version": _version(),
            "seed": emulator.seed,
            "now": emulator.clock.now(),
            "latency": timing.latency,
            "per_circuit": timing.per_circuit,
            "realistic": timing.realistic,
            "jobs": len(emulator.store),
            "requests": dict(sorted(emulator.requests.items())),
            "warnings": emulator.warnings,
        }
    )


async def bill(request: Request) -> Response:
    """GET /emulator/bill."""
    entries = emulator_of(request).bill()
    total = round(sum(entry["amount"] for entry in entries), 6)
    return reply({"unit": "usd", "total": total, "entries": entries})


async def show_faults(request: Request) -> Response:
    """GET /emulator/faults."""
    return reply(emulator_of(request).faults.report())


async def replace_faults(request: Request) -> Response:
    """PUT /emulator/faults."""
    body = await json_body(request)
    try:
        rules = [Fault(**entry) for entry in body]
    except (TypeError, QjaxError) as error:
        raise HttpError(400, str(error)) from None
    emulator_of(request).faults.replace(rules)
    return reply(emulator_of(request).faults.report())


_OWN = [
    Route("/emulator", about, methods=["GET"]),
    Route("/emulator/bill", bill, methods=["GET"]),
    Route("/emulator/faults", show_faults, methods=["GET"]),
    Route("/emulator/faults", replace_faults, methods=["PUT"]),
]
