import asyncio
import json
import signal
import sys
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.errors import RunError
from qjax.train import (
    AsyncQuantumTrainer,
    Batch,
    EarlyStopping,
    EpochResult,
    FitResult,
    Learner,
    TrainState,
    _meter,
    batches,
    epoch_order,
    evaluate,
    fit,
)
from tests.train.models import Waves, clusters
from tests.train.support import (
    AsyncPasses,
    MemoryStore,
    Passes,
    Positioned,
    PositionedBytes,
    Rows,
    assert_same_bits,
    on_host,
)

X, Y = clusters(90)
STEPS = 6  # per epoch
EPOCHS = 3


def trainer(model: nnx.Module | None = None, **more: Any) -> AsyncQuantumTrainer:
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 16, "seed": 5} | more
    if model is not None:
        return AsyncQuantumTrainer(model, optax.adam(0.02), **settings)
    subject = AsyncQuantumTrainer(Waves(nnx.Rngs(0), stateful=True), optax.adam(0.02), **settings)
    if not more.keys() & {"loss", "gradient_clip", "grad_norms", "jit"}:
        subject.learner = shared_learner()  # compiled once for the module
    return subject


@cache
def shared_learner() -> Learner:
    return Learner(Waves(nnx.Rngs(0), stateful=True), optax.adam(0.02), grad_norms="group")


@pytest.fixture(scope="module")
def whole() -> tuple[FitResult, list[Any]]:
    """A run with dropout and batch norm that nothing interrupts, and its rows."""
    rows = Rows()
    return trainer(metrics=rows).fit((X, Y), validation=(X, Y)), rows.rows


class TestFit:
    def test_is_the_loop_of_fit(self, whole: tuple[FitResult, list[Any]]) -> None:
        learner = Learner(Waves(nnx.Rngs(0), stateful=True), optax.adam(0.02))
        result = fit(learner, learner.start(), X, Y, epochs=EPOCHS, batch_size=16, seed=5)
        assert_same_bits(result.state, whole[0].state)

    def test_model_of_a_state(self, whole: tuple[FitResult, list[Any]]) -> None:
        subject = trainer()
        model: Any = subject.learner.model(whole[0].state)
        right = (np.asarray(model(jnp.asarray(X))).argmax(axis=1) == Y).mean()
        assert evaluate(subject.learner, whole[0].state, X, Y).accuracy == pytest.approx(right)

    def test_in_a_running_event_loop_beside_others(
        self, whole: tuple[FitResult, list[Any]]
    ) -> None:
        async def beside() -> tuple[FitResult, int]:
            task = asyncio.create_task(trainer().fit_async((X, Y), validation=(X, Y)))
            turns = 0
            while not task.done():
                turns += 1
                await asyncio.sleep(0)
            return await task, turns

        result, turns = asyncio.run(beside())
        assert_same_bits(result.state, whole[0].state)
        assert result.epochs[-1].validation == whole[0].epochs[-1].validation
        assert turns >= EPOCHS * STEPS

    def test_fit_of_arrays_in_a_running_event_loop(
        self, whole: tuple[FitResult, list[Any]]
    ) -> None:
        async def inside() -> FitResult:
            return trainer().fit((X, Y))

        assert_same_bits(asyncio.run(inside()).state, whole[0].state)

    def test_waits_for_the_device_now_and_then_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_meter, "REPORT_SECONDS", 1000.0)
        calls = []
        blocked = jax.device_get
        monkeypatch.setattr(_meter.jax, "device_get", lambda v: calls.append(len(v)) or blocked(v))
        trainer(epochs=2).fit((X, Y))
        assert calls == [1, STEPS - 1, STEPS]

    def test_compiles_one_step(self) -> None:
        subject = trainer(grad_norms="parameter")
        before = Waves.calls
        subject.fit((X, Y))
        subject.fit((X, Y))
        assert Waves.calls == before + 1


class Cut(KeyboardInterrupt):
    """An interrupt at a chosen place."""


