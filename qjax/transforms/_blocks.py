"""Gathering elements into blocks on two qubits, and writing each block with the fewest Ising gates.

Elements move past others that they commute with, so that gates on the same pair meet.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from typing import Any

import numpy as np

from qjax.linalg import kak_factors
from qjax.linalg._synthesis import kron2
from qjax.transforms._elements import Element, Ising, Local, Pair, Turn, as_matrix, is_opaque
from qjax.transforms._matrices import EYE, TO_Z

__all__ = ["SWAP", "count_ising", "gather", "ising_form", "resynthesise"]

SWAP = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
_TOLERANCE = 1e-11
_Z_FIRST, _Z_SECOND = np.array([1, 1, -1, -1]), np.array([1, -1, 1, -1])


@dataclass(eq=False)
class _Block:
    """A known matrix, or one element with unknown numbers, on one or two qubits."""

    qubits: tuple[int, ...]
    matrix: np.ndarray | None
    element: Element | None = None
    diagonal: dict[int, bool] = field(default_factory=dict)  # qubit -> commutes with Z there

    def multiply(self, matrix: np.ndarray, qubits: tuple[int, ...]) -> None:
        """Appends a gate that acts later, on some of the block's qubits."""
        assert self.matrix is not None
        self.matrix = _on(matrix, qubits, self.qubits) @ self.matrix
        self.diagonal.clear()

    def commutes_with_z(self, qubit: int) -> bool:
        if self.matrix is None:
            return True  # unknown elements are diagonal
        if qubit not in self.diagonal:
            signs = np.array([1, -1])
            if len(self.qubits) == 2:
                signs = _Z_FIRST if qubit == self.qubits[0] else _Z_SECOND
            changed = self.matrix * (signs[:, None] != signs)
            self.diagonal[qubit] = bool(abs(changed).max() < _TOLERANCE)
        return self.diagonal[qubit]


def _on(matrix: np.ndarray, qubits: tuple[int, ...], where: tuple[int, ...]) -> np.ndarray:
    """A matrix on some of one or two qubits, as a matrix on them in the given order."""
    if qubits == where:
        return matrix
    if len(qubits) == 2:
        return matrix.reshape(2, 2, 2, 2).transpose(1, 0, 3, 2).reshape(4, 4)
    return kron2(matrix, EYE) if qubits[0] == where[0] else kron2(EYE, matrix)


def _commute(block: _Block, other: _Block) -> bool:
    shared = [q for q in block.qubits if q in other.qubits]
    if not shared:
        return True
    if all(block.commutes_with_z(q) and other.commutes_with_z(q) for q in shared):
        return True
    if block.matrix is None or other.matrix is None:
        return False
    qubits = tuple(dict.fromkeys(block.qubits + other.qubits))
    a, b = (_embed(x.matrix, x.qubits, qubits) for x in (block, other))  # type: ignore[arg-type]
    return bool(abs(a @ b - b @ a).max() < _TOLERANCE)


def _embed(matrix: np.ndarray, qubits: tuple[int, ...], where: tuple[int, ...]) -> np.ndarray:
    """A matrix on some of up to four qubits as a matrix on all of them."""
    rest = [q for q in where if q not in qubits]
    order = [*qubits, *rest]
    n = len(where)
    tensor = np.kron(matrix, np.eye(2 ** len(rest))).reshape((2,) * (2 * n))
    axes = [order.index(q) for q in where]
    return tensor.transpose([*axes, *(n + a for a in axes)]).reshape(2**n, 2**n)


