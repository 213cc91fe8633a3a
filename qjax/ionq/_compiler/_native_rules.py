"""Native gates in circuits that are to be compiled: as turns around fixed gates."""

import numpy as np

from qjax.transforms._controlled import controlled_unitary, pauli_rotation
from qjax.transforms._elements import Element, Turn
from qjax.transforms._expand import Call, Rule
from qjax.transforms._linear import Number
from qjax.transforms._matrices import X, rotation

__all__ = ["NATIVE_RULES"]


def _turned(targets: tuple[int, ...], phases: tuple[Number, ...], inner: list[Element]):
    """RZ(2 pi p) A RZ(-2 pi p) on every target."""
    angles = [phase * (2 * np.pi) for phase in phases]
    before: list[Element] = [Turn((q,), -a) for q, a in zip(targets, angles, strict=True)]
    after: list[Element] = [Turn((q,), a) for q, a in zip(targets, angles, strict=True)]
    return [*before, *inner, *after]


def _pulse(matrix: np.ndarray) -> Rule:
    def rule(call: Call) -> list[Element]:
        inner = controlled_unitary(call.controls, call.targets[0], matrix)
        return _turned(call.targets, call.numbers, inner)

    return rule


def _ms(call: Call) -> list[Element]:
    *phases, turns = call.numbers
    inner = pauli_rotation(call.controls, "XX", call.targets, turns * (2 * np.pi))
    return _turned(call.targets, tuple(phases), inner)


def _zz(call: Call) -> list[Element]:
    return pauli_rotation(call.controls, "ZZ", call.targets, call.numbers[0] * (2 * np.pi))


NATIVE_RULES: dict[str, Rule] = {
    "GPI": _pulse(X),
    "GPI2": _pulse(rotation("X", np.pi / 2)),
    "MS": _ms,
    "ZZ": _zz,
}
