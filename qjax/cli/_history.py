"""Runs in tables: a list, one run in detail, several side by side."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qjax.cli._record import RunRecord, find_runs, read_run
from qjax.cli._report import Reporter
from qjax.storage._metrics import dropped_rows

__all__ = ["plot_runs", "show_comparison", "show_list", "show_runs", "time_split"]

NOTHING = "-"
WIDEST = 10_000


def show_list(folders: Iterable[Path], console: Console) -> None:
    """Prints one line for each run.

    Raises:
        RunError: if a folder holds no run.
    """
    records = _read(folders)
    table = _table("run", "model", "state", "epoch", "loss", "validation", "test", "last row")
    for name, record in zip(_names(records), records, strict=True):
        table.add_row(
            name,
            record.config.model if record.config else NOTHING,
            record.state,
            _progress(record),
            _number(record.last("train_loss")),
            _number(record.last("val_accuracy")),
            _number(record.summary.get("test_accuracy")),
            _age(record),
        )
    _print(table, console)
    _tell_faults(records, console)


def show_runs(folders: Iterable[Path], epochs: int, console: Console) -> None:
    """Prints each run in detail.

    Args:
        folders: run directories, or folders that hold some.
        epochs: how many of the last epochs to print.
        console: where to.

    Raises:
        RunError: if a folder holds no run.
    """
    for record in _read(folders):
        Reporter(console).line(f"{record.folder}: {record.state}")
        _print(_details(record), console)
        if record.epochs:
            console.print()
            _print(_epoch_table(record.epochs[-epochs:]), console)
        _tell_faults([record], console)
        console.print()


def show_comparison(folders: Iterable[Path], console: Console) -> None:
    """Prints runs side by side.

    Raises:
        RunError: if a folder holds no run.
    """
    records = _read(folders)
    table = _table("", *_names(records))
    for setting in _differing_settings(records):
        table.add_row(setting, *(_text(_settings(record).get(setting)) for record in records))
    table.add_section()
    for what, texts in _outcomes(records):
        table.add_row(what, *texts)
    _print(table, console)
    _tell_faults(records, console)


def plot_runs(folders: Iterable[Path], output: Path, console: Console) -> None:
    """Draws runs into one picture.

    Raises:
        RunError: if a folder holds no run, or the disk refuses.
    """
    from qjax.cli import _history_plot

    records = _read(folders)
    _history_plot.write_plot(output, dict(zip(_names(records), records, strict=True)))
    _tell_faults(records, console)
    Reporter(console).line(f"plot: {output}")


def time_split(record: RunRecord) -> dict[str, float]:
    """Returns the seconds of all steps: in circuits, in the backend's queue, and elsewhere.

    What was not timed is left out, and is then part of what is elsewhere.
    """
    columns = {"circuits": "circuit_execution_time_ms", "queue": "queue_time_ms"}
    totals = {part: record.total(column) for part, column in columns.items()}
    split = {part: total / 1000 for part, total in totals.items() if total is not None}
    steps = record.total("batch_time_ms")
    if steps is not None:
        split["elsewhere"] = max(0.0, steps / 1000 - sum(split.values()))
    return split


def _read(folders: Iterable[Path]) -> list[RunRecord]:
    return [read_run(folder) for folder in find_runs(folders)]


def _names(records: Sequence[RunRecord]) -> list[str]:
    """Names the runs by their folders, with as much of the path as tells them apart."""
    paths = [record.folder.absolute().parts for record in records]
    for depth in range(1, max(map(len, paths)) + 1):
        names = [os.path.join(*parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("unreachable")  # no folder is there twice


def _print(table: Table, console: Console) -> None:
    """Prints a table, on a terminal folded into its width and elsewhere as wide as it is."""
    if not console.is_terminal:
        whole = console.options.update(width=WIDEST)
        console = Console(file=console.file, width=console.measure(table, options=whole).maximum)
    console.print(table)


def _tell_faults(records: Iterable[RunRecord], console: Console) -> None:
    for record in records:
        for fault in record.faults:
            Reporter(console).line(f"broken: {fault}")


def _details(record: RunRecord) -> Table:
    table = _table("", "")
    for setting, value in _settings(record).items():
        table.add_row(setting, _text(value))
    table.add_section()
    for what, (text,) in _outcomes([record]):
        table.add_row(what, text)
    table.add_row("checkpoints at steps", ", ".join(map(str, record.checkpoints)) or NOTHING)
    table.add_row("last row", _age(record))
    return table


def _epoch_table(epochs: Sequence[dict[str, Any]]) -> Table:
    columns = {
        "epoch": "epoch",
        "loss": "train_loss",
        "accuracy": "train_accuracy",
        "validation loss": "val_loss",
        "accuracy ": "val_accuracy",
        "circuits/s": "throughput_samples_per_sec",
    }
    table = _table(*columns)
    for row in epochs:
        table.add_row(*(_number(row[column]) for column in columns.values()))
    return table


def _settings(record: RunRecord) -> dict[str, Any]:
    return asdict(record.config) if record.config else {}


def _differing_settings(records: Sequence[RunRecord]) -> list[str]:
    settings = [_settings(record) for record in records]
    names = dict.fromkeys(name for each in settings for name in each)
    return [name for name in names if len({each.get(name) for each in settings}) > 1]


def _outcomes(records: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """What came of the runs: names, and a text for each run."""
    splits = [time_split(record) for record in records]
    return [
        ("state", [record.state for record in records]),
        ("epochs done", [_progress(record) for record in records]),
        ("steps", [str(record.steps.num_rows) for record in records]),
        ("rows dropped", [str(dropped_rows(record.metrics)) for record in records]),
        ("training loss", [_number(record.last("train_loss")) for record in records]),
        ("training accuracy", [_number(record.last("train_accuracy")) for record in records]),
        ("validation loss", [_number(record.last("val_loss")) for record in records]),
        ("validation accuracy", [_number(record.last("val_accuracy")) for record in records]),
        *(
            (what, [_number(record.summary.get(key)) for record in records])
            for what, key in (
                ("test accuracy", "test_accuracy"),
                ("the same with frozen angles", "frozen_test_accuracy"),
                ("a linear model", "linear_test_accuracy"),
                ("circuits per second", "circuits_per_second"),
                ("seconds in all", "wall_seconds"),
            )
        ),
        *(
            (f"seconds of steps: {part}", [_number(split.get(part)) for split in splits])
            for part in ("circuits", "queue", "elsewhere")
        ),
        ("memory, MB", [_number(_last_of(record.metrics, "memory_mb")) for record in records]),
    ]


def _last_of(metrics: Any, column: str) -> float | None:
    values = metrics[column].drop_null()
    return values[-1].as_py() if len(values) else None


def _progress(record: RunRecord) -> str:
    done = record.last("epoch") or 0
    return f"{done}/{record.config.epochs}" if record.config else str(done)


def _age(record: RunRecord) -> str:
    if not record.metrics.num_rows:
        return NOTHING
    seconds = (datetime.now(UTC) - record.metrics["timestamp"][-1].as_py()).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def _number(value: float | None) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _text(value: Any) -> str:
    return NOTHING if value is None else str(value)


def _table(first: str, *others: str) -> Table:
    table = Table(first, *others, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    return table
