"""The picture of several runs: loss, accuracy, gradient norms, and where the time went."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qjax.cli._history import time_split
from qjax.cli._record import RunRecord
from qjax.storage import disk_errors, write_atomic

__all__ = ["write_plot"]

POINTS = 500  # of a curve of steps; each is a mean
GROUP = "grad_norm/"


def write_plot(output: Path, records: Mapping[str, RunRecord]) -> None:
    """Draws the picture.

    Args:
        output: file to write.
        records: the runs by name.

    Raises:
        RunError: if the disk refuses.
    """
    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    (loss, accuracy), (norms, times) = figure.subplots(2, 2)
    for index, (name, record) in enumerate(records.items()):
        _draw_epochs(loss, record, "loss", name, f"C{index}")
        _draw_epochs(accuracy, record, "accuracy", name, f"C{index}")
        _draw_steps(loss, record.steps, "train_loss", None, f"C{index}", alpha=0.3)
        _draw_steps(norms, record.steps, "grad_norm", name, f"C{index}")
    if len(records) == 1:
        (record,) = records.values()
        groups = [n for n in record.metrics.schema.names if n.startswith(GROUP)]
        for index, column in enumerate(groups, start=1):
            _draw_steps(norms, record.steps, column, column.removeprefix(GROUP), f"C{index}")
    _draw_times(times, records)
    _finish(loss, "cross-entropy (nats)")
    _finish(accuracy, "accuracy")
    _finish(norms, "norm of the gradient")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    with disk_errors("Plot", output):
        write_atomic(output, image.getvalue())


def _draw_epochs(axes: Any, record: RunRecord, what: str, name: str, color: str) -> None:
    for prefix, style, suffix in (("train", "-", ""), ("val", "--", ", validation")):
        points = [(row["epoch"], row[f"{prefix}_{what}"]) for row in record.epochs]
        points = [point for point in points if point[1] is not None]
        if points:
            axes.plot(
                *zip(*points, strict=True), style, color=color, marker=".", label=name + suffix
            )


def _draw_steps(
    axes: Any, steps: pa.Table, column: str, name: str | None, color: str, **style: Any
) -> None:
    x, y = _positions(steps), _values(steps, column)
    known = np.isfinite(y)
    if known.any():
        axes.plot(_thinned(x[known]), _thinned(y[known]), color=color, label=name, **style)


def _draw_times(axes: Any, records: Mapping[str, RunRecord]) -> None:
    splits = [time_split(record) for record in records.values()]
    left = np.zeros(len(records))
    for part in ("circuits", "queue", "elsewhere"):
        widths = np.array([split.get(part, 0.0) for split in splits])
        if widths.any():
            axes.barh(list(records), widths, left=left, label=part)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("seconds of all steps")
    if left.any():
        axes.legend(fontsize="small")


def _finish(axes: Any, label: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _positions(steps: pa.Table) -> np.ndarray:
    """Where steps lie on the axis of epochs: the last one of epoch n at n."""
    epochs = _values(steps, "epoch")
    _, first, counts = np.unique(epochs, return_index=True, return_counts=True)
    within = np.arange(len(epochs)) - np.repeat(first, counts)
    return epochs - 1 + (within + 1) / max(counts, default=1)


def _values(table: pa.Table, column: str) -> np.ndarray:
    return table[column].to_numpy().astype(float)


def _thinned(values: np.ndarray) -> np.ndarray:
    """Means of stretches of equal length, at most `POINTS` of them and a rest."""
    length = -(-len(values) // POINTS)
    starts = np.arange(0, len(values), length)
    return np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
