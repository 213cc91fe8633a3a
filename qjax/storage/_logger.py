"""Metrics that a training loop logs without waiting, committed by a thread in the background."""

import atexit
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Protocol

from qjax._checks import check_positive_int
from qjax.errors import RunError
from qjax.storage._background import let_others_run
from qjax.storage._buffer import AsyncBuffer
from qjax.storage._closing import Closing
from qjax.storage._hardware import HardwareMeter
from qjax.storage._metrics import PART_ROWS, MetricParts
from qjax.storage._schema import TrainingMetrics

__all__ = ["AsyncMetricsLogger", "AsyncMetricsWriter"]

Row = Mapping[str, Any]

_log = logging.getLogger(__name__)


class _Sink(Protocol):
    def write(self, row: Row) -> None: ...


class AsyncMetricsWriter:
    """Commits the rows of a buffer to the parts of a run, in a thread of its own.

    Args:
        buffer: where rows come from; they hold their room until they are committed.
        parts: where they go.
        flush_seconds: a row waits at most this long, and the time of one commit.
        measure: called at each commit; its columns join the last row of it.
        sinks: take each row after it is committed, in this thread.
        observe: called after rows were written, in the thread that did it, with the readings of
            `time.perf_counter` before and after.

    Example:
        >>> import tempfile
        >>> from qjax.storage import AsyncBuffer, AsyncMetricsWriter, MetricParts, read_metrics
        >>> folder = tempfile.mkdtemp()
        >>> buffer = AsyncBuffer(1000)
        >>> writer = AsyncMetricsWriter(buffer, MetricParts(folder))
        >>> buffer.put({"epoch": 1, "step": 1, "train_loss": 2.3})
        True
        >>> writer.close()
        >>> read_metrics(folder)["train_loss"].to_pylist()
        [2.3]
    """

    def __init__(
        self,
        buffer: AsyncBuffer[Row],
        parts: MetricParts,
        *,
        flush_seconds: float = 5.0,
        measure: Callable[[], Row] = dict,
        sinks: Sequence[_Sink] = (),
        observe: Callable[[float, float], object] = lambda begin, end: None,
    ) -> None:
        self._buffer = buffer
        self._observe = observe
        self._parts = parts
        self._flush_seconds = flush_seconds
        self._measure = measure
        self._sinks = sinks
        self._rows: list[Row] = []  # those in the journal, as it has them
        self._converted = 0  # how many of the buffer's rows these come from
        self._lost = 0  # rows that could not be converted
        self._failure: Exception | None = None  # of the last commit, until one succeeds
        self._loss: Exception | None = None  # of a row or a sink, until it is reported
        self._has_warned = False
        self._commits = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._work, daemon=True, name="qjax-metrics")
        self._thread.start()

    def flush(self) -> None:
        """Commits all rows put so far, in the caller's thread; any thread may call it.

        Raises:
            RunError: if they cannot be written; they then wait in memory.
        """
        with self._commits:
            self._commit()

    def sync(self) -> None:
        """Makes all rows put so far safe on disk, in the caller's thread; any thread may call it.

        They are appended to the journal of the parts, which is much cheaper than a commit. Where
        that cannot be, on a file system of fsspec, they are committed.

        Raises:
            RunError: if they cannot be written; they then wait in memory.
        """
        with self._commits:
            begin = time.perf_counter()
            safe = len(self._rows)
            self._convert(self._buffer.peek())
            if not self._parts.append(self._rows[safe:]):
                self._commit()
            elif len(self._rows) > safe:
                self._observe(begin, time.perf_counter())

    def truncate(self, last_epoch: int, last_step: int | None = None) -> None:
        """Commits all rows put so far, and removes those after a checkpoint.

        Raises:
            RunError: if a part cannot be read or written.
        """
        with self._commits:
            self._commit()
            self._parts.truncate(last_epoch, last_step)

    def raise_error(self) -> None:
        """Raises what went wrong in the background since the last call, if anything did.

        Raises:
            RunError: saying what, and how many rows wait in memory.
        """
        if self._failure is not None:
            error, self._failure = self._failure, None
        elif self._loss is not None:
            error, self._loss = self._loss, None
        else:
            return
        raised = RunError(f"{error} {len(self._buffer)} rows of metrics wait in memory.")
        raised.errno = getattr(error, "errno", None)
        raise raised from error

    def close(self) -> None:
        """Ends the thread and commits what is left.

        Raises:
            RunError: if that cannot be written, in which case it can be tried again, or if
                rows were lost before.
        """
        self._stop.set()
        self._buffer.wake()
        self._thread.join()
        self.flush()
        self._parts.close()
        self.raise_error()

    def _work(self) -> None:
        let_others_run()
        due = time.monotonic() + self._flush_seconds
        while not self._stop.is_set():
            self._buffer.wait(max(0.0, due - time.monotonic()))
            due = time.monotonic() + self._flush_seconds
            try:
                self.flush()
            except Exception as error:  # reported to the thread that logs
                self._failure = error
                self._stop.wait(self._flush_seconds)

    def _commit(self) -> None:
        begin = time.perf_counter()
        self._convert(self._buffer.take())
        rows = self._rows
        if rows:
            rows = [*rows[:-1], {**self._measure(), **rows[-1]}]
        table = self._parts.columns.as_table(rows)
        self._parts.commit(table, self._buffer.dropped + self._lost)
        self._buffer.done()
        self._rows, self._converted, self._failure = [], 0, None
        self._hand_on(rows)
        self._warn_of_dropped()
        if rows:
            self._observe(begin, time.perf_counter())

    def _convert(self, held: Sequence[Row]) -> None:
        """Converts what came since the last time, each row once, so that it stays as it is."""
        for row in held[self._converted :]:
            try:
                self._rows.append(self._parts.columns.plain(row))
            except Exception as error:  # such as an array whose computation failed
                self._lost += 1
                self._loss = RunError(
                    f"The row of metrics of epoch {row['epoch']}, step {row['step']} is lost: "
                    f"{str(error).splitlines()[0]}."
                )
            self._converted += 1

    def _hand_on(self, rows: Sequence[Row]) -> None:
        for sink in self._sinks:
            try:
                for row in rows:
                    sink.write(row)
            except Exception as error:
                self._loss = RunError(
                    f"Metrics sink {type(sink).__name__} failed, and missed rows: {error}."
                )

    def _warn_of_dropped(self) -> None:
        if self._buffer.dropped and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "metrics come faster than they can be written: rows are dropped while %d wait; "
                "`dropped_rows` tells how many in the end",
                self._buffer.capacity,
            )


