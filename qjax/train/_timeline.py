"""Where the time of a run goes: the spans of its five stages, measured as they happen."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypeAlias

import jax

from qjax._checks import check_positive_int
from qjax.errors import RunError

__all__ = ["STAGES", "UNTIMED", "Span", "Stage", "Timeline", "Untimed"]

Stage: TypeAlias = Literal[
    "batch preparation", "submission", "gradient and optimiser", "collection", "background work"
]

STAGES: tuple[Stage, ...] = (
    "batch preparation",
    "submission",
    "gradient and optimiser",
    "collection",
    "background work",
)
LANE_OF_DEVICE = "device"


class Span(NamedTuple):
    """A stretch of time.

    Attributes:
        stage: what was done.
        begin: reading of `time.perf_counter` when it began, in seconds.
        end: likewise when it was done.
        lane: who did it: the name of a thread, or ``"device"``.
    """

    stage: Stage
    begin: float
    end: float
    lane: str


class Timeline:
    """Records the stages of a loop. Give it to `AsyncQuantumTrainer`.

    - Batch preparation: waiting for the next batch.
    - Submission: handing a batch to the pipeline and a step to the device.
    - Gradient and optimiser: the device computes a step, from its submission, or the end of the
      step before it, until its numbers are there. A thread that waits for them takes that time.
    - Collection: waiting for numbers and handing them on; copying a state to be saved.
    - Background work: what writers of metrics and checkpoints do meanwhile, if they are told to
      `observe` by `background`.

    Scoring a validation set belongs to no stage.

    Args:
        limit: how many spans are kept; later ones are counted.

    Example:
        >>> import numpy as np, optax
        >>> from flax import nnx
        >>> from qjax.train import AsyncQuantumTrainer, Timeline
        >>> model, timeline = nnx.Linear(2, 2, rngs=nnx.Rngs(0)), Timeline()
        >>> trainer = AsyncQuantumTrainer(model, optax.adam(0.1), epochs=3, timeline=timeline)
        >>> result = trainer.fit((np.eye(2, dtype=np.float32), np.array([0, 1])))
        >>> sum(span.stage == "gradient and optimiser" for span in timeline.spans)
        3
    """

    def __init__(self, limit: int = 200_000) -> None:
        self._limit = check_positive_int(limit, name="limit", error=RunError)
        self._spans: list[Span] = []
        self._steps: SimpleQueue[tuple[float, Any] | None] = SimpleQueue()
        self._watcher: threading.Thread | None = None
        self._left_out = 0

    @property
    def spans(self) -> list[Span]:
        """The spans, in the order in which they began."""
        return sorted(self._spans, key=lambda span: (span.begin, span.end))

    @property
    def left_out(self) -> int:
        """How many spans there was no room for."""
        return self._left_out

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Records the block as a span of this thread."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._add(stage, begin, time.perf_counter(), threading.current_thread().name)

    def under_way(self, values: Any) -> None:
        """Records when the device has computed these arrays, which were submitted just now."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, daemon=True, name="qjax-timeline")
            self._watcher.start()
        self._steps.put((time.perf_counter(), values))

    def background(self, begin: float, end: float) -> None:
        """Records a span of background work of this thread."""
        self._add("background work", begin, end, threading.current_thread().name)

    def finish(self) -> None:
        """Waits for the steps that are under way."""
        if self._watcher is not None:
            self._steps.put(None)
            self._watcher.join()
            self._watcher = None

    def _watch(self) -> None:
        done = 0.0
        while (step := self._steps.get()) is not None:
            begin, values = step
            jax.block_until_ready(values)
            before, done = done, time.perf_counter()
            self._add("gradient and optimiser", max(begin, before), done, LANE_OF_DEVICE)

    def _add(self, stage: Stage, begin: float, end: float, lane: str) -> None:
        if len(self._spans) < self._limit:
            self._spans.append(Span(stage, begin, end, lane))
        else:
            self._left_out += 1


class Untimed:
    """Takes the place of a `Timeline` where nobody asked for one."""

    _NOTHING = nullcontext()

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """Does nothing."""
        return self._NOTHING

    def under_way(self, values: Any) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Does nothing."""


UNTIMED = Untimed()
