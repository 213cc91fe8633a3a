"""A training run from options to summary: the order of the work is decided here."""

import platform
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import flax
import jax
import jax.numpy as jnp
import optax
import pyarrow.compute as pc
from flax import nnx
from rich.console import Console

import qjax.data
import qjax.nn
from qjax.cli import _plot
from qjax.cli._background import Background
from qjax.cli._baseline import linear_accuracies
from qjax.cli._clock import read_clock
from qjax.cli._config import RunConfig
from qjax.cli._report import Reporter, summary_table
from qjax.cli._run_directory import (
    CHECKPOINTS,
    check_is_new,
    make_run_directory,
    open_run,
    write_summary,
)
from qjax.cli._timeline import write_timeline
from qjax.data import Dataset
from qjax.errors import RunError
from qjax.nn import models
from qjax.storage import (
    CheckpointInfo,
    CheckpointManager,
    load_checkpoint,
    read_metrics,
)
from qjax.train import (
    EVALUATION_BATCH_SIZE,
    AsyncQuantumTrainer,
    FitResult,
    Learner,
    Timeline,
    TrainState,
    count_batches,
    evaluate,
    fit,
)

__all__ = ["installed_versions", "predict", "train"]

# Settings that may differ when a run is resumed.
RESUMABLE = {"epochs", "data_dir"}

# Level lines in the plot.
LEVELS = {
    "test": "test_accuracy",
    "test, linear model": "linear_test_accuracy",
    "test, frozen angles": "frozen_test_accuracy",
}


@dataclass(frozen=True)
class _Job:
    """What a run works with."""

    config: RunConfig
    run_dir: Path
    data: Dataset
    trainer: AsyncQuantumTrainer
    reporter: Reporter

    @property
    def learner(self) -> Learner:
        return self.trainer.learner


def train(
    options: Mapping[str, Any],
    run_dir: Path | None,
    resume: Path | None,
    console: Console,
    start: float,
    *,
    profile: bool = False,
) -> None:
    """Trains, measures the floors, and writes the run directory.

    A run that was cut short and is resumed gives the same bits as one that never stopped. Resumed
    with another number of epochs, it follows the learning rate of that many from there on.

    Args:
        options: settings of `RunConfig` that were given.
        run_dir: folder of a new run, or None for the default one.
        resume: run directory to go on from, or None.
        console: where to report.
        start: when the process was started, as `read_clock` reads.
        profile: whether to write a timeline.

    Raises:
        QjaxError: if anything does not fit or cannot be read or written.
        KeyboardInterrupt: on Ctrl-C; the last step is then saved.
    """
    config = _resumed_config(resume, options) if resume else _new_config(options)
    if resume is None and run_dir is not None:
        check_is_new(run_dir)
    background = Background()
    loading = background.submit(lambda: _load_data(config))
    model = _abstract_model(config)
    data = loading.result()
    folder = resume or make_run_directory(run_dir, config.model)
    config.write(folder)
    reporter = Reporter(console)
    timeline = Timeline() if profile else None
    try:
        with open_run(folder, timeline) as (metrics, checkpoints):
            trainer = _trainer(
                config,
                model,
                data,
                metrics=metrics,
                checkpoints=checkpoints,
                progress=reporter,
                timeline=timeline,
            )
            job = _Job(config, folder, data, trainer, reporter)
            work = _Beside(background, job)
            result = _fit(job, work, checkpoints, resumed=resume is not None)
        summary = _measure(job, work, result, start)
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt, "__notes__", ()):
            reporter.line(note)
        reporter.line(f"interrupted; go on with: qjax train --resume {folder}")
        raise
    work.drawing.result()
    _draw(job, summary)
    if timeline is not None:
        write_timeline(folder, _title(config), timeline)
    summary["wall_seconds"] = read_clock() - start
    write_summary(folder, summary)
    console.print(summary_table(summary))
    reporter.line(f"run directory: {folder}")


class _Beside:
    """What is worked out beside the main thread, in the order in which it is needed.

    The parameters are drawn and the scoring is compiled while the main thread compiles the step.
    """

    def __init__(self, background: Background, job: _Job) -> None:
        features = job.data.num_features
        self.model = background.submit(nnx.jit(lambda: _create(job.config)))
        self.start = background.submit(lambda: job.learner.start(self.model.result()))
        self.scoring = background.submit(
            lambda: job.learner.compile_score(EVALUATION_BATCH_SIZE, features)
        )
        self.linear = background.submit(lambda: linear_accuracies(job.data))
        self.drawing = background.submit(_plot.prepare)


def predict(run_dir: Path, data_dir: str | None, console: Console) -> float:
    """Scores the test set with the newest checkpoint of a run; returns the accuracy.

    Raises:
        QjaxError: if the run directory, its checkpoint or the data cannot be read.
    """
    config = RunConfig.read(run_dir)
    if data_dir is not None:
        config = config.updated({"data_dir": data_dir})
    learner = Learner(_abstract_model(config), _optimizer(config, 1))  # its rate plays no part
    data = _load_data(config)
    checkpoint = load_checkpoint(run_dir / CHECKPOINTS, like=learner.abstract_state)
    state = cast(TrainState, jax.tree.map(jnp.asarray, checkpoint.tree))
    score = evaluate(learner, state, data.test_x, data.test_y)
    right = round(score.accuracy * len(data.test_y))
    Reporter(console).line(
        f"test accuracy {score.accuracy:.4f} ({right} of {len(data.test_y)} images of "
        f"{data.name}), {config.model} after step {checkpoint.step}"
    )
    return score.accuracy


