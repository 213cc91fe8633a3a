"""Amplitude encoding as a layer of its own."""

from collections.abc import Sequence

from qjax._typing import Array
from qjax.circuit import Circuit
from qjax.nn._layer import (
    Executor,
    QuantumLayer,
    check_bases,
    check_register,
    pauli_features,
)

__all__ = ["AmplitudeEncoding"]


class AmplitudeEncoding(QuantumLayer):
    """Puts up to 2**n features into the amplitudes of n qubits, and does nothing else.

    It begins a `QuantumSequential` whose other layers have no encoding of their own. Alone it
    reads the encoded state.

    Args:
        num_qubits: n.
        measurement_bases: letters of "Z", "X", "Y", read when the layer comes last.
        executor: what computes expectation values; the exact simulator if not given.

    Raises:
        ModelError: if there are more features than amplitudes, or an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import AmplitudeEncoding
        >>> AmplitudeEncoding(1)(jnp.array([3.0, 4.0])).round(2).tolist()  # Z, X, Y
        [-0.28..., 0.96..., 0.0]
    """

    encoding = "amplitude"

    def __init__(
        self,
        num_qubits: int,
        measurement_bases: Sequence[str] = ("Z", "X", "Y"),
        *,
        executor: Executor | None = None,
    ):
        self.num_qubits = check_register(num_qubits)
        self.measurement_bases = check_bases(measurement_bases)
        self.executor = executor

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., bases * n), basis-major."""
        return self.evaluate(circuit, pauli_features(qubits, self.measurement_bases))
