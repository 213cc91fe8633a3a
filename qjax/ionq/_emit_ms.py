"""Pulses for machines whose two-qubit gate is MS.

H takes couplings from Z to X, so there is an H before and after each, and the matrix between two
couplings becomes H RZ(b') W RZ(-b) H. The turns b commute with the coupling and may be chosen: one
of them saves a pulse on either side of it, and with both a matrix needs no pulse at all.
"""

import numpy as np

from qjax.ionq._emit import Emitter
from qjax.ionq._parity import ZERO
from qjax.ionq._reduce import reduce_angle
from qjax.ionq._wires import Wires, is_flip, is_turn, pulses, turn_matrix
from qjax.transforms._matrices import EYE, H, Z

__all__ = ["choose_turns", "emit_ms"]

_BEAM = 24
_KEPT = 1e-9
_FLAT = 1e-12


def emit_ms(num_qubits: int, wires: Wires) -> Emitter:
    """Pulses and MS gates of known matrices, turns and couplings."""
    reduced = [reduce_angle(c.turns, i) for i, c in enumerate(wires.couplings)]
    emitter = Emitter(num_qubits)
    flips = [ZERO] * num_qubits
    units = [_units(wires, qubit, reduced) for qubit in range(num_qubits)]
    positions = [0] * num_qubits

    def unit(qubit: int) -> None:
        matrix = units[qubit][positions[qubit]]
        positions[qubit] += 1
        passes = is_turn(matrix) or is_flip(matrix)
        after = flips[qubit] if passes else ZERO
        emitter.unit(qubit, matrix, flips[qubit], after)
        flips[qubit] = after

    def advance(qubit: int) -> None:
        """Emits what a qubit does before its next coupling, or to its end."""
        unit(qubit)
        for separator in wires.separators[qubit][positions[qubit] - 1 :]:
            if isinstance(separator, int):
                return
            emitter.turn(qubit, flips[qubit].signed(separator))
            unit(qubit)

    for coupling, angle in zip(wires.couplings, reduced, strict=True):
        for qubit in coupling.qubits:
            advance(qubit)
        emitter.ms(coupling.qubits, angle.size, angle.negative.number)
        if angle.half_turns.bits:
            for qubit in coupling.qubits:
                flips[qubit] = flips[qubit] ^ angle.half_turns
    for qubit in range(num_qubits):
        advance(qubit)
        if flips[qubit] != ZERO:
            emitter.unit(qubit, EYE, flips[qubit], ZERO)
    return emitter


def _units(wires: Wires, qubit: int, reduced: list) -> list[np.ndarray]:
    """The matrices of a qubit with the bases of its couplings and the chosen turns."""
    matrices = list(wires.matrices[qubit])
    separators = wires.separators[qubit]
    for position, separator in enumerate(separators):
        if isinstance(separator, int) and reduced[separator].half_turns.known:
            matrices[position + 1] = matrices[position + 1] @ Z
    is_coupling = [isinstance(separator, int) for separator in separators]
    turns = choose_turns(matrices, is_coupling)
    for position, turn in turns.items():
        spin = turn_matrix(turn)
        matrices[position] = H @ spin @ matrices[position]
        matrices[position + 1] = matrices[position + 1] @ spin.conj() @ H
    return matrices


def _bloch(matrix: np.ndarray) -> np.ndarray:
    """The rotation of the Bloch sphere."""
    a, b = matrix[0]
    c, d = matrix[1]
    columns = []
    for ket in ((a + b, c + d), (a + 1j * b, c + 1j * d), (np.sqrt(2) * a, np.sqrt(2) * c)):
        cross = np.conj(ket[0]) * ket[1]
        columns.append([cross.real, cross.imag, (abs(ket[0]) ** 2 - abs(ket[1]) ** 2) / 2])
    return np.array(columns).T


def _ahead(matrix: np.ndarray) -> list[float]:
    """Turns before a matrix with which the next pulses are fewer, whatever follows."""
    row = _bloch(matrix)[2]  # height of the images of x, y and z
    flat = [np.arctan2(row[0], row[1]), np.arctan2(-row[1], row[0])]
    if np.hypot(row[0], row[1]) < _FLAT:
        flat = [0.0]
    return [angle + k * np.pi for angle in flat for k in (0, 1)]


def _behind(matrix: np.ndarray) -> list[float]:
    """Turns after a matrix with which H RZ(b) W needs one pulse, or none where that is possible."""
    x, y, z = _bloch(matrix)[:, 2]
    if np.hypot(x, y) < _FLAT:
        return [0.0]
    angles = [np.arctan2(x, y)]
    if abs(z) < _KEPT:
        angles.append(np.arctan2(-y, x))
    return [angle + k * np.pi for angle in angles for k in (0, 1)]


def choose_turns(matrices: list[np.ndarray], is_coupling: list[bool]) -> dict[int, float]:
    """Chooses the turn at every coupling of a qubit so that the fewest pulses are needed.

    Args:
        matrices: what the qubit does between its separators.
        is_coupling: for each separator whether it is a coupling (else it is an unknown turn).

    Returns:
        For the position of each coupling the turns b.
    """
    # Partial choices: pulses so far, the matrix that is still open, and the turns chosen.
    beam: list[tuple[int, np.ndarray, dict[int, float]]] = [(0, matrices[0], {})]
    for position, coupling in enumerate(is_coupling):
        matrix = matrices[position + 1]
        if not coupling:
            beam = [(cost + pulses(open_), matrix, chosen) for cost, open_, chosen in beam]
            continue
        ahead = _ahead(matrix)
        found: dict[int, tuple[int, np.ndarray, dict[int, float]]] = {}
        for cost, open_, chosen in beam:
            for angle in (*_behind(open_), *ahead, 0.0, np.pi / 2):
                spin = np.exp(np.array([-0.5j, 0.5j]) * angle)
                total = cost + pulses(H @ (spin[:, None] * open_))
                key = round(angle % (2 * np.pi) / _KEPT)
                if key not in found or total < found[key][0]:
                    turns = {**chosen, position: float(angle) / (2 * np.pi)}
                    found[key] = (total, matrix @ (spin.conj()[:, None] * H), turns)
        beam = sorted(found.values(), key=lambda item: item[0])[:_BEAM]
    return min(beam, key=lambda item: item[0] + pulses(item[1]))[2]
