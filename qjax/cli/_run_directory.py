"""The folder of a run: making a new one, its checkpoints, its summary."""

import itertools
import json
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp

from qjax.errors import RunError
from qjax.storage import (
    AsyncMetricsLogger,
    disk_errors,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    write_atomic,
)
from qjax.train import TrainState

__all__ = ["RunCheckpoints", "check_is_new", "make_run_directory", "restore", "write_summary"]

CHECKPOINTS = "checkpoints"
SUMMARY = "summary.json"
KEEP = 3


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


class RunCheckpoints:
    """Saves the state every few epochs, but not too often, and at the end.

    The metrics up to the state are committed before it, so that a resumed run finds them.

    Args:
        run_dir: the run directory.
        metrics: writer of the run's metrics.
        every: epochs between two checkpoints.
        least: seconds that must lie between two checkpoints.
        most: seconds after which the next epoch is saved in any case.
    """

    def __init__(
        self,
        run_dir: Path,
        metrics: AsyncMetricsLogger,
        *,
        every: int = 10,
        least: float = 1.0,
        most: float = 60.0,
    ) -> None:
        self._folder = run_dir / CHECKPOINTS
        self._metrics = metrics
        self._every = every
        self._least = least
        self._most = most
        self._last_save = time.monotonic()

    def save(self, epoch: int, state: TrainState, *, final: bool) -> None:
        """Saves the state after `epoch` epochs if it is time to."""
        waited = time.monotonic() - self._last_save
        due = epoch % self._every == 0 and waited > self._least
        if not (final or due or waited > self._most):
            return
        self._metrics.flush()
        if int(state.step) not in list_checkpoints(self._folder):
            save_checkpoint(self._folder, int(state.step), state, {"epoch": epoch})
        prune_checkpoints(self._folder, KEEP)
        self._last_save = time.monotonic()


def restore(run_dir: Path, like: TrainState) -> tuple[TrainState, int]:
    """Loads the newest checkpoint of a run.

    Returns:
        The state, and how many epochs it has seen.

    Raises:
        RunError: if there is none, or it is damaged or does not fit `like`.
    """
    checkpoint = load_checkpoint(run_dir / CHECKPOINTS, like=like)
    state = jax.tree.map(jnp.asarray, checkpoint.tree)
    return cast(TrainState, state), int(checkpoint.metadata["epoch"])


def write_summary(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Writes ``summary.json``.

    Raises:
        RunError: if the disk refuses.
    """
    path = run_dir / SUMMARY
    with disk_errors("Summary", path):
        write_atomic(path, (json.dumps(summary, indent=2) + "\n").encode())
