"""What a run shows: a bar on a terminal, plain lines elsewhere, and the table at the end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

__all__ = ["Reporter", "summary_table"]


class Reporter:
    """Shows how far a run is; fits `qjax.train.ProgressSink`.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Progress | None = None
        self._epochs = self._steps_per_epoch = 0

    def line(self, text: str) -> None:
        """Prints one line as it is, however long."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Says what is going on while the block runs."""
        if not self._console.is_terminal:
            self.line(text)
            yield
            return
        with self._console.status(text):
            yield

    @contextmanager
    def training(self, epochs: int, steps_per_epoch: int, steps_done: int) -> Iterator[None]:
        """Shows the bar, on a terminal, while the block runs."""
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        if not self._console.is_terminal:
            yield
            return
        live = _progress(self._console)
        self._task = live.add_task(
            "compiling the first step",
            total=epochs * steps_per_epoch,
            completed=steps_done,
            numbers="",
        )
        self._live = live
        try:
            with live:
                yield
        finally:
            self._live = None

    def on_steps(
        self,
        epoch: int,
        steps_done: int,
        loss: float,
        accuracy: float | None,
        samples_per_second: float,
    ) -> None:
        """Moves the bar."""
        if self._live is not None:
            self._live.update(
                self._task,
                completed=(epoch - 1) * self._steps_per_epoch + steps_done,
                description=f"epoch {epoch}/{self._epochs}",
                numbers=_numbers(loss, accuracy, samples_per_second),
            )

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Prints the line of an epoch, where there is no bar."""
        if self._live is None:
            self.line(self._epoch_line(row))

    def _epoch_line(self, row: Mapping[str, Any]) -> str:
        width = len(str(self._epochs))
        parts = [
            f"epoch {row['epoch']:>{width}}/{self._epochs}",
            f"loss {row['train_loss']:.4f}",
            f"accuracy {row['train_accuracy']:.3f}",
        ]
        if row["val_loss"] is not None:
            parts += [
                f"validation loss {row['val_loss']:.4f}",
                f"accuracy {row['val_accuracy']:.3f}",
            ]
        parts.append(f"{row['throughput_samples_per_sec']:,.0f} circuits/s")
        return "  ".join(parts)


def _numbers(loss: float, accuracy: float | None, samples_per_second: float) -> str:
    parts = [f"loss {loss:.4f}", f"{samples_per_second:,.0f} circuits/s"]
    if accuracy is not None:
        parts.insert(1, f"accuracy {accuracy:.3f}")
    return "  ".join(parts)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Lays out the end of a run: accuracies side by side, then times.

    Args:
        summary: the content of ``summary.json``.
    """
    table = Table("", "train", "test", box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = (
        (f"accuracy of {summary['model']}", ""),
        ("the same with frozen angles", "frozen_"),
        ("a linear model", "linear_"),
    )
    for name, prefix in rows:
        accuracies = (summary[f"{prefix}{part}_accuracy"] for part in ("train", "test"))
        table.add_row(name, *(f"{value:.4f}" for value in accuracies))
    table.add_section()
    for name, key, form in (
        ("seconds to the first step", "first_step_seconds", "{:.1f}"),
        ("seconds in all", "wall_seconds", "{:.1f}"),
        ("circuits per second", "circuits_per_second", "{:,.0f}"),
        ("quantum share of compute", "quantum_flops_share", "{:.2f}"),
        ("quantum share of parameters", "quantum_parameter_share", "{:.2f}"),
    ):
        value = summary[key]
        table.add_row(name, "", "-" if value is None else form.format(value))
    return table
