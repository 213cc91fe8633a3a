"""The folder of a run: making a new one, its checkpoints, its summary."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from qjax.errors import RunError
from qjax.storage import AsyncMetricsLogger, CheckpointManager, disk_errors, write_atomic
from qjax.train import Timeline

__all__ = [
    "CHECKPOINTS",
    "SUMMARY",
    "check_is_new",
    "make_run_directory",
    "open_run",
    "write_summary",
]

CHECKPOINTS = "checkpoints"
SUMMARY = "summary.json"
EVERY_SECONDS = 60.0


def check_is_new(run_dir: Path) -> None:
    """Raises unless `run_dir` can become a new run directory.

    Raises:
        RunError: if it is a file or holds files.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"Argument `run_dir` must be a folder, but `{run_dir}` is a file.")
    if run_dir.is_dir() and any(run_dir.iterdir()):
        raise RunError(
            f"Argument `run_dir` must be a new or empty folder, but `{run_dir}` holds files. "
            f"Choose another one, or go on with that run by --resume {run_dir}"
        )


def make_run_directory(run_dir: Path | None, model: str) -> Path:
    """Makes the folder of a new run.

    Args:
        run_dir: where; by default ``runs/<date>-<model>`` below the current folder, with a
            number behind it if that exists.
        model: name of the model.

    Raises:
        RunError: if it cannot be made.
    """
    if run_dir is not None:
        check_is_new(run_dir)
        with disk_errors("Run directory", run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
        return run_dir
    base = Path("runs", f"{date.today().isoformat()}-{model}")
    with disk_errors("Run directory", base):
        base.parent.mkdir(exist_ok=True)
        for number in itertools.count(1):
            candidate = base if number == 1 else base.with_name(f"{base.name}-{number}")
            try:
                candidate.mkdir()
            except FileExistsError:
                continue
            return candidate
    raise AssertionError("unreachable")


@contextmanager
def open_run(
    run_dir: Path, timeline: Timeline | None
) -> Iterator[tuple[AsyncMetricsLogger, CheckpointManager]]:
    """Opens the metrics and checkpoints of a run, and writes what is left of them at the end.

    States are saved every ten epochs or every minute. The rows up to a state are on disk before
    it, so that a resumed run finds them.

    Args:
        run_dir: the run directory.
        timeline: records the work in the background, or None.

    Raises:
        RunError: if another writer has them, or the disk refuses.
    """
    more: dict[str, Any] = {"observe": timeline.background} if timeline is not None else {}
    with (
        AsyncMetricsLogger(run_dir, **more) as metrics,
        CheckpointManager(
            run_dir / CHECKPOINTS,
            every_seconds=EVERY_SECONDS,
            before_commit=metrics.sync,
            **more,
        ) as checkpoints,
    ):
        yield metrics, checkpoints


def write_summary(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Writes ``summary.json``.

    Raises:
        RunError: if the disk refuses.
    """
    path = run_dir / SUMMARY
    with disk_errors("Summary", path):
        write_atomic(path, (json.dumps(summary, indent=2) + "\n").encode())
