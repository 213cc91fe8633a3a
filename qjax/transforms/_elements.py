"""The alphabet that passes rewrite circuits into: one-qubit matrices, turns, pairs and Ising gates.

Every gate is a product of these, up to a global phase. Matrices are known numbers; the angles of
`Turn` and `Ising` may be linear forms in unknown ones.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from qjax.transforms._linear import Number, is_known

__all__ = ["Element", "Ising", "Local", "Pair", "Turn", "as_matrix", "inverted", "is_opaque"]


class Local(NamedTuple):
    """A known (2, 2) unitary on one qubit."""

    qubits: tuple[int]
    matrix: np.ndarray


class Turn(NamedTuple):
    """RZ(angle)."""

    qubits: tuple[int]
    angle: Number


class Pair(NamedTuple):
    """A known (4, 4) unitary on two qubits."""

    qubits: tuple[int, int]
    matrix: np.ndarray


class Ising(NamedTuple):
    """RZZ(angle), exp(-i angle/2 ZZ)."""

    qubits: tuple[int, int]
    angle: Number


Element = Local | Turn | Pair | Ising


def inverted(elements: Iterable[Element]) -> list[Element]:
    """The inverse of a product of elements."""
    return [
        element._replace(matrix=element.matrix.conj().T)
        if isinstance(element, Local | Pair)
        else element._replace(angle=-element.angle)
        for element in reversed(list(elements))
    ]


def is_opaque(element: Element) -> bool:
    """Whether its matrix is unknown."""
    return isinstance(element, Turn | Ising) and not is_known(element.angle)


def as_matrix(element: Element) -> np.ndarray:
    """The matrix of an element whose numbers are known."""
    if isinstance(element, Local | Pair):
        return element.matrix
    assert isinstance(element.angle, float)
    up = np.exp(-0.5j * element.angle)
    if isinstance(element, Turn):
        return np.diag([up, up.conjugate()])
    return np.diag([up, up.conjugate(), up.conjugate(), up])
