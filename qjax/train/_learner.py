"""A model and its optimiser as pure functions of one state, compiled once each."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from qjax.train._batches import Batch

__all__ = ["Learner", "StepMetrics", "Totals", "TrainState"]


class TrainState(NamedTuple):
    """All that a run needs to go on from here; a pytree of arrays.

    Attributes:
        step: number of steps taken, int32.
        params: the model's parameters.
        model_state: what else the model carries, such as running means and random keys.
        opt_state: the optimiser's state.
    """

    step: Any
    params: Any
    model_state: Any
    opt_state: Any


class StepMetrics(NamedTuple):
    """What one step measures, each a number.

    Attributes:
        loss: mean cross-entropy of the batch, in nats, before the update.
        correct: how many samples of the batch were classified rightly.
        grad_norm: Euclidean norm of the gradient of the trainable parameters.
        grad_max: its largest entry.
        grad_min: its smallest entry.
    """

    loss: Any
    correct: Any
    grad_norm: Any
    grad_max: Any
    grad_min: Any


class Totals(NamedTuple):
    """Sums over the samples of one batch.

    Attributes:
        loss: summed cross-entropy in nats.
        correct: how many were classified rightly.
    """

    loss: Any
    correct: Any


class Learner:
    """Trains a classifier: its pure `step` and `score`, and the state to start from.

    The model is split into its structure and its arrays once; afterwards only the arrays move.
    It maps inputs of shape (batch, features) to log-probabilities or logits of shape
    (batch, classes).

    Args:
        model: the classifier; it is left in evaluation mode. From an abstract one, as
            `nnx.eval_shape` makes it, programs can be compiled while its arrays are still drawn.
        optimizer: an Optax transformation.

    Attributes:
        abstract_state: shapes and dtypes of the state.

    Example:
        >>> import jax, optax
        >>> from flax import nnx
        >>> from qjax.train import Batch, Learner
        >>> learner = Learner(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), optax.adam(0.1))
        >>> batch = Batch(jax.numpy.ones((2, 4)), jax.numpy.array([0, 1]), jax.numpy.ones(2), 2)
        >>> state, metrics = learner.step(learner.start(), learner.trainable(), batch)
        >>> int(state.step)
        1
    """

    def __init__(self, model: nnx.Module, optimizer: optax.GradientTransformation) -> None:
        self._optimizer = optimizer
        model.train()
        self._train_graph, self._variables, rest = nnx.split(model, nnx.Param, ...)
        model.eval()
        self._eval_graph = nnx.split(model, nnx.Param, ...)[0]
        self._arrays = nnx.as_pure(self._variables), nnx.as_pure(rest)
        self._start = jax.jit(self._pure_start)
        self.abstract_state: TrainState = jax.eval_shape(self._pure_start, *self._arrays)
        self._step = jax.jit(self._pure_step)
        self._score = jax.jit(self._pure_score)

    def start(self, model: nnx.Module | None = None) -> TrainState:
        """Returns the state before the first step.

        Args:
            model: one of the same structure, whose arrays to start from; by default, the model
                that the learner was made from.
        """
        if model is None:
            return self._start(*self._arrays)
        _, variables, rest = nnx.split(model, nnx.Param, ...)
        return self._start(nnx.as_pure(variables), nnx.as_pure(rest))

    def trainable(self, variables: Any = ...) -> Any:
        """Returns the pytree of booleans that tells `step` which parameters to train.

        Args:
            variables: an NNX filter, such as a subclass of `nnx.Param` or ``nnx.Not(...)``;
                by default, all parameters.
        """
        matches = nnx.filterlib.to_predicate(variables)
        chosen = nnx.map_state(lambda path, leaf: np.bool_(matches(path, leaf)), self._variables)
        return nnx.as_pure(chosen)

    def step(
        self, state: TrainState, trainable: Any, batch: Batch
    ) -> tuple[TrainState, StepMetrics]:
        """Takes one step down the gradient of the mean cross-entropy.

        Args:
            state: where to start.
            trainable: from `trainable`; the other parameters stay as they are. It is an argument
                of the compiled program, so that every choice shares one.
            batch: the samples.
        """
        return self._step(state, trainable, batch[:3])

    def score(self, state: TrainState, batch: Batch) -> Totals:
        """Sums loss and right answers over a batch, with the model in evaluation mode."""
        return self._score(state.params, state.model_state, batch[:3])

    def compile_step(self, batch_size: int, num_features: int) -> None:
        """Compiles `step` for batches of one shape, by taking one from zeros in vain."""
        zeros, batch = _zeros(self.abstract_state), _blank(batch_size, num_features)
        jax.block_until_ready(self.step(zeros, self.trainable(), batch))

    def compile_score(self, batch_size: int, num_features: int) -> None:
        """Compiles `score` for batches of one shape, likewise."""
        zeros, batch = _zeros(self.abstract_state), _blank(batch_size, num_features)
        jax.block_until_ready(self.score(zeros, batch))

    def _pure_start(self, params: Any, model_state: Any) -> TrainState:
        state = TrainState(jnp.int32(0), params, model_state, self._optimizer.init(params))
        return jax.tree.map(_strongly_typed, state)

    def _pure_step(
        self, state: TrainState, trainable: Any, arrays: tuple[Any, Any, Any]
    ) -> tuple[TrainState, StepMetrics]:
        (loss, (correct, model_state)), gradient = jax.value_and_grad(self._loss, has_aux=True)(
            state.params, state.model_state, arrays
        )
        gradient = _masked(gradient, trainable)
        updates, opt_state = self._optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, _masked(updates, trainable))
        next_state = TrainState(state.step + 1, params, model_state, opt_state)
        return next_state, StepMetrics(loss, correct, *_summary(gradient))

    def _loss(
        self, params: Any, model_state: Any, arrays: tuple[Any, Any, Any]
    ) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        x, y, weight = arrays
        model = nnx.merge(self._train_graph, params, model_state)
        totals = _totals(model(x), y, weight)
        rest = nnx.as_pure(nnx.split(model, nnx.Param, ...)[2])
        return totals.loss / weight.sum(), (totals.correct, rest)

    def _pure_score(self, params: Any, model_state: Any, arrays: tuple[Any, Any, Any]) -> Totals:
        x, y, weight = arrays
        return _totals(nnx.merge(self._eval_graph, params, model_state)(x), y, weight)


def _totals(outputs: jax.Array, y: jax.Array, weight: jax.Array) -> Totals:
    # The softmax leaves log-probabilities as they are, and makes logits comparable.
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, y)  # (batch,)
    right = outputs.argmax(axis=-1) == y  # (batch,)
    return Totals((losses * weight).sum(), (right * weight).sum())


def _summary(gradient: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    leaves = jax.tree.leaves(gradient)
    largest = jnp.stack([leaf.max() for leaf in leaves if leaf.size]).max()
    smallest = jnp.stack([leaf.min() for leaf in leaves if leaf.size]).min()
    return optax.tree.norm(gradient), largest, smallest


def _masked(tree: Any, trainable: Any) -> Any:
    return jax.tree.map(lambda leaf, keep: jnp.where(keep, leaf, 0), tree, trainable)


def _zeros(abstract: Any) -> Any:
    def zeros(leaf: Any) -> Any:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (jnp if is_key else np).zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(zeros, abstract)


def _blank(batch_size: int, num_features: int) -> Batch:
    x = np.zeros((batch_size, num_features), np.float32)
    return Batch(x, np.zeros(batch_size, np.int32), np.ones(batch_size, np.float32), batch_size)


def _strongly_typed(leaf: jax.Array) -> jax.Array:
    # A weakly typed leaf becomes strong in the first step, and the second would compile again.
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, leaf.dtype)