class AsyncMetricsLogger(Closing):
    """Logs rows of metrics without waiting for the disk.

    A row is checked, put into a buffer, and committed by a thread in the background within
    `flush_seconds` and the time of one commit. What a kill can lose is what was logged since, and
    since the last `sync`, which is cheap enough to be called at each checkpoint. Rows
    for which there is no room are dropped and counted (`dropped`, and `dropped_rows` of what is
    read back). While commits fail, rows stay in memory as long as there is room, the error is
    raised by the next `log` (whose row is kept as well) and by `close`, and commits are tried
    again. Fits `qjax.train.MetricSink`.

    Args:
        run_dir: the run directory, or its URL on a file system of fsspec; the metrics go to its
            subfolder ``metrics``, behind those that are there.
        flush_seconds: how long a row may wait.
        capacity: how many rows may wait.
        part_rows: a file with this many rows is full, and the next one begins.
        hardware: whether to measure what the process uses.
        sinks: objects with a method ``write(row)``; they get each row once it is committed, in
            the background.
        observe: as for `AsyncMetricsWriter`.

    Raises:
        RunError: if the folder cannot be made or has another writer, or the newest file in it
            cannot be read.

    Example:
        >>> import tempfile
        >>> from qjax.storage import AsyncMetricsLogger, read_metrics
        >>> folder = tempfile.mkdtemp()
        >>> with AsyncMetricsLogger(folder) as metrics:
        ...     metrics.log({"epoch": 1, "step": 1, "train_loss": 2.3, "rate": 0.1})
        >>> read_metrics(folder).select(["train_loss", "rate"]).to_pylist()
        [{'train_loss': 2.3, 'rate': 0.1}]
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        flush_seconds: float = 5.0,
        capacity: int = 65_536,
        part_rows: int = PART_ROWS,
        hardware: bool = True,
        sinks: Sequence[_Sink] = (),
        observe: Callable[[float, float], object] = lambda begin, end: None,
    ) -> None:
        if not flush_seconds > 0:
            raise RunError(f"Argument `flush_seconds` must be positive, but is {flush_seconds}.")
        check_positive_int(part_rows, name="part_rows", error=RunError)
        self._buffer: AsyncBuffer[Row] = AsyncBuffer(capacity, min(part_rows, capacity // 2 or 1))
        parts = MetricParts(run_dir, part_rows)
        self._columns = parts.columns
        self._writer = AsyncMetricsWriter(
            self._buffer,
            parts,
            flush_seconds=flush_seconds,
            measure=HardwareMeter() if hardware else dict,
            sinks=sinks,
            observe=observe,
        )
        self._is_closed = False
        atexit.register(self.close)  # for a program that ends without

    @property
    def dropped(self) -> int:
        """How many rows were dropped so far for want of room."""
        return self._buffer.dropped

    def log(self, row: Row | TrainingMetrics) -> None:
        """Takes one row; columns that it leaves out are null, and the time is filled in.

        Numbers may be arrays of shape (), which the background waits for.

        Args:
            row: column name to value. Columns that are not in `METRICS_SCHEMA` are free ones, of
                numbers or strings. Must not be changed afterwards.

        Raises:
            RunError: if a value does not fit its column, or something went wrong in the
                background since the last call.
        """
        if self._is_closed:
            raise RunError("Metrics cannot be logged after `close`. Open another logger.")
        columns = row.as_row() if isinstance(row, TrainingMetrics) else row
        self._columns.check(columns)
        self._buffer.put({"timestamp": datetime.now(UTC), **columns})
        self._writer.raise_error()

    def write(self, row: Row) -> None:
        """Does what `log` does, under the name that a sink has."""
        self.log(row)

    def flush(self) -> None:
        """Commits all rows logged so far, and waits for that.

        Raises:
            RunError: if they cannot be written; they then wait in memory.
        """
        self._writer.flush()

    def sync(self) -> None:
        """Makes all rows logged so far safe on disk, and waits for that.

        They are appended to a journal beside the files, from where the next commit, or the next
        logger after a kill, takes them over: `read_metrics` sees them at once, other programs
        after that commit. This costs much less than `flush` and is what a checkpoint needs. On a
        file system of fsspec, which cannot append, it does what `flush` does.

        Raises:
            RunError: if they cannot be written; they then wait in memory.

        Example:
            >>> import tempfile
            >>> from qjax.storage import AsyncMetricsLogger, CheckpointManager, read_metrics
            >>> folder = tempfile.mkdtemp()
            >>> with (
            ...     AsyncMetricsLogger(folder) as metrics,
            ...     CheckpointManager(folder, before_commit=metrics.sync) as checkpoints,
            ... ):
            ...     metrics.log({"epoch": 1, "step": 1, "train_loss": 2.3})
            ...     checkpoints.save(1, {"theta": 0.5})
            ...     checkpoints.wait()
            ...     read_metrics(folder).num_rows
            1
        """
        self._writer.sync()

    def truncate(self, last_epoch: int, last_step: int | None = None) -> None:
        """Commits all rows, and removes those after a checkpoint, which a resumed run logs again.

        Sinks are told nothing of it. A trainer calls this where it resumes.

        Args:
            last_epoch: last epoch to keep whole.
            last_step: last step to keep, for a checkpoint in mid-epoch; by default, none after
                `last_epoch`.

        Raises:
            RunError: if a file cannot be read or written.
        """
        self._writer.truncate(last_epoch, last_step)

    def close(self) -> None:
        """Commits all rows and ends the thread; does nothing when closed already.

        Raises:
            RunError: if rows cannot be written, in which case they stay in memory and `close`
                can be called again, or if rows were lost before.
        """
        if self._is_closed:
            return
        self._writer.close()
        self._is_closed = True
        atexit.unregister(self.close)
