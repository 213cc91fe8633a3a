"""The tree tensor network classifier."""

from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax.errors import ModelError
from qjax.library import tree_pairs
from qjax.nn._feature_extractor import QuantumFeatureExtractor
from qjax.nn._initializers import Initializer, uniform_angles
from qjax.nn._layer import ENCODINGS, Executor
from qjax.nn._pooling import QuantumPooling
from qjax.nn._readout import QuantumReadout
from qjax.nn._sequential import QuantumSequential

__all__ = ["tree_tensor"]


def tree_tensor(
    *,
    num_features: int,
    num_classes: int,
    encoding: str = "amplitude",
    angle_init: Initializer = uniform_angles,
    executor: Executor | None = None,
    rngs: nnx.Rngs,
) -> QuantumSequential:
    """A binary tree of two-qubit blocks, read at its root.

    Every block has angles of its own (`qjax.library.tree_tensor`). Two classes are read from the
    root alone; more classes from the root and the qubits that were dropped last, as many as the
    numbers of the classes have binary digits. With amplitude encoding n is the smallest number of
    qubits that holds the features and the classes, and at least 2; otherwise it is the number of
    features. For 196 features and 10 classes that is 8 qubits, of which 0, 2, 4 and 6 are read.

    Args:
        num_features: length of the inputs.
        num_classes: length of the outputs.
        encoding: "amplitude", "angle" or "iqp".
        angle_init: draws the angles from a key and a shape.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams for the initial angles.

    Raises:
        ModelError: if an argument is out of range, or the classes do not fit the qubits.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import tree_tensor
        >>> model = tree_tensor(num_features=64, num_classes=2, rngs=nnx.Rngs(0))
        >>> model.layers[0].theta.shape, model.layers[1].kept_qubits
        ((5, 9), (0,))

    References:
        Grant et al., Hierarchical quantum classifiers, npj Quantum Information 4, 65 (2018).
    """
    num_features = check_positive_int(num_features, name="num_features", error=ModelError)
    num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
    check_choice(encoding, ENCODINGS, name="encoding", error=ModelError)
    needed = max(1, (num_classes - 1).bit_length())
    enough = max(2, needed)
    num_qubits = num_features
    if encoding == "amplitude":
        num_qubits = max((num_features - 1).bit_length(), enough)
    if num_qubits < enough:
        raise ModelError(
            f"Argument `num_features` must be at least {enough} for {num_classes} classes and "
            f"{encoding} encoding, which has one qubit per feature, but is {num_features}."
        )
    dropped = [second for _, second in tree_pairs(num_qubits)]
    return QuantumSequential(
        QuantumFeatureExtractor(
            num_qubits,
            encoding=encoding,
            ansatz="tree_tensor",
            angle_init=angle_init,
            rngs=rngs,
        ),
        QuantumPooling(num_qubits, keep=sorted([0, *dropped[::-1][: needed - 1]])),
        QuantumReadout(needed, num_classes, executor=executor, angle_init=angle_init, rngs=rngs),
    )
