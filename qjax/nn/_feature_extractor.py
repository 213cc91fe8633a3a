"""A trainable circuit read in several bases."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax._typing import Array
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.library import ENTANGLEMENTS, hardware_efficient, strongly_entangling
from qjax.nn._angle import Angle, Initializer, uniform_angles
from qjax.nn._layer import (
    Encoding,
    Executor,
    QuantumLayer,
    check_bases,
    check_encoding,
    check_register,
    pauli_features,
)
from qjax.sim import expectation

__all__ = ["QuantumFeatureExtractor"]

_ANSATZE = ("hardware_efficient", "strongly_entangling")


class QuantumFeatureExtractor(QuantumLayer):
    """Encodes its inputs, applies a trainable ansatz, and reads Pauli expectation values.

    All bases are read from one simulated state; on hardware each takes a circuit of its own.

    Args:
        num_qubits: n.
        depth: number of layers of the ansatz.
        entanglement: "full", "linear" or "circular"; ignored by the strongly entangling ansatz,
            whose pairs change from layer to layer.
        measurement_bases: letters of "Z", "X", "Y".
        encoding: "amplitude" (at most 2**n features), "angle" or "iqp" (n features), or a
            function from (..., features) to a circuit on n qubits.
        ansatz: "hardware_efficient" (2 angles per qubit and layer) or "strongly_entangling" (3).
        executor: what computes expectation values; the exact simulator if not given.
        angle_init: draws the angles from a key and a shape.
        rngs: random streams; the angles take "params".

    Attributes:
        theta: `Angle` of shape (depth, n, 2) or (depth, n, 3).

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
        ansatz: str = "hardware_efficient",
        executor: Executor | None = None,
        angle_init: Initializer = uniform_angles,
        rngs: nnx.Rngs,
    ):
        check_choice(entanglement, ENTANGLEMENTS, name="entanglement", error=ModelError)
        check_choice(ansatz, _ANSATZE, name="ansatz", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.depth = check_positive_int(depth, name="depth", error=ModelError)
        self.entanglement = entanglement
        self.measurement_bases = check_bases(measurement_bases)
        self.encoding = check_encoding(encoding)
        self.ansatz = ansatz
        self.executor: Callable[..., Any] = expectation if executor is None else executor
        per_qubit = 2 if ansatz == "hardware_efficient" else 3
        shape = (self.depth, self.num_qubits, per_qubit)
        self.theta = Angle(angle_init(rngs.params(), shape))

    def operations(self) -> Circuit:
        """The trainable ansatz."""
        if self.ansatz == "hardware_efficient":
            return hardware_efficient(self.theta[...], self.entanglement)
        return strongly_entangling(self.theta[...])

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., bases * n), basis-major."""
        return self.executor(circuit, pauli_features(qubits, self.measurement_bases))
