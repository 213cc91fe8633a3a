"""Which operations commute, read from the circuit alone without looking at matrices."""

from collections.abc import Sequence

from qjax.circuit import Gate, Step

__all__ = ["acts_diagonally", "commute", "same_place"]

_AXES = {"X": "X", "SX": "X", "RX": "X", "RXX": "X", "Y": "Y", "RY": "Y", "RYY": "Y"}
_SYMMETRIC = frozenset({"SWAP", "ISWAP", "RXX", "RYY", "RZZ"})
_PHASES = frozenset({"Z", "S", "T", "P"})  # controls and target are alike


def _axis(step: Step, qubit: int) -> str | None:
    """The Pauli operator on a qubit that an operation is a function of, if there is one."""
    if step.conditions or not isinstance(step.kind, Gate):
        return None
    if qubit in step.controls:
        return "Z"
    if step.kind.name == "PauliRotation":
        return step.detail[step.targets.index(qubit)]
    diagonal = step.kind.diagonal
    if diagonal(step.detail) if callable(diagonal) else diagonal:
        return "Z"
    return _AXES.get(step.kind.name)


def acts_diagonally(step: Step, qubit: int) -> bool:
    """Whether an operation is diagonal in the computational basis of one of its qubits."""
    return _axis(step, qubit) in ("Z", "I")


def commute(first: Step, second: Step) -> bool:
    """Whether two operations are seen to commute, qubit by qubit."""
    for qubit in set(first.qubits) & set(second.qubits):
        a, b = _axis(first, qubit), _axis(second, qubit)
        if a is None or b is None or (a != b and "I" not in (a, b)):
            return False
    return True


def same_place(first: Step, second: Step) -> bool:
    """Whether two operations of one kind act on the same qubits in the same way."""
    if first.kind.name in _PHASES:
        return set(first.qubits) == set(second.qubits)
    same: Sequence[int] | set[int] = second.targets
    if first.kind.name in _SYMMETRIC:
        return set(first.targets) == set(same) and set(first.controls) == set(second.controls)
    return first.targets == same and set(first.controls) == set(second.controls)
