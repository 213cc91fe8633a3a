"""Density matrices as Pauli coefficients r_P = Tr(P rho), and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.observables import PauliWord
from qjax.sim._lowering import pauli_transfer

__all__ = [
    "from_pauli",
    "pauli_expectations",
    "pauli_partial_trace",
    "pauli_probabilities",
    "to_pauli",
]


def _each_site(tensor: Array, matrix: np.ndarray, num_qubits: int) -> Array:
    """Multiplies the first `num_qubits` axes, of size four each, by one matrix."""
    constant = jnp.asarray(matrix, tensor.dtype)
    for _ in range(num_qubits):  # every turn moves the axis that was first behind the others
        tensor = jnp.tensordot(tensor, constant, axes=[[0], [1]], precision="highest")
        tensor = jnp.moveaxis(tensor, -1, num_qubits - 1)
    return tensor


def from_pauli(coefficients: Array, num_qubits: int) -> Array:
    """Matrix elements (2**n, 2**n, ...) of Pauli coefficients (4**n, ...)."""
    rest = coefficients.shape[1:]
    tensor = coefficients.reshape((4,) * num_qubits + rest)
    tensor = tensor.astype(jnp.result_type(tensor.dtype, np.complex64))
    tensor = _each_site(tensor, pauli_transfer(1).conj().T / 2, num_qubits)
    tensor = tensor.reshape((2, 2) * num_qubits + rest)
    rows, columns = range(0, 2 * num_qubits, 2), range(1, 2 * num_qubits, 2)
    extra = range(2 * num_qubits, 2 * num_qubits + len(rest))
    return tensor.transpose((*rows, *columns, *extra)).reshape((2**num_qubits,) * 2 + rest)


def to_pauli(elements: Array, num_qubits: int) -> Array:
    """Pauli coefficients (4**n, ...) of matrix elements (2**n, 2**n, ...)."""
    rest = elements.shape[2:]
    elements = elements.astype(jnp.result_type(elements.dtype, np.complex64))
    tensor = elements.reshape((2,) * (2 * num_qubits) + rest)
    order = [a for q in range(num_qubits) for a in (q, num_qubits + q)]
    extra = range(2 * num_qubits, 2 * num_qubits + len(rest))
    tensor = tensor.transpose((*order, *extra)).reshape((4,) * num_qubits + rest)
    tensor = _each_site(tensor, pauli_transfer(1), num_qubits)
    return tensor.real.reshape((4**num_qubits, *rest))


def pauli_expectations(
    coefficients: Array,
    words: Sequence[PauliWord],
    readout: Mapping[int, tuple[Any, Any]] | None = None,
) -> Array:
    """<P> for every word P: a coefficient, or with readout errors a sum of a few.

    Args:
        coefficients: (4**n,).
        words: Pauli words on qubits below n.
        readout: per qubit (scale, offset): a letter P on it reads as scale P + offset.

    Returns:
        (number of words,) real.
    """
    errors = readout or {}
    num_qubits = (coefficients.shape[0].bit_length() - 1) // 2
    touched = [any(q in errors for q, _ in word) for word in words]
    if not any(touched):
        places = [_place(word, num_qubits) for word in words]
        return jnp.stack([coefficients[p] for p in places])
    return jnp.stack([_read(coefficients, word, errors, num_qubits) for word in words])


def _place(word: PauliWord, num_qubits: int) -> int:
    return sum("IXYZ".index(letter) * 4 ** (num_qubits - 1 - q) for q, letter in word)


def _read(coefficients: Array, word: PauliWord, errors: Any, num_qubits: int) -> Array:
    tensor = coefficients.reshape((4,) * num_qubits)
    letters = dict(word)
    for qubit in range(num_qubits):  # always the leading axis
        letter = letters.get(qubit, "I")
        one = tensor["IXYZ".index(letter)]
        if letter != "I" and qubit in errors:
            scale, offset = errors[qubit]
            one = scale * one + offset * tensor[0]
        tensor = one
    return tensor


def pauli_partial_trace(coefficients: Array, keep: tuple[int, ...]) -> Array:
    """Coefficients (4**k,) of the kept qubits, in the given order."""
    num_qubits = (coefficients.shape[0].bit_length() - 1) // 2
    tensor = coefficients.reshape((4,) * num_qubits)
    kept = tensor[tuple(slice(None) if q in keep else 0 for q in range(num_qubits))]
    ascending = sorted(keep)
    return kept.transpose([ascending.index(q) for q in keep]).reshape(-1)


def pauli_probabilities(coefficients: Array, qubits: tuple[int, ...]) -> Array:
    """Probabilities (2**k,) of the outcomes of some qubits, in the given order.

    p_b = 2**-k sum_z (-1)^{b.z} r_z over the words z of I and Z.
    """
    reduced = pauli_partial_trace(coefficients, qubits)
    k = len(qubits)
    tensor = reduced.reshape((4,) * k)[(slice(None, None, 3),) * k]
    hadamard = jnp.asarray([[0.5, 0.5], [0.5, -0.5]], tensor.dtype)
    for _ in range(k):  # every turn moves the axis that was first to the end
        tensor = jnp.tensordot(tensor, hadamard, axes=[[0], [1]], precision="highest")
    return tensor.reshape(-1)
