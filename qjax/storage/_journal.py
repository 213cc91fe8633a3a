"""Rows of metrics that are safe on disk before they are in a part: a file that is appended to.

To write the newest part anew takes milliseconds, to append a line a fraction of one. The first line
says how far the parts were when the journal began, and each further line has the rows of one call,
with the numbers packed, since to write them out in decimal takes longer than all the rest.
While the parts are there still, these rows are in none of them. Once the parts are further, the
rows are in one and the journal is stale, whether it is removed by then or not: so the rename of a
part moves the rows from one place to the other. When parts are written is decided elsewhere.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from itertools import compress, groupby, islice
from struct import Struct
from struct import error as StructError
from typing import Any, BinaryIO, NamedTuple

from qjax.errors import RunError
from qjax.storage._files import disk_errors, write_and_sync
from qjax.storage._folder import Folder
from qjax.storage._schema import MetricColumns

__all__ = ["Base", "Journal", "read_journal"]

JOURNAL = ".journal.jsonl"  # those who read the folder as a dataset pass over hidden files
FORMAT = "qjax-metrics-journal"
VERSION = 2  # in 1 a line was a list of rows
NUMBERS = {float: "d", int: "q"}  # as `struct` calls them
TEXT = "s"  # a string or a time
MOST_REMEMBERED = 4096  # values of a line whose form is kept for the next one

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Base(NamedTuple):
    """How far the parts are.

    Attributes:
        part: number of the newest.
        rows: how many rows that has.
    """

    part: int
    rows: int


class Journal:
    """The journal of a metrics folder, as its one writer sees it.

    Args:
        folder: where it lies, beside the parts.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._path = folder.path(JOURNAL)
        self._file: BinaryIO | None = None
        self._is_usable = True

    def append(self, base: Base, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Puts rows on disk behind those that are there.

        Args:
            base: how far the parts are, since `restart`.
            rows: as `MetricColumns.plain` gives them.

        Returns:
            Whether they are on disk. False if the folder has no files to append to, or an earlier
            call failed, behind whose half a line nothing would be read.

        Raises:
            RunError: if they cannot be written.
        """
        if not self._is_usable or not rows:
            return self._is_usable
        self._is_usable = False
        with disk_errors("Metrics journal", self._path):
            is_new = self._file is None
            self._file = self._file or self._folder.create(JOURNAL)
            if self._file is None:
                return False
            header = f"{_encode(_header(base))}\n" if is_new else ""
            write_and_sync(self._file, f"{header}{_encode(_pack(rows))}\n".encode())
            if is_new:
                self._folder.sync()
        self._is_usable = True
        return True

    def stop(self) -> None:
        """Takes no more rows until `restart`; those that are there stay."""
        self._is_usable = False

    def restart(self) -> None:
        """Forgets all rows, since they are in a part now."""
        if self._file is not None:
            self.close()
            with suppress(OSError):  # a stale one does no harm
                self._folder.remove(JOURNAL)
        self._is_usable = True

    def remove(self) -> None:
        """Removes a stale journal before the parts are cut, after which it could seem to fit.

        Raises:
            RunError: if it cannot be removed.
        """
        self.close()
        with disk_errors("Metrics journal", self._path, "deleted"):
            self._folder.remove(JOURNAL)

    def close(self) -> None:
        """Closes the file, if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _header(base: Base) -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION, **base._asdict()}


def read_journal(folder: Folder, base: Base, columns: MetricColumns) -> list[dict[str, Any]] | None:
    """Reads the rows that are in the journal and in no part.

    What follows a line that was written in part, or not at all, is left out: nobody was told that
    it is on disk.

    Args:
        folder: where the journal lies.
        base: how far the parts are.
        columns: take note of the columns of the rows.

    Returns:
        The rows, none if the journal is stale; None if there is no journal.

    Raises:
        RunError: if it cannot be read, or was written by a newer qjax.
    """
    path = folder.path(JOURNAL)
    content = None
    with disk_errors("Metrics journal", path, "read"), suppress(FileNotFoundError):
        content = folder.read(JOURNAL)
    if content is None:
        return None
    lines = iter(content.split(b"\n")[:-1])  # what is behind the last line break is no line
    header = _decode(next(lines, b""))
    version = header.get("version") if isinstance(header, dict) else None
    if not isinstance(version, int):
        return []
    if version > VERSION:
        raise RunError(
            f"Metrics journal `{path}` has format {version}, but this qjax reads up to {VERSION}. "
            "Update qjax."
        )
    is_fresh = {**header, "version": VERSION} == _header(base)
    return list(_rows(lines, columns)) if is_fresh else []


def _rows(lines: Iterable[bytes], columns: MetricColumns) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            content = _decode(line)
            for row in content if isinstance(content, list) else _unpack(**content):
                if "timestamp" in row:
                    row["timestamp"] = datetime.fromisoformat(row["timestamp"])
                columns.check(row)
                yield row
        except (RunError, TypeError, ValueError, LookupError, AttributeError, StructError):
            return


def _decode(line: bytes) -> Any:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):  # the latter if it is nested as no line of ours is
        return None


def _pack(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A line: how many rows have which columns, and the values of all, one behind the other."""
    values = [value for row in rows for value in row.values()]
    types = tuple(map(type, values))
    form = _form_of(types) if len(types) <= MOST_REMEMBERED else _form_of.__wrapped__(types)
    numbers = form.numbers.pack(*compress(values, form.are_numbers))
    return {
        "rows": [(columns, len(list(run))) for columns, run in groupby(map(list, rows))],
        "kinds": form.kinds,
        "numbers": b64encode(numbers).decode(),
        "texts": [_as_text(value) for value in compress(values, form.are_texts)],
    }


def _unpack(rows: list[Any], kinds: str, numbers: str, texts: list[str]) -> Iterable[Any]:
    form, packed = _form(kinds), b64decode(numbers, validate=True)
    kept = {True: list(form.numbers.unpack(packed))[::-1], False: texts[::-1]}
    values = (kept[is_number].pop() for is_number in form.are_numbers)
    for columns, count in rows:
        for _ in range(count):
            yield dict(zip(columns, islice(values, len(columns)), strict=True))


class _Form(NamedTuple):
    """What each of some values is."""

    kinds: str
    are_numbers: list[bool]
    are_texts: list[bool]
    numbers: Struct


@lru_cache(maxsize=4)  # the rows of one checkpoint are like those of the one before
def _form_of(types: tuple[type, ...]) -> _Form:
    return _form("".join(NUMBERS.get(each, TEXT) for each in types))


def _form(kinds: str) -> _Form:
    are_texts = [kind == TEXT for kind in kinds]
    are_numbers = [not is_text for is_text in are_texts]
    return _Form(kinds, are_numbers, are_texts, Struct(f"<{kinds.replace(TEXT, '')}"))


def _as_text(value: str | datetime) -> str:
    return value if isinstance(value, str) else value.isoformat()
