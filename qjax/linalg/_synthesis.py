"""Factoring unitary matrices into rotations, in double precision on the host.

These functions take matrices whose values are known and return NumPy arrays; nothing here is
traced. Global phases are returned where a caller may control the gate, and dropped nowhere else.

Factors are not unique where eigenvalues coincide, as they do for common gates. The choice made here
does not follow rounding errors, so that all machines write a gate alike.
"""

from typing import Any, NamedTuple

import numpy as np

from qjax.errors import CircuitError

__all__ = ["KakFactors", "kak_factors", "split_kronecker", "steady_angle", "zyz_angles"]

_X = np.array([[0, 1], [1, 0]], complex)
_Y = np.array([[0, -1j], [1j, 0]])
_Z = np.diag([1, -1]).astype(complex)

# Columns are Bell states; in this basis products of SU(2) are real orthogonal.
_MAGIC = np.array([[1, 0, 0, 1j], [0, 1j, 1, 0], [0, 1j, -1, 0], [1, 0, 0, -1j]]) * np.sqrt(0.5)
_MAGIC_BACK = _MAGIC.conj().T
_PAIRS = tuple(np.kron(p, p) for p in (_X, _Y, _Z))
# Eigenvalues of XX, YY and ZZ on the Bell states.
_SIGNS = np.array([np.real(np.diag(_MAGIC.conj().T @ p @ _MAGIC)) for p in _PAIRS])  # (3, 4)

_CUT = 0.1  # radians beyond -pi where angles begin anew: no angle of a common gate
_SAME = 1e-13  # angles of eigenvalues that differ by rounding alone
_TIE = 0.99  # sizes above this part of the largest count as equal to it


class KakFactors(NamedTuple):
    """U = exp(i phase) (left0 (x) left1) exp(i (x XX + y YY + z ZZ)) (right0 (x) right1).

    Attributes:
        phase: global phase in radians.
        left: two (2, 2) matrices, on the first and second qubit, that act last.
        coordinates: (x, y, z), each in (-pi/4, pi/4].
        right: two (2, 2) matrices that act first.
    """

    phase: float
    left: tuple[np.ndarray, np.ndarray]
    coordinates: tuple[float, float, float]
    right: tuple[np.ndarray, np.ndarray]


def _as_unitary(matrix: Any, size: int) -> np.ndarray:
    array = np.asarray(matrix, dtype=complex)
    if array.shape != (size, size):
        raise CircuitError(
            f"Argument `matrix` must have shape ({size}, {size}), but has shape {array.shape}."
        )
    if not abs(array @ array.conj().T - np.eye(size)).max() < 1e-4:
        raise CircuitError(
            "Argument `matrix` must be unitary, but its product with its adjoint is not the "
            "identity."
        )
    return array


def steady_angle(z: Any) -> Any:
    """Angles of complex numbers, in (0.1 - pi, 0.1 + pi].

    Angles of common gates, such as pi, lie away from the ends of this range, so that a rounding
    error never turns one into another.

    Args:
        z: numbers, of any shape.

    Returns:
        Angles in radians.

    Example:
        >>> import numpy as np
        >>> from qjax.linalg._synthesis import steady_angle
        >>> steady_angle(np.array([-1 + 1e-16j, -1 - 1e-16j])).round(4).tolist()
        [3.1416, 3.1416]
    """
    return np.angle(z * np.exp(-1j * _CUT)) + _CUT


def _first_large(sizes: np.ndarray) -> int:
    """The first of those that are largest but for rounding."""
    return int(np.argmax(sizes > _TIE * sizes.max()))


def zyz_angles(matrix: Any) -> tuple[float, float, float, float]:
    """Angles of U = exp(i phase) RZ(phi) RY(theta) RZ(lam).

    Args:
        matrix: (2, 2) unitary.

    Returns:
        theta in [0, pi], phi, lam and phase, in radians. Where theta is 0 or pi, lam is 0.

    Raises:
        CircuitError: if the matrix is not a unitary of this shape.

    Example:
        >>> import numpy as np
        >>> from qjax.linalg import zyz_angles
        >>> theta, phi, lam, phase = zyz_angles(np.diag([1, 1j]))
        >>> theta, round(phi, 4), lam, round(phase, 4)
        (0.0, 1.5708, 0.0, 0.7854)
    """
    a, b, c, d = _as_unitary(matrix, 2).ravel()
    theta = 2 * np.arctan2(abs(c), abs(a))
    at_a, at_b, at_c, at_d = steady_angle(np.array([a, -b, c, d]))
    # Of the sum and the difference of phi and lam, the one that matters more is read from the
    # larger entries.
    if abs(c) < 1e-15:
        phi, lam = at_d - at_a, 0.0
    elif abs(a) < 1e-15:
        phi, lam = at_c - at_b, 0.0
    else:
        phi = at_c - at_a
        lam = at_d - at_c if abs(a) > abs(c) else at_b - at_a
    phase = at_a + (phi + lam) / 2 if abs(a) > abs(c) else at_c - (phi - lam) / 2
    return float(theta), float(phi), float(lam), float(phase)


