"""What the names of an OpenQASM program stand for while it is read."""

from collections.abc import Mapping
from copy import copy
from typing import Any

from qjax.circuit import Parameter
from qjax.qasm._expression import evaluate, fail

__all__ = ["Bits", "Scope"]


class Bits:
    """A classical register.

    Attributes:
        values: per bit the name of the measurement that it holds, or a constant 0 or 1.
    """

    def __init__(self, values: list[str | int]):
        self.values = values


class Scope:
    """Names -> numbers, parameters, qubits and classical bits.

    Attributes:
        numbers: variables, constants and parameters.
        qubits: registers of qubits.
        bits: classical registers.
        known: outcomes that the branch being read assumes.
        num_qubits: how many have been declared.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, Any] = {}
        self.qubits: dict[str, list[int]] = {}
        self.bits: dict[str, Bits] = {}
        self.known: Mapping[str, int] = {}
        self.num_qubits = 0

    def add_qubits(self, name: str, count: int) -> None:
        """Declares a register of qubits, numbered after those declared before."""
        self.qubits[name] = list(range(self.num_qubits, self.num_qubits + count))
        self.num_qubits += count

    def under(self, outcomes: Mapping[str, int]) -> "Scope":
        """The same scope where some outcomes are known besides."""
        inner = copy(self)
        inner.known = {**self.known, **outcomes}
        return inner

    def number(self, node: Any) -> Any:
        """The value of an expression, which may use outcomes that the branch assumes."""
        return evaluate(node, self._named, self._indexed)

    def integer(self, node: Any) -> int:
        """The value of an expression that must be an integer."""
        value = self.number(node)
        if not isinstance(value, int):
            raise fail(node, f"an integer is needed here, but the value is {value!r}.")
        return value

    def copied(self, node: Any) -> list[str | int] | None:
        """The bits that a bare name or index of a classical register stands for."""
        if type(node).__name__ == "Identifier" and node.name in self.bits:
            return list(self.bits[node.name].values)
        name = getattr(getattr(node, "collection", None), "name", None)
        if type(node).__name__ == "IndexExpression" and name in self.bits:
            values = self.bits[name].values
            return [values[i] for i in self.positions(node.index, len(values))]
        return None

    def _named(self, node: Any) -> Any:
        values = self.copied(node)
        return self.numbers.get(node.name) if values is None else self._integer_of(values, node)

    def _indexed(self, node: Any) -> Any:
        values = self.copied(node)
        if values is not None:
            return self._integer_of(values, node)
        name = getattr(node.collection, "name", None)
        value = self.numbers.get(str(name))
        if isinstance(value, Parameter) and isinstance(node.index, list):
            return value[tuple(self.integer(i) for i in node.index)]
        raise fail(node, f"`{name}` cannot be indexed like this.")

    def _integer_of(self, values: list[str | int], node: Any) -> int:
        """The integer whose bit i is `values[i]`."""
        total = 0
        for place, value in enumerate(values):
            if isinstance(value, str):
                if value not in self.known:
                    raise fail(
                        node,
                        f"the outcome of the measurement {value!r} is used where only numbers "
                        "known before the run may stand; outcomes may decide conditions.",
                    )
                value = self.known[value]
            total |= value << place
        return total

    def positions(self, index: Any, size: int) -> list[int]:
        """The places that an index, a range or a set of indices names."""
        if type(index).__name__ == "DiscreteSet":
            node, found = index, [self.integer(item) for item in index.values]
        elif len(index) != 1:
            raise fail(index[0], "only one index is supported here.")
        elif type(index[0]).__name__ == "RangeDefinition":
            node, found = index[0], self.range(index[0], size)
        else:
            node, found = index[0], [self.integer(index[0])]
        if any(not -size <= i < size for i in found):
            raise fail(node, f"an index is out of range; the register has size {size}.")
        return [i % size for i in found]

    def range(self, node: Any, size: int | None = None) -> list[int]:
        """The integers of `start:step:end`, both ends included."""
        step = 1 if node.step is None else self.integer(node.step)
        if (size is None and (node.start is None or node.end is None)) or step == 0:
            raise fail(node, "the range needs a start, an end, and a step other than zero.")
        last = (size or 0) - 1
        start = self.integer(node.start) if node.start is not None else (0 if step > 0 else last)
        end = self.integer(node.end) if node.end is not None else (last if step > 0 else 0)
        if size is not None:
            start, end = (i + size if i < 0 else i for i in (start, end))
        return list(range(start, end + (1 if step > 0 else -1), step))
