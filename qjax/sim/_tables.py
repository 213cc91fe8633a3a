"""From blocks to numbers: the matrices and phases that a plan needs, all of one form at once.

A gate's matrix is linear in a few functions of its angle, (cos, sin) for most. A block of gates is
therefore linear in the products of these functions, and all blocks of one form, in every layer, are
one matrix product of their products with a constant, made in float64 when the plan is traced. Fixed
gates disappear in that constant. Complex matrices are pairs of real arrays throughout.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.sim._lowering import Factor, Form
from qjax.sim._numbers import Numbers, Wanted
from qjax.sim._outer import multiply_neighbours, outer_product
from qjax.sim._plan import MOST_PRODUCTS, Block, Plan, Segment, products_fit

__all__ = ["Pair", "PhaseTerms", "block_tables", "chain_vectors"]

LARGE_STATE = 2**15  # numbers from which matrices are taken by products
MOST_ROWS = 512  # of all matrices of one form together


class Pair(NamedTuple):
    """Real and imaginary part of an array; the latter None where it is zero."""

    real: Any
    imag: Any = None


def as_pair(matrix: np.ndarray) -> Pair:
    """Splits a NumPy array."""
    imag = np.imag(matrix)
    return Pair(np.real(matrix), imag if imag.any() else None)


def phase_table(form: Form) -> np.ndarray:
    """Phases per unit angle, (K,)."""
    assert form.columns is not None
    return reduce(np.kron, [np.asarray(c) for c in form.columns])


class _Linear(NamedTuple):
    """A matrix as sum_f feature_f basis_f."""

    features: tuple[str, ...]
    basis: np.ndarray


@lru_cache(maxsize=4096)
def _linear(form: Form, has_angle: bool) -> _Linear | None:
    """The form as a linear function of features; None if it has no such form."""
    if form.basis is not None:
        return _Linear(form.features, form.basis)
    if form.columns is None:
        return None
    table = phase_table(form)
    if not has_angle:
        return _Linear(("1",), np.diag(np.exp(1j * table))[None])
    if not set(np.abs(table).round(12)) <= {0.0, 1.0}:
        return None
    idle, active = np.diag(1.0 * (table == 0)), np.diag(1.0 * (table != 0))
    parts = [("1", idle), ("cos", active), ("sin", 1j * np.diag(table))]
    parts = [(name, part) for name, part in parts if part.any()]
    return _Linear(tuple(n for n, _ in parts), np.stack([p for _, p in parts]))


class _Piece(NamedTuple):
    """A run of a block's factors that is built in one go.

    Attributes:
        kind: "linear", "phases", "chain" (single sites, product by product) or "function".
        members: positions of its factors in the block.
        angles: of those with an angle.
        features: per angle the functions it enters by.
        basis: (products of features, K, K) for a linear piece.
    """

    kind: str
    members: tuple[int, ...]
    angles: tuple[int, ...] = ()
    features: tuple[tuple[str, ...], ...] = ()
    basis: np.ndarray | None = None


Sketch = tuple[tuple[Form, tuple[int, ...], bool], ...]  # per factor: form, local sites, has angle


def _sketch(block: Block) -> Sketch:
    return tuple(
        (form, sites, bool(factor.references))
        for (form, sites), factor in zip(block.localised, block.factors, strict=True)
    )


@lru_cache(maxsize=2048)
def _pieces(sketch: Sketch, dims: tuple[int, ...]) -> tuple[_Piece, ...]:
    """Cuts a block into pieces, the first to act first."""
    size = prod(dims)
    pieces: list[_Piece] = []
    run: list[int] = []
    products = 1

    def close() -> None:
        nonlocal run, products
        if run:
            pieces.append(_linear_piece(sketch, run, dims))
        run, products = [], 1

    for i, (form, _, has_angle) in enumerate(sketch):
        linear = _linear(form, has_angle)
        if linear is None:
            close()
            kind = "phases" if form.columns is not None else "function"
            pieces.append(_Piece(kind, (i,)))
            continue
        grown = products * len(linear.features)
        if run and has_angle and not products_fit(grown, size):
            close()
            grown = len(linear.features)
        run.append(i)
        products = grown
    close()
    return tuple(pieces)


def _apply_left(whole: np.ndarray, matrix: np.ndarray, sites: tuple[int, ...], dims: Any) -> Any:
    """matrix @ whole on some row sites of (..., K, columns)."""
    lead, columns = whole.shape[:-2], whole.shape[-1]
    sizes = [dims[s] for s in sites]
    tensor = whole.reshape((-1, *dims, columns))
    axes = [1 + s for s in sites]
    small = matrix.reshape((*sizes, *sizes))
    k = len(sites)
    moved = np.tensordot(small, tensor, axes=(list(range(k, 2 * k)), axes))
    moved = np.moveaxis(moved, list(range(k)), axes)
    return moved.reshape((*lead, *whole.shape[-2:]))


def _linear_piece(sketch: Sketch, run: list[int], dims: tuple[int, ...]) -> _Piece:
    whole = np.eye(prod(dims))[None]
    angles, features = [], []
    for i in run:
        form, sites, has_angle = sketch[i]
        linear = _linear(form, has_angle)
        assert linear is not None
        parts = [_apply_left(whole, part, sites, dims) for part in linear.basis]
        stacked = np.stack(parts, axis=1)  # later angles vary fastest
        whole = stacked.reshape((-1, *stacked.shape[2:]))
        if has_angle:
            angles.append(i)
            features.append(linear.features)
    return _Piece("linear", tuple(run), tuple(angles), tuple(features), whole)


def _outer_features(features: Sequence[tuple[str, ...]], wanted: Wanted) -> Array:
    """Products of the features of several angles, (..., batch, products), later ones fastest.

    Args:
        features: per angle.
        wanted: of shape (..., angles), batch after it.
    """
    lead = len(wanted.shape) - 1
    parts = []
    start = 0
    for names, run in groupby(features):  # neighbours with the same features
        count = len(list(run))
        like = wanted.get("angle")
        values = [jnp.ones_like(like) if n == "1" else wanted.get(n) for n in names]
        stacked = jnp.moveaxis(jnp.stack(values, axis=-1), lead, -2)  # (..., batch, angles, names)
        if count < len(features):
            stacked = stacked[..., start : start + count, :]
        parts.append(multiply_neighbours(stacked, stacked.ndim - 2, outer_product))
        start += count
    return reduce(outer_product, parts)


Rows = list[list[Block]]  # (blocks that are built together, repeats)


def block_tables(plan: Plan, numbers: Numbers, dtype: Any) -> Callable[[], list[list[Any]]]:
    """Looks at all blocks, then builds what the engine applies.

    Returns:
        A function that gives per segment and block: for a dense block a `Pair` of matrices,
        (repeats, K, K) in a loop and (K, K) elsewhere, NumPy where they are fixed, batch last if
        they differ from sample to sample; for phases `PhaseTerms` by whether they differ from
        sample to sample; for a split block None.
    """
    groups: dict[Any, list[tuple[int, int]]] = {}
    waiting: list[tuple[list[tuple[int, int]], Callable[[], list[Any]]]] = []
    for s, segment in enumerate(plan.segments):
        for j, block in enumerate(segment.blocks):
            if block.kind == "dense":
                groups.setdefault(_group_key(block, segment, plan), []).append((s, j))
            elif block.kind == "phases":
                terms = _phase_terms([row[j] for row in segment.rows], numbers)
                waiting.append(([(s, j)], lambda terms=terms: [terms()]))
    for members in groups.values():
        rows = [[row[j] for row in plan.segments[s].rows] for s, j in members]
        waiting.append((members, _matrices(rows, plan, numbers, dtype)))

    def ready() -> list[list[Any]]:
        tables: list[list[Any]] = [[None] * len(segment.blocks) for segment in plan.segments]
        for members, answer in waiting:
            for (s, j), value in zip(members, answer(), strict=True):
                tables[s][j] = value
        return tables

    return ready


def _group_key(block: Block, segment: Segment, plan: Plan) -> Any:
    """Equal for blocks that are built together."""
    dims = tuple(plan.dims[site] for site in block.sites)
    unique = object() if any(f.data is not None for f in block.factors) else None
    return (_sketch(block), dims, block.sample, segment.repeats, unique)


def _matrices(rows: Rows, plan: Plan, numbers: Numbers, dtype: Any) -> Callable[[], list[Pair]]:
    """Matrices of blocks of one form."""
    first = rows[0][0]
    dims = tuple(plan.dims[s] for s in first.sites)
    take = _take_by_product if _is_slow_to_cut(rows, plan) else _take
    makers = [_maker(piece, rows, dims, numbers, dtype) for piece in _pieces(_sketch(first), dims)]

    def ready() -> list[Pair]:
        whole: Pair | None = None
        for maker in makers:
            part = maker()
            whole = part if whole is None else multiply(part, whole)
        assert whole is not None
        return [take(whole, i, rows, first.sample) for i in range(len(rows))]

    return ready


def _is_slow_to_cut(rows: Rows, plan: Plan) -> bool:
    """Whether matrices are to be taken by products.

    XLA compiles a kernel for each slice on a CPU, some 25 ms of its time, but calls its library for
    a product. That takes longer to run, which is not seen beside passes over a large state.
    """
    first, repeats = rows[0][0], len(rows[0])
    is_plain = not first.sample and plan.task.device == "cpu"
    few = 1 < len(rows) <= MOST_ROWS // _rows_each(first.size, repeats)
    return is_plain and few and prod(plan.dims) >= LARGE_STATE


def _rows_each(size: int, repeats: int) -> int:
    """As how many rows the matrices of one block are taken; those of a loop as long ones."""
    return size if repeats == 1 else min(size, repeats)


def _take_by_product(whole: Pair, i: int, rows: Rows, sample: bool) -> Pair:
    """As `_take`, from (matrices, K, K) by a product of all with rows of a unit."""
    assert not sample
    size, repeats = rows[0][0].size, len(rows[0])
    count = _rows_each(size, repeats)
    chosen = np.eye(len(rows) * count)[i * count : (i + 1) * count]
    shape = (size, size) if repeats == 1 else (repeats, size, size)

    def part(array: Any) -> Any:
        if array is None or isinstance(array, np.ndarray):
            return array
        flat = array.reshape(len(rows) * count, -1)
        return _matmul(jnp.asarray(chosen, array.dtype), flat).reshape(shape)

    return Pair(part(whole.real), part(whole.imag))


def _take(whole: Pair, i: int, rows: Rows, sample: bool) -> Pair:
    """Matrices of one block: (K, K), repeats in front in a loop, batch last."""
    repeats = len(rows[0])

    def part(array: Any) -> Any:
        if array is None:
            return None
        if isinstance(array, np.ndarray):
            return array
        one = array.reshape((len(rows), repeats, *array.shape[1:]))[i]
        one = one if repeats > 1 else one[0]
        return jnp.moveaxis(one, -3, -1) if sample and one.ndim > 2 else one

    return Pair(part(whole.real), part(whole.imag))


def _maker(
    piece: _Piece, rows: Rows, dims: tuple[int, ...], numbers: Numbers, dtype: Any
) -> Callable[[], Pair]:
    """Matrices of one piece, (rows, ..., K, K), or (K, K) NumPy if it is fixed."""
    blocks = [block for row in rows for block in row]
    sample = blocks[0].sample
    if piece.kind == "linear":
        basis = piece.basis
        assert basis is not None
        if not piece.angles:
            fixed = as_pair(basis[0])
            return lambda: fixed
        references = [b.factors[i].references[0] for b in blocks for i in piece.angles]
        wanted = numbers.ask(references, (len(blocks), len(piece.angles)), sample)
        return lambda: _combine(_outer_features(piece.features, wanted), basis)
    form, sites = blocks[0].localised[piece.members[0]]
    factors = [block.factors[piece.members[0]] for block in blocks]
    if piece.kind == "phases":
        table = np.diagonal(embed(np.diag(phase_table(form)), sites, dims))
        wanted = numbers.ask([f.references[0] for f in factors], (len(blocks),), sample)
        return lambda: _diagonal(wanted.get("angle"), table)
    inner = _from_function(form, factors, sample, numbers, dtype)
    return lambda: Pair(*(None if p is None else embed(p, sites, dims) for p in inner()))


def _combine(products: Array, basis: np.ndarray) -> Pair:
    """sum_f products_f basis_f, (..., *shape of a basis entry)."""
    shape, count = basis.shape[1:], len(basis)
    imag = np.imag(basis)
    parts = [np.real(basis), imag] if imag.any() else [np.real(basis)]
    constant = np.concatenate([p.reshape(count, -1) for p in parts], axis=1)
    value = jnp.matmul(products, jnp.asarray(constant, products.dtype), precision="highest")
    halves = jnp.split(value, len(parts), axis=-1) if len(parts) > 1 else [value]
    return Pair(*(half.reshape((*half.shape[:-1], *shape)) for half in halves))


def _diagonal(angles: Array, table: np.ndarray) -> Pair:
    phases = angles[..., None] * jnp.asarray(table, angles.dtype)
    eye = jnp.eye(len(table), dtype=angles.dtype)
    return Pair(jnp.cos(phases)[..., None] * eye, jnp.sin(phases)[..., None] * eye)


def _from_function(
    form: Form, factors: Sequence[Factor], sample: bool, numbers: Numbers, dtype: Any
) -> Callable[[], Pair]:
    """Matrices that a function makes of numbers and data, (rows, ..., K, K)."""
    count = len(factors)
    wanted = [
        numbers.ask([f.references[k] for f in factors], (count,), sample)
        for k in range(len(factors[0].references))
    ]

    def ready() -> Pair:
        extra = None
        if factors[0].data is not None:
            extra = numbers.data[factors[0].data]
            if factors[0].data in numbers.sample_data:
                extra = jnp.moveaxis(extra, -1, 0)
            elif sample:
                extra = extra[None]
            extra = extra[None]
        assert form.function is not None
        matrix = jnp.asarray(form.function(tuple(w.get("angle") for w in wanted), extra))
        matrix = matrix if matrix.ndim > 2 else matrix[None]
        matrix = jnp.broadcast_to(matrix, (count, *matrix.shape[1:]))
        if jnp.iscomplexobj(matrix):
            imag = matrix.imag.astype(dtype) if form.complex else None
            return Pair(matrix.real.astype(dtype), imag)
        return Pair(matrix.astype(dtype))

    return ready


def embed(matrix: Any, sites: tuple[int, ...], dims: tuple[int, ...]) -> Any:
    """Matrices (..., k, k) on some sites as matrices (..., K, K) on all of them."""
    if sites == tuple(range(len(dims))):
        return matrix
    rest = [s for s in range(len(dims)) if s not in sites]
    size = prod(dims[s] for s in rest)
    xp: Any = np if isinstance(matrix, np.ndarray) else jnp
    lead = matrix.shape[:-2]
    eye = xp.eye(size, dtype=matrix.dtype)
    full = matrix[..., :, None, :, None] * eye[:, None, :]
    own = [dims[s] for s in (*sites, *rest)]
    full = full.reshape((*lead, *own, *own))
    back = list(np.argsort([*sites, *rest]))
    b, n = len(lead), len(dims)
    order = [*range(b), *(b + i for i in back), *(b + n + i for i in back)]
    total = prod(dims)
    return full.transpose(order).reshape((*lead, total, total))


def multiply(a: Pair, b: Pair) -> Pair:
    """Complex product of matrices (..., K, K)."""
    return _complex(a, b, _matmul)


def _complex(a: Pair, b: Pair, product: Callable[[Any, Any], Any]) -> Pair:
    """Complex product from one of real arrays, leaving out parts that are zero."""
    real = product(a.real, b.real)
    if a.imag is None and b.imag is None:
        return Pair(real)
    if b.imag is None:
        return Pair(real, product(a.imag, b.real))
    if a.imag is None:
        return Pair(real, product(a.real, b.imag))
    real = real - product(a.imag, b.imag)
    return Pair(real, product(a.real, b.imag) + product(a.imag, b.real))


def _matmul(a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a @ b
    dtype = jnp.result_type(*(x for x in (a, b) if not isinstance(x, np.ndarray)))
    return jnp.matmul(jnp.asarray(a, dtype), jnp.asarray(b, dtype), precision="highest")


class PhaseTerms(NamedTuple):
    """The phases of one diagonal: phi(bits) = sum_t angle_t prod_s column_ts(bit_s).

    Attributes:
        columns: per term its sites and their columns.
        angles: per term, (repeats, terms) in a loop and (terms,) elsewhere, batch last if they
            differ from sample to sample.
        fixed: per further term its sites and columns, the angle being one.
    """

    columns: tuple[tuple[tuple[int, ...], tuple[tuple[float, float], ...]], ...]
    angles: Any
    fixed: tuple[tuple[tuple[int, ...], tuple[tuple[float, float], ...]], ...]


def _phase_terms(rows: list[Block], numbers: Numbers) -> Callable[[], dict[bool, PhaseTerms]]:
    """Terms of a phases block, those that a batch shares (False) and those of samples (True)."""
    block = rows[0]
    fixed = tuple((f.sites, f.form.columns or ()) for f in block.factors if not f.references)
    waiting: dict[bool, tuple[Any, Wanted | None]] = {}
    for sample in (False, True):
        chosen = [
            i for i, f in enumerate(block.factors)
            if f.references and any(r.leaf in numbers.sample_leaves for r in f.references) == sample
        ]  # fmt: skip
        if not chosen and (sample or not fixed):
            continue
        columns = tuple((block.factors[i].sites, block.factors[i].form.columns) for i in chosen)
        references = [row.factors[i].references[0] for row in rows for i in chosen]
        shape = (len(rows), len(chosen)) if len(rows) > 1 else (len(chosen),)
        waiting[sample] = (columns, numbers.ask(references, shape, sample) if chosen else None)

    def ready() -> dict[bool, PhaseTerms]:
        return {
            sample: PhaseTerms(
                columns, None if wanted is None else wanted.get("angle"), () if sample else fixed
            )
            for sample, (columns, wanted) in waiting.items()
        }  # fmt: skip

    return ready


_START = {2: np.array([1.0, 0.0]), 4: np.array([1.0, 0.0, 0.0, 1.0])}  # |0>, as Pauli coefficients


def chain_vectors(plan: Plan, numbers: Numbers, dtype: Any) -> Callable[[], list[tuple]]:
    """What the chains make of |0>, all sites with the same chain at once.

    Returns:
        A function that gives groups (sites, `Pair` of vectors (sites, d), batch behind it).
    """
    groups: dict[Any, list[int]] = {}
    for site, chain in enumerate(plan.chains):
        key = tuple((f.form, bool(f.references), _is_sample(f, plan), f.data) for f in chain)
        groups.setdefault((key, plan.dims[site]), []).append(site)
    waiting = [(sites, _chain(sites, plan, numbers, dtype)) for sites in groups.values()]
    return lambda: [(sites, answer()) for sites, answer in waiting]


def _is_sample(factor: Factor, plan: Plan) -> bool:
    shared = not any(r.leaf in plan.task.leaves for r in factor.references)
    return not shared or factor.data in plan.task.data


def _chain(sites: list[int], plan: Plan, numbers: Numbers, dtype: Any) -> Callable[[], Pair]:
    """Vectors of sites with one chain, in steps of factors that are linear in their features."""
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
        linear = _linear(factor.form, bool(factor.references))
        if linear is None:
            close()
            factors = [plan.chains[s][i] for s in sites]
            inner = _from_function(factor.form, factors, _is_sample(factor, plan), numbers, dtype)
            steps.append(lambda v, inner=inner: multiply_vector(_batch_behind(inner()), v))
            continue
        grown = products * len(linear.features)
        if run and grown > MOST_PRODUCTS:
            close()
            grown = len(linear.features)
        run.append(i)
        products = grown
    close()

    def ready() -> Pair:
        vector = Pair(np.broadcast_to(_START[d], (len(sites), d)))
        for step in steps:
            vector = step(vector)
        return vector

    return ready


def _batch_behind(pair: Pair) -> Pair:
    """Matrices (sites, batch, d, d) as (sites, d, d, batch)."""
    return Pair(*(p if p is None or p.ndim == 3 else jnp.moveaxis(p, 1, -1) for p in pair))


def _chain_step(
    run: list[int], sites: list[int], plan: Plan, numbers: Numbers
) -> Callable[[Pair], Pair]:
    """A run of linear factors on every site, angles of the batch apart from shared ones."""
    chain = plan.chains[sites[0]]
    d = plan.dims[sites[0]]
    whole = np.eye(d)[None]
    features: list[tuple[str, ...]] = []
    angles: list[int] = []
    for i in run:
        linear = _linear(chain[i].form, bool(chain[i].references))
        assert linear is not None
        parts = np.stack([part @ whole for part in linear.basis], axis=1)
        whole = parts.reshape(-1, d, d)
        if chain[i].references:
            features.append(linear.features)
            angles.append(i)
    basis = whole.reshape((*(len(f) for f in features), d, d))
    split = {s: [k for k, i in enumerate(angles) if _is_sample(chain[i], plan) == s]
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
        pair = _combine(_outer_features(*asked[False]), table)  # (sites, sample products, ...)
    else:
        pair = as_pair(np.broadcast_to(table[0], (count, *table.shape[1:])))
    if True not in asked:
        return Pair(*(None if p is None else p[:, 0] for p in pair))
    products = jnp.moveaxis(_outer_features(*asked[True]), -1, 1)  # (sites, products, batch)
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

    return _complex(matrix, vector, one)
