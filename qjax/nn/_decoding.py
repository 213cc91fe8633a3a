"""Minimal classical reading of expectation values."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from qjax._checks import check_positive_int, check_real
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.errors import ModelError
from qjax.nn._layer import as_input

__all__ = ["DecodingLayer"]


class DecodingLayer(nnx.Module):
    """Scales expectation values from [-1, 1] to a range, and projects them if asked to.

    Args:
        num_features: length of the inputs; needed for a projection, checked wherever given.
        output_dim: length of the outputs; without it the values are scaled and handed on.
        value_range: what -1 and 1 are mapped to. A range around zero that is wider than [-1, 1]
            acts as an inverse temperature of a softmax: class scores from values of size one
            alone could not get far apart.
        rngs: random streams; the projection takes "params". Needed for a projection only.

    Attributes:
        kernel: `nnx.Param` of shape (num_features, output_dim); no bias.

    Raises:
        ModelError: if the range is empty, a projection lacks `num_features` or `rngs`, or the
            inputs do not fit it.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import DecodingLayer
        >>> DecodingLayer()(jnp.array([-1.0, 0.0, 1.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    def __init__(
        self,
        num_features: int | None = None,
        output_dim: int | None = None,
        *,
        value_range: tuple[float, float] = (0.0, 1.0),
        rngs: nnx.Rngs | None = None,
    ):
        self.num_features = _check_size(num_features, "num_features")
        self.output_dim = _check_size(output_dim, "output_dim")
        self.value_range = _check_range(value_range)
        if output_dim is None:
            return
        if num_features is None or rngs is None:
            raise ModelError(
                "Arguments `num_features` and `rngs` must be given for a projection to "
                f"output_dim={output_dim}."
            )
        init = jax.nn.initializers.lecun_normal()
        self.kernel = nnx.Param(init(rngs.params(), (num_features, output_dim), float_dtype()))

    def __call__(self, x: ArrayLike) -> Array:
        """Maps (..., num_features) to (..., output_dim), or to (..., num_features)."""
        values = as_input(x)
        low, high = self.value_range
        scaled = values * ((high - low) / 2) + (high + low) / 2
        if self.num_features is not None and values.shape[-1:] != (self.num_features,):
            raise ModelError(
                f"Argument `x` must have {self.num_features} features, but has shape "
                f"{values.shape}."
            )
        return scaled if self.output_dim is None else scaled @ self.kernel[...]


def _check_size(size: int | None, name: str) -> int | None:
    return None if size is None else check_positive_int(size, name=name, error=ModelError)


def _check_range(value_range: Any) -> tuple[float, float]:
    ends = tuple(value_range) if isinstance(value_range, Sequence) else ()
    if len(ends) != 2 or isinstance(value_range, str):
        raise ModelError(f"Argument `value_range` must be (low, high), but is {value_range!r}.")
    low, high = (check_real(end, name="value_range", error=ModelError) for end in ends)
    if not low < high:
        raise ModelError(
            f"Argument `value_range` must be (low, high) with low < high, but is {value_range!r}."
        )
    return low, high
