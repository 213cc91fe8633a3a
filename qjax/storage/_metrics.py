"""Metrics of a run as a Parquet dataset of parts, each committed by one atomic rename.

The newest part grows: each commit writes its rows and the new ones together and puts the file in
the old one's place, until it is full and the next part begins. So there are few files and never a
moment at which a row stands in two of them or in none, whoever reads the folder. Rows can be safe
before, in the journal of `qjax.storage._journal`. A kill can lose the rows still in memory and
nothing else. Threads are the matter of `qjax.storage._logger`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qjax.errors import RunError
from qjax.storage._files import disk_errors
from qjax.storage._folder import Folder, open_folder
from qjax.storage._journal import Base, Journal, read_journal
from qjax.storage._schema import (
    METRICS_SCHEMA,
    METRICS_VERSION,
    VERSION_KEY,
    MetricColumns,
    in_newest_schema,
)

__all__ = [
    "PART_ROWS",
    "MetricParts",
    "dropped_rows",
    "read_metrics",
    "truncate_metrics",
]

FOLDER = "metrics"
PART = re.compile(r"part-(\d{6,})\.parquet")
PART_ROWS = 10_000
DROPPED_KEY = b"qjax.metrics.dropped"


class MetricParts:
    """The parts of a run's metrics, as their one writer sees them.

    Rows that a killed writer left in the journal are committed first of all.

    Args:
        run_dir: the run directory, or its URL on a file system of fsspec.
        part_rows: a part that holds this many rows is full.

    Raises:
        RunError: if the folder cannot be made or has another writer, or its newest part or its
            journal cannot be read.

    Example:
        >>> import tempfile
        >>> from qjax.storage import MetricParts, read_metrics
        >>> folder = tempfile.mkdtemp()
        >>> parts = MetricParts(folder)
        >>> for step in (1, 2):
        ...     parts.commit(parts.columns.as_table([{"epoch": 1, "step": step}]))
        >>> parts.close()
        >>> read_metrics(folder)["step"].to_pylist()
        [1, 2]
    """

    def __init__(self, run_dir: str | Path, part_rows: int = PART_ROWS) -> None:
        self._folder = open_folder(run_dir, FOLDER)
        self._journal = Journal(self._folder)
        self._part_rows = part_rows
        with disk_errors("Metrics folder", self._folder.path()):
            self._lock = self._folder.lock()
        try:
            self._open_newest()
            self._dropped_before = self._dropped
            self.columns = MetricColumns(self._newest.schema)
            self._replay()
        except BaseException:
            self.close()
            raise

    def append(self, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Puts rows on disk in the journal; the next commit must begin with all that are there.

        Args:
            rows: from `MetricColumns.plain`.

        Returns:
            Whether they are on disk. False if only a commit can put them there: always on a file
            system of fsspec, and after an error until a commit succeeds.

        Raises:
            RunError: if they cannot be written.

        Example:
            >>> import tempfile
            >>> from qjax.storage import MetricParts, read_metrics
            >>> folder = tempfile.mkdtemp()
            >>> parts = MetricParts(folder)
            >>> rows = [{"epoch": 1, "step": 1}]
            >>> parts.append(rows), read_metrics(folder).num_rows
            (True, 1)
            >>> parts.commit(parts.columns.as_table(rows))
            >>> read_metrics(folder).num_rows
            1
        """
        return self._journal.append(self._base, rows)

    def commit(self, rows: pa.Table, dropped: int = 0) -> None:
        """Commits rows behind the others; if that fails, nothing has changed.

        Args:
            rows: from `MetricColumns.as_table`; those in the journal come first.
            dropped: how many rows this writer has dropped so far.

        Raises:
            RunError: if the part cannot be written.
        """
        dropped += self._dropped_before
        if not rows.num_rows and dropped == self._dropped:
            return
        is_full = self._newest.num_rows >= self._part_rows
        number = self._number + is_full
        grown = rows if is_full else _grow(self._newest, rows)
        grown = _with_dropped(grown, dropped)
        self._journal.stop()  # if this fails after the rename, the journal is stale already
        _write_part(self._folder, f"part-{number:06d}.parquet", grown)
        self._number, self._newest, self._dropped = number, grown, dropped
        self._journal.restart()

    def truncate(self, last_epoch: int, last_step: int | None = None) -> None:
        """Removes the rows after a checkpoint; see `truncate_metrics`."""
        self._replay()
        keep = pc.field("epoch") <= last_epoch
        if last_step is not None:
            keep |= (pc.field("step") > 0) & (pc.field("step") <= last_step)
        _truncate(self._folder, _part_names(self._folder) or [], keep)
        self._open_newest()

    @property
    def _base(self) -> Base:
        return Base(self._number, self._newest.num_rows)

    def _replay(self) -> None:
        rows = read_journal(self._folder, self._base, self.columns)
        if rows:
            self.commit(self.columns.as_table(rows))
        if rows is not None:
            self._journal.remove()

    def _open_newest(self) -> None:
        names = _part_names(self._folder)
        self._newest = (
            _read_part(self._folder, names[-1]) if names else METRICS_SCHEMA.empty_table()
        )
        self._number = _part_number(names[-1]) if names else 0
        self._dropped = dropped_rows(self._newest)

    def close(self) -> None:
        """Lets the next writer in."""
        self._journal.close()
        if self._lock is not None:
            self._lock.release()


