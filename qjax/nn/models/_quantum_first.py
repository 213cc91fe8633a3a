"""The design's model: extract, pool, extract, read out, as one coherent circuit."""

from flax import nnx

from qjax._checks import check_positive_int
from qjax.errors import ModelError
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._layer import Executor
from qjax.nn._pooling import QuantumPooling
from qjax.nn._readout import QuantumReadout
from qjax.nn._sequential import QuantumSequential

__all__ = ["quantum_first"]


def quantum_first(
    *,
    num_features: int,
    num_classes: int,
    executor: Executor | None = None,
    rngs: nnx.Rngs,
) -> QuantumSequential:
    """Amplitude encoding on n qubits, depth 4; half of the qubits traced out; depth 3; readout.

    All parameters are angles. n is the smallest register whose amplitudes hold the features; of
    its qubits every second one is kept, and if these have fewer outcomes than there are classes,
    the first of those dropped are kept as well. For 196 features and 10 classes that is 8 -> 4
    qubits; for 64 features 6 -> 4, since 3 qubits have 8 outcomes only.

    Args:
        num_features: length of the inputs.
        num_classes: length of the outputs.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams for the initial angles.

    Raises:
        ModelError: if there are more classes than amplitudes.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import quantum_first
        >>> model = quantum_first(num_features=196, num_classes=10, rngs=nnx.Rngs(0))
        >>> [layer.num_qubits for layer in model.layers]
        [8, 8, 4, 4]
    """
    num_features = check_positive_int(num_features, name="num_features", error=ModelError)
    num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
    num_qubits = max(2, (num_features - 1).bit_length())
    needed = min(max(1, (num_classes - 1).bit_length()), num_qubits)
    kept = list(range(0, num_qubits, 2))
    kept = sorted(kept + list(range(1, num_qubits, 2))[: max(0, needed - len(kept))])
    return QuantumSequential(
        QuantumFeatureExtractor(num_qubits, depth=4, rngs=rngs),
        QuantumPooling(num_qubits, keep=kept),
        QuantumFeatureExtractor(len(kept), depth=3, rngs=rngs),
        QuantumReadout(len(kept), num_classes, executor=executor, rngs=rngs),
    )
