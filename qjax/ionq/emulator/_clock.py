"""Time in the emulator: what the clock says, and how long jobs take by it."""

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from qjax._checks import check_real
from qjax.errors import QjaxError
from qjax.ionq._machines import Machine

__all__ = ["Clock", "SystemClock", "Timing", "VirtualClock", "timestamp"]


class Clock(Protocol):
    """What the emulator asks of a clock."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns when so many seconds have passed by this clock."""
        ...


class SystemClock:
    """The time of the machine."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that moves only when told to, so that tests do not wait.

    Args:
        start: seconds since 1970.

    Example:
        >>> from qjax.ionq.emulator import VirtualClock
        >>> clock = VirtualClock(start=100.0)
        >>> clock.advance(2.5)
        >>> clock.now()
        102.5
    """

    def __init__(self, start: float = 1_767_225_600.0):
        self._now = check_real(start, name="start", error=QjaxError)
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Moves the clock forward.

        Raises:
            QjaxError: if `seconds` is negative.
        """
        step = check_real(seconds, name="seconds", error=QjaxError)
        if step < 0:
            raise QjaxError(f"Argument `seconds` must not be negative, but is {seconds!r}.")
        with self._lock:
            self._now += step

    async def sleep(self, seconds: float) -> None:
        """Moves the clock instead of waiting."""
        self.advance(seconds)
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Timing:
    """How long jobs take by the emulator's clock.

    Attributes:
        latency: seconds from submission to the start of a job.
        per_circuit: seconds of each circuit, for every backend.
        realistic: whether circuits on a machine take as long as its gates do: set-up time, plus
            shots times the sum of the gate times.

    Example:
        >>> from qjax.ionq import find_machine
        >>> from qjax.ionq.emulator import Timing
        >>> timing = Timing(realistic=True)
        >>> round(timing.duration(find_machine("forte-1"), (120, 11), shots=500), 4)
        13.5945
    """

    latency: float = 0.0
    per_circuit: float = 0.0
    realistic: bool = False

    def __post_init__(self):
        for name in ("latency", "per_circuit"):
            if check_real(getattr(self, name), name=name, error=QjaxError) < 0:
                raise QjaxError(f"Argument `{name}` must not be negative.")

    def duration(self, machine: Machine, gates: tuple[int, int], shots: int) -> float:
        """Seconds that a circuit of so many one- and two-qubit gates runs."""
        return self.per_circuit + (machine.duration(*gates, shots) if self.realistic else 0.0)


def timestamp(seconds: float) -> str:
    """A time as the service writes it, in UTC with milliseconds.

    Example:
        >>> timestamp(0.25)
        '1970-01-01T00:00:00.250Z'
    """
    moment = datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
