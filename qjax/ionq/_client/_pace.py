"""Time: the clock, deadlines, growing delays, and the limit of requests per second.

Clock, sleep and random numbers can be replaced, so that tests need not wait.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import inf

from qjax._checks import check_real
from qjax.ionq._errors import ConfigurationError, DeadlineError

__all__ = ["Backoff", "Clock", "Deadline", "PollSchedule", "RateLimit", "retry_after_seconds"]


@dataclass(frozen=True)
class Clock:
    """Where time and chance come from.

    Attributes:
        monotonic: seconds that never jump, for durations.
        wall: seconds since 1970, for comparison with the service's dates.
        sleep: waits that many seconds.
        random: a number in [0, 1).
    """

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random


class Deadline:
    """A point in time after which nothing is waited for any more.

    Args:
        seconds: from now; None for no deadline.
        clock: that measures it.
    """

    def __init__(self, seconds: float | None, clock: Clock):
        if seconds is not None:
            seconds = check_real(seconds, name="deadline", error=ConfigurationError)
            if seconds <= 0:
                raise ConfigurationError(
                    f"Argument `deadline` must be positive seconds or None, but is {seconds:g}."
                )
        self.seconds, self._clock = seconds, clock
        self._end = inf if seconds is None else clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; infinite without a deadline, never negative."""
        return max(0.0, self._end - self._clock.monotonic())

    async def sleep(self, seconds: float, what: str, job_id: str | None = None) -> None:
        """Sleeps, unless the deadline would pass meanwhile.

        Raises:
            DeadlineError: at once in that case, saying what was waited for.
        """
        if seconds >= self.remaining():
            raise DeadlineError(
                f"The deadline of {self.seconds:g} s would pass while waiting for {what}.",
                job_id=job_id,
            )
        await self._clock.sleep(seconds)


@dataclass(frozen=True)
class Backoff:
    """Delays between tries: full jitter under an exponential ceiling.

    Attributes:
        first: ceiling of the first delay, in seconds.
        cap: largest ceiling, in seconds.
        tries: how often a request is sent at most.

    References:
        Brooker, Exponential Backoff and Jitter, AWS Architecture Blog (2015).
    """

    first: float = 0.5
    cap: float = 30.0
    tries: int = 10

    def delay(self, failures: int, clock: Clock) -> float:
        """Seconds to wait after the given number of failures, at least one."""
        return clock.random() * min(self.cap, self.first * 2.0 ** (failures - 1))


@dataclass(frozen=True)
class PollSchedule:
    """Delays between looks at a job: growing, with jitter.

    Attributes:
        first: the first delay, in seconds.
        factor: by which each delay grows.
        cap: the largest delay, in seconds.
        jitter: share of a delay by which it may be shorter or longer.
    """

    first: float = 0.5
    factor: float = 1.5
    cap: float = 30.0
    jitter: float = 0.2

    def delay(self, looks: int, clock: Clock) -> float:
        """Seconds to wait after the given number of looks, at least one."""
        steady = min(self.cap, self.first * self.factor ** min(looks - 1, 100))
        return steady * (1 + self.jitter * (2 * clock.random() - 1))


class RateLimit:
    """Lets requests pass at most so often per second, evenly spaced.

    Args:
        per_second: the rate; None for no limit.
        clock: that measures it.
    """

    def __init__(self, per_second: float | None, clock: Clock):
        if per_second is not None and not per_second > 0:
            raise ConfigurationError(
                f"Argument `requests_per_second` must be positive, but is {per_second!r}."
            )
        self._gap = 0.0 if per_second is None else 1 / per_second
        self._clock, self._next = clock, -inf

    def reserve(self) -> float:
        """Takes the next free slot; returns the seconds until then."""
        now = self._clock.monotonic()
        slot = max(now, self._next)
        self._next = slot + self._gap
        return slot - now


def retry_after_seconds(value: str | None, clock: Clock) -> float | None:
    """What a Retry-After header asks for: seconds, or the time until a date; None if neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - clock.wall()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds < inf else None
