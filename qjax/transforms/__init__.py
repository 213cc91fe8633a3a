"""Passes from circuit to circuit."""

from qjax.transforms._cancel_inverses import cancel_inverses, merge_rotations
from qjax.transforms._decompose import decompose, merge_one_qubit_gates
from qjax.transforms._dilate import dilate
from qjax.transforms._insert_noise import NoiseModel, insert_noise

__all__ = [
    "NoiseModel",
    "cancel_inverses",
    "decompose",
    "dilate",
    "insert_noise",
    "merge_one_qubit_gates",
    "merge_rotations",
]
