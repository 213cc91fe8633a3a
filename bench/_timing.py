"""How the benchmarks measure: compile and run apart, medians, the machine beside the numbers."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def first_call(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of the first call, compilation included."""
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def median_call(function: Callable[..., Any], *args: Any, repeats: int = 20) -> float:
    """Median seconds of a call once compiled."""
    jax.block_until_ready(function(*args))
    return statistics.median(first_call(function, *args) for _ in range(repeats))


def machine() -> str:
    """One line: the processor count, the platform, and the versions that the numbers depend on."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, "
        f"Python {platform.python_version()}, jax {jax.__version__}, {jax.default_backend()}"
    )


def arguments(description: str) -> argparse.Namespace:
    """Every benchmark takes `--toy`, the size at which CI runs it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--toy", action="store_true", help="the smallest size, to see that it runs")
    return parser.parse_args()
