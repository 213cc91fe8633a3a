"""What touches the state: moving axes, multiplying by a matrix, turning phases.

A state is a flat array (numbers, batch), the batch innermost, whose axes lie in an order that the
caller keeps track of (see `_layout`).
"""

from collections.abc import Sequence
from functools import partial, reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._layout import COMPONENT, Order
from qjax.sim._tables import Pair

__all__ = [
    "dense_matrix",
    "gram",
    "move_axes",
    "multiply",
    "product_state",
    "turn",
]


LARGEST_SETTLED = 2**8


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


def multiply(state: Array, matrix: Array, outer: int, *, transposed: bool = False) -> Array:
    """Multiplies some neighbouring axes of a state by a matrix.

    Args:
        state: (numbers, batch).
        matrix: (rows, columns), or (rows, columns, batch) if it differs from sample to sample.
        outer: numbers before the axes of the matrix.
        transposed: multiply by the transpose.
    """
    batch = state.shape[-1]
    columns = matrix.shape[0 if transposed else 1]
    if matrix.ndim == 3:
        view = state.reshape(outer, columns, -1, batch)
        letters = "ji" if transposed else "ij"
        return jnp.einsum(f"{letters}b,ljmb->limb", matrix, view).reshape(-1, batch)
    matrix = matrix.T if transposed else matrix  # small; XLA is slow with a transposed batch
    view = state.reshape(outer, columns, -1)
    inner = view.shape[-1]
    if outer == 1:
        product = _dot(matrix, view[0], (((1,), (0,)), ((), ())))
    elif inner == 1:
        product = _dot(view[..., 0], matrix, (((1,), (1,)), ((), ())))
    else:
        many = jnp.broadcast_to(matrix, (outer, *matrix.shape))
        product = _dot(many, view, (((2,), (1,)), ((0,), (0,))))
    return product.reshape(-1, batch)


def _dot(a: Array, b: Array, dimensions: Any) -> Array:
    return lax.dot_general(a, b, dimensions, precision=lax.Precision.HIGHEST)


def gram(bra: Array, ket: Array, matrix: Array, outer: int) -> Array:
    """Derivative of <bra| matrix |ket> in the matrix, of its shape.

    Args:
        bra: state after the matrix, (numbers, batch).
        ket: state before it.
        matrix: for its shape.
        outer: numbers before the axes of the matrix.
    """
    batch = bra.shape[-1]
    rows, columns = matrix.shape[:2]
    if matrix.ndim == 3:
        a, b = bra.reshape(outer, rows, -1, batch), ket.reshape(outer, columns, -1, batch)
        return jnp.einsum("limb,ljmb->ijb", a, b)
    a, b = bra.reshape(outer, rows, -1), ket.reshape(outer, columns, -1)
    inner = a.shape[-1]
    if outer == 1:
        return _dot(a[0], b[0], (((1,), (1,)), ((), ())))
    if inner == 1:
        return _dot(a[..., 0], b[..., 0], (((0,), (0,)), ((), ())))
    if inner >= columns:
        return jnp.sum(_dot(a, b, (((2,), (2,)), ((0,), (0,)))), axis=0)
    return _dot(a, b, (((0, 2), (0, 2)), ((), ())))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def turn(view: Array, phases: tuple[Array, ...], axis: int | None, merged: Any) -> Array:
    """Multiplies by exp(i phi), phi being the sum of the given phases.

    Args:
        view: real and imaginary part along `axis`; or a real state, if `axis` is None.
        phases: arrays of the rank of a part of the view that broadcast against it.
        axis: of the component; the result of a real state has it in front.
        merged: pairs of positions among the phases whose cosines and sines are multiplied out
            beforehand.

    Returns:
        Array of the shape of `view`, with a component.
    """
    cosine, sine = _unit(phases, merged)
    if axis is None:
        return jnp.stack([view * cosine, view * sine])
    real, imag = (lax.index_in_dim(view, i, axis, keepdims=False) for i in (0, 1))
    return jnp.stack([real * cosine - imag * sine, real * sine + imag * cosine], axis=axis)


