"""Pooling of qubits: some are kept, the others traced out."""

from collections.abc import Callable, Sequence
from typing import Any

from qjax._checks import check_choice, check_positive_int, check_qubits
from qjax._typing import Array
from qjax.circuit import Circuit
from qjax.errors import CircuitError, ModelError
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

__all__ = ["QuantumPooling"]

_KINDS = ("partial_trace",)


class QuantumPooling(QuantumLayer):
    """Keeps some qubits and traces the others out, exactly.

    In a `QuantumSequential` the next layer acts on the kept qubits, whose state is the reduced
    density matrix; on hardware the others are just not measured. Alone, the layer encodes its
    inputs and returns expectation values of the kept qubits. It has no parameters.

    Args:
        num_qubits: n.
        pool_size: one qubit out of each group of this size is kept, the first.
        kind: "partial_trace".
        measurement_bases: letters of "Z", "X", "Y", read when the layer comes last.
        keep: qubits to keep, instead of one per group.
        encoding: of the inputs when the layer runs alone, as in `QuantumFeatureExtractor`.
        executor: what computes expectation values; the exact simulator if not given.

    Raises:
        ModelError: if n is not divisible by `pool_size`, or an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import QuantumPooling
        >>> pooling = QuantumPooling(4)
        >>> pooling.kept_qubits
        (0, 2)
        >>> pooling(jnp.array([0.0, 1.0, jnp.pi, 1.0])).round(4).tolist()
        [1.0, -1.0]
    """

    def __init__(
        self,
        num_qubits: int,
        pool_size: int = 2,
        kind: str = "partial_trace",
        measurement_bases: tuple[str, ...] = ("Z",),
        *,
        keep: Sequence[int] | None = None,
        encoding: Encoding = "angle",
        executor: Executor | None = None,
    ):
        check_choice(kind, _KINDS, name="kind", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.pool_size = check_positive_int(pool_size, name="pool_size", error=ModelError)
        self.kind = kind
        self.measurement_bases = check_bases(measurement_bases)
        self.encoding = check_encoding(encoding)
        self.executor: Callable[..., Any] = expectation if executor is None else executor
        self.keep = self._kept(keep)

    def _kept(self, keep: Sequence[int] | None) -> tuple[int, ...]:
        if keep is None:
            if self.num_qubits % self.pool_size:
                raise ModelError(
                    f"Argument `num_qubits` must be divisible by pool_size={self.pool_size}, "
                    f"but is {self.num_qubits}. Give `keep` to choose the qubits yourself."
                )
            return tuple(range(0, self.num_qubits, self.pool_size))
        try:
            kept = check_qubits(keep, name="keep")
        except CircuitError as error:
            raise ModelError(str(error)) from None
        if not kept or max(kept) >= self.num_qubits:
            raise ModelError(
                f"Argument `keep` must name qubits below {self.num_qubits}, but is {keep!r}."
            )
        return kept

    @property
    def kept_qubits(self) -> tuple[int, ...]:
        """Qubits that are not traced out."""
        return self.keep

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., bases * kept qubits) of the kept qubits, basis-major."""
        kept = [qubits[i] for i in self.keep]
        return self.executor(circuit, pauli_features(kept, self.measurement_bases))
