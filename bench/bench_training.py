"""What logging every step and saving every ten costs a training loop, on Fashion-MNIST.

Two models: the one that reaches most there, and a small one whose steps are a few milliseconds.

The same steps run with metrics and checkpoints and without both. The speed of a shared machine
drifts by more than what is looked for, so each side of a pair is the sum of several short runs that
alternate with those of the other side. Each call of `write` and `save` in the training thread is
timed on its own. Ends with 1 if an aim is missed. Writes
`bench/results/training.md` and `training.json`; with --toy, on random images, it does neither.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
from _timing import arguments, machine
from flax import nnx

from qjax.data import load_fashion_mnist
from qjax.nn import models
from qjax.storage import AsyncMetricsLogger, CheckpointManager, inspect_checkpoints, read_metrics
from qjax.train import AsyncQuantumTrainer, Learner

OUTPUT = Path(__file__).parent / "results" / "training.md"
COMMAND = "QJAX_DATA_DIR=... python bench/bench_training.py"

EVERY = 10  # steps between two checkpoints
AIMS = {"share": 0.01, "wall_ratio": 1.03}


class Workload(NamedTuple):
    """A model and how it is trained.

    Attributes:
        model: its name in `qjax.nn.models`.
        batch: images per step.
        pool: side of the blocks of pixels that are averaged.
        epochs: of ten steps, in a run.
    """

    model: str
    batch: int
    pool: int
    epochs: int


WORKLOADS = (Workload("quantum-conv", 128, 1, 20), Workload("quantum-first", 32, 2, 60))
RUNS = 5  # of each side of a pair


class Clocked:
    """Passes calls on and adds up the time in some of them."""

    def __init__(self, target: Any, *names: str) -> None:
        self.seconds = 0.0
        self._target = target
        for name in names:
            setattr(self, name, self._clocked(getattr(target, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def _clocked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - begin

        return call


class Turn(NamedTuple):
    """Runs, in seconds: all of it, of that in `write` and in `save`; of processor time, all."""

    wall: float
    in_log: float
    in_save: float
    processor: float


def load_images(work: Workload, *, is_toy: bool) -> tuple[np.ndarray, np.ndarray]:
    """The images of one epoch, which are `EVERY` batches."""
    count = EVERY * work.batch
    if is_toy:
        generator = np.random.default_rng(0)
        x = generator.uniform(size=(count, 16)).astype(np.float32)
        return x, generator.integers(10, size=count).astype(np.int32)
    data = load_fashion_mnist(pool=work.pool).take(count)
    return data.train_x, data.train_y


def make_learner(work: Workload, features: int) -> Learner:
    """The learner that all turns share, compiled."""
    model = models.create(work.model, num_features=features, num_classes=10, rngs=nnx.Rngs(0))
    learner = Learner(model, optax.adam(0.01), grad_norms="group")
    learner.compile_step(work.batch, features)
    return learner


def train(learner: Learner, data: Any, epochs: int, **more: Any) -> float:
    """Seconds of a run."""
    model = learner.model(learner.start())
    batch = len(data[0]) // EVERY
    trainer = AsyncQuantumTrainer(model, optax.adam(0.01), epochs=epochs, batch_size=batch, **more)
    trainer.learner = learner
    begin = time.perf_counter()
    trainer.fit(data)
    return time.perf_counter() - begin


def bare(learner: Learner, data: Any, epochs: int) -> Turn:
    """A run that writes nothing."""
    processor = time.process_time()
    wall = train(learner, data, epochs)
    return Turn(wall, 0.0, 0.0, time.process_time() - processor)


def recorded(learner: Learner, data: Any, epochs: int, folder: str) -> Turn:
    """A run that logs every step and saves every epoch; opening and closing are in its time."""
    run_dir = tempfile.mkdtemp(dir=folder)
    begin, processor = time.perf_counter(), time.process_time()
    with (
        AsyncMetricsLogger(run_dir) as metrics,
        CheckpointManager(
            f"{run_dir}/checkpoints", every_epochs=1, before_commit=metrics.sync
        ) as checkpoints,
    ):
        sink, store = Clocked(metrics, "write"), Clocked(checkpoints, "save")
        train(learner, data, epochs, metrics=sink, checkpoints=store)
    wall, processor = time.perf_counter() - begin, time.process_time() - processor
    steps = epochs * EVERY
    assert read_metrics(run_dir).num_rows == steps + epochs
    assert inspect_checkpoints(f"{run_dir}/checkpoints")[-1].step == steps
    return Turn(wall, sink.seconds, store.seconds, processor)


def take_turns(work: Workload, pairs: int, *, is_toy: bool) -> dict[str, Any]:
    """Runs both kinds by turns."""
    data, epochs = load_images(work, is_toy=is_toy), work.epochs
    learner = make_learner(work, data[0].shape[1])
    rounds = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-training-") as folder:
        bare(learner, data, 1)
        for _ in range(pairs):
            runs: dict[str, list[Turn]] = {"with": [], "without": []}
            for number in range(RUNS):
                for kind in sorted(runs, reverse=number % 2 == 0):
                    runs[kind].append(
                        recorded(learner, data, epochs, folder)
                        if kind == "with"
                        else bare(learner, data, epochs)
                    )
            rounds.append({kind: add(turns) for kind, turns in runs.items()})
    steps = RUNS * epochs * EVERY
    results = summarise(rounds)
    return {
        "model": work.model,
        "batch": work.batch,
        "features": data[0].shape[1],
        "steps": steps,
        "pairs": pairs,
        **results,
        "step_ms": 1e3 * statistics.median(r["without"].wall for r in rounds) / steps,
        "rounds": [{kind: turn._asdict() for kind, turn in r.items()} for r in rounds],
    }


def add(turns: list[Turn]) -> Turn:
    """All of them as one."""
    return Turn(*map(sum, zip(*turns, strict=True)))


def summarise(rounds: list[dict[str, Turn]]) -> dict[str, Any]:
    """Medians, and the range of each."""
    values = {
        "log_share": [r["with"].in_log / r["with"].wall for r in rounds],
        "save_share": [r["with"].in_save / r["with"].wall for r in rounds],
        "share": [(r["with"].in_log + r["with"].in_save) / r["with"].wall for r in rounds],
        "wall_ratio": [r["with"].wall / r["without"].wall for r in rounds],
        "processor_ratio": [r["with"].processor / r["without"].processor for r in rounds],
    }
    medians = {name: statistics.median(each) for name, each in values.items()}
    return medians | {f"{name}_range": [min(each), max(each)] for name, each in values.items()}


def table(results: Mapping[str, Any]) -> str:
    """Markdown: one line per number."""
    rows = (
        ("time in `write`, % of the run", "log_share", 100.0, 3, ""),
        ("time in `save`, % of the run", "save_share", 100.0, 3, ""),
        ("both, %", "share", 100.0, 3, f"{100 * AIMS['share']:.0f}"),
        ("wall time with / without", "wall_ratio", 1.0, 3, str(AIMS["wall_ratio"])),
        ("processor time with / without", "processor_ratio", 1.0, 3, ""),
    )
    lines = ["| | median | lowest | highest | at most wanted |", "| --- | --- | --- | --- | --- |"]
    for title, name, scale, digits, aim in rows:
        low, high = results[f"{name}_range"]
        cells = (f"{scale * value:.{digits}f}" for value in (results[name], low, high))
        lines.append(f"| {title} | {' | '.join(cells)} | {aim} |")
    return "\n".join(lines)


def sentence(results: Mapping[str, Any]) -> str:
    """What was run."""
    return (
        f"{results['features']} features in batches of {results['batch']}, "
        f"{results['step_ms']:.2f} ms a step without; logging every step and saving every {EVERY}; "
        f"{results['pairs']} pairs of {results['steps']} steps, each side in {RUNS} runs that "
        "alternate, with opening and closing of what they write."
    )


def verdict(results: Mapping[str, Any]) -> str:
    """Which aims are missed."""
    missed = [f"{name} is {results[name]:.4g}, the aim {aim}" for name, aim in missed_aims(results)]
    return "Missed: " + "; ".join(missed) if missed else "All aims are met."


def missed_aims(results: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Names and values of the aims that are missed."""
    return [(name, aim) for name, aim in AIMS.items() if results[name] > aim]


def main() -> int:
    """Prints the tables; returns 1 if an aim is missed."""
    options = arguments(__doc__ or "")
    pairs = 2 if options.toy else 9
    works = [w._replace(batch=8, epochs=2) for w in WORKLOADS] if options.toy else WORKLOADS
    results = [take_turns(work, pairs, is_toy=options.toy) for work in works]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    about = f"{machine()}, load averages {load} at the end"
    parts = []
    for each in results:
        parts += [f"## {each['model']}", sentence(each), table(each), verdict(each)]
    print(about, *parts, sep="\n\n")
    if not options.toy:
        _write(about, parts, results)
    return int(any(missed_aims(each) for each in results) and not options.toy)


def _write(about: str, parts: list[str], results: list[dict[str, Any]]) -> None:
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    head = f"# Training with metrics and checkpoints\n\n`{COMMAND}`, {when}.\n\n{about}."
    OUTPUT.write_text("\n\n".join([head, *parts]) + "\n")
    content = {"command": COMMAND, "when": when, "machine": about, "aims": AIMS, "models": results}
    OUTPUT.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