class TestResume:
    @pytest.mark.parametrize("cut", [1, 4, STEPS, STEPS + 1, 2 * STEPS - 1, 3 * STEPS])
    def test_after_an_interrupt_at_any_step_the_same_bits(
        self, whole: tuple[FitResult, list[Any]], cut: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_meter, "REPORT_SECONDS", 0.0)  # rows come as soon as they are done
        store, rows = MemoryStore(every_epochs=100), Rows(cut, Cut)
        with pytest.raises(Cut) as caught:
            trainer(checkpoints=store, metrics=rows).fit((X, Y), validation=(X, Y))
        assert list(store.saved) == [cut] and store.waits == 1
        assert f"after step {cut} " in caught.value.__notes__[0]
        assert "resume='latest'" in caught.value.__notes__[0]
        again = trainer(checkpoints=store, metrics=rows).fit((X, Y), (X, Y), resume="latest")
        assert_same_bits(again.state, whole[0].state)
        assert again.epochs[-1][:4] == whole[0].epochs[-1][:4]
        assert [row["step"] for row in rows.steps] == [
            step for step in range(1, 3 * STEPS + 1) if step != cut
        ]

    def test_interrupt_with_steps_under_way_loses_none(
        self, whole: tuple[FitResult, list[Any]]
    ) -> None:
        def interrupted(data: Any) -> Any:
            yield from data
            raise Cut

        batches = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 90, 10)]
        store = MemoryStore()
        with pytest.raises(Cut):
            trainer(checkpoints=store).fit(interrupted(batches[:5]))
        assert list(store.saved) == [5]
        again = trainer(checkpoints=store).fit(batches, resume="latest")
        assert_same_bits(again.state, trainer().fit(batches).state)

    @pytest.mark.parametrize("at", range(2, 28, 5))
    def test_interrupt_at_any_line_of_the_loop(
        self, whole: tuple[FitResult, list[Any]], at: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_meter, "REPORT_SECONDS", 0.0)
        subject = trainer(checkpoints=(store := MemoryStore(every_epochs=100)))
        subject.fit((X[:16], Y[:16]))  # compiled
        store.saved.clear()
        lines = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal lines
            if frame.f_code.co_filename != _meter.__file__:
                return None
            lines += event == "line"
            if lines > 40 * at:
                sys.settrace(None)
                raise Cut
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises(Cut):
                subject.fit((X, Y))
        finally:
            sys.settrace(before)
        (step,) = store.saved
        metadata = json.loads(store.saved[step][1])
        assert metadata["epoch"] * STEPS + metadata["sums"]["steps"] == step
        again = trainer(checkpoints=store).fit((X, Y), resume="latest")
        assert_same_bits(again.state, whole[0].state)
        assert again.epochs[-1].train_loss == whole[0].epochs[-1].train_loss

    def test_from_a_snapshot_after_any_exception(self, whole: tuple[FitResult, list[Any]]) -> None:
        subject = trainer(metrics=Rows(STEPS + 2, TimeoutError))
        assert subject.snapshot is None
        with pytest.raises(TimeoutError):
            subject.fit((X, Y))
        assert subject.snapshot is not None
        again = subject.fit((X, Y), resume=subject.snapshot)
        assert_same_bits(again.state, whole[0].state)

    def test_from_a_state_between_epochs(self, whole: tuple[FitResult, list[Any]]) -> None:
        state = on_host(trainer(epochs=1).fit((X, Y)).state)
        assert_same_bits(trainer().fit((X, Y), resume=state).state, whole[0].state)

    def test_cancelled_task_saves(self, whole: tuple[FitResult, list[Any]]) -> None:
        store = MemoryStore(every_epochs=100)

        async def cancelled() -> None:
            class Cancel(Told):
                def on_step(self, row: Any) -> None:
                    if row["step"] == STEPS + 2:
                        task.cancel()

            subject = trainer(checkpoints=store, callbacks=[Cancel()])
            task = asyncio.create_task(subject.fit_async((X, Y)))
            await task

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancelled())
        assert min(store.saved) >= STEPS + 2
        again = trainer(checkpoints=store).fit((X, Y), resume="latest")
        assert_same_bits(again.state, whole[0].state)

    @pytest.mark.parametrize("inside_event_loop", [False, True])
    def test_signal_of_control_c(
        self, whole: tuple[FitResult, list[Any]], inside_event_loop: bool
    ) -> None:
        class Press(Told):
            def on_step(self, row: Any) -> None:
                if row["step"] == STEPS + 2:
                    signal.raise_signal(signal.SIGINT)

        store = MemoryStore(every_epochs=100)
        subject = trainer(checkpoints=store, callbacks=[Press()])

        def run() -> None:
            if inside_event_loop:
                asyncio.run(subject.fit_async((X, Y)))
            else:
                subject.fit((X, Y))

        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
        try:
            with pytest.raises(KeyboardInterrupt):
                run()
        finally:
            signal.signal(signal.SIGINT, before)
        assert min(store.saved) >= STEPS + 2
        again = trainer(checkpoints=store).fit((X, Y), resume="latest")
        assert_same_bits(again.state, whole[0].state)

    def test_control_c_in_a_sink_leaves_no_doubt_about_its_row(self) -> None:
        class Pressed(Rows):
            def write(self, row: Any) -> None:
                if row["step"] == STEPS + 2:
                    signal.raise_signal(signal.SIGINT)
                super().write(row)

        rows = Pressed()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                trainer(checkpoints=(store := MemoryStore()), metrics=rows).fit((X, Y))
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        finally:
            signal.signal(signal.SIGINT, before)
        assert [row["step"] for row in rows.steps] == list(range(1, max(store.saved) + 1))

    def test_control_c_pressed_twice_ends_a_sink_that_hangs(self) -> None:
        class Hanging(Rows):
            def write(self, row: Any) -> None:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                raise AssertionError("it goes on")

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                trainer(metrics=Hanging()).fit((X, Y))
        finally:
            signal.signal(signal.SIGINT, before)

    def test_nothing_is_saved_twice(self) -> None:
        store = MemoryStore()
        trainer(checkpoints=store).fit((X, Y))
        again = trainer(checkpoints=store).fit((X, Y), resume="latest")
        assert again.epochs == [] and list(store.saved) == [6, 12, 18]

    def test_from_an_earlier_step_takes_the_place_of_what_came_after(
        self, whole: tuple[FitResult, list[Any]]
    ) -> None:
        store, rows = MemoryStore(), Rows()
        trainer(checkpoints=store, metrics=rows).fit((X, Y), (X, Y))
        seen = []

        class Look(Told):
            def on_step(self, row: Any) -> None:
                seen.append((list(store.saved), rows.rows[-2]["step"]))

        again = trainer(checkpoints=store, metrics=rows, callbacks=[Look()])
        again.fit((X, Y), (X, Y), resume=STEPS)
        assert seen[0] == ([STEPS], -1)  # the row of the first epoch is the last that is left
        assert list(store.saved) == [6, 12, 18]
        assert_same_bits(store.saved[18][0], whole[0].state)
        measured = {"batch_time_ms", "throughput_samples_per_sec"}
        ours, theirs = (
            [{k: v for k, v in row.items() if k not in measured} for row in each]
            for each in (rows.rows, whole[1])
        )
        assert ours == theirs

    def test_new_run_where_there_is_one(self) -> None:
        store = MemoryStore()
        trainer(checkpoints=store, epochs=1).fit((X, Y))
        message = "must be given where `checkpoints` hold a run, here up to step 6, but is None"
        with pytest.raises(RunError, match=message):
            trainer(checkpoints=store).fit((X, Y))
        assert list(store.saved) == [6]

    def test_failing_store_is_told_with_the_error(self) -> None:
        class Full(MemoryStore):
            def save(self, *arguments: Any, **more: Any) -> None:
                raise RunError("the disk is full")

        with pytest.raises(Cut) as caught:
            trainer(checkpoints=Full(), metrics=Rows(3, Cut)).fit((X, Y))
        assert caught.value.__notes__ == ["the disk is full"]

    def test_checkpoints_are_saved_when_due_and_at_the_end(self) -> None:
        store = MemoryStore(every_epochs=2)
        result = trainer(checkpoints=store).fit((X, Y), validation=(X, Y))
        assert {step: saved[2] for step, saved in store.saved.items()} == {12: 2, 18: 3}
        validation = result.epochs[-1].validation
        assert validation is not None
        assert store.saved[18][3]["val_loss"] == validation.loss

    def test_other_settings(self) -> None:
        store = MemoryStore()
        trainer(checkpoints=store).fit((X, Y))
        with pytest.raises(RunError, match="`batch_size` must stay 16 as in the checkpoint, but"):
            trainer(checkpoints=store, batch_size=10).fit((X, Y), resume="latest")
        with pytest.raises(
            RunError, match="`samples` must stay 90 as in the checkpoint, but is 80"
        ):
            trainer(checkpoints=store).fit((X[:80], Y[:80]), resume="latest")
        with pytest.raises(RunError, match="`seed` must stay 5 as in the checkpoint, but is 6"):
            trainer(checkpoints=store, seed=6).fit((X, Y), resume=6)


