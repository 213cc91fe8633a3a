"""Looks after the steps under way: fetches their numbers now and then, guards them, adds them up.

What was looked at and found good is a `Mark`: the state that a run can always go back to.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from qjax.errors import RunError
from qjax.train._evaluate import Evaluation
from qjax.train._feed import Fed
from qjax.train._interrupts import held_interrupts
from qjax.train._learner import Learner, StepMetrics, TrainState
from qjax.train._pipeline import Done
from qjax.train._protocols import MetricSink, ProgressSink
from qjax.train._results import EpochResult
from qjax.train._stopping import Patience

__all__ = ["Mark", "Meter", "NotFinite", "Sums"]

# Steps run ahead of the host for this long before their numbers are looked at.
REPORT_SECONDS = 0.1
NAMED_GROUPS = 3


class NotFinite(RunError):
    """A loss, gradient or parameter that is NaN or infinite."""


class Sums(NamedTuple):
    """Sums over the steps of the epoch under way."""

    steps: int = 0
    samples: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0


class Mark(NamedTuple):
    """How far a run is.

    Attributes:
        state: the state.
        step: how many steps it has taken.
        epochs: how many epochs are done.
        sums: sums of the epoch under way.
        position: state of the iterator of the data, or None.
        patience: of early stopping.
    """

    state: TrainState
    step: int
    epochs: int
    sums: Sums = Sums()
    position: Any = None
    patience: Patience = Patience()


class _Pending(NamedTuple):
    values: StepMetrics
    fed: Fed


class _Book(NamedTuple):
    """Replaced as one, so that an interrupt finds either the old or the new."""

    mark: Mark
    pending: list[_Pending]  # steps behind the mark
    rows: list[Mapping[str, Any]]  # not yet handed on


class Meter:
    """Times the steps, fetches their numbers now and then, and guards them.

    Args:
        learner: what takes the steps.
        trainable: as for `Learner.step`.
        mark: where the run starts.
        runs_ahead: whether steps are under way when they are added.
        metrics: take the rows.
        on_step: take the rows of steps.
        progress: shows how far the loop is.
    """

    def __init__(
        self,
        learner: Learner,
        trainable: Any,
        mark: Mark,
        *,
        runs_ahead: bool,
        metrics: Sequence[MetricSink],
        on_step: Sequence[Callable[[Mapping[str, Any]], None]],
        progress: ProgressSink | None,
    ) -> None:
        self._learner, self._trainable = learner, trainable
        self._runs_ahead = runs_ahead
        self._metrics, self._on_step, self._progress = metrics, on_step, progress
        self._book = _Book(mark, [], [])
        self._timed_samples = 0
        self._timed_seconds = 0.0
        self._since = 0.0
        self.state = mark.state
        self.first_step_time: float | None = None

    @property
    def mark(self) -> Mark:
        """How far the run is, as far as its numbers have been looked at."""
        return self._book.mark

    @property
    def circuits_per_second(self) -> float:
        """Speed, the first step aside."""
        return self._timed_samples / self._timed_seconds if self._timed_seconds else 0.0

    @property
    def is_due(self) -> bool:
        """Whether the numbers of the steps under way should be looked at now."""
        is_first = self.first_step_time is None or not self._runs_ahead
        return is_first or time.perf_counter() - self._since > REPORT_SECONDS

    @property
    def under_way(self) -> list[StepMetrics]:
        """The numbers that `drain` looks at."""
        return [step.values for step in self._book.pending]

    def start_epoch(self) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def add(self, done: Done) -> None:
        """Takes a step; an interrupt between the two lines leaves one too many, which is seen."""
        self._book.pending.append(_Pending(done.values, done.fed))
        self.state = done.state

    def drain(self) -> None:
        """Waits for the steps under way and moves the mark behind the last good one.

        Raises:
            NotFinite: if one of them is not good; the mark is then before it.
        """
        mark, pending, rows = self._book
        pending = pending[: int(self.state.step) - mark.step]
        if not pending:
            return self._hand_on()
        values = [_listed(v) for v in jax.device_get([step.values for step in pending])]
        seconds = self._lap(pending)
        bad = next((i for i, v in enumerate(values) if not _is_finite(v)), None)
        state = self.state if bad is None else self._replay(mark.state, pending[:bad])
        shown = len(values) if bad is None else bad + 1
        new = [self._row(mark, pending, values, seconds, i) for i in range(shown)]
        after = _after(mark, state, pending[:bad], values[:bad], seconds)
        self._book = _Book(after, [], rows + new)
        self.state = state
        self._hand_on()
        if bad is not None:
            raise self._not_finite(after, values[bad], pending[bad].fed)
        self._show(pending, seconds)
        return None

    def end_epoch(
        self,
        validation: Evaluation | None,
        patience: Callable[[EpochResult], Patience],
        *,
        runs_on: bool,
    ) -> EpochResult:
        """Closes the epoch whose steps are all drained."""
        mark, sums = self.mark, self.mark.sums
        result = EpochResult(
            mark.epochs + 1,
            sums.loss / sums.samples,
            sums.correct / sums.samples,
            validation,
            sums.seconds,
        )
        position = mark.position if runs_on else None
        row = _epoch_row(result, sums.samples)
        after = Mark(mark.state, mark.step, result.epoch, Sums(), position, patience(result))
        self._book = _Book(after, [], [row])
        self._hand_on()
        if self._progress is not None:
            self._progress.on_epoch(row)
        return result

    def _lap(self, pending: list[_Pending]) -> float:
        """Returns seconds per step since the last time."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        if self.first_step_time is None:
            self.first_step_time = now
        else:
            self._timed_samples += sum(step.fed.batch.size for step in pending)
            self._timed_seconds += seconds
        return seconds / len(pending)

    def _replay(self, state: TrainState, steps: list[_Pending]) -> TrainState:
        # The same program on the same inputs: the same bits, without keeping every state.
        for step in steps:
            state, _ = self._learner.step(state, self._trainable, step.fed.batch)
        return state

    def _row(
        self, mark: Mark, pending: list[_Pending], values: list[StepMetrics], seconds: float, i: int
    ) -> Mapping[str, Any]:
        size, numbers = pending[i].fed.batch.size, values[i]
        row = {
            "epoch": mark.epochs + 1,
            "step": mark.step + 1 + i,
            "train_loss": numbers.loss,
            "train_accuracy": _number_or_none(numbers.correct / size),
            "grad_norm": numbers.grad_norm,
            "grad_max": numbers.grad_max,
            "grad_min": numbers.grad_min,
            "circuits_executed": size,
            "batch_time_ms": 1000 * seconds,
            "throughput_samples_per_sec": size / seconds,
        }
        if self._learner.grad_norms is not None:
            norms = zip(self._learner.groups, numbers.group_norms, strict=True)
            row |= {f"grad_norm/{group}": norm for group, norm in norms}
        return row

    def _hand_on(self) -> None:
        rows = self._book.rows
        if not rows:
            return
        with held_interrupts():  # or nobody would know whether a sink has got its row
            while rows:
                row = rows.pop(0)
                for sink in self._metrics:
                    sink.write(row)
                for function in self._on_step if row["step"] != -1 else ():
                    function(row)

    def _show(self, pending: list[_Pending], seconds: float) -> None:
        if self._progress is not None:
            speed = sum(step.fed.batch.size for step in pending) / len(pending) / seconds
            steps, samples, loss, correct, _ = self.mark.sums
            accuracy = _number_or_none(correct / samples)
            self._progress.on_steps(self.mark.epochs + 1, steps, loss / samples, accuracy, speed)

    def _not_finite(self, good: Mark, values: StepMetrics, fed: Fed) -> NotFinite:
        found = [] if math.isfinite(values.loss) else [f"the loss is {values.loss}"]
        for kind, is_good in (
            ("gradient of layer", [math.isfinite(norm) for norm in values.group_norms]),
            ("update of layer", list(values.group_is_finite)),
        ):
            names = [g for g, fine in zip(self._learner.groups, is_good, strict=True) if not fine]
            if names:
                found.append(_first_of(kind, names))
                break
        if not _holds_numbers(fed.batch.x):
            found.append("the inputs of this batch hold NaN or infinity")
        found[0] += f" in epoch {good.epochs + 1}, step {good.step + 1}"
        return NotFinite(
            f"Training stopped: {'; '.join(found)}. Lower the learning rate, clip the gradient, "
            "or look for NaN in the data."
        )


