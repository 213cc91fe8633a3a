"""Walks the syntax tree of an OpenQASM program and collects the operations of its circuit."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from qjax.circuit import Measure, Operation, Parameter, Reset
from qjax.errors import CircuitError
from qjax.qasm._apply import Item, Phase, Use, apply_modifiers, check_use, library_gate
from qjax.qasm._conditions import branches, outcomes_in
from qjax.qasm._expression import Word, fail
from qjax.qasm._scope import Bits, Scope

__all__ = ["Reader"]

_MAX_OPERATIONS = 200_000
_MAX_SIZE = 10_000  # of a register
_UINT = 32  # bits of an unsigned number that does not say
_IGNORED = ("Include", "QuantumBarrier", "DelayInstruction", "Pragma")
_NUMBERS = ("IntType", "UintType", "FloatType", "AngleType", "BoolType")


class Reader:
    """Reads statements one by one.

    Attributes:
        scope: what the names stand for.
        items: the operations and global phases so far.
    """

    def __init__(self, version: int):
        self.version = version
        self.scope = Scope()
        self.items: list[Item] = []
        self.gates: dict[str, Any] = {}
        self.routines: dict[str, Any] = {}
        self.repeats: dict[str, int] = {}

    @property
    def operations(self) -> list[Operation]:
        """The operations, without the global phases that nothing controls."""
        return [item for item in self.items if not isinstance(item, Phase)]

    def read(self, statements: Sequence[Any]) -> None:
        """Reads statements in order."""
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: Any) -> None:
        kind = type(node).__name__
        if kind in _IGNORED:
            return
        rule = getattr(self, f"_read_{kind}", None)
        if rule is None:
            raise fail(node, f"the statement {kind} cannot be expressed as a circuit.")
        try:
            rule(node)
        except CircuitError as error:
            if str(error).startswith("OpenQASM"):
                raise
            raise fail(node, str(error)) from None
        if len(self.items) > _MAX_OPERATIONS:
            raise fail(node, f"the program unrolls to more than {_MAX_OPERATIONS} operations.")

    def _emit(self, items: Sequence[Item]) -> None:
        """Adds operations, under the outcomes that the branch assumes."""
        for item in items:
            if isinstance(item, Operation):
                for name, value in self.scope.known.items():
                    item = item.conditioned(name, value)
            self.items.append(item)

    def _check_unconditional(self, node: Any, what: str) -> None:
        if self.scope.known:
            raise fail(node, f"{what} under a condition on outcomes cannot be expressed.")

    # --- declarations -----------------------------------------------------------------------------

    def _size(self, node: Any) -> int:
        size = 1 if node is None else self.scope.integer(node)
        if not 1 <= size <= _MAX_SIZE:
            raise fail(node, f"a size must be from 1 to {_MAX_SIZE}, but is {size}.")
        return size

    def _add_bits(self, node: Any, name: str, size: Any) -> None:
        self.scope.declare(node, self.scope.bits, name, Bits([0] * self._size(size)))

    def _add_number(self, node: Any, name: str, value: Any) -> None:
        """Declares a number of the type that the node names."""
        if type(node.type).__name__ == "UintType" and isinstance(value, int | float):
            value = Word(
                int(value), _UINT if node.type.size is None else self._size(node.type.size)
            )
        elif isinstance(value, Word):
            value = int(value)
        self.scope.declare(node, self.scope.numbers, name, value)

    def _read_QubitDeclaration(self, node: Any) -> None:
        self.scope.add_qubits(node, node.qubit.name, self._size(node.size))

    def _read_ClassicalDeclaration(self, node: Any) -> None:
        kind, name, start = type(node.type).__name__, node.identifier.name, node.init_expression
        measured = type(start).__name__ == "QuantumMeasurement" or (
            start is not None and bool(outcomes_in(start, self.scope))
        )
        if kind == "BitType" or (kind == "BoolType" and measured):
            self._add_bits(node, name, getattr(node.type, "size", None))
            if start is not None:
                self._assign_bits(node, node.identifier, start)
        elif kind in _NUMBERS:
            self._add_number(node, name, 0 if start is None else self.scope.number(start))
        else:
            raise fail(node, f"variables of {kind} cannot be expressed as a circuit.")

    def _read_ConstantDeclaration(self, node: Any) -> None:
        self._add_number(node, node.identifier.name, self.scope.number(node.init_expression))

    def _read_IODeclaration(self, node: Any) -> None:
        name, kind = node.identifier.name, node.type
        if node.io_identifier.name == "output":
            if type(kind).__name__ != "BitType":
                raise fail(node, f"output `{name}` must be of type bit.")
            self._add_bits(node, name, kind.size)
            return
        base = getattr(kind, "base_type", kind)
        if type(base).__name__ not in ("FloatType", "AngleType"):
            raise fail(node, f"input `{name}` must be a float, an angle, or an array of them.")
        shape = tuple(self.scope.integer(size) for size in getattr(kind, "dimensions", ()))
        self.scope.declare(node, self.scope.numbers, name, Parameter(name, shape))

    def _read_QuantumGateDefinition(self, node: Any) -> None:
        self.gates[node.name.name] = node

    def _read_SubroutineDefinition(self, node: Any) -> None:
        self.routines[node.name.name] = node

    def _read_AliasStatement(self, node: Any) -> None:
        qubits = self._aliased(node.value)
        self.scope.declare(node, self.scope.qubits, node.target.name, qubits)

    def _aliased(self, node: Any) -> list[int]:
        if type(node).__name__ == "Concatenation":
            return self._aliased(node.lhs) + self._aliased(node.rhs)
        if type(node).__name__ == "IndexExpression":
            register = self._aliased(node.collection)
            return [register[i] for i in self.scope.positions(node.index, len(register))]
        return self._qubits(node)

    # --- qubits, bits and measurements ------------------------------------------------------------

    def _qubits(self, node: Any) -> list[int]:
        """The qubits that an operand names."""
        if type(node).__name__ in ("IndexedIdentifier", "IndexExpression"):
            indexed = type(node).__name__ == "IndexedIdentifier"
            register = self._qubits(node.name if indexed else node.collection)
            for index in node.indices if indexed else [node.index]:
                register = [register[i] for i in self.scope.positions(index, len(register))]
            return register
        name = getattr(node, "name", "")
        if name.startswith("$"):
            return self.scope.physical(node, name)
        if name not in self.scope.qubits:
            raise fail(node, f"`{name}` is not a register of qubits.")
        return self.scope.qubits[name]

    def _target(self, node: Any) -> tuple[str, Bits, list[int]]:
        """The classical bits that are assigned to: their register and the places in it."""
        indexed = type(node).__name__ == "IndexedIdentifier"
        name = node.name.name if indexed else node.name
        if name not in self.scope.bits:
            raise fail(node, f"`{name}` is not a register of classical bits.")
        bits = self.scope.bits[name]
        places = list(range(len(bits.values)))
        for index in node.indices if indexed else ():
            places = [places[i] for i in self.scope.positions(index, len(places))]
        return name, bits, places

    def _assign_bits(self, node: Any, target: Any, value: Any) -> None:
        if type(value).__name__ == "QuantumMeasurement":
            self._measure(node, value, target)
            return
        self._check_unconditional(node, "an assignment")
        _, bits, places = self._target(target)
        copied = self.scope.copied(value)
        if copied is None:
            if outcomes_in(value, self.scope):
                raise fail(node, "logic on outcomes is supported in conditions only.")
            plain = int(self.scope.number(value))
            copied = [plain >> k & 1 for k in range(len(places))]
        if len(copied) != len(places):
            raise fail(node, f"{len(copied)} bits are assigned to {len(places)}.")
        for place, item in zip(places, copied, strict=True):
            bits.values[place] = item

    def _measure(self, node: Any, measurement: Any, target: Any) -> None:
        self._check_unconditional(node, "a measurement")
        qubits = self._qubits(measurement.qubit)
        if target is None:
            self._emit([Measure(qubit) for qubit in qubits])
            return
        name, bits, places = self._target(target)
        if len(places) != len(qubits):
            raise fail(node, f"{len(qubits)} qubits are measured into {len(places)} bits.")
        single = len(bits.values) == 1 and type(target).__name__ == "Identifier"
        for qubit, place in zip(qubits, places, strict=True):
            bit = name if single else f"{name}[{place}]"
            self.repeats[bit] = self.repeats.get(bit, 0) + 1
            label = bit if self.repeats[bit] == 1 else f"{bit}'{self.repeats[bit]}"
            self._emit([Measure(qubit, label)])
            bits.values[place] = label

    def _read_QuantumMeasurementStatement(self, node: Any) -> None:
        self._measure(node, node.measure, node.target)

    def _read_ClassicalAssignment(self, node: Any) -> None:
        target = node.lvalue
        if node.op.name != "=":
            raise fail(node, f"the assignment `{node.op.name}` is not supported; write it out.")
        name = target.name.name if type(target).__name__ == "IndexedIdentifier" else target.name
        if name in self.scope.numbers:
            self._check_unconditional(node, "an assignment")
            self.scope.assign(name, self.scope.number(node.rvalue))
        else:
            self._assign_bits(node, target, node.rvalue)

    def _read_QuantumReset(self, node: Any) -> None:
        self._emit([Reset(qubit) for qubit in self._qubits(node.qubits)])

    # --- gates ------------------------------------------------------------------------------------

    def _read_QuantumGate(self, node: Any) -> None:
        angles = [self.scope.number(argument) for argument in node.arguments]
        operands = [self._qubits(qubit) for qubit in node.qubits]
        size = max((len(operand) for operand in operands), default=1)
        if any(len(operand) not in (1, size) for operand in operands):
            raise fail(node, "registers of different sizes cannot be used together.")
        for k in range(size):
            qubits = [operand[k if len(operand) > 1 else 0] for operand in operands]
            self._use(node, Use(node.name.name, angles, qubits))

    def _read_QuantumPhase(self, node: Any) -> None:
        qubits = [qubit for operand in node.qubits for qubit in self._qubits(operand)]
        self._use(node, Use("gphase", [self.scope.number(node.argument)], qubits))

    def _use(self, node: Any, use: Use) -> None:
        """Emits a gate under its modifiers, of which the leftmost is the outermost."""
        controls: list[int] = []
        zeros: list[int] = []
        power, rest = 1, use.qubits
        for item in node.modifiers:
            word = item.modifier.name
            value = 1 if item.argument is None else self.scope.integer(item.argument)
            if word in ("ctrl", "negctrl"):
                controls += rest[:value]
                zeros += rest[:value] if word == "negctrl" else []
                rest = rest[value:]
            else:
                power *= -1 if word == "inv" else value
        items = self._expanded(node, Use(use.name, use.angles, rest))
        self._emit(apply_modifiers(items, controls=controls, zeros=zeros, power=power))

    def _expanded(self, node: Any, use: Use) -> list[Item]:
        """A gate's operations: those of its body if the program defines it."""
        definition = self.gates.get(use.name)
        if definition is None:
            return library_gate(node, use, self.version)
        check_use(node, use, len(definition.arguments), len(definition.qubits))
        inner = Reader(self.version)
        inner.gates = {name: body for name, body in self.gates.items() if name != use.name}
        names = [argument.name for argument in definition.arguments]
        given = dict(zip(names, use.angles, strict=True))
        inner.scope.numbers = ChainMap(given, self.scope.numbers.maps[-1])
        places = [place.name for place in definition.qubits]
        named = {place: [qubit] for place, qubit in zip(places, use.qubits, strict=True)}
        inner.scope.qubits = ChainMap(named)
        inner.read(definition.body)
        return inner.items

    # --- control flow -----------------------------------------------------------------------------

    def _block(self, statements: Sequence[Any], outcomes: Mapping[str, int]) -> None:
        """Reads statements whose declarations end with them."""
        outer, self.scope = self.scope, self.scope.inner(outcomes)
        self.read(statements)
        self.scope = outer

    def _read_BranchingStatement(self, node: Any) -> None:
        for holds, outcomes in branches(node.condition, self.scope, both=bool(node.else_block)):
            self._block(node.if_block if holds else node.else_block, outcomes)

    def _read_ForInLoop(self, node: Any) -> None:
        choices = node.set_declaration
        if type(choices).__name__ == "RangeDefinition":
            values: list[Any] = self.scope.range(choices)
        elif type(choices).__name__ == "DiscreteSet":
            values = [self.scope.number(item) for item in choices.values]
        else:
            raise fail(node, "loops run over ranges and sets of numbers only.")
        outer = self.scope
        for value in values:
            self.scope = outer.inner({})
            self._add_number(node, node.identifier.name, value)
            self.read(node.block)
        self.scope = outer

    def _read_WhileLoop(self, node: Any) -> None:
        if outcomes_in(node.while_condition, self.scope):
            raise fail(node, "a loop that depends on outcomes has no fixed circuit.")
        while self.scope.number(node.while_condition):
            self._block(node.block, {})
            if len(self.items) > _MAX_OPERATIONS:
                raise fail(node, f"the loop unrolls to more than {_MAX_OPERATIONS} operations.")

    def _read_CompoundStatement(self, node: Any) -> None:
        self._block(node.statements, {})

    def _read_ExpressionStatement(self, node: Any) -> None:
        call = node.expression
        name = call.name.name if type(call).__name__ == "FunctionCall" else ""
        if name not in self.routines:
            raise fail(node, f"`{name or type(call).__name__}` is not a subroutine.")
        routine = self.routines[name]
        if len(routine.arguments) != len(call.arguments):
            raise fail(node, f"`{name}` takes {len(routine.arguments)} arguments.")
        inner = self.scope.routine()
        for argument, value in zip(routine.arguments, call.arguments, strict=True):
            name = argument.name.name
            if type(argument).__name__ == "QuantumArgument":
                inner.declare(argument, inner.qubits, name, self._aliased(value))
            else:
                inner.declare(argument, inner.numbers, name, self.scope.number(value))
        outer, self.scope = self.scope, inner
        self.routines = {key: body for key, body in self.routines.items() if key != name}
        self.read(routine.body)
        self.routines[name] = routine
        self.scope = outer
