"""Quantum features under a small linear readout."""

from flax import nnx

from qjax._checks import check_positive_int
from qjax.errors import ModelError
from qjax.nn._decoding import DecodingLayer
from qjax.nn._encoding import EncodingLayer
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._layer import Executor

__all__ = ["quantum_features"]


def quantum_features(
    *,
    num_features: int,
    num_classes: int,
    executor: Executor | None = None,
    rngs: nnx.Rngs,
) -> nnx.Sequential:
    """Amplitude encoding, ten layers in a ring, Z, X and Y of every qubit, a projection.

    The projection has no bias. Its inputs are scaled to [-8, 8], the inverse temperature at which
    the model learned best on a validation split of the digits.

    Args:
        num_features: length of the inputs.
        num_classes: length of the outputs.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams for the initial parameters.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import quantum_features
        >>> model = quantum_features(num_features=64, num_classes=10, rngs=nnx.Rngs(0))
        >>> [type(layer).__name__ for layer in model.layers]
        ['EncodingLayer', 'QuantumFeatureExtractor', 'DecodingLayer']
    """
    num_features = check_positive_int(num_features, name="num_features", error=ModelError)
    num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
    num_qubits = max(1, (num_features - 1).bit_length())
    extractor = QuantumFeatureExtractor(
        num_qubits, depth=10, entanglement="circular", executor=executor, rngs=rngs
    )
    return nnx.Sequential(
        EncodingLayer(2**num_qubits),
        extractor,
        DecodingLayer(3 * num_qubits, num_classes, value_range=(-8.0, 8.0), rngs=rngs),
    )
