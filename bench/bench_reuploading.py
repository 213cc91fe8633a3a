"""A data re-uploading classifier on the data of a published benchmark, beside its results.

The data are made by the recipes of Bowles, Ahmed and Schuld, arXiv:2403.07059: 300 samples, a
fifth of them held out for the test. Each seed draws data, split and initial parameters anew.
Number of uploads and learning rate are chosen on parts held out of the training samples; the test
samples are looked at once. Beside the model stand the same model with frozen angles, where only
the projection learns, and scikit-learn's logistic regression.
"""

import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from _timing import arguments, machine
from flax import nnx
from sklearn.linear_model import LogisticRegression

from qjax.data import linearly_separable, stratified_split, two_curves
from qjax.nn import Angle
from qjax.nn.models import reuploading
from qjax.train import Learner, TrainState, count_batches, evaluate, fit

OUTPUT = Path(__file__).parent / "results" / "reuploading.md"
SAMPLES, TEST_FRACTION = 300, 0.2
VALIDATION_FRACTION, SPLITS = 0.25, 3
BATCH, STEPS = 32, 1000

Part = tuple[np.ndarray, np.ndarray]


class Task(NamedTuple):
    """Data, and what was published for a data re-uploading classifier on one draw of them.

    The accuracy is the mean test accuracy of five initial states, and the seconds the mean time
    of a fit at the same hyperparameters in the search; both from the folder `paper/results` of
    github.com/XanaduAI/qml-benchmarks, commit 0bbf848.
    """

    name: str
    make: Callable[..., Part]
    num_features: int
    published_accuracy: float
    published_seconds: float


class Choice(NamedTuple):
    """What is chosen on validation parts."""

    uploads: int
    learning_rate: float


class Outcome(NamedTuple):
    """What one seed gives."""

    seed: int
    uploads: int
    learning_rate: float
    train_accuracy: float
    test_accuracy: float
    frozen_accuracy: float
    linear_accuracy: float
    compile_seconds: float
    run_seconds: float


class Size(NamedTuple):
    """How much is computed."""

    samples: int
    steps: int
    splits: int
    seeds: range
    choices: tuple[Choice, ...]
    tasks: tuple[Task, ...]


TASKS = (
    Task("linearly separable", linearly_separable, 2, 1.00, 59.8),
    Task("linearly separable", linearly_separable, 4, 1.00, 71.8),
    Task("linearly separable", linearly_separable, 10, 0.89, 72.5),
    Task("two curves", two_curves, 4, 0.90, 80.3),
    Task("two curves", two_curves, 10, 1.00, 123.9),
)
CHOICES = tuple(Choice(uploads, rate) for uploads in (2, 5, 10) for rate in (0.003, 0.01, 0.03))
FULL = Size(SAMPLES, STEPS, SPLITS, range(5), CHOICES, TASKS)
TOY = Size(60, 10, 1, range(1), CHOICES[:2], TASKS[:1])


def parts(x: np.ndarray, y: np.ndarray, fraction: float, seed: int) -> tuple[Part, Part]:
    """What is kept, and what is held out."""
    kept, held = stratified_split(y, fraction, seed)
    return (x[kept], y[kept]), (x[held], y[held])


def model(num_features: int, choice: Choice, seed: int) -> nnx.Module:
    return reuploading(
        num_features=num_features, num_classes=2, uploads=choice.uploads, rngs=nnx.Rngs(seed)
    )


def learner(num_features: int, choice: Choice, steps: int) -> Learner:
    schedule = optax.cosine_decay_schedule(choice.learning_rate, steps)
    return Learner(model(num_features, choice, 0), optax.adam(schedule))


