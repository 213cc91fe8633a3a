"""How much of a model's computation its quantum layers do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from qjax._typing import Array, ArrayLike, as_float_array
from qjax.errors import ModelError
from qjax.nn._layer import QuantumLayer

__all__ = ["quantum_share"]


def quantum_share(model: nnx.Module, x: ArrayLike) -> float:
    """Share of floating-point operations of a training step that quantum layers do.

    Counts the operations of loss and gradient, as XLA reports them for the program before
    optimisation: those of each quantum layer, from its inputs to the derivatives with respect to
    its parameters and inputs, over those of the whole model with its cross-entropy.

    Args:
        model: a quantum layer, or an `nnx.Sequential` of quantum and other layers.
        x: (batch, features) inputs.

    Returns:
        Number between 0 and 1.

    Raises:
        ModelError: if the model is neither, so that its layers cannot be told apart.

    Example:
        >>> from qjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(
        ...     nn.QuantumFeatureExtractor(4, rngs=rngs), nn.DecodingLayer(12, 3, rngs=rngs)
        ... )
        >>> 0.5 < nn.quantum_share(model, jnp.ones((8, 16))) < 1
        True
    """
    layers: list[Any]
    if isinstance(model, nnx.Sequential):
        layers = list(model.layers)
    elif isinstance(model, QuantumLayer):
        layers = [model]
    else:
        raise ModelError(
            f"Argument `model` must be an nnx.Sequential or a quantum layer, but is "
            f"{type(model).__name__}."
        )

    def loss(graph: Any, state: Any, inputs: Array) -> Array:
        labels = jnp.zeros(inputs.shape[0], int)
        scores = nnx.merge(graph, state)(inputs)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    inputs = as_float_array(x)
    total = _operations(loss, model, inputs)
    quantum, values = 0.0, jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
    for layer in layers:
        if isinstance(layer, QuantumLayer):
            quantum += _operations(_sum_of_outputs, layer, values)
        values = jax.eval_shape(layer, values)
    return min(quantum / total, 1.0)


def _sum_of_outputs(graph: Any, state: Any, inputs: Array) -> Array:
    return jnp.sum(nnx.merge(graph, state)(inputs))


def _operations(function: Callable[..., Array], model: nnx.Module, x: Any) -> float:
    """Floating-point operations of a value and its gradient in parameters and inputs."""
    graph, state = nnx.split(model)
    gradient = jax.value_and_grad(lambda s, inputs: function(graph, s, inputs), argnums=(0, 1))
    cost: Any = jax.jit(gradient).lower(state, x).cost_analysis()
    return float(cost["flops"])
