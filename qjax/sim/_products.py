"""The state of qubits that nothing has joined yet: one vector per site, multiplied out."""

from collections.abc import Sequence
from functools import reduce
from itertools import groupby
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._kernels import dot, sites_of
from qjax.sim._layout import COMPONENT, Order
from qjax.sim._outer import multiply_neighbours
from qjax.sim._tables import Pair

__all__ = ["product_state"]

LARGEST_SETTLED = 2**8


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
    a, b = _halves(groups, (sites[:cut], sites[cut:]), dtype)
    axis = 0 if order[0] == COMPONENT else 1
    if batch == 1 and len(a) == 2:
        whole = _planar_product(a[..., 0], b[..., 0]).reshape(2, a.shape[1], -1)
        return jnp.moveaxis(whole, 0, axis).reshape(-1, 1)
    if len(a) == 2:
        state = jnp.stack(_complex_product(a[:, :, None], b[:, None]), axis=axis)
    else:
        state = a[0, :, None] * b[0, None]
        if COMPONENT in order:
            state = jnp.stack([state, jnp.zeros_like(state)], axis=axis)
    return jnp.broadcast_to(state, (*state.shape[:-1], batch)).reshape(-1, batch)


# (a_r, -a_i) and (a_i, a_r) of (a_r, a_i): what multiplies (b_r, b_i) in a complex product.
_FACTOR = np.array([[1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [1.0, 0.0]])


def _planar_product(a: Array, b: Array) -> Array:
    """Outer product of complex vectors (2, A) and (2, D) as (2 A, D), by matrix products.

    What is made in a matrix product is made once.
    """
    left = dot(jnp.asarray(_FACTOR, a.dtype), a, (((1,), (0,)), ((), ())))
    rows = left.reshape(2, 2, -1).swapaxes(1, 2).reshape(-1, 2)
    return dot(rows, b, (((1,), (0,)), ((), ())))


def _halves(
    groups: Sequence[tuple[list[int], Pair]], halves: Sequence[Sequence[int]], dtype: Any
) -> list[Array]:
    """Products over some sites each, (parts, product of d, batch or 1).

    Runs of sites that are alike are multiplied at once, as both halves of a register are.
    """
    vectors, places = _vectors(groups, dtype)
    runs = [
        (h, d, [places[d].index(site) for site in run])
        for h, half in enumerate(halves)
        for d, run in groupby(half, lambda site: next(d for d in places if site in places[d]))
    ]
    forms: dict[tuple[int, int], list[int]] = {}
    for i, (_, d, rows) in enumerate(runs):
        forms.setdefault((d, len(rows)), []).append(i)
    made: dict[int, Array] = {}
    for (d, length), members in forms.items():
        picked = _pick(vectors[d], [row for i in members for row in runs[i][2]])
        shape = (picked.shape[0], len(members), length, *picked.shape[2:])
        whole = multiply_neighbours(picked.reshape(shape), 2, _outer)
        each = lax.split(whole, (1,) * len(members), axis=1)
        made |= {i: lax.squeeze(part, (1,)) for i, part in zip(members, each, strict=True)}
    result = []
    for h in range(len(halves)):
        parts = [made[i] for i, run in enumerate(runs) if run[0] == h]
        result.append(_settle(reduce(_outer, parts)) if parts else _one(vectors, dtype))
    return result


def _one(vectors: dict[int, Array], dtype: Any) -> Array:
    """The product of no vectors."""
    return jnp.eye(next(iter(vectors.values())).shape[0], 1, dtype=dtype)[:, :, None]


def _vectors(
    groups: Sequence[tuple[list[int], Pair]], dtype: Any
) -> tuple[dict[int, Array], dict[int, list[int]]]:
    """By dimension d all vectors, (parts, sites, d, batch or 1), and the sites in that order.

    There are two parts, real and imaginary, unless all vectors are real.
    """
    num_parts = 1 + any(pair.imag is not None for _, pair in groups)
    batch = max(pair.real.shape[2] if pair.real.ndim == 3 else 1 for _, pair in groups)
    places: dict[int, list[int]] = {}
    stacks: dict[int, list[Array]] = {}
    for sites, pair in groups:
        parts = [jnp.zeros_like(pair.real) if part is None else part for part in pair[:num_parts]]
        stack = jnp.stack([jnp.asarray(part, dtype) for part in parts])
        stack = stack if stack.ndim == 4 else stack[..., None]
        d = stack.shape[2]
        places.setdefault(d, []).extend(sites)
        stacks.setdefault(d, []).append(jnp.broadcast_to(stack, (*stack.shape[:3], batch)))
    joined = {d: s[0] if len(s) == 1 else jnp.concatenate(s, axis=1) for d, s in stacks.items()}
    return joined, places


def _pick(vectors: Array, rows: Sequence[int]) -> Array:
    """Some of the vectors (parts, sites, d, batch), in another order."""
    count = vectors.shape[1]
    if list(rows) == list(range(count)):
        return vectors
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return vectors[:, rows[0] : rows[0] + len(rows)]
    # XLA turns the derivative of a gather into a loop over single numbers.
    chosen = jnp.asarray(np.eye(count)[list(rows)], vectors.dtype)
    flat = vectors.reshape((*vectors.shape[:2], -1))
    picked = jnp.matmul(chosen, flat, precision="highest")
    return picked.reshape((len(vectors), len(rows), *vectors.shape[2:]))


# Real and imaginary part of a product from the four products of parts.
_COMPLEX = np.array([[1.0, 0.0, 0.0, -1.0], [0.0, 1.0, 1.0, 0.0]])


def _outer(a: Array, b: Array) -> Array:
    """Vectors (parts, ..., A, batch) and (parts, ..., B, batch) as (parts, ..., A B, batch)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    if len(a) == 1:
        product = a * b
    elif a.shape[-1] > 1:
        product = jnp.stack(_complex_product(a, b))
    else:  # a matrix product keeps the compiler from fusing one level with the next
        products = a[:, None] * b[None]
        table = jnp.asarray(_COMPLEX, a.dtype)
        flat = dot(table, products.reshape(4, -1), (((1,), (0,)), ((), ())))
        product = flat.reshape(2, *products.shape[2:])
    return product.reshape((*product.shape[:-3], -1, product.shape[-1]))


def _complex_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Real and imaginary part of the products of (2, ...) and (2, ...)."""
    (a_r, a_i), (b_r, b_i) = ((lax.squeeze(p, (0,)) for p in lax.split(x, (1, 1))) for x in (a, b))
    return a_r * b_r - a_i * b_i, a_r * b_i + a_i * b_r


def _settle(vector: Array) -> Array:
    """Vectors as columns (parts, numbers, batch), by way of a product with a unit matrix.

    XLA would otherwise fuse their making with what uses them and compute every entry many times;
    it knows no other barrier on a CPU.
    """
    _, numbers, batch = vector.shape
    if not 4 < numbers <= LARGEST_SETTLED or batch == 1:
        return vector
    eye = np.eye(numbers, dtype=vector.dtype)
    return jnp.stack([jnp.matmul(eye, part, precision="highest") for part in vector])
