"""Numbers that passes compute with: known ones, and linear forms in those that are known later."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from qjax._typing import is_concrete
from qjax.circuit import Circuit, Reference, Step
from qjax.transforms._double import double_angles

__all__ = ["Linear", "Number", "is_known", "number_reader"]


class Linear:
    """constant + sum of factors times named unknowns; values are never changed.

    Attributes:
        constant: the known part.
        terms: unknown -> factor, without zeros.
    """

    __slots__ = ("constant", "terms")

    def __init__(self, constant: float, terms: Mapping[Hashable, float]):
        self.constant = constant
        self.terms = {key: factor for key, factor in terms.items() if factor != 0}

    def __add__(self, other: "Number") -> "Number":
        if not isinstance(other, Linear):
            return Linear(self.constant + other, self.terms)
        terms = dict(self.terms)
        for key, factor in other.terms.items():
            terms[key] = terms.get(key, 0.0) + factor
        return _simplest(self.constant + other.constant, terms)

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Number":
        return _simplest(self.constant * factor, {key: f * factor for key, f in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Number":
        return self * (1 / divisor)

    def __neg__(self) -> "Number":
        return self * -1.0

    def __sub__(self, other: "Number") -> "Number":
        return self + -other

    def __rsub__(self, other: "Number") -> "Number":
        return -self + other

    def __repr__(self) -> str:
        return f"Linear({self.constant}, {self.terms})"


Number = float | Linear


def _simplest(constant: float, terms: dict[Hashable, float]) -> Number:
    found = Linear(constant, terms)
    return found if found.terms else constant


def is_known(*numbers: Number) -> bool:
    """Whether none of the numbers has an unknown part."""
    return not any(isinstance(number, Linear) for number in numbers)


def number_reader(circuit: Circuit) -> Any:
    """A function from a step to its numbers: floats where they are known, else linear forms.

    The unknowns are named (leaf, index). Unknown are the numbers of unbound parameters, traced
    ones, and those with batch axes.
    """
    known = [
        double_angles(values)
        if values is not None and is_concrete(values) and np.ndim(values) == 1
        else None
        for values in circuit.params
    ]

    def read(reference: Reference) -> Number:
        leaf, index, scale, shift = reference
        values = known[leaf]
        if scale == 0:  # known whatever the value
            return float(shift)
        if values is None:
            return Linear(shift, {(leaf, index): scale})
        return float(values[index]) * scale + shift

    def numbers(step: Step) -> tuple[Number, ...]:
        return tuple(read(reference) for reference in step.references)

    return numbers
