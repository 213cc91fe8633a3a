"""Gathers gates and channels into blocks on at most two qubits, in NumPy, before they are run.

Circuits arrive here once and with all their numbers, so that compiling them costs more than
running them. With one matrix a block there is much less to compile, and circuits whose two-qubit
gates lie alike share a program, whatever their other gates.

A block is a matrix over digits, one a qubit: of base 2 for unitaries, and of base 4 for channels,
where the digit is 2 ket + bra.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from qjax._typing import float_dtype
from qjax.circuit import (
    Channel,
    Circuit,
    Gate,
    Kraus,
    Operation,
    Unitary,
    channel_arguments,
    kind_matrix,
)

__all__ = ["Local", "blocks_circuit", "fuse", "local_unitaries", "mixed_circuit", "pure_circuit"]

_NEGLIGIBLE = 1e-13


@dataclass
class Local:
    """A map of few qubits.

    Attributes:
        matrix: (..., base**k, base**k).
        qubits: the k qubits, the first one the most significant digit.
        whole: the operation itself, if it acts on more than two qubits.
    """

    matrix: np.ndarray
    qubits: tuple[int, ...]
    whole: Operation | None = field(default=None)


def fuse(locals_: Iterable[Local], base: int) -> list[Local]:
    """The same maps in fewer blocks, in order.

    Maps of one qubit go into the block before or after them; blocks of the same two qubits with
    nothing between them become one.

    Args:
        locals_: maps of one or two qubits, and whole operations.
        base: of the digits, 2 or 4.
    """
    found: list[Local] = []
    last: dict[int, int] = {}  # qubit -> its last block of two qubits, if nothing came after
    waiting: dict[int, np.ndarray] = {}  # qubit -> maps that found no block yet
    one = np.eye(base)
    for item in locals_:
        if item.whole is not None:
            for qubit in item.qubits:
                if qubit in waiting:
                    found.append(Local(waiting.pop(qubit), (qubit,)))
                last.pop(qubit, None)
            found.append(item)
        elif len(item.qubits) == 1:
            (qubit,) = item.qubits
            if qubit in last:
                block = found[last[qubit]]
                block.matrix = _widened(item.matrix, qubit, block.qubits, base) @ block.matrix
            else:
                waiting[qubit] = item.matrix @ waiting.get(qubit, one)
        else:
            pair = item.qubits
            place = last.get(pair[0])
            if place is not None and place == last.get(pair[1]):
                block = found[place]
                turned = item.matrix if block.qubits == pair else _swapped(item.matrix, base)
                block.matrix = turned @ block.matrix
                continue
            before = _kron(waiting.pop(pair[0], one), waiting.pop(pair[1], one))
            found.append(Local(item.matrix @ before, pair))
            last |= dict.fromkeys(pair, len(found) - 1)
    return found + [Local(waiting[qubit], (qubit,)) for qubit in sorted(waiting)]


def _kron(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kronecker product of matrices (..., b, b)."""
    product = first[..., :, None, :, None] * second[..., None, :, None, :]
    size = first.shape[-1] * second.shape[-1]
    return product.reshape((*product.shape[:-4], size, size))


def _widened(matrix: np.ndarray, qubit: int, pair: tuple[int, ...], base: int) -> np.ndarray:
    one = np.eye(base)
    return _kron(matrix, one) if pair[0] == qubit else _kron(one, matrix)


def _swapped(matrix: np.ndarray, base: int) -> np.ndarray:
    """The matrix with its two digits exchanged."""
    digits = matrix.reshape((*matrix.shape[:-2], base, base, base, base))
    return digits.swapaxes(-4, -3).swapaxes(-2, -1).reshape(matrix.shape)


# --- from operations and back ---------------------------------------------------------------------


def local_unitaries(operations: Sequence[Operation]) -> Iterator[Local]:
    """Gates as maps with digits of base 2."""
    matrices = _matrices(operations)
    for place, operation in enumerate(operations):
        if len(operation.qubits) > 2:
            yield Local(np.eye(1), operation.qubits, operation)
        else:
            yield Local(_controlled(matrices[place], operation), operation.qubits)


def local_channels(operations: Sequence[Operation]) -> Iterator[Local]:
    """Gates and channels as maps with digits of base 4."""
    matrices = _matrices([o for o in operations if isinstance(o.kind, Gate)])
    gates = iter(range(len(matrices)))
    for operation in operations:
        matrix = matrices[next(gates)] if isinstance(operation.kind, Gate) else None
        if len(operation.qubits) > 2:
            yield Local(np.eye(1), operation.qubits, operation)
        else:
            kraus = _kraus(operation) if matrix is None else _controlled(matrix, operation)[None]
            yield Local(_superoperator(kraus, len(operation.qubits)), operation.qubits)


