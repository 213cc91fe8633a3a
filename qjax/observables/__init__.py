"""Observables: sums and products of Pauli words with coefficients."""

from qjax.observables._grouping import MeasurementGroup, group_words
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
    "MeasurementGroup",
    "PauliSum",
    "PauliWord",
    "SupportsPauliSum",
    "as_pauli_sum",
    "group_words",
    "word_matrix",
]
