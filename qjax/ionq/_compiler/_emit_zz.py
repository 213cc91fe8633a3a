"""Pulses for machines whose two-qubit gate is ZZ.

Turns commute with ZZ. Flips reverse its sign, which is how negative angles are made: between two
pulses a qubit may be kept flipped throughout, and the pulses at both ends absorb that. Which
stretches are flipped follows from the signs of the couplings that they have with each other.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qjax.ionq._compiler._emit import Emitter
from qjax.ionq._compiler._parity import ZERO, Parities, Parity
from qjax.ionq._compiler._reduce import Reduced, reduce_angle
from qjax.ionq._compiler._wires import Wires, is_flip, pulses
from qjax.transforms._linear import Number
from qjax.transforms._matrices import EYE

__all__ = ["emit_zz"]


class _Frame(NamedTuple):
    """Whether a qubit is flipped at a point: a variable, plus what is known."""

    variable: int
    offset: Parity


_START = _Frame(0, ZERO)


class _Unit(NamedTuple):
    matrix: np.ndarray
    before: _Frame
    after: _Frame


class _Turn(NamedTuple):
    turns: Number
    frame: _Frame


class _Gate(NamedTuple):
    coupling: int
    frame: _Frame


_Item = _Unit | _Turn | _Gate


def emit_zz(num_qubits: int, wires: Wires) -> Emitter:
    """Pulses and ZZ gates of known matrices, turns and couplings."""
    reduced = [reduce_angle(c.turns, i) for i, c in enumerate(wires.couplings)]
    planner = _Planner(num_qubits, wires, reduced)
    planner.plan()
    emitter = Emitter(num_qubits)
    items = [iter(wire) for wire in planner.items]

    def value(frame: _Frame) -> Parity:
        return planner.parities.value(frame.variable) ^ frame.offset

    def advance(qubit: int) -> Parity:
        """Emits what a qubit does up to its next coupling; returns whether it is flipped there."""
        for item in items[qubit]:
            if isinstance(item, _Gate):
                return value(item.frame)
            if isinstance(item, _Turn):
                emitter.turn(qubit, value(item.frame).signed(item.turns))
            else:
                emitter.unit(qubit, item.matrix, value(item.before), value(item.after))
        return ZERO

    for coupling, angle in zip(wires.couplings, reduced, strict=True):
        flips = [advance(qubit) for qubit in coupling.qubits]
        half = angle.half_turns
        if angle.is_full:
            half = half ^ flips[0] ^ flips[1]
        emitter.zz(coupling.qubits, angle.size)
        for qubit in coupling.qubits:
            emitter.turn(qubit, half.number * 0.5)
    for qubit in range(num_qubits):
        advance(qubit)
    return emitter


class _Planner:
    """Decides where qubits are flipped, coupling by coupling."""

    def __init__(self, num_qubits: int, wires: Wires, reduced: list[Reduced]):
        self.wires, self.reduced = wires, reduced
        self.parities = Parities()
        self.items: list[list[_Item]] = [[] for _ in range(num_qubits)]
        self.frames = [_START] * num_qubits

    def plan(self) -> None:
        readers = [self._read(qubit) for qubit in range(len(self.items))]
        for number, coupling in enumerate(self.wires.couplings):
            for qubit in coupling.qubits:
                next(readers[qubit])
            if not self.reduced[number].is_full:
                self._demand(coupling.qubits, self.reduced[number].negative)
            for qubit in coupling.qubits:
                self.items[qubit].append(_Gate(number, self.frames[qubit]))
        for qubit, reader in enumerate(readers):
            next(reader)
            frame = self.frames[qubit]
            if not self.parities.relate(frame.variable, 0, frame.offset):
                self.items[qubit].append(_Unit(EYE, frame, _START))

    def _read(self, qubit: int) -> Iterator[int]:
        """Takes in what a qubit does; stops at every coupling, and at the end."""
        matrices, separators = self.wires.matrices[qubit], self.wires.separators[qubit]
        self._unit(qubit, matrices[0])
        for separator, matrix in zip(separators, matrices[1:], strict=True):
            if isinstance(separator, int):
                yield separator
            else:
                self.items[qubit].append(_Turn(separator, self.frames[qubit]))
            self._unit(qubit, matrix)
        yield -1

    def _unit(self, qubit: int, matrix: np.ndarray) -> None:
        before = self.frames[qubit]
        after = before
        if is_flip(matrix):
            after = before._replace(offset=before.offset ^ Parity(True))
        elif pulses(matrix):
            after = _Frame(self.parities.new(), ZERO)
        self.frames[qubit] = after
        self.items[qubit].append(_Unit(matrix, before, after))

    def _demand(self, qubits: tuple[int, int], negative: Parity) -> None:
        """Makes just one of two qubits flipped, or not; with a pulse more where it must be."""
        first, second = (self.frames[qubit] for qubit in qubits)
        difference = first.offset ^ second.offset ^ negative
        if self.parities.relate(first.variable, second.variable, difference):
            return
        turned = _Frame(self.parities.new(), ZERO)
        self.items[qubits[0]].append(_Unit(EYE, first, turned))
        self.frames[qubits[0]] = turned
        self.parities.relate(turned.variable, second.variable, second.offset ^ negative)
