"""Flax NNX layers whose work is done by quantum circuits, and the classical minimum around them."""

from qjax.nn import models
from qjax.nn._angle import Angle, uniform_angles
from qjax.nn._decoding import DecodingLayer
from qjax.nn._encoding import EncodingLayer
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._layer import QuantumLayer
from qjax.nn._pooling import QuantumPooling
from qjax.nn._quantum_share import quantum_share
from qjax.nn._readout import QuantumReadout
from qjax.nn._sequential import QuantumSequential

__all__ = [
    "Angle",
    "DecodingLayer",
    "EncodingLayer",
    "QuantumFeatureExtractor",
    "QuantumLayer",
    "QuantumPooling",
    "QuantumReadout",
    "QuantumSequential",
    "models",
    "quantum_share",
    "uniform_angles",
]
