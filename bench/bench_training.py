"""What logging every step and saving every ten costs a training loop, on Fashion-MNIST.

Two models: the one that reaches most there, and a small one whose steps are a millisecond or two.

The speed of a shared machine drifts by more than what is looked for, within seconds. So a run has
epochs with and without, one after the other, and each side of a pair is the sum of several. An
epoch with begins with a save, so that the background writes meanwhile, and its rows are logged. The
others are as those of a run that has neither a sink nor a store: the loop makes its rows in any
case, and only the calls are left out. How much of the background's time falls into epochs without
all the same, that of the commits every five seconds with it, is told, and so are saves that were
replaced by later ones. Opening and closing, once in a run, are told apart. Each call of `write` and
`save` in the training thread is timed on its own. Ends with 1 if an aim is missed. Writes
`bench/results/training.md` and `training.json`; with --toy, on random images, it does neither.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
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
        epochs: of ten steps, on each side of a pair.
    """

    model: str
    batch: int
    pool: int
    epochs: int


WORKLOADS = (Workload("quantum-conv", 128, 1, 50), Workload("quantum-first", 32, 2, 200))


class Clocks(NamedTuple):
    """Seconds of all, of the calls of `write`, of those of `save`, and of processor time."""

    wall: float
    in_log: float
    in_save: float
    processor: float


class EveryOther:
    """A sink, a store and a callback for epochs by turns with and without; takes the time.

    The clocks are read when an epoch has ended, after its rows and before its save.
    """

    def __init__(self, metrics: AsyncMetricsLogger, checkpoints: CheckpointManager) -> None:
        self._metrics, self._checkpoints = metrics, checkpoints
        self._in_log = self._in_save = 0.0
        self.readings: list[Clocks] = []
        self.truncate = metrics.truncate
        self.steps, self.wait = checkpoints.steps, checkpoints.wait
        self.restore, self.remove_after = checkpoints.restore, checkpoints.remove_after

    def write(self, row: Mapping[str, Any]) -> None:
        """Logs the rows of the epochs after those that are saved."""
        if row["epoch"] % 2:
            begin = time.perf_counter()
            self._metrics.write(row)
            self._in_log += time.perf_counter() - begin

    def is_due(self, epoch: int) -> bool:
        """Saves every other epoch."""
        return epoch % 2 == 0

    def save(self, *arguments: Any, **options: Any) -> None:
        """Saves."""
        begin = time.perf_counter()
        self._checkpoints.save(*arguments, **options)
        self._in_save += time.perf_counter() - begin

    def on_epoch_end(self, result: Any, state: Any) -> bool:
        """Reads the clocks."""
        processor = time.process_time()
        self.readings.append(Clocks(time.perf_counter(), self._in_log, self._in_save, processor))
        return False


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


class Trained(NamedTuple):
    """A run.

    Attributes:
        spans: clocks of each epoch but the first.
        open_and_close_ms: what that takes.
        astray: share of the background's time in epochs without.
        replaced: saves that were not written.
    """

    spans: list[Clocks]
    open_and_close_ms: float
    astray: float
    replaced: int


def train(learner: Learner, data: Any, epochs: int, folder: str) -> Trained:
    """Trains with the first epoch, which is not counted, and with every other one recorded."""
    busy: list[tuple[float, float]] = []
    model = learner.model(learner.start())
    run_dir = tempfile.mkdtemp(dir=folder)
    begin = time.perf_counter()
    with (
        AsyncMetricsLogger(run_dir, observe=lambda *span: busy.append(span)) as metrics,
        CheckpointManager(
            f"{run_dir}/checkpoints",
            before_commit=metrics.sync,
            observe=lambda *span: busy.append(span),
        ) as checkpoints,
    ):
        by_turns = EveryOther(metrics, checkpoints)
        trainer = AsyncQuantumTrainer(
            model,
            optax.adam(0.01),
            epochs=epochs,
            batch_size=len(data[0]) // EVERY,
            metrics=by_turns,
            checkpoints=by_turns,
            callbacks=[by_turns],
        )
        trainer.learner = learner
        opened = time.perf_counter()
        trainer.fit(data)
        done = time.perf_counter()
    outside = opened - begin + time.perf_counter() - done
    assert read_metrics(run_dir).num_rows == (epochs + 1) // 2 * (EVERY + 1)
    assert inspect_checkpoints(f"{run_dir}/checkpoints")[-1].step == epochs * EVERY
    readings = by_turns.readings
    spans = [
        Clocks(*(end - begin for begin, end in zip(*both, strict=True)))
        for both in pairwise(readings)
    ]
    ends = [reading.wall for reading in readings]
    return Trained(spans, 1e3 * outside, share_astray(busy, ends), checkpoints.replaced)


def share_astray(busy: list[tuple[float, float]], ends: list[float]) -> float:
    """Share of the time of some spans that falls into epochs without, of those between `ends`."""
    without = list(pairwise(ends))[::2]
    inside = [clip(span, ends[0], ends[-1]) for span in busy]
    return sum(clip(s, *epoch) for s in busy for epoch in without) / sum(inside)


def clip(span: tuple[float, float], begin: float, end: float) -> float:
    """How much of a span is between two times."""
    return max(0.0, min(span[1], end) - max(span[0], begin))


def take_turns(work: Workload, pairs: int, *, is_toy: bool) -> dict[str, Any]:
    """Runs both kinds of epochs by turns."""
    data, epochs = load_images(work, is_toy=is_toy), work.epochs
    learner = make_learner(work, data[0].shape[1])
    rounds = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-training-") as folder:
        train(learner, data, 3, folder)
        # The first epoch is not counted, and one at each end has no other beside it.
        run = train(learner, data, 2 * epochs * pairs + 2, folder)
    for first in range(1, 2 * epochs * pairs, 2 * epochs):
        some = run.spans[first : first + 2 * epochs]
        rounds.append({"with": add(some[::2]), "without": add(some[1::2])})
    steps = epochs * EVERY
    results = summarise(rounds)
    return {
        "model": work.model,
        "batch": work.batch,
        "features": data[0].shape[1],
        "steps": steps,
        "pairs": pairs,
        **results,
        "step_ms": 1e3 * statistics.median(r["without"].wall for r in rounds) / steps,
        "open_and_close_ms": run.open_and_close_ms,
        "astray": run.astray,
        "replaced": run.replaced,
        "rounds": [{kind: span._asdict() for kind, span in r.items()} for r in rounds],
    }


def add(spans: list[Clocks]) -> Clocks:
    """All of them as one."""
    return Clocks(*map(sum, zip(*spans, strict=True)))


def summarise(rounds: list[dict[str, Clocks]]) -> dict[str, Any]:
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
        ("time in `write`, % of the time", "log_share", 100.0, 3, ""),
        ("time in `save`, % of the time", "save_share", 100.0, 3, ""),
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
        f"{results['pairs']} pairs of {results['steps']} steps, in epochs of {EVERY} by turns. "
        f"Opening and closing of what is written: {results['open_and_close_ms']:.0f} ms in a run. "
        f"{100 * results['astray']:.1f} % of the background's time fell into epochs without; "
        f"{results['replaced']} saves were replaced by later ones."
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
    works = [w._replace(batch=8, epochs=3) for w in WORKLOADS] if options.toy else WORKLOADS
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
