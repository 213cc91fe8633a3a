"""The commands `qjax ionq ...` and their options."""

from pathlib import Path
from typing import Annotated

import typer

from qjax.cli._extras import check_installed

__all__ = ["ionq"]

ionq = typer.Typer(help="Work with IonQ's cloud, or with a local stand-in.", no_args_is_help=True)


@ionq.callback()
def _group() -> None:
    """Keeps `emulate` a command of its own while it is the only one."""


@ionq.command()
def emulate(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="To listen on; a free one if 0.")
    ] = 8763,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[
        float, typer.Option(min=0, help="Seconds from submission to the start of a job.")
    ] = 0.0,
    per_circuit: Annotated[
        float, typer.Option(min=0, help="Seconds that every circuit takes besides.")
    ] = 0.0,
    clock: Annotated[
        str, typer.Option(help="fast, or realistic: circuits take as long as on the machine.")
    ] = "fast",
    faults: Annotated[
        str | None,
        typer.Option(
            help="What goes wrong: shares such as 429=0.1:2,503=0.05,lost=0.05,slow=0.1:3, or a "
            "file of JSON."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of shots, identifiers and faults.")] = 0,
    store: Annotated[
        Path | None, typer.Option(help="Folder that keeps the jobs; in memory if not given.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Circuits computed at a time.")] = 2,
    live_quirks: Annotated[
        bool, typer.Option("--live-quirks", help="Show jobs as the service was seen to do.")
    ] = False,
    without_sessions: Annotated[
        bool, typer.Option("--without-sessions", help="Be an account that has no sessions.")
    ] = False,
) -> None:
    """Serve a local emulator of IonQ's cloud until interrupted."""
    if clock not in ("fast", "realistic"):
        raise typer.BadParameter("--clock must be fast or realistic.")
    for package in ("starlette", "uvicorn", "openqasm3"):
        check_installed(package, "emulator", "The emulator")
    from qjax.ionq import emulator

    timing = emulator.Timing(latency, per_circuit, clock == "realistic")
    rules = [] if faults is None else emulator.read_faults(faults)
    served = emulator.Emulator(
        timing=timing,
        seed=seed,
        faults=rules,
        folder=store,
        workers=workers,
        live_quirks=live_quirks,
        with_sessions=not without_sessions,
    )

    def announce(url: str) -> None:
        typer.echo(f"IonQ emulator on {url} (any API key will do; stop with Ctrl-C)")

    emulator.serve(served, host=host, port=port, announce=announce)
