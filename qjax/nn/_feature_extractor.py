"""A trainable circuit read in several bases."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax._typing import Array, ArrayLike
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.library import (
    ANGLES_PER_BLOCK,
    ANGLES_PER_NODE,
    ENTANGLEMENTS,
    convolutional,
    data_reuploading,
    hardware_efficient,
    strongly_entangling,
    tree_tensor,
)
from qjax.nn._angle import drawn_angles
from qjax.nn._initializers import Initializer, uniform_angles
from qjax.nn._layer import (
    ENCODINGS,
    Encoding,
    Executor,
    QuantumLayer,
    as_input,
    check_bases,
    check_encoding,
    check_register,
    pauli_features,
)

__all__ = ["QuantumFeatureExtractor"]

Ansatz = str | Callable[[Array], Circuit]


class _Named(NamedTuple):
    """An ansatz by name: the shape of its angles by depth and n, and its circuit by all options."""

    shape: Callable[[int, int], tuple[int, ...]]
    circuit: Callable[[Array, int, str], Circuit]


_ANSATZE = {
    "hardware_efficient": _Named(lambda d, n: (d, n, 2), lambda t, n, e: hardware_efficient(t, e)),
    "strongly_entangling": _Named(lambda d, n: (d, n, 3), lambda t, n, e: strongly_entangling(t)),
    "convolutional": _Named(
        lambda d, _: (d, ANGLES_PER_BLOCK), lambda t, n, _: convolutional(t, n)
    ),
    "tree_tensor": _Named(lambda d, n: (n - 1, ANGLES_PER_NODE), lambda t, n, e: tree_tensor(t, n)),
}


class QuantumFeatureExtractor(QuantumLayer):
    """Encodes its inputs, applies a trainable ansatz, and reads Pauli expectation values.

    All bases are read from one simulated state; on hardware each takes a circuit of its own.

    Args:
        num_qubits: n.
        depth: number of layers of the ansatz.
        entanglement: "full", "linear", "circular" or "none", of the hardware-efficient ansatz; the
            others have their own pairs.
        measurement_bases: letters of "Z", "X", "Y".
        encoding: "amplitude" (at most 2**n features), "angle", "iqp" or "reuploading" (n
            features), or a function from (..., features) to a circuit on n qubits. With
            "reuploading" the inputs are encoded again before every layer of the hardware-efficient
            ansatz; see `qjax.data_reuploading`.
        ansatz: "hardware_efficient" (2 angles per qubit and layer), "strongly_entangling" (3),
            "convolutional" (15 per layer, shared by all pairs of neighbours), "tree_tensor" (9 per
            node of a binary tree; `depth` plays no part), or a function from angles of
            `angle_shape` to a circuit on n qubits, which takes the place of `depth` and
            `entanglement`.
        angle_shape: of the angles of an ansatz of your own.
        executor: what computes expectation values; the exact simulator if not given.
        angle_init: draws the angles from a key and a shape.
        rngs: random streams; the angles take "params".

    Attributes:
        theta: `Angle` of shape (depth, n, 2), (depth, n, 3), (depth, 15), (n - 1, 9) or
            `angle_shape`, by the ansatz.

    Raises:
        ModelError: if an argument is out of range, or the inputs do not fit the qubits.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from qjax.nn import QuantumFeatureExtractor
        >>> layer = QuantumFeatureExtractor(3, depth=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((5, 8))).shape  # (batch, 3 bases * 3 qubits): all Z, then X, then Y
        (5, 9)
    """

    def __init__(
        self,
        num_qubits: int,
        depth: int = 3,
        entanglement: str = "full",
        measurement_bases: tuple[str, ...] = ("Z", "X", "Y"),
        *,
        encoding: Encoding = "amplitude",
        ansatz: Ansatz = "hardware_efficient",
        angle_shape: Sequence[int] | None = None,
        executor: Executor | None = None,
        angle_init: Initializer = uniform_angles,
        rngs: nnx.Rngs,
    ):
        check_choice(entanglement, ENTANGLEMENTS, name="entanglement", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.depth = check_positive_int(depth, name="depth", error=ModelError)
        self.entanglement = entanglement
        self.measurement_bases = check_bases(measurement_bases)
        self.encoding = check_encoding(encoding, (*ENCODINGS, "reuploading"))
        self.ansatz = ansatz
        self.angle_shape = _check_angle_shape(ansatz, angle_shape)
        self.executor = executor
        self.angle_init = angle_init
        if encoding == "reuploading" and ansatz != "hardware_efficient":
            raise ModelError(
                "Argument `ansatz` must be 'hardware_efficient' for encoding='reuploading', "
                f"but is {ansatz!r}."
            )
        self.theta = drawn_angles(angle_init, rngs, self._theta_shape())

    def _theta_shape(self) -> tuple[int, ...]:
        if self.angle_shape is not None:
            return self.angle_shape
        assert isinstance(self.ansatz, str)
        if self.ansatz in ("convolutional", "tree_tensor") and self.num_qubits < 2:
            raise ModelError(
                f"Argument `num_qubits` must be at least 2 for ansatz={self.ansatz!r}, whose "
                "blocks act on pairs, but is 1."
            )
        return _ANSATZE[self.ansatz].shape(self.depth, self.num_qubits)

    def encode(self, x: ArrayLike) -> Circuit:
        """The encoding alone; for "reuploading" there is none apart from the ansatz."""
        if self.encoding == "reuploading":
            raise ModelError("Encoding 'reuploading' is no circuit of its own. Use `circuit(x)`.")
        return super().encode(x)

    def circuit(self, x: ArrayLike) -> Circuit:
        """Encoding and ansatz for inputs (..., features), interleaved for "reuploading"."""
        if self.encoding != "reuploading":
            return super().circuit(x)
        values = as_input(x)
        if values.ndim == 0 or values.shape[-1] != self.num_qubits:
            raise ModelError(
                f"Argument `x` must have {self.num_qubits} features, one per qubit, for "
                f"reuploading encoding, but has shape {values.shape}."
            )
        return data_reuploading(values, self.theta[...], self.entanglement)

    def operations(self) -> Circuit:
        """The trainable ansatz."""
        if self.encoding == "reuploading":
            raise ModelError(
                "A QuantumFeatureExtractor with encoding='reuploading' needs the inputs in every "
                "layer, so it must come first in a QuantumSequential."
            )
        if isinstance(self.ansatz, str):
            named = _ANSATZE[self.ansatz]
            return named.circuit(self.theta[...], self.num_qubits, self.entanglement)
        circuit = self.ansatz(self.theta[...])
        if not isinstance(circuit, Circuit) or circuit.num_qubits != self.num_qubits:
            what = f"one on {circuit.num_qubits}" if isinstance(circuit, Circuit) else circuit
            raise ModelError(
                f"Argument `ansatz` must return a circuit on {self.num_qubits} qubits, "
                f"but returns {what}."
            )
        return circuit

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., bases * n), basis-major."""
        return self.evaluate(circuit, pauli_features(qubits, self.measurement_bases))


def _check_angle_shape(ansatz: Any, angle_shape: Any) -> tuple[int, ...] | None:
    """The shape of the angles of an ansatz of one's own, or None for a named one."""
    if isinstance(ansatz, str) or not callable(ansatz):
        check_choice(ansatz, tuple(_ANSATZE), name="ansatz", error=ModelError)
        if angle_shape is not None:
            raise ModelError(
                "Argument `angle_shape` belongs to an ansatz of your own, "
                f"but `ansatz` is {ansatz!r}."
            )
        return None
    if not isinstance(angle_shape, Sequence) or isinstance(angle_shape, str) or not angle_shape:
        raise ModelError(
            "Argument `angle_shape` must be the shape of the angles of your ansatz, "
            f"but is {angle_shape!r}."
        )
    return tuple(
        check_positive_int(size, name="angle_shape", error=ModelError) for size in angle_shape
    )
