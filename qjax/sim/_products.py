"""The state of qubits that nothing has joined yet: vectors of runs of sites, multiplied out."""

from collections.abc import Sequence
from functools import reduce
from itertools import groupby, zip_longest
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._chains import Vectors
from qjax.sim._layout import COMPONENT, Order, halves
from qjax.sim._outer import Picked, multiply_neighbours, outer_picked

__all__ = ["product_state"]

LARGEST_SETTLED = 2**8


def product_state(groups: Sequence[Vectors], order: Order, batch: int, dtype: Any) -> Array:
    """Product of vectors, (numbers, batch), its axes in the given order.

    Args:
        groups: vectors of all sites, each of one site where samples of a batch have their own.
        order: of the axes; the component among them only if it is wanted.
        batch: number of samples.
        dtype: of the result.
    """
    if all(group.planes.ndim == 3 for group in groups):
        state = _shared(groups, order, dtype)
        return state if batch == 1 else jnp.broadcast_to(state, (len(state), batch))
    a, b = _halves(groups, halves(order), dtype)
    axis = 0 if order[0] == COMPONENT else 1
    if len(a) == 2:
        state = jnp.stack(_complex_product(a[:, :, None], b[:, None]), axis=axis)
    else:
        state = a[0, :, None] * b[0, None]
        if COMPONENT in order:
            state = jnp.stack([state, jnp.zeros_like(state)], axis=axis)
    return state.reshape(-1, batch)


def _shared(groups: Sequence[Vectors], order: Order, dtype: Any) -> Array:
    """The state (numbers, 1) that all samples share."""
    parts = 2 if COMPONENT in order else 1
    picked: dict[int, tuple[tuple[int, ...], Picked]] = {}  # by the first site of a run
    for runs, planes, axis in groups:
        rows = planes.reshape(-1, planes.shape[-1])
        units = np.eye(len(rows)).reshape(*planes.shape[:2], -1)
        for run, chosen in zip(runs, np.moveaxis(units, axis, 1), strict=True):
            padded = np.zeros((parts, len(rows)))
            padded[: len(chosen)] = chosen
            picked[run[0]] = (run, Picked(rows, padded))
    ends = [_tree(_in_order(picked, half)) for half in halves(order)]
    nothing = Picked(jnp.eye(parts, 1, dtype=dtype), np.eye(parts))
    a, b = (nothing if end is None else end for end in ends)
    return outer_picked(a, b, 0 if order[0] == COMPONENT else 1).reshape(-1, 1)


def _in_order(picked: dict[int, tuple[tuple[int, ...], Picked]], half: Order) -> list[Picked]:
    found = []
    while half:
        run, vector = picked[half[0]]
        found.append(vector)
        half = half[len(run) :]
    return found


def _tree(vectors: list[Picked]) -> Picked | None:
    """Their product, neighbours with neighbours; None of none."""
    while len(vectors) > 1:
        vectors = [
            a if b is None else _multiplied(a, b)
            for a, b in zip_longest(vectors[::2], vectors[1::2])
        ]
    return vectors[0] if vectors else None


def _multiplied(a: Picked, b: Picked) -> Picked:
    product = outer_picked(a, b)
    return Picked(product.reshape(len(product), -1), np.eye(len(product)))


def _halves(groups: Sequence[Vectors], sites: Sequence[Order], dtype: Any) -> list[Array]:
    """Products over some sites each, (parts, product of d, batch).

    Runs of sites that are alike are multiplied at once, as both halves of a register are.
    """
    vectors, places = _vectors(groups, dtype)
    runs = [
        (h, d, [places[d].index(site) for site in run])
        for h, half in enumerate(sites)
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
    for h in range(len(sites)):
        parts = [made[i] for i, run in enumerate(runs) if run[0] == h]
        result.append(_settle(reduce(_outer, parts)) if parts else _one(vectors, dtype))
    return result


def _one(vectors: dict[int, Array], dtype: Any) -> Array:
    """The product of no vectors."""
    return jnp.eye(next(iter(vectors.values())).shape[0], 1, dtype=dtype)[:, :, None]


def _vectors(
    groups: Sequence[Vectors], dtype: Any
) -> tuple[dict[int, Array], dict[int, list[int]]]:
    """By dimension d all vectors, (parts, sites, d, batch), and the sites in that order.

    There are two parts, real and imaginary, unless all vectors are real.
    """
    num_parts = max(len(group.planes) for group in groups)
    batch = max(group.planes.shape[3] for group in groups if group.planes.ndim == 4)
    places: dict[int, list[int]] = {}
    stacks: dict[int, list[Array]] = {}
    for runs, planes, _ in groups:
        stack = planes if planes.ndim == 4 else planes[..., None]
        if len(stack) < num_parts:
            stack = jnp.concatenate([stack, jnp.zeros_like(stack)])
        d = stack.shape[2]
        places.setdefault(d, []).extend(site for (site,) in runs)
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


def _outer(a: Array, b: Array) -> Array:
    """Vectors (parts, ..., A, batch) and (parts, ..., B, batch) as (parts, ..., A B, batch)."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    product = a * b if len(a) == 1 else jnp.stack(_complex_product(a, b))
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
