"""Where batches come from: arrays in memory, or any iterable of batches.

A feed gives the batches of one epoch after another, from any place where a run was cut short.
"""

import asyncio
from collections.abc import AsyncIterable, Iterable
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np

from qjax.errors import RunError
from qjax.train._batches import Batch, batches, count_batches, epoch_order
from qjax.train._wait import Wait

__all__ = ["ArrayFeed", "Fed", "Feed", "StreamFeed", "as_batch", "is_arrays", "make_feed"]


_END = object()


class Fed(NamedTuple):
    """A batch, and the state of the iterator behind it, if it has one."""

    batch: Batch
    position: Any


class Feed(Protocol):
    """Gives batches.

    Attributes:
        next: waits for the next `Fed` of the epoch, or None at its end.
        identity: what must be the same when a run is resumed.
        runs_on: whether its iterator goes on from epoch to epoch.
    """

    next: Wait
    identity: dict[str, int]
    runs_on: bool

    def open(self, epoch: int, offset: int, position: Any) -> None:
        """Goes to where `offset` batches of an epoch, counted from 1, are done."""

    def close(self) -> None:
        """Lets go of what it holds."""


def make_feed(data: Any, batch_size: int, seed: int, steps_per_epoch: int | None) -> Feed:
    """Makes the feed of arrays (x, y), or of an iterable or asynchronous iterable of batches."""
    if is_arrays(data):
        if steps_per_epoch is not None:
            raise RunError(
                "Argument `steps_per_epoch` must be left out for arrays, whose epochs hold every "
                f"sample once, but is {steps_per_epoch}."
            )
        return ArrayFeed(*data, batch_size, seed)
    if isinstance(data, AsyncIterable | Iterable) and not isinstance(data, tuple | str | dict):
        return StreamFeed(data, steps_per_epoch)
    raise RunError(
        "Argument `data` must be a tuple (x, y) of arrays or an iterable of batches (x, y), "
        f"but is of type {type(data).__name__}."
    )


def is_arrays(data: Any) -> TypeGuard[tuple[Any, Any]]:
    """Whether data is a tuple (x, y) of arrays."""
    return (
        isinstance(data, tuple) and len(data) == 2 and all(hasattr(part, "shape") for part in data)
    )


def as_batch(item: Any) -> Batch:
    """Returns a batch (x, y) or (x, y, weight) with its weights and size."""
    if isinstance(item, Batch):
        return item
    if not isinstance(item, tuple | list) or not 2 <= len(item) <= 3:
        raise RunError(
            "Argument `data` must give batches (x, y) or (x, y, weight), "
            f"but gives one of type {type(item).__name__}."
        )
    x, y, *rest = item
    weight = np.asarray(rest[0], np.float32) if rest else np.ones(len(x), np.float32)
    size = int((weight != 0).sum())
    if not len(x) == len(y) == len(weight) or size == 0:
        raise RunError(
            "Argument `data` must give batches of as many targets and weights as inputs, and of "
            f"one sample or more, but gives {len(x)} inputs, {len(y)} targets, {size} of them "
            "with weight."
        )
    return Batch(x, y, weight, size)


class ArrayFeed:
    """Batches of arrays, shuffled anew each epoch by seed and epoch alone."""

    runs_on = False

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int) -> None:
        if len(x) != len(y):
            raise RunError(
                f"Argument `data` must hold as many targets as inputs, but holds {len(x)} inputs "
                f"and {len(y)} targets."
            )
        self._x, self._y, self._batch_size, self._seed = x, y, batch_size, seed
        self.steps_per_epoch = count_batches(len(x), batch_size)
        self.identity = {"samples": len(x), "batch_size": batch_size, "seed": seed}
        self.next = Wait(self._next, self._next_after_others)

    def open(self, epoch: int, offset: int, position: Any) -> None:
        order = epoch_order(len(self._x), self._seed, epoch)
        rest = order[offset * self._batch_size :]
        whole = batches(self._x, self._y, self._batch_size, rest) if len(rest) else iter(())
        self._batches = whole

    def close(self) -> None:
        pass

    def _next(self) -> Fed | None:
        batch = next(self._batches, None)
        return None if batch is None else Fed(batch, None)

    async def _next_after_others(self) -> Fed | None:
        await asyncio.sleep(0)
        return self._next()


class StreamFeed:
    """Batches of an iterable, synchronous or not.

    An epoch is one pass over it, or `steps_per_epoch` batches of one iterator that goes on.
    Where the iterator has `get_state` and `set_state`, it is resumed by them; otherwise an
    iterable is gone through from its beginning, past the batches that were done.
    """

    def __init__(self, data: Any, steps_per_epoch: int | None) -> None:
        self._data = data
        self._steps = steps_per_epoch
        self._is_async = isinstance(data, AsyncIterable)
        self._iterator: Any = None
        self._runner: asyncio.Runner | None = None
        self.runs_on = steps_per_epoch is not None
        self.identity = {} if steps_per_epoch is None else {"steps_per_epoch": steps_per_epoch}
        self.next = Wait(self._block, self._suspend)

    def open(self, epoch: int, offset: int, position: Any) -> None:
        is_first = self._iterator is None
        if is_first or not self.runs_on:
            self._iterator = aiter(self._data) if self._is_async else iter(self._data)
            self._skip = 0
        if is_first:
            self._go_to(epoch, offset, position)
        self._epoch, self._offset = epoch, offset

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()

    def _go_to(self, epoch: int, offset: int, position: Any) -> None:
        done = offset + ((epoch - 1) * self._steps if self._steps is not None else 0)
        if position is not None and hasattr(self._iterator, "set_state"):
            self._iterator.set_state(_decoded(position))
        elif done and self._iterator is self._data:
            raise RunError(
                f"Argument `data` must be able to go on after {done} batches, but is an iterator "
                "without `set_state`. Pass an iterable that starts anew with each `iter`."
            )
        else:
            self._skip = done

    def _block(self) -> Fed | None:
        if self._is_async:
            self._runner = self._runner or asyncio.Runner()
            return self._runner.run(self._suspend())
        if self._is_at_end():
            return None
        return self._took(next(islice(self._iterator, self._skip, None), _END))

    async def _suspend(self) -> Fed | None:
        if not self._is_async:
            await asyncio.sleep(0)
            return self._block()
        if self._is_at_end():
            return None
        for _ in range(self._skip):
            await anext(self._iterator, _END)
        return self._took(await anext(self._iterator, _END))

    def _is_at_end(self) -> bool:
        return self._offset == self._steps

    def _took(self, item: Any) -> Fed | None:
        self._skip = 0
        if item is _END:
            if self._offset == 0 or self._steps is not None:
                raise RunError(self._too_few())
            return None
        self._offset += 1
        return Fed(as_batch(item), _encoded(self._iterator))

    def _too_few(self) -> str:
        wanted = "none" if self._steps is None else f"{self._offset} of {self._steps}"
        return (
            f"Argument `data` must give the batches of every epoch, but gave {wanted} in epoch "
            f"{self._epoch}. Pass an iterable that starts anew with each `iter`, or "
            "`steps_per_epoch` and an iterator that goes on."
        )


def _encoded(iterator: Any) -> Any:
    # As JSON: a state may also be bytes, as that of grain's DataLoader is.
    if not hasattr(iterator, "set_state"):
        return None
    state = iterator.get_state()
    return {"bytes": state.decode("latin-1")} if isinstance(state, bytes) else {"value": state}


def _decoded(position: Any) -> Any:
    return position["bytes"].encode("latin-1") if "bytes" in position else position["value"]
