"""Time since the process began, imports included."""

import time
from pathlib import Path

__all__ = ["process_start", "read_clock"]


def read_clock() -> float:
    """Reads the clock that all times here are on, in seconds."""
    return time.perf_counter()


def process_start() -> float:
    """Returns when this process was started, on the axis of `read_clock`.

    Linux tells (to 10 ms). Elsewhere it is taken to be the processor time used so far ago, which
    is nearly the time elapsed while a process only imports.
    """
    return read_clock() - (_age_on_linux() or time.process_time())


def _age_on_linux() -> float | None:
    try:
        from os import sysconf  # absent on Windows

        # The name in parentheses may hold spaces; the 20th field after it is the start in ticks.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (ImportError, OSError, ValueError, IndexError, AttributeError):
        return None
