"""What endpoints share: the key and the body of a request, and the answers."""

import json
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qjax.ionq.emulator._emulator import Emulator
from qjax.ionq.emulator._errors import HttpError

__all__ = ["decimal", "emulator_of", "integer_of", "json_body", "reply", "with_key"]

_LARGEST_BODY = 10 * 1000 * 1000
_MOST_DIGITS = 18


def emulator_of(request: Request) -> Emulator:
    """The emulator that a request is for."""
    return request.app.state.emulator


def with_key(route: Route) -> Route:
    """The route, which answers 401 to a request without a key; any key is as good as any other."""

    async def answer(request: Request) -> Response:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "apiKey" or not key.strip():
            raise HttpError(401)
        return await route.endpoint(request)

    return Route(route.path, answer, methods=route.methods)


async def json_body(request: Request, *, default: Any = None) -> Any:
    """The body of a request, read as JSON whatever it says it is.

    Args:
        request: that is read.
        default: what an empty body stands for; an error if None.

    Raises:
        HttpError: of status 413 if it is too large, 400 if it is no JSON.
    """
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > _LARGEST_BODY:
                raise HttpError(413, f"Payload content length greater than {_LARGEST_BODY} bytes.")
    except ClientDisconnect:
        raise HttpError(400, "The request ended early.") from None
    if not data.strip():
        if default is None:
            raise HttpError(400, '"value" must be of type object', ("value",))
        return default
    try:
        found = json.loads(data, parse_constant=_no_constant)
        if b"\\u" in data:  # half of a pair of code units is no text, and cannot be sent back
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except (ValueError, RecursionError):
        raise HttpError(400, "Invalid request payload JSON format") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}.")


def decimal(text: str) -> int | None:
    """The number that a query string holds; None if it holds none, or one beyond all reason."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def integer_of(text: str | None, name: str, default: int, most: int) -> int:
    """A number of a query string, from 1 to `most`.

    Raises:
        HttpError: of status 400, if it is none.
    """
    if text is None:
        return default
    number = decimal(text)
    if number is None or not 1 <= number <= most:
        raise HttpError(400, f'"{name}" must be between 1 and {most}', (name,))
    return number


def reply(data: Any, status: int = 200) -> JSONResponse:
    """An answer in JSON."""
    return JSONResponse(data, status)
