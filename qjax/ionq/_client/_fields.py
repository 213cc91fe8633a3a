"""Reading typed values out of JSON objects, with an error that names the field."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Any, TypeVar

from qjax.ionq._errors import ResponseError

__all__ = ["Fields", "Raw"]

Raw = Mapping[str, Any]

T = TypeVar("T")


class Fields:
    """A JSON object under a name, read field by field; fields not asked for do not matter.

    Args:
        data: the object.
        what: how to call it in an error, such as "job".

    Raises:
        ResponseError: from here and every method, where the JSON is not what it must be.
    """

    def __init__(self, data: Any, what: str):
        if not isinstance(data, Mapping):
            raise ResponseError(f"The service's {what} must be an object, but is {_kind(data)}.")
        self.data, self._what = data, what

    def text(self, name: str) -> str:
        """A string that must be there."""
        return self.need(name, self.text_or_none(name))

    def text_or_none(self, name: str, default: str | None = None) -> str | None:
        """A string that may be absent or null."""
        return self._read(name, str, default)

    def flag(self, name: str) -> bool:
        """A truth value, False if absent."""
        return bool(self._read(name, bool, False))

    def integer(self, name: str) -> int:
        """A whole number that must be there."""
        return self.need(name, self.integer_or_none(name))

    def integer_or_none(self, name: str) -> int | None:
        """A whole number that may be absent or null; clients also send it as text."""
        value = self._read(name, (int, float, str), None)
        if value is None:
            return None
        try:
            number = int(value)
        except (ValueError, OverflowError):
            raise self._wrong(name, "a whole number", value) from None
        if isinstance(value, float) and number != value:
            raise self._wrong(name, "a whole number", value)
        return number

    def real_or_none(self, *names: str) -> float | None:
        """The first of several fields that is a number."""
        for name in names:
            value = self._read(name, (int, float), None)
            if value is not None:
                return self._finite(name, value)
        return None

    def _finite(self, name: str, value: float) -> float:
        try:
            number = float(value)
        except OverflowError:
            number = inf
        if not isfinite(number):
            raise self._wrong(name, "a finite number", value)
        return number

    def time_or_none(self, name: str) -> datetime | None:
        """An ISO 8601 date and time that may be absent or null."""
        value = self.text_or_none(name)
        if value is None:
            return None
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            raise self._wrong(name, "a date", value) from None
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object, empty if absent or null."""
        return self._read(name, Mapping, None) or {}

    def sequence(self, name: str) -> tuple[Any, ...]:
        """A list, empty if absent or null."""
        return tuple(self._read(name, list, None) or ())

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty if absent or null."""
        entries = self.sequence(name)
        for entry in entries:
            if not isinstance(entry, str):
                raise self._wrong(name, "a list of texts", entry)
        return entries

    def each(self, name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        """A list whose entries are read one by one."""
        return tuple(read(entry) for entry in self.sequence(name))

    def optional(self, name: str, read: Callable[[Any], T]) -> T | None:
        """A nested object, None if absent or null."""
        value = self.data.get(name)
        return None if value is None else read(value)

    def _read(self, name: str, kinds: Any, default: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            return default
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise self._wrong(name, " or ".join(k.__name__ for k in wanted), value)
        return value

    def need(self, name: str, value: T | None) -> T:
        """The value, if there is one."""
        if value is None:
            raise ResponseError(f"The service's {self._what} lacks the field `{name}`.")
        return value

    def _wrong(self, name: str, wanted: str, value: Any) -> ResponseError:
        return ResponseError(
            f"The field `{name}` of the service's {self._what} must be {wanted}, but is "
            f"{_kind(value)}."
        )


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
