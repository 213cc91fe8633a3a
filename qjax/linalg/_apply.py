"""Applying a small matrix to some axes of a large tensor whose axes all have size two.

This is the one kernel under every engine. A state vector of n qubits is such a tensor; so is a
density matrix (2n axes), a state with recorded measurement outcomes (one more axis each), and a
complex state held as a leading axis (real, imaginary).
"""

import math

import jax.numpy as jnp
from jax import lax

from qjax._typing import Array

__all__ = ["apply_matrix", "diagonal_phases", "merge_axes"]


def merge_axes(axes: tuple[int, ...], num_axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Groups the binary axes of a tensor into runs that stay together.

    Args:
        axes: sorted axes of interest.
        num_axes: number of binary axes in all.

    Returns:
        The merged shape, and the positions in it of the runs made of `axes`.

    Example:
        >>> merge_axes((1, 2), 4)
        ((2, 4, 2), (1,))
    """
    shape: list[int] = []
    chosen: list[int] = []
    previous: bool | None = None
    members = set(axes)
    for axis in range(num_axes):
        inside = axis in members
        if inside == previous:
            shape[-1] *= 2
        else:
            shape.append(2)
            if inside:
                chosen.append(len(shape) - 1)
        previous = inside
    return tuple(shape), tuple(chosen)


def _sort_matrix_axes(matrix: Array, axes: tuple[int, ...]) -> Array:
    """Reorders the binary axes of a (2**k, 2**k) matrix so that `axes` ascend."""
    order = sorted(range(len(axes)), key=axes.__getitem__)
    if order == list(range(len(axes))):
        return matrix
    k = len(axes)
    permutation = (*order, *(k + i for i in order))
    return matrix.reshape((2,) * (2 * k)).transpose(permutation).reshape(matrix.shape)


def apply_matrix(tensor: Array, matrix: Array, axes: tuple[int, ...]) -> Array:
    """Multiplies some binary axes of a tensor by a matrix.

    Args:
        tensor: (2**m, ...) array whose first axis stands for m binary axes, the first one most
            significant. Trailing axes are left alone.
        matrix: (2**k, 2**k) array.
        axes: k distinct axes in 0..m-1; the first is the most significant bit of `matrix`.

    Returns:
        Array of the shape of `tensor`.

    Example:
        >>> apply_matrix(jnp.array([1.0, 0, 0, 0]), jnp.array([[0.0, 1], [1, 0]]), (1,)).tolist()
        [0.0, 1.0, 0.0, 0.0]
    """
    num_axes = tensor.shape[0].bit_length() - 1
    matrix = _sort_matrix_axes(matrix, axes)
    shape, chosen = merge_axes(tuple(sorted(axes)), num_axes)
    merged = tensor.reshape(shape + tensor.shape[1:])
    sizes = tuple(shape[i] for i in chosen)
    columns = matrix.reshape((matrix.shape[0], *sizes))
    product = lax.dot_general(
        columns,
        merged,
        ((tuple(range(1, 1 + len(chosen))), chosen), ((), ())),
        precision=lax.Precision.HIGHEST,
    )  # (2**k, remaining axes of merged)
    split = product.reshape(sizes + product.shape[1:])
    rest = [i for i in range(merged.ndim) if i not in chosen]
    source = {axis: position for position, axis in enumerate((*chosen, *rest))}
    return split.transpose([source[i] for i in range(merged.ndim)]).reshape(tensor.shape)


def diagonal_phases(diagonal: Array, axes: tuple[int, ...], num_axes: int) -> Array:
    """Shapes a diagonal so that it broadcasts against a tensor merged by `merge_axes`.

    Args:
        diagonal: (2**k,) array.
        axes: k distinct axes; the first is the most significant bit of `diagonal`.
        num_axes: number of binary axes of the tensor.

    Returns:
        Array of the rank of the merged shape, with size one wherever `axes` are absent.
    """
    order = sorted(range(len(axes)), key=axes.__getitem__)
    bits = diagonal.reshape((2,) * len(axes)).transpose(order)
    shape, chosen = merge_axes(tuple(sorted(axes)), num_axes)
    sizes = [shape[i] if i in chosen else 1 for i in range(len(shape))]
    assert math.prod(sizes) == diagonal.shape[0]
    return jnp.reshape(bits, sizes)
