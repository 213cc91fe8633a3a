"""Flips that depend on values: sums modulo two of bits that are known later.

Whether an angle is negative, or has gone round an odd number of half turns, decides about a flip
somewhere. Flips combine by addition modulo two.
"""

from collections.abc import Hashable
from typing import NamedTuple

from qjax.transforms._linear import Linear, Number

__all__ = ["ZERO", "Parities", "Parity"]


class Parity(NamedTuple):
    """A known bit plus unknown ones, modulo two."""

    known: bool = False
    bits: frozenset[Hashable] = frozenset()

    def __xor__(self, other: "Parity") -> "Parity":
        return Parity(self.known != other.known, self.bits ^ other.bits)

    @property
    def number(self) -> Number:
        """The parity as a number, 0 or 1."""
        if not self.bits:
            return float(self.known)
        bit = Linear(0.0, {("bit", self.bits): 1.0})
        return 1.0 - bit if self.known else bit

    def signed(self, number: Number) -> Number:
        """The number, negated where the parity is odd."""
        number = -number if self.known else number
        if not self.bits:
            return number
        terms: dict[Hashable, float] = {}
        constant = number.constant if isinstance(number, Linear) else number
        if isinstance(number, Linear):
            terms = {("signed", self.bits, key): f for key, f in number.terms.items()}
        return constant + Linear(0.0, {("bit", self.bits): -2.0 * constant, **terms})


ZERO = Parity()


class Parities:
    """Unknown parities with known differences (a union-find structure); variable 0 is zero."""

    def __init__(self):
        self._parents: list[tuple[int, Parity]] = [(0, ZERO)]

    def new(self) -> int:
        """One more variable."""
        self._parents.append((len(self._parents), ZERO))
        return len(self._parents) - 1

    def find(self, variable: int) -> tuple[int, Parity]:
        """The representative of a variable, and the difference to it."""
        difference = ZERO
        while self._parents[variable][0] != variable:
            parent, step = self._parents[variable]
            variable, difference = parent, difference ^ step
        return variable, difference

    def relate(self, first: int, second: int, difference: Parity) -> bool:
        """Demands first + second = difference; returns whether that is possible."""
        (a, from_a), (b, from_b) = self.find(first), self.find(second)
        rest = from_a ^ from_b ^ difference
        if a == b:
            return rest == ZERO
        a, b = (a, b) if a < b else (b, a)  # zero stays its own representative
        self._parents[b] = (a, rest)
        return True

    def value(self, variable: int) -> Parity:
        """The variable, where free ones are zero."""
        return self.find(variable)[1]
