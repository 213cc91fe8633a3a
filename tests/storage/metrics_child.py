"""Processes that log metrics until they are killed; `test_metrics_crash.py` looks at what is left.

``python -m tests.storage.metrics_child`` reads jobs from its standard input, one a line, and forks
a process for each. A process that is to die in a phase kills itself, without warning, in the
commit with the number given (or in the sync, if the phase is one of a sync); one with a phase of
`RANDOM` is killed that many milliseconds after it began. What it logged and what it was told is
committed, or safe in the journal, it notes beside its metrics, unbuffered.
"""

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from qjax.storage import _files, _folder, _journal, _metrics, read_metrics, truncate_metrics
from qjax.storage._journal import JOURNAL, Journal
from qjax.storage._logger import AsyncMetricsLogger
from qjax.storage._metrics import MetricParts

ROWS_PER_COMMIT = 3
SYNCS_PER_COMMIT = 2  # of so many rows, where there are any
RANDOM = ("random", "random with a journal")
SYNCING = (
    *("appending", "after append", "before rename", "before removal", "after removal"),
    RANDOM[1],
)
PART_ROWS = 8
AT_ONCE = 4  # processes, which wait for the disk most of the time
RANDOM_FLUSH_SECONDS = 0.01
FOREVER = 1e9
LIFE_SECONDS = 300  # of a process that failed to be killed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, call: Callable[..., Any]) -> None:
    """Calls `call` before each call of a function."""
    function = getattr(owner, name)

    def called(*arguments: Any, **options: Any) -> Any:
        call(*arguments)
        return function(*arguments, **options)

    setattr(owner, name, called)


