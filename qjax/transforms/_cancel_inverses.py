"""Removing gates that undo one another, and adding up rotations about the same axis."""

from collections.abc import Callable
from heapq import merge
from itertools import groupby
from typing import Any

import numpy as np

from qjax.circuit import Circuit, Gate, Leaf, Reference, Step, Structure
from qjax.transforms._check import check_circuit
from qjax.transforms._commute import commute, same_place
from qjax.transforms._linear import Linear, Number, number_reader

__all__ = ["cancel_inverses", "merge_rotations"]

_TOLERANCE = 1e-12


class _Shortening:
    """The steps that are left, those of each qubit, and their numbers."""

    def __init__(self, circuit: Circuit):
        self.circuit = circuit
        self.steps: dict[int, Step] = {}
        self.numbers: dict[int, tuple[Number, ...]] = {}
        self.wires: list[list[int]] = [[] for _ in range(circuit.num_qubits)]
        self.read: Callable[[Step], tuple[Number, ...]] = number_reader(circuit)

    def partner(self, step: Step) -> int | None:
        """The latest earlier gate of the same kind and place that a gate can be moved next to."""
        if not isinstance(step.kind, Gate) or step.conditions:
            return None
        wires = (reversed(self.wires[q]) for q in step.qubits)
        for place, _ in groupby(merge(*wires, reverse=True)):
            earlier = self.steps[place]
            same = earlier.kind is step.kind and earlier.detail == step.detail
            if same and not earlier.conditions and same_place(earlier, step):
                return place
            if not commute(earlier, step):
                return None
        return None

    def keep(self, step: Step) -> None:
        place = len(self.numbers)  # never shrinks, so that places ascend
        self.steps[place], self.numbers[place] = step, self.read(step)
        for qubit in step.qubits:
            self.wires[qubit].append(place)

    def remove(self, place: int) -> None:
        step = self.steps.pop(place)
        for qubit in step.qubits:
            self.wires[qubit].remove(place)


def _undoes(step: Step, numbers: tuple, earlier: Step, others: tuple) -> bool:
    """Whether two gates of one kind in one place are inverse to each other."""
    if step.data is not None:
        return step.data == earlier.data and step.adjoint != earlier.adjoint
    assert isinstance(step.kind, Gate)
    if step.kind.rotation:
        return all(_is_zero(a + b) for a, b in zip(numbers, others, strict=True))
    opposite = step.kind.hermitian or step.adjoint != earlier.adjoint
    return opposite and all(_is_zero(a - b) for a, b in zip(numbers, others, strict=True))


def _is_zero(number: Number) -> bool:
    return not isinstance(number, Linear) and abs(number) < _TOLERANCE


def cancel_inverses(circuit: Circuit) -> Circuit:
    """Removes pairs of gates that undo one another.

    A gate is compared with earlier ones on the same qubits, past all that it commutes with: two
    gates commute if on every qubit that they share both are diagonal, controlled there, or
    functions of the same Pauli operator.

    Args:
        circuit: any circuit; operations that are no gates are left where they are.

    Returns:
        The circuit without these pairs; the same unitary.

    Example:
        >>> import qjax as qj
        >>> from qjax.transforms import cancel_inverses
        >>> print(cancel_inverses(qj.Circuit(2, [qj.CX(0, 1), qj.RZ(0.3, 0), qj.CX(0, 1)])))
        0: ─RZ(0.3)─
        1: ─────────
    """
    check_circuit(circuit)
    work = _Shortening(circuit)
    for step in circuit.structure.steps:
        place = work.partner(step)
        if place is not None and _undoes(
            step, work.read(step), work.steps[place], work.numbers[place]
        ):
            work.remove(place)
        else:
            work.keep(step)
    structure = circuit.structure
    steps = tuple(work.steps.values())
    if len(steps) == len(structure.steps):
        return circuit
    shorter = Structure(structure.num_qubits, steps, structure.leaves, structure.data_ranks)
    return Circuit.from_structure(shorter, circuit.params, circuit.data)


def merge_rotations(circuit: Circuit) -> Circuit:
    """Adds up the angles of rotations about the same axis on the same qubits.

    Rotations meet past gates that they commute with, as in `cancel_inverses`. Two known angles
    become one, and so do two that are multiples of the same number of a parameter; a sum of two
    different parameters is no angle that a circuit can name, so these stay apart. A rotation by
    zero is removed.

    Args:
        circuit: any circuit; operations that are no rotations are left where they are.

    Returns:
        The shorter circuit; the same unitary.

    Example:
        >>> import qjax as qj
        >>> from qjax.transforms import merge_rotations
        >>> print(merge_rotations(qj.Circuit(2, [qj.RZ(0.3, 0), qj.CX(0, 1), qj.RZ(0.4, 0)])))
        0: ─RZ(0.7)─●─
        1: ─────────X─
    """
    check_circuit(circuit)
    work = _Shortening(circuit)
    for step in circuit.structure.steps:
        assert step.kind is not None
        place = work.partner(step) if getattr(step.kind, "rotation", False) else None
        total = None if place is None else _sum(work.read(step), work.numbers[place])
        if place is None or total is None:
            work.keep(step)
        else:
            work.numbers[place] = total
    return _rebuilt(work)


def _sum(numbers: tuple, others: tuple) -> tuple[Number, ...] | None:
    """Sums of numbers, if a circuit can name them."""
    total = tuple(a + b for a, b in zip(numbers, others, strict=True))
    named = all(not isinstance(t, Linear) or len(t.terms) == 1 for t in total)
    return total if named else None


def _rebuilt(work: _Shortening) -> Circuit:
    """The circuit with changed numbers: known ones that changed go to a new array."""
    structure = work.circuit.structure
    constants: list[float] = []
    leaf = len(structure.leaves)

    def reference(number: Number, old: Reference) -> Reference:
        if isinstance(number, Linear):
            ((key, factor),) = number.terms.items()
            place: Any = key  # (leaf, index)
            return Reference(place[0], place[1], factor, number.constant)
        constants.append(number)
        return Reference(leaf, len(constants) - 1)

    steps = []
    for place, step in work.steps.items():
        numbers = work.numbers[place]
        if getattr(step.kind, "rotation", False) and all(_is_zero(n) for n in numbers):
            continue
        if numbers != work.read(step):
            references = tuple(map(reference, numbers, step.references))
            step = step._replace(references=references)
        steps.append(step)
    if len(steps) == len(structure.steps):
        return work.circuit
    leaves, params = structure.leaves, work.circuit.params
    if constants:
        leaves, params = (*leaves, Leaf(len(constants))), (*params, np.array(constants))
    shorter = Structure(structure.num_qubits, tuple(steps), leaves, structure.data_ranks)
    return Circuit.from_structure(shorter, params, work.circuit.data)
