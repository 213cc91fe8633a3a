"""The simulator: plans, the engine that runs them, and the functions of circuits."""

from qjax.sim._compilation_cache import use_compilation_cache
from qjax.sim._estimate import Estimate
from qjax.sim._memory import batch_map
from qjax.sim._plan import Block, Plan, make_plan
from qjax.sim._simulator import (
    counts,
    density_matrix,
    expectation,
    partial_trace,
    probabilities,
    sample,
    statevector,
    variance,
)

__all__ = [
    "Block",
    "Estimate",
    "Plan",
    "batch_map",
    "counts",
    "density_matrix",
    "expectation",
    "make_plan",
    "partial_trace",
    "probabilities",
    "sample",
    "statevector",
    "use_compilation_cache",
    "variance",
]
