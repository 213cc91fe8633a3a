"""What all groups of endpoints share: a caller, a deadline, and paths."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from qjax.ionq._client._pace import Deadline
from qjax.ionq._client._retry import Caller
from qjax.ionq._errors import InvalidJobError

__all__ = ["Endpoints", "given", "part"]


class Endpoints:
    """Sends requests under the client's deadline."""

    _caller: Caller
    _deadline: float | None

    def _until(self, deadline: float | None = None) -> Deadline:
        """The deadline of one call, begun now; the client's if it has none of its own."""
        return Deadline(self._deadline if deadline is None else deadline, self._caller.clock)

    async def _get(self, path: str, params: Any = None, deadline: Deadline | None = None) -> Any:
        return await self._caller.call("GET", path, deadline or self._until(), params=params)

    async def _change(
        self, method: str, path: str, body: Any = None, deadline: Deadline | None = None
    ) -> Any:
        """A request that may arrive twice without harm."""
        return await self._caller.call(method, path, deadline or self._until(), body=body)


def part(name: str) -> str:
    """A name as one part of a path.

    Raises:
        InvalidJobError: if it is none, or would lead to another place.
    """
    if not isinstance(name, str) or name in ("", ".", ".."):
        raise InvalidJobError(f"A name or id must be a text that is not empty, but is {name!r}.")
    return quote(name, safe="")


def given(fields: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Pairs for a query: without what is None, lists as repeated fields, truth values in JSON."""
    pairs: list[tuple[str, Any]] = []
    for key, value in dict(fields).items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if one is not None:
                pairs.append((key, str(one).lower() if isinstance(one, bool) else one))
    return pairs
