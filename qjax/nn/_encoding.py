"""Minimal classical preparation of inputs for amplitude encoding."""

from collections.abc import Sequence
from math import prod

import jax.numpy as jnp
from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax._typing import Array, ArrayLike
from qjax.errors import ModelError
from qjax.library import normalise
from qjax.nn._layer import as_input

__all__ = ["EncodingLayer"]

_REDUCTIONS = ("error", "mean_pool")


class EncodingLayer(nnx.Module):
    """Brings inputs to unit vectors of a fixed length, and never loses features silently.

    Inputs that are too short are filled up with zeros. Inputs that are too long are an error
    unless a reduction is chosen.

    Args:
        target_dim: length of the output, usually 2**n.
        reduction: "error", or "mean_pool": images of `image_shape` are averaged over the smallest
            square tiles that make them fit.
        image_shape: (height, width) of the inputs, for "mean_pool".
        keep_norm: append a feature of value one before normalising, so that the norm and the sign
            of the input, which unit vectors up to a phase would lose, survive in the ratio to it.

    Raises:
        ModelError: if the inputs do not fit and no reduction is chosen, or cannot be pooled.

    Example:
        >>> from qjax.nn import EncodingLayer
        >>> EncodingLayer(4)(jnp.array([3.0, 4.0])).tolist()
        [0.6..., 0.8..., 0.0, 0.0]
    """

    def __init__(
        self,
        target_dim: int,
        *,
        reduction: str = "error",
        image_shape: tuple[int, int] | None = None,
        keep_norm: bool = False,
    ):
        check_choice(reduction, _REDUCTIONS, name="reduction", error=ModelError)
        self.target_dim = check_positive_int(target_dim, name="target_dim", error=ModelError)
        self.reduction = reduction
        self.image_shape = image_shape
        self.keep_norm = keep_norm
        if self.target_dim <= keep_norm:
            raise ModelError(
                "Argument `target_dim` must be at least 2 with keep_norm=True, "
                f"but is {target_dim}."
            )
        is_shape = isinstance(image_shape, Sequence) and len(image_shape) == 2
        if reduction == "mean_pool" and not (
            is_shape and all(isinstance(n, int) and n > 0 for n in image_shape or ())
        ):
            raise ModelError(
                "Argument `image_shape` must be (height, width) for reduction='mean_pool', "
                f"but is {image_shape!r}."
            )

    def __call__(self, x: ArrayLike) -> Array:
        """Maps (..., features) to unit vectors (..., target_dim), zeros to (1, 0, ..., 0)."""
        values = as_input(x)
        room = self.target_dim - self.keep_norm
        if self.reduction == "mean_pool":
            values = self._pool(values, room)
        features = values.shape[-1] if values.ndim else 0
        if not 0 < features <= room:
            raise ModelError(
                f"Argument `x` must have between 1 and {room} features for "
                f"target_dim={self.target_dim}, but has shape {values.shape}. "
                "Choose a reduction, or a larger target_dim."
            )
        batch = values.shape[:-1]
        if self.keep_norm:
            values = jnp.concatenate([values, jnp.ones((*batch, 1), values.dtype)], axis=-1)
        padding = jnp.zeros((*batch, self.target_dim - values.shape[-1]), values.dtype)
        return normalise(jnp.concatenate([values, padding], axis=-1))

    def _pool(self, values: Array, room: int) -> Array:
        assert self.image_shape is not None
        height, width = self.image_shape
        if values.ndim == 0 or values.shape[-1] != prod(self.image_shape):
            raise ModelError(
                f"Argument `x` must have {prod(self.image_shape)} features for "
                f"image_shape={self.image_shape}, but has shape {values.shape}."
            )
        tile = 1
        while (height // tile) * (width // tile) > room or height % tile or width % tile:
            tile += 1
            if tile > min(height, width):
                raise ModelError(
                    f"Argument `image_shape` cannot be pooled to {room} features: no square tile "
                    f"divides {self.image_shape}."
                )
        shape = (height // tile, tile, width // tile, tile)
        tiles = values.reshape((*values.shape[:-1], *shape))
        return tiles.mean(axis=(-3, -1)).reshape((*values.shape[:-1], -1))
