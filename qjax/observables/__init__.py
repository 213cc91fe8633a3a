"""Observables: sums and products of Pauli words with coefficients."""

from qjax.observables._pauli import (
    PAULI_MATRICES,
    PauliSum,
    PauliWord,
    SupportsPauliSum,
    as_pauli_sum,
    word_matrix,
)

__all__ = [
    "PAULI_MATRICES",
    "PauliSum",
    "PauliWord",
    "SupportsPauliSum",
    "as_pauli_sum",
    "word_matrix",
]
