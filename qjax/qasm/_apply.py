"""Gates under modifiers: controls, inverses and powers of operations and of global phases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qjax.circuit import Operation, P, X
from qjax.qasm._expression import fail
from qjax.qasm._gates import GATES

__all__ = ["Item", "Phase", "Use", "apply_modifiers", "check_use", "library_gate"]


@dataclass(frozen=True)
class Phase:
    """A global phase, exp(i angle), which is seen only once it is controlled."""

    angle: Any


Item = Operation | Phase


@dataclass(frozen=True)
class Use:
    """A gate with its numbers: what a line of a program asks for."""

    name: str
    angles: list[Any]
    qubits: list[int]


def check_use(node: Any, use: Use, num_angles: int, num_qubits: int) -> None:
    """Raises unless a gate is given as many angles and qubits as it takes."""
    for kind, given, wanted in (
        ("takes {} angles", len(use.angles), num_angles),
        ("acts on {} qubits", len(use.qubits), num_qubits),
    ):
        if given != wanted:
            raise fail(node, f"gate `{use.name}` {kind.format(wanted)}, but is given {given}.")


def library_gate(node: Any, use: Use, version: int) -> list[Item]:
    """The operations of a gate of the libraries."""
    if use.name == "gphase":
        check_use(node, use, 1, 0)
        return [Phase(use.angles[0])]
    if use.name not in GATES:
        raise fail(node, f"gate `{use.name}` is not defined.")
    row = GATES[use.name]
    check_use(node, use, row.num_angles, row.num_qubits)
    items: list[Item] = [*row.build(*use.angles, *use.qubits)]
    if row.phase is not None and version == 3:
        items.append(Phase(row.phase(*use.angles)))
    return items


def apply_modifiers(
    items: Sequence[Item], *, controls: Sequence[int], zeros: Sequence[int], power: int
) -> list[Item]:
    """The items raised to an integer power, then controlled.

    Args:
        items: operations and phases.
        controls: qubits that must be 1, or 0 if they are in `zeros`.
        zeros: those of them that must be 0.
        power: how often to repeat; negative for the inverse.
    """
    once = [_inverse(item) for item in reversed(items)] if power < 0 else list(items)
    repeated = once * abs(power)
    if not controls:
        return repeated
    flips: list[Item] = [X(qubit) for qubit in zeros]
    return flips + [_controlled(item, tuple(controls)) for item in repeated] + flips


def _inverse(item: Item) -> Item:
    return Phase(-item.angle) if isinstance(item, Phase) else item.inverse()


def _controlled(item: Item, controls: tuple[int, ...]) -> Item:
    if not isinstance(item, Phase):
        return item.controlled(*controls)
    gate = P(item.angle, controls[-1])
    return gate.controlled(*controls[:-1]) if len(controls) > 1 else gate
