"""Known single-precision numbers as the double-precision ones that they stand for."""

from typing import Any

import numpy as np

__all__ = ["double_amplitudes", "double_angles", "double_unitary"]

_STEP = np.pi / 1024


def double_angles(values: Any) -> np.ndarray:
    """Angles in double precision; the nearest float32 of a multiple of pi/1024 becomes that.

    Otherwise pi/2 in single precision would be no quarter turn, and cost a pulse more.
    """
    array = np.asarray(values)
    doubles = array.astype(float)
    if array.dtype != np.float32:
        return doubles
    multiples = np.round(doubles / _STEP) * _STEP
    return np.where(multiples.astype(np.float32) == array, multiples, doubles)


def double_unitary(matrix: Any) -> np.ndarray:
    """The unitary in double precision that is nearest to a matrix, which is rounded."""
    left, _, right = np.linalg.svd(np.asarray(matrix).astype(complex))
    return left @ right


def double_amplitudes(amplitudes: Any) -> np.ndarray:
    """Amplitudes in double precision, of norm one."""
    array = np.asarray(amplitudes).astype(complex)
    return array / np.linalg.norm(array, axis=-1, keepdims=True)
