"""Conditions on measurement outcomes, as the assignments of outcomes that fulfil them."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from qjax.qasm._expression import fail
from qjax.qasm._scope import Scope

__all__ = ["branches", "outcomes_in"]

_MAX_BITS = 10

Outcomes = dict[str, int]


def outcomes_in(node: Any, scope: Scope) -> list[str]:
    """Names of the measurements that an expression depends on, in order."""
    found = [value for value in _values_in(node, scope) if isinstance(value, str)]
    return [name for name in dict.fromkeys(found) if name not in scope.known]


def _values_in(node: Any, scope: Scope) -> Iterator[str | int]:
    copied = scope.copied(node)
    if copied is not None:
        yield from copied
        return
    for part in ("lhs", "rhs", "expression", "argument", "arguments"):
        below = getattr(node, part, None)
        for item in below if isinstance(below, list) else [below]:
            if item is not None:
                yield from _values_in(item, scope)


def branches(node: Any, scope: Scope, *, both: bool) -> list[tuple[bool, Outcomes]]:
    """The assignments of the outcomes in a condition, each with whether the condition holds.

    Args:
        node: the condition.
        scope: what its names stand for.
        both: whether assignments are wanted too under which it does not hold.
    """
    only = None if both else _equality(node, scope)
    if only is not None:
        return only
    names = outcomes_in(node, scope)
    if len(names) > _MAX_BITS:
        raise fail(
            node,
            f"the condition depends on {len(names)} outcomes, but at most {_MAX_BITS} are "
            "supported, except in `register == number`.",
        )
    found = []
    for values in product((0, 1), repeat=len(names)):
        outcomes = dict(zip(names, values, strict=True))
        found.append((bool(scope.under(outcomes).number(node)), outcomes))
    return [pair for pair in found if both or pair[0]]


def _equality(node: Any, scope: Scope) -> list[tuple[bool, Outcomes]] | None:
    """The one assignment of `register == number`, however wide the register; None otherwise."""
    if type(node).__name__ != "BinaryExpression" or node.op.name != "==":
        return None
    bits, other = scope.copied(node.lhs), node.rhs
    if bits is None:
        bits, other = scope.copied(node.rhs), node.lhs
    if bits is None or outcomes_in(other, scope):
        return None
    wanted = int(scope.number(other))
    outcomes: Outcomes = {}
    for place, value in enumerate(bits):
        bit = wanted >> place & 1
        have = scope.known.get(value, outcomes.get(value)) if isinstance(value, str) else value
        if have is None and isinstance(value, str):
            outcomes[value] = bit
        elif have != bit:
            return []
    return [(True, outcomes)] if 0 <= wanted < 2 ** len(bits) else []
