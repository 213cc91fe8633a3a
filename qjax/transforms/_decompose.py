"""Writing circuits in a chosen set of gates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qjax.circuit import Circuit, Gate, Leaf, Reference, Step, Structure
from qjax.transforms._amplitudes import amplitude_angles
from qjax.transforms._basis import Basis, Placed, as_basis
from qjax.transforms._blocks import gather
from qjax.transforms._check import check_circuit
from qjax.transforms._elements import Local, as_matrix, is_opaque
from qjax.transforms._expand import expand
from qjax.transforms._linear import Linear, Number, number_reader
from qjax.transforms._matrices import EYE

__all__ = ["decompose", "merge_one_qubit_gates"]


def decompose(circuit: Circuit, basis: Sequence[str] = ("U", "RZZ")) -> Circuit:
    """Writes every gate and state preparation in a few kinds of gates.

    Controlled gates, Pauli rotations, evolutions, known unitaries on any number of qubits and
    amplitudes become one-qubit gates and one kind of gate on two qubits, gate by gate, up to a
    global phase. Angles may be traced, batched or unbound: those of the result are multiples of
    them. Amplitudes may be traced or batched too, matrices may not.

    Args:
        circuit: any circuit. Gates in the basis stay, and so does what is no gate; what a gate
            becomes is conditioned as the gate was.
        basis: one-qubit gates, which are "U", or "RZ" and one of "RY", "RX" and "SX"; and one of
            "RZZ", "RXX", "RYY", "CX" and "CZ".

    Returns:
        Circuit of these gates. A gate on two qubits takes at most three of the latter; with
        Ising gates (RZZ) one controlled gate takes one, with "CX" or "CZ" two unless it is
        controlled by a half turn.

    Raises:
        CircuitError: if the basis is another, or a matrix or the time of an evolution must be
            known but is not.

    Example:
        >>> import qjax as qj
        >>> from qjax.transforms import decompose
        >>> toffoli = qj.Circuit(3, [qj.CCX(0, 1, 2)])
        >>> decompose(toffoli).count_operations()["RZZ"]
        5
        >>> decompose(qj.Circuit(2, [qj.CZ(0, 1)]), ("RZ", "RY", "CX")).count_operations()["CX"]
        1

    References:
        Barenco et al., Phys. Rev. A 52, 3457 (1995).
    """
    check_circuit(circuit)
    target = as_basis(basis)
    rewriting = _Rewriting(circuit)
    read = number_reader(circuit)
    for step in circuit.structure.steps:
        is_preparation = step.kind.name == "StatePreparation"
        is_written = step.name in target.names and not step.adjoint
        if is_written or not (is_preparation or isinstance(step.kind, Gate)):
            rewriting.keep(step)
        else:
            data = None if step.data is None else circuit.data[step.data]
            elements = expand(step, read(step), data)
            rewriting.add(target.write(gather(elements)), step.conditions)
    return rewriting.finish()


def merge_one_qubit_gates(circuit: Circuit) -> Circuit:
    """Joins runs of two and more known gates on one qubit to one gate U, up to a global phase.

    Args:
        circuit: any circuit; gates with unknown angles, conditions or controls end a run.

    Example:
        >>> import qjax as qj
        >>> from qjax.transforms import merge_one_qubit_gates
        >>> merge_one_qubit_gates(qj.Circuit(1, [qj.H(0), qj.T(0), qj.H(0)])).count_operations()
        {'U': 1}
        >>> len(merge_one_qubit_gates(qj.Circuit(1, [qj.H(0), qj.H(0)])))
        0
    """
    check_circuit(circuit)
    rewriting = _Rewriting(circuit)
    read = number_reader(circuit)
    basis = as_basis(("U", "RZZ"))
    runs: dict[int, list[tuple[Step, np.ndarray]]] = {}
    for step in circuit.structure.steps:
        matrix = _one_qubit_matrix(circuit, step, read(step))
        if matrix is not None:
            runs.setdefault(step.targets[0], []).append((step, matrix))
            continue
        for qubit in step.qubits:
            rewriting.join(runs.pop(qubit, []), basis)
        rewriting.keep(step)
    for run in runs.values():
        rewriting.join(run, basis)
    return rewriting.finish()


def _one_qubit_matrix(
    circuit: Circuit, step: Step, numbers: tuple[Number, ...]
) -> np.ndarray | None:
    """The matrix of a known gate on one qubit."""
    single = isinstance(step.kind, Gate) and len(step.qubits) == 1 and not step.conditions
    if not single or any(isinstance(number, Linear) for number in numbers):
        return None
    data = None if step.data is None else circuit.data[step.data]
    if data is not None and np.ndim(data) != 2:
        return None
    total = EYE
    for element in expand(step, numbers, data):
        if is_opaque(element):
            return None
        total = as_matrix(element) @ total
    return total


class _Rewriting:
    """The steps so far, with the arrays of the circuit and one more for constants."""

    def __init__(self, circuit: Circuit):
        self.circuit = circuit
        self.steps: list[Step] = []
        self.constants: list[float] = []
        self.kept_data: list[int] = []
        self.leaves = list(circuit.structure.leaves)
        self.params = list(circuit.params)
        self.constant_leaf = len(self.leaves)
        self.places: dict[Any, int] = {}  # leaf of prepared amplitudes -> its number

    def keep(self, step: Step) -> None:
        if step.data is not None:
            self.kept_data.append(step.data)
            step = step._replace(data=len(self.kept_data) - 1)
        self.steps.append(step)

    def add(self, gates: list[Placed], conditions: tuple[tuple[str, int], ...]) -> None:
        for gate in gates:
            count = gate.gate.num_controls
            self.steps.append(
                Step(
                    gate.gate.kind,
                    gate.qubits[count:],
                    gate.qubits[:count],
                    tuple(self._reference(number) for number in gate.numbers),
                    conditions=conditions,
                )
            )

    def join(self, run: list[tuple[Step, np.ndarray]], basis: Basis) -> None:
        """One gate for a run of several."""
        if len(run) == 1:
            self.keep(run[0][0])
        elif run:
            locals_ = [Local((step.targets[0],), matrix) for step, matrix in run]
            self.add(basis.write(locals_), ())

    def _reference(self, number: Number) -> Reference:
        if not isinstance(number, Linear):
            self.constants.append(number)
            return Reference(self.constant_leaf, len(self.constants) - 1)
        (((leaf, index), factor),) = number.terms.items()  # type: ignore[misc]
        return Reference(self._leaf(leaf), index, factor, number.constant)

    def _leaf(self, leaf: Any) -> int:
        """The number of a leaf; angles of prepared amplitudes follow after the constants."""
        if isinstance(leaf, int):
            return leaf
        if leaf not in self.places:
            self.places[leaf] = self.constant_leaf + 1 + len(self.places)
        return self.places[leaf]

    def finish(self) -> Circuit:
        structure, circuit = self.circuit.structure, self.circuit
        if self.constants or self.places:
            self.leaves.append(Leaf(len(self.constants)))
            self.params.append(np.array(self.constants))
        for _, number in self.places:
            angles = amplitude_angles(circuit.data[number])
            self.leaves.append(Leaf(angles.shape[-1]))
            self.params.append(angles)
        ranks = tuple(structure.data_ranks[i] for i in self.kept_data)
        data = tuple(circuit.data[i] for i in self.kept_data)
        rewritten = Structure(structure.num_qubits, tuple(self.steps), tuple(self.leaves), ranks)
        return Circuit.from_structure(rewritten, tuple(self.params), data)
