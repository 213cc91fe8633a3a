"""From blocks to matrices: all blocks of one form are built together.

Fixed gates are multiplied in float64 when the plan is traced and cost nothing afterwards. Blocks
that differ only in which numbers they take share one vectorised construction, so the cost of
tracing and compiling grows with the number of different blocks, not with the depth.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import complex_dtype
from qjax.circuit import Channel, Gate, channel_arguments, kind_matrix
from qjax.linalg import apply_matrix
from qjax.sim._lowering import CONSTANTS, Factor
from qjax.sim._plan import Block

__all__ = ["block_matrices", "reference_values"]


def reference_values(references: Sequence[Any], params: Sequence[Any]) -> Any:
    """Numbers of references that share leaf, scale and shift, (number of references,)."""
    first = references[0]
    values = jnp.asarray(params[first.leaf])
    index = np.asarray([reference.index for reference in references])
    if not np.array_equal(index, np.arange(values.shape[-1])):
        values = values.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)
    scaled = values if first.scale == 1 else values * first.scale
    return scaled if first.shift == 0 else scaled + first.shift


class _Piece(NamedTuple):
    """A run of a block's factors whose matrix is built in one go.

    Attributes:
        form: "chain" (only matrices on single axes), "wide" (one matrix on several) or "fixed"
            (anything without angles or arrays).
        num_axes: of the block.
        factors: on local axes, with every index into an array of angles set to zero: pieces that
            agree up to here are built together.
        positions: of the factors in the block.
    """

    form: str
    num_axes: int
    factors: tuple[Factor, ...]
    positions: tuple[int, ...]


def _localise(block: Block) -> tuple[Factor, ...]:
    """The factors of a block on local axes, without the indices of their numbers."""
    local = {axis: i for i, axis in enumerate(block.axes)}
    return tuple(
        factor._replace(
            axes=tuple(local[a] for a in factor.axes),
            controls=tuple((local[a], v) for a, v in factor.controls),
            references=tuple(r._replace(index=0) for r in factor.references),
        )
        for factor in block.factors
    )


def _is_constant(factor: Factor) -> bool:
    return not factor.references and factor.data is None


def _split(num_axes: int, factors: tuple[Factor, ...]) -> list[_Piece]:
    """Cuts a block into pieces, the first to act first."""
    runs: list[tuple[str, list[int]]] = []
    for position, factor in enumerate(factors):
        if len(factor.all_axes) == 1:
            form = "chain"
        else:
            form = "fixed" if _is_constant(factor) else "wide"
        if runs and runs[-1][0] == form and form != "wide":
            runs[-1][1].append(position)
        else:
            runs.append((form, [position]))
    pieces = []
    for form, positions in runs:
        chosen = tuple(factors[i] for i in positions)
        constant = all(map(_is_constant, chosen))
        pieces.append(_Piece("fixed" if constant else form, num_axes, chosen, tuple(positions)))
    return pieces


def block_matrices(blocks: Sequence[Block], params: Sequence[Any], data: Sequence[Any]) -> list:
    """Matrices of the blocks that are not direct.

    Args:
        blocks: of a plan.
        params: per leaf an array (size,).
        data: further arrays without batch axes.

    Returns:
        Per block a (K, K) array, complex128 NumPy where it holds fixed gates only, and None for
        a direct block.
    """
    alike: dict[tuple, list[int]] = {}  # blocks of one form
    for i, block in enumerate(blocks):
        if not block.direct:
            alike.setdefault((len(block.axes), _localise(block)), []).append(i)
    pieces = {form: _split(*form) for form in alike}
    users: dict[Any, list[tuple[Block, tuple[int, ...]]]] = {}  # what each piece is built for
    for form, members in alike.items():
        for piece in pieces[form]:
            rows = users.setdefault(piece[:3], [])
            rows += [(blocks[i], piece.positions) for i in members]
    built = {key: _build_piece(key, rows, params, data) for key, rows in users.items()}
    taken = dict.fromkeys(users, 0)
    matrices: list[Any] = [None] * len(blocks)
    for form, members in alike.items():
        product: Any = None
        for piece in pieces[form]:
            matrix = built[piece[:3]]
            if not _is_fixed(matrix):
                start = taken[piece[:3]]
                taken[piece[:3]] = start + len(members)
                if matrix.shape[0] > len(members):
                    matrix = matrix[start : start + len(members)]
            product = matrix if product is None else _matmul(matrix, product)
        for position, i in enumerate(members):
            matrices[i] = product if _is_fixed(product) else product[position]
    return matrices


def _build_piece(
    key: tuple[str, int, tuple[Factor, ...]],
    rows: list[tuple[Block, tuple[int, ...]]],
    params: Any,
    data: Any,
) -> Any:
    """Matrices (number of rows, K, K) of one piece; (K, K) NumPy if it is fixed."""
    form, num_axes, factors = key
    entries = _entries(factors, rows, params, data)
    if form == "chain":
        whole = _chain(num_axes, factors, entries)
        return jnp.broadcast_to(whole, (len(rows), *whole.shape[-2:]))
    result: Any = None
    for factor, entry in zip(factors, entries, strict=True):
        matrix = _add_controls(_take(entry), factor.controls) if factor.controls else _take(entry)
        matrix = _embed(matrix, factor.all_axes, num_axes)
        result = matrix if result is None else matrix @ result
    if form == "fixed":
        return np.asarray(result)
    return jnp.broadcast_to(result, (len(rows), *result.shape[-2:]))


class _Row(NamedTuple):
    """Matrix `row` of several that were built together, (rows, number of blocks, K, K)."""

    table: Any
    row: int


def _take(entry: Any) -> Any:
    return entry.table[entry.row] if isinstance(entry, _Row) else entry


def _entries(
    factors: tuple[Factor, ...],
    rows: list[tuple[Block, tuple[int, ...]]],
    params: Any,
    data: Any,
) -> list[Any]:
    """One matrix per factor: (K, K) if it has no angles, else a row of a table."""
    alike: dict[Factor, list[int]] = {}
    for i, factor in enumerate(factors):
        alike.setdefault(factor._replace(axes=(), controls=()), []).append(i)
    entries: list[Any] = [None] * len(factors)
    for factor, members in alike.items():
        numbers = tuple(
            reference_values(
                [b.factors[where[i]].references[p] for i in members for b, where in rows], params
            )
            for p in range(len(factor.references))
        )
        matrix = _matrix(factor, numbers, data)
        if numbers:
            matrix = matrix.reshape((len(members), len(rows), *matrix.shape[1:]))
        for row, i in enumerate(members):
            entries[i] = _Row(matrix, row) if numbers else matrix
    return entries


def _chain(num_axes: int, factors: tuple[Factor, ...], entries: list[Any]) -> Any:
    """Kronecker product over the axes of the product of the matrices on each.

    The products are taken level by level, all axes at once.
    """
    chains: list[list[Any]] = [[] for _ in range(num_axes)]
    for factor, entry in zip(factors, entries, strict=True):
        chain = chains[factor.axes[0]]
        if chain and _is_fixed(chain[-1]) and _is_fixed(entry):
            chain[-1] = entry @ chain[-1]
        else:
            chain.append(entry)
    product: Any = None
    for level in range(max(map(len, chains))):
        stacked = _stack_entries([c[level] if level < len(c) else np.eye(2) for c in chains])
        product = stacked if product is None else _multiply_small(stacked, product)
    return _kron(_to_jax(product))


def _matrix(factor: Factor, numbers: tuple, data: Any) -> Any:
    """Matrix of one factor without its controls, batched over its numbers."""
    if factor.form == "constant":
        return CONSTANTS[str(factor.constant)]
    kind = factor.kind
    extra = None if factor.data is None else data[factor.data]
    if isinstance(kind, Channel):
        matrix = kind.superoperator(*channel_arguments(kind, numbers, extra, factor.detail))
        return matrix if numbers or extra is not None else np.asarray(matrix)
    assert isinstance(kind, Gate)
    matrix = kind_matrix(kind, numbers, extra, factor.detail, factor.adjoint)
    return matrix.conj() if factor.form == "conjugate" else matrix


def _add_controls(matrix: Any, controls: tuple[tuple[int, int], ...]) -> Any:
    """Matrix that acts where all controls have their values, and is the identity elsewhere."""
    pattern = int("".join(str(value) for _, value in controls), 2)
    active = np.zeros((2 ** len(controls),) * 2)
    active[pattern, pattern] = 1
    idle = np.eye(len(active)) - active
    xp: Any = np if isinstance(matrix, np.ndarray) else jnp
    size = matrix.shape[-1]
    eye = np.eye(size)
    if xp is jnp:
        active, idle, eye = (jnp.asarray(a, matrix.dtype) for a in (active, idle, eye))
    whole = (
        active[:, None, :, None] * matrix[..., None, :, None, :]
        + idle[:, None, :, None] * eye[None, :, None, :]
    )
    return whole.reshape((*matrix.shape[:-2], size * len(active), size * len(active)))


def _is_fixed(entry: Any) -> bool:
    return isinstance(entry, np.ndarray)


def _stack_entries(entries: list[Any]) -> Any:
    """Stacks 2 x 2 matrices, (number of entries, ..., 2, 2); without a copy where they are rows."""
    if all(map(_is_fixed, entries)):
        return np.stack(entries)
    first = entries[0]
    if isinstance(first, _Row):
        rows = [e.row if isinstance(e, _Row) and e.table is first.table else -1 for e in entries]
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        if step > 0 and rows == list(range(rows[0], rows[0] + step * len(rows), step)):
            whole = step == 1 and len(rows) == first.table.shape[0]
            return first.table if whole else first.table[rows[0] : rows[-1] + 1 : step]
    matrices = [_to_jax(_take(entry)) for entry in entries]
    shape = jnp.broadcast_shapes(*(m.shape for m in matrices))
    dtype = jnp.result_type(*matrices)
    return jnp.stack([jnp.broadcast_to(m, shape).astype(dtype) for m in matrices])


def _multiply_small(a: Any, b: Any) -> Any:
    """Product of 2 x 2 matrices, written out so that it fuses with its neighbours."""
    if _is_fixed(a) and _is_fixed(b):
        return a @ b
    a, b = _to_jax(a), _to_jax(b)
    a, b = (m if m.ndim == 4 else m[:, None] for m in (a, b))  # (axes, blocks or 1, 2, 2)
    return a[..., :, :1] * b[..., :1, :] + a[..., :, 1:] * b[..., 1:, :]


def _kron(stacked: Any) -> Any:
    """Kronecker product of the matrices along the first axis."""
    k = stacked.shape[0]
    batch = stacked.shape[1:-2]
    result: Any = 1
    for axis in range(k):
        shape = [1] * (2 * k)
        shape[axis] = shape[k + axis] = 2
        result = result * stacked[axis].reshape((*batch, *shape))
    return result.reshape((*batch, 2**k, 2**k))


def _matmul(a: Any, b: Any) -> Any:
    if _is_fixed(a) and _is_fixed(b):
        return a @ b
    a, b = _to_jax(a), _to_jax(b)
    if jnp.iscomplexobj(a) == jnp.iscomplexobj(b):
        return jnp.matmul(a, b, precision="highest")
    if jnp.iscomplexobj(a):
        return lax.complex(_matmul(a.real, b), _matmul(a.imag, b))
    return lax.complex(_matmul(a, b.real), _matmul(a, b.imag))


def _to_jax(matrix: Any) -> Any:
    """Fixed matrices in the working precision, real where they are real."""
    if not isinstance(matrix, np.ndarray):
        return matrix
    if np.iscomplexobj(matrix) and not matrix.imag.any():
        matrix = matrix.real
    dtype = complex_dtype() if np.iscomplexobj(matrix) else complex_dtype().type(0).real.dtype
    return jnp.asarray(matrix, dtype)


def _embed(matrix: Any, axes: tuple[int, ...], num_axes: int) -> Any:
    """The matrix on all `num_axes` axes."""
    if axes == tuple(range(num_axes)):
        return matrix
    size = 2**num_axes
    if not isinstance(matrix, np.ndarray):
        return _apply(jnp.eye(size, dtype=matrix.dtype), matrix, axes)
    rest = [axis for axis in range(num_axes) if axis not in axes]
    full = np.kron(matrix, np.eye(2 ** len(rest))).reshape((2,) * (2 * num_axes))
    order = np.argsort([*axes, *rest])
    return full.transpose([*order, *(num_axes + order)]).reshape(size, size)


def _apply(whole: Any, matrix: Any, axes: tuple[int, ...]) -> Any:
    """Multiplies some row axes of `whole` (..., K, K) by `matrix` (..., k, k)."""
    whole, matrix = _to_jax(whole), _to_jax(matrix)
    dtype = jnp.result_type(whole, matrix)
    whole, matrix = whole.astype(dtype), matrix.astype(dtype)

    def one(w: Any, m: Any) -> Any:
        return apply_matrix(w, m, axes)

    if whole.ndim == matrix.ndim == 2:
        return one(whole, matrix)
    return jax.vmap(one, (0 if whole.ndim == 3 else None, 0 if matrix.ndim == 3 else None))(
        whole, matrix
    )
