"""What logging metrics costs: a million rows at a set rate, as many as possible, and in training.

Every call of `log` is timed on its own. At the set rate nothing may be dropped; at full speed
rows are dropped and counted. In training the same steps run with and without a logger by turns.
Ends with 1 if an aim is missed. Writes `bench/results/metrics.md` and `metrics.json`; with --toy it
does neither.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import psutil
from _timing import arguments, machine
from flax import nnx

from qjax.nn import models
from qjax.storage import read_metrics
from qjax.storage._logger import AsyncMetricsLogger
from qjax.storage._metrics import dropped_rows

OUTPUT = Path(__file__).parent / "results" / "metrics.md"
COMMAND = "python bench/bench_metrics.py"

RATE = 10_000  # rows per second
AIMS = {"log_us": 20.0, "log_share": 0.01, "wall_ratio": 1.03, "block_ratio": 2.0}
BLOCKS = 10  # equal stretches of the run, whose costs are compared
HEADER = ("rows", "per second", "us per log: mean", "median", "99 %", "longest, ms",
          "last tenth / first", "dropped", "read back", "files", "bytes per row",
          "memory, MB: first tenth", "highest after")  # fmt: skip


def row(step: int) -> dict[str, Any]:
    """A row of a step with all that a simulator measures and three free columns."""
    return {
        "epoch": 1 + step // 1000,
        "step": step,
        "train_loss": 1 / step,
        "train_accuracy": 0.5,
        "grad_norm": 1.5 / step,
        "grad_max": 1 / step,
        "grad_min": -1 / step,
        "circuits_executed": 32,
        "batch_time_ms": 12.5,
        "throughput_samples_per_sec": 2560.0,
        "circuit_execution_time_ms": 10.5,
        "qubits_used": 8,
        "backend": "simulator",
        "grad_norm/angles": 0.5 / step,
        "grad_norm/linear": 0.25 / step,
        "rate": 0.05,
    }


def paced(count: int, rate: float | None) -> Iterator[int]:
    """Steps from 1 to `count`, at most `rate` a second."""
    start = time.perf_counter()
    for step in range(1, count + 1):
        yield step
        if rate is not None and step % 100 == 0:
            time.sleep(max(0.0, start + step / rate - time.perf_counter()))


def log_rows(count: int, rate: float | None) -> dict[str, Any]:
    """Logs so many rows and reads them back."""
    spent = array("d")
    memory = []
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with AsyncMetricsLogger(folder) as metrics:
            for step in paced(count, rate):
                spent.append(timed(metrics.log, row(step)))
                if step % (count // BLOCKS) == 0:
                    memory.append(process.memory_info().rss / 1e6)
            seconds = time.perf_counter() - start
            before_close = time.perf_counter()
        close_seconds = time.perf_counter() - before_close
        table = read_metrics(folder)
        files = list(Path(folder).rglob("*.parquet"))
        size = sum(file.stat().st_size for file in files)
    steps = table["step"].to_numpy()
    assert len(np.unique(steps)) == len(steps) == table.num_rows
    blocks = np.array_split(np.asarray(spent), BLOCKS)
    return {
        "rows": count,
        "rate": rate,
        "per_second": count / seconds,
        "log_us": {
            "mean": 1e6 * statistics.fmean(spent),
            "median": 1e6 * statistics.median(spent),
            "99 %": 1e6 * float(np.quantile(spent, 0.99)),
            "longest": 1e6 * max(spent),
        },
        "block_us": [1e6 * float(np.median(block)) for block in blocks],
        "close_seconds": close_seconds,
        "dropped": metrics.dropped,
        "dropped_told": dropped_rows(table),
        "read_back": table.num_rows,
        "files": len(files),
        "bytes_per_row": size / table.num_rows,
        "memory_mb": memory,
    }


def timed(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def training_step(features: int, classes: int, batch: int) -> Callable[[], dict[str, float]]:
    """A step of the Fashion-MNIST model on random images, which returns what it measured."""
    model = models.create(
        "quantum-first", num_features=features, num_classes=classes, rngs=nnx.Rngs(0)
    )
    optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(batch, features)).astype(np.float32)
    y = generator.integers(classes, size=batch)

    def loss_of(model: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @nnx.jit
    def update(model: Any, optimizer: Any) -> tuple[jax.Array, jax.Array]:
        loss, gradient = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, gradient)
        return loss, optax.global_norm(gradient)

    def step() -> dict[str, float]:
        loss, norm = jax.device_get(update(model, optimizer))
        return {"train_loss": float(loss), "grad_norm": float(norm)}

    step()
    return step


def train(step: Callable[[], dict[str, float]], count: int, *, logged: bool) -> tuple[float, float]:
    """Seconds of so many steps, and of those in `log`."""
    in_log = 0.0
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        logger = AsyncMetricsLogger(folder, flush_seconds=0.5) if logged else nullcontext()
        with logger as metrics:
            for number in range(1, count + 1):
                values = step()
                if metrics is not None:
                    in_log += timed(metrics.log, row(number) | values)
        return time.perf_counter() - start, in_log


def train_by_turns(pairs: int, count: int, sizes: tuple[int, int, int]) -> dict[str, Any]:
    """Trains with and without a logger by turns."""
    step = training_step(*sizes)
    rounds = []
    for number in range(pairs):
        turns = (True, False) if number % 2 else (False, True)
        results = {logged: train(step, count, logged=logged) for logged in turns}
        rounds.append({"with": results[True][0], "in_log": results[True][1],
                       "without": results[False][0]})  # fmt: skip
    return {
        "sizes": dict(zip(("features", "classes", "batch"), sizes, strict=True)),
        "steps": count,
        "rounds": rounds,
        "step_ms": 1e3 * statistics.median(r["without"] for r in rounds) / count,
        "log_share": statistics.median(r["in_log"] / r["with"] for r in rounds),
        "wall_ratio": statistics.median(r["with"] / r["without"] for r in rounds),
    }


def rows_table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line per run."""
    lines = [HEADER, ("---",) * len(HEADER)]
    for result in results:
        log = result["log_us"]
        lines.append((
            f"{result['rows']:,}",
            f"{result['per_second']:,.0f}",
            f"{log['mean']:.1f}",
            f"{log['median']:.1f}",
            f"{log['99 %']:.1f}",
            f"{log['longest'] / 1e3:.1f}",
            f"{result['block_us'][-1] / result['block_us'][0]:.2f}",
            f"{result['dropped']:,}",
            f"{result['read_back']:,}",
            str(result["files"]),
            f"{result['bytes_per_row']:.0f}",
            f"{result['memory_mb'][0]:.0f}",
            f"{max(result['memory_mb'][1:]):.0f}",
        ))  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def misses(results: list[dict[str, Any]], training: dict[str, Any]) -> list[str]:
    """Says which aims were missed."""
    paced_run = results[0]
    found = [
        f"{result['rows']} rows logged, {result['read_back']} read back, "
        f"{result['dropped']} dropped, {result['dropped_told']} told"
        for result in results
        if result["read_back"] + result["dropped"] != result["rows"]
        or result["dropped"] != result["dropped_told"]
    ]
    if paced_run["dropped"]:
        found.append(f"{paced_run['dropped']} rows dropped at {RATE} a second")
    values = {
        "log_us": paced_run["log_us"]["mean"],
        "block_ratio": paced_run["block_us"][-1] / paced_run["block_us"][0],
        "log_share": training["log_share"],
        "wall_ratio": training["wall_ratio"],
    }
    found += [f"{name} is {value:.3g}, the aim {AIMS[name]}" for name, value in values.items()
              if value > AIMS[name]]  # fmt: skip
    return found


