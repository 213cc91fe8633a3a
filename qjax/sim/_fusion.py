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

from qjax._typing import complex_dtype, float_dtype
from qjax.circuit import Channel, Gate, channel_arguments, kind_matrix
from qjax.linalg import apply_matrix
from qjax.sim._lowering import CONSTANTS, Factor
from qjax.sim._plan import Block

__all__ = ["Row", "block_matrices", "reference_values", "stack_rows"]


def reference_values(references: Sequence[Any], params: Sequence[Any]) -> Any:
    """Numbers of references that share leaf, scale and shift, (number of references,)."""
    first = references[0]
    values = jnp.asarray(params[first.leaf], float_dtype())
    index = np.asarray([reference.index for reference in references])
    size = values.shape[-1]
    if not np.array_equal(index, np.arange(size)):
        if index.size * size <= LARGEST_SELECTION:
            chosen = np.zeros((index.size, size), values.dtype)
            chosen[np.arange(index.size), index] = 1
            values = jnp.matmul(chosen, values, precision="highest")
        else:
            values = values[index]
    scaled = values if first.scale == 1 else values * first.scale
    return scaled if first.shift == 0 else scaled + first.shift


# Numbers are picked by a product with a 0-1 matrix up to this size: XLA turns the derivative of a
# gather into a loop over single numbers, which takes longer to compile than the rest of a block.
LARGEST_SELECTION = 2**18


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


def _split(num_axes: int, factors: tuple[Factor, ...]) -> list[_Piece]:
    """Cuts a block into pieces, the first to act first."""
    runs: list[tuple[str, list[int]]] = []
    for position, factor in enumerate(factors):
        if len(factor.all_axes) == 1:
            form = "chain"
        else:
            form = "fixed" if factor.constant_matrix else "wide"
        if runs and runs[-1][0] == form and form != "wide":
            runs[-1][1].append(position)
        else:
            runs.append((form, [position]))
    pieces = []
    for form, positions in runs:
        chosen = tuple(factors[i] for i in positions)
        constant = all(factor.constant_matrix for factor in chosen)
        pieces.append(_Piece("fixed" if constant else form, num_axes, chosen, tuple(positions)))
    return pieces


class Row(NamedTuple):
    """Matrix `row` of several that were built together, (rows, ..., K, K)."""

    table: Any
    row: int

    @property
    def matrix(self) -> Any:
        """The matrix by itself."""
        return self.table[self.row]


def block_matrices(blocks: Sequence[Block], params: Sequence[Any], data: Sequence[Any]) -> list:
    """Matrices of the blocks that are not direct.

    Args:
        blocks: of a plan.
        params: per leaf an array (size,).
        data: further arrays without batch axes.

    Returns:
        Per block a complex128 NumPy matrix (K, K) where it holds fixed gates only, a `Row` of a
        table where it holds numbers, and None for a direct block. See `stack_rows`.
    """
    alike: dict[tuple, list[int]] = {}  # blocks of one form
    for i, block in enumerate(blocks):
        if not block.direct:
            alike.setdefault((len(block.axes), block.localised), []).append(i)
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
            matrices[i] = product if _is_fixed(product) else Row(product, position)
    return matrices


def stack_rows(entries: Sequence[Any]) -> Any:
    """Stacks matrices, (number of entries, ..., K, K); without copies where they are even rows.

    Args:
        entries: NumPy matrices or rows of tables. All fixed ones give a NumPy array.
    """
    if all(map(_is_fixed, entries)):
        return np.stack(entries)
    first = entries[0]
    if isinstance(first, Row):
        rows = [e.row if isinstance(e, Row) and e.table is first.table else -1 for e in entries]
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        if step > 0 and rows == list(range(rows[0], rows[0] + step * len(rows), step)):
            whole = step == 1 and len(rows) == first.table.shape[0]
            return first.table if whole else first.table[rows[0] : rows[-1] + 1 : step]
    matrices = [_to_jax(_take(entry)) for entry in entries]
    shape = jnp.broadcast_shapes(*(m.shape for m in matrices))
    dtype = jnp.result_type(*matrices)
    return jnp.stack([jnp.broadcast_to(m, shape).astype(dtype) for m in matrices])


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


def _take(entry: Any) -> Any:
    return entry.matrix if isinstance(entry, Row) else entry


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
            entries[i] = Row(matrix, row) if numbers else matrix
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
        stacked = stack_rows([c[level] if level < len(c) else np.eye(2) for c in chains])
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


def _multiply_small(a: Any, b: Any) -> Any:
    """Product of 2 x 2 matrices, written out so that it fuses with its neighbours."""
    if _is_fixed(a) and _is_fixed(b):
        return a @ b
    a, b = _to_jax(a), _to_jax(b)
    a, b = (m if m.ndim == 4 else m[:, None] for m in (a, b))  # (axes, blocks or 1, 2, 2)
    return a[..., :, :1] * b[..., :1, :] + a[..., :, 1:] * b[..., 1:, :]


def _kron(stacked: Any) -> Any:
    """Kronecker product of the matrices along the first axis, pair by pair."""
    while stacked.shape[0] > 1:
        pairs = stacked.shape[0] // 2 * 2
        joined = _kron_pairs(stacked[0:pairs:2], stacked[1:pairs:2])
        if stacked.shape[0] == pairs:
            stacked = joined
        elif joined.shape[0] == 1:
            return _kron_pairs(joined, stacked[pairs:])[0]
        else:  # an odd number of pairs and more: join the odd one with the last pair
            last = _kron_pairs(joined[-1:], stacked[pairs:])
            return _kron_pairs(_kron(joined[:-1])[None], last)[0]
    return stacked[0]


def _kron_pairs(a: Any, b: Any) -> Any:
    """Kronecker products of (..., m, m) with (..., n, n)."""
    product = a[..., :, None, :, None] * b[..., None, :, None, :]
    size = a.shape[-1] * b.shape[-1]
    return product.reshape((*product.shape[:-4], size, size))


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
    dtype = complex_dtype() if np.iscomplexobj(matrix) else float_dtype()
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
