"""From a batch to an updated state: one step at a time, or several gradients in flight."""

import asyncio
from collections import deque
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import jax

from qjax.train._feed import Fed
from qjax.train._learner import Gradient, Learner, StepMetrics, TrainState
from qjax.train._wait import Wait

__all__ = ["Done", "Pipeline", "make_pipeline"]


class Done(NamedTuple):
    """A step that was taken."""

    state: TrainState
    values: StepMetrics
    fed: Fed


class Pipeline(Protocol):
    """Turns batches into steps, in order.

    Attributes:
        depth: how many batches it holds before the oldest must be finished.
        runs_ahead: whether `finish` returns before the device is done.
    """

    depth: int
    runs_ahead: bool

    def __len__(self) -> int:
        """How many batches it holds."""
        ...

    def start(self, state: TrainState, fed: Fed) -> None:
        """Takes a batch; its gradient is that at `state`."""

    @property
    def oldest(self) -> Wait:
        """Waits for what `finish` takes."""
        ...

    def finish(self, state: TrainState, gradient: Any) -> Done:
        """Takes the step of the oldest batch."""
        ...

    def close(self) -> None:
        """Gives up what was not finished."""


def make_pipeline(learner: Learner, trainable: Any, depth: int) -> Pipeline:
    """Makes the pipeline of a depth of 1 or more."""
    return _InTurn(learner, trainable) if depth == 1 else _InFlight(learner, trainable, depth)


async def _nothing() -> None:
    return None


_NO_WAIT = Wait(lambda: None, _nothing)


class _InTurn:
    """One step after the other, gradient and update in one program."""

    depth = 1
    oldest = _NO_WAIT

    def __init__(self, learner: Learner, trainable: Any) -> None:
        self._learner, self._trainable = learner, trainable
        self._waiting: list[Fed] = []
        self.runs_ahead = learner.jit

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self, state: TrainState, fed: Fed) -> None:
        self._waiting.append(fed)

    def finish(self, state: TrainState, gradient: Any) -> Done:
        fed = self._waiting.pop()
        return Done(*self._learner.step(state, self._trainable, fed.batch), fed)

    def close(self) -> None:
        pass


class _InFlight:
    """Gradients computed in threads, each at the state known when it began, applied in order."""

    runs_ahead = False

    def __init__(self, learner: Learner, trainable: Any, depth: int) -> None:
        self._learner, self._trainable = learner, trainable
        self.depth = depth
        self._pool = ThreadPoolExecutor(depth, "qjax-gradient")
        self._flying: deque[tuple[Fed, Future[Gradient]]] = deque()

    def __len__(self) -> int:
        return len(self._flying)

    def start(self, state: TrainState, fed: Fed) -> None:
        self._flying.append((fed, self._pool.submit(self._compute, state, fed)))

    @property
    def oldest(self) -> Wait:
        future = self._flying[0][1]

        def suspend() -> Awaitable[Gradient]:
            return asyncio.wrap_future(future)

        return Wait(future.result, suspend)

    def finish(self, state: TrainState, gradient: Any) -> Done:
        fed, _ = self._flying.popleft()
        return Done(*self._learner.update(state, self._trainable, gradient), fed)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _compute(self, state: TrainState, fed: Fed) -> Gradient:
        return jax.block_until_ready(self._learner.gradient(state, self._trainable, fed.batch))
