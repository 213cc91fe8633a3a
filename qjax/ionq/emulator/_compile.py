"""Compiles what machines and noise models run, as the service does before it runs a circuit."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import pi
from typing import Any

import numpy as np

from qjax.circuit import RZ, Circuit, Gate, Operation
from qjax.errors import QjaxError
from qjax.ionq._compiler._compiler import IonQNativeCompiler
from qjax.ionq._payload import circuit_to_payload
from qjax.ionq.emulator._errors import JobError

__all__ = ["compile_native"]


def compile_native(
    circuit: Circuit, gateset: str, native: bool
) -> tuple[Circuit, dict[str, Any] | None]:
    """Native gates for a circuit.

    Stretches of gates between measurements, resets and conditions are compiled one by one, and
    conditioned gates alone. The turns about Z that the compiler leaves to do follow a stretch as
    RZ, which stands for no pulse and has no noise.

    Args:
        circuit: with measurements, resets and conditions where it likes.
        gateset: "ms" or "zz".
        native: whether it is made of native gates already, which run as they are.

    Returns:
        The circuit to run, and its gates as JSON if it has nothing but gates and last
        measurements.

    Raises:
        JobError: if it cannot be compiled.
    """
    if native:
        return circuit, _as_json(circuit)
    compiler = IonQNativeCompiler(gateset)
    given = circuit.operations
    last = max((k for k, o in enumerate(given) if _turns_matter(o)), default=-1)
    operations: list[Operation] = []
    place = 0
    try:
        for key, run in groupby(given, key=_stretch):
            members = list(run)
            place += len(members)
            if key is None:
                operations += members
                continue
            parts = [members] if key == () else [[member] for member in members]
            for part in parts:
                operations += _compiled(compiler, circuit.num_qubits, part, place - 1 < last)
    except QjaxError as error:
        raise JobError("CompilationError", str(error)) from None
    found = Circuit(circuit.num_qubits, operations)
    plain = all(isinstance(o.kind, Gate) or o.name == "Measure" for o in given)
    return found, _as_json(found) if plain and last < _first_measurement(given) else None


def _stretch(operation: Operation) -> Any:
    """What neighbouring operations must share to be compiled together; None for no gate."""
    return operation.conditions if isinstance(operation.kind, Gate) else None


def _turns_matter(operation: Operation) -> bool:
    """Whether turns about Z before the operation may be seen after it."""
    return isinstance(operation.kind, Gate) or operation.name == "Reset"


def _first_measurement(operations: Sequence[Operation]) -> int:
    places = (k for k, o in enumerate(operations) if o.name == "Measure")
    return next(places, len(operations))


def _compiled(
    compiler: IonQNativeCompiler, num_qubits: int, members: list[Operation], with_turns: bool
) -> list[Operation]:
    """Native gates for gates that depend on the same outcomes."""
    conditions = members[0].conditions
    bare = Circuit(num_qubits, [replace(member, conditions=()) for member in members])
    done = compiler.compile(bare)
    gates = list(done.circuit.operations)
    if with_turns:
        turns = 2 * pi * np.asarray(done.frames)
        gates += [RZ(float(turn), qubit) for qubit, turn in enumerate(turns) if turn]
    return [replace(gate, conditions=conditions) for gate in gates]


def _as_json(circuit: Circuit) -> dict[str, Any]:
    gates = [o for o in circuit.operations if isinstance(o.kind, Gate) and o.name != "RZ"]
    if not gates:
        return {"gateset": "native", "qubits": circuit.num_qubits, "circuit": []}
    return circuit_to_payload(Circuit(circuit.num_qubits, gates), "native")
