"""Functions of states: expectation values, probabilities and samples."""

from qjax.measure._expectation import planar_expectations, word_expectations
from qjax.measure._probabilities import confuse, marginal, planar, state_probabilities
from qjax.measure._sample import index_bits, sample_indices

__all__ = [
    "confuse",
    "index_bits",
    "marginal",
    "planar",
    "planar_expectations",
    "sample_indices",
    "state_probabilities",
    "word_expectations",
]
