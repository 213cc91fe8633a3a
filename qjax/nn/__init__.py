"""Flax NNX layers whose work is done by quantum circuits, and the classical minimum around them."""

from qjax.nn import models
from qjax.nn._adaptive import AdaptiveChoice, AdaptiveLayer, ChoiceRecord
from qjax.nn._amplitude_encoding import AmplitudeEncoding
from qjax.nn._angle import Angle, uniform_angles
from qjax.nn._decoding import DecodingLayer
from qjax.nn._encoding import EncodingLayer
from qjax.nn._executors import DilationExecutor, NoisyExecutor, ShotExecutor
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._layer import QuantumLayer
from qjax.nn._nonlinearity import QuantumNonlinearity
from qjax.nn._normalization import QuantumAwareNormalization
from qjax.nn._pooling import QuantumPooling
from qjax.nn._quantum_share import quantum_share
from qjax.nn._readout import QuantumReadout
from qjax.nn._sequential import QuantumSequential
from qjax.nn._strength import Strength

__all__ = [
    "AdaptiveChoice",
    "AdaptiveLayer",
    "AmplitudeEncoding",
    "Angle",
    "ChoiceRecord",
    "DecodingLayer",
    "DilationExecutor",
    "EncodingLayer",
    "NoisyExecutor",
    "QuantumAwareNormalization",
    "QuantumFeatureExtractor",
    "QuantumLayer",
    "QuantumNonlinearity",
    "QuantumPooling",
    "QuantumReadout",
    "QuantumSequential",
    "ShotExecutor",
    "Strength",
    "models",
    "quantum_share",
    "uniform_angles",
]
