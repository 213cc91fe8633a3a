"""Reduced density matrices of state vectors and density matrices."""

import jax.numpy as jnp

from qjax._checks import check_qubits, check_qubits_in_range
from qjax._typing import Array, ArrayLike, complex_dtype
from qjax.errors import StateError

__all__ = ["as_state", "is_density_matrix", "num_qubits_of", "partial_trace"]


def as_state(state: ArrayLike, *, name: str = "state") -> Array:
    """Returns `state` as a complex array that is a ket (2**n,) or density matrices (..., d, d).

    Raises:
        StateError: if the shape is neither.
    """
    array = jnp.asarray(state)
    size = array.shape[-1] if array.ndim else 0
    square = array.ndim >= 2 and array.shape[-2] == size
    if size < 2 or size & (size - 1) or not (array.ndim == 1 or square):
        raise StateError(
            f"Argument `{name}` must be a ket of shape (2**n,) or a density matrix of shape "
            f"(..., 2**n, 2**n), but has shape {array.shape}. For a batch of kets use jax.vmap."
        )
    return array.astype(complex_dtype())


def is_density_matrix(state: Array) -> bool:
    """Whether an array from `as_state` is a density matrix rather than a ket."""
    return state.ndim >= 2


def num_qubits_of(state: Array) -> int:
    """Number of qubits of an array from `as_state`."""
    return state.shape[-1].bit_length() - 1


def partial_trace(state: ArrayLike, keep: int | tuple[int, ...] | list[int]) -> Array:
    """Density matrix of the kept qubits, all others traced out.

    rho_A = sum_b (I_A (x) <b|) rho (I_A (x) |b>), the sum running over a basis of the others.

    Args:
        state: ket (2**n,) or density matrix (..., 2**n, 2**n).
        keep: qubits to keep, in the order that the result shall have.

    Returns:
        (..., 2**k, 2**k) complex array.

    Raises:
        StateError: if `state` has another shape.
        CircuitError: if `keep` repeats a qubit or names one that does not exist.

    Example:
        >>> bell = jnp.array([1, 0, 0, 1]) / jnp.sqrt(2)
        >>> partial_trace(bell, 0).real.round(3).tolist()
        [[0.5, 0.0], [0.0, 0.5]]

    References:
        Nielsen and Chuang, Quantum Computation and Quantum Information, section 2.4.3.
    """
    array = as_state(state)
    num_qubits = num_qubits_of(array)
    kept = check_qubits(keep, name="keep")
    check_qubits_in_range(kept, num_qubits, what="partial_trace")
    others = tuple(q for q in range(num_qubits) if q not in kept)
    size, rest = 2 ** len(kept), 2 ** len(others)
    if not is_density_matrix(array):
        table = array.reshape((2,) * num_qubits).transpose(kept + others).reshape(size, rest)
        return jnp.matmul(table, table.conj().T, precision="highest")
    batch = array.shape[:-2]
    b = len(batch)
    rows = (*(b + q for q in kept), *(b + q for q in others))
    columns = tuple(num_qubits + axis for axis in rows)
    tensor = array.reshape(batch + (2,) * (2 * num_qubits))
    tensor = tensor.transpose((*range(b), *rows, *columns))
    return jnp.trace(tensor.reshape((*batch, size, rest, size, rest)), axis1=-3, axis2=-1)
