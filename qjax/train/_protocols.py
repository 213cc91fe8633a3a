"""What a loop talks to: small protocols, implemented elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from qjax.train._learner import TrainState
from qjax.train._results import EpochResult

__all__ = ["Callback", "CheckpointStore", "MetricSink", "ProgressSink"]


class MetricSink(Protocol):
    """Takes the rows of metrics, one per step and one (with step -1) per epoch.

    One with `truncate(last_epoch, last_step)` is told where a run goes on: rows of later epochs
    than `last_epoch` come again, but for those of steps up to `last_step`.
    """

    def write(self, row: Mapping[str, Any]) -> None:
        """Takes one row: column name to value."""


class CheckpointStore(Protocol):
    """Saves states with where they stand in an epoch, and restores them, one per step.

    `qjax.storage.CheckpointManager` is one.
    """

    def is_due(self, epoch: int) -> bool:
        """Whether a checkpoint should be saved after `epoch` epochs."""
        ...

    def save(
        self,
        step: int,
        tree: Any,
        *,
        epoch: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Saves a state.

        Args:
            step: how many steps it has taken.
            tree: the state.
            epoch: how many epochs are done.
            metrics: what the last of them measured.
            metadata: JSON values that a resumption needs.
        """

    def wait(self) -> None:
        """Returns when all that was saved is on disk."""

    def steps(self) -> Sequence[int]:
        """Returns the steps whose states are saved, in ascending order."""
        ...

    def remove_after(self, step: int) -> None:
        """Deletes the states of later steps, which a run that goes on from `step` takes again."""

    def restore(self, step: int | Literal["latest", "best"], *, like: Any) -> Any:
        """Returns an object with the state as `tree`, and with `info.metadata`."""


class ProgressSink(Protocol):
    """Shows how far a loop is."""

    def on_steps(
        self,
        epoch: int,
        steps_done: int,
        loss: float,
        accuracy: float | None,
        samples_per_second: float,
    ) -> None:
        """Called a few times a second.

        Args:
            epoch: the epoch under way, counted from 1.
            steps_done: steps of this epoch that are done.
            loss: mean loss of their samples.
            accuracy: their share of right answers, or None with a loss of your own.
            samples_per_second: speed since the last call.
        """

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Called with the row of metrics of each epoch that ends."""


@runtime_checkable
class Callback(Protocol):
    """Is told of each epoch; one with `on_step(row)` is told of each step as well.

    Steps are told in batches, about ten times a second, after they are done.
    """

    def on_epoch_end(self, result: EpochResult, state: TrainState) -> Any:
        """Called after each epoch; a true answer ends the run."""
