"""The training loop: epochs of shuffled batches, with metrics, checkpoints and a guard."""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from qjax.errors import RunError
from qjax.train._batches import batches, count_batches, epoch_order
from qjax.train._evaluate import Evaluation, evaluate
from qjax.train._learner import Learner, StepMetrics, TrainState
from qjax.train._protocols import CheckpointSink, MetricSink, ProgressSink

__all__ = ["EpochResult", "FitResult", "fit"]

# Steps run ahead of the host for this long before their numbers are looked at.
REPORT_SECONDS = 0.1


class EpochResult(NamedTuple):
    """One epoch in numbers.

    Attributes:
        epoch: its number, counted from 1.
        train_loss: mean over its samples, each before the update of its own step.
        train_accuracy: likewise.
        validation: loss and accuracy on the validation set after it, or None.
        seconds: time that its steps took.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation: Evaluation | None
    seconds: float


class FitResult(NamedTuple):
    """What a loop ends with.

    Attributes:
        state: the state after the last epoch.
        epochs: the epochs that it ran.
        first_step_time: reading of `time.perf_counter` when the first step was done, or None
            without one.
        circuits_per_second: circuit evaluations in training (one per sample and step) per
            second, the first step and its compilation aside; 0 without a second step.
    """

    state: TrainState
    epochs: list[EpochResult]
    first_step_time: float | None
    circuits_per_second: float


def fit(
    learner: Learner,
    state: TrainState,
    x: np.ndarray,
    y: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    trainable: Any = None,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    metrics: MetricSink | None = None,
    checkpoints: CheckpointSink | None = None,
    progress: ProgressSink | None = None,
) -> FitResult:
    """Trains until `epochs` epochs are done, counting those already in `state`.

    A state saved after an epoch and passed in again gives the same bits as a run that never
    stopped. When a loss is not finite, or on Ctrl-C, the state at the start of the epoch goes to
    `checkpoints` before the exception leaves.

    Args:
        learner: the model and its optimiser.
        state: where to start: from `Learner.start` or a checkpoint.
        x: training inputs of shape (n, features).
        y: their classes, integers of shape (n,).
        epochs: how many epochs the run has in all.
        batch_size: samples per step; the last batch of an epoch may hold fewer.
        seed: seed of the order of the samples.
        trainable: from `Learner.trainable`; by default, all parameters.
        validation: inputs and classes to score after each epoch.
        metrics: takes the rows.
        checkpoints: takes the states.
        progress: shows how far the loop is.

    Raises:
        RunError: if a loss or gradient is not finite, naming epoch and step, or if `state` does
            not lie between two epochs of this batch size.

    Example:
        >>> import numpy as np, optax
        >>> from flax import nnx
        >>> from qjax.train import Learner, fit
        >>> learner = Learner(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), optax.adam(0.1))
        >>> x, y = np.eye(2, dtype=np.float32), np.array([0, 1])
        >>> result = fit(learner, learner.start(), x, y, epochs=50, batch_size=2, seed=0)
        >>> result.epochs[-1].train_accuracy
        1.0
    """
    steps_per_epoch = count_batches(len(x), batch_size)
    done = _epochs_done(state, steps_per_epoch)
    trainable = learner.trainable() if trainable is None else trainable
    meter = _Meter(done * steps_per_epoch, metrics, progress)
    results: list[EpochResult] = []
    for epoch in range(done + 1, epochs + 1):
        good = state
        try:
            meter.start_epoch(epoch)
            for batch in batches(x, y, batch_size, epoch_order(len(x), seed, epoch)):
                state, values = learner.step(state, trainable, batch)
                meter.add(values, batch.size)
            meter.drain()
            scored = evaluate(learner, state, *validation) if validation is not None else None
        except (_NotFinite, KeyboardInterrupt):
            if checkpoints is not None:
                checkpoints.save(epoch - 1, good, final=True)
            raise
        results.append(meter.end_epoch(scored))
        if checkpoints is not None:
            checkpoints.save(epoch, state, final=epoch == epochs)
    return FitResult(state, results, meter.first_step_time, meter.circuits_per_second)


def _epochs_done(state: TrainState, steps_per_epoch: int) -> int:
    done, rest = divmod(int(state.step), steps_per_epoch)
    if rest:
        raise RunError(
            f"Argument `state` must lie between two epochs of {steps_per_epoch} steps, but has "
            f"taken {int(state.step)} steps. Use the samples and batch size that it began with."
        )
    return done


class _NotFinite(RunError):
    """A loss or gradient that is NaN or infinite."""


class _Meter:
    """Times the steps, fetches their numbers now and then, and guards them."""

    def __init__(
        self, steps_taken: int, metrics: MetricSink | None, progress: ProgressSink | None
    ) -> None:
        self._metrics = metrics
        self._progress = progress
        self._step = steps_taken
        self._pending: list[tuple[int, StepMetrics]] = []  # samples and values of each step
        self._timed_samples = 0
        self._timed_seconds = 0.0
        self._since = 0.0
        self.first_step_time: float | None = None

    @property
    def circuits_per_second(self) -> float:
        return self._timed_samples / self._timed_seconds if self._timed_seconds else 0.0

    def start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._steps_done = 0
        self._samples = 0
        self._seconds = 0.0
        self._loss_sum = 0.0
        self._correct = 0.0
        self._since = time.perf_counter()

    def add(self, values: StepMetrics, size: int) -> None:
        self._pending.append((size, values))
        is_first = self.first_step_time is None
        if is_first or time.perf_counter() - self._since > REPORT_SECONDS:
            self.drain()

    def drain(self) -> None:
        """Waits for the steps under way and hands on what they measured."""
        if not self._pending:
            return
        sizes = [size for size, _ in self._pending]
        rows = [StepMetrics(*map(float, v)) for v in jax.device_get([v for _, v in self._pending])]
        self._pending.clear()
        now = time.perf_counter()
        seconds = now - self._since
        self._since = now
        self._count(sizes, seconds)
        for size, row in zip(sizes, rows, strict=True):
            self._take(size, row, seconds / len(sizes))
        if self.first_step_time is None:
            self.first_step_time = now
        if self._progress is not None:
            speed = sum(sizes) / seconds
            self._progress.on_steps(self._epoch, self._steps_done, rows[-1].loss, speed)

    def end_epoch(self, validation: Evaluation | None) -> EpochResult:
        result = EpochResult(
            self._epoch,
            self._loss_sum / self._samples,
            self._correct / self._samples,
            validation,
            self._seconds,
        )
        row = _epoch_row(result, self._samples)
        if self._metrics is not None:
            self._metrics.write(row)
        if self._progress is not None:
            self._progress.on_epoch(row)
        return result

    def _count(self, sizes: list[int], seconds: float) -> None:
        self._seconds += seconds
        if self.first_step_time is not None:
            self._timed_samples += sum(sizes)
            self._timed_seconds += seconds

    def _take(self, size: int, row: StepMetrics, seconds: float) -> None:
        self._step += 1
        self._steps_done += 1
        self._samples += size
        self._loss_sum += size * row.loss
        self._correct += row.correct
        if self._metrics is not None:
            self._metrics.write(_step_row(self._epoch, self._step, size, row, seconds))
        for name, value in (("loss", row.loss), ("gradient's norm", row.grad_norm)):
            if not math.isfinite(value):
                raise _NotFinite(
                    f"Training stopped: the {name} is {value} in epoch {self._epoch}, step "
                    f"{self._step}. Lower the learning rate, or look for NaN in the data."
                )


def _step_row(
    epoch: int, step: int, size: int, values: StepMetrics, seconds: float
) -> Mapping[str, Any]:
    return {
        "epoch": epoch,
        "step": step,
        "train_loss": values.loss,
        "train_accuracy": values.correct / size,
        "grad_norm": values.grad_norm,
        "grad_max": values.grad_max,
        "grad_min": values.grad_min,
        "circuits_executed": size,
        "batch_time_ms": 1000 * seconds,
        "throughput_samples_per_sec": size / seconds,
    }


def _epoch_row(result: EpochResult, samples: int) -> Mapping[str, Any]:
    validation = result.validation
    return {
        "epoch": result.epoch,
        "step": -1,
        "train_loss": result.train_loss,
        "train_accuracy": result.train_accuracy,
        "val_loss": validation.loss if validation else None,
        "val_accuracy": validation.accuracy if validation else None,
        "circuits_executed": samples,
        "throughput_samples_per_sec": samples / result.seconds,
    }
