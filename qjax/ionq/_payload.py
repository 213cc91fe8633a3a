"""A circuit as IonQ's JSON, and back, for both gatesets.

Qubit i of a circuit is qubit i of the JSON. Which bit of an outcome it is, is a matter of
results and not of this file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qjax._checks import MAX_NUM_QUBITS
from qjax._typing import is_concrete
from qjax.circuit import Circuit, Operation, Step
from qjax.ionq._errors import PayloadError
from qjax.ionq._native import GPI, GPI2, MS, ZZ
from qjax.ionq._qis import Wire, qubits_of, read_qis, real_of, write_qis

__all__ = ["JOB_GATESETS", "circuit_from_payload", "circuit_to_payload"]

JOB_GATESETS = ("qis", "native")
_LARGEST_ANGLE = 0.25
_ROUNDING = 1e-6  # turns by which float32 may miss the ends of a range


def circuit_to_payload(circuit: Circuit, gateset: str = "qis") -> dict[str, Any]:
    """The circuit as the `input` of a job.

    Args:
        circuit: of gates, with all its numbers known and no batch axes.
        gateset: "qis", whose angles are radians and which IonQ compiles; or "native", for
            circuits of GPI, GPI2, MS and ZZ, which run as they are written.

    Returns:
        `{"gateset": ..., "qubits": ..., "circuit": [...]}`, equal to the circuit up to a global
        phase.

    Raises:
        PayloadError: if the circuit holds what the gateset does not have, has no gates, or has
            numbers that are not known.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import circuit_to_payload
        >>> circuit_to_payload(qj.Circuit(2, [qj.H(0), qj.CX(0, 1)]))["circuit"]
        [{'gate': 'h', 'target': 0}, {'gate': 'cnot', 'control': 0, 'target': 1}]
    """
    if gateset not in JOB_GATESETS:
        raise PayloadError(f"Argument `gateset` must be 'qis' or 'native', but is {gateset!r}.")
    if not isinstance(circuit, Circuit):
        raise PayloadError(
            f"Argument `circuit` must be a Circuit, but is of type {type(circuit).__name__}. "
            "Of a NativeCircuit, pass `.circuit`."
        )
    values = _known_numbers(circuit)
    write = write_qis if gateset == "qis" else _write_native
    gates: list[Wire] = []
    for step in circuit.structure.steps:
        if step.conditions:
            raise PayloadError(
                f"IonQ's JSON has no conditions, but {step.name} depends on a measurement. Write "
                "the circuit as OpenQASM 3.",
                code="UnsupportedGate",
            )
        if step.kind.name in ("Measure", "Reset"):
            raise PayloadError(
                f"IonQ's JSON has no gate for {step.name}: all qubits are measured at the end. "
                "Leave it out, or write the circuit as OpenQASM 3.",
                code="UnsupportedGate",
            )
        numbers = [float(values[r.leaf][r.index]) * r.scale + r.shift for r in step.references]
        gates += write(step, numbers)
    if not gates:
        raise PayloadError("Argument `circuit` must have at least one gate, but has none.")
    return {"gateset": gateset, "qubits": circuit.num_qubits, "circuit": gates}


def circuit_from_payload(payload: Mapping[str, Any]) -> Circuit:
    """The circuit that the `input` of a job, or one entry of its `circuits`, describes.

    Args:
        payload: with `circuit`, and where needed `gateset` ("qis" if absent) and `qubits` (one
            more than the highest qubit that is named, if absent). `target` and `targets` mean the
            same, as do `control` and `controls`; other fields are ignored.

    Raises:
        PayloadError: if a gate is unknown or a field does not fit.

    Example:
        >>> from qjax.ionq import circuit_from_payload
        >>> print(circuit_from_payload({"circuit": [{"gate": "cnot", "control": 1, "target": 0}]}))
        0: ─X─
        1: ─●─
    """
    gateset = payload.get("gateset", "qis")
    if gateset not in JOB_GATESETS:
        raise PayloadError(f"gateset must be 'qis' or 'native', but is {gateset!r}.")
    gates = payload.get("circuit")
    if not isinstance(gates, list) or not gates:
        raise PayloadError("circuit must be a list of at least one gate.")
    read = read_qis if gateset == "qis" else _read_native
    operations: list[Operation] = []
    for place, gate in enumerate(gates):
        if not isinstance(gate, dict) or not isinstance(gate.get("gate"), str):
            raise PayloadError(f"circuit[{place}] must be an object with the field `gate`.")
        operations += read(gate, f"circuit[{place}]")
    return Circuit(_num_qubits(payload, gates, operations), operations)


def _known_numbers(circuit: Circuit) -> list[np.ndarray]:
    """The circuit's arrays of angles in float64."""
    if circuit.unbound:
        raise PayloadError(
            f"The parameters {list(circuit.unbound)!r} have no values. Use circuit.bind."
        )
    if not all(is_concrete(p) for p in (*circuit.params, *circuit.data)):
        raise PayloadError("A circuit that is being traced (jit, grad, vmap) cannot be sent.")
    if circuit.batch_shape:
        raise PayloadError(
            f"A circuit with batch axes {circuit.batch_shape} stands for many. Send a list of "
            "circuits, one for each."
        )
    return [np.asarray(p, np.float64) for p in circuit.params]


