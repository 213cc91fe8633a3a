"""Resident memory of this process, now and at its highest."""

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["give_back", "offer_to_die", "peak", "resident", "settle"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_OOM = Path("/proc/self/oom_score_adj")


def resident() -> int | None:
    """Bytes resident now, where the system tells (Linux)."""
    return _field("VmRSS")


def peak() -> int | None:
    """Bytes resident at the highest, since the start or since `settle`."""
    found = _field("VmHWM")
    if found is not None:
        return found
    try:
        import resource
    except ImportError:  # Windows
        return None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def settle() -> int | None:
    """Returns free memory to the system and makes the highest what is resident now.

    Returns:
        Bytes resident now, or None where the system cannot forget the highest.
    """
    give_back()
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return resident()


def give_back() -> None:
    """Returns what is free in the heap to the system, so that it counts no more (glibc)."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def offer_to_die() -> None:
    """Where memory runs out, this process goes first, not another one of the machine (Linux)."""
    with suppress(OSError):
        _OOM.write_text("1000")


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None
