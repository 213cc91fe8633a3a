"""A circuit of known matrices, turns and Ising gates, read qubit by qubit.

Each qubit is a list of items: known matrices alternate with separators, which are turns by unknown
angles and couplings. A known matrix matters only up to turns on both sides, because those are free.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from qjax.transforms._elements import Element, Ising, Turn, as_matrix
from qjax.transforms._linear import Number, is_known

__all__ = [
    "TOLERANCE",
    "Coupling",
    "Wires",
    "as_wires",
    "column_pulses",
    "is_flip",
    "is_turn",
    "pulses",
    "slide",
    "turn_matrix",
]

TOLERANCE = 1e-11
_HALF = math.sqrt(0.5)


class Coupling(NamedTuple):
    """exp(-i pi turns Z (x) Z) on two qubits."""

    qubits: tuple[int, int]
    turns: Number


@dataclass
class Wires:
    """Couplings in order of time, and for each qubit matrices around separators.

    Attributes:
        couplings: all of them.
        matrices: per qubit the known (2, 2) matrices, one more than separators.
        separators: per qubit numbers of couplings (int) and unknown turns, in turns (Linear).
    """

    couplings: list[Coupling]
    matrices: list[list[np.ndarray]]
    separators: list[list[int | Number]]


def pulses(matrix: np.ndarray) -> int:
    """How many pulses a matrix needs, up to turns on both sides: 0, 1 or 2."""
    return column_pulses(matrix[0, 0], matrix[1, 0])


def column_pulses(low: complex, high: complex) -> int:
    """The same from the first column alone, on which it depends."""
    size = abs(low)
    if abs(high) < TOLERANCE:
        return 0
    return 1 if size < TOLERANCE or abs(size - _HALF) < TOLERANCE else 2


def is_turn(matrix: np.ndarray) -> bool:
    """Whether it is diagonal."""
    return abs(matrix[1, 0]) < TOLERANCE


def is_flip(matrix: np.ndarray) -> bool:
    """Whether it is X but for turns."""
    return abs(matrix[0, 0]) < TOLERANCE


def as_wires(num_qubits: int, elements: Iterable[Element]) -> Wires:
    """Reads elements qubit by qubit; pairs must have been written as Ising gates."""
    eye = np.eye(2, dtype=complex)
    wires = Wires([], [[eye] for _ in range(num_qubits)], [[] for _ in range(num_qubits)])
    for element in elements:
        if isinstance(element, Ising):
            for qubit in element.qubits:
                wires.separators[qubit].append(len(wires.couplings))
                wires.matrices[qubit].append(eye)
            wires.couplings.append(Coupling(element.qubits, element.angle / (2 * np.pi)))
        elif isinstance(element, Turn) and not is_known(element.angle):
            (qubit,) = element.qubits
            wires.separators[qubit].append(element.angle / (2 * np.pi))
            wires.matrices[qubit].append(eye)
        else:
            qubit = element.qubits[0]
            wires.matrices[qubit][-1] = as_matrix(element) @ wires.matrices[qubit][-1]
    for qubit in range(num_qubits):
        wires.matrices[qubit], wires.separators[qubit] = _join_turns(
            wires.matrices[qubit], wires.separators[qubit]
        )
    return wires


def _join_turns(
    matrices: list[np.ndarray], separators: list[int | Number]
) -> tuple[list[np.ndarray], list[int | Number]]:
    """Adds the angles of turns that only a diagonal matrix, or a flip, keeps apart."""
    kept, done = [matrices[0]], []
    for separator, matrix in zip(separators, matrices[1:], strict=True):
        between = kept[-1]
        joins = done and not isinstance(separator, int) and not isinstance(done[-1], int)
        if joins and (is_turn(between) or is_flip(between)):
            kept.pop()
            previous: Any = done.pop()
            total = separator + (previous if is_turn(between) else -previous)
            kept[-1] = between @ kept[-1]
            if is_known(total):
                kept[-1] = matrix @ turn_matrix(total) @ kept[-1]
                continue
            done.append(total)
        else:
            done.append(separator)
        kept.append(matrix)
    return kept, done


def turn_matrix(turns: Number) -> np.ndarray:
    """RZ of a known number of turns."""
    assert isinstance(turns, float)
    return np.diag(np.exp(np.array([-1j, 1j]) * np.pi * turns))


def slide(wires: Wires, forward: bool) -> Wires:
    """Moves unknown turns past couplings, as far as they go, forward or back in time."""
    done = Wires(wires.couplings, [], [])
    for matrices, separators in zip(wires.matrices, wires.separators, strict=True):
        if forward:
            moved = _slid(matrices, separators)
        else:  # the inverse in reverse order slides forward
            inverse = [m.conj().T for m in reversed(matrices)]
            negated = [s if isinstance(s, int) else -s for s in reversed(separators)]
            back, turned = _slid(inverse, negated)
            matrices = [m.conj().T for m in reversed(back)]
            moved = matrices, [s if isinstance(s, int) else -s for s in reversed(turned)]
        done.matrices.append(moved[0])
        done.separators.append(moved[1])
    return done


def _slid(
    matrices: list[np.ndarray], separators: list[int | Number]
) -> tuple[list[np.ndarray], list[int | Number]]:
    kept, done = list(matrices), list(separators)
    position = 0
    while position + 1 < len(done):
        turn, after = done[position], done[position + 1]
        between = kept[position + 1]
        moves = not isinstance(turn, int) and isinstance(after, int)
        if moves and (is_turn(between) or is_flip(between)):
            done[position : position + 2] = [after, turn if is_turn(between) else -turn]
            kept[position : position + 2] = [between @ kept[position], np.eye(2, dtype=complex)]
        position += 1
    return _join_turns(kept, done)
