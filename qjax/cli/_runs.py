"""The commands `qjax runs ...` and their options; the work is done in `qjax.cli._history`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qjax.cli._extras import check_installed

__all__ = ["runs"]

runs = typer.Typer(
    help="List, show, compare and plot runs, finished or still going.", no_args_is_help=True
)

Folders = Annotated[
    list[Path], typer.Argument(help="Run directories, or folders that hold some.", metavar="DIR...")
]


@runs.command("list")
def list_runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run directories, or folders that hold some; by default, runs.", metavar="DIR..."
        ),
    ] = None,
) -> None:
    """List runs: how far they are and how well they do."""
    from qjax.cli import _history

    _history.show_list(folders or [Path("runs")], Console())


@runs.command()
def show(
    folders: Folders,
    epochs: Annotated[int, typer.Option(min=1, help="How many of the last epochs to show.")] = 10,
) -> None:
    """Show the settings, the last epochs and the end of each run."""
    from qjax.cli import _history

    _history.show_runs(folders, epochs, Console())


@runs.command()
def compare(folders: Folders) -> None:
    """Put runs side by side: the settings in which they differ, and what came of them."""
    from qjax.cli import _history

    _history.show_comparison(folders, Console())


@runs.command()
def plot(
    folders: Folders,
    output: Annotated[Path, typer.Option(help="The picture, as PNG.")] = Path("runs.png"),
) -> None:
    """Draw loss, accuracy, gradient norms and the split of the time, of one run or several."""
    check_installed("matplotlib", "plot", "The plot of runs")
    from qjax.cli import _history

    _history.plot_runs(folders, output, Console())
