"""A bounded buffer between a thread that must not wait and one that may."""

from threading import Event, Lock
from typing import Generic, TypeVar

from qjax._checks import check_positive_int
from qjax.errors import RunError

__all__ = ["AsyncBuffer"]

T = TypeVar("T")


class AsyncBuffer(Generic[T]):
    """Takes items from any thread without waiting, and counts those for which there is no room.

    Items handed over by `take` hold their room until `done`, so that what could not be written
    is handed over again and memory stays bounded while it cannot be. A lock is held only for as
    long as it takes to append to a list.

    Args:
        capacity: how many items there is room for.
        wake_at: `wait` ends once this many wait; by default half of `capacity`.

    Example:
        >>> from qjax.storage import AsyncBuffer
        >>> buffer = AsyncBuffer(2)
        >>> [buffer.put(name) for name in "abc"]
        [True, True, False]
        >>> buffer.take(), buffer.dropped
        (['a', 'b'], 1)
        >>> buffer.done()
        >>> buffer.put("d"), buffer.take()
        (True, ['d'])
    """

    def __init__(self, capacity: int, wake_at: int | None = None) -> None:
        self._capacity = check_positive_int(capacity, name="capacity", error=RunError)
        self._wake_at = max(1, self._capacity // 2) if wake_at is None else wake_at
        self._waiting: list[T] = []
        self._taken: list[T] = []
        self._dropped = 0
        self._lock = Lock()
        self._ready = Event()

    def __len__(self) -> int:
        """How many items hold room, those that were taken but not done included."""
        with self._lock:
            return len(self._waiting) + len(self._taken)

    @property
    def capacity(self) -> int:
        """How many items there is room for."""
        return self._capacity

    @property
    def dropped(self) -> int:
        """How many items were refused so far."""
        return self._dropped

    def put(self, item: T) -> bool:
        """Adds an item; returns False, and counts it as dropped, if there is no room."""
        with self._lock:
            count = len(self._waiting)
            if count + len(self._taken) >= self._capacity:
                self._dropped += 1
                return False
            self._waiting.append(item)
        if count + 1 >= self._wake_at and not self._ready.is_set():
            self._ready.set()
        return True

    def take(self) -> list[T]:
        """Hands over all items, oldest first; those taken before and not done come again.

        Only one thread may take at a time.
        """
        with self._lock:
            self._taken += self._waiting
            self._waiting = []
        return list(self._taken)

    def peek(self) -> list[T]:
        """Returns all items, oldest first, and leaves those that wait waiting."""
        with self._lock:
            return self._taken + self._waiting

    def done(self) -> None:
        """Frees the room of the items that were taken."""
        with self._lock:
            finished, self._taken = self._taken, []
        del finished  # not under the lock: it may be the last to know thousands of rows

    def wait(self, seconds: float) -> None:
        """Waits until `wake_at` items wait, `wake` is called, or so many seconds have passed."""
        self._ready.wait(seconds)
        self._ready.clear()

    def wake(self) -> None:
        """Ends the `wait` under way, or the next one."""
        self._ready.set()
