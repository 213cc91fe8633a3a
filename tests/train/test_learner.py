from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.train import Batch, Learner, TrainState, batches, evaluate
from tests.train.models import Phase, Waves, clusters

X, Y = clusters(10)
FULL = Batch(X, Y, np.ones(10, np.float32), 10)


def learner(optimizer: Any = None) -> Learner:
    return Learner(Waves(nnx.Rngs(0)), optimizer or optax.sgd(0.1))


@pytest.fixture(scope="module")
def plain() -> Learner:
    """Gradient descent without state, compiled once for the module."""
    return learner()


@pytest.fixture(scope="module")
def stateful() -> Learner:
    """Likewise, with batch norm and dropout, at rate zero."""
    return Learner(Waves(nnx.Rngs(0), stateful=True), optax.sgd(0.0))


def direct_loss(params: Any) -> jax.Array:
    """The mean cross-entropy written out, without the module."""
    features = jnp.sin(params["scale"] * (X @ params["phases"]))
    logits = features @ params["head"]["kernel"] + params["head"]["bias"]
    return -jax.nn.log_softmax(logits)[jnp.arange(10), Y].mean()


class TestStep:
    def test_is_gradient_descent(self, plain: Learner) -> None:
        start = plain.start()
        loss, gradient = jax.value_and_grad(direct_loss)(start.params)
        state, metrics = plain.step(start, plain.trainable(), FULL)
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, start.params, gradient)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, expected
        )
        leaves = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
        np.testing.assert_allclose(metrics.loss, loss, rtol=1e-5)
        np.testing.assert_allclose(metrics.grad_norm, np.linalg.norm(leaves), rtol=1e-5)
        np.testing.assert_allclose(metrics.grad_max, leaves.max(), rtol=1e-5)
        np.testing.assert_allclose(metrics.grad_min, leaves.min(), rtol=1e-5)
        assert int(state.step) == 1

    def test_padding_changes_nothing(self, plain: Learner) -> None:
        trainable = plain.trainable()
        (padded,) = batches(X, Y, 16)
        one, metrics = plain.step(plain.start(), trainable, FULL)
        other, others = plain.step(plain.start(), trainable, padded)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, other)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics, others)

    def test_logits_and_log_probabilities_are_alike(self, plain: Learner) -> None:
        class Logits(Waves):
            def __call__(self, x: jax.Array) -> jax.Array:
                return super().__call__(x) + 5.0

        model = Learner(Logits(nnx.Rngs(0)), optax.sgd(0.1))
        _, metrics = model.step(model.start(), model.trainable(), FULL)
        _, expected = plain.step(plain.start(), plain.trainable(), FULL)
        np.testing.assert_allclose(metrics.loss, expected.loss, rtol=1e-5)

    def test_compiles_once_for_every_choice_of_parameters(self) -> None:
        subject = learner(optax.adam(0.1))
        state, before = subject.start(), Waves.calls
        for filters in (..., Phase, nnx.Not(Phase)):
            for batch in batches(X, Y, 4):
                state, _ = subject.step(state, subject.trainable(filters), batch)
        assert Waves.calls == before + 1

    def test_compiles_ahead(self) -> None:
        abstract = nnx.eval_shape(lambda: Waves(nnx.Rngs(0), stateful=True))
        subject, before = Learner(abstract, optax.adam(0.1)), Waves.calls
        subject.compile_step(4, 4)
        subject.compile_score(10, 4)
        assert Waves.calls == before + 2
        state = subject.start(Waves(nnx.Rngs(0), stateful=True))
        for batch in batches(X, Y, 4):
            state, _ = subject.step(state, subject.trainable(), batch)
        subject.score(state, FULL)
        assert Waves.calls == before + 2

    def test_abstract_state_is_that_of_the_start(self, stateful: Learner) -> None:
        state = stateful.start()
        expected = jax.eval_shape(lambda: state)
        assert jax.tree.structure(stateful.abstract_state) == jax.tree.structure(expected)
        leaves = zip(
            jax.tree.leaves(stateful.abstract_state), jax.tree.leaves(expected), strict=True
        )
        assert all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in leaves)

    def test_state_from_host_arrays_gives_the_same_bits(self) -> None:
        subject = learner(optax.adam(0.1))
        host = jax.tree.map(np.asarray, subject.start())
        one, _ = subject.step(subject.start(), subject.trainable(), FULL)
        other, _ = subject.step(TrainState(*host), subject.trainable(), FULL)
        jax.tree.map(np.testing.assert_array_equal, one, other)


class TestTrainable:
    def test_frozen_parameters_keep_their_bits(self) -> None:
        subject = learner(optax.adamw(0.1, weight_decay=0.5))
        start = subject.start()
        state, _ = subject.step(start, subject.trainable(nnx.Not(Phase)), FULL)
        np.testing.assert_array_equal(state.params["phases"], start.params["phases"])
        assert (state.params["head"]["kernel"] != start.params["head"]["kernel"]).all()
        state, _ = subject.step(start, subject.trainable(Phase), FULL)
        assert (state.params["phases"] != start.params["phases"]).any()
        np.testing.assert_array_equal(state.params["scale"], start.params["scale"])

    def test_gradient_of_frozen_parameters_does_not_count(self, plain: Learner) -> None:
        _, everything = plain.step(plain.start(), plain.trainable(), FULL)
        _, some = plain.step(plain.start(), plain.trainable(Phase), FULL)
        assert some.grad_norm < everything.grad_norm
        assert some.loss == everything.loss

    @pytest.mark.parametrize(("filters", "count"), [(..., 4), (Phase, 1), (nnx.Not(Phase), 3)])
    def test_names_parameters(self, filters: Any, count: int) -> None:
        assert sum(map(bool, jax.tree.leaves(learner().trainable(filters)))) == count


class TestModelState:
    def test_moves_in_training_only(self, stateful: Learner) -> None:
        start = stateful.start()
        state, _ = stateful.step(start, stateful.trainable(), FULL)
        assert (state.model_state["norm"]["mean"] != start.model_state["norm"]["mean"]).any()
        assert stateful.score(state, FULL) == stateful.score(state, FULL)

    def test_dropout_draws_anew_at_each_step(self, stateful: Learner) -> None:
        state, first = stateful.step(stateful.start(), stateful.trainable(), FULL)
        _, second = stateful.step(state, stateful.trainable(), FULL)
        assert first.loss != second.loss


class TestEvaluate:
    @pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
    def test_does_not_depend_on_the_batches(self, plain: Learner, batch_size: int) -> None:
        state = plain.start()
        loss, accuracy = evaluate(plain, state, X, Y, batch_size=batch_size)
        np.testing.assert_allclose(loss, direct_loss(state.params), rtol=1e-5)
        model = Waves(nnx.Rngs(0))
        assert accuracy == pytest.approx((np.argmax(model(jnp.asarray(X)), axis=1) == Y).mean())

    def test_compiles_once_for_sets_of_every_size(self) -> None:
        subject, before = learner(), Waves.calls
        for size in (1, 5, 10):
            evaluate(subject, subject.start(), X[:size], Y[:size])
        assert Waves.calls == before + 1
