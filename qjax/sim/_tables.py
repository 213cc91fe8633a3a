"""From blocks to numbers: the matrices and phases that a plan needs, all of one form at once.

A gate's matrix is linear in a few functions of its angle, (cos, sin) for most. A block of gates is
therefore linear in the products of these functions, and all blocks of one form, in every layer, are
one matrix product of their products with a constant, made in float64 when the plan is traced. Fixed
gates disappear in that constant. Complex matrices are pairs of real arrays, or real matrices that
act on real and imaginary parts at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._dot import matmul
from qjax.sim._lowering import Factor, Form
from qjax.sim._numbers import Numbers, Wanted
from qjax.sim._outer import multiply_neighbours, outer_product
from qjax.sim._plan import Block, Plan, Segment, by_products, products_fit
from qjax.sim._waves import in_waves, waves

__all__ = [
    "Linear",
    "Packed",
    "Pair",
    "PhaseTerms",
    "Tables",
    "as_pair",
    "block_tables",
    "combine",
    "complex_product",
    "from_function",
    "linear_form",
    "outer_features",
]

MOST_ROWS = 512  # of all matrices that are packed together
LARGEST_BASIS = 2**20  # entries of what they are built from


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


class Linear(NamedTuple):
    """A matrix as sum_f feature_f basis_f."""

    features: tuple[str, ...]
    basis: np.ndarray


@lru_cache(maxsize=4096)
def linear_form(form: Form, has_angle: bool) -> Linear | None:
    """The form as a linear function of features; None if it has no such form."""
    if form.basis is not None:
        return Linear(form.features, form.basis)
    if form.columns is None:
        return None
    table = phase_table(form)
    if not has_angle:
        return Linear(("1",), np.diag(np.exp(1j * table))[None])
    if not set(np.abs(table).round(12)) <= {0.0, 1.0}:
        return None
    idle, active = np.diag(1.0 * (table == 0)), np.diag(1.0 * (table != 0))
    parts = [("1", idle), ("cos", active), ("sin", 1j * np.diag(table))]
    parts = [(name, part) for name, part in parts if part.any()]
    return Linear(tuple(n for n, _ in parts), np.stack([p for _, p in parts]))


class _Piece(NamedTuple):
    """A run of a block's factors that is built in one go.

    Attributes:
        kind: "linear", "phases" or "function".
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
        linear = linear_form(form, has_angle)
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
        linear = linear_form(form, has_angle)
        assert linear is not None
        parts = [_apply_left(whole, part, sites, dims) for part in linear.basis]
        stacked = np.stack(parts, axis=1)  # later angles vary fastest
        whole = stacked.reshape((-1, *stacked.shape[2:]))
        if has_angle:
            angles.append(i)
            features.append(linear.features)
    return _Piece("linear", tuple(run), tuple(angles), tuple(features), whole)


def outer_features(features: Sequence[tuple[str, ...]], wanted: Wanted) -> Array:
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


@jax.tree_util.register_static
@dataclass(frozen=True)
class Packed:
    """One of several matrices that lie one below the other.

    Attributes:
        pack: which array of the segment holds them.
        place: which of its matrices this is.
        count: how many it holds.
    """

    pack: int
    place: int
    count: int


class Tables(NamedTuple):
    """What the blocks of a segment are made of.

    Attributes:
        blocks: for a dense block a `Pair` of matrices, (repeats, K, K) in a loop and (K, K)
            elsewhere, NumPy where they are fixed, batch last if they differ from sample to sample,
            or where it is `Packed`; for phases `PhaseTerms` by whether they differ from sample to
            sample; for other blocks None.
        packs: matrices, (count * K, K), repeats in front in a loop; of planes, and so of twice the
            size, if they are complex.
    """

    blocks: list[Any]
    packs: list[Array]


