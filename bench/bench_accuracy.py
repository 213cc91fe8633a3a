"""Test accuracy of models on digits and Fashion-MNIST, each beside what it must be better than.

Every model is trained by `qjax.train`, from several seeds, which draw the parameters and the order
of the images; beside it stand the same model with its angles frozen as they were drawn, the same
without entanglers, logistic regression on the same inputs and on all pixels, and a perceptron with
one hidden layer and as many parameters. Runs are added to `bench/results/accuracy.json`, from which
`accuracy.md` and the tables of `docs/guides/accuracy.md` are made; a run with the same settings
takes the place of the one before. Seconds are from the building of the model to its last step,
compilation included. The data folder is given by QJAX_DATA_DIR, see
`qjax.data.load_fashion_mnist`.

`--validate` is how settings were chosen: it trains on a part of the training images, scores the
others and writes nothing.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from math import sqrt
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from _timing import machine
from flax import nnx

from qjax import nn
from qjax.data import Dataset, load_digits, load_fashion_mnist
from qjax.nn import models
from qjax.train import Learner, count_batches, evaluate, fit

OUTPUT = Path(__file__).parent / "results" / "accuracy.json"
GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "accuracy.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"  # in the guide
SEEDS = 5
CLASSES = 10
HELD_OUT = slice(50_000, 60_000)  # of Fashion-MNIST's training images, to choose settings on

Build = Callable[[int, nnx.Rngs], nnx.Module]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: by AdamW, its rate falling to zero along half a cosine.

    Attributes:
        epochs: passes over the images.
        batch_size: images per step.
        learning_rate: at the start.
        weight_decay: of all parameters but angles.
        angle_rate: how many times as large the rate of the angles is.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    angle_rate: float = 1.0


@dataclass(frozen=True)
class Model:
    """A row of a table.

    Attributes:
        name: in the table.
        build: makes it from the number of inputs and random streams; None for logistic regression.
        recipe: how it is trained.
        pool: side of the blocks of pixels that are averaged first.
        frozen: whether its angles stay as they were drawn.
        copies: how often an image is among the images of an epoch, all but once moved by up to
            a pixel each way.
        mirrored: whether half of these copies are mirrored.
        settings: what else the JSON should say.
    """

    name: str
    build: Build | None = None
    recipe: Recipe | None = None
    pool: int = 1
    frozen: bool = False
    copies: int = 1
    mirrored: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """What a result depends on besides the seed and the versions."""
        recipe = asdict(self.recipe) if self.recipe else {}
        own = {name: getattr(self, name) for name in ("pool", "frozen", "copies", "mirrored")}
        return {**recipe, **self.settings, **own}


@dataclass(frozen=True)
class Case:
    """A table: models on one dataset.

    Attributes:
        title: its heading.
        load: from the pooling to the images.
        rows: the models.
    """

    title: str
    load: Callable[[int], Dataset]
    rows: tuple[Model, ...]


# --- data -----------------------------------------------------------------------------------------


@cache
def fashion(pool: int) -> Dataset:
    """All of Fashion-MNIST."""
    return load_fashion_mnist(pool=pool)


def first_of_fashion(pool: int, samples: int) -> Dataset:
    """Its first training images, and all test images."""
    return fashion(pool).take(samples)


def digits(pool: int) -> Dataset:
    """The digits of scikit-learn, which nothing here pools."""
    assert pool == 1
    return load_digits()


def held_out(data: Dataset) -> Dataset:
    """The same with training images in place of the test images."""
    if data.name == "digits":
        split = data.with_validation(0.2)
        assert split.validation is not None
        x, y = split.validation
        return replace(split, test_x=x, test_y=y, validation=None)
    whole = fashion(28 // data.image_shape[0])
    x, y = whole.train_x[HELD_OUT], whole.train_y[HELD_OUT]
    kept = data.take(min(len(data.train_x), HELD_OUT.start))
    return replace(kept, test_x=x, test_y=y)


def moved_copies(data: Dataset, model: Model, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The training images as they are, then the model's copies of them."""
    rng = np.random.default_rng(seed)
    images = data.train_x.reshape(-1, *data.image_shape)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, data.image_shape, (1, 2))
    parts = [images]
    for _ in range(model.copies - 1):
        down, right = rng.integers(0, 3, (2, len(images)))
        moved = windows[np.arange(len(images)), down, right]
        turned = rng.random(len(images)) < 0.5 * model.mirrored
        parts.append(np.where(turned[:, None, None], moved[..., ::-1], moved))
    x = np.concatenate(parts).reshape(-1, data.num_features)
    return x, np.tile(data.train_y, model.copies)


