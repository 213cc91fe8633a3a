"""Work beside the main thread that never keeps the process alive."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

__all__ = ["in_background"]

T = TypeVar("T")


def in_background(function: Callable[[], T]) -> "Future[T]":
    """Starts a function on a thread of its own.

    An executor would make an interrupted program wait for what it runs; this thread does not.

    Args:
        function: what to run.

    Returns:
        The future of its result; an exception is raised by `Future.result`.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, daemon=True, name=f"qjax-{getattr(function, '__name__', 'work')}").start()
    return future
