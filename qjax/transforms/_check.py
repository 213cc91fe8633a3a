"""The check of what passes take."""

from typing import Any

from qjax.circuit import Circuit
from qjax.errors import CircuitError

__all__ = ["check_circuit"]


def check_circuit(circuit: Any) -> None:
    """Raises unless the argument is a circuit."""
    if not isinstance(circuit, Circuit):
        raise CircuitError(
            f"Argument `circuit` must be a Circuit, but is {circuit!r}. Wrap operations in "
            "Circuit(num_qubits, operations)."
        )
