"""Work beside the main thread, which never keeps the process alive."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

__all__ = ["Background"]

T = TypeVar("T")


class Background:
    """One thread that runs what it is given, in order.

    An executor of the standard library would make an interrupted program wait for the rest of
    the work; this one does not.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        Thread(target=self._work, daemon=True, name="qjax-background").start()

    def submit(self, function: Callable[[], T]) -> "Future[T]":
        """Runs `function` after what was submitted before.

        Returns:
            The future of its result; an exception is raised by `Future.result`.
        """
        future: Future[T] = Future()
        self._tasks.put((future, function))
        return future

    def _work(self) -> None:
        while True:
            future, function = self._tasks.get()
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
