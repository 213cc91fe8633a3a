"""What the chains of a plan, gates on one site before any that joins sites, make of |0>."""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.sim._dot import matmul
from qjax.sim._layout import Order, halves
from qjax.sim._lowering import Factor
from qjax.sim._numbers import Numbers
from qjax.sim._plan import MOST_PRODUCTS, Plan, by_products, is_sample
from qjax.sim._tables import (
    Linear,
    Pair,
    as_pair,
    combine,
    complex_product,
    from_function,
    linear_form,
    outer_features,
)
from qjax.sim._waves import in_waves, waves

__all__ = ["Vectors", "chain_vectors"]

LARGEST_RUN = 2**8  # entries of the vector of several sites that is made in one go

_START = {2: np.array([1.0, 0.0]), 4: np.array([1.0, 0.0, 0.0, 1.0])}  # |0>, as Pauli coefficients


class Vectors(NamedTuple):
    """Vectors of several runs of sites that are alike.

    Attributes:
        runs: the sites of each.
        planes: (parts, runs, entries), or with the batch behind them; the parts are real and
            imaginary, or real alone.
        axis: of the parts, which may come behind the runs.
    """

    runs: list[tuple[int, ...]]
    planes: Array
    axis: int = 0


def chain_vectors(
    plan: Plan, numbers: Numbers, dtype: Any, order: Order
) -> Callable[[], list[Vectors]]:
    """Vectors of all sites, those with the same chain at once.

    Args:
        plan: whose chains.
        numbers: that serve them.
        dtype: real dtype of the vectors.
        order: of the axes of the state that they will make.
    """
    joined = by_products(plan) and not any(is_sample(f, plan.task) for c in plan.chains for f in c)
    runs = _joined_runs(plan, order) if joined else [(site,) for site in range(len(plan.dims))]
    groups: dict[Any, list[tuple[int, ...]]] = {}
    for run in runs:
        groups.setdefault(tuple(_key(site, plan) for site in run), []).append(run)
    waiting = [
        (alike, 1, _joined(alike, plan, numbers, dtype))
        if joined and all(_products(site, plan) for site in alike[0])
        else (alike, 0, _chain([site for (site,) in alike], plan, numbers, dtype))
        for alike in groups.values()
    ]
    return lambda: [Vectors(alike, answer(), axis) for alike, axis, answer in waiting]


def _key(site: int, plan: Plan) -> Any:
    """Equal for sites whose vectors are built together."""
    chain = plan.chains[site]
    forms = tuple((f.form, bool(f.references), is_sample(f, plan.task), f.data) for f in chain)
    return forms, plan.dims[site]


def _linear(factor: Factor) -> Linear | None:
    return linear_form(factor.form, bool(factor.references))


def _products(site: int, plan: Plan) -> int:
    """Of functions of angles, whose sum the vector is; 0 if it is not one, or not one of few."""
    linear = [_linear(factor) for factor in plan.chains[site]]
    if any(form is None for form in linear):
        return 0
    count = prod(
        len(form.features)
        for form, factor in zip(linear, plan.chains[site], strict=True)
        if form is not None and factor.references
    )
    return count if count <= MOST_PRODUCTS else 0


def _joined_runs(plan: Plan, order: Order) -> list[tuple[int, ...]]:
    """Neighbours in an order, as many as one product makes the joint vector of."""
    runs: list[tuple[int, ...]] = []
    for half in halves(order):
        run: tuple[int, ...] = ()
        products = entries = 1
        for site in half:
            more = _products(site, plan)
            if not more:
                runs += [run, (site,)] if run else [(site,)]
                run, products, entries = (), 1, 1
                continue
            products, entries = products * more, entries * plan.dims[site]
            if run and (products > MOST_PRODUCTS or entries > LARGEST_RUN):
                runs.append(run)
                run, products, entries = (), more, plan.dims[site]
            run = (*run, site)
        if run:
            runs.append(run)
    return runs


def _features(factor: Factor) -> tuple[str, ...]:
    linear = _linear(factor)
    assert linear is not None
    return linear.features


def _table(factors: Sequence[Factor], d: int) -> np.ndarray:
    """Matrices of linear factors, (features of each with an angle..., d, d)."""
    whole = np.eye(d)[None]
    counts = []
    for factor in factors:
        linear = _linear(factor)
        assert linear is not None
        whole = np.stack([part @ whole for part in linear.basis], axis=1).reshape(-1, d, d)
        if factor.references:
            counts.append(len(linear.features))
    return whole.reshape((*counts, d, d))


def _joined(
    runs: list[tuple[int, ...]], plan: Plan, numbers: Numbers, dtype: Any
) -> Callable[[], Array]:
    """Planes (runs, parts, entries) of runs with the same chains, by one product."""
    tables = []
    for site in runs[0]:
        d = plan.dims[site]
        tables.append((_table(plan.chains[site], d) @ _START[d]).reshape(-1, d))
    pair = as_pair(reduce(np.kron, tables))  # (products, entries)
    basis = np.stack([part for part in pair if part is not None], axis=1)
    angles = [[f for s in run for f in plan.chains[s] if f.references] for run in runs]
    if not angles[0]:
        fixed = np.broadcast_to(basis[0], (len(runs), *basis.shape[1:]))
        return lambda: jnp.asarray(fixed, dtype)
    wanted = numbers.ask(
        [f.references[0] for each in angles for f in each], (len(runs), len(angles[0])), False
    )
    weights, basis = in_waves([_features(f) for f in angles[0]], basis)

    def ready() -> Array:
        flat = matmul(waves(wanted, weights), basis.reshape(len(basis), -1)).astype(dtype)
        return flat.reshape(len(runs), *basis.shape[1:])

    return ready