def _unit(phases: tuple[Array, ...], merged: Any) -> tuple[Array, Array]:
    """Cosine and sine of a sum of phases.

    Each factor comes out of a matrix product: XLA would otherwise fuse the cosine with the pass
    over the state and compute it anew for every number of it.
    """
    factors = []
    for pair in merged:
        if len(pair) == 2:
            factors.append(_merged_unit(phases[pair[0]], phases[pair[1]]))
        else:
            factors.append(_plain_unit(phases[pair[0]]))
    return reduce(lambda a, b: (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]), factors)


def _merged_unit(left: Array, right: Array) -> tuple[Array, Array]:
    """Of left + right, (A, 1) and (1, D) up to further axes of size one: a product of rank two."""
    shape = np.broadcast_shapes(left.shape, right.shape)
    batch = shape[-1]
    if batch > 1:
        total = left + right
        return jnp.cos(total), jnp.sin(total)
    a, b = left.reshape(-1), right.reshape(-1)
    first = jnp.stack([jnp.cos(a), jnp.sin(a)])  # (2, A)
    turned = jnp.stack([-first[1], first[0]])
    rows = jnp.concatenate([first, turned], axis=1).T  # (2A, 2): (c, s), then (-s, c)
    # cos(a+b) = c c - s s and sin(a+b) = s c + c s
    columns = jnp.stack([jnp.cos(b), -jnp.sin(b)])
    product = jnp.matmul(rows, columns, precision="highest").reshape(2, *shape)
    return product[0], -product[1]


def _plain_unit(phases: Array) -> tuple[Array, Array]:
    shape, batch = phases.shape, phases.shape[-1]
    if batch > 1:
        return jnp.cos(phases), jnp.sin(phases)
    flat = phases.reshape(-1)
    unit = jnp.stack([jnp.cos(flat), jnp.sin(flat)])
    kept = jnp.matmul(unit, np.eye(len(flat), dtype=flat.dtype), precision="highest")
    return kept[0].reshape(shape), kept[1].reshape(shape)


@turn.defjvp
def _turn_jvp(axis: int | None, merged: Any, primals: Any, tangents: Any) -> Any:
    view, phases = primals
    view_dot, phases_dot = tangents
    result = turn(view, phases, axis, merged)
    at = 0 if axis is None else axis
    real, imag = (lax.index_in_dim(result, i, at, keepdims=False) for i in (0, 1))
    change = sum(jnp.broadcast_to(p, real.shape) for p in phases_dot)
    turned = jnp.stack([-imag * change, real * change], axis=at)
    return result, turn(view_dot, phases, axis, merged) + turned


def product_state(
    groups: Sequence[tuple[list[int], Pair]], order: Order, batch: int, dtype: Any
) -> Array:
    """Product of one vector per site, (numbers, batch), its axes in the given order.

    Args:
        groups: sites with their vectors (sites, d) or, for a batch, (sites, d, batch).
        order: of the axes; the component among them only if it is wanted.
        batch: number of samples.
        dtype: of the result.
    """
    sites = sites_of(order)
    cut = order.index(COMPONENT) if COMPONENT in order and order[0] != COMPONENT else None
    cut = len(sites) // 2 if cut is None else cut
    a, b = (_joined(groups, chosen, dtype) for chosen in (sites[:cut], sites[cut:]))
    if COMPONENT not in order:
        real = a.real[:, None] * b.real[None]
        return jnp.broadcast_to(real, (*real.shape[:2], batch)).reshape(-1, batch)
    axis = 0 if order[0] == COMPONENT else 1
    if batch == 1:
        whole = _planar_product(a, b).reshape(2, len(a.real), -1)
        return jnp.moveaxis(whole, 0, axis).reshape(-1, 1)
    product = _outer_two(a, b)
    shape = (len(a.real), len(b.real), -1)
    real = product.real.reshape(shape)
    imag = jnp.zeros_like(real) if product.imag is None else product.imag.reshape(shape)
    joined = jnp.stack([real, imag], axis=axis)
    return jnp.broadcast_to(joined, (*joined.shape[:3], batch)).reshape(-1, batch)


def _planar_product(a: Pair, b: Pair) -> Array:
    """Outer product of complex vectors (A, 1) and (D, 1) as (2 A, D), by a matrix product.

    (a_r, -a_i; a_i, a_r) times (b_r; b_i); what is made in a matrix product is made once.
    """
    a_i, b_i = (jnp.zeros_like(p.real) if p.imag is None else p.imag for p in (a, b))
    left = jnp.concatenate(
        [jnp.concatenate([a.real, -a_i], axis=1), jnp.concatenate([a_i, a.real], axis=1)]
    )
    return _dot(left, jnp.concatenate([b.real, b_i], axis=1), (((1,), (1,)), ((), ())))