class _Gathering:
    """The blocks so far, in order of time, and for every qubit the blocks that touch it."""

    def __init__(self):
        self.blocks: dict[int, _Block] = {}
        self.wires: dict[int, list[int]] = {}
        self.count = 0

    def append(self, block: _Block) -> None:
        for qubit in block.qubits:
            self.wires.setdefault(qubit, []).append(self.count)
        self.blocks[self.count] = block
        self.count += 1

    def add(self, element: Element) -> None:
        matrix = None if is_opaque(element) else as_matrix(element)
        new = _Block(element.qubits, matrix, None if matrix is not None else element)
        if matrix is None:
            if not self._add_unknown(new):
                self.append(new)
        elif len(element.qubits) == 1:
            self._add_local(new)
        elif not self._join(new):
            self._append_pair(new)

    def _last(self, qubit: int) -> _Block | None:
        wire = self.wires.get(qubit)
        return self.blocks[wire[-1]] if wire else None

    def _add_local(self, new: _Block) -> None:
        assert new.matrix is not None
        last = self._last(new.qubits[0])
        if last is None or last.matrix is None:
            self.append(new)
        else:
            last.multiply(new.matrix, new.qubits)

    def _earlier(self, qubits: tuple[int, ...]) -> Iterator[_Block]:
        """Blocks on any of the qubits, the latest first."""
        wires = (reversed(self.wires.get(q, [])) for q in qubits)
        for number, _ in groupby(merge(*wires, reverse=True)):
            yield self.blocks[number]

    def _join(self, new: _Block) -> bool:
        """Multiplies into an earlier block on the same pair, past all that it commutes with."""
        assert new.matrix is not None
        for block in self._earlier(new.qubits):
            if set(block.qubits) == set(new.qubits) and block.matrix is not None:
                block.multiply(new.matrix, new.qubits)
                return True
            if not _commute(block, new):
                return False
        return False

    def _append_pair(self, new: _Block) -> None:
        """A new block; matrices on one of its qubits right before it become part of it."""
        assert new.matrix is not None
        for qubit in new.qubits:
            last = self._last(qubit)
            if last is not None and last.matrix is not None and len(last.qubits) == 1:
                new.matrix = new.matrix @ _on(last.matrix, last.qubits, new.qubits)
                del self.blocks[self.wires[qubit].pop()]
        self.append(new)

    def _add_unknown(self, new: _Block) -> bool:
        """Adds the angle to that of an earlier element of the kind, if it gets there."""
        for block in self._earlier(new.qubits):
            old, element = block.element, new.element
            if old is not None and set(block.qubits) == set(new.qubits):
                assert isinstance(old, Turn | Ising) and isinstance(element, Turn | Ising)
                block.element = old._replace(angle=old.angle + element.angle)
                if not is_opaque(block.element):
                    block.matrix, block.element = as_matrix(block.element), None
                return True
            if not _commute(block, new):
                return False
        return False


def gather(elements: Iterable[Element]) -> list[Element]:
    """Elements joined to as few as possible: known ones to Local and Pair, angles summed."""
    gathering = _Gathering()
    for element in elements:
        gathering.add(element)
    joined: list[Element] = []
    for block in gathering.blocks.values():
        if block.element is not None:
            joined.append(block.element)
        elif len(block.qubits) == 1:
            joined.append(Local((block.qubits[0],), block.matrix))  # type: ignore[arg-type]
        else:
            joined.append(Pair((block.qubits[0], block.qubits[1]), block.matrix))  # type: ignore[arg-type]
    return joined


def ising_form(element: Element) -> list[Element]:
    """A pair as local matrices around 0 to 3 Ising gates; other elements as they are."""
    if not isinstance(element, Pair):
        return [element]
    factors = kak_factors(element.matrix)
    qubits = element.qubits
    form: list[Element] = [Local((q,), m) for q, m in zip(qubits, factors.right, strict=True)]
    for letter, coordinate in zip("XYZ", factors.coordinates, strict=True):
        if abs(coordinate) < _TOLERANCE:
            continue
        change = TO_Z[letter]
        form += [Local((q,), change) for q in qubits]
        form.append(Ising(qubits, -2 * coordinate))
        form += [Local((q,), change.conj().T) for q in qubits]
    return form + [Local((q,), m) for q, m in zip(qubits, factors.left, strict=True)]


def count_ising(elements: Iterable[Element]) -> int:
    """How many gates on two qubits there are."""
    return sum(len(element.qubits) == 2 for element in elements)


def resynthesise(
    elements: Iterable[Element], relabel: bool = False
) -> tuple[list[Element], dict[int, int]]:
    """Writes every pair with the fewest Ising gates.

    Args:
        elements: gathered ones.
        relabel: whether qubits may change places: a pair that is cheaper without a SWAP after it
            loses that SWAP, and what follows acts on the qubits as they then lie.

    Returns:
        Elements, and for every qubit that moved where it ends.
    """
    done: list[Element] = []
    place: dict[int, int] = {}
    for element in elements:
        where: Any = tuple(place.get(q, q) for q in element.qubits)
        moved = element._replace(qubits=where)
        form = ising_form(moved)
        if relabel and isinstance(moved, Pair) and isinstance(element, Pair):
            swapped = ising_form(Pair(moved.qubits, SWAP @ moved.matrix))
            if count_ising(swapped) < count_ising(form):
                form = swapped
                a, b = element.qubits
                place[a], place[b] = where[1], where[0]
        done += form
    return done, place
