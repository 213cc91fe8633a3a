"""Probabilities of outcomes in the computational basis."""

from functools import reduce
from typing import Any

import jax.numpy as jnp

from qjax._typing import Array
from qjax.linalg import apply_matrix, is_density_matrix

__all__ = ["confuse", "marginal", "planar", "state_probabilities"]


def planar(ket: Array) -> Array:
    """(2**n,) complex as real and imaginary parts (2, 2**n)."""
    return jnp.stack([ket.real, ket.imag])


def state_probabilities(state: Array) -> Array:
    """Born's rule: |psi_k|^2 or rho_kk.

    Args:
        state: ket (2**n,) or density matrix (2**n, 2**n).

    Returns:
        (2**n,) real; not renormalised.

    Example:
        >>> state_probabilities(jnp.array([0.6, 0.8j])).round(2).tolist()
        [0.36, 0.64]
    """
    if is_density_matrix(state):
        return jnp.diagonal(state).real
    return state.real**2 + state.imag**2


def marginal(probabilities: Array, qubits: tuple[int, ...]) -> Array:
    """Probabilities of the outcomes of some qubits, the others summed over.

    Args:
        probabilities: (2**n,).
        qubits: k distinct qubits, in the order that the result shall have.

    Returns:
        (2**k,) real.

    Example:
        >>> marginal(jnp.array([0.1, 0.2, 0.3, 0.4]), (0,)).round(2).tolist()
        [0.3, 0.7]
    """
    num_qubits = probabilities.shape[-1].bit_length() - 1
    if qubits == tuple(range(num_qubits)):
        return probabilities
    rest = tuple(q for q in range(num_qubits) if q not in qubits)
    kept = tuple(sorted(qubits))
    summed = probabilities.reshape((2,) * num_qubits).sum(axis=rest)
    return summed.transpose([kept.index(q) for q in qubits]).reshape(-1)


def confuse(probabilities: Array, errors: dict[int, tuple[Any, Any]]) -> Array:
    """Probabilities of what is read, where axis q of the outcomes has readout errors.

    Args:
        probabilities: (2**k,) of the true outcomes.
        errors: axis -> (p01, p10), the probabilities of reading 1 for 0 and 0 for 1.

    Returns:
        (2**k,) real.
    """

    def one(p: Array, item: Any) -> Array:
        axis, (p01, p10) = item
        matrix = jnp.stack([jnp.stack([1 - p01, p10]), jnp.stack([p01, 1 - p10])])
        return apply_matrix(p, matrix.astype(p.dtype), (axis,))

    return reduce(one, errors.items(), probabilities)
