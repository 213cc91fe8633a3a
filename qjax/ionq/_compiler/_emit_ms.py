"""Pulses for machines whose two-qubit gate is MS.

H takes couplings from Z to X, so there is an H before and after each, and the matrix between two
couplings becomes H RZ(b') W RZ(-b) H. The turns b commute with the coupling and may be chosen: one
of them saves a pulse on either side of it, and with both a matrix needs no pulse at all.
"""

import cmath
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from qjax.ionq._compiler._emit import Emitter
from qjax.ionq._compiler._parity import ZERO
from qjax.ionq._compiler._reduce import reduce_angle
from qjax.ionq._compiler._wires import Wires, column_pulses, is_flip, is_turn, turn_matrix
from qjax.transforms._matrices import EYE, H, Z

__all__ = ["choose_turns", "emit_ms"]

_BEAM = 12
_KEPT = 1e-9
_FLAT = 1e-12
_HALF = math.sqrt(0.5)


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


class _Choice(NamedTuple):
    """A turn at a coupling: pulses up to it, and how it was reached."""

    cost: int
    angle: float
    before: "_Choice | None"
    position: int


def _cost(choice: _Choice) -> int:
    return choice.cost


def choose_turns(matrices: list[np.ndarray], is_coupling: list[bool]) -> dict[int, float]:
    """Chooses the turn at every coupling of a qubit so that the fewest pulses are needed.

    What a matrix needs depends on where it takes the Z axis, so that only its first column and the
    turn before it matter. Candidates are those that make the matrix before or after need fewer
    pulses; of partial choices the best few are followed.

    Args:
        matrices: what the qubit does between its separators.
        is_coupling: for each separator whether it is a coupling (else it is an unknown turn).

    Returns:
        For the position of each coupling the turns b.
    """
    entries = [[complex(v) for v in matrix.ravel()] for matrix in matrices]
    choices = [_Choice(0, 0.0, None, -1)]
    columns = [(entries[0][0], entries[0][2])]  # where |0> goes, for every choice
    for position, coupling in enumerate(is_coupling):
        a, b, c, d = entries[position + 1]
        if not coupling:
            costs = [
                choice.cost + column_pulses(*k) for choice, k in zip(choices, columns, strict=True)
            ]
            choices = [x._replace(cost=cost) for x, cost in zip(choices, costs, strict=True)]
            choices = [min(choices, key=_cost)]
            columns = [(a, c)]
            continue
        ahead = [*_ahead(a, b), 0.0, np.pi / 2]
        found: dict[int, _Choice] = {}
        for choice, (low, high) in zip(choices, columns, strict=True):
            for angle in (*_behind(low, high), *ahead):
                turned = cmath.exp(1j * angle) * high
                cost = choice.cost + column_pulses((low + turned) * _HALF, (low - turned) * _HALF)
                key = round(angle % (2 * np.pi) / _KEPT)
                if key not in found or cost < found[key].cost:
                    found[key] = _Choice(cost, angle, choice, position)
        choices = sorted(found.values(), key=_cost)[:_BEAM]
        columns = []
        for choice in choices:  # the column of W RZ(-b) H
            up = cmath.exp(0.5j * choice.angle) * _HALF
            columns.append((a * up + b * up.conjugate(), c * up + d * up.conjugate()))
    last = min(
        zip(choices, columns, strict=True), key=lambda pair: pair[0].cost + column_pulses(*pair[1])
    )[0]
    turns: dict[int, float] = {}
    while last.before is not None:
        turns[last.position] = last.angle / (2 * np.pi)
        last = last.before
    return turns


def _with_opposite(angles: Iterable[float]) -> list[float]:
    return [angle + k * np.pi for angle in angles for k in (0, 1)]


def _ahead(a: complex, b: complex) -> list[float]:
    """Turns before a matrix ((a, b), ...) with which the pulses after it may be fewer.

    They take the x axis to the equator, or as close to the poles as it gets.
    """
    x, y = 2 * (a * b.conjugate()).real, 2 * (a * b.conjugate()).imag  # heights of images
    if math.hypot(x, y) < _FLAT:
        return [0.0]
    return _with_opposite([math.atan2(x, y), math.atan2(-y, x)])


def _behind(low: complex, high: complex) -> list[float]:
    """Turns after a matrix with which H RZ(b) W needs one pulse, or none where that is possible."""
    x, y = 2 * (low.conjugate() * high).real, 2 * (low.conjugate() * high).imag
    if math.hypot(x, y) < _FLAT:
        return [0.0]
    angles = [math.atan2(x, y)]
    if abs(abs(low) - abs(high)) < _KEPT:
        angles.append(math.atan2(-y, x))
    return _with_opposite(angles)
