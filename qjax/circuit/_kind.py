"""The kinds of operation: what a row of the gate, channel or instruction table says.

A kind is static and compared by identity; it knows how to build a matrix from numbers, and
nothing about which qubits or numbers a circuit uses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qjax._typing import Array

__all__ = ["Channel", "Gate", "Instruction", "Kind", "get_kind", "is_gate_name"]

_KINDS: dict[str, "Kind"] = {}


def get_kind(name: str) -> "Kind":
    """Looks a kind up by its name (so that kinds pickle by name)."""
    return _KINDS[name]


@dataclass(frozen=True, eq=False, kw_only=True)
class Kind:
    """What gates, channels and instructions share.

    Attributes:
        name: as printed, for example "RX".
        num_targets: how many qubits it acts on (controls not counted); None if any number.
        parameters: names of the angles or strengths, in order; None if their number varies.
        data_rank: number of axes of the array that it carries (a matrix has two), or None.
    """

    name: str
    num_targets: int | None = 1
    parameters: tuple[str, ...] | None = ()
    data_rank: int | None = None

    def __post_init__(self):
        _KINDS[self.name] = self

    def __reduce__(self):
        return get_kind, (self.name,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Gate(Kind):
    """A unitary.

    Attributes:
        matrix: for a fixed gate its (K, K) complex128 matrix; else a function of the angles, each
            (...), and of the static `detail` where the gate has one, to (..., K, K); for a gate
            with data a function of the data.
        diagonal: whether the matrix is diagonal whatever the angles; or a function of `detail`.
        real: whether the matrix is real whatever the angles; or a function of `detail`.
        hermitian: whether the gate is its own inverse.
        rotation: whether the inverse has the negated angles.
    """

    matrix: np.ndarray | Callable[..., Array]
    diagonal: bool | Callable[[Any], bool] = False
    real: bool | Callable[[Any], bool] = False
    hermitian: bool = False
    rotation: bool = False


def is_gate_name(name: str) -> bool:
    """Whether a gate prints as `name`, leading Cs standing for its controls."""
    bare = [name[k:] for k in range(len(name)) if name[:k] == "C" * k]
    return any(isinstance(_KINDS.get(rest), Gate) for rest in bare)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Channel(Kind):
    """A completely positive map.

    Attributes:
        kraus: function of the strengths, each (...), to Kraus operators (..., m, K, K).
        superoperator: function of the strengths to (..., K*K, K*K), acting on the row-major
            vectorised density matrix; polynomial in the strengths wherever physics allows, so that
            its derivatives stay finite at the ends of their range.
    """

    kraus: Callable[..., Any]
    superoperator: Callable[..., Any]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Instruction(Kind):
    """State preparation, measurement, reset and readout error: neither gate nor channel."""
