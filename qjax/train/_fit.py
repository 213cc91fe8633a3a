"""The short form of training: arrays in, a state out."""

from typing import Any

import numpy as np

from qjax.errors import RunError
from qjax.train._feed import ArrayFeed
from qjax.train._learner import Learner, TrainState
from qjax.train._loop import Run, training
from qjax.train._meter import Mark, Meter
from qjax.train._pipeline import make_pipeline
from qjax.train._protocols import MetricSink, ProgressSink
from qjax.train._results import FitResult
from qjax.train._wait import drive

__all__ = ["fit", "mark_between_epochs"]


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
    progress: ProgressSink | None = None,
) -> FitResult:
    """Trains until `epochs` epochs are done, counting those already in `state`.

    A state saved after an epoch and passed in again gives the same bits as a run that never
    stopped. `AsyncQuantumTrainer` runs the same loop with more around it: it saves states, and
    goes on in mid-epoch.

    Args:
        learner: the model and its optimiser.
        state: where to start: from `Learner.start` or a checkpoint.
        x: training inputs of shape (n, features).
        y: their classes, integers of shape (n,), or what the learner's loss takes.
        epochs: how many epochs the run has in all.
        batch_size: samples per step; the last batch of an epoch may hold fewer.
        seed: seed of the order of the samples.
        trainable: from `Learner.trainable`; by default, all parameters.
        validation: inputs and classes to score after each epoch.
        metrics: takes the rows.
        progress: shows how far the loop is.

    Raises:
        RunError: if a loss, gradient or parameter is not finite, naming layer, epoch and step, or
            if `state` does not lie between two epochs of this batch size.

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
    feed = ArrayFeed(x, y, batch_size, seed)
    mark = mark_between_epochs(state, feed)
    trainable = learner.trainable() if trainable is None else trainable
    pipeline = make_pipeline(learner, trainable, 1)
    meter = Meter(
        learner,
        trainable,
        mark,
        runs_ahead=pipeline.runs_ahead,
        metrics=() if metrics is None else (metrics,),
        on_step=(),
        progress=progress,
    )
    run = Run(
        learner=learner,
        feed=feed,
        pipeline=pipeline,
        meter=meter,
        epochs=epochs,
        validation=validation,
    )
    return drive(training(run))


def mark_between_epochs(state: TrainState, feed: ArrayFeed) -> Mark:
    """Returns the mark of a state that lies between two epochs."""
    steps, per_epoch = int(state.step), feed.steps_per_epoch
    done, rest = divmod(steps, per_epoch)
    if rest:
        raise RunError(
            f"Argument `state` must lie between two epochs of {per_epoch} steps, but has "
            f"taken {steps} steps. Use the samples and batch size that it began with."
        )
    return Mark(state, steps, done)
