"""Trainable angles: the parameters of quantum layers, told apart from classical ones by type."""

import math
from collections.abc import Callable

import jax
from flax import nnx

from qjax._typing import Array, float_dtype

__all__ = ["Angle", "Initializer", "uniform_angles"]

Initializer = Callable[[Array, tuple[int, ...]], Array]


class Angle(nnx.Param):
    """An `nnx.Param` that holds rotation angles in radians.

    Being a type of its own, it can be named in filters: to freeze all quantum parameters, to give
    them a learning rate of their own, or to count them.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import Angle, QuantumFeatureExtractor
        >>> layer = QuantumFeatureExtractor(2, depth=3, rngs=nnx.Rngs(0))
        >>> angles = nnx.state(layer, Angle)
        >>> [leaf.shape for leaf in jax.tree.leaves(angles)]
        [(3, 2, 2)]
    """


def uniform_angles(key: Array, shape: tuple[int, ...]) -> Array:
    """Angles drawn uniformly from [-pi, pi).

    Args:
        key: random key.
        shape: of the angles.

    Returns:
        Array of `shape`, in radians.

    Example:
        >>> from qjax.nn import uniform_angles
        >>> uniform_angles(jax.random.key(0), (2, 3)).shape
        (2, 3)
    """
    return jax.random.uniform(key, shape, float_dtype(), -math.pi, math.pi)
