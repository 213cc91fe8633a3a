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
from qjax.sim._kernels import Unit, dot, kron_columns, sites_of
from qjax.sim._layout import COMPONENT, Order
from qjax.sim._tables import PhaseTerms

__all__ = ["PhaseLayout", "phase_layout", "phase_tables", "phase_units", "table_sums"]

LARGEST_GROUP = 6  # sites
LARGEST_TABLE = 2**12
LARGEST_JOINT = 2**18  # entries of the matrix that makes several tables at once
MOST_CROSSING = 6
LARGEST_CROSSING = 6  # sites

Term = tuple[tuple[int, ...], tuple[tuple[float, float], ...]]


class PhaseLayout(NamedTuple):
    """How tables lie over the state.

    Attributes:
        order: of the axes.
        tables: per table the positions, among the sites of the order, that it covers.
        runs: sizes of the runs of sites between two boundaries.
        shapes: per table its shape, one wherever it broadcasts, without batch.
        axis: of the component among the runs, or None.
        merged: positions of tables whose cosines are multiplied out, in pairs, or one by one.
    """

    order: Order
    tables: tuple[tuple[int, ...], ...]
    runs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    axis: int | None
    merged: tuple[tuple[int, ...], ...]


def phase_layout(order: Order, terms: Sequence[Term], dims: Sequence[int]) -> PhaseLayout:
    """Chooses groups of axes for the given terms."""
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
    return _with_shapes(order, tuple(tables), sites, dims)._replace(merged=tuple(merged))


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
    return PhaseLayout(order, tables, runs, shapes, axis, ())


def phase_tables(
    steps: Sequence[tuple[PhaseLayout, dict[bool, PhaseTerms]]], dims: Sequence[int], dtype: Any
) -> list[tuple[Array, ...]]:
    """The tables of several diagonals, each (repeats in a loop, entries, batch or 1).

    Tables of phases that a batch shares are made together, by one product: to a small circuit, and
    to the compiler, each operation costs the same, however few numbers it makes.
    """
    pieces: list[list[list[Any]]] = []  # per step and table what is summed
    waiting: list[tuple[list[Any], Array, np.ndarray]] = []  # where to, angles, (terms, entries)
    for layout, parts in steps:
        tables: list[list[Any]] = [[] for _ in layout.tables]
        pieces.append(tables)
        for sample, part in parts.items():
            for table, (angles, left, right) in _shares(layout, part, dims):
                if angles is None:
                    tables[table].append(jnp.asarray((left.T @ right).reshape(-1, 1), dtype))
                elif sample or angles.ndim > 1 or left.shape[1] > 1:
                    tables[table].append(_weighted(angles, left, right, sample))
                else:
                    waiting.append((tables[table], angles, left * right))
    for summands, values in _joint(waiting):
        summands.append(values)
    return [
        tuple(
            reduce(jnp.add, summands)
            if summands
            else jnp.zeros((_entries(layout, t, dims), 1), dtype)
            for t, summands in enumerate(tables)
        )
        for (layout, _), tables in zip(steps, pieces, strict=True)
    ]


def _entries(layout: PhaseLayout, table: int, dims: Sequence[int]) -> int:
    sites = sites_of(layout.order)
    return prod(dims[sites[p]] for p in layout.tables[table])


def _shares(layout: PhaseLayout, part: PhaseTerms, dims: Sequence[int]) -> Iterator[tuple]:
    """What terms add to which table: (table, (angles or None, two factors of the phases)).

    The factors are (terms, entries of a half): of tables that are not large, the first has one.
    """
    sites = sites_of(layout.order)
    place = {site: i for i, site in enumerate(sites)}
    covers = [set(table) for table in layout.tables]
    for terms, angles in ((part.columns, part.angles), (part.fixed, None)):
        homes = np.asarray([_home(term, place, covers) for term in terms])
        for t, table in enumerate(layout.tables):
            if not (homes == t).any():
                continue
            half = len(table) // 2 if _entries(layout, t, dims) > LARGEST_TABLE else 0
            left = np.stack([_row(term, table[:half], sites, dims) for term in terms])
            right = np.stack([_row(term, table[half:], sites, dims) for term in terms])
            yield t, (angles, 1.0 * (homes == t)[:, None] * left, right)


def _joint(
    waiting: Sequence[tuple[list[Any], Array, np.ndarray]],
) -> Iterator[tuple[list[Any], Array]]:
    """Products angles @ matrix, (entries, 1), of many small ones at once."""
    vectors = list({id(angles): angles for _, angles, _ in waiting}.values())
    starts = dict(zip(map(id, vectors), _starts(vectors), strict=True))
    edges = _starts([matrix.T for _, _, matrix in waiting])
    total = (sum(map(len, vectors)), sum(matrix.shape[1] for _, _, matrix in waiting))
    if total[0] * total[1] > LARGEST_JOINT:
        for target, angles, matrix in waiting:
            yield target, _matmul(angles, matrix)[:, None]
    elif waiting:
        whole = np.zeros(total)
        for edge, (_, angles, matrix) in zip(edges, waiting, strict=True):
            start = starts[id(angles)]
            whole[start : start + len(angles), edge : edge + matrix.shape[1]] = matrix
        values = _matmul(jnp.concatenate(vectors), whole)[:, None]
        parts = lax.split(values, [matrix.shape[1] for _, _, matrix in waiting])
        for (target, _, _), part in zip(waiting, parts, strict=True):
            yield target, part


