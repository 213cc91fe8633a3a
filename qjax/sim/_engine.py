"""Running a plan: blocks applied to a state held as two real arrays.

XLA multiplies real matrices two to three times faster than complex ones on a CPU, so the state
is (2, 2**m): real part, imaginary part. The component is then one more binary axis, and a complex
matrix U is the real matrix [[Re U, -Im U], [Im U, Re U]] on it and the block's own axes.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array, complex_dtype, float_dtype
from qjax.circuit import Structure
from qjax.linalg import apply_matrix, diagonal_phases, merge_axes
from qjax.sim._fusion import Row, block_matrices, reference_values, stack_rows
from qjax.sim._lowering import Factor
from qjax.sim._plan import Block, Plan, Segment

__all__ = ["initial_ket", "run_blocks", "run_plan", "to_complex", "to_planar"]


def to_planar(vector: Array) -> Array:
    """(2**m,) complex to (2, 2**m) real."""
    return jnp.stack([vector.real, vector.imag]).astype(float_dtype())


def to_complex(state: Array) -> Array:
    """(2, 2**m) real to (2**m,) complex."""
    return lax.complex(state[0], state[1])


def initial_ket(structure: Structure, data: Sequence[Any]) -> Array:
    """|0...0> with the prepared amplitudes in place, (2**n,) complex."""
    n = structure.num_qubits
    prepared = [s for s in structure.steps if s.kind.name == "StatePreparation"]
    order = [q for step in prepared for q in step.targets]
    rest = [q for q in range(n) if q not in order]
    arrays = [data[step.data] for step in prepared if step.data is not None]
    vectors = [jnp.asarray(array, complex_dtype()) for array in arrays]
    if rest:
        zero = (jnp.arange(2 ** len(rest)) == 0).astype(complex_dtype())
        vectors.append(zero)
    ket = reduce(lambda a, b: jnp.outer(a, b).reshape(-1), vectors)
    positions = [*order, *rest]
    if positions == sorted(positions):
        return ket
    return ket.reshape((2,) * n).transpose(np.argsort(positions)).reshape(-1)


def run_plan(plan: Plan, params: Sequence[Any], data: Sequence[Any], state: Array) -> Array:
    """Runs a plan on an initial state.

    Args:
        plan: from `make_plan`.
        params: per leaf an array (size,).
        data: further arrays without batch axes.
        state: complex vector over the plan's axes, (2**num_axes,).

    Returns:
        Complex vector (2**num_axes,).
    """
    return to_complex(run_blocks(plan.blocks, plan.segments, params, data, to_planar(state)))


def run_blocks(
    blocks: Sequence[Block],
    segments: Sequence[Segment],
    params: Sequence[Any],
    data: Sequence[Any],
    state: Array,
) -> Array:
    """Applies blocks to a planar state (2, 2**m)."""
    entries = block_matrices(blocks, params, data)
    for start, period, repeats in segments:
        chosen = blocks[start : start + period]
        if repeats == 1:
            for block, entry in zip(chosen, entries[start : start + period], strict=True):
                if block.direct:
                    state = _apply_direct(block.factors[0], params, data, state)
                else:
                    matrix = entry.matrix if isinstance(entry, Row) else entry
                    state = _apply_block(block, _prepare(block, matrix, state.dtype), state)
        else:
            stop = start + period * repeats
            turns = [entries[i:stop:period] for i in range(start, start + period)]
            state = _loop(chosen, turns, state)
    return state


def _loop(blocks: Sequence[Block], turns: list[list[Any]], state: Array) -> Array:
    """Applies the same sequence of blocks again and again, with other matrices each time."""
    shared: dict[int, Array] = {}
    varying: dict[int, Array] = {}
    for i, (block, entries) in enumerate(zip(blocks, turns, strict=True)):
        same = block.fixed and all(np.array_equal(e, entries[0]) for e in entries)
        matrix = entries[0] if same else stack_rows(entries)
        (shared if same else varying)[i] = _prepare(block, matrix, state.dtype)

    def turn(carry: Array, matrices: dict[int, Array]) -> tuple[Array, None]:
        for i, block in enumerate(blocks):
            carry = _apply_block(block, shared[i] if i in shared else matrices[i], carry)
        return carry, None

    return lax.scan(turn, state, varying, length=len(turns[0]))[0]


def _prepare(block: Block, matrix: Any, dtype: Any) -> Array:
    """Real arrays that `_apply_block` takes, from complex matrices (..., K, K).

    (..., K) for a real diagonal, (..., 2, K) for a diagonal, (..., K, K) for a real matrix, and
    (..., 2K, 2K) for any other, [[Re U, -Im U], [Im U, Re U]].
    """
    xp: Any = np if isinstance(matrix, np.ndarray) else jnp
    if block.diagonal:
        matrix = xp.diagonal(matrix, axis1=-2, axis2=-1)
    real, imag = matrix.real, matrix.imag
    if block.real:
        return jnp.asarray(real, dtype)
    if block.diagonal:
        return jnp.asarray(xp.stack([real, imag], axis=-2), dtype)
    top = xp.concatenate([real, -imag], axis=-1)
    bottom = xp.concatenate([imag, real], axis=-1)
    return jnp.asarray(xp.concatenate([top, bottom], axis=-2), dtype)


def _apply_block(block: Block, matrix: Array, state: Array) -> Array:
    """Applies one prepared matrix to a planar state."""
    if block.diagonal:
        return _apply_diagonal(block, matrix, state)
    shifted = tuple(axis + 1 for axis in block.axes)
    axes = shifted if block.real else (0, *shifted)
    return apply_matrix(state.reshape(-1), matrix, axes).reshape(state.shape)


def _apply_diagonal(block: Block, diagonal: Array, state: Array) -> Array:
    num_axes = state.shape[1].bit_length() - 1
    shape, _ = merge_axes(block.axes, num_axes)
    view = state.reshape((2, *shape))
    if block.real:
        return (view * diagonal_phases(diagonal, block.axes, num_axes)).reshape(state.shape)
    real, imag = (diagonal_phases(part, block.axes, num_axes) for part in diagonal)
    moved = [view[0] * real - view[1] * imag, view[0] * imag + view[1] * real]
    return jnp.stack(moved).reshape(state.shape)


def _bit(axis: int, num_axes: int) -> Array:
    """Value of one axis at every index, (2**num_axes,) of int32."""
    return (lax.iota(np.int32, 2**num_axes) >> (num_axes - 1 - axis)) & 1


def _apply_direct(factor: Factor, params: Any, data: Any, state: Array) -> Array:
    """A factor that is too large for a matrix: a parity rotation, or one with many controls."""
    num_axes = state.shape[1].bit_length() - 1
    if factor.form == "parity":
        (angle,) = reference_values(factor.references, params)
        parity = reduce(jnp.bitwise_xor, [_bit(axis, num_axes) for axis in factor.axes])
        sign = (1 - 2 * parity).astype(state.dtype) * (-1 if factor.adjoint else 1)
        c, s = jnp.cos(angle / 2), jnp.sin(angle / 2) * sign
        moved = jnp.stack([state[0] * c + state[1] * s, state[1] * c - state[0] * s])
    else:
        bare = factor._replace(controls=())
        block = Block(tuple(sorted(factor.axes)), (bare,), False, factor.real)
        moved = run_blocks([block], [Segment(0, 1, 1)], params, data, state)
    if not factor.controls:
        return moved
    active = reduce(
        jnp.bitwise_and, [_bit(axis, num_axes) == value for axis, value in factor.controls]
    )
    return jnp.where(active, moved, state)
