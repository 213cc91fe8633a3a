"""Gates of the gateset `qis` (angles in radians) from and to JSON.

Only gates whose meaning IonQ documents are written. Where the order of letters or a control is
not documented (`pauliexp`, `z` with an angle, controlled `xx`), the same unitary is written in
other gates; all of them are read.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, pi
from typing import Any

import numpy as np

import qjax.circuit as qc
from qjax.circuit import Operation, Step
from qjax.errors import QjaxError
from qjax.ionq._errors import PayloadError
from qjax.observables import PauliSum

__all__ = ["MAX_CONTROLS", "check_qubit", "qubits_of", "read_qis", "real_of", "write_qis"]

Wire = dict[str, Any]
MAX_CONTROLS = 7

_FIXED = {"X": "x", "Y": "y", "Z": "z", "H": "h", "S": "s", "T": "t", "SX": "v"}
_ADJOINT = {"s": "si", "t": "ti", "v": "vi"}
_ROTATIONS = {"RX": "X", "RY": "Y", "RZ": "Z", "RXX": "XX", "RYY": "YY", "RZZ": "ZZ"}


# --- to JSON --------------------------------------------------------------------------------------


def write_qis(step: Step, numbers: Sequence[float]) -> list[Wire]:
    """One operation as gates of `qis`, equal up to a global phase.

    Args:
        step: the operation.
        numbers: its angles in radians.

    Raises:
        PayloadError: if `qis` has no gates for it.
    """
    name, targets, controls = step.kind.name, step.targets, step.controls
    if name == "I":
        return []
    if name in _FIXED:
        gate = _FIXED[name]
        return [_gate(_ADJOINT[gate] if step.adjoint else gate, targets, controls)]
    if name in _ROTATIONS:
        return _rotation(_ROTATIONS[name], numbers[0], targets, controls)
    if name == "P":
        return _phase((*controls, *targets), numbers[0])
    if name == "U":
        return _u(numbers, step.adjoint, targets, controls)
    if name == "SWAP":
        return _swap(targets, controls)
    if name == "ISWAP":
        angle = pi / 2 if step.adjoint else -pi / 2
        pairs = [_rotation(word, angle, targets, controls) for word in ("XX", "YY")]
        return pairs[0] + pairs[1]
    if name == "PauliRotation":
        return _rotation(step.detail, numbers[0], targets, controls)
    if name == "Evolution" and step.detail[1] is not None:
        return _evolution(step, numbers)
    raise PayloadError(
        f"IonQ's gateset 'qis' has no gate for {step.name}. IonQNativeCompiler "
        "compiles circuits of gates.",
        code="UnsupportedGate",
    )


def _gate(
    name: str, targets: Sequence[int], controls: Sequence[int] = (), rotation: float | None = None
) -> Wire:
    if len(controls) > MAX_CONTROLS:
        raise PayloadError(
            f"IonQ takes at most {MAX_CONTROLS} controls per gate, but a gate {name!r} has "
            f"{len(controls)}. Decompose it first.",
            code="TooManyControls",
        )
    gate: Wire = {"gate": name}
    if name == "x" and len(controls) == 1:
        return {"gate": "cnot", "control": controls[0], "target": targets[0]}
    if len(targets) == 1:
        gate["target"] = targets[0]
    else:
        gate["targets"] = list(targets)
    if controls:
        gate["controls"] = list(controls)
    if rotation is not None:
        gate["rotation"] = rotation
    return gate


def _phase(qubits: Sequence[int], angle: float) -> list[Wire]:
    """exp(i angle) where all qubits are 1: rz on the last, then half the angle on the others."""
    gates = []
    while qubits:
        gates.append(_gate("rz", qubits[-1:], qubits[:-1], angle))
        qubits, angle = qubits[:-1], angle / 2
    return gates


def _u(
    numbers: Sequence[float], adjoint: bool, targets: Sequence[int], controls: Sequence[int]
) -> list[Wire]:
    """U(theta, phi, lam) = exp(i (phi + lam)/2) RZ(phi) RY(theta) RZ(lam)."""
    theta, phi, lam = numbers
    if adjoint:
        theta, phi, lam = -theta, -lam, -phi
    turns = [("rz", lam), ("ry", theta), ("rz", phi)]
    gates = [_gate(name, targets, controls, angle) for name, angle in turns]
    return gates + _phase(controls, (phi + lam) / 2)


def _swap(targets: Sequence[int], controls: Sequence[int]) -> list[Wire]:
    if not controls:
        return [_gate("swap", targets)]
    a, b = targets
    around = _gate("x", (a,), (b,))
    return [around, _gate("x", (b,), (*controls, a)), around]


def _rotation(
    word: str, theta: float, targets: Sequence[int], controls: Sequence[int]
) -> list[Wire]:
    """exp(-i theta/2 P), P a Pauli word on the targets."""
    letters = [(q, c) for q, c in zip(targets, word, strict=True) if c != "I"]
    where = [q for q, _ in letters]
    kinds = {c for _, c in letters}
    if not letters:
        return _phase(controls, -theta / 2)
    if len(letters) == 1:
        return [_gate("r" + letters[0][1].lower(), where, controls, theta)]
    if len(letters) == 2 and len(kinds) == 1 and not controls:
        return [_gate(2 * kinds.pop().lower(), where, (), theta)]
    changes = {"X": ("h", "h"), "Y": ("v", "vi")}  # to Z and back
    before = [_gate(changes[c][0], (q,)) for q, c in letters if c != "Z"]
    after = [_gate(changes[c][1], (q,)) for q, c in letters if c != "Z"]
    if len(letters) == 2 and not controls:
        return [*before, _gate("zz", where, (), theta), *after]
    ladder = [_gate("x", (b,), (a,)) for a, b in pairwise(where)]
    return [*before, *ladder, _gate("rz", where[-1:], controls, theta), *ladder[::-1], *after]


def _evolution(step: Step, numbers: Sequence[float]) -> list[Wire]:
    """The Pauli rotations of a product formula."""
    words, (repeats, order) = step.detail
    share = 2 / (repeats * order) * (-1 if step.adjoint else 1)
    rotations = [(word, share * angle) for word, angle in zip(words, numbers, strict=True)]
    formula = (rotations + (rotations[::-1] if order == 2 else [])) * repeats
    formula = formula[::-1] if step.adjoint else formula
    parts = [_rotation(word, angle, step.targets, step.controls) for word, angle in formula]
    return [gate for part in parts for gate in part]


# --- from JSON ------------------------------------------------------------------------------------

_READ_FIXED = {
    "x": qc.X, "not": qc.X, "cnot": qc.X, "y": qc.Y, "z": qc.Z, "h": qc.H, "s": qc.S, "t": qc.T,
    "v": qc.SX, "si": qc.S, "ti": qc.T, "vi": qc.SX,
}  # fmt: skip
_READ_ROTATIONS = {
    "rx": qc.RX, "ry": qc.RY, "rz": qc.RZ, "xx": qc.RXX, "yy": qc.RYY, "zz": qc.RZZ,
}  # fmt: skip
_PAIRS = ("xx", "yy", "zz")


def read_qis(gate: Wire, where: str) -> list[Operation]:
    """The operations of one gate of `qis`.

    Args:
        gate: its JSON.
        where: how to call it in an error, such as "circuit[3]".

    Raises:
        PayloadError: if it is unknown or its fields do not fit.
    """
    name = gate.get("gate")
    targets = qubits_of(gate, "target", where)
    controls = qubits_of(gate, "control", where)
    if len(controls) > MAX_CONTROLS:
        raise PayloadError(
            f"{where} must have at most {MAX_CONTROLS} controls, but has {len(controls)}.",
            code="TooManyControls",
        )
    if set(targets) & set(controls):
        raise PayloadError(f"{where} must have distinct targets and controls.")
    if name == "cnot" and not controls:
        raise PayloadError(f"{where}.control is required.")
    if name == "pauliexp":
        return _pauliexp(gate, targets, controls, where)
    operation = _plain(gate, targets, where)
    if name == "swap" and controls:
        raise PayloadError(f"{where}: 'swap' takes no controls.", code="UnsupportedGate")
    return [operation.controlled(*controls) if controls else operation]


def _plain(gate: Wire, targets: tuple[int, ...], where: str) -> Operation:
    name = gate["gate"]
    expected = 2 if name in (*_PAIRS, "swap") else 1
    known = name in _READ_FIXED or name in _READ_ROTATIONS or name == "swap"
    if not known:
        raise PayloadError(f"{where}: unknown gate {name!r}.", code="UnsupportedGate")
    if len(targets) != expected:
        raise PayloadError(
            f"{where} must have {expected} target{'s' * (expected > 1)}, but has {len(targets)}."
        )
    if name == "swap":
        return qc.SWAP(*targets)
    if name in _READ_ROTATIONS:
        return _READ_ROTATIONS[name](real_of(gate, "rotation", where), *targets)
    if name == "z" and gate.get("rotation") is not None:
        return qc.P(real_of(gate, "rotation", where), *targets)
    operation = _READ_FIXED[name](*targets)
    return operation.inverse() if name in _ADJOINT.values() else operation


def _pauliexp(
    gate: Wire, targets: tuple[int, ...], controls: tuple[int, ...], where: str
) -> list[Operation]:
    """exp(-i time sum_k c_k P_k); the first letter of a term acts on the last target."""
    terms, coefficients = gate.get("terms"), gate.get("coefficients")
    if not (isinstance(terms, list) and isinstance(coefficients, list)):
        raise PayloadError(f"{where} must have the lists `terms` and `coefficients`.")
    if not terms or len(terms) != len(coefficients):
        raise PayloadError(f"{where}.coefficients must have one number per term.")
    time = real_of(gate, "time", where)
    if time <= 0:
        raise PayloadError(f"{where}.time must be positive, but is {time}.")
    values = [real_of({"c": c}, "c", f"{where}.coefficients") for c in coefficients]
    parts: list[PauliSum] = []
    constant = 0.0
    for term, value in zip(terms, values, strict=True):
        fits = isinstance(term, str) and len(term) == len(targets) and set(term) <= set("IXYZ")
        if not fits:
            raise PayloadError(f"{where}.terms must have one letter of IXYZ per target: {term!r}.")
        word = [(q, c) for q, c in zip(targets, reversed(term), strict=True) if c != "I"]
        if word:
            parts.append(PauliSum([tuple(word)], np.array([value])))
        else:
            constant += value
    try:
        operations = [qc.Evolution(sum(parts), time, method="exact")] if parts else []
    except QjaxError as error:
        raise PayloadError(f"{where}: {error}", code="QuantumCircuitComplexityError") from None
    operations = [op.controlled(*controls) if controls else op for op in operations]
    if constant and controls:  # a phase of the state where all controls are 1
        phase = qc.P(-time * constant, controls[-1])
        operations.append(phase.controlled(*controls[:-1]) if controls[1:] else phase)
    return operations


def qubits_of(gate: Wire, field: str, where: str) -> tuple[int, ...]:
    """The qubits under `target` or `targets`, which mean the same, as do the controls."""
    found = [gate[key] for key in (field, field + "s") if gate.get(key) is not None]
    if len(found) > 1:
        raise PayloadError(f"{where} must have `{field}` or `{field}s`, not both.")
    if not found:
        if field == "target":
            raise PayloadError(f"{where}.target is required.")
        return ()
    values = found[0] if isinstance(found[0], list) else [found[0]]
    qubits = tuple(check_qubit(value, where) for value in values)
    if len(set(qubits)) != len(qubits):
        raise PayloadError(f"{where}.{field}s must be distinct, but is {list(qubits)}.")
    return qubits


def check_qubit(value: Any, where: str) -> int:
    """A qubit's number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PayloadError(f"{where}: qubits must be whole numbers from 0, but one is {value!r}.")
    return value


def real_of(gate: Wire, field: str, where: str, default: float | None = None) -> float:
    """A field that must be a finite number."""
    value = gate.get(field)
    if value is None:
        value = default
    if value is None:
        raise PayloadError(f"{where}.{field} is required.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise PayloadError(f"{where}.{field} must be a finite number, but is {value!r}.")
    return float(value)
