"""Flax NNX layers whose work is done by quantum circuits, and the classical minimum around them."""

from qjax.nn import models
from qjax.nn._adaptive import AdaptiveChoice, AdaptiveLayer, ChoiceRecord
from qjax.nn._amplitude_encoding import AmplitudeEncoding
from qjax.nn._angle import Angle, QuantumParam
from qjax.nn._compute_split import ComputeSplit, LayerShare, compute_split
from qjax.nn._config import config, from_config
from qjax.nn._conv import QuantumConv2D
from qjax.nn._decoding import DecodingLayer
from qjax.nn._encoding import EncodingLayer
from qjax.nn._executors import DilationExecutor, NoisyExecutor, ShotExecutor
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._initializers import (
    GaussianAngles,
    IdentityBlockAngles,
    NarrowUniformAngles,
    uniform_angles,
)
from qjax.nn._layer import QuantumLayer
from qjax.nn._nonlinearity import QuantumNonlinearity
from qjax.nn._normalization import QuantumAwareNormalization
from qjax.nn._pooling import QuantumPooling
from qjax.nn._readout import QuantumReadout
from qjax.nn._sequential import QuantumSequential
from qjax.nn._strength import Strength
from qjax.nn._summary import LayerSummary, Summary, summary

__all__ = [
    "AdaptiveChoice",
    "AdaptiveLayer",
    "AmplitudeEncoding",
    "Angle",
    "ChoiceRecord",
    "ComputeSplit",
    "DecodingLayer",
    "DilationExecutor",
    "EncodingLayer",
    "GaussianAngles",
    "IdentityBlockAngles",
    "LayerShare",
    "LayerSummary",
    "NarrowUniformAngles",
    "NoisyExecutor",
    "QuantumAwareNormalization",
    "QuantumConv2D",
    "QuantumFeatureExtractor",
    "QuantumLayer",
    "QuantumNonlinearity",
    "QuantumParam",
    "QuantumPooling",
    "QuantumReadout",
    "QuantumSequential",
    "ShotExecutor",
    "Strength",
    "Summary",
    "compute_split",
    "config",
    "from_config",
    "models",
    "summary",
    "uniform_angles",
]
