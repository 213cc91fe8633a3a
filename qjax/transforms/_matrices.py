"""Matrices of known gates as NumPy arrays in double precision."""

import numpy as np

__all__ = ["CX", "EYE", "TO_Z", "H", "X", "Z", "controlled", "p", "rotation", "u"]

EYE = np.eye(2, dtype=complex)
X = np.array([[0, 1], [1, 0]], complex)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1]).astype(complex)
H = np.array([[1, 1], [1, -1]], complex) * np.sqrt(0.5)
CX = np.eye(4, dtype=complex)[[0, 1, 3, 2]]
_PAULIS = {"X": X, "Y": Y, "Z": Z}
# V with V P V^dagger = Z.
TO_Z = {"X": H, "Y": (EYE - 1j * X) * np.sqrt(0.5), "Z": EYE}


def rotation(letter: str, theta: float) -> np.ndarray:
    """exp(-i theta/2 P)."""
    return np.cos(theta / 2) * EYE - 1j * np.sin(theta / 2) * _PAULIS[letter]


def p(phi: float) -> np.ndarray:
    """diag(1, exp(i phi))."""
    return np.diag([1, np.exp(1j * phi)])


def u(theta: float, phi: float, lam: float) -> np.ndarray:
    """The gate U."""
    c, s = np.cos(theta / 2), np.sin(theta / 2)
    return np.array(
        [[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]]
    )


def controlled(matrix: np.ndarray) -> np.ndarray:
    """diag(1, U)."""
    size = len(matrix)
    whole = np.eye(2 * size, dtype=complex)
    whole[size:, size:] = matrix
    return whole