def after(owner: Any, name: str, call: Callable[..., Any]) -> None:
    """Calls `call` after each call of a function."""
    function = getattr(owner, name)

    def called(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        call(*arguments)
        return result

    setattr(owner, name, called)


class HalfWritten:
    """A file that dies when half of what it was given is written."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> "HalfWritten":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        self._file.write(content[: len(content) // 2])
        die()


def write_in_place(path: Path, content: bytes) -> None:
    """A commit in the wrong order: the name first, then the content."""
    with _files.open(path, "wb") as file:  # pyright: ignore[reportAttributeAccessIssue]
        file.write(content)


def remove_journal(folder: Any, *_: object) -> None:
    """A commit in the wrong order: the journal goes first, then the part comes."""
    if JOURNAL in folder.names():
        folder.remove(JOURNAL)


class LateCommit:
    """A commit in the wrong order: it returns first, and is made by the next one."""

    def __init__(self) -> None:
        self._late: tuple[Path, bytes] | None = None
        self._write = _folder.write_atomic

    def __call__(self, path: Path, content: bytes) -> None:
        if self._late is not None:
            self._write(*self._late)
        self._late = (path, content)


def install(phase: str, number: int, order: str) -> None:
    """Prepares the death of this process in a phase of its `number`-th commit."""
    count = [0]

    def counted(*_: object) -> None:
        count[0] += 1

    def due(*_: object) -> None:
        if count[0] == number:
            die()

    before(MetricParts, "append" if phase in SYNCING[:2] else "commit", counted)
    if order == "in place":
        _folder.write_atomic = write_in_place  # pyright: ignore[reportAttributeAccessIssue]
    elif order == "late":
        _folder.write_atomic = LateCommit()  # pyright: ignore[reportAttributeAccessIssue]
    elif order == "journal first":
        before(_metrics, "_write_part", remove_journal)
    if phase == "writing":

        def open_or_die(*arguments: Any, **options: Any) -> Any:
            file = open(*arguments, **options)  # noqa: SIM115
            return HalfWritten(file) if count[0] == number else file

        _files.open = open_or_die  # pyright: ignore[reportAttributeAccessIssue]
    elif phase in ("before commit", "before rename"):
        before(os, "replace", due)
    elif phase == "after commit":
        after(os, "replace", due)
    elif phase == "after sync":
        after(MetricParts, "commit", due)
    elif phase == "compacting":
        after(_metrics, "_grow", due)
    elif phase == "appending":

        def write_or_die(file: Any, content: bytes) -> None:
            HalfWritten(file).write(content) if count[0] == number else write(file, content)

        write = _journal.write_and_sync
        _journal.write_and_sync = write_or_die
    elif phase == "after append":
        after(_journal, "write_and_sync", due)
    elif phase == "before removal":
        before(Journal, "restart", due)
    elif phase == "after removal":
        after(Journal, "restart", due)


def log_until_killed(folder: Path, phase: str, number: int, order: str) -> None:
    """Logs rows, which the thread in the background commits."""
    committed = os.open(folder / "committed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    has_committed = Event()

    def note(step: int) -> None:
        os.write(committed, f"{step}\n".encode())

    def note_commit(_: object, rows: Any, *more: object) -> None:
        if rows.num_rows:
            note(rows["step"][-1].as_py())
            has_committed.set()

    install(phase, number, order)
    after(MetricParts, "commit", note_commit)
    flush_seconds = RANDOM_FLUSH_SECONDS if phase in RANDOM else FOREVER
    metrics = AsyncMetricsLogger(
        folder, flush_seconds=flush_seconds, part_rows=PART_ROWS, hardware=False
    )
    logged = os.open(folder / "logged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    step = 0
    deadline = time.monotonic() + LIFE_SECONDS
    while time.monotonic() < deadline:
        for _ in range(ROWS_PER_COMMIT):
            step += 1
            os.write(logged, f"{step} {time.time()}\n".encode())
            metrics.log({"epoch": 1 + step // 10, "step": step, "free": step / 8})
        if phase in SYNCING:
            metrics.sync()
            note(step)
        if phase in RANDOM:
            time.sleep(0.0005)
        elif phase not in SYNCING:
            metrics._buffer.wake()
            has_committed.wait(LIFE_SECONDS)
            has_committed.clear()
        elif step % (SYNCS_PER_COMMIT * ROWS_PER_COMMIT) == 0:
            metrics.flush()


def truncate_until_killed(folder: Path, number: int) -> None:
    """Cuts a history off, and dies at the `number`-th change of the disk."""
    for _ in range(5):
        parts = MetricParts(folder, part_rows=1)
        rows = range(parts._number * 10 + 1, parts._number * 10 + 11)
        first = len(read_metrics(folder)) + 1
        steps = range(first, first + len(rows))
        parts.commit(parts.columns.as_table([{"epoch": s, "step": s} for s in steps]))
        parts.close()
    die_at_change(number)
    truncate_metrics(folder, 15)
    die()


def replay_until_killed(folder: Path, number: int) -> None:
    """Takes over a journal, and dies at the `number`-th change of the disk."""
    parts = MetricParts(folder)
    rows = [{"epoch": 1, "step": step} for step in range(1, 10)]
    parts.commit(parts.columns.as_table(rows[:4]))
    parts.append(rows[4:])
    parts.close()
    for name in ("logged", "committed"):
        (folder / name).write_text("".join(f"{row['step']}\n" for row in rows))
    die_at_change(number)
    MetricParts(folder)
    die()


def die_at_change(number: int) -> None:
    """Prepares the death of this process before or after a change of the disk."""
    left = [number]

    def due(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            die()

    for name in ("replace", "unlink", "fsync"):
        before(os, name, due)
        after(os, name, due)


def start(job: dict[str, Any]) -> int:
    """Starts one job in a process of its own."""
    folder = Path(job["folder"])
    folder.mkdir()
    pid = os.fork()
    if pid == 0:
        try:
            if job["phase"] == "truncating":
                truncate_until_killed(folder, job["number"])
            elif job["phase"] == "replaying":
                replay_until_killed(folder, job["number"])
            else:
                log_until_killed(folder, job["phase"], job["number"], job["order"])
        finally:
            os._exit(1)  # it was to be killed
    return pid


def end(job: dict[str, Any], pid: int) -> None:
    """Waits for the end of a job, and notes how that came."""
    folder = Path(job["folder"])
    if job["phase"] in RANDOM:
        while not (folder / "logged").exists():
            time.sleep(0.001)
        time.sleep(job["number"] / 1000)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    (folder / "ended").write_text(f"{os.waitstatus_to_exitcode(status)} {time.time()}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # on a fork beside the threads of JAX
    jobs = [json.loads(line) for line in sys.stdin]
    for first in range(0, len(jobs), AT_ONCE):
        started = [(job, start(job)) for job in jobs[first : first + AT_ONCE]]
        for job, pid in started:
            end(job, pid)
