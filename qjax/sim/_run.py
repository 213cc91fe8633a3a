"""Running one circuit: from a structure and its arrays to a state, and from there to numbers.

Every function here takes (structure, params, data, initial), the arrays without batch axes, and
returns its result with the probability of the post-selected outcomes; `run` maps any of them over
the batch axes of a circuit, compiled once per structure.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qjax._typing import Array
from qjax.circuit import Circuit, Structure, is_noisy
from qjax.linalg import is_density_matrix, partial_trace
from qjax.measure import confuse, marginal, state_probabilities, word_expectations
from qjax.sim._engine import initial_ket, run_plan
from qjax.sim._fusion import reference_values
from qjax.sim._plan import make_plan
from qjax.sim._trajectory import run_trajectory, safe_norm

__all__ = [
    "mixed_state",
    "one_trajectory",
    "outcome_probabilities",
    "postselects",
    "pure_state",
    "readout_errors",
    "reduced_state",
    "run",
    "run_once",
    "word_values",
]


def _as_vector(structure: Structure, initial: Any, data: Any) -> Array:
    return initial_ket(structure, data) if initial is None else initial


def postselects(structure: Structure) -> bool:
    """Whether any measurement keeps one outcome only."""
    return any(s.kind.name == "Measure" and s.detail[1] is not None for s in structure.steps)


def pure_state(structure: Structure, params: Any, data: Any, initial: Any) -> tuple[Array, Any]:
    """Final ket and probability of the post-selected outcomes."""
    plan = make_plan(structure, mixed=False)
    ket = run_plan(plan, params, data, _as_vector(structure, initial, data))
    if not postselects(structure):
        return ket, jnp.ones(())
    weight = jnp.sum(state_probabilities(ket))
    return ket / safe_norm(weight), weight


def mixed_state(structure: Structure, params: Any, data: Any, initial: Any) -> tuple[Array, Any]:
    """Final density matrix and probability of the post-selected outcomes."""
    plan = make_plan(structure, mixed=True)
    size = 2**structure.num_qubits
    state = _as_vector(structure, initial, data)
    rho = state if is_density_matrix(state) else jnp.outer(state, state.conj())
    records = plan.num_axes - 2 * structure.num_qubits
    no_record = jnp.arange(2**records) == 0
    final = run_plan(plan, params, data, jnp.outer(rho.reshape(-1), no_record).reshape(-1))
    rho = final.reshape((size, size, 2**records)).sum(axis=-1)
    if not postselects(structure):
        return rho, jnp.ones(())
    weight = jnp.trace(rho).real
    return rho / jnp.where(weight > 0, weight, 1), weight


def _final(structure: Structure, params: Any, data: Any, initial: Any) -> tuple[Array, Any]:
    """Final state, a ket where the circuit keeps it pure, else a density matrix."""
    mixed = is_noisy(structure) or (initial is not None and is_density_matrix(initial))
    return (mixed_state if mixed else pure_state)(structure, params, data, initial)


def readout_errors(structure: Structure, params: Any) -> dict[int, tuple[Any, Any]]:
    """(p01, p10) of every qubit that is read with errors."""
    return {
        step.targets[0]: (
            reference_values(step.references[:1], params)[0],
            reference_values(step.references[1:], params)[0],
        )
        for step in structure.steps
        if step.kind.name == "ReadoutError"
    }


def word_values(
    structure: Structure, params: Any, data: Any, initial: Any, *, words: Any
) -> tuple[Array, Any]:
    state, weight = _final(structure, params, data, initial)
    readout = {
        qubit: (1 - p01 - p10, p10 - p01)
        for qubit, (p01, p10) in readout_errors(structure, params).items()
    }
    return word_expectations(state, words, readout), weight


def outcome_probabilities(
    structure: Structure, params: Any, data: Any, initial: Any, *, qubits: tuple[int, ...]
) -> tuple[Array, Any]:
    state, weight = _final(structure, params, data, initial)
    errors = readout_errors(structure, params)
    kept = {qubits.index(q): pair for q, pair in errors.items() if q in qubits}
    return confuse(marginal(state_probabilities(state), qubits), kept), weight


def one_trajectory(
    structure: Structure, params: Any, data: Any, initial: Any, key: Any
) -> tuple[Array, dict[str, Array], Any]:
    return run_trajectory(structure, params, data, _as_vector(structure, initial, data), key)


def _over_batch(function: Callable, circuit: Circuit, initial: Any) -> Any:
    """Maps a function of (structure, params, data, initial) over a circuit's batch axes.

    Arrays without a batch axis stay unbatched inside, so that what a batch shares is computed
    once.
    """
    structure = circuit.structure
    ranks = (1,) * len(circuit.params) + structure.data_ranks
    arrays = [jnp.asarray(a) for a in (*circuit.params, *circuit.data)]
    batch = circuit.batch_shape

    def call(*values: Array) -> Any:
        split = len(circuit.params)
        return function(structure, values[:split], values[split:], initial)

    mapped = call
    for depth in range(len(batch)):  # innermost axis first
        axes = []
        for i, (array, rank) in enumerate(zip(arrays, ranks, strict=True)):
            position = array.ndim - rank - 1 - depth
            size = batch[-1 - depth]
            if position >= 0 and array.shape[position] != size:  # one, to be broadcast
                shape = (*array.shape[:position], size, *array.shape[position + 1 :])
                arrays[i] = jnp.broadcast_to(array, shape)
            axes.append(0 if position >= 0 else None)
        mapped = jax.vmap(mapped, in_axes=tuple(axes))
    return mapped(*arrays)


@partial(jax.jit, static_argnames=("function", "options"))
def run(
    circuit: Circuit, initial: Any, function: Callable, options: tuple[tuple[str, Any], ...] = ()
) -> Any:
    return _over_batch(partial(function, **dict(options)), circuit, initial)


@jax.jit
def run_once(circuit: Circuit, initial: Any, key: Array) -> Any:
    return _over_batch(partial(one_trajectory, key=key), circuit, initial)


def reduced_state(
    structure: Structure, params: Any, data: Any, initial: Any, *, keep: tuple[int, ...]
) -> tuple[Array, Any]:
    final, weight = _final(structure, params, data, initial)
    return partial_trace(final, keep), weight
