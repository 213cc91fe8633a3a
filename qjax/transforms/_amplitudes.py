"""Preparing amplitudes that are known later: their angles as functions of them."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array, float_dtype
from qjax.linalg import safe_sqrt
from qjax.transforms._elements import Element, Local, inverted
from qjax.transforms._linear import Linear, Number
from qjax.transforms._matrices import TO_Z
from qjax.transforms._multiplexed import multiplexed_rz

__all__ = ["amplitude_angles", "unknown_amplitude_elements"]


def amplitude_angles(amplitudes: Any) -> Array:
    """Angles of the rotations that prepare amplitudes, level by level.

    Where both amplitudes of a branch vanish, the angle and its derivatives are zero.

    Args:
        amplitudes: (..., 2**n) real or complex.

    Returns:
        (..., 2**n - 1) angles about Y, and for complex amplitudes as many about Z after them.
    """
    array = jnp.asarray(amplitudes)
    real = not jnp.issubdtype(array.dtype, jnp.complexfloating)
    magnitudes = array if real else safe_sqrt(array.real**2 + array.imag**2)
    about_y: list[Array] = []
    while magnitudes.shape[-1] > 1:
        low, high = magnitudes[..., 0::2], magnitudes[..., 1::2]
        about_y.append(2 * _safe_angle(high, low))
        magnitudes = safe_sqrt(low**2 + high**2)
    angles = about_y[::-1]
    if not real:
        phases, about_z = _safe_angle(array.imag, array.real), []
        while phases.shape[-1] > 1:
            low, high = phases[..., 0::2], phases[..., 1::2]
            about_z.append(high - low)
            phases = (high + low) / 2
        angles += about_z[::-1]
    return jnp.concatenate(angles, axis=-1).astype(float_dtype())


def _safe_angle(y: Array, x: Array) -> Array:
    """arctan2(y, x), with zero derivatives at the origin."""
    zero = (x == 0) & (y == 0)
    return jnp.where(zero, 0.0, jnp.arctan2(jnp.where(zero, 0.0, y), jnp.where(zero, 1.0, x)))


def unknown_amplitude_elements(qubits: tuple[int, ...], leaf: Any, is_real: bool) -> list[Element]:
    """Multiplexed rotations by angles that `amplitude_angles` gives; they are called (leaf, i)."""
    size = 2 ** len(qubits)

    def level(k: int, start: int) -> list[Element]:
        first = start + 2**k - 1
        angles: list[Number] = [Linear(0.0, {(leaf, first + j): 1.0}) for j in range(2**k)]
        return multiplexed_rz(qubits[:k], qubits[k], angles)

    elements: list[Element] = []
    for k, qubit in enumerate(qubits):
        to_y = [Local((qubit,), TO_Z["Y"])]
        elements += [*to_y, *level(k, 0), *inverted(to_y)]
    if not is_real:
        for k in range(len(qubits)):
            elements += level(k, size - 1)
    return elements


def is_real_array(array: Any) -> bool:
    """Whether the numbers are real by their type."""
    return not np.issubdtype(np.dtype(array.dtype), np.complexfloating)
