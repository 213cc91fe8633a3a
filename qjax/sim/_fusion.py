"""From blocks to matrices: all blocks of one form are built together.

Fixed gates are multiplied in float64 when the plan is traced and cost nothing afterwards. Blocks
that differ only in which numbers they take share one vectorised construction, so the cost of
tracing and compiling grows with the number of different blocks, not with the depth.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
    if np.array_equal(index, np.arange(values.shape[-1])):
        taken = values
    else:
        taken = values[index]
    scaled = taken if first.scale == 1 else taken * first.scale
    return scaled if first.shift == 0 else scaled + first.shift


def _template(block: Block) -> tuple:
    """What two blocks must share for their matrices to be built together."""
    local = {axis: i for i, axis in enumerate(block.axes)}
    return (
        len(block.axes),
        tuple(
            factor._replace(
                axes=tuple(local[a] for a in factor.axes),
                controls=tuple((local[a], v) for a, v in factor.controls),
                references=tuple(r._replace(index=0) for r in factor.references),
            )
            for factor in block.factors
        ),
    )


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
    groups: dict[tuple, list[int]] = {}
    for i, block in enumerate(blocks):
        if not block.direct:
            groups.setdefault(_template(block), []).append(i)
    matrices: list[Any] = [None] * len(blocks)
    for (num_axes, factors), members in groups.items():
        built = _build([blocks[i] for i in members], num_axes, factors, params, data)
        for position, i in enumerate(members):
            fixed = isinstance(built, np.ndarray)
            matrices[i] = built if fixed else built[position]
    return matrices


def _build(
    blocks: list[Block], num_axes: int, factors: tuple[Factor, ...], params: Any, data: Any
) -> Any:
    """Matrices (number of blocks, K, K) of blocks of one template; (K, K) NumPy if fixed."""
    small = _factor_matrices(blocks, factors, params, data)
    product = _Product(num_axes)
    for factor, matrix in zip(factors, small, strict=True):
        if factor.controls:
            matrix = _add_controls(matrix, factor.controls)
        product.multiply(matrix, factor.all_axes)
    result = product.finish()
    if isinstance(result, np.ndarray):
        return result
    size = 2**num_axes
    return jnp.broadcast_to(result, (len(blocks), size, size))


def _factor_matrices(
    blocks: list[Block], factors: tuple[Factor, ...], params: Any, data: Any
) -> list[Any]:
    """One matrix per factor: (K, K) if fixed, else (number of blocks, K, K)."""
    alike: dict[tuple, list[int]] = {}
    for position, factor in enumerate(factors):
        key = (factor.form, factor.kind, factor.constant, factor.data, factor.detail,
               factor.adjoint, factor.references)  # fmt: skip
        alike.setdefault(key, []).append(position)
    matrices: list[Any] = [None] * len(factors)
    for positions in alike.values():
        factor = factors[positions[0]]
        if not factor.references:
            matrix = _matrix(factor, (), data)
            for position in positions:
                matrices[position] = matrix
            continue
        numbers = tuple(
            reference_values(
                [b.factors[i].references[p] for i in positions for b in blocks], params
            )
            for p in range(len(factor.references))
        )
        built = _matrix(factor, numbers, data)
        built = built.reshape((len(positions), len(blocks), *built.shape[1:]))
        for row, position in enumerate(positions):
            matrices[position] = built[row]
    return matrices


def _matrix(factor: Factor, numbers: tuple, data: Any) -> Any:
    """Matrix of one factor without its controls, batched over its numbers."""
    if factor.form == "constant":
        return CONSTANTS[str(factor.constant)]
    kind = factor.kind
    extra = None if factor.data is None else data[factor.data]
    if isinstance(kind, Channel):
        return kind.superoperator(*channel_arguments(kind, numbers, extra, factor.detail))
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


class _Product:
    """Product of matrices on some of k axes, the first one rightmost.

    Neighbouring matrices on single axes are multiplied axis by axis and joined by one Kronecker
    product; fixed matrices stay in NumPy until they meet one that is not.
    """

    def __init__(self, num_axes: int):
        self.num_axes = num_axes
        self.single: dict[int, Any] = {}
        self.whole: Any = None

    def multiply(self, matrix: Any, axes: tuple[int, ...]) -> None:
        if len(axes) == 1:
            (axis,) = axes
            before = self.single.get(axis)
            self.single[axis] = matrix if before is None else _matmul(matrix, before)
            return
        self._flush()
        fixed = isinstance(matrix, np.ndarray)
        if self.whole is None or fixed:
            self._left(_embed(matrix, axes, self.num_axes))
        else:
            self.whole = _apply(self.whole, matrix, axes)

    def _left(self, matrix: Any) -> None:
        self.whole = matrix if self.whole is None else _matmul(matrix, self.whole)

    def _flush(self) -> None:
        if not self.single:
            return
        result: Any = np.ones((1, 1))
        for axis in range(self.num_axes):
            result = _kron(result, self.single.get(axis, np.eye(2)))
        self.single = {}
        self._left(result)

    def finish(self) -> Any:
        self._flush()
        return self.whole


def _matmul(a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a @ b
    a, b = _to_jax(a), _to_jax(b)
    return jnp.matmul(a, b, precision="highest")


def _kron(a: Any, b: Any) -> Any:
    """Kronecker product of the last two axes."""
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        a, b = _to_jax(a), _to_jax(b)
    product = a[..., :, None, :, None] * b[..., None, :, None, :]
    rows, columns = a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1]
    return product.reshape((*product.shape[:-4], rows, columns))


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
