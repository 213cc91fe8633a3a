"""Ansätze made of two-qubit blocks: the convolution of a QCNN, and the tree tensor network.

They take their angles as one array, whole. Pooling and reading out belong to `qjax.nn`.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_finite, check_num_qubits
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import RXX, RY, RYY, RZ, RZZ, Circuit, Gate, Leaf, Reference, Step, Structure
from qjax.errors import CircuitError

__all__ = ["ANGLES_PER_BLOCK", "ANGLES_PER_NODE", "convolutional", "tree_pairs", "tree_tensor"]

Block = tuple[tuple[Gate, tuple[int, ...]], ...]

_ROTATIONS: Block = tuple((gate.kind, (q,)) for q in (0, 1) for gate in (RZ, RY, RZ))
_COUPLING: Block = tuple((gate.kind, (0, 1)) for gate in (RXX, RYY, RZZ))
_NODE = _ROTATIONS + _COUPLING
_SU4 = _NODE + _ROTATIONS

ANGLES_PER_BLOCK = len(_SU4)
ANGLES_PER_NODE = len(_NODE)


def _rows(theta: ArrayLike, per_row: int, num_rows: int | None = None) -> tuple[Array, int]:
    """Angles as (..., rows * per_row), and the number of rows."""
    array = theta if isinstance(theta, jax.Array) else jnp.asarray(np.asarray(theta))
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    rows = array.shape[-2] if array.ndim > 1 else 0
    if array.shape[-1:] != (per_row,) or rows < 1 or rows != (num_rows or rows) or not real:
        raise CircuitError(
            f"Argument `theta` must be real of shape (..., {num_rows or 'depth'}, {per_row}), "
            f"but is {array.dtype} of shape {array.shape}."
        )
    check_finite(array, name="theta", error=CircuitError)
    return array.astype(float_dtype()).reshape((*array.shape[:-2], rows * per_row)), rows


def _check_pairable(num_qubits: int) -> int:
    """Returns `num_qubits` if there are two of them or more."""
    if check_num_qubits(num_qubits) < 2:
        raise CircuitError(f"Argument `num_qubits` must be at least 2, but is {num_qubits}.")
    return num_qubits


def _placed(block: Block, pair: tuple[int, int], row: int) -> list[Step]:
    """The gates of a block on a pair of qubits, with the angles of a row."""
    first = row * len(block)
    return [
        Step(gate, tuple(pair[i] for i in places), references=(Reference(0, first + k),))
        for k, (gate, places) in enumerate(block)
    ]


def convolutional(theta: ArrayLike, num_qubits: int) -> Circuit:
    """Layers of one two-qubit block on all neighbours of a ring: the convolution of a QCNN.

    Each layer applies its block to the pairs (0, 1), (2, 3), ..., then to (1, 2), (3, 4), ... and,
    where n > 2, to (n-1, 0), with the same angles everywhere. The block is a general element of
    SU(4) in its Cartan form,

        (K1 x K2) exp(-i (a XX + b YY + c ZZ) / 2) (K3 x K4),

    each K being RZ RY RZ. It is the identity where all of its angles are zero.

    Args:
        theta: (..., depth, 15) angles in radians: RZ, RY, RZ of the first and of the second qubit
            of each pair; RXX, RYY, RZZ; again RZ, RY, RZ of the first and of the second.
        num_qubits: n, at least 2.

    Returns:
        Circuit on n qubits with `depth` layers, with the batch axes of theta.

    Raises:
        CircuitError: if theta has another shape, or there are fewer than 2 qubits.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> from qjax.library import convolutional
        >>> convolutional(jnp.zeros((1, 15)), num_qubits=4).count_operations()
        {'RZ': 32, 'RY': 16, 'RXX': 4, 'RYY': 4, 'RZZ': 4}

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15, 1273
        (2019). Hur, Kim and Park, Quantum convolutional neural network for classical data
        classification, Quantum Machine Intelligence 4, 3 (2022), whose block of 15 angles is as
        general. Kraus and Cirac, Optimal creation of entanglement using a two-qubit gate, Phys.
        Rev. A 63, 062309 (2001), for the form of the block.
    """
    n = _check_pairable(num_qubits)
    flat, depth = _rows(theta, ANGLES_PER_BLOCK)
    return Circuit.from_structure(_convolutional(depth, n), (flat,))


@lru_cache(maxsize=256)
def _convolutional(depth: int, num_qubits: int) -> Structure:
    pairs = [(q, q + 1) for first in (0, 1) for q in range(first, num_qubits - 1, 2)]
    pairs += [(num_qubits - 1, 0)] if num_qubits > 2 else []
    steps = [step for row in range(depth) for pair in pairs for step in _placed(_SU4, pair, row)]
    return Structure(num_qubits, tuple(steps), (Leaf(depth * ANGLES_PER_BLOCK),))


def tree_tensor(theta: ArrayLike, num_qubits: int) -> Circuit:
    """A binary tree of two-qubit blocks, each with angles of its own, that leads to one qubit.

    Blocks act on the pairs (0, 1), (2, 3), ..., then on pairs of the first qubits of these, and so
    on until only qubit 0, the root, is left; the second qubit of a pair is not touched again.
    Where n is not a power of two, the last qubit of an odd number waits for the next round. A
    block is

        exp(-i (a XX + b YY + c ZZ) / 2) (K1 x K2),

    each K being RZ RY RZ. Rotations after it are left out: on the first qubit the next block has
    them, on the second nobody would see them. So the tree is as general as one of elements of
    SU(4), up to a last rotation of the root.

    Args:
        theta: (..., n - 1, 9) angles in radians, in the order of `tree_pairs`: RZ, RY, RZ of the
            first and of the second qubit, then RXX, RYY, RZZ.
        num_qubits: n, at least 2.

    Returns:
        Circuit on n qubits, with the batch axes of theta.

    Raises:
        CircuitError: if theta has another shape, or there are fewer than 2 qubits.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> from qjax.library import tree_tensor
        >>> tree_tensor(jnp.zeros((3, 9)), num_qubits=4).count_operations()
        {'RZ': 12, 'RY': 6, 'RXX': 3, 'RYY': 3, 'RZZ': 3}

    References:
        Grant et al., Hierarchical quantum classifiers, npj Quantum Information 4, 65 (2018).
        Huggins et al., Towards quantum machine learning with tensor networks, Quantum Science and
        Technology 4, 024001 (2019).
    """
    n = _check_pairable(num_qubits)
    flat, _ = _rows(theta, ANGLES_PER_NODE, n - 1)
    return Circuit.from_structure(_tree_tensor(n), (flat,))


@lru_cache(maxsize=256)
def _tree_tensor(num_qubits: int) -> Structure:
    pairs = tree_pairs(num_qubits)
    steps = [step for row, pair in enumerate(pairs) for step in _placed(_NODE, pair, row)]
    return Structure(num_qubits, tuple(steps), (Leaf(len(pairs) * ANGLES_PER_NODE),))


def tree_pairs(num_qubits: int) -> tuple[tuple[int, int], ...]:
    """Pairs (kept, dropped) of the blocks of a `tree_tensor`, in the order in which they act.

    Args:
        num_qubits: n, at least 2.

    Raises:
        CircuitError: if there are fewer than 2 qubits.

    Example:
        >>> from qjax.library import tree_pairs
        >>> tree_pairs(4)
        ((0, 1), (2, 3), (0, 2))
    """
    left = list(range(_check_pairable(num_qubits)))
    pairs: list[tuple[int, int]] = []
    while len(left) > 1:
        pairs += zip(left[::2], left[1::2], strict=False)
        left = left[::2]
    return tuple(pairs)
