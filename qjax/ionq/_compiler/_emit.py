"""Matrices and couplings as pulses, with virtual Z frames.

A frame is a turn that has not been done: later pulses on its qubit change their phase instead.
Flips (X) are kept back in the same way until a pulse can absorb them.
"""

from typing import NamedTuple

import numpy as np

from qjax.ionq._compiler._parity import Parity
from qjax.ionq._compiler._wires import TOLERANCE, is_flip, is_turn, pulses
from qjax.linalg import zyz_angles
from qjax.transforms._linear import Number
from qjax.transforms._matrices import X

__all__ = ["Emitter", "NativeGate"]


class NativeGate(NamedTuple):
    """A native gate: its name, qubits, and phases and angle in turns."""

    name: str
    qubits: tuple[int, ...]
    numbers: tuple[Number, ...]


class Emitter:
    """The native gates so far, and the frame of every qubit in turns."""

    def __init__(self, num_qubits: int):
        self.gates: list[NativeGate] = []
        self.frames: list[Number] = [0.0] * num_qubits

    def turn(self, qubit: int, turns: Number) -> None:
        """RZ, for free."""
        self.frames[qubit] = self.frames[qubit] + turns

    def _pulse(self, name: str, qubit: int) -> None:
        self.gates.append(NativeGate(name, (qubit,), (-self.frames[qubit],)))

    def unit(self, qubit: int, matrix: np.ndarray, before: Parity, after: Parity) -> None:
        """A known matrix, with a flip before it and one after it."""
        if before.known:
            matrix = matrix @ X
        if after.known:
            matrix = X @ matrix
        before, after = Parity(False, before.bits), Parity(False, after.bits)
        if before == after and is_turn(matrix):
            self.turn(qubit, before.signed(_turns(matrix[1, 1] / matrix[0, 0])))
        elif before == after and is_flip(matrix):
            self._pulse("GPI", qubit)
            self.turn(qubit, before.signed(_turns(matrix[1, 0] / matrix[0, 1])))
        else:
            self._quarter_turns(qubit, matrix, before, after)

    def _quarter_turns(self, qubit: int, matrix: np.ndarray, before: Parity, after: Parity) -> None:
        """RZ GPI2 RZ, or RZ GPI2 RZ GPI2 RZ; the last GPI2 absorbs the flips.

        A flip passes RX(pi/2), negates turns, and X RX(pi/2) = RZ(pi) RX(pi/2) RZ(-pi).
        """
        if is_turn(matrix) or is_flip(matrix):  # or rounding errors would say which turn
            matrix = np.where(abs(matrix) < TOLERANCE, 0, matrix)
        theta, phi, lam = (angle / (2 * np.pi) for angle in zyz_angles(matrix)[:3])
        first, last = lam, phi + 0.5
        if pulses(matrix) == 1 and not is_flip(matrix):
            first, last = lam - 0.25, phi + 0.25
        half = (before ^ after).number * 0.5
        self.turn(qubit, before.signed(first))
        if pulses(matrix) != 1 or is_flip(matrix):
            self._pulse("GPI2", qubit)
            self.turn(qubit, before.signed(theta + 0.5))
        self.turn(qubit, -half)
        self._pulse("GPI2", qubit)
        self.turn(qubit, half + after.signed(last))

    def zz(self, qubits: tuple[int, int], turns: Number) -> None:
        """ZZ of an angle in [0, 1/4]; frames commute with it."""
        self.gates.append(NativeGate("ZZ", qubits, (turns,)))

    def ms(self, qubits: tuple[int, int], turns: Number, negative: Number) -> None:
        """exp(-i pi turns X (x) X), its sign reversed where `negative` is 1."""
        a, b = qubits
        phases = (negative * 0.5 - self.frames[a], -self.frames[b])
        self.gates.append(NativeGate("MS", qubits, (*phases, turns)))


def _turns(ratio: complex) -> float:
    return float(np.angle(ratio)) / (2 * np.pi)
