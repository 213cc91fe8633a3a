"""Outer products of several vectors, neighbours with neighbours.

Pairs are taken apart by a split, whose derivative is one concatenation: that of slices is a padded
array for each, and the compiler takes as long for one of these as for a pass over a state.
"""

from collections.abc import Callable

from jax import lax

from qjax._typing import Array

__all__ = ["multiply_neighbours", "outer_product"]


def multiply_neighbours(vectors: Array, axis: int, outer: Callable[[Array, Array], Array]) -> Array:
    """Multiplies all vectors along an axis, which disappears.

    Args:
        vectors: array with that axis.
        axis: non-negative.
        outer: the products of two arrays of vectors, entry by entry of that axis.
    """
    odd: list[Array] = []
    while (count := vectors.shape[axis]) > 1:
        if count % 2:
            vectors, last = lax.split(vectors, (count - 1, 1), axis=axis)
            odd.append(last)
        paired = vectors.reshape((*vectors.shape[:axis], -1, 2, *vectors.shape[axis + 1 :]))
        a, b = (lax.squeeze(p, (axis + 1,)) for p in lax.split(paired, (1, 1), axis=axis + 1))
        vectors = outer(a, b)
    for last in reversed(odd):
        vectors = outer(vectors, last)
    return lax.squeeze(vectors, (axis,))


def outer_product(a: Array, b: Array) -> Array:
    """Vectors (..., A) and (..., B) as (..., A B), the latter varying fastest."""
    product = a[..., :, None] * b[..., None, :]
    return product.reshape((*product.shape[:-2], -1))
