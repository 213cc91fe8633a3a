"""Two drivers of one loop: it yields what it waits for, and they wait, blocking or not."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax

__all__ = ["Steps", "Wait", "drive", "drive_async", "wait_for_device"]

T = TypeVar("T")


class Wait(NamedTuple):
    """Something to wait for.

    Attributes:
        block: waits in the thread, and returns what the loop gets.
        suspend: the same as an awaitable, during which other tasks run.
    """

    block: Callable[[], Any]
    suspend: Callable[[], Awaitable[Any]]


Steps = Generator[Wait, Any, T]
"""A loop, or a part of one, that returns a T in the end."""


def drive(loop: Steps[T]) -> T:
    """Runs a loop to its end in this thread."""
    resume: Callable[[], Wait] = partial(next, loop)
    while True:
        try:
            wait = resume()
        except StopIteration as end:
            return end.value
        try:
            resume = partial(loop.send, wait.block())
        except BaseException as error:  # the loop decides what is saved
            resume = partial(loop.throw, error)


async def drive_async(loop: Steps[T]) -> T:
    """Runs a loop to its end as a task beside others."""
    resume: Callable[[], Wait] = partial(next, loop)
    while True:
        try:
            wait = resume()
        except StopIteration as end:
            return end.value
        try:
            resume = partial(loop.send, await wait.suspend())
        except BaseException as error:
            resume = partial(loop.throw, error)


def wait_for_device(values: Any) -> Wait:
    """Lets other tasks run until arrays are computed; without others, reading them waits."""
    return Wait(lambda: None, lambda: asyncio.to_thread(jax.block_until_ready, values))
