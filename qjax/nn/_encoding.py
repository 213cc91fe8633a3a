"""Minimal classical preparation of inputs for amplitude encoding."""

from collections.abc import Sequence
from math import prod

import jax.numpy as jnp
import numpy as np
from flax import nnx

from qjax._checks import check_choice, check_numbers, check_positive_int
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.errors import ModelError
from qjax.library import normalise
from qjax.nn._layer import as_input

__all__ = ["EncodingLayer"]

_REDUCTIONS = ("error", "mean_pool", "pca")


class Projection(nnx.Variable):
    """An `nnx.Variable` that holds what `EncodingLayer.fit` computed; never trained."""


class EncodingLayer(nnx.Module):
    """Brings inputs to unit vectors of a fixed length, and never loses features silently.

    Inputs that are too short are filled up with zeros. Inputs that are too long are an error
    unless a reduction is chosen.

    Args:
        target_dim: length of the output, usually 2**n.
        reduction: "error"; or "mean_pool": images of `image_shape` are averaged over the smallest
            square tiles that make them fit; or "pca": the leading principal components of
            `num_features` inputs, which `fit` computes from the training set.
        image_shape: (height, width) of the inputs, for "mean_pool".
        num_features: length of the inputs, for "pca".
        keep_norm: append a feature of value one before normalising, so that the norm and the sign
            of the input, which unit vectors up to a phase would lose, survive in the ratio to it.

    Attributes:
        mean: `nnx.Variable` of shape (num_features,), for "pca": what is subtracted.
        components: `nnx.Variable` of shape (num_features, k), for "pca": one component a column,
            the strongest first; not trained.

    Raises:
        ModelError: if the inputs do not fit and no reduction is chosen, or cannot be pooled, or
            "pca" runs before `fit`.

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
        num_features: int | None = None,
        keep_norm: bool = False,
    ):
        check_choice(reduction, _REDUCTIONS, name="reduction", error=ModelError)
        self.target_dim = check_positive_int(target_dim, name="target_dim", error=ModelError)
        self.reduction = reduction
        self.image_shape = image_shape
        self.num_features = num_features
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

        if reduction == "pca":
            self._start_pca()

    def _start_pca(self) -> None:
        if self.num_features is None:
            raise ModelError(
                "Argument `num_features` must be the length of the inputs for reduction='pca', "
                "but is None."
            )
        features = check_positive_int(self.num_features, name="num_features", error=ModelError)
        kept = min(self._room, features)
        self.mean = Projection(jnp.zeros(features, float_dtype()))
        self.components = Projection(jnp.zeros((features, kept), float_dtype()))

    @property
    def _room(self) -> int:
        """Features that fit beside that of the norm."""
        return self.target_dim - self.keep_norm

    def fit(self, x: ArrayLike) -> float:
        """Computes the principal components of a training set, for reduction "pca".

        Args:
            x: (samples, num_features), at least as many samples as components.

        Returns:
            Share of the variance that the components keep, in [0, 1].

        Raises:
            ModelError: if the reduction is another, or the inputs do not fit.
        """
        if self.reduction != "pca":
            raise ModelError(
                f"Only reduction='pca' is fitted, but `reduction` is {self.reduction!r}."
            )
        values = np.asarray(as_input(x), np.float64)
        features, kept = self.components.shape
        if values.ndim != 2 or values.shape[1] != features or len(values) < kept:
            raise ModelError(
                f"Argument `x` must have shape (samples, {features}) with at least {kept} samples, "
                f"but has shape {values.shape}."
            )
        mean = values.mean(axis=0)
        _, strengths, rows = np.linalg.svd(values - mean, full_matrices=False)
        self.mean[...] = jnp.asarray(mean, float_dtype())
        self.components[...] = jnp.asarray(rows[:kept].T, float_dtype())
        total = np.sum(strengths**2)
        return float(np.sum(strengths[:kept] ** 2) / total) if total else 1.0

    def __call__(self, x: ArrayLike) -> Array:
        """Maps (..., features) to unit vectors (..., target_dim), zeros to (1, 0, ..., 0)."""
        values, room = as_input(x), self._room
        if self.reduction == "mean_pool":
            values = self._pool(values, room)
        if self.reduction == "pca":
            values = self._project(values)
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

    def _project(self, values: Array) -> Array:
        if values.ndim == 0 or values.shape[-1] != self.num_features:
            raise ModelError(
                f"Argument `x` must have {self.num_features} features for reduction='pca', but "
                f"has shape {values.shape}."
            )
        check_numbers(
            self.components[...],
            lambda c: (c != 0).any(),
            "An EncodingLayer with reduction='pca' needs its components. Call "
            "`fit(training_inputs)` first.",
            ModelError,
        )
        return (values - self.mean[...]) @ self.components[...]

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
