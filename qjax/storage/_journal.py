"""Rows of metrics that are safe on disk before they are in a part: a file that is appended to.

To write the newest part anew takes milliseconds, to append some lines microseconds. The first line
says how far the parts were when the journal began. While they are there still, its rows are in no
part. Once they are further, its rows are in a part and the journal is stale, whether it is removed
by then or not: so the rename of a part moves the rows from one place to the other. When parts are
written is decided elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple

from qjax.errors import RunError
from qjax.storage._files import disk_errors, write_and_sync
from qjax.storage._folder import Folder
from qjax.storage._schema import MetricColumns

__all__ = ["Base", "Journal", "read_journal"]

JOURNAL = ".journal.jsonl"  # those who read the folder as a dataset pass over hidden files
FORMAT = "qjax-metrics-journal"
VERSION = 1

_encode = json.JSONEncoder(separators=(",", ":"), default=datetime.isoformat).encode


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
            header = [{"format": FORMAT, "version": VERSION, **base._asdict()}] if is_new else []
            lines = "".join(f"{_encode(line)}\n" for line in (*header, *rows))
            write_and_sync(self._file, lines.encode())
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
    version = header.get("version")
    if header.get("format") == FORMAT and isinstance(version, int) and version > VERSION:
        raise RunError(
            f"Metrics journal `{path}` has format {version}, but this qjax reads up to {VERSION}. "
            "Update qjax."
        )
    if header != {"format": FORMAT, "version": VERSION, **base._asdict()}:
        return []
    return list(_rows(lines, columns))


def _rows(lines: Iterable[bytes], columns: MetricColumns) -> Iterable[dict[str, Any]]:
    for line in lines:
        row = _decode(line)
        try:
            if "timestamp" in row:
                row["timestamp"] = datetime.fromisoformat(row["timestamp"])
            columns.check(row)
        except (RunError, TypeError, ValueError):
            return
        yield row


def _decode(line: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(line.decode())
    except ValueError:
        return {}
    return entries if isinstance(entries, dict) else {}
