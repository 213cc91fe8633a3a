"""Gates in the words of OpenQASM: which lines of a program stand for one operation."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from qjax.circuit import Operation, Slot
from qjax.errors import CircuitError

__all__ = ["DEFINITIONS", "Line", "lines_of"]

DEFINITIONS = {
    "rxx": "gate rxx(t) a, b { h a; h b; cx a, b; rz(t) b; cx a, b; h b; h a; }",
    "ryy": (
        "gate ryy(t) a, b { rx(pi/2) a; rx(pi/2) b; cx a, b; rz(t) b; cx a, b; "
        "rx(-pi/2) b; rx(-pi/2) a; }"
    ),
    "rzz": "gate rzz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
    "iswap": "gate iswap a, b { s a; s b; h a; cx a, b; cx b, a; h b; }",
}

_WORDS = {
    "I": "id", "X": "x", "Y": "y", "Z": "z", "H": "h", "S": "s", "T": "t", "SX": "sx",
    "RX": "rx", "RY": "ry", "RZ": "rz", "P": "p", "SWAP": "swap", "ISWAP": "iswap",
    "RXX": "rxx", "RYY": "ryy", "RZZ": "rzz",
}  # fmt: skip
_WITH_CONTROLS = {
    ("X", 1): "cx", ("Y", 1): "cy", ("Z", 1): "cz", ("H", 1): "ch", ("RX", 1): "crx",
    ("RY", 1): "cry", ("RZ", 1): "crz", ("P", 1): "cp", ("X", 2): "ccx", ("SWAP", 1): "cswap",
}  # fmt: skip
_ADJOINTS = {"S": "sdg", "T": "tdg"}
_OLD = {("SX", 1): "csx", ("X", 3): "c3x", ("X", 4): "c4x"}  # in qelib1.inc, not in stdgates.inc
_INVERTED_IN_OLD = {"SX": "sxdg"}


class Line(NamedTuple):
    """One gate statement.

    Attributes:
        name: of the gate.
        angles: numbers or slots.
        qubits: all of them, the controls that modifiers add first.
        controls: how many of the qubits a `ctrl` modifier takes.
        inverse: whether an `inv` modifier is needed.
    """

    name: str
    angles: tuple[Any, ...]
    qubits: tuple[int, ...]
    controls: int = 0
    inverse: bool = False


def lines_of(operation: Operation, version: int) -> list[Line]:
    """The statements that stand for a gate, up to a global phase of the whole.

    Args:
        operation: a gate.
        version: of OpenQASM.

    Raises:
        CircuitError: if there are no such statements.
    """
    name = operation.kind.name
    if name == "PauliRotation":
        return _pauli_rotation(operation, operation.detail, operation.params[0], version)
    if name == "Evolution" and operation.detail[1] is not None:
        return _product_formula(operation, version)
    if name == "U" or (name == "Unitary" and len(operation.targets) == 1):
        return _one_qubit(operation, version)
    if name not in _WORDS:
        raise CircuitError(
            f"OpenQASM has no word for {operation!r}. Decompose it into gates of the table first."
        )
    return [_line(operation, version)]


def _line(operation: Operation, version: int) -> Line:
    name, controls = operation.kind.name, len(operation.controls)
    inverse = operation.adjoint
    word = _WORDS[name]
    if inverse and not controls:
        adjoints = _ADJOINTS if version == 3 else _ADJOINTS | _INVERTED_IN_OLD
        if name in adjoints:
            return Line(adjoints[name], operation.params, operation.qubits)
    known = _WITH_CONTROLS if version == 3 else _WITH_CONTROLS | _OLD
    if controls and not inverse and (name, controls) in known:
        return Line(known[name, controls], operation.params, operation.qubits)
    return Line(word, operation.params, operation.qubits, controls, inverse)


def _one_qubit(operation: Operation, version: int) -> list[Line]:
    """A one-qubit matrix as U, whose phase matters under controls."""
    if operation.kind.name == "U" and not operation.adjoint:
        (theta, phi, lam), phase = operation.params, 0.0
    elif operation.kind.name == "U":
        theta, phi, lam = operation.params
        theta, phi, lam, phase = -theta, -lam, -phi, 0.0
    else:
        theta, phi, lam, phase = _angles(np.asarray(operation.matrix))
    controls = operation.controls
    if version == 2 and not controls:
        return [Line("u3", (theta, phi, lam), operation.qubits)]
    if version == 2 and len(controls) == 1:
        lines = [Line("cu3", (theta, phi, lam), operation.qubits)]
        return lines + _phases(phase, controls)
    # OpenQASM 3 puts exp(i theta/2) in front of U.
    rest = phase - theta / 2
    lines = [Line("U", (theta, phi, lam), operation.qubits, len(controls))]
    return lines + (_phases(rest, controls) if controls else [])


def _phases(angle: Any, controls: tuple[int, ...]) -> list[Line]:
    """A phase where all controls are 1."""
    if not isinstance(angle, Slot) and float(angle) == 0:
        return []
    name = "p" if len(controls) == 1 else "cp"
    return [Line(name, (angle,), controls, max(len(controls) - 2, 0))]


def _angles(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """theta, phi, lam and a phase with matrix = exp(i phase) U(theta, phi, lam)."""
    theta = 2 * np.arctan2(abs(matrix[1, 0]), abs(matrix[0, 0]))
    if abs(matrix[0, 0]) >= abs(matrix[1, 0]):
        phase = np.angle(matrix[0, 0])
        both = np.angle(matrix[1, 1]) - phase
        phi = np.angle(matrix[1, 0]) - phase if abs(matrix[1, 0]) > 1e-12 else 0.0
        return theta, phi, both - phi, phase
    phi_phase, lam_phase = np.angle(matrix[1, 0]), np.angle(-matrix[0, 1])
    phase = np.angle(matrix[0, 0]) if abs(matrix[0, 0]) > 1e-12 else 0.0
    return theta, phi_phase - phase, lam_phase - phase, phase


def _product_formula(operation: Operation, version: int) -> list[Line]:
    words, (steps, order) = operation.detail
    angles = [2 * a / steps for a in operation.params]
    pairs = list(zip(words, angles, strict=True))
    if order == 2:
        pairs = [(w, a / 2) for w, a in pairs] + [(w, a / 2) for w, a in reversed(pairs)]
    pairs = pairs * steps
    if operation.adjoint:
        pairs = [(word, -angle) for word, angle in reversed(pairs)]
    return [
        line for word, angle in pairs for line in _pauli_rotation(operation, word, angle, version)
    ]


def _pauli_rotation(operation: Operation, word: str, angle: Any, version: int) -> list[Line]:
    """exp(-i angle/2 P): turn each letter to Z, gather the parity, rotate, and undo."""
    pairs = [(q, letter) for q, letter in zip(operation.targets, word, strict=True)]
    acting = [(qubit, letter) for qubit, letter in pairs if letter != "I"]
    controls = operation.controls
    if not acting:
        return _phases(-angle / 2, controls) if controls else []
    quarter = float(np.pi / 2)
    into = [Line("h", (), (q,)) for q, letter in acting if letter == "X"]
    into += [Line("rx", (quarter,), (q,)) for q, letter in acting if letter == "Y"]
    back = [Line("h", (), (q,)) for q, letter in acting if letter == "X"]
    back += [Line("rx", (-quarter,), (q,)) for q, letter in acting if letter == "Y"]
    qubits = [q for q, _ in acting]
    ladder = [Line("cx", (), pair) for pair in pairwise(qubits)]
    last = qubits[-1]
    if len(controls) == 1:
        turn = Line("crz", (angle,), (*controls, last))
    else:
        turn = Line("rz", (angle,), (*controls, last), len(controls))
    return [*into, *ladder, turn, *reversed(ladder), *back]
