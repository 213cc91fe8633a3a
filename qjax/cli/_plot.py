"""The picture of a run: loss and accuracy by epoch."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qjax.storage import disk_errors, write_atomic

__all__ = ["prepare", "write_plot"]

FILE = "training.png"


def prepare() -> None:
    """Imports the plotting library, which is slow, so that another thread can do it early."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def write_plot(
    run_dir: Path, title: str, epochs: Sequence[Mapping[str, Any]], levels: Mapping[str, float]
) -> None:
    """Draws ``training.png``.

    Args:
        run_dir: the run directory.
        title: title of the picture.
        epochs: the rows of metrics of the epochs.
        levels: accuracies to draw as level lines, by name.

    Raises:
        RunError: if the disk refuses.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    _draw_curves(left, epochs, "loss", "cross-entropy (nats)")
    _draw_curves(right, epochs, "accuracy", "accuracy")
    for index, (name, value) in enumerate(levels.items()):
        right.axhline(value, linestyle="--", linewidth=1, color=f"C{index + 2}", label=name)
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    with disk_errors("Plot", run_dir / FILE):
        write_atomic(run_dir / FILE, image.getvalue())


def _draw_curves(axes: Any, epochs: Sequence[Mapping[str, Any]], what: str, label: str) -> None:
    for prefix, name in (("train", "training"), ("val", "validation")):
        points = [(row["epoch"], row[f"{prefix}_{what}"]) for row in epochs]
        points = [point for point in points if point[1] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axes.set_ylabel(label)
