"""From the steps of a circuit to factors: small matrices on the binary axes of the state.

A state vector of n qubits has n axes. A density matrix has 2n, rows then columns, and one more
for every measurement outcome that a later operation depends on; on these axes gates, channels,
measurements and conditions are all linear, so one engine serves both.
"""

from typing import Any, NamedTuple

import numpy as np

from qjax.circuit import Channel, Gate, Kind, PauliRotation, Reference, Step, Structure
from qjax.errors import CircuitError

__all__ = ["CONSTANTS", "Factor", "lower_density", "lower_gate"]

LONGEST_DENSE_WORD = 4


class Factor(NamedTuple):
    """A matrix on some axes, without its numbers.

    Attributes:
        form: "matrix", "conjugate" (of a gate), "superoperator" (of a channel), "parity" (the
            diagonal rotation exp(-i theta/2 Z...Z) on any number of axes) or "constant".
        axes: what it acts on, most significant bit of the matrix first.
        controls: (axis, value) pairs that must hold for it to act.
        kind: of the operation, where the form asks for one.
        constant: key into `CONSTANTS`, where the form is "constant".
        references, data, detail, adjoint: as in `Step`.
    """

    form: str
    axes: tuple[int, ...]
    controls: tuple[tuple[int, int], ...] = ()
    kind: Kind | None = None
    constant: str | None = None
    references: tuple[Reference, ...] = ()
    data: int | None = None
    detail: Any = None
    adjoint: bool = False

    @property
    def all_axes(self) -> tuple[int, ...]:
        """Axes of the controls, then of the matrix."""
        return tuple(axis for axis, _ in self.controls) + self.axes

    @property
    def constant_matrix(self) -> bool:
        """Whether the matrix depends on no angles and no arrays."""
        return not self.references and self.data is None

    @property
    def diagonal(self) -> bool:
        """Whether the matrix is diagonal whatever the numbers."""
        if self.form == "constant":
            matrix = CONSTANTS[str(self.constant)]
            return np.count_nonzero(matrix - np.diag(np.diagonal(matrix))) == 0
        return self.form == "parity" or _flag(self, "diagonal")

    @property
    def real(self) -> bool:
        """Whether the matrix is real whatever the numbers."""
        if self.form == "constant":
            return not np.imag(CONSTANTS[str(self.constant)]).any()
        return self.form in ("matrix", "conjugate") and _flag(self, "real")


def _flag(factor: Factor, name: str) -> bool:
    value: Any = getattr(factor.kind, name, False)
    return bool(value(factor.detail) if callable(value) else value)


def _record() -> np.ndarray:
    """Measurement into a fresh axis (record, row, column): |0, a, b> -> delta_ab |a, a, a>."""
    matrix = np.zeros((8, 8), dtype=complex)
    matrix[0, 0] = matrix[7, 3] = 1
    return matrix


_Y_TO_Z = np.array([[1, -1j], [1, 1j]]) / np.sqrt(2)  # V Y V^dagger = Z
_X_TO_Z = np.array([[1, 1], [1, -1 + 0j]]) / np.sqrt(2)

CONSTANTS: dict[str, np.ndarray] = {
    "record": _record(),
    "dephase": np.diag([1, 0, 0, 1 + 0j]),
    "project 0": np.diag([1 + 0j, 0]),
    "project 1": np.diag([0, 1 + 0j]),
    "X to Z": _X_TO_Z,
    "Z to X": _X_TO_Z,
    "Y to Z": _Y_TO_Z,
    "Z to Y": _Y_TO_Z.conj().T,
}

_ROTATION = PauliRotation(0.0, "Z", 0).kind


def _expand_evolution(step: Step) -> list[Step]:
    """The Pauli rotations of a product formula; the step itself where it is exact."""
    words, scheme = step.detail
    if scheme is None:
        return [step]
    repeats, order = scheme
    share = 2 / (repeats * order) * (-1 if step.adjoint else 1)
    rotations = [
        step._replace(
            kind=_ROTATION, detail=word, references=(_scaled(reference, share),), adjoint=False
        )
        for word, reference in zip(words, step.references, strict=True)
    ]
    product = (rotations + (rotations[::-1] if order == 2 else [])) * repeats
    return product[::-1] if step.adjoint else product


def _scaled(reference: Reference, factor: float) -> Reference:
    return reference._replace(scale=reference.scale * factor, shift=reference.shift * factor)


