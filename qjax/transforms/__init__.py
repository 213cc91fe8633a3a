"""Passes from circuit to circuit."""

from qjax.transforms._dilate import dilate
from qjax.transforms._insert_noise import NoiseModel, insert_noise

__all__ = ["NoiseModel", "dilate", "insert_noise"]
