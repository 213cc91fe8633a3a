"""`qjax bench`: how fast circuits compile and run on this machine.

A short form for users, qjax alone. The comparison with other libraries is in the repository's
folder `bench`.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import qjax as qj

__all__ = ["CASES", "SMOKE", "Case", "Measured", "bench", "measure"]

ENOUGH_SECONDS, FEWEST_CALLS, MOST_CALLS = 0.5, 5, 200


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Args:
        task: "forward" (every <Z_i>) or "gradient" (of a weighted sum of them, in the angles).
        num_qubits: n.
        batch: inputs, each encoded by RY on every qubit; 0 for one state without an input.
        layers: of RY and RZ on each qubit and a ring of CX.
    """

    task: str
    num_qubits: int
    batch: int
    layers: int


@dataclass(frozen=True)
class Measured:
    """What a case took; seconds and bytes."""

    compile: float  # tracing included
    first: float  # compiling included
    steady: float
    memory: int | None


CASES = (
    *(Case(task, n, 32, 4) for n in (4, 8, 12) for task in ("forward", "gradient")),
    *(Case(task, 8, 256, 4) for task in ("forward", "gradient")),
    Case("forward", 20, 0, 8),
)
SMOKE = (Case("forward", 3, 2, 2), Case("gradient", 3, 2, 2), Case("forward", 6, 0, 2))


def bench(cases: Iterable[Case], console: Console) -> None:
    """Measures the cases one after the other and prints the table.

    Args:
        cases: what to measure.
        console: where to.
    """
    table = _empty_table()
    with _without_cache():
        for case in cases:
            with console.status(f"{case.task}, {case.num_qubits} qubits"):
                table.add_row(*_fields(case, measure(case)))
    console.print(table)
    for line in _surroundings():
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def measure(case: Case) -> Measured:
    """Compiles a case and runs it until its time is known."""
    function, arguments = program(case)
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    ready = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    end = time.perf_counter()
    found = compiled.memory_analysis()
    memory = None if found is None else found.temp_size_in_bytes + found.output_size_in_bytes
    return Measured(ready - start, end - start, _median(compiled, arguments), memory)


def program(case: Case) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function of a case, to be jitted, and its arguments."""
    rng = np.random.default_rng(0)
    n = case.num_qubits
    theta = jnp.asarray(rng.uniform(-np.pi, np.pi, (case.layers, n, 2)), jnp.float32)
    weights = jnp.asarray(rng.uniform(-1, 1, n), jnp.float32)
    observables = [qj.Z(q) for q in range(n)]

    def values(theta: Any, x: Any = None) -> Any:
        circuit = qj.hardware_efficient(theta, "circular")
        if x is not None:
            circuit = qj.angle_encoding(x) + circuit
        return qj.expectation(circuit, observables)

    batched: Callable[..., Any] = jax.vmap(values, (None, 0)) if case.batch else values

    def loss(*arguments: Any) -> Any:
        return (batched(*arguments) @ weights).mean()

    xs = jnp.asarray(rng.uniform(-np.pi, np.pi, (case.batch, n)), jnp.float32)
    function = batched if case.task == "forward" else jax.value_and_grad(loss)
    return function, (theta, xs) if case.batch else (theta,)


def _median(compiled: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    times: list[float] = []
    while len(times) < FEWEST_CALLS or (sum(times) < ENOUGH_SECONDS and len(times) < MOST_CALLS):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@contextmanager
def _without_cache() -> Iterator[None]:
    """Programs kept on disk by earlier processes would hide the time to compile."""
    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def _empty_table() -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task")
    for name in ("qubits", "batch", "layers", "compile s", "first s", "steady ms", "MiB"):
        table.add_column(name, justify="right")
    return table


def _fields(case: Case, measured: Measured) -> list[str]:
    return [
        case.task,
        str(case.num_qubits),
        str(case.batch or "-"),
        str(case.layers),
        f"{measured.compile:.2f}",
        f"{measured.first:.2f}",
        f"{1e3 * measured.steady:.3g}",
        "-" if measured.memory is None else f"{measured.memory / 2**20:.3g}",
    ]


def _surroundings() -> list[str]:
    """What the numbers mean and depend on."""
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return [
        "",
        "compile: tracing included. first: compile and one call. steady: median of later calls.",
        "MiB: temporaries and outputs of the compiled program.",
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}, {_versions()}, running on {devices}",
    ]


def _versions() -> str:
    names = {"qjax": "qjax-qml", "jax": "jax", "jaxlib": "jaxlib", "numpy": "numpy"}
    return ", ".join(f"{name} {_version(distribution)}" for name, distribution in names.items())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"  # run from a checkout that is not installed


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