def _chain(sites: list[int], plan: Plan, numbers: Numbers, dtype: Any) -> Callable[[], Array]:
    """Planes of sites with one chain, in steps of factors that are linear in their features."""
    d = plan.dims[sites[0]]
    chain = plan.chains[sites[0]]
    steps: list[Callable[[Pair], Pair]] = []
    run: list[int] = []
    products = 1

    def close() -> None:
        nonlocal run, products
        if run:
            steps.append(_chain_step(run, sites, plan, numbers))
        run, products = [], 1

    for i, factor in enumerate(chain):
        linear = _linear(factor)
        if linear is None:
            close()
            factors = [plan.chains[s][i] for s in sites]
            inner = from_function(
                factor.form, factors, is_sample(factor, plan.task), numbers, dtype
            )
            steps.append(lambda v, inner=inner: multiply_vector(_batch_behind(inner()), v))
            continue
        grown = products * len(linear.features)
        if run and grown > MOST_PRODUCTS:
            close()
            grown = len(linear.features)
        run.append(i)
        products = grown
    close()

    def ready() -> Array:
        vector = Pair(np.broadcast_to(_START[d], (len(sites), d)))
        for step in steps:
            vector = step(vector)
        parts = [jnp.asarray(part, dtype) for part in vector if part is not None]
        return jnp.stack(parts)

    return ready


def _batch_behind(pair: Pair) -> Pair:
    """Matrices (sites, batch, d, d) as (sites, d, d, batch)."""
    return Pair(*(p if p is None or p.ndim == 3 else jnp.moveaxis(p, 1, -1) for p in pair))


def _chain_step(
    run: list[int], sites: list[int], plan: Plan, numbers: Numbers
) -> Callable[[Pair], Pair]:
    """A run of linear factors on every site, angles of the batch apart from shared ones."""
    chain = plan.chains[sites[0]]
    basis = _table([chain[i] for i in run], plan.dims[sites[0]])
    angles = [i for i in run if chain[i].references]
    features = [_features(chain[i]) for i in angles]
    split = {s: [k for k, i in enumerate(angles) if is_sample(chain[i], plan.task) == s]
             for s in (False, True)}  # fmt: skip
    order = split[False] + split[True]
    basis = basis.transpose((*order, len(angles), len(angles) + 1))
    asked = {}
    for sample, members in split.items():
        if members:
            references = [plan.chains[s][angles[k]].references[0] for s in sites for k in members]
            asked[sample] = (
                tuple(features[k] for k in members),
                numbers.ask(references, (len(sites), len(members)), sample),
            )

    def step(vector: Pair) -> Pair:
        fixed = isinstance(vector.real, np.ndarray) and vector.imag is None
        table = basis @ vector.real[0] if fixed else basis  # (features..., d[, d])
        tail = table.shape[len(angles) :]
        counts = [prod(table.shape[: len(split[False])]), prod(
            table.shape[len(split[False]) : len(angles)])]  # fmt: skip
        table = table.reshape((*counts, *tail))
        matrix = _mix(table, asked, len(sites))
        return matrix if fixed else multiply_vector(matrix, vector)

    return step


def _mix(table: np.ndarray, asked: dict[bool, Any], count: int) -> Pair:
    """Sums a table (shared products, sample products, ...) to (sites, ..., batch or nothing)."""
    tail = table.shape[2:]
    if not asked:
        return as_pair(np.broadcast_to(table[0, 0], (count, *tail)))
    if False in asked:
        pair = combine(outer_features(*asked[False]), table)  # (sites, sample products, ...)
    else:
        pair = as_pair(np.broadcast_to(table[0], (count, *table.shape[1:])))
    if True not in asked:
        return Pair(*(None if p is None else p[:, 0] for p in pair))
    products = jnp.moveaxis(outer_features(*asked[True]), -1, 1)  # (sites, products, batch)
    spread = products.reshape((*products.shape[:2], *(1,) * len(tail), products.shape[-1]))
    return Pair(*(
        None if p is None else jnp.sum(spread * jnp.asarray(p, products.dtype)[..., None], axis=1)
        for p in pair
    ))  # fmt: skip


def multiply_vector(matrix: Pair, vector: Pair) -> Pair:
    """Complex matrices (sites, d, d[, batch]) times vectors (sites, d[, batch])."""

    def one(m: Any, v: Any) -> Any:
        if isinstance(m, np.ndarray) and isinstance(v, np.ndarray):
            return np.einsum("sij,sj->si", m, v)
        rank = max(m.ndim - 1, v.ndim)
        m = m if m.ndim - 1 == rank else m[..., None]
        v = v if v.ndim == rank else v[..., None]
        return jnp.sum(jnp.asarray(m) * jnp.asarray(v)[:, None], axis=2)

    return complex_product(matrix, vector, one)
