"""What touches the state: moving axes, multiplying by a matrix, turning phases.

A state is a flat array (numbers, batch), the batch innermost, whose axes lie in an order that the
caller keeps track of (see `_layout`).
"""

from collections.abc import Sequence
from functools import partial, reduce
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._dot import dot
from qjax.sim._layout import COMPONENT, Order
from qjax.sim._tables import Pair

__all__ = [
    "Unit",
    "dense_matrix",
    "gram",
    "move_axes",
    "multiply",
    "turn",
]

LARGE = 2**23  # numbers of a state beyond which products of two states are summed in parts
LONG_ROWS = 2**16  # numbers, likewise, of the part that one index before the matrix picks
PART = 2**19  # numbers that are summed at once
LARGEST_TILE = 2**16  # entries of the matrix that makes copies of another one


def _sizes(order: Order, dims: Sequence[int]) -> list[int]:
    return [2 if a == COMPONENT else dims[a] for a in order]


def move_axes(state: Array, before: Order, after: Order, dims: Sequence[int]) -> Array:
    """Transposes a state (numbers, batch) from one order of its axes to another."""
    if before == after:
        return state
    for axis in after:  # one axis that moves outwards: a stack of slices is faster
        rest = tuple(a for a in before if a != axis)
        if rest == tuple(a for a in after if a != axis):
            start, stop = before.index(axis), after.index(axis)
            if stop < start:
                return _move_outwards(state, _sizes(before, dims), start, stop)
    place = {axis: i for i, axis in enumerate(before)}
    runs: list[list[int]] = []  # positions in `before` that stay together
    for axis in after:
        if runs and place[axis] == runs[-1][-1] + 1:
            runs[-1].append(place[axis])
        else:
            runs.append([place[axis]])
    sizes = _sizes(before, dims)
    ordered = sorted(range(len(runs)), key=lambda i: runs[i][0])
    shape = [prod(sizes[p] for p in runs[i]) for i in ordered]
    position = {i: k for k, i in enumerate(ordered)}
    view = state.reshape((*shape, state.shape[-1]))
    moved = view.transpose((*(position[i] for i in range(len(runs))), len(runs)))
    return moved.reshape(state.shape)


def _move_outwards(state: Array, sizes: list[int], start: int, stop: int) -> Array:
    """Moves the axis at position `start` to `stop`, further out."""
    outer, between = prod(sizes[:stop]), prod(sizes[stop:start])
    view = state.reshape(outer, between, sizes[start], -1)
    parts = [lax.index_in_dim(view, i, 2, keepdims=False) for i in range(sizes[start])]
    return jnp.stack(parts, axis=1).reshape(state.shape)


def dense_matrix(pair: Pair, *, component: bool, complex_matrix: bool, dtype: Any) -> Array:
    """The real matrix that acts on a state: [[Re, -Im], [Im, Re]], or Re alone.

    Args:
        pair: matrices (..., K, K).
        component: whether the state has an imaginary part; without one the result is (2K, K).
        complex_matrix: whether the matrix has one.
        dtype: of the result.
    """
    real = jnp.asarray(pair.real, dtype)
    if not complex_matrix:
        return real
    imag = jnp.zeros_like(real) if pair.imag is None else jnp.asarray(pair.imag, dtype)
    left = jnp.concatenate([real, imag], axis=-2)
    if not component:
        return left
    return jnp.concatenate([left, jnp.concatenate([-imag, real], axis=-2)], axis=-1)


def multiply(
    state: Array, matrix: Array, outer: int, *, tiled: bool = False, transposed: bool = False
) -> Array:
    """Multiplies some neighbouring axes of a state by a matrix.

    Args:
        state: (numbers, batch).
        matrix: (rows, columns), or (rows, columns, batch) if it differs from sample to sample.
        outer: numbers before the axes of the matrix.
        tiled: make copies of the matrix, where they are needed, by a product.
        transposed: multiply by the transpose.
    """
    batch = state.shape[-1]
    columns = matrix.shape[0 if transposed else 1]
    if matrix.ndim == 3:
        view = state.reshape(outer, columns, -1, batch)
        letters = "ji" if transposed else "ij"
        return jnp.einsum(f"{letters}b,ljmb->limb", matrix, view).reshape(-1, batch)
    view = state.reshape(outer, columns, -1)
    inner = view.shape[-1]
    if outer > 1 and inner > 1:  # XLA is slow with a transposed batch
        many = _copies(matrix, outer, transposed, tiled)
        return dot(many, view, (((2,), (1,)), ((0,), (0,)))).reshape(-1, batch)
    matrix = matrix.T if transposed else matrix
    if outer == 1:
        product = dot(matrix, lax.squeeze(view, (0,)), (((1,), (0,)), ((), ())))
    else:
        product = dot(lax.squeeze(view, (2,)), matrix, (((1,), (1,)), ((), ())))
    return product.reshape(-1, batch)


