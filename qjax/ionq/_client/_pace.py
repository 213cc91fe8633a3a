"""Time: the clock, deadlines, growing delays, and the limit of requests per second.

Clock, sleep and random numbers can be replaced, so that tests need not wait.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import inf

from qjax._checks import check_positive_int, check_real
from qjax.ionq._errors import ConfigurationError, DeadlineError

__all__ = [
    "Backoff",
    "Clock",
    "Deadline",
    "PollSchedule",
    "RateLimit",
    "check_seconds",
    "retry_after_seconds",
]


def check_seconds(value: float, name: str, *, zero: bool = False) -> None:
    """Raises `ConfigurationError` unless a setting is a positive number, or zero if allowed."""
    number = check_real(value, name=name, error=ConfigurationError)
    if number < 0 or (number == 0 and not zero):
        least = "at least 0" if zero else "positive"
        raise ConfigurationError(f"Argument `{name}` must be {least}, but is {value!r}.")


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

    @contextlib.asynccontextmanager
    async def hold(self, lock: asyncio.Lock | asyncio.Semaphore, what: str) -> AsyncIterator[None]:
        """Holds a lock or a place of a semaphore.

        Raises:
            DeadlineError: if the deadline passes before it is free, saying what was waited for.
        """
        left, late = self.remaining(), False
        try:
            async with asyncio.timeout(left if left < inf else None):
                await lock.acquire()
        except TimeoutError:
            late = True
        if late:
            raise DeadlineError(
                f"The deadline of {self.seconds:g} s passed while waiting for {what}."
            )
        try:
            yield
        finally:
            lock.release()


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

    def __post_init__(self):
        check_seconds(self.first, "first", zero=True)
        check_seconds(self.cap, "cap", zero=True)
        check_positive_int(self.tries, name="tries", error=ConfigurationError)

    def delay(self, failures: int, clock: Clock) -> float:
        """Seconds to wait after the given number of failures, at least one."""
        return clock.random() * min(self.cap, self.first * 2.0 ** min(failures - 1, 100))


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

    def __post_init__(self):
        for name in ("first", "cap"):
            check_seconds(getattr(self, name), name)
        if not 1 <= check_real(self.factor, name="factor", error=ConfigurationError) <= 100:
            raise ConfigurationError(
                f"Argument `factor` must be between 1 and 100, but is {self.factor!r}."
            )
        if not 0 <= check_real(self.jitter, name="jitter", error=ConfigurationError) <= 1:
            raise ConfigurationError(
                f"Argument `jitter` must be between 0 and 1, but is {self.jitter!r}."
            )

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
            date = parsedate_to_datetime(value)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            seconds = date.timestamp() - clock.wall()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds < inf else None
