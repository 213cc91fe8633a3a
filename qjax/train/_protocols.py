"""What a loop talks to: three small protocols, implemented elsewhere."""

from collections.abc import Mapping
from typing import Any, Protocol

from qjax.train._learner import TrainState

__all__ = ["CheckpointSink", "MetricSink", "ProgressSink"]


class MetricSink(Protocol):
    """Takes the rows of metrics, one per step and one (with step -1) per epoch."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Takes one row: column name to value."""


class CheckpointSink(Protocol):
    """Takes the state after each epoch and chooses what to save."""

    def save(self, epoch: int, state: TrainState, *, final: bool) -> None:
        """Takes the state after `epoch` epochs.

        Args:
            epoch: how many epochs are done.
            state: the state then.
            final: whether the loop ends with it, finished or not; it must then be saved.
        """


class ProgressSink(Protocol):
    """Shows how far a loop is."""

    def on_steps(self, epoch: int, steps_done: int, loss: float, samples_per_second: float) -> None:
        """Called a few times a second.

        Args:
            epoch: the epoch under way, counted from 1.
            steps_done: steps of this epoch that are done.
            loss: loss of the last of them.
            samples_per_second: speed since the last call.
        """

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Called with the row of metrics of each epoch that ends."""
