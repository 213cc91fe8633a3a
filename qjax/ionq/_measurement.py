"""Expectation values of any observable: one circuit per measurement basis, then one estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qjax._checks import check_qubits_in_range
from qjax._typing import is_concrete
from qjax.circuit import SX, Circuit, H
from qjax.errors import ObservableError
from qjax.ionq._outcomes import MeasuredValue, Outcomes
from qjax.observables import MeasurementGroup, PauliSum, PauliWord, as_pauli_sum, group_words

__all__ = ["MeasurementPlan", "measurement_circuits"]


@dataclass(frozen=True, eq=False)
class MeasurementPlan:
    """Which circuits to run for some observables, and how to read them.

    Attributes:
        circuits: one per basis.
        observables: that are wanted.
        groups: the words that each circuit serves.
        words: all words but the identity.
    """

    circuits: tuple[Circuit, ...]
    observables: tuple[PauliSum, ...]
    groups: tuple[MeasurementGroup, ...]
    words: tuple[PauliWord, ...]

    def estimate(self, outcomes: Sequence[Outcomes]) -> list[MeasuredValue]:
        """Values of the observables.

        The circuits are independent, so the squares of their standard errors add up; words of one
        circuit share its shots, and their correlation counts.

        Args:
            outcomes: of the circuits, in their order.

        Returns:
            One value per observable.

        Raises:
            ObservableError: if there are not as many outcomes as circuits.
        """
        if len(outcomes) != len(self.circuits):
            raise ObservableError(
                f"Argument `outcomes` must hold one entry per circuit, {len(self.circuits)}, but "
                f"holds {len(outcomes)}."
            )
        return [self._value(observable, outcomes) for observable in self.observables]

    def _value(self, observable: PauliSum, outcomes: Sequence[Outcomes]) -> MeasuredValue:
        numbers = dict(zip(observable.words, np.asarray(observable.coefficients), strict=True))
        value, variance = float(numbers.pop((), 0.0)), 0.0
        for group, counted in zip(self.groups, outcomes, strict=True):
            members = [self.words[i] for i in group.members if self.words[i] in numbers]
            if members:
                part = counted.mean(PauliSum(members, np.array([numbers[w] for w in members])))
                value, variance = value + part.value, variance + part.standard_error**2
        return MeasuredValue(value, float(np.sqrt(variance)))


def measurement_circuits(circuit: Circuit, observables: Any) -> MeasurementPlan:
    """The circuits that measure some observables after a circuit.

    Words that agree on the letter of each qubit that they share are read from one circuit. The
    rotations into a basis are part of the circuit: compile afterwards, not before. Observables
    that are all multiples of the identity need no circuit: `plan.estimate([])` has their values.

    Args:
        circuit: of gates.
        observables: one observable or several, with real coefficients.

    Raises:
        ObservableError: if an observable is no Pauli sum, or not real.
        CircuitError: if it acts on a qubit that is not there.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import measurement_circuits
        >>> plan = measurement_circuits(qj.Circuit(2, [qj.H(0)]), qj.X(0) + qj.Z(0) @ qj.Z(1))
        >>> [c.count_operations() for c in plan.circuits]
        [{'H': 2}, {'H': 1}]

    References:
        McClean et al., New J. Phys. 18, 023023 (2016), section 3.
    """
    several = isinstance(observables, Sequence)
    sums = tuple(as_pauli_sum(o) for o in (observables if several else (observables,)))
    for item in sums:
        known = is_concrete(item.coefficients) and item.coefficients.ndim == 1
        if not known or np.iscomplexobj(np.asarray(item.coefficients)):
            raise ObservableError(
                "Argument `observables` must have real coefficients that are known, without batch "
                f"axes, but holds {item!r}."
            )
        check_qubits_in_range(item.qubits, circuit.num_qubits, what="an observable")
    words = tuple(dict.fromkeys(word for item in sums for word in item.words if word))
    groups = group_words(words)
    circuits = tuple(_into_basis(circuit, group.basis) for group in groups)
    return MeasurementPlan(circuits, sums, groups, words)


def _into_basis(circuit: Circuit, basis: PauliWord) -> Circuit:
    """The circuit with the rotations that turn each letter into Z."""
    turns = [H(q) if letter == "X" else SX(q) for q, letter in basis if letter != "Z"]
    return circuit + Circuit(circuit.num_qubits, turns)
