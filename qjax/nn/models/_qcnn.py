"""The quantum convolutional neural network: convolution and pooling in turn, one circuit."""

from itertools import pairwise

from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax.errors import ModelError
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._initializers import Initializer, uniform_angles
from qjax.nn._layer import ENCODINGS, Executor, QuantumLayer
from qjax.nn._pooling import QuantumPooling
from qjax.nn._readout import QuantumReadout
from qjax.nn._sequential import QuantumSequential

__all__ = ["qcnn"]


def qcnn(
    *,
    num_features: int,
    num_classes: int,
    depth: int = 1,
    encoding: str = "amplitude",
    angle_init: Initializer = uniform_angles,
    executor: Executor | None = None,
    rngs: nnx.Rngs,
) -> QuantumSequential:
    """Convolutions and poolings in turn, until the qubits are as few as the classes need.

    A convolution is one general two-qubit block on all neighbours of a ring (`convolutional`), a
    pooling rotates every kept qubit as its dropped neighbour says (`QuantumPooling` of the kind
    "controlled"). Angles are shared within a layer, so their number grows with the number of
    poolings, the logarithm of the number of qubits.

    The classes need as many qubits as their numbers have binary digits. With amplitude encoding n
    is the smallest even number of qubits that holds the features and is at least twice that; n is
    the number of features otherwise. Each pooling divides the number of qubits by its smallest
    divisor that leaves enough; a last convolution stands before the readout. For 196 features and
    10 classes that is 8 -> 4 qubits, for 16 features and 2 classes 4 -> 2 -> 1.

    Args:
        num_features: length of the inputs.
        num_classes: length of the outputs.
        depth: layers of each convolution.
        encoding: "amplitude", "angle" or "iqp".
        angle_init: draws the angles from a key and a shape.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams for the initial angles.

    Raises:
        ModelError: if an argument is out of range, or the classes do not fit the qubits.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import qcnn
        >>> model = qcnn(num_features=196, num_classes=10, rngs=nnx.Rngs(0))
        >>> [(type(layer).__name__, layer.num_qubits) for layer in model.layers]
        [('QuantumFeatureExtractor', 8), ('QuantumPooling', 8), ('QuantumFeatureExtractor', 4),
        ('QuantumReadout', 4)]

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15, 1273
        (2019). Pesah et al., Absence of barren plateaus in quantum convolutional neural networks,
        Phys. Rev. X 11, 041011 (2021).
    """
    num_features = check_positive_int(num_features, name="num_features", error=ModelError)
    num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
    depth = check_positive_int(depth, name="depth", error=ModelError)
    check_choice(encoding, ENCODINGS, name="encoding", error=ModelError)
    needed = max(1, (num_classes - 1).bit_length())
    sizes = _sizes(_register(num_features, needed, encoding), needed)

    def convolution(size: int) -> QuantumLayer:
        return QuantumFeatureExtractor(
            size,
            encoding=encoding,
            depth=depth,
            ansatz="convolutional",
            angle_init=angle_init,
            rngs=rngs,
        )

    def pooling(size: int, kept: int) -> QuantumLayer:
        return QuantumPooling(
            size, pool_size=size // kept, kind="controlled", angle_init=angle_init, rngs=rngs
        )

    layers: list[QuantumLayer] = []
    for size, kept in pairwise(sizes):
        layers += [convolution(size), pooling(size, kept)]
    if sizes[-1] > 1:
        layers.append(convolution(sizes[-1]))
    return QuantumSequential(
        *layers,
        QuantumReadout(sizes[-1], num_classes, executor=executor, angle_init=angle_init, rngs=rngs),
    )


def _register(num_features: int, needed: int, encoding: str) -> int:
    """How many qubits the model begins with."""
    if encoding == "amplitude":
        enough = max((num_features - 1).bit_length(), 2 * needed)
        return enough + enough % 2
    if num_features < 2:
        raise ModelError(
            f"Argument `num_features` must be at least 2 for {encoding} encoding, which has one "
            f"qubit per feature, but is {num_features}."
        )
    return num_features


def _sizes(num_qubits: int, needed: int) -> list[int]:
    """Numbers of qubits after each pooling, the first before any."""
    sizes = [num_qubits]
    while True:
        n = sizes[-1]
        smaller = [n // p for p in range(2, n + 1) if n % p == 0 and n // p >= needed]
        if not smaller:
            return sizes
        sizes.append(smaller[0])
