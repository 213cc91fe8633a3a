import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.errors import RunError
from qjax.train import FitResult, Learner, TrainState, _meter, evaluate, fit
from tests.train.models import Phase, Waves, clusters

X, Y = clusters(90)
SETTINGS: dict[str, Any] = {"batch_size": 16, "seed": 5}
STEPS = 6  # per epoch


class Recorder:
    """Every sink at once."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.shown: list[tuple[int, int]] = []
        self.means: list[tuple[float, float]] = []
        self.epochs: list[int] = []

    def write(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def on_steps(
        self, epoch: int, steps_done: int, loss: float, accuracy: float, samples_per_second: float
    ) -> None:
        self.shown.append((epoch, steps_done))
        self.means.append((loss, accuracy))

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        self.epochs.append(row["epoch"])


@pytest.fixture(scope="module")
def learner() -> Learner:
    return Learner(Waves(nnx.Rngs(0), stateful=True), optax.adam(0.02))


def run(learner: Learner, epochs: int, state: TrainState | None = None, **more: Any) -> FitResult:
    state = learner.start() if state is None else state
    return fit(learner, state, X, Y, epochs=epochs, **SETTINGS, **more)


def assert_same_bits(one: Any, other: Any) -> None:
    def check(a: Any, b: Any) -> None:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    jax.tree.map(check, one, other)


class TestTraining:
    def test_learns(self, learner: Learner) -> None:
        before = evaluate(learner, learner.start(), X, Y)
        result = run(learner, 20)
        after = evaluate(learner, result.state, X, Y)
        assert after.loss < 0.5 * before.loss
        assert after.accuracy > 0.9
        assert [epoch.epoch for epoch in result.epochs] == list(range(1, 21))
        assert result.epochs[-1].train_loss < result.epochs[0].train_loss

    def test_same_seed_same_bits(self, learner: Learner) -> None:
        assert_same_bits(run(learner, 3).state, run(learner, 3).state)

    def test_seed_changes_the_order(self, learner: Learner) -> None:
        other = fit(learner, learner.start(), X, Y, epochs=1, batch_size=16, seed=6)
        difference = run(learner, 1).state.params["phases"] - other.state.params["phases"]
        assert (difference != 0).any()

    @pytest.mark.parametrize("stop", [1, 3])
    def test_going_on_gives_the_same_bits(self, learner: Learner, stop: int) -> None:
        whole = run(learner, 4)
        first = run(learner, stop)
        host = jax.tree.map(lambda a: a if _is_key(a) else np.asarray(a), first.state)
        second = run(learner, 4, host)
        assert_same_bits(second.state, whole.state)
        assert [epoch.epoch for epoch in second.epochs] == list(range(stop + 1, 5))
        assert second.epochs[-1][:3] == whole.epochs[-1][:3]

    def test_nothing_left_to_do(self, learner: Learner) -> None:
        first = run(learner, 2)
        again = run(learner, 2, first.state)
        assert again == (first.state, [], None, 0.0, False)

    def test_state_of_another_batch_size(self, learner: Learner) -> None:
        state = run(learner, 1).state
        with pytest.raises(RunError, match="between two epochs of 9 steps, but has taken 6 steps"):
            fit(learner, state, X, Y, epochs=2, batch_size=10, seed=5)

    def test_frozen(self, learner: Learner) -> None:
        state = run(learner, 2, trainable=learner.trainable(nnx.Not(Phase))).state
        start = learner.start()
        np.testing.assert_array_equal(state.params["phases"], start.params["phases"])
        assert (state.params["head"]["kernel"] != start.params["head"]["kernel"]).any()

    def test_validation(self, learner: Learner) -> None:
        recorder = Recorder()
        held = clusters(30, seed=1)
        result = run(learner, 2, validation=held, metrics=recorder)
        assert result.epochs[-1].validation == evaluate(learner, result.state, *held)
        row = recorder.rows[-1]
        assert (row["val_loss"], row["val_accuracy"]) == result.epochs[-1].validation

    def test_compiles_one_step(self) -> None:
        fresh, before = Learner(Waves(nnx.Rngs(0)), optax.adam(0.02)), Waves.calls
        first = run(fresh, 2)
        run(fresh, 4, first.state)
        assert Waves.calls == before + 1


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class TestSinks:
    def test_rows(self, learner: Learner) -> None:
        recorder = Recorder()
        result = run(learner, 2, metrics=recorder)
        steps = [row for row in recorder.rows if row["step"] != -1]
        epochs = [row for row in recorder.rows if row["step"] == -1]
        assert [row["step"] for row in steps] == list(range(1, 2 * STEPS + 1))
        assert [row["epoch"] for row in steps] == [1] * STEPS + [2] * STEPS
        assert sum(row["circuits_executed"] for row in steps) == 2 * 90
        assert [row["circuits_executed"] for row in epochs] == [90, 90]
        mean = sum(row["train_loss"] * row["circuits_executed"] for row in steps[STEPS:]) / 90
        assert epochs[1]["train_loss"] == pytest.approx(mean)
        assert epochs[1]["train_loss"] == result.epochs[1].train_loss
        assert all(0 <= row["train_accuracy"] <= 1 for row in recorder.rows)

    def test_numbers_go_on_after_a_resumption(self, learner: Learner) -> None:
        recorder = Recorder()
        run(learner, 2, run(learner, 1).state, metrics=recorder)
        assert recorder.rows[0]["step"] == STEPS + 1
        assert recorder.rows[0]["epoch"] == 2

    def test_progress(self, learner: Learner) -> None:
        recorder = Recorder()
        last = run(learner, 2, progress=recorder).epochs[-1]
        assert recorder.epochs == [1, 2]
        assert recorder.shown[0] == (1, 1)
        assert recorder.shown[-1] == (2, STEPS)
        assert recorder.means[-1] == (last.train_loss, last.train_accuracy)

    def test_progress_stays_live(self, learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_meter, "REPORT_SECONDS", 0.0)
        recorder = Recorder()
        run(learner, 1, progress=recorder)
        assert recorder.shown == [(1, step) for step in range(1, STEPS + 1)]

    def test_times(self, learner: Learner) -> None:
        before = time.perf_counter()
        result = run(learner, 2)
        assert result.first_step_time is not None
        assert before < result.first_step_time < time.perf_counter()
        assert result.circuits_per_second > 0
        one_step = fit(learner, learner.start(), X[:16], Y[:16], epochs=1, **SETTINGS)
        assert one_step.circuits_per_second == 0


class TestGuard:
    @pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "nan|inf")])
    def test_names_epoch_and_step(self, value: float, shown: str) -> None:
        # The step after two whole epochs meets the bad value: the data change under the loop.
        learner = Learner(Waves(nnx.Rngs(0)), optax.adam(0.02))
        x = X.copy()

        class Spoiling(Recorder):
            def on_epoch(self, row: Mapping[str, Any]) -> None:
                if row["epoch"] == 2:
                    x[:] = value

        message = (
            rf"stopped: the loss is ({shown}) in epoch 3, step 13; the gradient of layer 'head' is "
            r"the first that is not finite \(then '\(model\)'\); the inputs of this batch hold NaN "
            r"or infinity\. Lower the learning rate"
        )
        more: Any = {"metrics": (recorder := Spoiling()), "progress": recorder, **SETTINGS}
        with pytest.raises(RunError, match=message):
            fit(learner, learner.start(), x, Y, epochs=5, **more)
        assert recorder.rows[-1]["step"] == 13

    def test_gradient(self) -> None:
        class Root(Waves):
            def __call__(self, x: jax.Array) -> jax.Array:
                return super().__call__(x) + jnp.sqrt(0.0 * self.scale[...])

        learner = Learner(Root(nnx.Rngs(0)), optax.adam(0.02))
        with pytest.raises(
            RunError,
            match=r"layer '\(model\)' is the first that is not finite in epoch 1, step 1\.",
        ):
            run(learner, 1)