def block_tables(
    plan: Plan, numbers: Numbers, dtype: Any, has_component: Callable[[int, int], bool]
) -> Callable[[], list[Tables]]:
    """Looks at all blocks, then gives what the segments are made of.

    Args:
        plan: whose blocks.
        numbers: that serve them.
        dtype: real dtype of the tables.
        has_component: whether a block, by segment and place in it, meets a state with real and
            imaginary parts.
    """
    groups: dict[Any, list[tuple[int, int]]] = {}
    waiting: list[tuple[list[tuple[int, int]], Callable[[], list[Any]]]] = []
    for s, segment in enumerate(plan.segments):
        for j, block in enumerate(segment.blocks):
            if block.kind == "dense":
                key = _group_key(block, segment, plan)
                if by_products(plan):  # what is packed is taken apart in its segment
                    key = (key, s, block.complex and has_component(s, j))
                groups.setdefault(key, []).append((s, j))
            elif block.kind == "phases":
                terms = _phase_terms([row[j] for row in segment.rows], numbers)
                waiting.append(([(s, j)], lambda terms=terms: [terms]))
    for members in groups.values():
        rows = [[row[j] for row in plan.segments[s].rows] for s, j in members]
        is_complex = rows[0][0].complex
        is_planar = is_complex and has_component(*members[0])
        make = _matrices
        if by_products(plan) and is_planar == is_complex and _can_be_packed(rows, plan):
            make = partial(_pack, is_planar=is_planar)
        waiting.append((members, make(rows, plan, numbers, dtype)))

    def ready() -> list[Tables]:
        tables = [Tables([None] * len(segment.blocks), []) for segment in plan.segments]
        for members, answer in waiting:
            values = answer()
            if len(values) < len(members):
                packs = tables[members[0][0]].packs
                packs += values
                values = [Packed(len(packs) - 1, i, len(members)) for i in range(len(members))]
            for (s, j), value in zip(members, values, strict=True):
                tables[s].blocks[j] = value
        return tables

    return ready


def _group_key(block: Block, segment: Segment, plan: Plan) -> Any:
    """Equal for blocks that are built together."""
    dims = tuple(plan.dims[site] for site in block.sites)
    unique = object() if any(f.data is not None for f in block.factors) else None
    return (_sketch(block), dims, block.sample, segment.repeats, unique)


def _pieces_of(block: Block, plan: Plan) -> tuple[_Piece, ...]:
    return _pieces(_sketch(block), tuple(plan.dims[s] for s in block.sites))


def _matrices(rows: Rows, plan: Plan, numbers: Numbers, dtype: Any) -> Callable[[], list[Any]]:
    """Matrices of blocks of one form."""
    first = rows[0][0]
    build = _all_matrices(rows, plan, numbers, dtype, is_planar=False)

    def ready() -> list[Pair]:
        whole = build()
        return [_take(whole, i, rows, first.sample) for i in range(len(rows))]

    return ready


def _pack(
    rows: Rows, plan: Plan, numbers: Numbers, dtype: Any, is_planar: bool
) -> Callable[[], list[Array]]:
    """Matrices of blocks of one form in one array, those of one turn of a loop together."""
    turns = [list(turn) for turn in zip(*rows, strict=True)]
    whole = _all_matrices(turns, plan, numbers, dtype, is_planar)

    def ready() -> list[Array]:
        matrices = whole().real.astype(dtype)
        packed = matrices.reshape(len(turns), -1, matrices.shape[-1])
        return [packed if len(turns) > 1 else lax.squeeze(packed, (0,))]

    return ready


def _can_be_packed(rows: Rows, plan: Plan) -> bool:
    """Whether the matrices of several blocks stay in one array, until each is used.

    They are then taken by products; and a loop costs the compiler two kernels or three for every
    array that it has one entry of in each turn.
    """
    first = rows[0][0]
    pieces = _pieces_of(first, plan)
    entries = (4 if first.complex else 1) * first.size**2
    return (
        1 < len(rows) <= MOST_ROWS // first.size
        and not first.sample
        and all(p.basis is not None and len(p.basis) * entries <= LARGEST_BASIS for p in pieces)
        and any(p.angles for p in pieces)
    )


def _all_matrices(
    rows: Rows, plan: Plan, numbers: Numbers, dtype: Any, is_planar: bool
) -> Callable[[], Pair]:
    """Matrices of blocks of one form, (rows, ..., K, K), or of planes, (rows, 2 K, 2 K)."""
    dims = tuple(plan.dims[s] for s in rows[0][0].sites)
    pieces = _pieces_of(rows[0][0], plan)
    if is_planar:
        pieces = tuple(piece._replace(basis=_planar(piece.basis)) for piece in pieces)
    makers = [_maker(piece, rows, dims, numbers, dtype, by_products(plan)) for piece in pieces]
    return lambda: reduce(lambda whole, maker: multiply(maker(), whole), makers[1:], makers[0]())


