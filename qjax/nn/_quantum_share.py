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
        model: a quantum layer, or an `nnx.Sequential` of quantum and other layers; Sequentials may
            be nested.
        x: (batch, features) inputs.

    Returns:
        Number between 0 and 1.

    Raises:
        ModelError: if quantum layers are hidden in another module, or the inputs have another
            shape.

    Example:
        >>> from qjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(
        ...     nn.QuantumFeatureExtractor(4, rngs=rngs), nn.DecodingLayer(12, 3, rngs=rngs)
        ... )
        >>> 0.5 < nn.quantum_share(model, jnp.ones((8, 16))) < 1
        True
    """
    inputs = as_float_array(x)
    if inputs.ndim != 2:
        raise ModelError(
            f"Argument `x` must have shape (batch, features), but has shape {inputs.shape}."
        )
    if not isinstance(model, nnx.Sequential | QuantumLayer):
        raise ModelError(
            "Argument `model` must be an nnx.Sequential or a quantum layer, but is "
            f"{type(model).__name__}."
        )
    layers = _layers(model)

    def loss(module: Any, values: Array) -> Array:
        labels = jnp.zeros(values.shape[0], int)
        return optax.softmax_cross_entropy_with_integer_labels(module(values), labels).mean()

    total = _operations(loss, model, inputs)
    quantum, values = 0.0, jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
    for layer in layers:
        if isinstance(layer, QuantumLayer):
            quantum += _operations(lambda module, v: jnp.sum(module(v)), layer, values)
        values = _output_shape(layer, values)
    return min(quantum / total, 1.0)


def _output_shape(layer: Any, values: Any) -> Any:
    if not isinstance(layer, nnx.Module):  # a plain function, such as an activation
        return jax.eval_shape(layer, values)
    graph, state = nnx.split(layer)
    return jax.eval_shape(lambda s, v: nnx.merge(graph, s, copy=True)(v), state, values)


def _layers(model: Any) -> list[Any]:
    """The layers of a model in order, nested sequences unrolled."""
    if isinstance(model, nnx.Sequential):
        return [inner for layer in model.layers for inner in _layers(layer)]
    apart = isinstance(model, QuantumLayer) or not isinstance(model, nnx.Module)
    if not apart and any(isinstance(m, QuantumLayer) for _, m in nnx.iter_modules(model)):
        raise ModelError(
            "Argument `model` must hold its quantum layers in nnx.Sequentials, where they can be "
            f"told apart, but {type(model).__name__} hides some."
        )
    return [model]


def _operations(function: Callable[..., Array], model: Any, x: Any) -> float:
    """Floating-point operations of a value and its gradient in parameters and inputs."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    gradient = jax.value_and_grad(
        lambda p, values, r: function(nnx.merge(graph, p, r, copy=True), values), argnums=(0, 1)
    )
    cost: Any = jax.jit(gradient).lower(params, x, rest).cost_analysis()
    return float(cost["flops"])
