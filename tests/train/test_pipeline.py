"""Gradients in flight: that the staleness is what the documentation says, and is real."""

import asyncio
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.circuit import RY, Circuit
from qjax.errors import RunError
from qjax.observables import PauliSum
from qjax.sim import expectation
from qjax.train import AsyncQuantumTrainer, Learner, TrainState, batches, epoch_order
from tests.train.models import Waves, clusters
from tests.train.support import MemoryStore, Rows, assert_same_bits

X, Y = clusters(90)
STEPS = 6  # per epoch
EPOCHS = 3


def trainer(depth: int, **more: Any) -> AsyncQuantumTrainer:
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 16, "seed": 5} | more
    model = Waves(nnx.Rngs(0), stateful=True)
    return AsyncQuantumTrainer(model, optax.adam(0.02), pipeline_depth=depth, **settings)


def stale(learner: Learner, depth: int) -> TrainState:
    """The loop by hand: update k of an epoch takes the gradient at the state after k - depth."""
    trainable, state = learner.trainable(), learner.start()
    for epoch in range(1, EPOCHS + 1):
        states = [state]  # after 0, 1, ... updates of this epoch
        for k, batch in enumerate(batches(X, Y, 16, epoch_order(90, 5, epoch)), start=1):
            gradient = learner.gradient(states[max(k - depth, 0)], trainable, batch)
            states.append(learner.update(states[-1], trainable, gradient)[0])
        state = states[-1]
    return state


class TestStaleness:
    @pytest.mark.parametrize("depth", [2, 3, 10])
    def test_is_that_of_a_loop_by_hand(self, depth: int) -> None:
        subject = trainer(depth)
        assert_same_bits(subject.fit((X, Y)).state, stale(subject.learner, depth))

    def test_in_a_running_event_loop(self) -> None:
        subject = trainer(3)
        state = asyncio.run(subject.fit_async((X, Y))).state
        assert_same_bits(state, stale(subject.learner, 3))

    def test_gradient_and_update_are_a_step(self) -> None:
        subject = trainer(1)
        exact, by_hand = subject.fit((X, Y)).state, stale(subject.learner, 1)
        leaves = zip(jax.tree.leaves(exact.params), jax.tree.leaves(by_hand.params), strict=True)
        for one, other in leaves:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

    def test_interrupt_saves_the_last_finished_step(self) -> None:
        store = MemoryStore(every_epochs=100)
        with pytest.raises(TimeoutError):
            trainer(3, checkpoints=store, metrics=Rows(STEPS + 2, TimeoutError)).fit((X, Y))
        assert list(store.saved) == [STEPS + 2]

    def test_bad_gradient_is_never_applied(self) -> None:
        x = X.copy()
        x[epoch_order(90, 5, 1)[40]] = np.nan  # in the third batch
        store = MemoryStore()
        with pytest.raises(RunError, match="the loss is nan in epoch 1, step 3;"):
            trainer(3, checkpoints=store).fit((x, Y))
        (step,) = store.saved
        assert step == 2
        finite = [np.isfinite(leaf).all() for leaf in jax.tree.leaves(store.saved[2][0].params)]
        assert all(finite)


class Remote:
    """An executor that waits and needs concrete angles, like one behind a network.

    `most` is the largest number of circuits that waited at a time.
    """

    def __init__(self, seconds: float = 0.05) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self.waiting = self.most = 0

    def __call__(self, angles: np.ndarray) -> np.ndarray:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        time.sleep(self._seconds)
        with self._lock:
            self.waiting -= 1
        z = PauliSum((((0, "Z"),),), np.ones(1))
        return np.asarray([expectation(Circuit(1, [RY(float(a), 0)]), z) for a in angles])


class RemoteLayer(nnx.Module):
    """Expectations of Z after RY(theta + x), differentiated by the shift rule on the executor."""

    def __init__(self, remote: Remote) -> None:
        self.theta = nnx.Param(jnp.float32(0.4))
        self.run = remote

    def __call__(self, x: jax.Array) -> jax.Array:
        run = self.run

        @jax.custom_vjp
        def evaluate(angles: jax.Array) -> jax.Array:
            return jnp.asarray(run(np.asarray(angles)), jnp.float32)

        def forward(angles: jax.Array) -> tuple[jax.Array, jax.Array]:
            return evaluate(angles), angles

        def backward(angles: jax.Array, change: jax.Array) -> tuple[jax.Array]:
            both = np.concatenate([np.asarray(angles) + np.pi / 2, np.asarray(angles) - np.pi / 2])
            plus, minus = np.split(run(both), 2)
            return (change * jnp.asarray((plus - minus) / 2, jnp.float32),)

        evaluate.defvjp(forward, backward)
        return evaluate(self.theta[...] + x[:, 0])


class TestRemoteExecutor:
    x = np.linspace(-1.0, 1.0, 12, dtype=np.float32)[:, None]
    y = np.cos(x[:, 0] + 1.0)

    def subject(self, remote: Remote, depth: int, **more: Any) -> AsyncQuantumTrainer:
        return AsyncQuantumTrainer(
            RemoteLayer(remote),
            optax.sgd(0.3),
            loss=lambda outputs, targets: (outputs - targets) ** 2,
            batch_size=2,
            pipeline_depth=depth,
            jit=False,
            **more,
        )

    def test_learns_the_angle(self) -> None:
        result = self.subject(Remote(0.0), 2, epochs=8).fit((self.x, self.y))
        assert float(result.state.params["theta"]) == pytest.approx(1.0, abs=0.02)

    def test_depth_one_is_gradient_descent(self) -> None:
        result = self.subject(Remote(0.0), 1, epochs=1, seed=2).fit((self.x, self.y))
        theta = 0.4
        for batch in batches(self.x, self.y, 2, epoch_order(12, 2, 1)):
            angles = theta + batch.x[:, 0]
            slope = (2 * (np.cos(angles) - batch.y) * -np.sin(angles)).mean()
            theta -= 0.3 * slope
        assert float(result.state.params["theta"]) == pytest.approx(theta, abs=1e-5)

    @pytest.mark.parametrize("depth", [1, 3])
    def test_as_many_gradients_are_in_flight(self, depth: int) -> None:
        remote = Remote()
        self.subject(remote, depth, epochs=1).fit((self.x, self.y))
        assert remote.most == depth

    def test_event_loop_is_free_while_gradients_are_in_flight(self) -> None:
        async def beside() -> int:
            subject = self.subject(Remote(), 2, epochs=1)
            task = asyncio.create_task(subject.fit_async((self.x, self.y)))
            turns = 0
            while not task.done():
                await asyncio.sleep(0.005)
                turns += 1
            await task
            return turns

        assert asyncio.run(beside()) > 20

    def test_error_of_the_executor_leaves_and_the_state_is_saved(self) -> None:
        class Down(Remote):
            def __call__(self, angles: np.ndarray) -> np.ndarray:
                if len(angles) == 4:
                    self.calls = getattr(self, "calls", 0) + 1
                    if self.calls == 4:
                        raise ConnectionError("the backend is down")
                return super().__call__(angles)

        store = MemoryStore()
        with pytest.raises(ConnectionError, match="the backend is down"):
            self.subject(Down(0.0), 1, epochs=1, checkpoints=store).fit((self.x, self.y))
        assert list(store.saved) == [3]
