"""Instructions that are neither gates nor channels: preparation, measurement and reset."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_finite, check_numbers, check_qubits
from qjax._typing import ArrayLike
from qjax.circuit._kind import Channel, Instruction
from qjax.circuit._operation import Operation, make_operation
from qjax.errors import CircuitError, StateError

__all__ = ["Measure", "Reset", "StatePreparation"]

_MEASURE = Instruction(name="Measure")
_STATE_PREPARATION = Instruction(name="StatePreparation", num_targets=None, data_rank=1)
_RESET_KRAUS = np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]])
_RESET = Channel(
    name="Reset",
    kraus=lambda: jnp.asarray(_RESET_KRAUS),
    superoperator=lambda: (
        np.einsum("mij,mkl->ikjl", _RESET_KRAUS, _RESET_KRAUS).reshape(4, 4).astype(float)
    ),
)


def Measure(qubit: int, name: str | None = None, *, postselect: int | None = None) -> Operation:
    """Measurement of a qubit in the middle of a circuit, in the computational basis.

    In `statevector(circuit, key=key)` an outcome is drawn and the state collapses; in
    `density_matrix` and everything exact the outcomes are kept as a mixture, and operations
    `.conditioned(name)` on one act in its branch only.

    Args:
        qubit: which to measure.
        name: under which later operations refer to the outcome; unique in the circuit.
        postselect: keep only the runs with this outcome, 0 or 1, and renormalise. An outcome of
            probability zero gives a state of zeros, and an error where it can be known.

    Raises:
        CircuitError: if `postselect` is neither 0, 1 nor None.

    Example:
        >>> import qjax as qj
        >>> flip_back = qj.Circuit(1, [qj.H(0), qj.Measure(0, "m"), qj.X(0).conditioned("m")])
        >>> round(float(qj.expectation(flip_back, qj.Z(0))), 5)
        1.0
    """
    if postselect not in (None, 0, 1):
        raise CircuitError(f"Argument `postselect` must be 0, 1 or None, but is {postselect!r}.")
    if name is not None and not isinstance(name, str):
        raise CircuitError(f"Argument `name` must be a string, but is {name!r}.")
    return make_operation(_MEASURE, (), qubit, detail=(name, postselect))


def Reset(qubit: int) -> Operation:
    """Puts a qubit into |0>, whatever it was.

    Args:
        qubit: which to reset.

    Example:
        >>> import qjax as qj
        >>> float(qj.expectation(qj.Circuit(1, [qj.X(0), qj.Reset(0)]), qj.Z(0)))
        1.0
    """
    return make_operation(_RESET, (), qubit)


def StatePreparation(amplitudes: ArrayLike, qubits: Any) -> Operation:
    """Prepares the given amplitudes on qubits that no operation has touched yet.

    Args:
        amplitudes: (..., 2**k), normalised (to 1e-4), real or complex.
        qubits: k qubits, the first one the most significant bit of the index.

    Raises:
        StateError: if the number of amplitudes or their norm does not fit.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> circuit = qj.Circuit(1, [qj.StatePreparation(jnp.array([0.6, 0.8]), 0)])
        >>> round(float(qj.expectation(circuit, qj.Z(0))), 5)
        -0.28
    """
    where = check_qubits(qubits)
    array = amplitudes if isinstance(amplitudes, jax.Array) else np.asarray(amplitudes)
    size = 2 ** len(where)
    if array.ndim == 0 or array.shape[-1] != size:
        raise StateError(
            f"Argument `amplitudes` must have shape (..., {size}) for the qubits {where!r}, "
            f"but has shape {array.shape}."
        )
    check_finite(array, name="amplitudes", error=StateError)
    check_numbers(
        array,
        lambda a: abs((abs(a) ** 2).sum(axis=-1) - 1) < 1e-4,
        "Argument `amplitudes` must have norm one, but has not. "
        "Use amplitude_encoding to normalise.",
        StateError,
    )
    return make_operation(_STATE_PREPARATION, (), where, data=array)
