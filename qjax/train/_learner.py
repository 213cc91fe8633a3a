"""A model and its optimiser as pure functions of one state, compiled once each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from qjax._checks import check_choice
from qjax.errors import RunError
from qjax.train._batches import Batch

__all__ = ["Gradient", "GradientNorms", "Learner", "Loss", "StepMetrics", "Totals", "TrainState"]

Loss: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""Losses of shape (batch,) of outputs (batch, ...) and targets (batch, ...)."""

GradientNorms: TypeAlias = Literal["group", "parameter"]


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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StepMetrics:
    """What one step measures, in one array, since each array costs the host some microseconds.

    Attributes:
        numbers: all of it, shape (5 + 2 groups,).
    """

    numbers: Any

    @property
    def loss(self) -> Any:
        """Mean loss of the batch before the update; cross-entropy in nats by default."""
        return self.numbers[0]

    @property
    def correct(self) -> Any:
        """How many samples were classified rightly; NaN with a loss of your own."""
        return self.numbers[1]

    @property
    def grad_norm(self) -> Any:
        """Euclidean norm of the gradient of the trainable parameters, before clipping."""
        return self.numbers[2]

    @property
    def grad_max(self) -> Any:
        """Largest entry of the gradient."""
        return self.numbers[3]

    @property
    def grad_min(self) -> Any:
        """Smallest entry of the gradient."""
        return self.numbers[4]

    @property
    def group_norms(self) -> Any:
        """Norm of the gradient in each of `Learner.groups`, shape (groups,)."""
        return self.numbers[5 : (5 + len(self.numbers)) // 2]

    @property
    def group_is_finite(self) -> Any:
        """1 where the parameters of a group are finite after the update, shape (groups,)."""
        return self.numbers[(5 + len(self.numbers)) // 2 :]


class Gradient(NamedTuple):
    """What one batch says at one state; a pytree of arrays.

    Attributes:
        loss: mean loss of the batch.
        correct: how many samples were classified rightly; NaN with a loss of your own.
        params: the gradient of the mean loss, in the structure of the parameters.
        model_state: the model's other arrays after the batch.
    """

    loss: Any
    correct: Any
    params: Any
    model_state: Any


class Totals(NamedTuple):
    """Sums over the samples of one batch.

    Attributes:
        loss: summed loss.
        correct: how many were classified rightly; NaN with a loss of your own.
    """

    loss: Any
    correct: Any


class Learner:
    """Trains a model: its pure `step` and `score`, and the state to start from.

    The model is split into its structure and its arrays once; afterwards only the arrays move.
    A classifier maps inputs of shape (batch, features) to log-probabilities or logits of shape
    (batch, classes); with a loss of your own, outputs are what that loss takes.

    Args:
        model: the model; it is left in evaluation mode. From an abstract one, as
            `nnx.eval_shape` makes it, programs can be compiled while its arrays are still drawn.
        optimizer: an Optax transformation.
        loss: function (outputs, targets) -> losses of shape (batch,); by default, the
            cross-entropy of classes.
        gradient_clip: largest norm of the gradient that reaches the optimiser; by default, any.
        grad_norms: whether a group is what one module holds (``"group"``) or each parameter is
            one (``"parameter"``), and rows of metrics show the norm of each; None for groups
            that are not shown.
        jit: False for a model that cannot be traced, such as one whose executor waits on a
            network: its outputs and gradients are then computed operation by operation.

    Attributes:
        abstract_state: shapes and dtypes of the state.
        groups: names of the groups of parameters, such as ``"layers.0"``.
        grad_norms: as given.
        is_classifier: whether right answers are counted.
        jit: as given.

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

    def __init__(
        self,
        model: nnx.Module,
        optimizer: optax.GradientTransformation,
        *,
        loss: Loss | None = None,
        gradient_clip: float | None = None,
        grad_norms: GradientNorms | None = None,
        jit: bool = True,
    ) -> None:
        _check_learner(model, optimizer, loss, gradient_clip, grad_norms)
        if gradient_clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(gradient_clip), optimizer)
        self._optimizer = optimizer
        self._losses = loss or optax.softmax_cross_entropy_with_integer_labels
        self.is_classifier = loss is None
        self.grad_norms: GradientNorms | None = grad_norms
        self.jit = jit
        model.train()
        self._train_graph, self._variables, rest = nnx.split(model, nnx.Param, ...)
        model.eval()
        self._eval_graph = nnx.split(model, nnx.Param, ...)[0]
        self._arrays = nnx.as_pure(self._variables), nnx.as_pure(rest)
        self._group_of_leaf = _group_names(self._arrays[0], grad_norms)
        self.groups: tuple[str, ...] = tuple(dict.fromkeys(self._group_of_leaf))
        self._start = jax.jit(self._pure_start)
        self.abstract_state: TrainState = jax.eval_shape(self._pure_start, *self._arrays)
        self._gradient = jax.jit(self._pure_gradient) if jit else self._pure_gradient
        self._update = jax.jit(self._pure_update)
        self._step = jax.jit(self._pure_step) if jit else self._two_part_step
        self._score = jax.jit(self._pure_score) if jit else self._pure_score

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

    def model(self, state: TrainState) -> nnx.Module:
        """Returns the model with the arrays of a state, in evaluation mode."""
        return nnx.merge(self._eval_graph, state.params, state.model_state)

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
        """Takes one step down the gradient of the mean loss.

        Args:
            state: where to start.
            trainable: from `trainable`; the other parameters stay as they are. It is an argument
                of the compiled program, so that every choice shares one.
            batch: the samples.
        """
        return self._step(state, trainable, batch[:3])

    def gradient(self, state: TrainState, trainable: Any, batch: Batch) -> Gradient:
        """Computes what `update` takes; the two together are a `step`."""
        return self._gradient(state, trainable, batch[:3])

    def update(
        self, state: TrainState, trainable: Any, gradient: Gradient
    ) -> tuple[TrainState, StepMetrics]:
        """Takes one step down a gradient, which may be that of an earlier state."""
        return self._update(state, trainable, gradient)

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
        return self._pure_update(state, trainable, self._pure_gradient(state, trainable, arrays))

    def _two_part_step(
        self, state: TrainState, trainable: Any, arrays: tuple[Any, Any, Any]
    ) -> tuple[TrainState, StepMetrics]:
        return self._update(state, trainable, self._gradient(state, trainable, arrays))

    def _pure_gradient(
        self, state: TrainState, trainable: Any, arrays: tuple[Any, Any, Any]
    ) -> Gradient:
        (loss, (correct, model_state)), gradient = jax.value_and_grad(self._loss, has_aux=True)(
            state.params, state.model_state, arrays
        )
        return Gradient(loss, correct, _masked(gradient, trainable), model_state)

    def _pure_update(
        self, state: TrainState, trainable: Any, gradient: Gradient
    ) -> tuple[TrainState, StepMetrics]:
        updates, opt_state = self._optimizer.update(gradient.params, state.opt_state, state.params)
        params = optax.apply_updates(state.params, _masked(updates, trainable))
        next_state = TrainState(state.step + 1, params, gradient.model_state, opt_state)
        head = jnp.stack([gradient.loss, gradient.correct])
        numbers = jnp.concatenate([head, self._summary(gradient.params, params)])
        return next_state, StepMetrics(numbers)

    def _loss(
        self, params: Any, model_state: Any, arrays: tuple[Any, Any, Any]
    ) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        x, y, weight = arrays
        model = nnx.merge(self._train_graph, params, model_state)
        totals = self._totals(model(x), y, weight)
        rest = nnx.as_pure(nnx.split(model, nnx.Param, ...)[2])
        return totals.loss / weight.sum(), (totals.correct, rest)

    def _pure_score(self, params: Any, model_state: Any, arrays: tuple[Any, Any, Any]) -> Totals:
        x, y, weight = arrays
        return self._totals(nnx.merge(self._eval_graph, params, model_state)(x), y, weight)

    def _totals(self, outputs: jax.Array, y: jax.Array, weight: jax.Array) -> Totals:
        # The softmax leaves log-probabilities as they are, and makes logits comparable.
        losses = self._losses(outputs, y)
        if jnp.shape(losses) != jnp.shape(weight):
            raise RunError(
                f"Argument `loss` must give one number per sample, of shape {jnp.shape(weight)}, "
                f"but gives shape {jnp.shape(losses)}. Average over the other axes."
            )
        if not self.is_classifier:
            return Totals((losses * weight).sum(), jnp.float32(jnp.nan))
        right = outputs.argmax(axis=-1) == y  # (batch,)
        return Totals((losses * weight).sum(), (right * weight).sum())

    def _summary(self, gradient: Any, params: Any) -> jax.Array:
        leaves = jax.tree.leaves(gradient)
        largest = jnp.stack([leaf.max() for leaf in leaves if leaf.size]).max()
        smallest = jnp.stack([leaf.min() for leaf in leaves if leaf.size]).min()
        squares = self._by_group([optax.tree.norm(leaf, squared=True) for leaf in leaves])
        finite = self._by_group([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)])
        norms = jnp.sqrt(jnp.stack([sum(group) for group in squares]))  # (groups,)
        are_finite = jnp.stack([jnp.stack(group).all() for group in finite])  # (groups,)
        whole = jnp.stack([jnp.sqrt(sum(map(sum, squares))), largest, smallest])
        return jnp.concatenate([whole, norms, are_finite])

    def _by_group(self, values: list[jax.Array]) -> list[list[Any]]:
        pairs = list(zip(self._group_of_leaf, values, strict=True))
        return [[value for name, value in pairs if name == group] for group in self.groups]


def _check_learner(
    model: Any, optimizer: Any, loss: Any, gradient_clip: Any, grad_norms: Any
) -> None:
    if not isinstance(model, nnx.Module):
        raise RunError(f"Argument `model` must be a Flax NNX module, but is {model!r}.")
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise RunError(
            f"Argument `optimizer` must be an Optax transformation, but is {optimizer!r}. "
            "Call the one that you want: optax.adam(0.01)."
        )
    if loss is not None and not callable(loss):
        raise RunError(
            "Argument `loss` must be a function (outputs, targets) -> losses of shape (batch,), "
            f"but is {loss!r}."
        )
    if gradient_clip is not None and not _is_positive(gradient_clip):
        raise RunError(f"Argument `gradient_clip` must be positive, but is {gradient_clip!r}.")
    if grad_norms is not None:
        check_choice(grad_norms, ("group", "parameter"), name="grad_norms", error=RunError)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _group_names(params: Any, grad_norms: GradientNorms | None) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    if not paths:
        raise RunError("Argument `model` must have parameters, but has none.")
    names = [[jax.tree_util.keystr((key,), simple=True) for key in path] for path in paths]
    if grad_norms == "parameter":
        return [".".join(name) for name in names]
    return [".".join(name[:-1]) or "(model)" for name in names]


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
