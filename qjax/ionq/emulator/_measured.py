"""Circuits with measurements as circuits without: outcomes are read from qubits at the end.

A measured qubit that is used again hands its outcome to a fresh qubit first; operations that are
conditioned on an outcome are controlled by the qubit that holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qjax.circuit import CX, SWAP, Channel, Circuit, Kraus, Operation, X

__all__ = ["Deferred", "count_fresh", "defer"]


@dataclass(frozen=True)
class Deferred:
    """A circuit whose outcomes are all read at its end.

    Attributes:
        circuit: without measurements; the qubits of the original come first.
        num_qubits: of the original.
        outcomes: name of a measurement -> qubit that holds its outcome.
    """

    circuit: Circuit
    num_qubits: int
    outcomes: dict[str, int]


def defer(circuit: Circuit, *, resets: bool) -> Deferred:
    """Moves all measurements of a circuit to its end.

    Args:
        circuit: gates, channels, measurements, resets and conditioned operations.
        resets: whether to replace resets too, by an exchange with a fresh qubit.
    """
    builder = _Builder(circuit.num_qubits, circuit.operations)
    for place, operation in enumerate(circuit.operations):
        builder.add(place, operation, resets)
    return Deferred(Circuit(builder.size, builder.operations), circuit.num_qubits, builder.outcomes)


def count_fresh(circuit: Circuit) -> int:
    """How many qubits `defer` adds to a circuit, with resets."""
    operations = circuit.operations
    last_use = _last_use(operations)
    return sum(
        o.name == "Reset" or (o.name == "Measure" and last_use.get(o.targets[0], -1) > place)
        for place, o in enumerate(operations)
    )


def _last_use(operations: Sequence[Operation]) -> dict[int, int]:
    """Qubit -> place of the last operation on it that is no measurement."""
    found: dict[int, int] = {}
    for place, operation in enumerate(operations):
        if operation.name != "Measure":
            found |= dict.fromkeys(operation.qubits, place)
    return found


class _Builder:
    def __init__(self, num_qubits: int, operations: Sequence[Operation]):
        self.size = num_qubits
        self.operations: list[Operation] = []
        self.outcomes: dict[str, int] = {}
        self.last_use = _last_use(operations)

    def add(self, place: int, operation: Operation, resets: bool) -> None:
        if operation.name == "Measure":
            self._measure(place, operation)
        elif operation.name == "Reset" and resets:
            exchange = SWAP(operation.targets[0], self._fresh())
            self._conditioned(replace(exchange, conditions=operation.conditions))
        else:
            self._conditioned(operation)

    def _fresh(self) -> int:
        self.size += 1
        return self.size - 1

    def _measure(self, place: int, operation: Operation) -> None:
        (qubit,), (name, _) = operation.targets, operation.detail
        holder = qubit
        if self.last_use.get(qubit, -1) > place:
            holder = self._fresh()
            self.operations.append(CX(qubit, holder))
        if name is not None:
            self.outcomes[name] = holder

    def _conditioned(self, operation: Operation) -> None:
        if not operation.conditions:
            self.operations.append(operation)
            return
        wanted = {self.outcomes[name]: value for name, value in operation.conditions}
        bare = replace(operation, conditions=())
        if isinstance(operation.kind, Channel):
            self.operations.append(_conditioned_channel(bare, wanted))
            return
        flips = [X(qubit) for qubit, value in wanted.items() if value == 0]
        self.operations += [*flips, bare.controlled(*wanted), *flips]


def _conditioned_channel(operation: Operation, wanted: dict[int, int]) -> Operation:
    """The channel where the outcomes are as wanted, and nothing elsewhere."""
    operators = np.asarray(operation.kraus_operators)
    size = 2 ** len(wanted)
    here = np.zeros((size, size))
    index = int("".join(map(str, wanted.values())), 2)
    here[index, index] = 1
    elsewhere = np.kron(np.eye(size) - here, np.eye(operators.shape[-1]))
    kraus = np.stack([elsewhere, *(np.kron(here, operator) for operator in operators)])
    return Kraus(kraus, [*wanted, *operation.targets])