def trained(
    learner: Learner, start: nnx.Module, train: Part, steps: int, seed: int, variables: Any = ...
) -> TrainState:
    """The state after `steps` steps, or a few more to end the epoch."""
    epochs = -(-steps // count_batches(len(train[0]), BATCH))
    trainable = learner.trainable(variables)
    state = learner.start(start)
    options = {"epochs": epochs, "batch_size": BATCH, "seed": seed, "trainable": trainable}
    return fit(learner, state, *train, **options).state


def accuracy(learner: Learner, state: TrainState, part: Part) -> float:
    return evaluate(learner, state, *part, batch_size=64).accuracy


def choose(
    task: Task, train: Part, learners: dict[Choice, Learner], size: Size, seed: int
) -> Choice:
    """The choice with the best mean accuracy on parts held out of the training samples."""

    def score(choice: Choice, split: int) -> float:
        part, validation = parts(*train, VALIDATION_FRACTION, split)
        start = model(task.num_features, choice, seed)
        state = trained(learners[choice], start, part, size.steps, seed)
        return accuracy(learners[choice], state, validation)

    means = {
        choice: statistics.mean(score(choice, split) for split in range(size.splits))
        for choice in size.choices
    }
    return max(means, key=lambda choice: means[choice])  # the first, with fewest uploads, of equals


def outcome(task: Task, train: Part, test: Part, choice: Choice, steps: int, seed: int) -> Outcome:
    """Compiles anew, fits, and looks at the test samples."""
    start = model(task.num_features, choice, seed)
    jax.clear_caches()
    begin = time.perf_counter()
    fresh = learner(task.num_features, choice, steps)
    fresh.compile_step(BATCH, task.num_features)
    compiled = time.perf_counter()
    state = jax.block_until_ready(trained(fresh, start, train, steps, seed))
    end = time.perf_counter()
    frozen = trained(fresh, start, train, steps, seed, nnx.Not(Angle))
    linear = LogisticRegression(max_iter=1000).fit(*train)
    return Outcome(
        seed,
        *choice,
        train_accuracy=accuracy(fresh, state, train),
        test_accuracy=accuracy(fresh, state, test),
        frozen_accuracy=accuracy(fresh, frozen, test),
        linear_accuracy=float(linear.score(*test)),
        compile_seconds=compiled - begin,
        run_seconds=end - compiled,
    )


def outcomes(task: Task, size: Size) -> list[Outcome]:
    """The results of all seeds; first all choices, which share their programs."""
    split = {
        seed: parts(*task.make(size.samples, task.num_features, seed=seed), TEST_FRACTION, seed)
        for seed in size.seeds
    }
    learners = {c: learner(task.num_features, c, size.steps) for c in size.choices}
    chosen = {seed: choose(task, split[seed][0], learners, size, seed) for seed in size.seeds}
    return [outcome(task, *split[seed], chosen[seed], size.steps, seed) for seed in size.seeds]


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.pstdev(values):.3f}"


def line(task: Task, rows: list[Outcome]) -> str:
    """A task as a row of the table."""
    compile_s = statistics.mean(row.compile_seconds for row in rows)
    run_s = statistics.mean(row.run_seconds for row in rows)
    fields = (
        task.name,
        task.num_features,
        spread([row.test_accuracy for row in rows]),
        f"{task.published_accuracy:.2f}",
        spread([row.frozen_accuracy for row in rows]),
        spread([row.linear_accuracy for row in rows]),
        spread([row.train_accuracy for row in rows]),
        f"{compile_s + run_s:.1f}",
        f"{compile_s:.1f}",
        f"{task.published_seconds:.1f}",
    )
    return f"| {' | '.join(map(str, fields))} |"


HEAD = """\
| data | d | test accuracy | published | frozen angles | linear | training accuracy | fit, s | \
of it compile, s | published fit, s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""

LEGEND = f"""\
- **test accuracy**: mean and standard deviation over seeds. A seed draws data, split and initial
  parameters; the published results are of one draw of the data and five initial states.
- **published**: the data re-uploading classifier of Bowles, Ahmed and Schuld, arXiv:2403.07059, as
  in `paper/results` of github.com/XanaduAI/qml-benchmarks: mean test accuracy, and mean time of a
  fit at its hyperparameters in their search, on their machine.
- **frozen angles**: the same model and steps, but only the projection to the classes learns.
- **linear**: scikit-learn's logistic regression.
- **fit**: compiling and then taking {STEPS} steps of {BATCH} samples (up to the end of an epoch)
  with the chosen hyperparameters; the search, {len(CHOICES)} choices on {SPLITS} splits, is not
  counted, as in the published times.
"""


def write(results: list[tuple[Task, list[Outcome]]]) -> None:
    """Writes the table, and every number beside it as JSON."""
    packages = ("qjax-qml", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")
    about = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "bench/bench_reuploading.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: version(name) for name in packages},
    }
    rows = [
        {**task._asdict(), "make": task.make.__name__, "seeds": [row._asdict() for row in seeds]}
        for task, seeds in results
    ]
    OUTPUT.with_suffix(".json").write_text(json.dumps({**about, "tasks": rows}, indent=1) + "\n")
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    head = f"# Data re-uploading\n\n`{about['command']}`, {about['date']}.\n\n{about['machine']}.\n"
    table = "\n".join([HEAD, *(line(*result) for result in results)])
    OUTPUT.write_text(f"{head}{versions}.\n\n{table}\n\n{LEGEND}")


def main() -> None:
    """Prints a row per task, and writes them to `bench/results` unless at toy size."""
    options = arguments(__doc__ or "")
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
    print(machine())
    print(HEAD)
    results = []
    size = TOY if options.toy else FULL
    for task in size.tasks:
        results.append((task, outcomes(task, size)))
        print(line(*results[-1]), flush=True)
    if not options.toy:
        write(results)


if __name__ == "__main__":
    main()
