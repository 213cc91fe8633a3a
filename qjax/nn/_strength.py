"""Trainable strengths of channels: probabilities, kept inside (0, 1) by a logistic function."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from qjax._checks import check_real
from qjax._typing import Array, float_dtype
from qjax.errors import ModelError
from qjax.nn._angle import QuantumParam

__all__ = ["Strength", "check_strength", "strength_parameter", "strengths_of"]


class Strength(QuantumParam):
    """A `QuantumParam` that holds logits of channel strengths: strength = 1 / (1 + exp(-logit)).

    Being a type of its own, it can be named in filters, as `Angle` can.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import QuantumNonlinearity, Strength
        >>> layer = QuantumNonlinearity(2, strength=0.5, learnable=True)
        >>> jax.tree.leaves(nnx.state(layer, Strength))[0].tolist()
        [0.0, 0.0]
    """


def check_strength(value: Any, *, learnable: bool) -> float:
    """Returns a strength as a float; raises ModelError unless it is a probability.

    Zero and one have no finite logit, so a learnable strength must lie between them.
    """
    number = check_real(value, name="strength", error=ModelError)
    if not (0 < number < 1 if learnable else 0 <= number <= 1):
        where = "strictly between 0 and 1 to be learnable" if learnable else "between 0 and 1"
        raise ModelError(f"Argument `strength` must be {where}, but is {value!r}.")
    return number


def strength_parameter(value: float, shape: tuple[int, ...]) -> Strength:
    """A parameter whose strengths all begin at `value`."""
    return Strength(jnp.full(shape, math.log(value / (1 - value)), float_dtype()))


def strengths_of(parameter: Strength) -> Array:
    """The strengths that a parameter stands for, in (0, 1)."""
    return jax.nn.sigmoid(parameter[...])