# --- models ---------------------------------------------------------------------------------------


def without_entanglers(build: Build) -> Build:
    """The same model with every CX of its layered circuits left out."""

    def plain(num_features: int, rngs: nnx.Rngs) -> nnx.Module:
        model = build(num_features, rngs)
        for _, layer in nnx.iter_modules(model):
            if isinstance(layer, nn.QuantumFeatureExtractor):
                layer.entanglement = "none"
        return model

    return plain


def convolution(num_features: int, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
    """`quantum_conv` for ten classes."""
    return models.quantum_conv(num_features=num_features, num_classes=CLASSES, rngs=rngs, **options)


def named(num_features: int, rngs: nnx.Rngs, *, name: str) -> nnx.Module:
    """A model of `qjax.nn.models` for ten classes."""
    return models.create(name, num_features=num_features, num_classes=CLASSES, rngs=rngs)


def perceptron(num_features: int, rngs: nnx.Rngs, *, like: Build, activation: str) -> nnx.Module:
    """One hidden layer, as wide as gives as many parameters as another model has, or one unit."""
    wanted = sum(parameters(nnx.eval_shape(lambda: like(num_features, nnx.Rngs(0)))))
    width = max(1, round((wanted - CLASSES) / (num_features + 1 + CLASSES)))
    return nnx.Sequential(
        nnx.Linear(num_features, width, rngs=rngs),
        getattr(nnx, activation),
        nnx.Linear(width, CLASSES, rngs=rngs),
    )


def parameters(model: nnx.Module) -> tuple[int, int]:
    """How many are angles, and how many are not."""
    count = partial(sum_of_sizes, model)
    angles = count(nn.Angle)
    return angles, count(nnx.Param) - angles


def sum_of_sizes(model: nnx.Module, kind: Any) -> int:
    """Numbers in the variables of one kind."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, kind)))


def family(model: Model) -> list[Model]:
    """A model, the same with frozen angles, and the same without entanglers."""
    assert model.build is not None
    plain = without_entanglers(model.build)
    return [
        model,
        replace(model, name=f"{model.name}, frozen angles", frozen=True),
        replace(model, name=f"{model.name}, no entanglers", build=plain),
    ]


# --- runs -----------------------------------------------------------------------------------------


def run(model: Model, data: Dataset, seed: int) -> dict[str, Any]:
    """Trains and scores a model; what the JSON says of it."""
    x, y = moved_copies(data, model, seed)
    if model.build is None:
        return regression(x, y, data)
    assert model.recipe is not None
    start = time.perf_counter()
    built = model.build(data.num_features, nnx.Rngs(seed))
    learner = Learner(built, optimizer(model.recipe, built, len(x)))
    result = fit(
        learner,
        learner.start(),
        x,
        y,
        epochs=model.recipe.epochs,
        batch_size=model.recipe.batch_size,
        seed=seed,
        trainable=learner.trainable(nnx.Not(nn.Angle) if model.frozen else ...),
    )
    jax.block_until_ready(result.state)
    seconds = time.perf_counter() - start
    angles, classical = parameters(built)
    return {
        "train": result.epochs[-1].train_accuracy,
        "test": evaluate(learner, result.state, data.test_x, data.test_y).accuracy,
        "seconds": seconds,
        "angles": angles,
        "classical": classical,
        "quantum_flops_share": quantum_share(built, data.train_x[: model.recipe.batch_size]),
    }


def optimizer(recipe: Recipe, model: nnx.Module, num_samples: int) -> optax.GradientTransformation:
    """AdamW as the recipe says."""
    steps = recipe.epochs * count_batches(num_samples, recipe.batch_size)

    def adamw(rate: float, weight_decay: float) -> optax.GradientTransformation:
        return optax.adamw(optax.cosine_decay_schedule(rate, steps), weight_decay=weight_decay)

    kinds = nnx.map_state(
        lambda _, leaf: "angles" if isinstance(leaf, nn.Angle) else "others",
        nnx.state(model, nnx.Param),
    )
    return optax.partition(
        {
            "angles": adamw(recipe.learning_rate * recipe.angle_rate, 0.0),
            "others": adamw(recipe.learning_rate, recipe.weight_decay),
        },
        nnx.as_pure(kinds),
    )


def quantum_share(model: nnx.Module, x: np.ndarray) -> float:
    """Share of the floating-point operations of a step that circuits do."""
    if not sum_of_sizes(model, nn.Angle):
        return 0.0
    return nn.compute_split(model, x, timed=False).quantum_flops_share


def regression(x: np.ndarray, y: np.ndarray, data: Dataset) -> dict[str, Any]:
    """Logistic regression by scikit-learn."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        fitted = LogisticRegression(max_iter=300).fit(x, y)
    return {
        "train": float(fitted.score(x, y)),
        "test": float(fitted.score(data.test_x, data.test_y)),
        "seconds": time.perf_counter() - start,
        "angles": 0,
        "classical": int(fitted.coef_.size + fitted.intercept_.size),
        "quantum_flops_share": 0.0,
    }


# --- the tables -----------------------------------------------------------------------------------


def load_results() -> dict[str, Any]:
    """What was written before, or nothing."""
    return json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {"cases": {}}


def add(results: dict[str, Any], case: str, model: Model, seed: int, outcome: dict) -> None:
    """Puts a run among the others; those of the model with other settings are dropped."""
    rows = results["cases"].setdefault(case, {})
    row = rows.setdefault(model.name, {})
    if row.get("settings") != model.described():
        row = rows[model.name] = {"settings": model.described(), "runs": {}}
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    row["runs"][str(seed)] = {**outcome, "machine": machine(), "date": when}


def write(results: dict[str, Any]) -> None:
    """The JSON, the tables beside it, and those of the guide."""
    OUTPUT.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    tables = "\n\n".join(
        table(name, results["cases"][name]) for name in CASES if name in results["cases"]
    )
    rows = [row for rows in results["cases"].values() for row in rows.values()]
    runs = [run for row in rows for run in row["runs"].values()]
    machines = "\n\n".join(sorted({run["machine"] for run in runs}))
    dates = sorted(run["date"] for run in runs)
    command = f"`{COMMAND}`, from {dates[0]} to {dates[-1]}."
    text = "\n\n".join(["# Accuracy", command, machines, LEGEND, tables])
    OUTPUT.with_suffix(".md").write_text(text + "\n")
    before, rest = GUIDE.read_text().split(BEGIN)
    GUIDE.write_text("\n\n".join([before + BEGIN, machines, tables, END + rest.split(END)[1]]))


COMMAND = "QJAX_DATA_DIR=... python bench/bench_accuracy.py"

LEGEND = """\
- **test**: mean accuracy on the test images over seeds, and the standard deviation of one seed.
- **over frozen**: how far the model is above the same one with frozen angles, in accuracy and in
  standard errors of the difference of the two means.
- **seconds**: median of the seeds, from building the model to its last step, compilation included.
- **angles**, **classical**: parameters in circuits and elsewhere.
- **quantum**: share of the floating-point operations of a training step that circuits do."""

HEADER = ("model", "test", "seeds", "over frozen", "training images", "seconds", "angles",
          "classical", "quantum, %")  # fmt: skip


def table(case: str, rows: dict[str, Any]) -> str:
    """Markdown of one case, its rows in the order in which they are listed here."""
    names = [model.name for model in CASES[case].rows if model.name in rows]
    body = [fields(name, rows) for name in names]
    lines = [HEADER, ("---",) * len(HEADER), *body]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"## {CASES[case].title}\n\n{text}"


def fields(name: str, rows: dict[str, Any]) -> tuple[str, ...]:
    """One line of a table."""
    runs = list(rows[name]["runs"].values())
    frozen = rows.get(f"{name}, frozen angles")
    last = runs[-1]
    return (
        name,
        f"{statistics.mean(accuracies(rows[name])):.4f} ± {spread(accuracies(rows[name])):.4f}",
        str(len(runs)),
        advantage(accuracies(rows[name]), accuracies(frozen)) if frozen else "",
        f"{statistics.mean(run['train'] for run in runs):.4f}",
        f"{statistics.median(run['seconds'] for run in runs):.1f}",
        str(last["angles"]),
        str(last["classical"]),
        f"{100 * last['quantum_flops_share']:.1f}",
    )


def accuracies(row: dict[str, Any]) -> list[float]:
    """On the test images, one per seed."""
    return [run["test"] for run in row["runs"].values()]


def spread(values: list[float]) -> float:
    """Standard deviation of one, 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def advantage(values: list[float], others: list[float]) -> str:
    """Difference of two means, alone and in its standard errors."""
    difference = statistics.mean(values) - statistics.mean(others)
    error = sqrt(spread(values) ** 2 / len(values) + spread(others) ** 2 / len(others))
    return f"{difference:+.4f}" + (f" ({difference / error:+.1f} s.e.)" if error else "")


# --- what is run ----------------------------------------------------------------------------------

LINEAR = Model("logistic regression")
LINEAR_POOLED = Model("logistic regression, 14 x 14", pool=2)
SMALL = {"kernel_size": 7, "strides": 3, "num_filters": 2, "depth": 6}
MOVED = {"copies": 10, "mirrored": True}


def rival(model: Model, rate: float, activation: str) -> Model:
    """The perceptron with as many parameters as a model, on the same inputs."""
    assert model.build is not None
    assert model.recipe is not None
    return replace(
        model,
        name=f"perceptron, as large as {model.name}",
        build=partial(perceptron, like=model.build, activation=activation),
        recipe=replace(model.recipe, learning_rate=rate),
        settings={"activation": activation},
    )


def quantum(name: str, recipe: Recipe, pool: int = 1) -> list[Model]:
    """The rows of a model of `qjax.nn.models`, and of the perceptron as large as it.

    The perceptron has one or two hidden units; with relu most of them die.
    """
    model = Model(name, partial(named, name=name), recipe, pool)
    return [*family(model), rival(model, 0.01, "tanh")]


def convolutional(
    recipe: Recipe,
    options: dict[str, Any],
    *,
    against: tuple[float, str] = (0.01, "relu"),
    **more: Any,
) -> list[Model]:
    """The rows of `quantum-conv`, and of the perceptron as large as it: its rate and activation."""
    build = partial(convolution, **options)
    model = Model("quantum-conv", build, recipe, settings=options, **more)
    return [*family(model), rival(model, *against)]


CASES: dict[str, Case] = {
    "digits": Case(
        "Digits, 8 x 8, 1347 images",
        digits,
        (
            *convolutional(Recipe(20, 32, 0.02, 0.1), {"num_filters": 2}, copies=6),
            *quantum("quantum-features", Recipe(60, 32, 0.02)),
            *quantum("quantum-first", Recipe(60, 32, 0.02)),
            LINEAR,
        ),
    ),
    "fashion-500x3": Case(
        "Fashion-MNIST, first 500 images, 3 epochs",
        partial(first_of_fashion, samples=500),
        (
            *convolutional(
                Recipe(3, 2, 0.02, 0.1, angle_rate=2.0),
                {**SMALL, "num_filters": 1},
                against=(0.003, "tanh"),
            ),
            *quantum("quantum-features", Recipe(3, 8, 0.05), 2),
            *quantum("quantum-first", Recipe(3, 8, 0.05), 2),
            LINEAR_POOLED,
            LINEAR,
        ),
    ),
    "fashion-500": Case(
        "Fashion-MNIST, first 500 images, to convergence",
        partial(first_of_fashion, samples=500),
        (
            *convolutional(Recipe(15, 64, 0.02, 0.3), SMALL, **MOVED),
            *quantum("quantum-features", Recipe(60, 32, 0.02), 2),
            *quantum("quantum-first", Recipe(60, 32, 0.02), 2),
            LINEAR_POOLED,
            LINEAR,
            replace(LINEAR, name="logistic regression, moved copies", **MOVED),
        ),
    ),
    "fashion-60000": Case(
        "Fashion-MNIST, all 60,000 images",
        fashion,
        (
            *convolutional(Recipe(10, 128, 0.02, 0.1), {}),
            *quantum("quantum-features", Recipe(5, 128, 0.02), 2),
            *quantum("quantum-first", Recipe(5, 128, 0.02), 2),
            LINEAR_POOLED,
            LINEAR,
        ),
    ),
}


def toy() -> dict[str, Case]:
    """Every kind of row on a few digits, to see that all of it runs."""
    short = Recipe(2, 32, 0.02, 0.1)
    rows = (*convolutional(short, {"num_filters": 1, "depth": 1}, copies=2), LINEAR)
    return {"toy": Case("Toy", lambda pool: digits(pool).take(64), rows)}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toy", action="store_true", help="a few digits, to see that it runs")
    parser.add_argument("--only", help=f"cases, comma-separated: {', '.join(CASES)}")
    parser.add_argument("--models", help="rows whose names begin so, comma-separated")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    parser.add_argument("--missing", action="store_true", help="only runs that are not there yet")
    parser.add_argument("--validate", action="store_true", help="score training images, held out")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Runs what was asked for, and prints and writes every run at once."""
    options = parse(arguments)
    keep = not options.toy and not options.validate
    cases = toy() if options.toy else CASES
    chosen = options.only.split(",") if options.only else list(cases)
    print(machine())
    for case, model, seed in planned(cases, chosen, options):
        if options.missing and is_there(load_results(), case, model, seed):
            continue
        data = cases[case].load(model.pool)
        outcome = run(model, held_out(data) if options.validate else data, seed)
        score = f"{outcome['test']:.4f}, {outcome['seconds']:.1f} s"
        print(f"{case}, {model.name}, seed {seed}: {score}", flush=True)
        if keep:
            results = load_results()  # another run of this program may have added some
            add(results, case, model, seed, outcome)
            write(results)


def planned(
    cases: dict[str, Case], chosen: Iterable[str], options: argparse.Namespace
) -> Iterable[tuple[str, Model, int]]:
    """Case, model and seed of every run; regression has no seed."""
    wanted = tuple(options.models.split(",")) if options.models else ("",)
    for case in chosen:
        for model in cases[case].rows:
            if model.name.startswith(wanted):
                seeds = 1 if model.build is None or options.toy else options.seeds
                yield from ((case, model, seed) for seed in range(seeds))


def is_there(results: dict[str, Any], case: str, model: Model, seed: int) -> bool:
    """Whether the run was done with the same settings."""
    row = results["cases"].get(case, {}).get(model.name, {})
    return row.get("settings") == model.described() and str(seed) in row["runs"]


if __name__ == "__main__":
    main(sys.argv[1:])
