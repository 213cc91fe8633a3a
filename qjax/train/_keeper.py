"""Which states are saved while a loop runs, and what is saved with them."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from qjax.errors import RunError
from qjax.train._feed import Feed
from qjax.train._learner import TrainState
from qjax.train._meter import Mark, Sums
from qjax.train._protocols import CheckpointStore
from qjax.train._results import EpochResult, Snapshot
from qjax.train._stopping import Patience

__all__ = ["Keeper", "mark_of", "snapshot"]


class Keeper:
    """Saves every few epochs and at the end, and where an exception ends the loop.

    Args:
        store: what saves.
        feed: the data, whose identity is saved.
    """

    def __init__(self, store: CheckpointStore, feed: Feed) -> None:
        self._store, self._feed = store, feed
        self._saved = max(store.steps(), default=None)

    def end_epoch(self, mark: Mark, result: EpochResult, *, is_last: bool) -> None:
        """Takes the mark at the end of an epoch."""
        if is_last or self._store.is_due(mark.epochs):
            self._save(mark, _measured(result))

    def rescue(self, mark: Mark) -> str:
        """Takes the mark at which an exception ended the loop; returns what became of it."""
        self._save(mark, {})
        self._store.wait()
        return (
            f"The state after step {mark.step} (epoch {mark.epochs + 1}, {mark.sums.steps} of its "
            "steps done) is saved; resume='latest' goes on from there."
        )

    def _save(self, mark: Mark, metrics: Mapping[str, float]) -> None:
        if mark.step == self._saved:
            return
        tree, metadata = snapshot(mark, self._feed)
        self._store.save(mark.step, tree, epoch=mark.epochs, metrics=metrics, metadata=metadata)
        self._saved = mark.step


def snapshot(mark: Mark, feed: Feed) -> Snapshot:
    """Returns the state of a mark and, as JSON values, all else that it holds."""
    metadata = {
        "epoch": mark.epochs,
        "sums": mark.sums._asdict(),
        "position": mark.position,
        "patience": mark.patience._asdict(),
        "data": feed.identity,
    }
    return Snapshot(mark.state, metadata)


def mark_of(state: TrainState, metadata: Mapping[str, Any], feed: Feed) -> Mark:
    """Returns the mark that a snapshot was made of.

    Raises:
        RunError: if it is of another kind, or its run had other data.
    """
    if not metadata.keys() >= {"epoch", "sums", "position", "patience", "data"}:
        raise RunError(
            "Argument `resume` must be a checkpoint that AsyncQuantumTrainer saved, but has the "
            f"metadata {sorted(metadata)}."
        )
    before = dict(metadata["data"])
    for name in sorted(before.keys() | feed.identity.keys()):
        if before.get(name) != feed.identity.get(name):
            raise RunError(
                f"Argument `{name}` must stay {before.get(name)} as in the checkpoint, but is "
                f"{feed.identity.get(name)}. Use the data and settings that it began with."
            )
    return Mark(
        jax.tree.map(jnp.asarray, state),
        int(state.step),
        metadata["epoch"],
        Sums(**metadata["sums"]),
        metadata["position"],
        Patience(**metadata["patience"]),
    )


def _measured(result: EpochResult) -> dict[str, float]:
    values = {"train_loss": result.train_loss, "train_accuracy": result.train_accuracy}
    if result.validation is not None:
        values |= {f"val_{name}": value for name, value in result.validation._asdict().items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}
