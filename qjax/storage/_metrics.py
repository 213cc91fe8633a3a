"""Metrics of a run as a Parquet dataset of parts, each committed by one atomic rename.

A part is never appended to: a kill can lose the rows still in memory and nothing else.
"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qjax.errors import RunError
from qjax.storage._files import disk_errors, write_atomic
from qjax.storage._schema import METRICS_SCHEMA, METRICS_VERSION, VERSION_KEY

__all__ = ["MetricsWriter", "read_metrics", "truncate_metrics"]

FOLDER = "metrics"
PART = re.compile(r"part-(\d{6,})\.parquet")


class MetricsWriter:
    """Collects rows and commits them as parts ``metrics/part-000000.parquet``, ...

    Rows wait in memory until `flush_seconds` have passed since the last part, `max_rows` have
    come together, or `flush` or `close` is called. A writer on a folder that has parts goes on
    after them.

    Args:
        run_dir: the run directory; its subfolder ``metrics`` is created.
        flush_seconds: at most this long a row waits while rows keep coming.
        max_rows: at most this many rows wait.

    Raises:
        RunError: if the folder or a part cannot be written. The rows then stay in memory, and
            the next flush tries again.

    Example:
        >>> import tempfile
        >>> from qjax.storage import MetricsWriter, read_metrics
        >>> folder = tempfile.mkdtemp()
        >>> with MetricsWriter(folder) as metrics:
        ...     metrics.write({"epoch": 1, "step": 1, "train_loss": 2.3})
        >>> read_metrics(folder)["train_loss"].to_pylist()
        [2.3]
    """

    def __init__(
        self, run_dir: str | Path, *, flush_seconds: float = 5.0, max_rows: int = 10_000
    ) -> None:
        self._folder = Path(run_dir) / FOLDER
        self._flush_seconds = flush_seconds
        self._max_rows = max_rows
        self._rows: list[dict[str, Any]] = []
        with disk_errors("Metrics folder", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._next_part = max((_part_number(path) + 1 for path in _parts(self._folder)), default=0)
        self._last_flush = time.monotonic()

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds one row; columns that it leaves out are null, and the time is filled in.

        Raises:
            RunError: if a column is not in the schema.
        """
        if unknown := row.keys() - set(METRICS_SCHEMA.names):
            raise RunError(
                f"Argument `row` must have columns of the metrics schema, but has "
                f"{', '.join(sorted(unknown))}. Known are {', '.join(METRICS_SCHEMA.names)}."
            )
        self._rows.append({"timestamp": datetime.now(UTC), **row})
        waited = time.monotonic() - self._last_flush
        if waited >= self._flush_seconds or len(self._rows) >= self._max_rows:
            self.flush()

    def flush(self) -> None:
        """Commits the waiting rows as one part; without any, does nothing."""
        self._last_flush = time.monotonic()
        if not self._rows:
            return
        table = pa.Table.from_pylist(self._rows, schema=METRICS_SCHEMA)
        _write_part(self._folder / f"part-{self._next_part:06d}.parquet", table)
        self._next_part += 1
        self._rows.clear()

    def close(self) -> None:
        """Commits what is left."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read_metrics(run_dir: str | Path) -> pa.Table:
    """Reads all committed rows of a run, which may still be going.

    Args:
        run_dir: the run directory.

    Returns:
        Table with the columns of `METRICS_SCHEMA`, rows in the order of writing.

    Raises:
        RunError: if there are no metrics, or a part is damaged or written by a newer qjax.
    """
    folder = Path(run_dir) / FOLDER
    if not folder.is_dir():
        raise RunError(f"Run directory `{run_dir}` must hold metrics, but has no `{FOLDER}`.")
    tables = [_read_part(path) for path in _parts(folder)]
    if not tables:
        return METRICS_SCHEMA.empty_table()
    return pa.concat_tables(tables)


def truncate_metrics(run_dir: str | Path, last_epoch: int) -> None:
    """Removes the rows after `last_epoch`, as a run does that goes on from its checkpoint.

    Each part is replaced or removed atomically, the last one first, so that a kill in between
    leaves a shorter history and never a gap.

    Args:
        run_dir: the run directory; one without metrics is left alone.
        last_epoch: last epoch to keep.

    Raises:
        RunError: if a part cannot be read or written.
    """
    for path in reversed(_parts(Path(run_dir) / FOLDER)):
        table = _read_part(path)
        kept = table.filter(pc.field("epoch") <= last_epoch)
        if kept.num_rows == table.num_rows:
            continue
        if kept.num_rows:
            _write_part(path, kept)
        else:
            with disk_errors("Metrics file", path):
                path.unlink()


def _parts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if PART.fullmatch(path.name))
    return sorted(found, key=_part_number)


def _part_number(path: Path) -> int:
    match = PART.fullmatch(path.name)
    assert match is not None  # _parts lists no other names
    return int(match[1])


def _write_part(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    with disk_errors("Metrics file", path):
        write_atomic(path, sink.getvalue().to_pybytes())


def _read_part(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            version = int((file.schema_arrow.metadata or {}).get(VERSION_KEY, b"0"))
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"Metrics file `{path}` is damaged ({str(error).splitlines()[0]}). "
            "Move it away to read the other parts."
        ) from error
    if version > METRICS_VERSION:
        raise RunError(
            f"Metrics file `{path}` has format {version}, but this qjax reads up to "
            f"{METRICS_VERSION}. Update qjax."
        )
    return _in_newest_schema(table)


def _in_newest_schema(table: pa.Table) -> pa.Table:
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in METRICS_SCHEMA
    ]
    return pa.table(columns, schema=METRICS_SCHEMA)