def _first_of(kind: str, names: list[str]) -> str:
    """Says which layer, in the order of the model, is the first, and which come after it."""
    then = ", ".join(map(repr, names[1:NAMED_GROUPS]))
    more = f" and {len(names) - NAMED_GROUPS} more" if len(names) > NAMED_GROUPS else ""
    rest = f" (then {then}{more})" if then else ""
    return f"the {kind} {names[0]!r} is the first that is not finite{rest}"


def _holds_numbers(x: Any) -> bool:
    return all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(x))


def _listed(values: StepMetrics) -> StepMetrics:
    return StepMetrics(values.numbers.tolist())  # as Python floats: sums are of 64 bits


def _is_finite(values: StepMetrics) -> bool:
    are_numbers = math.isfinite(values.loss) and math.isfinite(values.grad_norm)
    return are_numbers and all(values.group_is_finite)


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _after(
    mark: Mark,
    state: TrainState,
    steps: list[_Pending],
    values: list[StepMetrics],
    seconds: float,
) -> Mark:
    count, samples, loss, correct, time_taken = mark.sums
    for step, numbers in zip(steps, values, strict=True):
        samples += step.fed.batch.size
        loss += step.fed.batch.size * numbers.loss
        correct += numbers.correct
    sums = Sums(count + len(steps), samples, loss, correct, time_taken + seconds * len(steps))
    position = steps[-1].fed.position if steps else mark.position
    return mark._replace(state=state, step=mark.step + len(steps), sums=sums, position=position)


def _epoch_row(result: EpochResult, samples: int) -> Mapping[str, Any]:
    validation = result.validation
    return {
        "epoch": result.epoch,
        "step": -1,
        "train_loss": result.train_loss,
        "train_accuracy": _number_or_none(result.train_accuracy),
        "val_loss": validation.loss if validation else None,
        "val_accuracy": _number_or_none(validation.accuracy) if validation else None,
        "circuits_executed": samples,
        "throughput_samples_per_sec": samples / result.seconds,
    }
