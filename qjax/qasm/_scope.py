"""What the names of an OpenQASM program stand for while it is read."""

from collections import ChainMap
from collections.abc import Mapping
from copy import copy
from typing import Any

from qjax.circuit import Parameter
from qjax.qasm._expression import Word, evaluate, fail

__all__ = ["Bits", "Scope"]

_MOST_QUBITS = 10_000


class Bits:
    """A classical register.

    Attributes:
        values: per bit the name of the measurement that it holds, or a constant 0 or 1.
    """

    def __init__(self, values: list[str | int]):
        self.values = values


class Scope:
    """Names -> numbers, parameters, qubits and classical bits.

    Each table is a chain of dictionaries, that of the innermost block first and that of the whole
    program last.

    Attributes:
        numbers: variables, constants and parameters.
        qubits: registers of qubits.
        bits: classical registers.
        known: outcomes that the branch being read assumes.
        owners: per qubit of the program its register; physical qubits have one each.
    """

    def __init__(self) -> None:
        self.numbers: ChainMap[str, Any] = ChainMap()
        self.qubits: ChainMap[str, list[int]] = ChainMap()
        self.bits: ChainMap[str, Bits] = ChainMap()
        self.known: Mapping[str, int] = {}
        self.owners: list[str] = []

    @property
    def num_qubits(self) -> int:
        """How many have been declared."""
        return len(self.owners)

    def declare(self, node: Any, table: ChainMap[str, Any], name: str, value: Any) -> None:
        """Gives a name a meaning until its block ends.

        Args:
            node: that declares it.
            table: one of `numbers`, `qubits` and `bits`.
            name: that is new in the block.
            value: what it stands for.
        """
        for other in (self.numbers, self.qubits, self.bits):
            if name in other.maps[0]:
                raise fail(node, f"`{name}` is declared twice.")
            if other is not table and name in other:
                raise fail(node, f"`{name}` is of another kind outside of this block; rename it.")
        table[name] = value

    def assign(self, name: str, value: Any) -> None:
        """Gives a number that was declared another value, in the block that it belongs to."""
        home = next(table for table in self.numbers.maps if name in table)
        old = home[name]
        home[name] = Word(int(value), old.width) if isinstance(old, Word) else value

    def add_qubits(self, node: Any, name: str, count: int) -> None:
        """Declares a register of qubits, numbered after those declared before."""
        if any(owner.startswith("$") for owner in self.owners):
            raise fail(node, "registers and physical qubits cannot be used together.")
        first = self.num_qubits
        self.declare(node, self.qubits, name, list(range(first, first + count)))
        self.owners += [name] * count

    def physical(self, node: Any, name: str) -> list[int]:
        """A physical qubit such as `$2`; it and those before it are there from then on."""
        number = int(name[1:])
        if any(not owner.startswith("$") for owner in self.owners):
            raise fail(node, "registers and physical qubits cannot be used together.")
        if number >= _MOST_QUBITS:
            raise fail(node, f"there are {_MOST_QUBITS} physical qubits at most.")
        self.owners += [f"${k}" for k in range(self.num_qubits, number + 1)]
        return [number]

    def under(self, outcomes: Mapping[str, int]) -> "Scope":
        """The same scope where some outcomes are known besides."""
        inner = copy(self)
        inner.known = {**self.known, **outcomes}
        return inner

    def inner(self, outcomes: Mapping[str, int]) -> "Scope":
        """That of a block in this one, in which some outcomes are known besides."""
        inner = self.under(outcomes)
        inner.numbers, inner.qubits = self.numbers.new_child(), self.qubits.new_child()
        inner.bits = self.bits.new_child()
        return inner

    def routine(self) -> "Scope":
        """That of a subroutine, which sees nothing of the blocks that it is called from."""
        inner = copy(self)
        inner.numbers, inner.qubits = (
            ChainMap({}, table.maps[-1]) for table in (self.numbers, self.qubits)
        )
        inner.bits = ChainMap({}, self.bits.maps[-1])
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
        name = str(getattr(getattr(node, "collection", None), "name", None))
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
        return Word(total, len(values))

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