def _planar(basis: np.ndarray | None) -> np.ndarray:
    """Complex matrices (..., K, K) as real ones of planes, [[Re, -Im], [Im, Re]]."""
    assert basis is not None
    real, imag = np.real(basis), np.imag(basis)
    return np.block([[real, -imag], [imag, real]])


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
    piece: _Piece,
    rows: Rows,
    dims: tuple[int, ...],
    numbers: Numbers,
    dtype: Any,
    in_products: bool,
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
        if in_products and not sample:
            weights, basis = in_waves(piece.features, basis)
            return lambda: combine(waves(wanted, weights), basis)
        return lambda: combine(outer_features(piece.features, wanted), basis)
    form, sites = blocks[0].localised[piece.members[0]]
    factors = [block.factors[piece.members[0]] for block in blocks]
    if piece.kind == "phases":
        table = np.diagonal(embed(np.diag(phase_table(form)), sites, dims))
        wanted = numbers.ask([f.references[0] for f in factors], (len(blocks),), sample)
        return lambda: _diagonal(wanted.get("angle"), table)
    inner = from_function(form, factors, sample, numbers, dtype)
    return lambda: Pair(*(None if p is None else embed(p, sites, dims) for p in inner()))


def combine(products: Array, basis: np.ndarray) -> Pair:
    """sum_f products_f basis_f, (..., *shape of a basis entry)."""
    shape, count = basis.shape[1:], len(basis)
    imag = np.imag(basis)
    parts = [np.real(basis), imag] if imag.any() else [np.real(basis)]
    constant = np.concatenate([p.reshape(count, -1) for p in parts], axis=1)
    value = matmul(products, constant)
    halves = jnp.split(value, len(parts), axis=-1) if len(parts) > 1 else [value]
    return Pair(*(half.reshape((*half.shape[:-1], *shape)) for half in halves))


def _diagonal(angles: Array, table: np.ndarray) -> Pair:
    phases = angles[..., None] * jnp.asarray(table, angles.dtype)
    eye = jnp.eye(len(table), dtype=angles.dtype)
    return Pair(jnp.cos(phases)[..., None] * eye, jnp.sin(phases)[..., None] * eye)


def from_function(
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
    return complex_product(a, b, matmul)


def complex_product(a: Pair, b: Pair, product: Callable[[Any, Any], Any]) -> Pair:
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


class PhaseTerms(NamedTuple):
    """The phases of one diagonal: phi(bits) = sum_t angle_t prod_s column_ts(bit_s).

    Attributes:
        columns: per term its sites and their columns.
        angles: of the terms, (repeats, terms) in a loop and (terms,) elsewhere; None without terms.
        fixed: per further term its sites and columns, the angle being one.
    """

    columns: tuple[tuple[tuple[int, ...], tuple[tuple[float, float], ...]], ...]
    angles: Wanted | None
    fixed: tuple[tuple[tuple[int, ...], tuple[tuple[float, float], ...]], ...]


def _phase_terms(rows: list[Block], numbers: Numbers) -> dict[bool, PhaseTerms]:
    """Terms of a phases block, those that a batch shares (False) and those of samples (True)."""
    block = rows[0]
    fixed = tuple((f.sites, f.form.columns or ()) for f in block.factors if not f.references)
    terms: dict[bool, PhaseTerms] = {}
    for sample in (False, True):
        chosen = [
            i for i, f in enumerate(block.factors)
            if f.references and any(r.leaf in numbers.sample_leaves for r in f.references) == sample
        ]  # fmt: skip
        if not chosen and (sample or not fixed):
            continue
        columns = tuple(
            (f.sites, f.form.columns or ()) for f in map(block.factors.__getitem__, chosen)
        )
        references = [row.factors[i].references[0] for row in rows for i in chosen]
        shape = (len(rows), len(chosen)) if len(rows) > 1 else (len(chosen),)
        angles = numbers.ask(references, shape, sample) if chosen else None
        terms[sample] = PhaseTerms(columns, angles, () if sample else fixed)
    return terms