def _starts(arrays: Sequence[Any]) -> list[int]:
    """Where each begins if they are put one behind the other."""
    return [0, *accumulate(map(len, arrays))][: len(arrays)]


def _matmul(a: Array, b: Any) -> Array:
    return jnp.matmul(a, jnp.asarray(b, a.dtype), precision="highest")


def _weighted(angles: Any, left: np.ndarray, right: np.ndarray, batched: bool) -> Array:
    """sum_t angles_t left_t right_t: (..., terms[, batch]) to (..., entries, batch or 1)."""
    if not batched and left.shape[1] == 1:
        return _matmul(angles, left * right)[..., None]
    first, second = (jnp.asarray(a, angles.dtype) for a in (left, right))
    if batched:
        table = jnp.einsum("...tb,ta,tc->...acb", angles, first, second, precision="highest")
        return table.reshape((*table.shape[:-3], -1, table.shape[-1]))
    weighted = (angles[..., None] * first).swapaxes(-1, -2)
    table = jnp.matmul(weighted, second, precision="highest")
    return table.reshape((*table.shape[:-2], -1, 1))


def phase_units(steps: Sequence[tuple[PhaseLayout, Sequence[Array]]]) -> list[tuple[Unit, ...]]:
    """Cosines and sines of the tables of several diagonals, which broadcast against the state."""
    shared = {
        (s, t): table.reshape(-1)
        for s, (_, tables) in enumerate(steps)
        for t, table in enumerate(tables)
        if table.shape[-1] == 1
    }
    known: dict[tuple[int, int], Array] = {}
    small = {key: table for key, table in shared.items() if len(table) <= LARGEST_TABLE}
    if small:
        whole = _waves(jnp.concatenate(list(small.values())), _ROWS)
        parts = lax.split(whole, [len(table) for table in small.values()], axis=1)
        known |= zip(small, parts, strict=True)
    for key, table in shared.items():
        if key not in small:  # not all at once, which would take the memory of several states
            known[key] = _waves(table, _ROWS[-2:])
    result = []
    for s, (layout, tables) in enumerate(steps):
        units = []
        for group in layout.merged:
            shape = np.broadcast_shapes(*(layout.shapes[t] for t in group))
            if all((s, t) in known for t in group):
                flat = _sums([known[s, t] for t in group])
                unit = Unit(*(part.reshape((*shape, 1)) for part in flat))
            else:
                total: Any = sum(tables[t].reshape((*layout.shapes[t], -1)) for t in group)
                unit = Unit(jnp.cos(total), jnp.sin(total))
            units.append(unit)
        result.append(tuple(units))
    return result


# c, -s, s, c, s of (c, s): cos(a+b) = (c, -s) . (c, s) and sin(a+b) = (s, c) . (c, s).
_ROWS = np.array([[1.0, 0.0], [0.0, -1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])


def _waves(phases: Array, rows: np.ndarray) -> Array:
    """Combinations of cosine and sine of the phases, (rows, phases).

    They come out of a matrix product: XLA would otherwise fuse a cosine with the pass over the
    state and compute it anew for every number of it. The barrier keeps it from seeing through the
    product, which of a stack is a sum of products with its rows.
    """
    unit = lax.optimization_barrier(jnp.stack([jnp.cos(phases), jnp.sin(phases)]))
    return _matmul(jnp.asarray(rows, phases.dtype), unit)


def _sums(waves: Sequence[Array]) -> Unit:
    """Of one table; or of all sums of an entry of one and an entry of the other, (A * B,)."""
    if len(waves) == 1:
        return Unit(waves[0][-2], waves[0][-1])
    left, right = waves[0][:4].reshape(2, 2, -1), waves[1][-2:]
    product = dot(left, right, (((1,), (0,)), ((), ()))).reshape(2, -1)
    return Unit(product[0], product[1])


def _home(term: Term, place: dict[int, int], covers: list[set[int]]) -> int:
    """The first table that covers a term."""
    positions = {place[s] for s in term[0]}
    return next(i for i, cover in enumerate(covers) if positions <= cover)


def _row(term: Term, table: tuple[int, ...], sites: tuple[int, ...], dims: Sequence[int]) -> Any:
    """Phases of one term per unit angle over the entries of a table."""
    columns = dict(zip(*term, strict=True))
    return kron_columns([columns.get(sites[p], (1.0,) * dims[sites[p]]) for p in table])


def table_sums(layout: PhaseLayout, density: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    """Cotangents of the tables, (entries, batch or 1), from that of phases (runs..., batch)."""
    sums = []
    for shape, table in zip(layout.shapes, like, strict=True):
        axes = [i for i, size in enumerate(shape) if size == 1 and layout.runs[i] != 1]
        if table.shape[-1] == 1:
            axes.append(len(shape))
        summed = jnp.sum(density, axis=tuple(axes), keepdims=True)
        sums.append(summed.reshape(-1, table.shape[-1]))
    return tuple(sums)