def streams() -> dict[str, Callable[[], Any]]:
    return {
        "passes": lambda: Passes(X, Y, 16, STEPS),
        "list": lambda: list(Positioned(X, Y, 16, STEPS)),
        "asynchronous": lambda: AsyncPasses(X, Y, 16, STEPS),
        "endless": lambda: Positioned(X, Y, 16),
        "endless, state of bytes": lambda: PositionedBytes(X, Y, 16),
    }


class TestStreams:
    @pytest.mark.parametrize("name", streams())
    @pytest.mark.parametrize("cut", [3, STEPS, STEPS + 2])
    def test_resume_gives_the_same_bits(self, name: str, cut: int) -> None:
        make = streams()[name]
        more: Any = {"steps_per_epoch": STEPS} if "endless" in name else {}
        expected = trainer().fit(make(), **more)
        store = MemoryStore()
        with pytest.raises(Cut):
            trainer(checkpoints=store, metrics=Rows(cut, Cut)).fit(make(), **more)
        done = max(store.saved)
        again = trainer(checkpoints=store).fit(data := make(), resume="latest", **more)
        assert_same_bits(again.state, expected.state)
        assert again.epochs[-1].train_loss == expected.epochs[-1].train_loss
        if "endless" in name:  # by its state, without drawing again what was done
            assert data.drawn == EPOCHS * STEPS - done

    @pytest.mark.parametrize("name", streams())
    def test_in_a_running_event_loop(self, name: str) -> None:
        make = streams()[name]
        more: Any = {"steps_per_epoch": STEPS} if "endless" in name else {}
        result = asyncio.run(trainer().fit_async(make(), **more))
        assert_same_bits(result.state, trainer().fit(make(), **more).state)

    def test_weights_and_validation_batches(self) -> None:
        weight = np.array([1, 1, 0, 0], np.float32)
        rows = Rows()
        data = [(X[:4], Y[:4], weight)]
        result = trainer(metrics=rows).fit(data, validation=[(X[:50], Y[:50]), (X[50:], Y[50:])])
        assert rows.rows[0]["circuits_executed"] == 2
        expected = evaluate(trainer().learner, result.state, X, Y)
        validation = result.epochs[-1].validation
        assert validation is not None
        np.testing.assert_allclose(validation, expected, rtol=1e-5)

    def test_grain_resumes_exactly(self) -> None:
        grain = pytest.importorskip("grain")

        def data() -> Any:
            order = grain.MapDataset.range(90).seed(3).shuffle().batch(16, drop_remainder=True)
            options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
            return iter(order.map(lambda i: (X[i], Y[i])).repeat().to_iter_dataset(options))

        expected = trainer().fit(data(), steps_per_epoch=5)
        store = MemoryStore()
        with pytest.raises(Cut):
            trainer(checkpoints=store, metrics=Rows(8, Cut)).fit(data(), steps_per_epoch=5)
        again = trainer(checkpoints=store).fit(data(), resume="latest", steps_per_epoch=5)
        assert_same_bits(again.state, expected.state)

    def test_errors(self) -> None:
        with pytest.raises(RunError, match=r"gave none in epoch 2\. Pass an iterable that starts"):
            trainer().fit(Positioned(X, Y, 16, STEPS))
        with pytest.raises(RunError, match="but gave 4 of 6 in epoch 1"):
            trainer().fit(Positioned(X, Y, 16, 4), steps_per_epoch=6)
        with pytest.raises(RunError, match="must give batches .* but gives one of type dict"):
            trainer().fit([{"x": X}])
        with pytest.raises(RunError, match="gives 90 inputs, 3 targets, 90 of them with weight"):
            trainer().fit([(X, Y[:3])])
        with pytest.raises(RunError, match="`data` must be a tuple .* but is of type int"):
            trainer().fit(3)
        with pytest.raises(RunError, match="holds 90 inputs and 3 targets"):
            trainer().fit((X, Y[:3]))
        with pytest.raises(RunError, match="`steps_per_epoch` must be left out for arrays"):
            trainer().fit((X, Y), steps_per_epoch=3)
        with pytest.raises(RunError, match="`steps_per_epoch` must be at least 1, but is 0"):
            trainer().fit([(X, Y)], steps_per_epoch=0)

    def test_iterator_that_cannot_go_on(self) -> None:
        store = MemoryStore()
        with pytest.raises(Cut):
            trainer(checkpoints=store, metrics=Rows(2, Cut)).fit([(X, Y), (X, Y)])
        message = "must be able to go on after [12] batches, but is an iterator without `set_state`"
        with pytest.raises(RunError, match=message):
            trainer(checkpoints=store).fit(iter([(X, Y)]), resume="latest")

    def test_asynchronous_data_in_a_running_event_loop(self) -> None:
        async def inside() -> FitResult:
            return trainer().fit(AsyncPasses(X, Y, 16, STEPS))

        with pytest.raises(RunError, match=r"Use: await trainer.fit_async\(\.\.\.\)"):
            asyncio.run(inside())