def read_metrics(run_dir: str | Path) -> pa.Table:
    """Reads all rows of a run that are on disk; it may still be going.

    Args:
        run_dir: the run directory, or its URL on a file system of fsspec.

    Returns:
        Table with the columns of `METRICS_SCHEMA` and the free ones behind, rows in the order of
        writing.

    Raises:
        RunError: if there are no metrics, or a part is damaged or written by a newer qjax.
    """
    folder = open_folder(run_dir, FOLDER)
    names = _part_names(folder)
    if names is None:
        raise RunError(f"Run directory `{run_dir}` must hold metrics, but has no `{FOLDER}`.")
    while True:
        try:
            parts = [_read_part(folder, name) for name in names]
            break
        except _PartIsGoneError:  # a resumed run has cut off what it repeats
            names = _part_names(folder) or []
    newest = parts[-1] if parts else METRICS_SCHEMA.empty_table()
    columns = MetricColumns(newest.schema)
    base = Base(_part_number(names[-1]) if names else 0, newest.num_rows)
    rows = read_journal(folder, base, columns)  # the parts first, or it could be too old for them
    tables = [*parts, columns.as_table(rows or [])]
    return _with_dropped(pa.concat_tables(tables, promote_options="default"), dropped_rows(newest))


def dropped_rows(table: pa.Table) -> int:
    """Returns how many rows of a run were dropped for want of room in memory.

    Args:
        table: from `read_metrics`.

    Example:
        >>> from qjax.storage import METRICS_SCHEMA, dropped_rows
        >>> dropped_rows(METRICS_SCHEMA.empty_table())
        0
    """
    return int((table.schema.metadata or {}).get(DROPPED_KEY, b"0"))


def truncate_metrics(run_dir: str | Path, last_epoch: int, last_step: int | None = None) -> None:
    """Removes the rows after a checkpoint, as a run does that goes on from it.

    While a logger is open, use its method `truncate`.

    Each part is replaced or removed atomically, the last one first, so that a kill in between
    leaves a shorter history and never a gap.

    Args:
        run_dir: the run directory, or its URL; one without metrics is left alone.
        last_epoch: last epoch to keep whole.
        last_step: last step to keep, for a checkpoint in mid-epoch; by default, none after
            `last_epoch`.

    Raises:
        RunError: if a part cannot be read or written, or another writer has the folder.

    Example:
        >>> import tempfile
        >>> from qjax.storage import AsyncMetricsLogger, read_metrics, truncate_metrics
        >>> folder = tempfile.mkdtemp()
        >>> with AsyncMetricsLogger(folder) as metrics:
        ...     for epoch in (1, 2):
        ...         metrics.log({"epoch": epoch, "step": epoch})
        >>> truncate_metrics(folder, last_epoch=1)
        >>> read_metrics(folder)["epoch"].to_pylist()
        [1]
    """
    if _part_names(open_folder(run_dir, FOLDER)) is None:
        return
    parts = MetricParts(run_dir)
    try:
        parts.truncate(last_epoch, last_step)
    finally:
        parts.close()


def _truncate(folder: Folder, names: list[str], keep: pc.Expression) -> None:
    for name in reversed(names):
        table = _read_part(folder, name)
        kept = table.filter(keep)
        if kept.num_rows == table.num_rows:
            continue
        if kept.num_rows:
            _write_part(folder, name, kept)
        else:
            with disk_errors("Metrics file", folder.path(name)):
                folder.remove(name)


def _part_names(folder: Folder) -> list[str] | None:
    """Lists the parts in order; None without a folder."""
    try:
        names = folder.names()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(
            f"Metrics folder `{folder.path()}` could not be read: {error.strerror or error}. "
            "Check the permissions."
        ) from error
    return sorted(filter(PART.fullmatch, names), key=_part_number)


def _part_number(name: str) -> int:
    match = PART.fullmatch(name)
    assert match is not None  # _part_names lists no other names
    return int(match[1])


def _grow(newest: pa.Table, rows: pa.Table) -> pa.Table:
    tables = [newest, rows] if newest.num_rows else [rows]
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _with_dropped(table: pa.Table, dropped: int) -> pa.Table:
    metadata = {VERSION_KEY: str(METRICS_VERSION).encode(), DROPPED_KEY: str(dropped).encode()}
    return table.replace_schema_metadata(metadata)


def _encode(table: pa.Table) -> bytes:
    # The newest part is encoded at each commit, so what is cheap counts: a dictionary of floats
    # that hardly repeat is five times as slow; zstd and statistics, up to three.
    texts: Any = [item.name for item in table.schema if item.type == pa.string()]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="snappy",
        use_dictionary=texts,
        write_statistics=False,
        write_page_checksum=True,
    )
    return sink.getvalue().to_pybytes()


def _write_part(folder: Folder, name: str, table: pa.Table) -> None:
    content = _encode(table)
    with disk_errors("Metrics file", folder.path(name)):
        folder.write(name, content)


class _PartIsGoneError(RunError):
    """A part that was listed and is no more."""


def _read_part(folder: Folder, name: str) -> pa.Table:
    try:
        content = folder.read(name)
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            version = int((file.schema_arrow.metadata or {}).get(VERSION_KEY, b"0"))
            table = file.read()
    except PermissionError as error:
        raise RunError(
            f"Metrics file `{folder.path(name)}` could not be read: {error.strerror}. "
            "Check its permissions."
        ) from error
    except (OSError, pa.ArrowException) as error:
        is_gone = isinstance(error, FileNotFoundError) and name not in (_part_names(folder) or [])
        raise (_PartIsGoneError if is_gone else RunError)(
            f"Metrics file `{folder.path(name)}` is damaged ({str(error).splitlines()[0]}). "
            "Move it away to read the other parts."
        ) from error
    if version > METRICS_VERSION:
        raise RunError(
            f"Metrics file `{folder.path(name)}` has format {version}, but this qjax reads up to "
            f"{METRICS_VERSION}. Update qjax."
        )
    return _with_dropped(in_newest_schema(table), dropped_rows(table))