def installed_versions() -> dict[str, str]:
    """Returns the versions that a run depends on."""
    try:
        own = version("qjax-qml")
    except PackageNotFoundError:
        own = "unknown"  # run from a checkout that is not installed
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
        "qjax": own,
    }


def _create(config: RunConfig) -> nnx.Module:
    info = qjax.data.dataset_info(config.dataset)
    return models.create(
        config.model,
        num_features=info.num_features,
        num_classes=info.num_classes,
        rngs=nnx.Rngs(config.seed),
    )


def _abstract_model(config: RunConfig) -> nnx.Module:
    """Builds the model without drawing its parameters."""
    return nnx.eval_shape(lambda: _create(config))


def _optimizer(config: RunConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Makes Adam, whose rate falls to zero along half a cosine over all epochs."""
    steps = config.epochs * steps_per_epoch
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, steps))


def _trainer(
    config: RunConfig,
    model: nnx.Module,
    data: Dataset,
    **more: Any,
) -> AsyncQuantumTrainer:
    return AsyncQuantumTrainer(
        model,
        _optimizer(config, count_batches(len(data.train_x), config.batch_size)),
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=config.seed,
        **more,
    )


def _new_config(options: Mapping[str, Any]) -> RunConfig:
    return RunConfig(model=options.get("model", models.DEFAULT)).updated(options)


def _resumed_config(run_dir: Path, options: Mapping[str, Any]) -> RunConfig:
    config = RunConfig.read(run_dir)
    changed = {name for name, value in options.items() if value != getattr(config, name)}
    if fixed := sorted(changed - RESUMABLE):
        raise RunError(
            f"Argument `{fixed[0]}` must stay {getattr(config, fixed[0])!r} as in "
            f"`{run_dir}`, but is {options[fixed[0]]!r}."
        )
    return config.updated(options)


def _load_data(config: RunConfig) -> Dataset:
    data = qjax.data.load(config.dataset, data_dir=config.data_dir, samples=config.samples)
    return data.with_validation(config.validation) if config.validation else data


def _fit(job: _Job, work: _Beside, checkpoints: CheckpointManager, *, resumed: bool) -> FitResult:
    config, data = job.config, job.data
    steps = count_batches(len(data.train_x), config.batch_size)
    newest = _newest(checkpoints)
    if resumed:
        job.reporter.line(_where(newest, config.epochs))
    with job.reporter.training(config.epochs, steps, newest.step):
        if (newest.epoch or 0) < config.epochs:
            job.learner.compile_step(config.batch_size, data.num_features)
        work.scoring.result()  # or it would be compiled twice
        return job.trainer.fit(
            (data.train_x, data.train_y),
            data.validation,
            resume=newest.step or work.start.result(),
        )


def _newest(checkpoints: CheckpointManager) -> CheckpointInfo:
    """Returns the newest checkpoint, or one of step 0 where there is none."""
    infos = checkpoints.list()
    return infos[-1] if infos else CheckpointInfo(step=0, epoch=0)


def _where(newest: CheckpointInfo, epochs: int) -> str:
    return f"resuming after epoch {newest.epoch or 0} of {epochs}, step {newest.step}"


def _measure(job: _Job, work: _Beside, result: FitResult, start: float) -> dict[str, Any]:
    train_accuracy, test_accuracy = _accuracies(job, result.state)
    frozen_train, frozen_test = _accuracies(job, _fit_frozen(job, work.start.result()))
    inputs = jnp.asarray(job.data.train_x[: job.config.batch_size])
    split = qjax.nn.compute_split(work.model.result(), inputs, timed=False)
    if not work.linear.done():
        with job.reporter.waiting("fitting the linear model"):
            wait([work.linear])
    linear_train, linear_test = work.linear.result()
    first = result.first_step_time
    return {
        "model": job.config.model,
        "dataset": job.config.dataset,
        "train_samples": len(job.data.train_x),
        "test_samples": len(job.data.test_x),
        "epochs": job.config.epochs,
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "frozen_train_accuracy": frozen_train,
        "frozen_test_accuracy": frozen_test,
        "linear_train_accuracy": linear_train,
        "linear_test_accuracy": linear_test,
        "first_step_seconds": None if first is None else first - start,
        "circuits_per_second": result.circuits_per_second,
        "quantum_flops_share": split.quantum_flops_share,
        "quantum_parameter_share": split.quantum_parameter_share,
        "seed": job.config.seed,
        "device": jax.devices()[0].device_kind,
        "versions": installed_versions(),
    }


def _accuracies(job: _Job, state: TrainState) -> tuple[float, float]:
    data = job.data
    train_score = evaluate(job.learner, state, data.train_x, data.train_y)
    test_score = evaluate(job.learner, state, data.test_x, data.test_y)
    return train_score.accuracy, test_score.accuracy


def _fit_frozen(job: _Job, state: TrainState) -> TrainState:
    """Trains the same model from the same start with its angles frozen."""
    trainable = job.learner.trainable(nnx.Not(qjax.nn.QuantumParam))
    if not any(jax.tree.leaves(trainable)):
        return state
    with job.reporter.waiting("training the same model with frozen angles"):
        result = fit(
            job.learner,
            state,
            job.data.train_x,
            job.data.train_y,
            epochs=job.config.epochs,
            batch_size=job.config.batch_size,
            seed=job.config.seed,
            trainable=trainable,
        )
    return result.state


def _draw(job: _Job, summary: Mapping[str, Any]) -> None:
    rows = read_metrics(job.run_dir).filter(pc.field("step") == -1).to_pylist()
    levels = {name: summary[key] for name, key in LEVELS.items()}
    _plot.write_plot(job.run_dir, _title(job.config), rows, levels)


def _title(config: RunConfig) -> str:
    return f"{config.model} on {config.dataset}"
