"""A trainer: model, optimiser and everything around the loop, set once and run in one line."""

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import Any, Literal, TypeAlias

import optax
from flax import nnx

from qjax._checks import check_positive_int
from qjax.errors import RunError
from qjax.train._feed import ArrayFeed, Feed, is_arrays, make_feed
from qjax.train._fit import mark_between_epochs
from qjax.train._keeper import Keeper, mark_of, snapshot
from qjax.train._learner import GradientNorms, Learner, Loss, TrainState
from qjax.train._loop import Run, training
from qjax.train._meter import Mark, Meter
from qjax.train._pipeline import make_pipeline
from qjax.train._protocols import Callback, CheckpointStore, MetricSink, ProgressSink
from qjax.train._results import FitResult, Snapshot
from qjax.train._stopping import EarlyStopping
from qjax.train._timeline import UNTIMED, Timeline
from qjax.train._wait import drive, drive_async

__all__ = ["AsyncQuantumTrainer"]

Resume: TypeAlias = int | Literal["latest", "best"] | Snapshot | TrainState | None


class AsyncQuantumTrainer:
    """Trains a model: from a script by `fit`, inside a running event loop by `fit_async`.

    What is handed to `checkpoints` is exact: a run that is cut short at any step and resumed ends
    with the same bits as one that never stopped. Resumed from an earlier step than the last one
    saved, a run takes the place of the later one: its checkpoints are deleted, and its rows in
    sinks that can, such as an `AsyncMetricsLogger`. When an exception ends the loop, such as
    Ctrl-C, a network that fails or a number that is not finite, the state after the last good
    step is saved before the exception leaves, and is `snapshot` as well.

    Args:
        model: the model, a Flax NNX module.
        optimizer: an Optax transformation.
        epochs: how many epochs a run has in all, those before a resumption included.
        batch_size: samples per step, where the data are arrays.
        seed: seed of the order of the samples, where the data are arrays.
        loss: function (outputs, targets) -> losses of shape (batch,); by default, the
            cross-entropy of classes, and accuracies are counted.
        gradient_clip: largest norm of the gradient that reaches the optimiser; metrics show the
            norm before.
        early_stopping: when to end before `epochs`.
        metrics: one sink or several, which take the rows of steps and epochs.
        checkpoints: where states go, such as a `qjax.storage.CheckpointManager`.
        callbacks: objects with `on_epoch_end(result, state)`, a true answer of which ends the
            run, and, if they like, `on_step(row)`.
        progress: shows how far the run is.
        pipeline_depth: how many gradients are in flight, for executors with latency. 1 is exact.
            With d > 1, each is computed in a thread at the state known when it began, so that
            update k of an epoch uses the gradient after k - d updates: stale by d - 1.
        grad_norms: whether rows show the norm of the gradient of each ``"group"`` (a module that
            holds parameters) or each ``"parameter"``; None for neither.
        jit: False for a model that cannot be traced, such as one whose executor waits on a
            network.
        timeline: records what each stage of the loop takes.

    Attributes:
        learner: the pure functions that a run is made of.

    Raises:
        RunError: if an argument does not fit.

    Example:
        >>> import numpy as np, optax
        >>> from flax import nnx
        >>> from qjax.train import AsyncQuantumTrainer
        >>> model = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        >>> trainer = AsyncQuantumTrainer(model, optax.adam(0.1), epochs=50, batch_size=2)
        >>> x, y = np.eye(2, dtype=np.float32), np.array([0, 1])
        >>> result = trainer.fit((x, y), validation=(x, y))
        >>> result.epochs[-1].validation.accuracy
        1.0
        >>> trained = trainer.learner.model(result.state)
        >>> trained(x).argmax(axis=1).tolist()
        [0, 1]
    """

    def __init__(
        self,
        model: nnx.Module,
        optimizer: optax.GradientTransformation,
        *,
        epochs: int,
        batch_size: int = 32,
        seed: int = 0,
        loss: Loss | None = None,
        gradient_clip: float | None = None,
        early_stopping: EarlyStopping | None = None,
        metrics: MetricSink | Sequence[MetricSink] = (),
        checkpoints: CheckpointStore | None = None,
        callbacks: Sequence[Callback] = (),
        progress: ProgressSink | None = None,
        pipeline_depth: int = 1,
        grad_norms: GradientNorms | None = "group",
        jit: bool = True,
        timeline: Timeline | None = None,
    ) -> None:
        self._epochs = check_positive_int(epochs, name="epochs", error=RunError)
        self._batch_size = check_positive_int(batch_size, name="batch_size", error=RunError)
        self._depth = check_positive_int(pipeline_depth, name="pipeline_depth", error=RunError)
        self._seed = _checked_seed(seed)
        self._metrics = _checked_metrics(metrics)
        self._callbacks = _checked_callbacks(callbacks)
        self._stopping = _checked_stopping(early_stopping, loss)
        self._checkpoints = checkpoints
        self._progress = progress
        self._timeline = timeline
        self.learner = Learner(
            model,
            optimizer,
            loss=loss,
            gradient_clip=gradient_clip,
            grad_norms=grad_norms,
            jit=jit,
        )
        self._last: tuple[Meter, Feed] | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The last good state of the newest run and where it stands, to resume from; or None."""
        return None if self._last is None else snapshot(self._last[0].mark, self._last[1])

    def fit(
        self,
        data: Any,
        validation: Any = None,
        resume: Resume = None,
        *,
        steps_per_epoch: int | None = None,
    ) -> FitResult:
        """Trains, and returns when the run has ended.

        Args:
            data: a tuple (x, y) of arrays, shuffled anew each epoch; or an iterable or
                asynchronous iterable of batches (x, y) or (x, y, weight), gone through once each
                epoch. Batches of another shape are compiled anew.
            validation: a tuple (x, y) of arrays or an iterable of batches, scored after each
                epoch.
            resume: where to go on: the step of a checkpoint, ``"latest"`` or ``"best"`` of
                `checkpoints`; a `snapshot`, or what `qjax.storage.load_checkpoint` returns with
                ``like=trainer.learner.abstract_state``; or, with arrays, a state between two
                epochs. By default, a new run.
            steps_per_epoch: batches of an epoch, for an iterator that goes on from epoch to epoch.

        Returns:
            The state at the end, and the epochs in numbers.

        Raises:
            RunError: if an argument does not fit, or a loss, gradient or parameter is not finite.
        """
        if isinstance(data, AsyncIterable) and _is_inside_event_loop():
            raise RunError(
                "Argument `data` must not be asynchronous where an event loop is running. "
                "Use: await trainer.fit_async(...)."
            )
        return drive(training(self._run(data, validation, resume, steps_per_epoch)))

    async def fit_async(
        self,
        data: Any,
        validation: Any = None,
        resume: Resume = None,
        *,
        steps_per_epoch: int | None = None,
    ) -> FitResult:
        """Does what `fit` does while other tasks of the event loop go on.

        Arguments, result and exceptions are those of `fit`; a task that is cancelled saves its
        state like any other that ends early.
        """
        return await drive_async(training(self._run(data, validation, resume, steps_per_epoch)))

    def _run(self, data: Any, validation: Any, resume: Resume, steps_per_epoch: int | None) -> Run:
        if steps_per_epoch is not None:
            check_positive_int(steps_per_epoch, name="steps_per_epoch", error=RunError)
        _check_validation(validation, self._stopping)
        feed = make_feed(data, self._batch_size, self._seed, steps_per_epoch)
        mark = self._mark(resume, feed)
        self._make_way(resume, mark)
        trainable = self.learner.trainable()
        pipeline = make_pipeline(self.learner, trainable, self._depth)
        meter = Meter(
            self.learner,
            trainable,
            mark,
            runs_ahead=pipeline.runs_ahead,
            metrics=self._metrics,
            on_step=[c.on_step for c in self._callbacks if hasattr(c, "on_step")],  # type: ignore[attr-defined]
            progress=self._progress,
        )
        self._last = meter, feed
        store = self._checkpoints
        return Run(
            learner=self.learner,
            feed=feed,
            pipeline=pipeline,
            meter=meter,
            epochs=self._epochs,
            validation=validation,
            early_stopping=self._stopping,
            callbacks=self._callbacks,
            keeper=None if store is None else Keeper(store, feed),
            timeline=self._timeline or UNTIMED,
        )

    def _make_way(self, resume: Any, mark: Mark) -> None:
        """Deletes what the run will do again, checkpoints first: they rely on the rows."""
        store = self._checkpoints
        if resume is None:
            if store is not None and (steps := store.steps()):
                raise RunError(
                    "Argument `resume` must be given where `checkpoints` hold a run, here up to "
                    f"step {steps[-1]}, but is None. Use resume='latest', or give a new run a "
                    "folder of its own."
                )
            return
        if store is not None:
            store.remove_after(mark.step)
        for sink in self._metrics:
            if hasattr(sink, "truncate"):
                sink.truncate(mark.epochs, mark.step)  # type: ignore[attr-defined]

    def _mark(self, resume: Any, feed: Feed) -> Mark:
        if resume is None:
            return Mark(self.learner.start(), 0, 0)
        if isinstance(resume, int | str):
            return self._restored(resume, feed)
        if isinstance(resume, TrainState):
            if isinstance(feed, ArrayFeed):
                return mark_between_epochs(resume, feed)
        elif hasattr(resume, "tree") and hasattr(resume, "metadata"):
            return mark_of(resume.tree, resume.metadata, feed)
        raise RunError(
            "Argument `resume` must be a step, 'latest', 'best', a snapshot or, with arrays, a "
            f"TrainState, but is of type {type(resume).__name__}."
        )

    def _restored(self, which: Any, feed: Feed) -> Mark:
        if self._checkpoints is None:
            raise RunError(
                f"Argument `resume` must be a snapshot where there are no `checkpoints`, but is "
                f"{which!r}. Give the trainer the CheckpointManager of the run."
            )
        found = self._checkpoints.restore(which, like=self.learner.abstract_state)
        return mark_of(found.tree, found.info.metadata, feed)


def _is_inside_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise RunError(f"Argument `seed` must be an integer of at least 0, but is {seed!r}.")
    return seed


def _checked_metrics(metrics: Any) -> tuple[MetricSink, ...]:
    sinks = tuple(metrics) if isinstance(metrics, list | tuple) else (metrics,)
    for sink in sinks:
        if not hasattr(sink, "write"):
            raise RunError(
                "Argument `metrics` must hold sinks with a method `write(row)`, but holds "
                f"{sink!r}."
            )
    return sinks


def _checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    if not isinstance(callbacks, list | tuple):
        raise RunError(f"Argument `callbacks` must be a list or tuple, but is {callbacks!r}.")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise RunError(
                "Argument `callbacks` must hold objects with a method "
                f"`on_epoch_end(result, state)`, but holds {callback!r}."
            )
    return tuple(callbacks)


def _checked_stopping(early_stopping: Any, loss: Loss | None) -> EarlyStopping | None:
    if early_stopping is None:
        return None
    if not isinstance(early_stopping, EarlyStopping):
        raise RunError(
            f"Argument `early_stopping` must be an EarlyStopping, but is {early_stopping!r}."
        )
    if early_stopping.needs_classes and loss is not None:
        raise RunError(
            "Argument `early_stopping` must monitor a loss where `loss` is given, but monitors "
            f"{early_stopping.monitor!r}."
        )
    return early_stopping


def _check_validation(validation: Any, early_stopping: EarlyStopping | None) -> None:
    if validation is None:
        if early_stopping is not None and early_stopping.needs_validation:
            raise RunError(
                "Argument `validation` must be given, since `early_stopping` monitors "
                f"{early_stopping.monitor!r}. Monitor 'train_loss' to go without."
            )
        return
    if is_arrays(validation):
        return
    if not hasattr(validation, "__iter__") or iter(validation) is validation:
        raise RunError(
            "Argument `validation` must be a tuple (x, y) of arrays or an iterable of batches "
            f"that starts anew with each `iter`, but is of type {type(validation).__name__}."
        )