def _num_qubits(payload: Mapping[str, Any], gates: list, operations: Sequence[Operation]) -> int:
    """The size of the register; a gate that does nothing, such as `nop`, counts as well."""
    named = [q for op in operations for q in op.qubits]
    named += [q for i, g in enumerate(gates) for q in _idle_qubits(g, f"circuit[{i}]")]
    fitting = max(named, default=0) + 1
    given = payload.get("qubits")
    if given is None:
        given = fitting
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MAX_NUM_QUBITS:
        raise PayloadError(
            f"qubits must be a whole number from 1 to {MAX_NUM_QUBITS}, but is {given!r}.",
            code="NotEnoughQubits",
        )
    if given < fitting:
        raise PayloadError(f"qubits is {given}, but a gate names qubit {fitting - 1}.")
    return given


def _idle_qubits(gate: Wire, where: str) -> tuple[int, ...]:
    if gate["gate"] not in ("nop", "pauliexp"):
        return ()
    named = gate.get("target") is not None or gate.get("targets") is not None
    return qubits_of(gate, "target", where) if named else ()


# --- native gates, angles in turns ----------------------------------------------------------------

_ONE_QUBIT: dict[str, Callable[..., Operation]] = {"gpi": GPI, "gpi2": GPI2}


def _write_native(step: Step, numbers: Sequence[float]) -> list[Wire]:
    name = step.kind.name
    if name == "I":
        return []
    if name not in ("GPI", "GPI2", "MS", "ZZ") or step.controls:
        raise PayloadError(
            f"IonQ's native gates are GPI, GPI2, MS and ZZ, but the circuit holds {step.name}. "
            "Compile it with IonQNativeCompiler.",
            code="UnsupportedGate",
        )
    flip = 0.5 if step.adjoint and name in ("GPI2", "MS") else 0.0  # half a turn inverts these
    if name in ("GPI", "GPI2"):
        phase = _as_phase(numbers[0] + flip)
        return [{"gate": name.lower(), "target": step.targets[0], "phase": phase}]
    gate: Wire = {"gate": name.lower(), "targets": list(step.targets)}
    if name == "MS":
        gate["phases"] = [_as_phase(numbers[0] + flip), _as_phase(numbers[1])]
    gate["angle"] = _as_angle(numbers[-1], name)
    return [gate]


def _as_phase(phase: float) -> float:
    """The phase, less whole turns where it is outside [-1, 1]."""
    return phase if -1 <= phase <= 1 else float(phase - np.round(phase))


def _as_angle(angle: float, name: str) -> float:
    if not -_ROUNDING <= angle <= _LARGEST_ANGLE + _ROUNDING:
        raise PayloadError(
            f"The angle of {name} must be between 0 and {_LARGEST_ANGLE} turns, but is {angle:g}. "
            "IonQNativeCompiler folds the rest into one-qubit gates."
        )
    return min(max(angle, 0.0), _LARGEST_ANGLE)


def _read_native(gate: Wire, where: str) -> list[Operation]:
    name = gate["gate"]
    if name == "nop":
        return []
    if name not in (*_ONE_QUBIT, "ms", "zz"):
        raise PayloadError(f"{where}: unknown native gate {name!r}.", code="UnsupportedGate")
    if qubits_of(gate, "control", where):
        raise PayloadError(f"{where}: native gates take no controls.", code="UnsupportedGate")
    targets = qubits_of(gate, "target", where)
    expected = 1 if name in _ONE_QUBIT else 2
    if len(targets) != expected:
        raise PayloadError(f"{where} must have {expected} targets, but has {len(targets)}.")
    if name in _ONE_QUBIT:
        return [_ONE_QUBIT[name](_read_phase(gate, "phase", where), *targets)]
    if name == "ms":
        phases = gate.get("phases")
        if not isinstance(phases, list) or len(phases) != 2:
            raise PayloadError(f"{where}.phases must be a list of two numbers.")
        first, second = (_read_phase({"phase": p}, "phase", where) for p in phases)
        angle = real_of(gate, "angle", where, _LARGEST_ANGLE)
        if not 0 <= angle <= _LARGEST_ANGLE:
            raise PayloadError(f"{where}.angle must be from 0 to {_LARGEST_ANGLE}: {angle}.")
        return [MS(first, second, angle, *targets)]
    field = "phase" if gate.get("angle") is None and gate.get("phase") is not None else "angle"
    return [ZZ(real_of(gate, field, where, _LARGEST_ANGLE), *targets)]


def _read_phase(gate: Wire, field: str, where: str) -> float:
    phase = real_of(gate, field, where)
    if not -1 <= phase <= 1:
        raise PayloadError(f"{where}.{field} must be from -1 to 1, but is {phase}.")
    return phase
