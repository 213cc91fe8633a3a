"""Pure functions of arrays: matrices applied to qubits, reduced states, distances, entropies."""

from qjax.linalg._apply import apply_matrix, diagonal_phases, merge_axes
from qjax.linalg._partial_trace import (
    as_state,
    is_density_matrix,
    num_qubits_of,
    partial_trace,
)
from qjax.linalg._quantities import (
    fidelity,
    purity,
    renyi_entropy,
    safe_sqrt,
    trace_distance,
    von_neumann_entropy,
)
from qjax.linalg._synthesis import KakFactors, kak_factors, split_kronecker, zyz_angles

__all__ = [
    "KakFactors",
    "apply_matrix",
    "as_state",
    "diagonal_phases",
    "fidelity",
    "is_density_matrix",
    "kak_factors",
    "merge_axes",
    "num_qubits_of",
    "partial_trace",
    "purity",
    "renyi_entropy",
    "safe_sqrt",
    "split_kronecker",
    "trace_distance",
    "von_neumann_entropy",
    "zyz_angles",
]
