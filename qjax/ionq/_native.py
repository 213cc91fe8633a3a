"""IonQ's native gates as ordinary gates; phases and angles are in turns, as IonQ writes them.

GPI(p)        = cos(2 pi p) X + sin(2 pi p) Y
GPI2(p)       = exp(-i pi/4 GPI(p))
MS(p0, p1, a) = exp(-i pi a GPI(p0) (x) GPI(p1))
ZZ(a)         = exp(-i pi a Z (x) Z)
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.circuit import Gate, GateConstructor

__all__ = ["GPI", "GPI2", "MS", "ZZ"]


class _NativeGate(GateConstructor):
    """Constructor of a native gate: phases and angle in turns, then qubits."""

    def __init__(self, kind: Gate, formula: str, example: str):
        super().__init__(kind, 0, formula)
        self.__module__ = __name__
        listed = {
            "phase": "of the axis in the equator of the Bloch sphere, in turns: a number or (...)",
            "angle": "in turns, a number or (...); 0.25 entangles fully",
            "qubit": "qubit",
        }
        lines = "".join(
            f"    {name}: {listed[name.rstrip('01')]}.\n" for name in self.__signature__.parameters
        )
        self.__doc__ = (
            f"Native gate {kind.name}: {formula}.\n\nArgs:\n{lines}\n"
            "Raises:\n    CircuitError: on a wrong number of qubits or repeated qubits.\n\n"
            f"Example:\n    >>> from qjax.ionq import {kind.name}\n"
            f"    >>> {example}\n    {example}\n"
        )


def _phase(turns: Array) -> Array:
    return jnp.exp(2j * jnp.pi * turns)


def _matrix(entries: list[list[Any]]) -> Array:
    """Entries of shape (...) as a matrix (..., K, K)."""
    rows = [jnp.stack(jnp.broadcast_arrays(*row), axis=-1) for row in entries]
    return jnp.stack(jnp.broadcast_arrays(*rows), axis=-2)


def _gpi(phase: Array) -> Array:
    up = _phase(phase)
    zero = jnp.zeros_like(up)
    return _matrix([[zero, up.conj()], [up, zero]])


def _gpi2(phase: Array) -> Array:
    up = _phase(phase)
    one = jnp.ones_like(up)
    return _matrix([[one, -1j * up.conj()], [-1j * up, one]]) * np.sqrt(0.5)


def _ms(phase0: Array, phase1: Array, angle: Array) -> Array:
    both, apart = _phase(phase0 + phase1), _phase(phase0 - phase1)
    c, s = jnp.cos(jnp.pi * angle) + 0j, -1j * jnp.sin(jnp.pi * angle)
    zero = jnp.zeros_like(c)
    return _matrix(
        [
            [c, zero, zero, s * both.conj()],
            [zero, c, s * apart.conj(), zero],
            [zero, s * apart, c, zero],
            [s * both, zero, zero, c],
        ]
    )


def _zz(angle: Array) -> Array:
    same = jnp.exp(-1j * jnp.pi * angle)
    zero = jnp.zeros_like(same)
    diagonal = [same, same.conj(), same.conj(), same]
    return _matrix([[d if i == j else zero for j in range(4)] for i, d in enumerate(diagonal)])


GPI = _NativeGate(
    Gate(name="GPI", parameters=("phase",), matrix=_gpi, hermitian=True),
    "[[0, exp(-2 pi i p)], [exp(2 pi i p), 0]], half a turn about an axis in the equator",
    "GPI(0.25, 0)",
)
GPI2 = _NativeGate(
    Gate(name="GPI2", parameters=("phase",), matrix=_gpi2),
    "exp(-i pi/4 GPI(p)), a quarter of a turn about an axis in the equator",
    "GPI2(0.25, 0)",
)
MS = _NativeGate(
    Gate(name="MS", num_targets=2, parameters=("phase0", "phase1", "angle"), matrix=_ms),
    "exp(-i pi a GPI(p0) (x) GPI(p1)), the Moelmer-Soerensen gate of Aria",
    "MS(0.25, 0, 0.125, 0, 1)",
)
ZZ = _NativeGate(
    Gate(name="ZZ", num_targets=2, parameters=("angle",), matrix=_zz, diagonal=True, rotation=True),
    "exp(-i pi a Z (x) Z), the two-qubit gate of Forte",
    "ZZ(0.125, 0, 1)",
)