def _copies(matrix: Array, count: int, transposed: bool, tiled: bool) -> Array:
    """Some copies of a matrix or its transpose, (count, rows, columns).

    By a product if XLA is not to compile a kernel for it.
    """
    rows, columns = matrix.shape[::-1] if transposed else matrix.shape
    if tiled and count * rows**2 <= LARGEST_TILE:
        tile = jnp.asarray(np.tile(np.eye(rows), (count, 1)), matrix.dtype)
        many = dot(tile, matrix, (((1,), (1 if transposed else 0,)), ((), ())))
        return many.reshape(count, rows, columns)
    return jnp.broadcast_to(matrix.T if transposed else matrix, (count, rows, columns))


def gram(bra: Array, ket: Array, matrix: Array, outer: int, *, on_cpu: bool) -> Array:
    """Derivative of <bra| matrix |ket> in the matrix, of its shape.

    Args:
        bra: state after the matrix, (numbers, batch).
        ket: state before it.
        matrix: for its shape.
        outer: numbers before the axes of the matrix.
        on_cpu: whether the program is for a CPU.
    """
    batch = bra.shape[-1]
    rows, columns = matrix.shape[:2]
    if matrix.ndim == 3:
        a, b = bra.reshape(outer, rows, -1, batch), ket.reshape(outer, columns, -1, batch)
        return jnp.einsum("limb,ljmb->ijb", a, b)
    a, b = bra.reshape(outer, rows, -1), ket.reshape(outer, columns, -1)
    inner = a.shape[-1]
    if inner == 1:
        return dot(a[..., 0], b[..., 0], (((0,), (0,)), ((), ())))
    long = columns * inner >= LONG_ROWS or inner < columns
    if on_cpu and long and ket.size >= LARGE:
        return _gram_by_parts(a, b)
    return _gram_at_once(a, b)


def _gram_at_once(a: Array, b: Array) -> Array:
    """Sum over the first and the last axis of two arrays (outer, rows, inner)."""
    outer, columns, inner = b.shape
    if outer == 1:
        return dot(a[0], b[0], (((1,), (1,)), ((), ())))
    if inner >= columns:
        return jnp.sum(dot(a, b, (((2,), (2,)), ((0,), (0,)))), axis=0)
    return dot(a, b, (((0, 2), (0, 2)), ((), ())))


def _gram_by_parts(a: Array, b: Array) -> Array:
    """The same in parts that fit the cache.

    XLA's library for CPUs lays a whole operand anew before it sums over the last axes of both: as
    much memory as a state again, which no analysis of the program shows, and twice the time where
    that does not fit the cache.
    """
    outer, _, inner = b.shape
    parts = max(b.size // PART, 1)
    pieces = max(parts // outer, 1)  # of a row
    while inner % pieces:
        pieces -= 1
    together = 1 if pieces > 1 else max(outer // parts, 1)  # rows in a part
    while outer % together:
        together -= 1

    def add_part(i: Array, total: Array) -> Array:
        start = (i // pieces * together, 0, i % pieces * (inner // pieces))
        part_a, part_b = (
            lax.dynamic_slice(x, start, (together, x.shape[1], inner // pieces)) for x in (a, b)
        )
        return total + _gram_at_once(part_a, part_b)

    total = jnp.zeros((a.shape[1], b.shape[1]), a.dtype)
    return lax.fori_loop(0, outer // together * pieces, add_part, total)


class Unit(NamedTuple):
    """exp(i phi) of a table of phases."""

    cosine: Any
    sine: Any


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def turn(
    view: Array, phases: tuple[Array, ...], units: tuple[Unit, ...], axis: int | None
) -> Array:
    """Multiplies by exp(i phi), phi being the sum of the given phases.

    Args:
        view: real and imaginary part along `axis`; or a real state, if `axis` is None.
        phases: arrays of the rank of a part of the view that broadcast against it; only
            derivatives look at them.
        units: arrays likewise, whose product is exp(i phi).
        axis: of the component; the result of a real state has it in front.

    Returns:
        Array of the shape of `view`, with a component.
    """
    cosine, sine = reduce(
        lambda a, b: (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]), units
    )
    if axis is None:
        return jnp.stack([view * cosine, view * sine])
    real, imag = (lax.index_in_dim(view, i, axis, keepdims=False) for i in (0, 1))
    return jnp.stack([real * cosine - imag * sine, real * sine + imag * cosine], axis=axis)


@turn.defjvp
def _turn_jvp(axis: int | None, primals: Any, tangents: Any) -> Any:
    view, phases, units = primals
    view_dot, phases_dot, _ = tangents
    result = turn(view, phases, units, axis)
    at = 0 if axis is None else axis
    real, imag = (lax.index_in_dim(result, i, at, keepdims=False) for i in (0, 1))
    change = sum(jnp.broadcast_to(p, real.shape) for p in phases_dot)
    turned = jnp.stack([-imag * change, real * change], axis=at)
    return result, turn(view_dot, phases, units, axis) + turned


def kron_columns(columns: Sequence[Sequence[float]]) -> np.ndarray:
    """Kronecker product of vectors; `np.kron` takes ten times as long for short ones."""
    arrays = [np.asarray(c, dtype=float) for c in columns]
    return reduce(lambda a, b: np.multiply.outer(a, b).ravel(), arrays, np.ones(1))
