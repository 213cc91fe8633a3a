"""The circuit of a job: read from what was posted, and held against what its backend can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qjax.circuit import Circuit, Gate
from qjax.errors import QjaxError
from qjax.ionq._errors import PayloadError
from qjax.ionq._machines import MACHINES, Machine
from qjax.ionq._payload import circuit_from_payload
from qjax.ionq.emulator._errors import JobError
from qjax.ionq.emulator._simulate import Registers, precision
from qjax.qasm import parse_program

__all__ = ["Target", "Task", "as_rated", "read_task", "target_of"]

_MOST_GATES = 150_000
# Which machine each noise model stands for, and how many qubits it takes.
_MODELS = {
    "harmony": ("harmony", 11), "harmony-1": ("harmony", 11), "harmony-2": ("harmony", 11),
    "aria-1": ("qpu.aria-1", 25), "aria-2": ("qpu.aria-2", 25), "forte-1": ("qpu.forte-1", 29),
    "forte-enterprise-1": ("qpu.forte-enterprise-1", 29),
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """Where a job runs.

    Attributes:
        machine: that is billed.
        compiled_for: gateset of the compiler, "ms" or "zz"; None if nothing is compiled.
        noise: name of the noise model, None if ideal.
        max_qubits: that it takes.
        gatesets: native two-qubit gates that it takes.
    """

    machine: Machine
    compiled_for: str | None
    noise: str | None
    max_qubits: int
    gatesets: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A circuit to run.

    Attributes:
        circuit: as posted.
        native: whether it is made of native gates.
        registers: classical registers, for OpenQASM.
    """

    circuit: Circuit
    native: bool
    registers: Registers | None


def as_rated(machine: Machine) -> Machine:
    """The machine by whose error rates a machine is simulated.

    The rates of Forte Enterprise are not published; it is taken to be as good as Forte.
    """
    return MACHINES["qpu.forte-1"] if machine.depolarizing is None else machine


def target_of(body: Mapping[str, Any]) -> Target:
    """Where a job runs, by its backend and noise.

    Raises:
        JobError: if the noise model has no published rates.
    """
    machine = MACHINES[body["backend"]]
    if machine.name != "simulator":
        known = as_rated(machine).name.removeprefix("qpu.")
        kind = machine.gatesets[0]
        return Target(machine, kind, known, machine.num_qubits, machine.gatesets)
    model = (body["noise"] or {}).get("model", "ideal")
    if model == "ideal":
        return Target(machine, None, None, machine.num_qubits, machine.gatesets)
    name, most = _MODELS[model]
    modelled = MACHINES.get(name)
    if modelled is None or modelled.depolarizing is None:
        raise JobError(
            "SimulationError",
            f"The emulator has no noise model {model!r}: its rates are not published. Use "
            "aria-1, aria-2 or forte-1.",
        )
    return Target(machine, modelled.gatesets[0], model, most, modelled.gatesets)


def read_task(body: Mapping[str, Any], given: Mapping[str, Any], target: Target) -> Task:
    """Reads a circuit and checks that its target can run it.

    Args:
        body: fields of the job.
        given: the circuit.
        target: where it runs.

    Raises:
        JobError: if it cannot be read or run.
    """
    if body["type"] not in ("ionq.circuit.v1", "ionq.multi-circuit.v1", "ionq.qasm3.v1"):
        raise JobError("InvalidInput", f"The emulator does not run jobs of type {body['type']}.")
    with precision(0):
        task = _read_qasm(given) if "data" in given else _read_json(given)
    if task.circuit.num_qubits > target.max_qubits:
        raise JobError(
            "NotEnoughQubits",
            f"The circuit has {task.circuit.num_qubits} qubits, but {body['backend']} takes "
            f"{target.max_qubits}" + (f" with noise {target.noise}." if target.noise else "."),
        )
    if len(task.circuit) > _MOST_GATES:
        raise JobError("TooManyGates", f"The circuit has more than {_MOST_GATES} gates.")
    if task.native:
        _check_native(task.circuit, target)
    return task


def _read_json(given: Mapping[str, Any]) -> Task:
    fields = {key: value for key, value in given.items() if value is not None}
    try:
        circuit = circuit_from_payload(fields)
    except PayloadError as error:
        raise JobError(error.code, str(error)) from None
    except QjaxError as error:
        raise JobError("InvalidInput", str(error)) from None
    return Task(circuit, fields.get("gateset") == "native", None)


def _read_qasm(given: Mapping[str, Any]) -> Task:
    try:
        program = parse_program(given["data"])
    except QjaxError as error:
        raise JobError("CompilationError", str(error)) from None
    if not any(isinstance(step.kind, Gate) for step in program.circuit.structure.steps):
        raise JobError("InvalidInput", "The OpenQASM program has no gates.")
    if program.circuit.unbound:
        names = ", ".join(program.circuit.unbound)
        raise JobError("CompilationError", f"The inputs {names} have no values.")
    return Task(program.circuit, False, program.registers)


def _check_native(circuit: Circuit, target: Target) -> None:
    for gate in ("ms", "zz"):
        if gate not in target.gatesets and gate.upper() in circuit.count_operations():
            simulated = target.machine.name == "simulator"
            where = target.noise if simulated else target.machine.name
            raise JobError("UnsupportedGate", f"{where} does not have the native gate {gate!r}.")