def main() -> int:
    """Prints the tables; returns 1 if an aim is missed."""
    options = arguments(__doc__ or "")
    rows, pairs, steps, sizes = 1_000_000, 9, 300, (196, 10, 32)
    if options.toy:
        rows, pairs, steps, sizes = 20_000, 2, 10, (16, 4, 8)
    results = [log_rows(rows, RATE), log_rows(rows, None)]
    training = train_by_turns(pairs, steps, sizes)
    missed = misses(results, training)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    about = f"{machine()}, load averages {load} at the end"
    sentence = (
        f"Training the `quantum-first` model for {sizes[0]} features in batches of {sizes[2]}, "
        f"logging each step: {training['step_ms']:.2f} ms a step, of it "
        f"{100 * training['log_share']:.3f} % in `log`; wall time with the logger over that "
        f"without {training['wall_ratio']:.3f} (median of {pairs} alternating pairs of {steps} "
        "steps, each with opening and closing the logger)."
    )
    verdict = "Missed: " + "; ".join(missed) if missed else "All aims are met."
    parts = [rows_table(results), sentence, verdict]
    print(about, *parts, sep="\n\n")
    if not options.toy:
        _write(about, parts, {"rows": results, "training": training, "missed": missed})
    return int(bool(missed) and not options.toy)


def _write(about: str, parts: list[str], results: dict[str, Any]) -> None:
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    head = f"# Logging metrics\n\n`{COMMAND}`, {when}.\n\n{about}."
    OUTPUT.write_text("\n\n".join([head, *parts]) + "\n")
    content = {"command": COMMAND, "when": when, "machine": about, "aims": AIMS, **results}
    OUTPUT.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
