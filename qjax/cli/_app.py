"""The commands and their options; the work is done in `qjax.cli._run`."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from qjax.cli._extras import check_installed
from qjax.cli._ionq import ionq
from qjax.cli._runs import runs

__all__ = ["app", "run"]

INTERRUPTED = 130

app = typer.Typer(
    name="qjax",
    help="Train quantum machine-learning models in JAX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(runs, name="runs")
app.add_typer(ionq, name="ionq")


def run(arguments: Sequence[str], start: float) -> None:
    """Runs a command line and exits.

    Args:
        arguments: what follows the program's name.
        start: when the process was started, as `qjax.cli._clock.read_clock` reads.
    """
    typer.main.get_command(app)(args=list(arguments), prog_name="qjax", obj=start)


@app.command()
def train(
    context: typer.Context,
    dataset: Annotated[
        str | None, typer.Option(help="digits (the default) or fashion-mnist.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the files of the dataset.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name of the model; `qjax info` lists them.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Use only the first training images.")] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the training images held out for validation.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs in all.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the Adam optimiser at the start; it falls to zero.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the initial parameters and the order of the samples.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder for the run; by default runs/<date>-<model>.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on from this run directory, with its options.", metavar="RUN_DIR"),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Write a timeline of the loop: a picture and a trace."),
    ] = False,
) -> None:
    """Train a classifier and compare it with a linear model and with frozen angles."""
    given = {
        "dataset": dataset,
        "data_dir": None if data_dir is None else str(data_dir.absolute()),
        "model": model,
        "samples": samples,
        "validation": validation,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if resume is not None and run_dir is not None:
        raise typer.BadParameter("--run-dir and --resume exclude each other.")
    check_installed("sklearn", "data", "The linear model beside each run")
    check_installed("matplotlib", "plot", "The plot of each run")
    from qjax.cli import _run

    try:
        _run.train(options, run_dir, resume, Console(), context.obj, profile=profile)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def predict(
    run_dir: Annotated[Path, typer.Argument(help="A run directory of `qjax train`.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with the files of the dataset.")
    ] = None,
) -> None:
    """Score the test set from the checkpoint and configuration of a run."""
    from qjax.cli import _run

    _run.predict(run_dir, None if data_dir is None else str(data_dir.absolute()), Console())


@app.command()
def bench(
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The smallest sizes, to see that it runs.")
    ] = False,
) -> None:
    """Measure how fast circuits compile and run on this machine."""
    from qjax.cli import _bench

    _bench.bench(_bench.SMOKE if smoke else _bench.CASES, Console())


@app.command()
def version() -> None:
    """Print the version of qjax."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        typer.echo(installed("qjax-qml"))
    except PackageNotFoundError:
        typer.echo("unknown")


@app.command()
def info() -> None:
    """List models and datasets, and say what qjax runs on."""
    import jax

    from qjax.cli import _run
    from qjax.data import DATASETS
    from qjax.nn import models

    for name, text in _run.installed_versions().items():
        typer.echo(f"{name:<9} {text}")
    typer.echo(f"{'system':<9} {platform.platform()}")
    typer.echo(f"{'devices':<9} {', '.join(device.device_kind for device in jax.devices())}")
    typer.echo(f"{'models':<9} {', '.join(models.MODELS)} (default: {models.DEFAULT})")
    typer.echo(f"{'datasets':<9} {', '.join(DATASETS)}")