def _joined(groups: Sequence[tuple[list[int], Pair]], chosen: Sequence[int], dtype: Any) -> Pair:
    """Product over the chosen sites, (product of d, batch or 1), pair by pair."""
    if not chosen:
        return Pair(jnp.ones((1, 1), dtype))
    runs: list[Pair] = []  # (sites, d, batch or 1), neighbours of one group together
    start = 0
    while start < len(chosen):
        members, pair = next(g for g in groups if chosen[start] in g[0])
        first = members.index(chosen[start])
        stop = start + 1
        while members[first : first + stop + 1 - start] == list(chosen[start : stop + 1]):
            if stop == len(chosen):
                break
            stop += 1
        runs.append(Pair(*(_rows(p, first, stop - start, dtype) for p in pair)))
        start = stop
    parts = [_product_of_rows(run) for run in runs]
    whole = reduce(_outer_two, parts)
    return Pair(*(None if p is None else _settle(p) for p in whole))


def _product_of_rows(rows: Pair) -> Pair:
    """Outer product of the vectors (sites, d, batch) in their order, (product of d, batch)."""
    tail: list[Pair] = []
    while rows.real.shape[0] > 1:
        count = rows.real.shape[0]
        if count % 2:
            tail.append(Pair(*(None if p is None else p[-1] for p in rows)))
        even = Pair(*(None if p is None else p[: count - count % 2] for p in rows))
        a, b = (
            Pair(*(None if p is None else p.reshape(-1, 2, *p.shape[1:])[:, k] for p in even))
            for k in (0, 1)
        )
        first = Pair(*(None if p is None else p[:, :, None] for p in a))
        second = Pair(*(None if p is None else p[:, None] for p in b))
        product = _complex_product(first, second)
        rows = Pair(
            *(None if p is None else p.reshape(p.shape[0], -1, p.shape[-1]) for p in product)
        )
    whole = Pair(*(None if p is None else p[0] for p in rows))
    return reduce(_outer_two, tail[::-1], whole)


def _settle(part: Array) -> Array:
    """The array by way of a product with the unit matrix.

    XLA would otherwise fuse its making with what uses it and compute every entry many times; it
    knows no other barrier on a CPU.
    """
    if not 4 < part.shape[0] <= LARGEST_SETTLED or part.shape[1] == 1:
        return part
    return jnp.matmul(np.eye(part.shape[0], dtype=part.dtype), part, precision="highest")


def _rows(part: Any, first: int, count: int, dtype: Any) -> Any:
    """Vectors of neighbouring sites, (sites, d, batch or 1)."""
    if part is None:
        return None
    some = part if count == part.shape[0] else part[first : first + count]
    array = jnp.asarray(some, dtype)
    return array[..., None] if array.ndim == 2 else array


def _complex_product(a: Pair, b: Pair) -> tuple[Array, Array | None]:
    real = a.real * b.real
    if a.imag is not None and b.imag is not None:
        real = real - a.imag * b.imag
    crossed = [x * y for x, y in ((a.imag, b.real), (a.real, b.imag))
               if x is not None and y is not None]  # fmt: skip
    return real, reduce(jnp.add, crossed) if crossed else None


def _outer_two(a: Pair, b: Pair) -> Pair:
    first = Pair(*(None if p is None else p[:, None] for p in a))
    second = Pair(*(None if p is None else p[None] for p in b))
    product = _complex_product(first, second)
    return Pair(*(None if p is None else p.reshape(-1, p.shape[-1]) for p in product))


def sites_of(order: Order) -> tuple[int, ...]:
    """The sites of an order, without the component."""
    return tuple(a for a in order if a != COMPONENT)


def ones_except(sizes: Sequence[int], kept: set[int]) -> tuple[int, ...]:
    """Shape that broadcasts along all positions but `kept`."""
    return tuple(size if i in kept else 1 for i, size in enumerate(sizes))


def kron_columns(columns: Sequence[Sequence[float]]) -> np.ndarray:
    """Kronecker product of vectors."""
    return reduce(np.kron, [np.asarray(c, dtype=float) for c in columns], np.ones(1))
