"""Controlled gates as elements: how many Ising gates each needs is written at each rule.

Everything reduces to rotations about Z with controls, which stay linear in their angle, so that
the same rules serve angles that are known later.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np

from qjax.linalg import kak_factors
from qjax.linalg._synthesis import steady_angle
from qjax.transforms._elements import Element, Ising, Local, Pair, Turn, inverted
from qjax.transforms._linear import Number, is_known
from qjax.transforms._matrices import CX, TO_Z, H, controlled, p, rotation, u

__all__ = [
    "controlled_pair",
    "controlled_phase",
    "controlled_rz",
    "controlled_u",
    "controlled_unitary",
    "pauli_rotation",
    "relative_x",
]

Qubits = tuple[int, ...]

_T, _T_BACK = np.diag([1, np.exp(0.25j * np.pi)]), np.diag([1, np.exp(-0.25j * np.pi)])
_EIGHTH, _EIGHTH_BACK = rotation("Y", np.pi / 4), rotation("Y", -np.pi / 4)


def controlled_phase(qubits: Qubits, phi: Number) -> list[Element]:
    """exp(i phi) where all qubits are one: 0, 1, 5, 13 Ising gates on 1 to 4 qubits."""
    if not qubits:
        return []
    if len(qubits) == 1:
        return [Turn(qubits, phi)]  # type: ignore[arg-type]
    if len(qubits) == 2:
        a, b = qubits
        if is_known(phi):
            return [Pair((a, b), controlled(p(phi)))]  # type: ignore[arg-type]
        return [Turn((a,), phi / 2), Turn((b,), phi / 2), Ising((a, b), -phi / 2)]
    *rest, last = qubits
    return controlled_rz(tuple(rest), last, phi) + controlled_phase(tuple(rest), phi / 2)


@lru_cache
def _cost(num_controls: int) -> tuple[int, int]:
    """Ising gates of the best rotation with so many controls, and how many controls to split off.

    Splitting b of k controls off costs two rotations with b controls and two X with k - b, these
    up to relative phases.
    """
    if num_controls <= 1:
        return num_controls, 0
    costs = [
        (2 * _cost(b)[0] + 2 * _relative_cost(num_controls - b), b) for b in range(1, num_controls)
    ]
    return min(costs)


def _relative_cost(num_controls: int) -> int:
    return {1: 1, 2: 3, 3: 6}.get(num_controls) or _cost(num_controls)[0]


def controlled_rz(controls: Qubits, target: int, theta: Number) -> list[Element]:
    """RZ(theta) where all controls are one: 1, 4, 8, 14, 20 Ising gates for 1 to 5 controls."""
    if not controls:
        return [Turn((target,), theta)]
    if len(controls) == 1:
        pair = (controls[0], target)
        if is_known(theta):
            return [Pair(pair, controlled(rotation("Z", theta)))]  # type: ignore[arg-type]
        return [Turn((target,), theta / 2), Ising(pair, -theta / 2)]
    _, split = _cost(len(controls))
    some, others = controls[:split], controls[split:]
    flip = relative_x(others, target)
    return [
        *controlled_rz(some, target, theta / 2),
        *flip,
        *controlled_rz(some, target, -theta / 2),
        *inverted(flip),
    ]


def relative_x(controls: Qubits, target: int) -> list[Element]:
    """X where all controls are one, times a diagonal: 1, 3, 6, 14 Ising gates.

    The diagonal depends on the order of the controls. Enough wherever it is undone again with only
    diagonal gates on its qubits in between.

    References:
        Maslov, Phys. Rev. A 93, 022311 (2016).
    """

    def turn(matrix: np.ndarray) -> Local:
        return Local((target,), matrix)

    flips = [Pair((control, target), CX) for control in controls]
    if len(controls) == 1:
        return [flips[0]]
    if len(controls) == 2:
        a, b = flips
        half = [turn(_EIGHTH), b, turn(_EIGHTH)]
        return [*half, a, turn(_EIGHTH_BACK), b, turn(_EIGHTH_BACK)]
    if len(controls) == 3:
        a, b, c = flips
        ends = [turn(_T @ H), c, turn(H @ _T_BACK)]
        middle = [a, turn(_T), b, turn(_T_BACK), a, turn(_T), b, turn(_T_BACK)]
        return [*ends, *middle, *ends]
    return [turn(H), *controlled_rz(controls, target, np.pi), turn(H)]


def controlled_unitary(controls: Qubits, target: int, matrix: np.ndarray) -> list[Element]:
    """A known one-qubit gate where all controls are one: 1, 5, 13 Ising gates."""
    if not controls:
        return [Local((target,), matrix)]
    if len(controls) == 1:
        return [Pair((controls[0], target), controlled(matrix))]
    values, vectors = _eigenvectors(matrix)
    low, high = steady_angle(values)
    return [
        Local((target,), vectors.conj().T),
        *controlled_rz(controls, target, float(high - low)),
        *controlled_phase(controls, float(high + low) / 2),
        Local((target,), vectors),
    ]


def _eigenvectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and orthonormal eigenvectors of a (2, 2) unitary.

    They are those of its traceless Hermitian part i (U e^-ia - h.c.), whatever the eigenvalues.
    """
    special = matrix * np.exp(-0.5j * steady_angle(np.linalg.det(matrix)))
    _, vectors = np.linalg.eigh(0.5j * (special - special.conj().T))
    return np.diag(vectors.conj().T @ matrix @ vectors), vectors


