"""Data re-uploading: every angle of the circuit is an affine function of one feature."""

import jax
import numpy as np
from flax import nnx

from qjax._checks import check_positive_int
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.library import hardware_efficient
from qjax.nn._angle import Angle
from qjax.nn._decoding import DecodingLayer
from qjax.nn._initializers import uniform_angles
from qjax.nn._layer import Executor, QuantumLayer, as_input, check_register, pauli_features

__all__ = ["ReuploadingLayer", "reuploading"]

_MOST_QUBITS = 6
_SCALING = 0.1  # so small that at first the outputs are nearly linear in the features


class ReuploadingLayer(QuantumLayer):
    """Layers of RY and RZ, and CX in a ring, whose angles are theta + scaling * a feature.

    The features take their turns: in the order of the array (depth, n, 2) of all angles, the
    first d angles take features 0 to d - 1, the next d again, and so on. There may thus be more
    features than qubits.

    Every qubit is read in X, because a last RZ changes nothing that is read in Z.

    Args:
        num_features: d, at most the number 2 n depth of angles.
        num_qubits: n.
        depth: number of layers.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams; the parameters take "params".

    Attributes:
        theta: `Angle` of shape (depth, n, 2), drawn from [-pi, pi).
        scaling: `Angle` of shape (depth, n, 2), normal with standard deviation 0.1.

    Raises:
        ModelError: if a number is out of range, or the inputs have another number of features.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import reuploading
        >>> layer = reuploading(num_features=10, num_classes=2, rngs=nnx.Rngs(0)).layers[0]
        >>> layer.num_qubits, layer.depth, layer(jax.numpy.ones((4, 10))).shape
        (5, 5, (4, 5))
    """

    def __init__(
        self,
        num_features: int,
        num_qubits: int,
        depth: int,
        *,
        executor: Executor | None = None,
        rngs: nnx.Rngs,
    ):
        self.num_features = check_positive_int(num_features, name="num_features", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.depth = check_positive_int(depth, name="depth", error=ModelError)
        self.executor = executor
        shape = (self.depth, self.num_qubits, 2)
        if self.num_features > np.prod(shape):
            raise ModelError(
                f"Argument `num_features` must be at most {np.prod(shape)}, the number of angles "
                f"of {self.depth} layers on {self.num_qubits} qubits, but is {self.num_features}. "
                "Use more layers or qubits."
            )
        self.theta = Angle(uniform_angles(rngs.params(), shape))
        self.scaling = Angle(_SCALING * jax.random.normal(rngs.params(), shape, float_dtype()))

    def encode(self, x: ArrayLike) -> Circuit:
        """The whole circuit: nothing in it is apart from the inputs (..., d)."""
        values = as_input(x)
        if values.ndim == 0 or values.shape[-1] != self.num_features:
            raise ModelError(
                f"Argument `x` must have {self.num_features} features, "
                f"but has shape {values.shape}."
            )
        theta = self.theta[...]
        turns = np.arange(theta.size).reshape(theta.shape) % self.num_features
        return hardware_efficient(theta + self.scaling[...] * values[..., turns], "circular")

    def circuit(self, x: ArrayLike) -> Circuit:
        """The circuit for inputs (..., d)."""
        return self.encode(x)

    def operations(self) -> Circuit:
        """There are none without inputs.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "A ReuploadingLayer needs the inputs in every layer, so it must come first in a "
            "QuantumSequential."
        )

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., n) of X."""
        return self.evaluate(circuit, pauli_features(qubits, ("X",)))


def reuploading(
    *,
    num_features: int,
    num_classes: int,
    num_qubits: int | None = None,
    uploads: int = 5,
    executor: Executor | None = None,
    rngs: nnx.Rngs,
) -> nnx.Sequential:
    """A data re-uploading classifier: features in every layer, a small projection to the classes.

    All parameters but those of the projection, one per qubit and class, are in the circuit.

    Args:
        num_features: d, length of the inputs.
        num_classes: length of the outputs.
        num_qubits: n; if not given, half the features, rounded up, but at most 6, and no fewer
            than have an outcome for each class.
        uploads: how often each feature is encoded at least; this decides the depth,
            uploads * d / (2 n), rounded up.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams for the initial parameters.

    Raises:
        ModelError: if a number is out of range.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import reuploading
        >>> model = reuploading(num_features=10, num_classes=3, rngs=nnx.Rngs(0))
        >>> model(jax.numpy.ones((4, 10))).shape
        (4, 3)

    References:
        Perez-Salinas et al., Data re-uploading for a universal quantum classifier,
        Quantum 4, 226 (2020).
    """
    num_features = check_positive_int(num_features, name="num_features", error=ModelError)
    num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
    uploads = check_positive_int(uploads, name="uploads", error=ModelError)
    if num_qubits is None:
        num_qubits = max(min(-(-num_features // 2), _MOST_QUBITS), (num_classes - 1).bit_length())
    num_qubits = check_register(num_qubits)
    depth = -(-uploads * num_features // (2 * num_qubits))
    return nnx.Sequential(
        ReuploadingLayer(num_features, num_qubits, depth, executor=executor, rngs=rngs),
        DecodingLayer(num_qubits, num_classes, value_range=(-8.0, 8.0), rngs=rngs),
    )
