"""What a loop reports: an epoch in numbers, the end of a run, a state to go on from."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from qjax.train._evaluate import Evaluation
from qjax.train._learner import TrainState

__all__ = ["EpochResult", "FitResult", "Snapshot"]


class EpochResult(NamedTuple):
    """One epoch in numbers.

    Attributes:
        epoch: its number, counted from 1.
        train_loss: mean over its samples, each before the update of its own step.
        train_accuracy: likewise; NaN with a loss of your own.
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
        stopped: whether early stopping or a callback ended it before its last epoch.
    """

    state: TrainState
    epochs: list[EpochResult]
    first_step_time: float | None
    circuits_per_second: float
    stopped: bool = False


class Snapshot(NamedTuple):
    """A state and where in the data it stands, as checkpoints hold them.

    Attributes:
        tree: the state.
        metadata: JSON values: epochs done, sums of the epoch under way, position in the data.
    """

    tree: TrainState
    metadata: Mapping[str, Any]