def controlled_u(
    controls: Qubits, target: int, theta: Number, phi: Number, lam: Number
) -> list[Element]:
    """The gate U: 2 Ising gates for one control, unless its angles are known."""
    if is_known(theta, phi, lam):
        return controlled_unitary(controls, target, u(theta, phi, lam))  # type: ignore[arg-type]
    to_y = Local((target,), TO_Z["Y"])
    back = Local((target,), TO_Z["Y"].conj().T)
    phase = controlled_phase(controls, (phi + lam) / 2)
    if len(controls) != 1:
        about_y = [to_y, *controlled_rz(controls, target, theta), back]
        before, after = (controlled_rz(controls, target, angle) for angle in (lam, phi))
        return [*before, *about_y, *after, *phase]
    flip = Pair((controls[0], target), CX)
    return [
        *phase,
        Turn((target,), (lam - phi) / 2),
        flip,
        Turn((target,), -(phi + lam) / 2),
        *[to_y, Turn((target,), -theta / 2), back],
        flip,
        *[to_y, Turn((target,), theta / 2), back],
        Turn((target,), phi),
    ]


def pauli_rotation(controls: Qubits, word: str, targets: Qubits, theta: Number) -> list[Element]:
    """exp(-i theta/2 P) for a word of w letters: 2 (w - 2) + 1 Ising gates without controls."""
    letters = [(q, letter) for q, letter in zip(targets, word, strict=True) if letter != "I"]
    if not letters:
        return controlled_phase(controls, -theta / 2)
    change = [Local((q,), TO_Z[letter]) for q, letter in letters if letter != "Z"]
    qubits = [q for q, _ in letters]
    if controls or len(qubits) == 1:
        ladder = [Pair(pair, CX) for pair in pairwise(qubits)]
        middle = controlled_rz(controls, qubits[-1], theta)
    else:
        ladder = [Pair(pair, CX) for pair in pairwise(qubits[:-1])]
        middle = [Ising((qubits[-2], qubits[-1]), theta)]
    return [*change, *ladder, *middle, *inverted(ladder), *inverted(change)]


def controlled_pair(
    controls: Qubits, targets: tuple[int, int], matrix: np.ndarray
) -> list[Element]:
    """A known two-qubit gate: CX and H turn XX, YY and ZZ into X, -XZ and Z, all diagonal."""
    if not controls:
        return [Pair(targets, matrix)]
    a, b = targets
    factors = kak_factors(matrix)
    x, y, z = (-2 * c for c in factors.coordinates)
    before, after = (
        [e for q, m in zip(targets, local, strict=True) for e in controlled_unitary(controls, q, m)]
        for local in (factors.right, factors.left)
    )
    flip, turn = Pair((a, b), CX), Local((a,), H)
    return [
        *controlled_phase(controls, factors.phase),
        *before,
        *[flip, turn],
        *controlled_rz(controls, a, x),
        *controlled_rz(controls, b, z),
        *[flip, *controlled_rz(controls, b, -y), flip],
        *[turn, flip],
        *after,
    ]
