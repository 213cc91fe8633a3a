"""Reading OpenQASM: the entry points, and what a program holds beside its circuit."""

import re
from dataclasses import dataclass
from typing import Any

from qjax.circuit import Circuit
from qjax.errors import CircuitError
from qjax.qasm._reader import Reader

__all__ = ["Program", "parse", "parse_program"]

_VERSION = re.compile(r"^\s*OPENQASM\s+(\d+)(?:\.\d+)?\s*;", re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Program:
    """An OpenQASM program as a circuit, and where its classical bits come from.

    Attributes:
        circuit: gates, measurements, resets and conditioned operations.
        registers: classical register -> per bit the name of the measurement whose outcome it
            holds at the end, or 0 or 1 where it holds a constant.
    """

    circuit: Circuit
    registers: dict[str, tuple[str | int, ...]]


def parse(text: str) -> Circuit:
    """Reads an OpenQASM 2 or 3 program into a circuit.

    Qubits are numbered in the order of their declaration. `measure` becomes `Measure` under the
    name of its bit, such as ``"c[0]"`` (``"c[0]'2"`` for the second measurement into that bit);
    `if` becomes conditions; loops over known ranges are unrolled; gates that the program defines
    are replaced by their bodies; barriers and delays are dropped; `input float` becomes a
    `Parameter`. Global phases are dropped unless they are controlled.

    Args:
        text: the program. Without a version line it is read as OpenQASM 3.

    Returns:
        The circuit.

    Raises:
        CircuitError: if the text cannot be read or uses what a circuit cannot express, naming the
            line; or if the parser is not installed.

    Example:
        >>> from qjax import qasm
        >>> print(qasm.parse('OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];'))
        0: ─H─●─
        1: ───X─
    """
    return parse_program(text).circuit


def parse_program(text: str) -> Program:
    """Reads an OpenQASM 2 or 3 program, keeping its classical registers.

    Args:
        text: the program.

    Returns:
        The circuit, and the measurement behind each classical bit.

    Raises:
        CircuitError: as `parse`.

    Example:
        >>> from qjax import qasm
        >>> program = qasm.parse_program('OPENQASM 3.0; qubit q; bit[2] c; c[1] = measure q;')
        >>> program.registers
        {'c': (0, 'c[1]')}
    """
    if not isinstance(text, str):
        raise CircuitError(f"Argument `text` must be a string, but is {type(text).__name__}.")
    version = _version(text)
    reader = Reader(version)
    reader.read(_syntax_tree(text if version == 3 else _modern(text)).statements)
    if reader.scope.num_qubits == 0:
        raise CircuitError("The OpenQASM program declares no qubits.")
    circuit = Circuit(reader.scope.num_qubits, reader.operations)
    return Program(circuit, {name: tuple(b.values) for name, b in reader.scope.bits.items()})


def _version(text: str) -> int:
    found = _VERSION.search(_COMMENT.sub(" ", text))
    version = 3 if found is None else int(found.group(1))
    if version not in (2, 3):
        raise CircuitError(f"OpenQASM {version} is not supported; only versions 2 and 3 are.")
    return version


def _modern(text: str) -> str:
    """OpenQASM 2 in the words of version 3, line by line: only the power is written anew."""
    plain = _COMMENT.sub(lambda found: "\n" * found.group().count("\n"), text)
    if re.search(r"^\s*opaque\b|;\s*opaque\b", plain):
        raise CircuitError("OpenQASM 2: opaque gates have no meaning to simulate.")
    return plain.replace("^", "**")


def _syntax_tree(text: str) -> Any:
    try:
        from qjax.qasm._syntax import syntax_tree
    except ImportError:
        raise CircuitError(
            'Reading OpenQASM needs a parser; install it with `pip install "qjax-qml[qasm]"`.'
        ) from None
    return syntax_tree(text)