def _long_rotation(step: Step, axes: tuple[int, ...], controls: Any, form: str) -> list[Factor]:
    """A rotation about a long word: each letter turned to Z, a diagonal, and back."""
    letters = [(a, c) for a, c in zip(axes, step.detail, strict=True) if c != "I"]

    def turn(pattern: str) -> list[Factor]:
        return [_constant(pattern.format(c), (a,), form) for a, c in letters if c != "Z"]

    middle = Factor(
        "parity", tuple(a for a, _ in letters), controls, references=step.references,
        adjoint=form == "conjugate",
    )  # fmt: skip
    return [*turn("{} to Z"), middle, *turn("Z to {}")]


def _constant(name: str, axes: tuple[int, ...], form: str = "matrix") -> Factor:
    if form == "conjugate" and "Y" in name:
        name = "conjugate " + name
    return Factor("constant", axes, constant=name)


CONSTANTS |= {f"conjugate {name}": CONSTANTS[name].conj() for name in ("Y to Z", "Z to Y")}


def lower_gate(
    step: Step, offset: int = 0, form: str = "matrix", conditions: Any = ()
) -> list[Factor]:
    """Factors of a gate on the axes `offset + qubit`, with extra controls for conditions."""
    factors = []
    expanded = _expand_evolution(step) if step.kind.name == "Evolution" else [step]
    for part in expanded:
        axes = tuple(offset + q for q in part.targets)
        controls = (*((offset + q, 1) for q in part.controls), *conditions)
        word = part.detail if part.kind is _ROTATION else ""
        if len(word.replace("I", "")) > LONGEST_DENSE_WORD:
            factors += _long_rotation(part, axes, controls, form)
        else:
            factors.append(
                Factor(form, axes, controls, part.kind, None, part.references, part.data,
                       part.detail, part.adjoint)
            )  # fmt: skip
    return factors


class _Outcomes:
    """What is known of measurement outcomes while a circuit is lowered."""

    def __init__(self, structure: Structure, first_axis: int):
        self.used = {name for step in structure.steps for name, _ in step.conditions}
        self.axis: dict[str, int] = {}
        self.fixed: dict[str, int] = {}
        self.next_axis = first_axis

    def holds(self, step: Step) -> bool:
        """False if a post-selected outcome rules the step out."""
        return all(self.fixed.get(name, value) == value for name, value in step.conditions)

    def controls(self, step: Step) -> tuple[tuple[int, int], ...]:
        """Controls on the axes that record the outcomes that the step depends on."""
        return tuple((self.axis[n], v) for n, v in step.conditions if n in self.axis)


def lower_pure(structure: Structure) -> tuple[Factor, ...]:
    """Factors of a circuit of gates and post-selections on n axes."""
    outcomes = _Outcomes(structure, structure.num_qubits)
    factors: list[Factor] = []
    for step in structure.steps:
        if not outcomes.holds(step) or step.kind.name in ("StatePreparation", "ReadoutError"):
            continue
        if isinstance(step.kind, Gate):
            factors += lower_gate(step)
        elif step.kind.name == "Measure" and step.detail[1] is not None:
            name, value = step.detail
            outcomes.fixed[name] = value
            factors.append(_constant(f"project {value}", step.targets))
        else:
            raise CircuitError(f"{step.name} does not keep a state pure.")
    return tuple(factors)


def lower_density(structure: Structure) -> tuple[tuple[Factor, ...], int]:
    """Factors of any circuit on 2n axes and one per recorded outcome, and the number of axes."""
    n = structure.num_qubits
    outcomes = _Outcomes(structure, 2 * n)
    factors: list[Factor] = []
    for step in structure.steps:
        if not outcomes.holds(step) or step.kind.name in ("StatePreparation", "ReadoutError"):
            continue
        conditions = outcomes.controls(step)
        pair = (*step.targets, *(n + q for q in step.targets))
        if isinstance(step.kind, Gate):
            factors += lower_gate(step, 0, "matrix", conditions)
            factors += lower_gate(step, n, "conjugate", conditions)
        elif isinstance(step.kind, Channel):
            factors.append(
                Factor("superoperator", pair, conditions, step.kind, None, step.references,
                       step.data, step.detail)
            )  # fmt: skip
        else:
            factors += _lower_measurement(step, pair, outcomes)
    return tuple(factors), outcomes.next_axis


def _lower_measurement(step: Step, pair: tuple[int, ...], outcomes: _Outcomes) -> list[Factor]:
    name, postselect = step.detail
    if postselect is not None:
        outcomes.fixed[name] = postselect
        return [_constant(f"project {postselect}", (axis,)) for axis in pair]
    if name not in outcomes.used:
        return [_constant("dephase", pair)]
    outcomes.axis[name] = outcomes.next_axis
    outcomes.next_axis += 1
    return [_constant("record", (outcomes.axis[name], *pair))]
