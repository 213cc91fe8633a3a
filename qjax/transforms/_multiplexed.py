"""Multiplexed gates: one of many one-qubit gates, chosen by the state of other qubits.

They prepare states and build unitaries on three and more qubits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qjax.linalg._synthesis import steady_angle
from qjax.transforms._elements import Element, Ising, Local, Pair, Turn, inverted
from qjax.transforms._linear import Number
from qjax.transforms._matrices import CX, TO_Z

__all__ = ["amplitude_elements", "multiplexed_rz", "unitary_elements"]

Qubits = tuple[int, ...]


def multiplexed_rz(controls: Qubits, target: int, angles: Sequence[Number]) -> list[Element]:
    """RZ(angles[j]) where the controls read j, the first one most significant.

    One Ising gate for one control, 2**k gates CX for k: the rotations between them are the Walsh
    transform of the angles in the order of the Gray code.

    References:
        Moettoenen et al., Phys. Rev. Lett. 93, 130502 (2004).
    """
    if all(isinstance(angle, float) and abs(angle) < 1e-13 for angle in angles):
        return []
    if not controls:
        return [Turn((target,), angles[0])]
    if len(controls) == 1:
        mean, difference = (angles[0] + angles[1]) / 2, (angles[0] - angles[1]) / 2
        return [Turn((target,), mean), Ising((controls[0], target), difference)]
    size = len(angles)
    elements: list[Element] = []
    for i in range(size):
        gray, following = i ^ (i >> 1), (i + 1) % size ^ ((i + 1) % size >> 1)
        total: Number = 0.0
        for j, angle in enumerate(angles):
            total = total + angle * ((-1) ** (j & gray).bit_count() / size)
        elements.append(Turn((target,), total))
        bit = (gray ^ following).bit_length() - 1  # the least significant bit is the last control
        elements.append(Pair((controls[len(controls) - 1 - bit], target), CX))
    return elements


def _up_to_diagonal(
    controls: Qubits, target: int, gates: np.ndarray
) -> tuple[list[Element], np.ndarray]:
    """Multiplexed unitaries with 2**k - 1 Ising gates, but for a diagonal.

    Args:
        controls: k qubits, the first one most significant.
        target: the qubit acted on.
        gates: (2**k, 2, 2) unitaries.

    Returns:
        Elements, and the (2**k, 2) diagonal that must follow them.

    References:
        Bergholm et al., Phys. Rev. A 71, 052330 (2005).
    """
    if not controls:
        return [Local((target,), gates[0])], np.ones((1, 2), complex)
    first, second = np.split(gates, 2)  # where the first control is 0 and 1
    product = first @ second.conj().swapaxes(-1, -2)  # (2**(k - 1), 2, 2)
    if np.allclose(product[:, 0, 1], 0, atol=1e-12):  # they differ by a diagonal only
        elements, rest = _up_to_diagonal(controls[1:], target, second)
        ratio = np.diagonal(product, axis1=1, axis2=2)
        return elements, np.concatenate([ratio * rest, rest])
    r, u = _split(product)
    root = np.exp(0.25j * np.pi * np.array([1, -1]))  # first = r* u root v, second = r u root* v
    adjoint = u.conj().swapaxes(-1, -2)
    v = root[:, None] * (adjoint @ (r.conj()[:, :, None] * second))
    early, between = _up_to_diagonal(controls[1:], target, v)
    late, after = _up_to_diagonal(controls[1:], target, u * between[:, None, :])
    ising = Ising((controls[0], target), -np.pi / 2)  # root and root* on the target
    return [*early, ising, *late], np.concatenate([r.conj() * after, r * after])


def _split(product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonals r (..., 2) and unitaries u with r X r = u diag(i, -i) u^dagger."""
    phase = steady_angle(np.linalg.det(product)) / 2
    low = steady_angle(product[:, 0, 0]) - phase
    # r X r has determinant one and vanishing trace.
    r = np.exp(0.5j * np.stack([np.pi / 2 - phase - low, -np.pi / 2 - phase + low], axis=-1))
    hermitian = -1j * (r[:, :, None] * product * r[:, None, :])
    _, vectors = np.linalg.eigh(hermitian)
    return r, vectors[:, :, ::-1]


def amplitude_elements(qubits: Qubits, amplitudes: np.ndarray) -> list[Element]:
    """Prepares known amplitudes from |0...0> with at most 2**n - n - 1 Ising gates.

    The inverse takes the last qubit to |0>, then the one before it, and so on; the diagonals that
    cheap multiplexed gates leave behind are absorbed by the amplitudes that are still to do.
    """
    state = np.asarray(amplitudes, dtype=complex)
    undo: list[Element] = []
    for k in range(len(qubits) - 1, -1, -1):
        halves = state.reshape(-1, 2)  # (2**k, 2)
        norms = np.linalg.norm(halves, axis=1)
        unit = np.where(norms[:, None] > 1e-14, halves, [1, 0])
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        gates = np.stack([unit.conj(), np.stack([-unit[:, 1], unit[:, 0]], axis=1)], axis=1)
        elements, diagonal = _up_to_diagonal(qubits[:k], qubits[k], gates)
        undo += elements
        state = norms / diagonal[:, 0]
    return inverted(undo)


def unitary_elements(qubits: Qubits, matrix: np.ndarray) -> list[Element]:
    """A known unitary on three or more qubits, by cosine-sine and eigenvalue decompositions.

    References:
        Shende, Bullock and Markov, IEEE Trans. CAD 25, 1000 (2006).
    """
    from scipy.linalg import cossin  # costs import time; only large unitaries need it

    if len(qubits) == 2:
        return [Pair((qubits[0], qubits[1]), matrix)]
    half = len(matrix) // 2
    factors: Any = cossin(matrix, p=half, q=half, separate=True)
    left, theta, right = factors
    to_y = Local((qubits[0],), TO_Z["Y"])
    controls, target = qubits[1:], qubits[0]
    return [
        *_demultiplexed(qubits, *right),
        to_y,
        *multiplexed_rz(controls, target, [float(2 * t) for t in theta]),
        *inverted([to_y]),
        *_demultiplexed(qubits, *left),
    ]


def _demultiplexed(qubits: Qubits, first: np.ndarray, second: np.ndarray) -> list[Element]:
    """diag(first, second) = (1 (x) V) diag(D, D*) (1 (x) W)."""
    from scipy.linalg import schur

    if np.allclose(first, second, atol=1e-12):
        return unitary_elements(qubits[1:], first)
    factors: Any = schur(first @ second.conj().T, output="complex")
    triangle, V = factors
    half = steady_angle(np.diag(triangle)) / 2
    W = np.exp(1j * half)[:, None] * (V.conj().T @ second)
    return [
        *unitary_elements(qubits[1:], W),
        *multiplexed_rz(qubits[1:], qubits[0], [float(-2 * h) for h in half]),
        *unitary_elements(qubits[1:], V),
    ]
