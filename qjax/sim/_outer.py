"""Outer products of several vectors, neighbours with neighbours.

Pairs are taken apart by a split, whose derivative is one concatenation: that of slices is a padded
array for each, and the compiler takes as long for one of these as for a pass over a state.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._dot import dot

__all__ = ["Picked", "multiply_neighbours", "outer_picked", "outer_planar", "outer_product"]


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


class Picked(NamedTuple):
    """A vector as a product of a few rows and constants, which need not be taken apart for it.

    Attributes:
        rows: (rows, entries).
        chosen: (parts, rows), whose product with the rows is the real part of the vector and, if
            there are two parts, the imaginary one.
    """

    rows: Array
    chosen: np.ndarray


# (a_r, -a_i) and (a_i, a_r) of (a_r, a_i): what multiplies (b_r, b_i) in a complex product.
_LEFT = np.array([[1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [1.0, 0.0]])
_RIGHT = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
_REAL = np.array([[1.0], [0.0]])  # of one term XLA makes no product of matrices


def outer_picked(a: Picked, b: Picked, axis: int = 0) -> Array:
    """Outer product of two vectors, made of products of matrices alone.

    XLA compiles nothing for these on a CPU, and what is made in one is made once.

    Args:
        a: of A entries.
        b: of B entries, with as many parts.
        axis: of the parts in the result, 0 or 1.

    Returns:
        (parts, A, B) or (A, parts, B).
    """

    def times(factor: np.ndarray, vector: Picked) -> Array:
        table = jnp.asarray(factor @ vector.chosen, vector.rows.dtype)
        return dot(table, vector.rows, (((1,), (0,)), ((), ())))

    parts = len(a.chosen)
    left, right = (_LEFT, _RIGHT) if parts == 2 else (_REAL, _REAL)
    if parts == 1 or axis == 1:
        rows = dot(a.rows, jnp.asarray((left @ a.chosen).T, a.rows.dtype), (((0,), (0,)), ((), ())))
        product = dot(rows.reshape(-1, 2), times(right[:2], b), (((1,), (0,)), ((), ())))
        shape = (-1, parts) if axis == 1 else (parts, -1)
        return product.reshape((*shape, product.shape[1]))
    first, second = (times(f, v).reshape(2, 2, -1) for f, v in ((left, a), (right, b)))
    return dot(first, second, (((1,), (1,)), ((0,), (0,))))


def outer_planar(a: Array, b: Array) -> Array:
    """Vectors (parts, A) and (parts, B) as (parts, A B)."""
    first, second = (Picked(vector, np.eye(len(vector))) for vector in (a, b))
    return outer_picked(first, second).reshape(len(a), -1)
