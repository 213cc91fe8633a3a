"""Gates that rename basis states: affine maps of their bits, applied by looking up where each is.

CX, SWAP and X take the basis state of bits b to that of A b + c over the field of two elements. Any
sequence of them is one such map, and the state after it is the state before it read in another
order, whatever the order of the axes: nothing is multiplied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._innermost import linear_primitive
from qjax._typing import Array
from qjax.sim._layout import COMPONENT, Order

__all__ = ["BitMap", "affine_bit_map", "inverse", "joined", "look_up"]

LARGEST_LITERAL = 2**16  # places that are listed in the program rather than computed in it


class BitMap(NamedTuple):
    """Bits b to linear @ b + shift, modulo two.

    Attributes:
        linear: (bits, bits) of 0 and 1.
        shift: (bits,) of 0 and 1.
    """

    linear: np.ndarray
    shift: np.ndarray


def affine_bit_map(matrix: np.ndarray) -> BitMap | None:
    """The map of a permutation matrix whose bits are affine; None for any other matrix.

    Args:
        matrix: (2**k, 2**k); bit 0 is the most significant of the index.
    """
    size = len(matrix)
    count = size.bit_length() - 1
    if not (np.isin(matrix, (0.0, 1.0)).all() and (matrix.sum(axis=0) == 1).all()):
        return None
    images = _bits(np.argmax(np.real(matrix), axis=0), count)
    shift = images[0]
    linear = np.stack([images[1 << (count - 1 - b)] ^ shift for b in range(count)], axis=1)
    expected = (_bits(np.arange(size), count) @ linear.T + shift) % 2
    return BitMap(linear, shift) if (expected == images).all() else None


def _bits(numbers: np.ndarray, count: int) -> np.ndarray:
    return (numbers[:, None] >> np.arange(count)[::-1]) & 1


def joined(maps: Sequence[tuple[BitMap, tuple[int, ...]]], sites: Sequence[int]) -> BitMap:
    """The map of several ones after each other.

    Args:
        maps: each with the sites that it acts on, the first to act first.
        sites: all of them.
    """
    place = {site: i for i, site in enumerate(sites)}
    linear, shift = np.eye(len(sites), dtype=int), np.zeros(len(sites), dtype=int)
    for bit_map, acted_on in maps:
        own = [place[site] for site in acted_on]
        linear[own] = bit_map.linear @ linear[own] % 2
        shift[own] = (bit_map.linear @ shift[own] + bit_map.shift) % 2
    return BitMap(linear, shift)


def inverse(bit_map: BitMap) -> BitMap:
    """The map back."""
    count = len(bit_map.shift)
    rows = np.concatenate([bit_map.linear, np.eye(count, dtype=int)], axis=1) % 2
    for column in range(count):  # Gauss and Jordan
        pivot = column + int(np.argmax(rows[column:, column]))
        rows[[column, pivot]] = rows[[pivot, column]]
        others = (rows[:, column] == 1) & (np.arange(count) != column)
        rows[others] ^= rows[column]
    linear = rows[:, count:]
    return BitMap(linear, linear @ bit_map.shift % 2)


def look_up(
    state: Array, before: Order, after: Order, sites: Sequence[int], bit_map: BitMap
) -> Array:
    """Applies a map of bits and brings the axes into another order, in one pass.

    Args:
        state: (numbers, batch), all axes of size two.
        before: order of its axes.
        after: order of the axes of the result.
        sites: that the map is of.
        bit_map: from the bits before to those after.
    """
    return _lookup.bind(state, where=_Where(before, after, tuple(sites), bit_map))


@dataclass(frozen=True, eq=False)
class _Where:
    """What a lookup does, compared by identity."""

    before: Order
    after: Order
    sites: tuple[int, ...]
    bit_map: BitMap


def _impl(state: Array, *, where: _Where) -> Array:
    before, after, sites, bit_map = where.before, where.after, where.sites, where.bit_map
    if COMPONENT not in before:
        return _look_up(state, before, after, sites, bit_map)
    # One part at a time: XLA makes the lookup and what comes before it one loop, which is slow
    # where that joins two parts.
    cut, end = before.index(COMPONENT), after.index(COMPONENT)
    view = state.reshape(1 << cut, 2, -1)
    places = tuple(a for a in before if a != COMPONENT), tuple(a for a in after if a != COMPONENT)
    parts = []
    for i in (0, 1):
        part = lax.index_in_dim(view, i, 1, keepdims=False)
        moved = _look_up(part.reshape(1 << (len(before) - 1), -1), *places, sites, bit_map)
        parts.append(moved.reshape(1 << end, -1))
    return jnp.stack(parts, axis=1).reshape(state.shape)


def _look_up(
    state: Array, before: Order, after: Order, sites: Sequence[int], bit_map: BitMap
) -> Array:
    """`look_up` of one part."""
    back = inverse(bit_map)
    count = len(before)
    found, own = {axis: i for i, axis in enumerate(after)}, {s: i for i, s in enumerate(sites)}
    reads = np.zeros((count, count), dtype=int)  # which bits after make each bit before
    fixed = np.zeros(count, dtype=int)
    for row, axis in enumerate(before):
        if axis not in own:
            reads[row, found[axis]] = 1
            continue
        fixed[row] = back.shift[own[axis]]
        for site, bit in zip(sites, back.linear[own[axis]], strict=True):
            reads[row, found[site]] = bit
    places = 1 << np.arange(count)[::-1]
    columns = [int(c) for c in places @ reads]  # per bit after, what it adds to the place before
    start, kept = int(places @ fixed), _kept(reads, fixed)
    outer, inner = _tables([c >> kept for c in columns[: count - kept]], start >> kept)
    if len(outer) * len(inner) <= LARGEST_LITERAL:
        index: Any = outer[:, None] ^ inner
    else:  # tied to the state, or a loop would compute the places once and keep them
        first, state = lax.optimization_barrier((jnp.asarray(outer), state))
        index = first[:, None] ^ jnp.asarray(inner)
    view = state.reshape(1 << (count - kept), -1)
    return lax.gather(
        view,
        index.reshape(-1, 1),
        lax.GatherDimensionNumbers(
            offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,)
        ),
        slice_sizes=(1, view.shape[1]),
        unique_indices=True,
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    ).reshape(state.shape)


def _kept(reads: np.ndarray, fixed: np.ndarray) -> int:
    """How many of the last bits stay what and where they are, and move nothing else."""
    count = 0
    while count < len(fixed):
        bit = len(fixed) - 1 - count
        alone = np.arange(len(fixed)) == bit
        if fixed[bit] or (reads[bit] != alone).any() or (reads[:, bit] != alone).any():
            break
        count += 1
    return count


def _tables(columns: Sequence[int], start: int) -> tuple[np.ndarray, np.ndarray]:
    """Places to read, the places of all pairs without carry: start in the first table."""

    def table(some: Sequence[int], first: int) -> np.ndarray:
        places = np.array([first], np.int32)
        for column in some:
            places = np.stack([places, places ^ np.int32(column)], axis=1).reshape(-1)
        return places

    half = len(columns) // 2
    return table(columns[:half], start), table(columns[half:], 0)


def _back(slope: Array, shape: tuple[int, ...], *, where: _Where) -> Array:
    return look_up(slope, where.after, where.before, where.sites, inverse(where.bit_map))


_lookup = linear_primitive(
    "qjax_look_up",
    _impl,
    lambda shape, *, where: shape,
    _back,
    lambda size, *, where: {"where": where},
)
