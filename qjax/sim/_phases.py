"""Phases of a diagonal as tables: from terms to a few arrays that broadcast against the state.

phi(bits) is a sum of terms, each a product over sites. The axes are cut into groups; terms within
one group are summed in a table of that group, so that cosines are taken of 2 * 2**(n/2) numbers
rather than of 2**n. The few terms that cross groups get a table of their own.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.sim._kernels import kron_columns, sites_of
from qjax.sim._layout import COMPONENT, Order
from qjax.sim._tables import PhaseTerms

__all__ = ["PhaseLayout", "phase_layout", "phase_tables", "table_sums"]

LARGEST_GROUP = 6  # sites
LARGEST_TABLE = 2**12
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
    layout: PhaseLayout, parts: dict[bool, PhaseTerms], dims: Sequence[int], dtype: Any
) -> tuple[Array, ...]:
    """The tables, (repeats in a loop, entries, batch or 1)."""
    sites = sites_of(layout.order)
    place = {site: i for i, site in enumerate(sites)}
    covers = [set(table) for table in layout.tables]
    result: list[Any] = [None] * len(layout.tables)
    for part in parts.values():
        for t, table in enumerate(layout.tables):

            def rows(terms: Sequence[Term], table: Any = table, t: int = t) -> tuple:
                """Two factors, (terms, entries of a half), of the phases of the terms here."""
                half = len(table) // 2 if prod(dims[sites[p]] for p in table) > LARGEST_TABLE else 0
                here = [1.0 * (_home(term, place, covers) == t) for term in terms]
                left = [_row(term, table[:half], sites, dims) for term in terms]
                right = [_row(term, table[half:], sites, dims) for term in terms]
                return np.asarray(here)[:, None] * np.stack(left), np.stack(right)

            value: Any = None
            if part.columns and part.angles is not None:
                left, right = rows(part.columns)
                if left.any():
                    value = _weighted(part.angles, left, right, _is_batched(part, parts))
            if part.fixed:
                left, right = rows(part.fixed)
                if left.any():
                    constant = jnp.asarray((left.T @ right).reshape(-1, 1), dtype)
                    value = constant if value is None else value + constant
            if value is not None:
                result[t] = value if result[t] is None else result[t] + value
    return tuple(r for r in _filled(result, layout, dims, dtype))


def _filled(result: list[Any], layout: PhaseLayout, dims: Sequence[int], dtype: Any) -> list[Any]:
    sites = sites_of(layout.order)
    return [
        jnp.zeros((prod(dims[sites[p]] for p in table), 1), dtype) if r is None else r
        for r, table in zip(result, layout.tables, strict=True)
    ]


def _is_batched(part: PhaseTerms, parts: dict[bool, PhaseTerms]) -> bool:
    return part is parts.get(True)


def _weighted(angles: Any, left: np.ndarray, right: np.ndarray, batched: bool) -> Array:
    """sum_t angles_t left_t right_t: (..., terms[, batch]) to (..., entries, batch or 1)."""
    first, second = (jnp.asarray(a, angles.dtype) for a in (left, right))
    if batched:
        table = jnp.einsum("...tb,ta,tc->...acb", angles, first, second, precision="highest")
        return table.reshape((*table.shape[:-3], -1, table.shape[-1]))
    if left.shape[1] == 1:
        return jnp.matmul(angles * first[:, 0], second, precision="highest")[..., None]
    weighted = (angles[..., None] * first).swapaxes(-1, -2)
    table = jnp.matmul(weighted, second, precision="highest")
    return table.reshape((*table.shape[:-2], -1, 1))


def _home(term: Term, place: dict[int, int], covers: list[set[int]]) -> int:
    """The first table that covers a term."""
    positions = {place[s] for s in term[0]}
    return next(i for i, cover in enumerate(covers) if positions <= cover)


def _row(term: Term, table: tuple[int, ...], sites: tuple[int, ...], dims: Sequence[int]) -> Any:
    """Phases of one term per unit angle over the entries of a table."""
    columns = dict(zip(*term, strict=True))
    return kron_columns([columns.get(sites[p], (1.0,) * dims[sites[p]]) for p in table])


def table_sums(layout: PhaseLayout, density: Array, like: Sequence[Array]) -> tuple[Array, ...]:
    """Cotangents of the tables from that of the phases, (runs..., batch)."""
    sums = []
    for shape, table in zip(layout.shapes, like, strict=True):
        axes = [i for i, size in enumerate(shape) if size == 1 and layout.runs[i] != 1]
        if table.shape[-1] == 1:
            axes.append(len(shape))
        summed = jnp.sum(density, axis=tuple(axes), keepdims=True)
        sums.append(summed.reshape(table.shape))
    return tuple(sums)
