"""What a run directory says, read without changing it, while the run goes on or after it broke."""

import json
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import psutil
import pyarrow as pa
import pyarrow.compute as pc

from qjax.cli._config import RunConfig
from qjax.cli._run_directory import CHECKPOINTS, SUMMARY
from qjax.errors import RunError
from qjax.storage import METRICS_SCHEMA, list_checkpoints, read_metrics
from qjax.storage._lock import LOCK

__all__ = ["RunRecord", "find_runs", "read_run"]

CONFIG = "config.json"
METRICS = "metrics"

T = TypeVar("T")


@dataclass(frozen=True)
class RunRecord:
    """One run as far as it can be read.

    Attributes:
        folder: its run directory.
        config: its settings, or None if there are none, as for metrics that a script logged.
        metrics: its rows; none if they cannot be read.
        summary: content of ``summary.json``, empty without.
        checkpoints: steps of its checkpoints.
        is_going: whether its process lives, on this machine.
        faults: one message for each file that cannot be read.
    """

    folder: Path
    config: RunConfig | None
    metrics: pa.Table
    summary: dict[str, Any]
    checkpoints: list[int]
    is_going: bool
    faults: list[str]

    @property
    def state(self) -> Literal["broken", "running", "finished", "stopped"]:
        """How the run is; a stopped one can be resumed."""
        if self.faults:
            return "broken"
        if self.is_going:
            return "running"
        wanted = self.config.epochs if self.config else self.summary.get("epochs")
        return "finished" if self.summary and self.summary.get("epochs") == wanted else "stopped"

    @cached_property
    def steps(self) -> pa.Table:
        """The rows of steps."""
        return self.metrics.filter(pc.field("step") >= 0)

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows of epochs."""
        return self.metrics.filter(pc.field("step") == -1).to_pylist()

    def last(self, column: str) -> Any:
        """Returns the last value of a column in the rows of epochs, or None."""
        values = [row[column] for row in self.epochs if row[column] is not None]
        return values[-1] if values else None

    def total(self, column: str) -> float | None:
        """Returns the sum of a column over the rows of steps, or None if all are null."""
        values = self.steps[column].drop_null().to_numpy()
        return float(values.sum()) if len(values) else None


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """Returns the run directories among `folders` and right below them, each once.

    Raises:
        RunError: if one of the folders neither is a run directory nor holds any.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        inside = [folder] if _is_run(folder) else [f for f in _children(folder) if _is_run(f)]
        if not inside:
            raise RunError(
                f"Folder `{folder}` must be a run directory or hold some, but has neither "
                f"`{CONFIG}` nor a folder with it. `qjax train` makes run directories."
            )
        found |= dict.fromkeys(inside)
    return list(found)


def read_run(folder: Path) -> RunRecord:
    """Reads a run directory; what cannot be read is told in `RunRecord.faults`."""
    faults: list[str] = []

    def attempt(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except RunError as error:
            faults.append(str(error))
            return otherwise

    return RunRecord(
        folder,
        config=attempt(lambda: _config(folder), None),
        metrics=attempt(lambda: _metrics(folder), METRICS_SCHEMA.empty_table()),
        summary=attempt(lambda: _summary(folder), {}),
        checkpoints=attempt(lambda: list_checkpoints(folder / CHECKPOINTS), []),
        is_going=_is_going(folder),
        faults=faults,
    )


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).exists() or (folder / METRICS).is_dir()


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _config(folder: Path) -> RunConfig | None:
    return RunConfig.read(folder) if (folder / CONFIG).exists() else None


def _metrics(folder: Path) -> pa.Table:
    if not (folder / METRICS).exists():  # none were logged yet
        return METRICS_SCHEMA.empty_table()
    return read_metrics(folder)


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"Summary `{path}` is damaged and cannot be read.") from error
    if not isinstance(summary, dict) or not isinstance(summary.get("epochs"), int):
        raise RunError(f"Summary `{path}` is damaged: it is not that of a run.")
    return summary


def _is_going(folder: Path) -> bool:
    # The writer of the metrics notes its process and machine, and wipes that out when it ends.
    try:
        process, machine = (folder / METRICS / LOCK).read_text().split()
        return machine == socket.gethostname() and psutil.pid_exists(int(process))
    except (OSError, ValueError):
        return False
