"""Values of OpenQASM expressions: numbers, and affine functions of one parameter."""

import math
import operator
from collections.abc import Callable
from typing import Any

from qjax.circuit import Slot
from qjax.errors import CircuitError

__all__ = ["CONSTANTS", "Word", "evaluate", "fail"]

CONSTANTS: dict[str, float] = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
}

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "**": operator.pow,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&&": lambda a, b: bool(a) and bool(b),
    "||": lambda a, b: bool(a) or bool(b),
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log,
    "sqrt": math.sqrt,
    "floor": math.floor,
    "ceiling": math.ceil,
    "mod": operator.mod,
    "pow": operator.pow,
}

_OF_WORDS = ("&", "|", "^", "<<", ">>")  # whose value has the width of the left operand

Lookup = Callable[[Any], Any]


class Word(int):
    """A number of a fixed number of bits: a register's, or an unsigned one.

    Args:
        value: of which the lowest bits are kept.
        width: how many.
    """

    width: int

    def __new__(cls, value: int, width: int) -> "Word":
        """Drops the bits beyond the width."""
        word = super().__new__(cls, value & ((1 << width) - 1))
        word.width = width
        return word


def fail(node: Any, message: str) -> CircuitError:
    """The error of a statement, naming its line."""
    span = getattr(node, "span", None)
    where = "" if span is None else f"line {span.start_line}: "
    return CircuitError(f"OpenQASM {where}{message}")


def evaluate(node: Any, name: Lookup, index: Lookup) -> Any:
    """The value of an expression.

    Args:
        node: of the syntax tree.
        name: gives the value of an `Identifier`, or None if there is none.
        index: gives the value of an `IndexExpression`.

    Raises:
        CircuitError: if a name is unknown, or the expression is of a kind that circuits lack.
    """
    kind = type(node).__name__
    if kind in ("IntegerLiteral", "FloatLiteral", "BooleanLiteral"):
        return node.value
    if kind == "BitstringLiteral":
        return Word(node.value, node.width)
    if kind == "Identifier":
        return _name(node, name(node))
    if kind == "IndexExpression":
        return index(node)
    if kind == "Cast":
        return _cast(node, evaluate(node.argument, name, index))
    try:
        if kind == "UnaryExpression":
            return _unary(node, evaluate(node.expression, name, index))
        if kind == "BinaryExpression":
            left = evaluate(node.lhs, name, index)
            return _binary(node, left, evaluate(node.rhs, name, index))
        if kind == "FunctionCall" and node.name.name in _FUNCTIONS:
            values = [evaluate(argument, name, index) for argument in node.arguments]
            return _FUNCTIONS[node.name.name](*values)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise fail(node, f"an expression has no value: {error}.") from None
    raise fail(node, f"the expression {kind} is not supported in a circuit.")


def _name(node: Any, value: Any) -> Any:
    if value is not None:
        return value
    if node.name in CONSTANTS:
        return CONSTANTS[node.name]
    raise fail(node, f"`{node.name}` is not defined.")


def _cast(node: Any, value: Any) -> Any:
    kind = type(node.type).__name__
    if isinstance(value, Slot) or kind in ("FloatType", "AngleType"):
        return value if isinstance(value, Slot) else float(value)
    return bool(value) if kind in ("BoolType", "BitType") else int(value)


def _unary(node: Any, value: Any) -> Any:
    symbol = node.op.name
    if symbol == "-":
        return -value
    if symbol == "!":
        return not value
    return Word(~value, value.width) if isinstance(value, Word) else ~value


def _binary(node: Any, left: Any, right: Any) -> Any:
    symbol = node.op.name
    if symbol == "/":
        both = isinstance(left, int) and isinstance(right, int) and left % right == 0
        return left // right if both else left / right
    value = _BINARY[symbol](left, right)
    return Word(value, left.width) if isinstance(left, Word) and symbol in _OF_WORDS else value
