"""Coupling angles brought into the range that the machines take."""

from typing import NamedTuple

from qjax.ionq._compiler._parity import Parity
from qjax.transforms._linear import Linear, Number

__all__ = ["Reduced", "reduce_angle"]

_TOLERANCE = 1e-11


class Reduced(NamedTuple):
    """turns = sign * size + half_turns / 2, with size in [0, 1/4].

    Attributes:
        size: what a gate does, in turns.
        negative: whether the sign is minus.
        half_turns: exp(-i pi/2 Z (x) Z) is Z (x) Z but for a phase, so only the parity matters.
        is_full: whether the size is 1/4 always; then both signs are the same but for Z (x) Z.
    """

    size: Number
    negative: Parity
    half_turns: Parity
    is_full: bool


def reduce_angle(turns: Number, coupling: int) -> Reduced:
    """Reduces the angle of a coupling; for an unknown one the bits are named after it."""
    if isinstance(turns, Linear):
        negative = Parity(False, frozenset([("negative", coupling)]))
        odd = Parity(False, frozenset([("odd", coupling)]))
        return Reduced(Linear(0.0, {("size", coupling): 1.0}), negative, odd, False)
    half_turns = round(2 * turns)
    rest = turns - half_turns / 2
    if abs(abs(rest) - 0.25) < _TOLERANCE:
        return Reduced(0.25, Parity(), Parity((half_turns + (rest < 0)) % 2 == 1), True)
    return Reduced(abs(rest), Parity(rest < 0), Parity(half_turns % 2 == 1), False)
