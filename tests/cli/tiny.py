"""A small model under the name "tiny", and runs of it in processes that are killed.

``python -m tests.cli.tiny`` reads jobs from its standard input, one a line: the arguments of the
command `qjax` and where its process kills itself without warning, if it does. It forks a process
for each, one after the other, and prints how each ended. A place is a kind and a number:

- ``row N``: the row of step N is about to be logged;
- ``journal N``: rows of metrics are about to be written to their journal for the N-th time;
- ``metrics N``: the N-th commit of metrics is about to be renamed into place;
- ``checkpoint N``: likewise of a checkpoint;
- ``moment N``: N milliseconds after the first row.
"""

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from flax import nnx

import qjax.cli._run  # noqa: F401  # before the fork, so that no process imports it again
from qjax.cli import _run_directory, main
from qjax.nn import DecodingLayer, QuantumFeatureExtractor, models
from qjax.storage import AsyncMetricsLogger, CheckpointManager, _journal


def tiny(*, num_features: int, num_classes: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """A linear map to 4 amplitudes, a circuit on 2 qubits, and a linear readout."""
    return nnx.Sequential(
        nnx.Linear(num_features, 4, rngs=rngs),
        QuantumFeatureExtractor(2, depth=1, rngs=rngs),
        DecodingLayer(6, num_classes, rngs=rngs),
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(function: Callable[..., Any], number: int, suffix: str = "") -> Callable[..., Any]:
    """Kills this process when a function is about to be called for the N-th time.

    Only calls count whose last argument is a path that ends in `suffix`, if there is one.
    """
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += not suffix or str(arguments[-1]).endswith(suffix)
        if calls == number:
            die()
        return function(*arguments, **options)

    return call


def watch_rows(kind: str, number: int) -> None:
    """Prepares the end of this process at a row, or a while after the first."""
    write = AsyncMetricsLogger.write
    timer = threading.Timer(number / 1000, die)

    def write_or_die(self: AsyncMetricsLogger, row: Mapping[str, Any]) -> None:
        if kind == "row" and row["step"] == number:
            die()
        if kind == "moment" and timer.ident is None:
            timer.start()
        write(self, row)

    AsyncMetricsLogger.write = write_or_die


def install(place: str) -> None:
    """Prepares the end of this process."""
    kind, number = place.split()
    suffixes = {"metrics": ".parquet", "checkpoint": ".zip"}
    if kind in suffixes:
        os.replace = die_before(os.replace, int(number), suffixes[kind])
    elif kind == "journal":
        _journal.write_and_sync = die_before(_journal.write_and_sync, int(number))
    else:
        watch_rows(kind, int(number))


def run(job: Mapping[str, Any]) -> int:
    """Runs one job in a process of its own; returns its exit code, or minus its signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _run_directory.CheckpointManager = partial(CheckpointManager, every_epochs=1)
    if job["place"]:
        install(job["place"])
    try:
        main(job["arguments"])
    except SystemExit as done:
        os._exit(int(done.code or 0))
    finally:
        os._exit(1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of forking beside threads, of which there are none of JAX
    models.MODELS["tiny"] = tiny
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for line in sys.stdin:
        sys.stdout.write(f"{run(json.loads(line))}\n")
        sys.stdout.flush()