def _matrices(operations: Sequence[Operation]) -> list[np.ndarray]:
    """Matrices of gates without their controls; those of one kind are computed at once."""
    alike: dict[Any, list[int]] = {}
    found: list[np.ndarray] = [np.eye(1)] * len(operations)
    for place, operation in enumerate(operations):
        kind, detail = operation.kind, operation.detail
        if len(operation.qubits) > 2:
            continue
        if operation.data is None:
            alike.setdefault((kind, detail, operation.adjoint), []).append(place)
        else:
            found[place] = np.asarray(operation.matrix, complex)
    for (kind, detail, adjoint), places in alike.items():
        columns = zip(*(operations[place].params for place in places), strict=True)
        params = tuple(np.asarray(column, float_dtype()) for column in columns)
        together = np.asarray(kind_matrix(kind, params, None, detail, adjoint), complex)
        for row, place in enumerate(places):
            found[place] = together[row] if together.ndim > 2 else together
    return found


def _controlled(matrix: np.ndarray, operation: Operation) -> np.ndarray:
    for _ in operation.controls:
        size = len(matrix)
        wider = np.eye(2 * size, dtype=complex)
        wider[size:, size:] = matrix
        matrix = wider
    return matrix


def _kraus(operation: Operation) -> np.ndarray:
    """Kraus operators of a channel."""
    kind = operation.kind
    assert isinstance(kind, Channel)
    if operation.data is not None:
        return np.asarray(operation.kraus_operators, complex)
    params = tuple(float(value) for value in operation.params)
    return _known_kraus(kind, params, operation.detail, float_dtype())


@lru_cache(maxsize=256)
def _known_kraus(
    kind: Channel, params: tuple[float, ...], detail: Any, dtype: np.dtype
) -> np.ndarray:
    """Kraus operators of a channel; `dtype` is that in which they are computed."""
    return np.asarray(kind.kraus(*channel_arguments(kind, params, None, detail)), complex)


def _superoperator(kraus: np.ndarray, count: int) -> np.ndarray:
    """The map rho -> sum_m K_m rho K_m^dagger of `count` qubits, with digits of base 4."""
    table = np.einsum("mij,mkl->ikjl", kraus, kraus.conj())  # out ket, out bra, in ket, in bra
    order = [k + count * side for k in range(count) for side in (0, 1)]
    axes = order + [2 * count + k for k in order]
    digits = table.reshape((2,) * (4 * count)).transpose(axes)
    return digits.reshape(4**count, 4**count)


def _kraus_of(matrix: np.ndarray, count: int) -> np.ndarray:
    """Kraus operators (4**count, 2**count, 2**count) of a map, padded with zeros."""
    # Axes are (ket, bra) per qubit, out and in; wanted are kets out and in, bras out and in.
    kets = [2 * k for k in range(count)] + [2 * count + 2 * k for k in range(count)]
    axes = kets + [k + 1 for k in kets]
    size = 4**count
    choi = matrix.reshape((2,) * (4 * count)).transpose(axes).reshape(size, size)
    weights, vectors = np.linalg.eigh(choi)
    roots = np.sqrt(np.where(weights > _NEGLIGIBLE, weights, 0))
    return (vectors * roots).T.reshape(size, 2**count, 2**count)


def pure_circuit(circuit: Circuit) -> Circuit:
    """A circuit of gates as blocks."""
    return blocks_circuit(circuit.num_qubits, fuse(local_unitaries(circuit.operations), 2))


def _unitary(block: Local) -> Operation:
    return block.whole if block.whole is not None else Unitary(block.matrix, block.qubits)


def mixed_circuit(circuit: Circuit) -> Circuit:
    """A circuit of gates and channels as blocks, each a channel given by its Kraus operators."""
    operations: list[Operation] = []
    for block in fuse(local_channels(circuit.operations), 4):
        if block.whole is not None:
            operations.append(block.whole)
        else:
            operations.append(Kraus(_kraus_of(block.matrix, len(block.qubits)), block.qubits))
    return Circuit(circuit.num_qubits, operations)


def blocks_circuit(num_qubits: int, blocks: Iterable[Local]) -> Circuit:
    """A circuit of unitary blocks, which may have batch axes."""
    return Circuit(num_qubits, [_unitary(block) for block in blocks])