class Chain(nnx.Module):
    """Two layers in a list, the second of which divides by a parameter."""

    def __init__(self) -> None:
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=nnx.Rngs(0)) for _ in range(2)])
        self.head = nnx.Linear(4, 3, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.head(x)


class TestGradientNorms:
    def test_one_per_group(self) -> None:
        rows = Rows()
        trainer(Chain(), metrics=rows, epochs=1).fit((X, Y))
        row = rows.rows[0]
        names = [name for name in row if name.startswith("grad_norm/")]
        assert names == ["grad_norm/head", "grad_norm/layers.0", "grad_norm/layers.1"]
        assert sum(row[name] ** 2 for name in names) == pytest.approx(row["grad_norm"] ** 2)

    def test_one_per_parameter_is_that_of_the_gradient(self) -> None:
        rows = Rows()
        subject = trainer(Chain(), metrics=rows, epochs=1, batch_size=90, grad_norms="parameter")
        subject.fit((X, Y))
        graph, params = nnx.split(Chain())

        def loss(params: Any) -> jax.Array:
            logits = nnx.merge(graph, params)(jnp.asarray(X))
            return -jax.nn.log_softmax(logits)[jnp.arange(90), Y].mean()

        gradient = nnx.as_pure(jax.grad(loss)(params))["layers"][1]["kernel"]
        expected = np.linalg.norm(gradient)
        assert rows.rows[0]["grad_norm/layers.1.kernel"] == pytest.approx(expected, rel=1e-4)

    def test_none(self) -> None:
        rows = Rows()
        trainer(Chain(), metrics=rows, epochs=1, grad_norms=None).fit((X, Y))
        assert not [name for name in rows.rows[0] if "/" in name]

    def test_clipping_bounds_the_step_but_not_the_report(self) -> None:
        rows = Rows()
        subject = AsyncQuantumTrainer(
            Chain(), optax.sgd(1.0), epochs=1, batch_size=90, gradient_clip=0.01, metrics=rows
        )
        start = subject.learner.start()
        state = subject.fit((X, Y)).state
        moved = optax.tree.norm(jax.tree.map(jnp.subtract, state.params, start.params))
        assert moved == pytest.approx(0.01, rel=1e-4)
        assert rows.rows[0]["grad_norm"] > 0.05


class Brittle(Chain):
    """One whose layer 1 has no finite slope once one of its biases is negative."""

    def __init__(self) -> None:
        super().__init__()
        assert self.layers[1].bias is not None
        self.layers[1].bias[...] = jnp.full(4, 0.07)

    def __call__(self, x: jax.Array) -> jax.Array:
        bias = self.layers[1].bias
        assert bias is not None
        roots = jnp.sqrt(jnp.maximum(bias[...], 0.0))
        return super().__call__(x) + 1e-6 * roots.sum()


def first_batches(count: int) -> list[Batch]:
    found = (b for epoch in range(1, 21) for b in batches(X, Y, 16, epoch_order(90, 5, epoch)))
    return list(islice(found, count))


class TestGuard:
    def test_names_the_layer_of_the_gradient_and_saves_the_step_before(self) -> None:
        store = MemoryStore()
        message = r"the gradient of layer 'layers\.1' is the first that is not finite in epoch"
        with pytest.raises(RunError, match=message) as caught:
            trainer(Brittle(), checkpoints=store, epochs=20).fit((X, Y))
        step = max(store.saved)
        assert step > 2 and f"step {step + 1}. " in str(caught.value)
        learner = trainer(Brittle()).learner
        expected = learner.start()
        for batch in first_batches(step):
            expected, _ = learner.step(expected, learner.trainable(), batch)
        assert_same_bits(expected, store.saved[step][0])

    def test_names_the_layer_of_an_update(self) -> None:
        def explode(updates: Any, state: Any, params: Any = None) -> Any:
            del params
            scale = jnp.where(state == 4, jnp.inf, -0.01)

            def move(path: Any, leaf: jax.Array) -> jax.Array:
                return (scale if path[0].key == "head" else -0.01) * jnp.sign(leaf)

            return jax.tree.map_with_path(move, updates), state + 1

        optimizer = optax.GradientTransformation(lambda params: jnp.int32(0), explode)
        store = MemoryStore()
        subject = AsyncQuantumTrainer(Chain(), optimizer, epochs=2, checkpoints=store)
        message = r"the update of layer 'head' is the first that is not finite in epoch 2, step 5\."
        with pytest.raises(RunError, match=message):
            subject.fit((X, Y))
        assert list(store.saved)[-1] == 4

    def test_names_bad_inputs(self) -> None:
        x = X.copy()
        x[7] = np.nan
        with pytest.raises(RunError, match="the inputs of this batch hold NaN or infinity"):
            trainer().fit((x, Y))


class TestRegression:
    def test_learns_with_a_loss_of_its_own(self) -> None:
        class Line(nnx.Module):
            def __init__(self) -> None:
                self.linear = nnx.Linear(4, 1, rngs=nnx.Rngs(0))

            def __call__(self, x: jax.Array) -> jax.Array:
                return self.linear(x)[..., 0]

        slopes = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
        y = X @ slopes + 0.25
        rows = Rows()
        subject = AsyncQuantumTrainer(
            Line(),
            optax.adam(0.1),
            epochs=60,
            loss=lambda outputs, targets: (outputs - targets) ** 2,
            metrics=rows,
        )
        result = subject.fit((X, y), validation=(X, y))
        model: Any = subject.learner.model(result.state)
        np.testing.assert_allclose(model.linear.kernel[...][:, 0], slopes, atol=0.01)
        validation = result.epochs[-1].validation
        assert validation is not None and validation.loss < 1e-4
        assert np.isnan(validation.accuracy)
        assert {row["train_accuracy"] for row in rows.rows} == {None}

    def test_loss_of_the_wrong_shape(self) -> None:
        subject = trainer(loss=lambda outputs, targets: outputs)
        message = (
            r"`loss` must give one number per sample, of shape \(16,\), but gives shape \(16, 3\)"
        )
        with pytest.raises(RunError, match=message):
            subject.fit((X, Y))


class Told:
    """A callback that keeps what it is told, and ends the run at an epoch."""

    def __init__(self, stop_at: int = 0) -> None:
        self.epochs: list[EpochResult] = []
        self.states: list[TrainState] = []
        self.steps: list[int] = []
        self.stop_at = stop_at

    def on_epoch_end(self, result: EpochResult, state: TrainState) -> bool:
        self.epochs.append(result)
        self.states.append(state)
        return result.epoch == self.stop_at

    def on_step(self, row: Any) -> None:
        self.steps.append(row["step"])


class TestStopping:
    def test_callbacks(self) -> None:
        told = Told()
        result = trainer(callbacks=[told]).fit((X, Y))
        assert told.epochs == result.epochs and not result.stopped
        assert told.steps == list(range(1, 19))
        assert_same_bits(told.states[-1], result.state)

    def test_callback_ends_the_run_and_its_state_is_saved(self) -> None:
        store = MemoryStore(every_epochs=100)
        result = trainer(callbacks=[Told(2)], checkpoints=store).fit((X, Y))
        assert result.stopped and len(result.epochs) == 2
        assert list(store.saved) == [12]

    def test_early_stopping_is_exact_over_a_resumption(self) -> None:
        stopping = EarlyStopping(monitor="train_loss", min_delta=10.0, patience=4)
        expected = trainer(epochs=9, early_stopping=stopping).fit((X, Y))
        assert expected.stopped and len(expected.epochs) == 5
        store = MemoryStore(every_epochs=100)
        with pytest.raises(Cut):
            trainer(
                epochs=9, early_stopping=stopping, checkpoints=store, metrics=Rows(20, Cut)
            ).fit((X, Y))
        again = trainer(epochs=9, early_stopping=stopping, checkpoints=store)
        result = again.fit((X, Y), resume="latest")
        assert result.stopped and result.epochs[-1].epoch == 5
        assert again.fit((X, Y), resume="latest").epochs == []

    @pytest.mark.parametrize(
        ("settings", "values", "waited"),
        [
            ({}, [0.9, 0.5, 0.6, 0.7], 2),
            ({}, [0.9, 0.5, 0.6, 0.4], 0),
            ({"min_delta": 0.2}, [0.9, 0.8, 0.75, 0.71], 3),
            ({"min_delta": 0.2}, [0.9, 0.8, 0.65, 0.6], 1),
            ({"mode": "max"}, [0.1, 0.5, 0.5, 0.4], 2),
            ({"monitor": "train_accuracy"}, [0.1, 0.5, 0.5, 0.4], 2),
            ({"monitor": "train_accuracy", "mode": "min"}, [0.1, 0.5, 0.5, 0.4], 3),
            ({}, [np.nan, np.nan, 0.5, np.nan], 1),
        ],
    )
    def test_patience(self, settings: Any, values: list[float], waited: int) -> None:
        stopping = EarlyStopping(**({"monitor": "train_loss", "patience": 3} | settings))
        patience = stopping.start()
        for epoch, value in enumerate(values, start=1):
            patience = stopping.after(patience, EpochResult(epoch, value, value, None, 1.0))
        assert patience.waited == waited
        assert stopping.is_over(patience) == (waited == 3)

    def test_early_stopping_follows_the_validation(self) -> None:
        stopping = EarlyStopping(monitor="val_accuracy", patience=1)
        result = trainer(epochs=50, early_stopping=stopping).fit((X, Y), validation=(X, Y))
        scores = [e.validation.accuracy for e in result.epochs if e.validation is not None]
        assert result.stopped and scores[-1] <= max(scores[:-1])
        assert scores[:-1] == sorted(set(scores[:-1]))


class TestArguments:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
            ({"epochs": "2"}, "`epochs` must be an integer, but is '2'"),
            ({"batch_size": -1}, "`batch_size` must be at least 1, but is -1"),
            ({"pipeline_depth": 0}, "`pipeline_depth` must be at least 1, but is 0"),
            ({"seed": -3}, "`seed` must be an integer of at least 0, but is -3"),
            ({"gradient_clip": 0.0}, "`gradient_clip` must be positive, but is 0.0"),
            (
                {"grad_norms": "all"},
                "`grad_norms` must be one of 'group', 'parameter', but is 'all'",
            ),
            ({"loss": 3}, r"`loss` must be a function \(outputs, targets\) -> .* but is 3"),
            (
                {"metrics": [3]},
                r"`metrics` must hold sinks with a method `write\(row\)`, but holds 3",
            ),
            ({"callbacks": Told()}, "`callbacks` must be a list or tuple, but is <"),
            ({"callbacks": [3]}, r"a method `on_epoch_end\(result, state\)`, but holds 3"),
            ({"early_stopping": 3}, "`early_stopping` must be an EarlyStopping, but is 3"),
            (
                {"early_stopping": EarlyStopping(monitor="val_accuracy"), "loss": optax.l2_loss},
                "must monitor a loss where `loss` is given, but monitors 'val_accuracy'",
            ),
        ],
    )
    def test_refused(self, settings: Any, message: str) -> None:
        with pytest.raises(RunError, match=message):
            trainer(**settings)

    def test_model_and_optimizer(self) -> None:
        with pytest.raises(RunError, match="`model` must be a Flax NNX module, but is 3"):
            AsyncQuantumTrainer(3, optax.adam(0.1), epochs=1)  # type: ignore[arg-type]
        with pytest.raises(RunError, match=r"Call the one that you want: optax\.adam\(0\.01\)"):
            AsyncQuantumTrainer(Chain(), optax.adam, epochs=1)  # type: ignore[arg-type]
        with pytest.raises(RunError, match="`model` must have parameters, but has none"):
            AsyncQuantumTrainer(nnx.Dropout(0.1), optax.adam(0.1), epochs=1)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"monitor": "loss"}, "`monitor` must be one of 'val_loss', .* but is 'loss'"),
            ({"patience": 0}, "`patience` must be at least 1, but is 0"),
            ({"min_delta": -1.0}, "`min_delta` must be a number of at least 0, but is -1.0"),
            ({"mode": "best"}, "`mode` must be one of 'min', 'max', but is 'best'"),
        ],
    )
    def test_early_stopping(self, settings: Any, message: str) -> None:
        with pytest.raises(RunError, match=message):
            EarlyStopping(**settings)

    def test_validation(self) -> None:
        with pytest.raises(RunError, match="since `early_stopping` monitors 'val_loss'"):
            trainer(early_stopping=EarlyStopping()).fit((X, Y))
        with pytest.raises(RunError, match="starts anew .* but is of type list_iterator"):
            trainer().fit((X, Y), validation=iter([(X, Y)]))

    def test_resume(self) -> None:
        with pytest.raises(
            RunError, match="be a snapshot where there are no `checkpoints`, but is"
        ):
            trainer().fit((X, Y), resume="latest")
        with pytest.raises(RunError, match="`resume` must be a step, .* but is of type dict"):
            trainer().fit((X, Y), resume={})  # type: ignore[arg-type]
        with pytest.raises(RunError, match="with arrays, a TrainState, but is of type TrainState"):
            trainer().fit([(X, Y)], resume=trainer().learner.start())
        subject = trainer(epochs=1)
        subject.fit((X, Y))
        assert subject.snapshot is not None
        other = subject.snapshot._replace(metadata={"epoch": 1})
        with pytest.raises(RunError, match=r"saved, but has the metadata \['epoch'\]"):
            trainer().fit((X, Y), resume=other)
