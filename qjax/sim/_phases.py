"""Phases of a diagonal as tables: from terms to a few arrays that broadcast against the state.

phi(bits) is a sum of terms, each a product over sites. The axes are cut into groups; terms within
one group are summed in a table of that group, so that cosines are taken of 2 * 2**(n/2) numbers
rather than of 2**n. The few terms that cross groups get a table of their own.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._dot import matmul
from qjax.sim._kernels import Unit, kron_columns
from qjax.sim._layout import COMPONENT, Order, sites_of
from qjax.sim._numbers import Wanted
from qjax.sim._outer import outer_planar
from qjax.sim._tables import PhaseTerms

__all__ = [
    "PhaseLayout",
    "phase_layout",
    "phase_tables",
    "phase_units",
    "table_sums",
    "taken_apart",
]

LARGEST_GROUP = 6  # sites
LARGEST_TABLE = 2**12
LARGEST_JOINT = 2**18  # entries of the matrix that makes several tables at once
LARGEST_PICKED = 2**9  # entries of several tables that are taken apart by products
MOST_CROSSING = 6
LARGEST_CROSSING = 6  # sites

Term = tuple[tuple[int, ...], tuple[tuple[float, float], ...]]


class PhaseLayout(NamedTuple):
    """How tables lie over the state.

    Attributes:
        order: of the axes.
        dims: of its sites.
        tables: per table the positions, among the sites of the order, that it covers.
        runs: sizes of the runs of sites between two boundaries.
        shapes: per table its shape, one wherever it broadcasts, without batch.
        axis: of the component among the runs, or None.
        merged: positions of tables whose cosines are multiplied out, in pairs, or one by one.
        together: whether one array holds all tables: they are small, and the same for all samples.
    """

    order: Order
    dims: tuple[int, ...]
    tables: tuple[tuple[int, ...], ...]
    runs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    axis: int | None
    merged: tuple[tuple[int, ...], ...]
    together: bool


def phase_layout(
    order: Order, terms: Sequence[Term], dims: Sequence[int], *, joint: bool
) -> PhaseLayout:
    """Chooses groups of axes for the given terms.

    Args:
        order: of the axes.
        terms: of the diagonal.
        dims: of all sites.
        joint: whether all tables may be one array.
    """
    sites = sites_of(order)
    count = max(1, -(-len(sites) // LARGEST_GROUP))
    edges = [round(i * len(sites) / count) for i in range(count + 1)]
    groups = [tuple(range(a, b)) for a, b in pairwise(edges)]
    place = {site: i for i, site in enumerate(sites)}
    crossing: list[tuple[int, ...]] = []
    used = [False] * len(groups)
    for chosen, _ in terms:
        positions = tuple(sorted(place[s] for s in chosen))
        inside = [i for i, g in enumerate(groups) if set(positions) <= set(g)]
        if inside:
            used[inside[0]] = True
        elif positions not in crossing:
            crossing.append(positions)
    many = len(crossing) > MOST_CROSSING or any(len(c) > LARGEST_CROSSING for c in crossing)
    if many:
        tables: list[tuple[int, ...]] = [tuple(range(len(sites)))]
        merged: list[tuple[int, ...]] = [(0,)]
    else:
        tables = [g for g, u in zip(groups, used, strict=True) if u]
        merged = [tuple(range(i, min(i + 2, len(tables)))) for i in range(0, len(tables), 2)]
        merged += [(len(tables) + i,) for i in range(len(crossing))]
        tables += crossing
    layout = _with_shapes(order, tuple(tables), sites, dims)
    together = joint and max(_entries(layout)) <= LARGEST_TABLE
    return layout._replace(merged=tuple(merged), together=together)


def _with_shapes(
    order: Order, tables: tuple[tuple[int, ...], ...], sites: tuple[int, ...], dims: Sequence[int]
) -> PhaseLayout:
    """Cuts the sites wherever a table begins or ends, and at the component."""
    component = order.index(COMPONENT) if COMPONENT in order else None
    cuts = {0, len(sites)} | ({component} if component is not None else set())
    for table in tables:
        covered = set(table)
        cuts |= {i for i in range(len(sites)) if (i in covered) != (i - 1 in covered)}
    edges = sorted(cuts)
    spans = list(pairwise(edges))
    runs = tuple(prod(dims[sites[p]] for p in range(a, b)) for a, b in spans)
    shapes = tuple(
        tuple(size if a in table else 1 for (a, _), size in zip(spans, runs, strict=True))
        for table in tables
    )
    axis = None if component is None else [a for a, _ in spans].index(component) if (
        component < len(sites)) else len(spans)  # fmt: skip
    return PhaseLayout(order, tuple(dims[s] for s in sites), tables, runs, shapes, axis, (), False)


def phase_tables(
    steps: Sequence[tuple[PhaseLayout, dict[bool, PhaseTerms]]], dtype: Any
) -> list[tuple[Array, ...]]:
    """The tables of several diagonals, or per diagonal the one array that holds all of them.

    Tables are (repeats in a loop, entries, batch or 1). Those of a diagonal that is `together` are
    one array (repeats in a loop, entries of all): to a small circuit, and to the compiler, each
    operation costs the same, however few numbers it makes. What all diagonals outside loops have
    of shared angles is made by one product.
    """
    pieces: list[list[list[Any]]] = []  # per step and array what is summed
    waiting: list[tuple[list[Any], tuple[int, ...], Wanted, np.ndarray]] = []
    for layout, parts in steps:
        arrays: list[list[Any]] = [[] for _ in _arrays(layout)]
        pieces.append(arrays)
        shares = [
            (sample, each) for sample, part in parts.items() for each in _shares(layout, part)
        ]
        if layout.together:
            shares = [(False, share) for share in _together(layout, [each for _, each in shares])]
        behind = () if layout.together else (1,)
        for sample, (i, angles, left, right) in shares:
            if angles is None:
                arrays[i].append(jnp.asarray((left.T @ right).reshape(-1, *behind), dtype))
            elif sample or left.shape[1] > 1:
                arrays[i].append(_weighted(angles.get("angle"), left, right, sample))
            elif len(angles.shape) > 1:
                found = angles.sums(left * right)
                arrays[i].append(found.reshape(*found.shape, *behind))
            else:
                waiting.append((arrays[i], behind, angles, left * right))
    parts = _joint([each[2:] for each in waiting])
    for (summands, behind, _, _), part in zip(waiting, parts, strict=True):
        summands.append(part.reshape(-1, *behind))
    return [
        tuple(
            reduce(jnp.add, summands) if summands else jnp.zeros(shape, dtype)
            for shape, summands in zip(_arrays(layout), arrays, strict=True)
        )
        for (layout, _), arrays in zip(steps, pieces, strict=True)
    ]


def _arrays(layout: PhaseLayout) -> list[tuple[int, ...]]:
    """Shapes of the arrays of a diagonal, if no sample has its own."""
    entries = _entries(layout)
    return [(sum(entries),)] if layout.together else [(size, 1) for size in entries]


def taken_apart(layout: PhaseLayout, arrays: Sequence[Array]) -> tuple[Array, ...]:
    """The tables (entries, batch or 1) of a diagonal."""
    if not layout.together:
        return tuple(arrays)
    return tuple(lax.expand_dims(part, (1,)) for part in lax.split(arrays[0], _entries(layout)))


def _entries(layout: PhaseLayout) -> list[int]:
    """Of each table."""
    return [prod(shape) for shape in layout.shapes]


Share = tuple[int, Wanted | None, np.ndarray, np.ndarray]


def _shares(layout: PhaseLayout, part: PhaseTerms) -> Iterator[Share]:
    """What terms add to which table: (table, angles or None, two factors of the phases).

    The factors are (terms, entries of a half): of tables that are not large, the first has one.
    """
    sites = sites_of(layout.order)
    place = {site: i for i, site in enumerate(sites)}
    covers = [set(table) for table in layout.tables]
    for terms, angles in ((part.columns, part.angles), (part.fixed, None)):
        homes = np.asarray([_home(term, place, covers) for term in terms])
        for t, (table, entries) in enumerate(zip(layout.tables, _entries(layout), strict=True)):
            if not (homes == t).any():
                continue
            half = len(table) // 2 if entries > LARGEST_TABLE else 0
            left = np.stack([_row(term, table[:half], sites, layout) for term in terms])
            right = np.stack([_row(term, table[half:], sites, layout) for term in terms])
            yield t, angles, 1.0 * (homes == t)[:, None] * left, right


def _together(layout: PhaseLayout, shares: Sequence[Share]) -> Iterator[Share]:
    """Shares of one array that holds all tables."""
    edges = [0, *accumulate(_entries(layout))]
    for own in (True, False):
        chosen = [share for share in shares if (share[1] is not None) == own]
        if chosen:
            whole = np.zeros((len(chosen[0][3]), edges[-1]))
            for t, _, left, right in chosen:
                whole[:, edges[t] : edges[t + 1]] = left * right
            yield 0, chosen[0][1], np.ones((len(whole), 1)), whole


def _joint(waiting: Sequence[tuple[Wanted, np.ndarray]]) -> Sequence[Array]:
    """Products of angles (terms,) with matrices (terms, entries), many small ones at once."""
    if not waiting:
        return []
    edges = [0, *accumulate(matrix.shape[1] for _, matrix in waiting)]
    selection = waiting[0][0].numbers.selection(False)
    count = len(selection.index)
    if max(count, len(selection.joined)) * edges[-1] > LARGEST_JOINT:
        return [wanted.sums(matrix) for wanted, matrix in waiting]
    whole = np.zeros((count, edges[-1]))
    for edge, (wanted, matrix) in zip(edges, waiting, strict=False):
        whole[wanted.start : wanted.start + len(matrix), edge : edge + matrix.shape[1]] = matrix
    return lax.split(selection.sums(whole), [matrix.shape[1] for _, matrix in waiting])


def _weighted(angles: Any, left: np.ndarray, right: np.ndarray, batched: bool) -> Array:
    """sum_t angles_t left_t right_t: (..., terms[, batch]) to (..., entries, batch or 1)."""
    first, second = (jnp.asarray(a, angles.dtype) for a in (left, right))
    if batched:
        table = jnp.einsum("...tb,ta,tc->...acb", angles, first, second, precision="highest")
        return table.reshape((*table.shape[:-3], -1, table.shape[-1]))
    weighted = (angles[..., None] * first).swapaxes(-1, -2)
    table = jnp.matmul(weighted, second, precision="highest")
    return table.reshape((*table.shape[:-2], -1, 1))


def phase_units(steps: Sequence[tuple[PhaseLayout, Sequence[Array]]]) -> list[tuple[Unit, ...]]:
    """Cosines and sines of the tables of several diagonals, which broadcast against the state."""
    known: dict[tuple[int, int], Array] = {}
    vectors: list[Array] = []
    places: list[tuple[int, int]] = []
    for s, (layout, arrays) in enumerate(steps):
        if layout.together:
            vectors.append(arrays[0])
            places += [(s, t) for t in range(len(layout.tables))]
            continue
        for t, array in enumerate(arrays):
            if array.shape[-1] > 1:
                continue
            if len(array) <= LARGEST_TABLE:
                vectors.append(array.reshape(-1))
                places.append((s, t))
            else:  # not all at once, which would take as much memory as several states
                known[s, t] = _waves([array.reshape(-1)], [len(array)])[0]
    sizes = [_entries(steps[s][0])[t] for s, t in places]
    known |= zip(places, _waves(vectors, sizes), strict=True)
    result = []
    for s, (layout, arrays) in enumerate(steps):
        units = []
        for group in layout.merged:
            shape = np.broadcast_shapes(*(layout.shapes[t] for t in group))
            if all((s, t) in known for t in group):
                flat = reduce(outer_planar, [known[s, t] for t in group])
                unit = Unit(*(part.reshape((*shape, 1)) for part in flat))
            else:
                total: Any = sum(arrays[t].reshape((*layout.shapes[t], -1)) for t in group)
                unit = Unit(jnp.cos(total), jnp.sin(total))
            units.append(unit)
        result.append(tuple(units))
    return result


def _waves(vectors: Sequence[Array], sizes: Sequence[int]) -> Sequence[Array]:
    """Cosine and sine of phases, (2, size) of each table.

    They come out of matrix products: XLA would otherwise fuse a cosine with the pass over the
    state and compute it anew for every number of it. The barrier keeps it from seeing through the
    product, which of a stack is a sum of products with its rows.

    Args:
        vectors: of all phases, one behind the other.
        sizes: of the tables.
    """
    if not vectors:
        return []
    phases = lax.concatenate(vectors, 0) if len(vectors) > 1 else vectors[0]
    unit = lax.optimization_barrier(jnp.stack([lax.cos(phases), lax.sin(phases)]))
    edges = list(accumulate(sizes))
    if len(sizes) == 1 or edges[-1] > LARGEST_PICKED:
        return lax.split(matmul(np.eye(2), unit), sizes, axis=1)
    # For each slice XLA would compile a kernel.
    columns = np.split(np.eye(edges[-1]), edges[:-1], axis=1)
    return [matmul(unit, chosen) for chosen in columns]


def _home(term: Term, place: dict[int, int], covers: list[set[int]]) -> int:
    """The first table that covers a term."""
    positions = {place[s] for s in term[0]}
    return next(i for i, cover in enumerate(covers) if positions <= cover)


def _row(term: Term, table: tuple[int, ...], sites: tuple[int, ...], layout: PhaseLayout) -> Any:
    """Phases of one term per unit angle over the entries of a table."""
    columns = dict(zip(*term, strict=True))
    return kron_columns([columns.get(sites[p], (1.0,) * layout.dims[p]) for p in table])


def table_sums(layout: PhaseLayout, density: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    """Cotangents of the arrays that hold the tables, from that of phases (runs..., batch).

    Args:
        layout: of the tables.
        density: cotangent of the phases.
        like: arrays that end in the batch of each table, or one.
    """
    sums = []
    for shape, table in zip(layout.shapes, like, strict=True):
        axes = [i for i, size in enumerate(shape) if size == 1 and layout.runs[i] != 1]
        if table.shape[-1] == 1:
            axes.append(len(shape))
        summed = jnp.sum(density, axis=tuple(axes), keepdims=True)
        sums.append(summed.reshape(-1, table.shape[-1]))
    if layout.together:
        return (lax.concatenate([lax.squeeze(table, (1,)) for table in sums], 0),)
    return tuple(sums)
