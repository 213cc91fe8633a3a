"""Writing a circuit as an OpenQASM program."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from qjax.circuit import Channel, Circuit, Gate, Operation, Slot
from qjax.errors import CircuitError
from qjax.qasm._words import DEFINITIONS, Line, lines_of

__all__ = ["write"]

_BIT = re.compile(r"([A-Za-z_]\w*)\[(\d+)\]\Z")
_NAME = re.compile(r"[a-z_]\w*\Z")


def write(circuit: Circuit, version: int = 3) -> str:
    """Writes a circuit as OpenQASM.

    The program equals the circuit up to a global phase. Measurements named like a bit, such as
    ``"c[0]"``, go into that bit; others get a bit of their own. Parameters without values become
    `input` declarations. Version 2 has neither those nor controls beyond its library, and a
    condition there looks at one bit.

    Args:
        circuit: gates, measurements, resets and conditioned operations, without batch axes.
        version: 3 or 2.

    Returns:
        The text.

    Raises:
        CircuitError: if the circuit holds channels, state preparations, matrices on several
            qubits or other things that OpenQASM has no words for, or the version has none.

    Example:
        >>> import qjax as qj
        >>> from qjax import qasm
        >>> print(qasm.write(qj.Circuit(2, [qj.H(0), qj.CX(0, 1), qj.Measure(1, "c[0]")])))
        OPENQASM 3.0;
        include "stdgates.inc";
        qubit[2] q;
        bit[1] c;
        h q[0];
        cx q[0], q[1];
        c[0] = measure q[1];
    """
    if version not in (2, 3):
        raise CircuitError(f"Argument `version` must be 2 or 3, but is {version!r}.")
    if circuit.batch_shape:
        raise CircuitError("A batched circuit stands for many; write its members one by one.")
    writer = _Writer(circuit, version)
    body = [line for operation in circuit.operations for line in writer.lines(operation)]
    return "\n".join([*writer.header(), *body]) + "\n"


class _Writer:
    """The bits that measurements go into, and the definitions that the body needs."""

    def __init__(self, circuit: Circuit, version: int):
        self.circuit, self.version = circuit, version
        self.used: set[str] = set()
        conditioned = any(operation.conditions for operation in circuit.operations)
        names = [o.detail[0] for o in circuit.operations if o.name == "Measure"]
        self.places = _places(names, alone=version == 2 and conditioned)
        self.registers: dict[str, int] = {}
        for name, index in self.places.values():
            self.registers[name] = max(self.registers.get(name, 0), index + 1)
        self.unnamed = 0

    def header(self) -> list[str]:
        """Version, library, definitions and declarations."""
        old = self.version == 2
        library = "qelib1" if old else "stdgates"
        first = [f"OPENQASM {self.version}.0;", f'include "{library}.inc";']
        first += [DEFINITIONS[name] for name in DEFINITIONS if name in self.used]
        first += [_input(name, shape) for name, shape in self._inputs()]
        size = self.circuit.num_qubits
        first.append(f"qreg q[{size}];" if old else f"qubit[{size}] q;")
        for name, count in self.registers.items():
            first.append(f"creg {name}[{count}];" if old else f"bit[{count}] {name};")
        return first

    def _inputs(self) -> list[tuple[str, tuple[int, ...]]]:
        unbound = self.circuit.unbound
        if unbound and self.version == 2:
            raise CircuitError(
                f"OpenQASM 2 has no parameters, but {', '.join(unbound)} have no values. Bind them."
            )
        return [(name, self.circuit.parameters[name]) for name in unbound]

    def lines(self, operation: Operation) -> list[str]:
        """The statements of one operation."""
        if isinstance(operation.kind, Gate):
            lines = lines_of(operation, self.version)
            self.used |= {line.name for line in lines}
            return [self._conditioned(operation, self._gate(line)) for line in lines]
        if operation.name == "Reset":
            return [self._conditioned(operation, f"reset q[{operation.targets[0]}];")]
        if operation.name == "Measure" and operation.detail[1] is None:
            return [self._measure(operation)]
        what = "a channel" if isinstance(operation.kind, Channel) else "no gate"
        raise CircuitError(f"OpenQASM has no word for {operation!r}, which is {what}.")

    def _gate(self, line: Line) -> str:
        modifiers = f"ctrl({line.controls}) @ " if line.controls > 1 else "ctrl @ "
        modifiers = modifiers if line.controls else ""
        modifiers += "inv @ " if line.inverse else ""
        if modifiers and self.version == 2:
            raise CircuitError(
                f"OpenQASM 2 has no word for `{modifiers}{line.name}`. Write version 3, or "
                "decompose the circuit first."
            )
        angles = f"({', '.join(_number(a) for a in line.angles)})" if line.angles else ""
        qubits = ", ".join(f"q[{qubit}]" for qubit in line.qubits)
        return f"{modifiers}{line.name}{angles} {qubits};"

    def _measure(self, operation: Operation) -> str:
        (qubit,), name = operation.targets, operation.detail[0]
        if name is None and self.version == 3:
            return f"measure q[{qubit}];"
        register, index = self.places[name]
        if self.version == 2:
            return f"measure q[{qubit}] -> {register}[{index}];"
        return f"{register}[{index}] = measure q[{qubit}];"

    def _conditioned(self, operation: Operation, statement: str) -> str:
        if not operation.conditions:
            return statement
        places = [(*self.places[name], value) for name, value in operation.conditions]
        if self.version == 3:
            tests = [f"{'' if value else '!'}{name}[{index}]" for name, index, value in places]
            return f"if ({' && '.join(tests)}) {{ {statement} }}"
        if len(places) > 1:
            raise CircuitError("OpenQASM 2 has conditions on one register only. Write version 3.")
        name, _, value = places[0]
        return f"if ({name} == {value}) {statement}"


def _places(names: Sequence[str | None], *, alone: bool) -> dict[str | None, tuple[str, int]]:
    """Measurement -> the classical bit that it goes into; with `alone` each its own register."""
    found: dict[str | None, tuple[str, int]] = {}
    taken = {match.group(1) for name in names if (match := _BIT.match(name or ""))}
    for name in names:
        match = _BIT.match(name or "")
        if match and not alone:
            found[name] = (match.group(1), int(match.group(2)))
        elif name is not None and _NAME.match(name) and name not in taken:
            found[name] = (name, 0)
            taken.add(name)
        else:
            k = next(k for k in range(len(names) + len(taken) + 1) if f"m{k}" not in taken)
            found[name] = (f"m{k}", 0)
            taken.add(f"m{k}")
    return found


def _input(name: str, shape: tuple[int, ...]) -> str:
    if not shape:
        return f"input float[64] {name};"
    return f"input array[float[64], {', '.join(map(str, shape))}] {name};"


def _number(value: Any) -> str:
    """An angle: a number, or an expression of a parameter."""
    if not isinstance(value, Slot):
        return repr(float(value))
    text = value.name
    if value.shape:
        text += f"[{', '.join(map(str, np.unravel_index(value.index, value.shape)))}]"
    text = text if value.scale == 1 else f"{float(value.scale)!r} * {text}"
    return text if value.shift == 0 else f"{text} + {float(value.shift)!r}"
