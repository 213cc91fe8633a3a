"""The folder of a run: making a new one, its checkpoints, its summary."""

import itertools
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from qjax.errors import RunError
from qjax.storage import AsyncMetricsLogger, CheckpointManager, disk_errors, write_atomic

__all__ = [
    "CHECKPOINTS",
    "SUMMARY",
    "check_is_new",
    "make_run_directory",
    "open_checkpoints",
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


def open_checkpoints(run_dir: Path, metrics: AsyncMetricsLogger) -> CheckpointManager:
    """Opens the checkpoints of a run: every ten epochs, or a minute, and the last ones stay.

    The rows of metrics up to a state are committed before it, so that a resumed run finds them.

    Raises:
        RunError: if another writer has them, or the disk refuses.
    """
    return CheckpointManager(
        run_dir / CHECKPOINTS,
        every_seconds=EVERY_SECONDS,
        before_commit=metrics.flush,
    )


def write_summary(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Writes ``summary.json``.

    Raises:
        RunError: if the disk refuses.
    """
    path = run_dir / SUMMARY
    with disk_errors("Summary", path):
        write_atomic(path, (json.dumps(summary, indent=2) + "\n").encode())
