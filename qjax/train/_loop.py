"""The training loop. It yields what it waits for; `drive` or `drive_async` do the waiting."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from qjax.train._batches import batches
from qjax.train._evaluate import EVALUATION_BATCH_SIZE, Evaluation, mean_totals
from qjax.train._feed import Fed, Feed, as_batch, is_arrays
from qjax.train._keeper import Keeper
from qjax.train._learner import Learner
from qjax.train._meter import Mark, Meter
from qjax.train._pipeline import Pipeline
from qjax.train._protocols import Callback
from qjax.train._results import EpochResult, FitResult
from qjax.train._stopping import EarlyStopping, Patience
from qjax.train._timeline import UNTIMED, Timeline, Untimed
from qjax.train._wait import Steps, wait_for_device

__all__ = ["Run", "training"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a loop works with.

    Attributes:
        learner: what scores.
        feed: gives the batches.
        pipeline: turns them into steps.
        meter: guards the steps and knows how far the run is.
        epochs: how many epochs the run has in all.
        validation: arrays (x, y) or an iterable of batches to score after each epoch, or None.
        early_stopping: ends the run, or None.
        callbacks: are told of each epoch, and may end the run.
        keeper: saves, or None.
        timeline: records the stages, if it was asked to.
    """

    learner: Learner
    feed: Feed
    pipeline: Pipeline
    meter: Meter
    epochs: int
    validation: Any = None
    early_stopping: EarlyStopping | None = None
    callbacks: Sequence[Callback] = ()
    keeper: Keeper | None = None
    timeline: Timeline | Untimed = UNTIMED


def training(run: Run) -> Steps[FitResult]:
    """Trains until the epochs are done or something ends the run."""
    meter, pipeline, results = run.meter, run.pipeline, []
    stopped = _is_out_of_patience(run, meter.mark)
    try:
        while meter.mark.epochs < run.epochs and not stopped:
            mark = meter.mark
            run.feed.open(mark.epochs + 1, mark.sums.steps, mark.position)
            meter.start_epoch()
            while (fed := (yield from _next_batch(run))) is not None:
                with run.timeline.stage("submission"):
                    pipeline.start(meter.state, fed)
                if len(pipeline) == pipeline.depth:
                    yield from _finish_step(run)
            while len(pipeline):
                yield from _finish_step(run)
            yield from _look(run)
            validation = yield from _validate(run)
            results.append(_end_epoch(run, validation))
            stopped = _is_told_to_stop(run, results[-1])
            is_last = stopped or meter.mark.epochs == run.epochs
            _save(run, results[-1], is_last=is_last)
    except BaseException as error:
        _rescue(run, error)
        raise
    finally:
        pipeline.close()
        run.feed.close()
        run.timeline.finish()
    return FitResult(
        meter.state, results, meter.first_step_time, meter.circuits_per_second, stopped
    )


def _next_batch(run: Run) -> Steps[Fed | None]:
    with run.timeline.stage("batch preparation"):
        return (yield run.feed.next)


def _finish_step(run: Run) -> Steps[None]:
    with run.timeline.stage("collection"):
        gradient = yield run.pipeline.oldest
    with run.timeline.stage("submission"):
        run.meter.add(done := run.pipeline.finish(run.meter.state, gradient))
    run.timeline.under_way(done.values)
    if run.meter.is_due:
        yield from _look(run)


def _look(run: Run) -> Steps[None]:
    with run.timeline.stage("collection"):
        yield wait_for_device(run.meter.under_way)
        run.meter.drain()


def _validate(run: Run) -> Steps[Evaluation | None]:
    if run.validation is None:
        return None
    scored = [(run.learner.score(run.meter.state, b), b.size) for b in _batches(run.validation)]
    totals = [total for total, _ in scored]
    yield wait_for_device(totals)
    return mean_totals(totals, sum(size for _, size in scored))


def _batches(data: Any) -> Iterable[Any]:
    return batches(*data, EVALUATION_BATCH_SIZE) if is_arrays(data) else map(as_batch, data)


def _end_epoch(run: Run, validation: Evaluation | None) -> EpochResult:
    def patience(result: EpochResult) -> Patience:
        before = run.meter.mark.patience
        return run.early_stopping.after(before, result) if run.early_stopping else before

    return run.meter.end_epoch(validation, patience, runs_on=run.feed.runs_on)


def _save(run: Run, result: EpochResult, *, is_last: bool) -> None:
    if run.keeper is not None:
        with run.timeline.stage("collection"):
            run.keeper.end_epoch(run.meter.mark, result, is_last=is_last)


def _is_told_to_stop(run: Run, result: EpochResult) -> bool:
    answers = [callback.on_epoch_end(result, run.meter.state) for callback in run.callbacks]
    return any(answers) or _is_out_of_patience(run, run.meter.mark)


def _is_out_of_patience(run: Run, mark: Mark) -> bool:
    return run.early_stopping is not None and run.early_stopping.is_over(mark.patience)


def _rescue(run: Run, error: BaseException) -> None:
    """Saves the state after the last good step; what hinders it is told with the error."""

    def save() -> None:
        if run.keeper is not None:
            error.add_note(run.keeper.rescue(run.meter.mark))

    works: tuple[Callable[[], None], ...] = run.meter.drain, save
    for work in works:
        try:
            work()
        except Exception as late:
            error.add_note(str(late))