def split_kronecker(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factors of A (x) B, both of determinant one up to a common sign; the phase is lost.

    Args:
        matrix: (4, 4) product of two unitaries.

    Example:
        >>> import numpy as np
        >>> from qjax.linalg import split_kronecker
        >>> a, b = split_kronecker(np.kron(np.diag([1j, -1j]), np.eye(2)))
        >>> np.allclose(np.kron(a, b), np.kron(np.diag([1j, -1j]), np.eye(2)))
        True
    """
    blocks = matrix.reshape(2, 2, 2, 2).swapaxes(1, 2)  # (row0, column0, row1, column1)
    determinants = blocks[..., 0, 0] * blocks[..., 1, 1] - blocks[..., 0, 1] * blocks[..., 1, 0]
    row, column = divmod(_first_large(abs(determinants).ravel()), 2)
    determinant = determinants[row, column]
    second = blocks[row, column] / np.sqrt(abs(determinant))
    second = second * np.exp(-0.5j * steady_angle(determinant))
    first = blocks.reshape(4, 4) @ second.conj().ravel() / 2
    determinant = first[0] * first[3] - first[1] * first[2]
    return first.reshape(2, 2) / np.sqrt(abs(determinant)), second


def kron2(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The Kronecker product of two (2, 2) matrices, several times faster than NumPy's."""
    return (first[:, None, :, None] * second[None, :, None, :]).reshape(4, 4)


def _diagonalise(symmetric: Any) -> np.ndarray:
    """Real orthogonal P, of determinant one, such that P^T M P is diagonal for a unitary M = M^T.

    Real and imaginary part commute, so almost every combination of them has the eigenvectors of
    both; of a few fixed combinations the best is taken.
    """
    best, least = np.eye(4), np.inf
    for mix in (0.0, 0.51, 1.37, 0.93, 2.2, 2.83, 1.71):
        _, P = np.linalg.eigh(np.cos(mix) * symmetric.real + np.sin(mix) * symmetric.imag)
        rest = P.T @ symmetric @ P
        error = abs(rest - np.diag(np.diag(rest))).max()
        if error < least:
            best, least = P, error
        if least < 1e-13:
            break
    best = _steady_basis(best, np.diag(best.T @ symmetric @ best))
    return best * np.sign(np.linalg.det(best)) ** np.array([1, 0, 0, 0])


def _steady_basis(P: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Orthonormal eigenvectors, by angle of their eigenvalue, that rounding errors do not choose.

    A space of equal eigenvalues is unique, its basis is not. Here it is made of unit vectors
    projected onto the space, each time the first of those that lie in what is left of it most.

    Args:
        P: eigenvectors as columns.
        values: their eigenvalues.
    """
    angles = steady_angle(values)
    order = np.argsort(angles)
    edges = np.flatnonzero(np.diff(angles[order]) > _SAME) + 1
    columns = []
    for space in np.split(P[:, order], edges, axis=1):
        rest = space
        for _ in range(space.shape[1]):
            sizes = np.linalg.norm(rest, axis=1)
            row = _first_large(sizes)
            direction = rest[row] / sizes[row]
            columns.append(rest @ direction)
            rest = rest - np.outer(columns[-1], direction)
    return np.stack(columns, axis=1)


def kak_factors(matrix: Any) -> KakFactors:
    """Factors a two-qubit unitary into local gates around an interaction (Cartan's KAK).

    Args:
        matrix: (4, 4) unitary, first qubit most significant.

    Raises:
        CircuitError: if the matrix is not a unitary of this shape.

    Example:
        >>> import numpy as np
        >>> from qjax.linalg import kak_factors
        >>> cx = np.eye(4)[[0, 1, 3, 2]]
        >>> [abs(round(c / np.pi, 6)) for c in sorted(kak_factors(cx).coordinates)]
        [0.0, 0.0, 0.25]

    References:
        Kraus and Cirac, Phys. Rev. A 63, 062309 (2001).
    """
    U = _as_unitary(matrix, 4)
    phase = steady_angle(np.linalg.det(U)) / 4
    M = _MAGIC_BACK @ U @ _MAGIC * np.exp(-1j * phase)
    P = _diagonalise(M.T @ M)
    half = steady_angle((P * (M.T @ M @ P)).sum(axis=0)) / 2
    if np.cos(half.sum()) < 0:  # the factors of an SU(4) have determinant one
        half[0] += np.pi
    left = _MAGIC @ np.real(M @ P * np.exp(-1j * half)) @ _MAGIC_BACK
    right = _MAGIC @ P.T @ _MAGIC_BACK
    coordinates = _SIGNS @ half / 4
    turns = np.ceil(coordinates / (np.pi / 2) - 0.5 - 1e-12)  # leaves (-pi/4, pi/4]
    for pair, turn in zip(_PAIRS, turns, strict=True):
        if turn:
            left = left @ np.linalg.matrix_power(1j * pair, int(turn) % 4)
    inner = tuple(float(c) for c in coordinates - turns * np.pi / 2)
    (a, b), (c, d) = split_kronecker(left), split_kronecker(right)
    rebuilt = kron2(a, b) @ interaction(inner) @ kron2(c, d)
    phase = float(steady_angle(np.trace(rebuilt.conj().T @ U)))
    return KakFactors(phase, (a, b), (inner[0], inner[1], inner[2]), (c, d))


def interaction(coordinates: Any) -> np.ndarray:
    """exp(i (x XX + y YY + z ZZ))."""
    return _MAGIC * np.exp(1j * (np.asarray(coordinates) @ _SIGNS)) @ _MAGIC_BACK
