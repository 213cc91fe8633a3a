"""Shots of circuits that measure again and again, with a state for each course of outcomes.

Shots share a state until a measurement, a reset or an error tells them apart. So there are never
more states than shots, and outcomes take no qubits.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from qjax.circuit import Circuit, Gate, Operation
from qjax.errors import QjaxError
from qjax.ionq.emulator._fuse import Local, fuse, local_unitaries
from qjax.observables import PAULI_MATRICES

__all__ = ["branch_shots"]

_TOGETHER = 2**21  # amplitudes of the shots that are drawn at a time
_MOST_WORK = 2**35  # amplitudes that are changed; minutes


def branch_shots(
    circuit: Circuit, shots: int, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws shots.

    Args:
        circuit: gates, measurements, resets, conditioned operations and depolarizing channels.
        shots: how many.
        rng: of the random numbers.

    Returns:
        Per shot the outcome of all qubits at the end, qubit 0 the most significant bit; and name
        of a measurement -> per shot its outcome.

    Raises:
        QjaxError: if it would take too long.
    """
    size, operations = circuit.num_qubits, circuit.operations
    if shots * len(operations) << size > _MOST_WORK:
        raise QjaxError(
            f"A program that goes on so often with qubits that it measured or reset is run shot by "
            f"shot, which would take too long for {shots} shots of {len(operations)} operations "
            f"on {size} qubits. Ask for fewer shots, or use fewer qubits."
        )
    steps = _steps(operations)
    together = max(1, _TOGETHER >> size)
    parts: list[_Branches] = []
    for first in range(0, shots, together):
        part = _Branches(size, min(together, shots - first), rng)
        part.run(steps)
        parts.append(part)
    names = parts[0].outcomes
    outcomes = {name: np.concatenate([part.outcomes[name] for part in parts]) for name in names}
    return np.concatenate([part.draw() for part in parts]), outcomes


def _steps(operations: Sequence[Operation]) -> list[Operation | Local]:
    """The operations, with gates that nothing conditions gathered into blocks."""
    maps = local_unitaries([o for o in operations if _is_plain(o)])
    steps: list[Operation | Local] = []
    for plain, run in groupby(operations, key=_is_plain):
        members = list(run)
        steps += fuse([next(maps) for _ in members], 2) if plain else members
    return steps


def _is_plain(operation: Operation) -> bool:
    return isinstance(operation.kind, Gate) and not operation.conditions


class _Branches:
    """Shots and their states.

    Attributes:
        states: (branches, 2, ..., 2).
        branch: per shot its branch; every branch has shots.
        outcomes: name of a measurement -> per shot its outcome.
    """

    def __init__(self, num_qubits: int, shots: int, rng: np.random.Generator):
        self.states = np.zeros((1, *(2,) * num_qubits), complex)
        self.states.flat[0] = 1
        self.branch = np.zeros(shots, np.int64)
        self.outcomes: dict[str, np.ndarray] = {}
        self.rng = rng

    def run(self, steps: Sequence[Operation | Local]) -> None:
        """Does all steps."""
        for operation in steps:
            if isinstance(operation, Local):
                if operation.whole is None:
                    self._apply(operation.matrix, operation.qubits)
                else:
                    self._gate(operation.whole)
            elif isinstance(operation.kind, Gate):
                self._gate(operation)
            elif operation.name == "Measure":
                bits = self._measure(operation, operation.targets[0])
                if operation.detail[0] is not None:
                    self.outcomes[operation.detail[0]] = bits
            elif operation.name == "Reset":
                (qubit,) = operation.targets
                self._measure(operation, qubit, clear=True)
            else:
                self._error(operation)

    def draw(self) -> np.ndarray:
        """An outcome of all qubits for every shot."""
        weights = np.cumsum(abs(self.states.reshape(len(self.states), -1)) ** 2, axis=1)
        drawn = self.rng.random(len(self.branch)) * weights[self.branch, -1]
        found = (weights[self.branch] <= drawn[:, None]).sum(axis=1)
        return np.minimum(found, weights.shape[1] - 1)

    def _fulfilled(self, operation: Operation) -> np.ndarray:
        """Per shot, whether the conditions of an operation hold."""
        found = np.ones(len(self.branch), bool)
        for name, value in operation.conditions:
            found &= self.outcomes[name] == value
        return found

    def _split(self, choice: np.ndarray) -> np.ndarray:
        """Parts shots of one branch that chose differently; returns the choice of each branch."""
        pairs = np.stack([self.branch, choice], axis=1)
        found, branch = np.unique(pairs, axis=0, return_inverse=True)
        self.branch = branch.reshape(-1)
        self.states = self.states[found[:, 0]]
        return found[:, 1]

    def _gate(self, operation: Operation) -> None:
        matrix = np.asarray(operation.matrix, complex)
        # All shots of a branch had the same outcomes, so one of them speaks for all.
        _, speakers = np.unique(self.branch, return_index=True)
        chosen = self._fulfilled(operation)[speakers]
        self._apply(matrix, operation.targets, chosen, operation.controls)

    def _apply(
        self,
        matrix: np.ndarray,
        targets: Sequence[int],
        chosen: np.ndarray | None = None,
        controls: Sequence[int] = (),
    ) -> None:
        """Applies a matrix in the chosen branches, or in all, where the controls are 1."""
        place: list[slice | int] = [slice(None)] * (self.states.ndim - 1)
        for control in controls:
            place[control] = 1
        axes = [1 + t - sum(control < t for control in controls) for t in targets]
        front = range(1, 1 + len(axes))
        whole = chosen is None or bool(chosen.all())
        states = self.states if whole else self.states[chosen]
        part = np.moveaxis(states[:, *place], axes, front)
        done = matrix @ part.reshape(len(part), len(matrix), -1)
        states[:, *place] = np.moveaxis(done.reshape(part.shape), front, axes)
        if not whole:
            self.states[chosen] = states

    def _measure(self, operation: Operation, qubit: int, *, clear: bool = False) -> np.ndarray:
        """The outcome of a qubit per shot, which it has from then on, unless it is cleared."""
        weights = abs(np.moveaxis(self.states, 1 + qubit, 1).reshape(len(self.states), 2, -1)) ** 2
        weights = weights.sum(axis=2)
        chance = weights[:, 1] / weights.sum(axis=1)
        bits = (self.rng.random(len(self.branch)) < chance[self.branch]).astype(np.int64)
        done = self._fulfilled(operation)
        choice = self._split(np.where(done, bits, -1))
        view = np.moveaxis(self.states, 1 + qubit, 1)
        for bit in (0, 1):
            chosen = choice == bit
            view[chosen, 1 - bit] = 0
            if clear and bit:
                view[chosen] = view[chosen][:, ::-1]
        flat = self.states.reshape(len(self.states), -1)
        flat /= np.linalg.norm(flat, axis=1, keepdims=True)
        return bits

    def _error(self, operation: Operation) -> None:
        """A depolarizing channel: one of its Pauli words, in a share of the shots."""
        words = operation.detail
        happens = self.rng.random(len(self.branch)) < float(operation.params[0])
        word = self.rng.integers(len(words), size=len(self.branch))
        choice = self._split(np.where(happens & self._fulfilled(operation), word, -1))
        for number in np.unique(choice[choice >= 0]):
            for letter, target in zip(words[number], operation.targets, strict=True):
                if letter != "I":
                    self._apply(PAULI_MATRICES[letter], (target,), choice == number)
