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

from qjax._innermost import reshape_inside
from qjax._typing import Array
from qjax.circuit import Circuit, Structure, is_noisy
from qjax.linalg import is_density_matrix, partial_trace
from qjax.measure import confuse, marginal, planar_expectations
from qjax.observables import PauliWord
from qjax.sim._lightcone import PulledBack, pull_back
from qjax.sim._numbers import reference_values
from qjax.sim._pauli_basis import (
    from_pauli,
    pauli_expectations,
    pauli_partial_trace,
    pauli_probabilities,
    to_pauli,
)
from qjax.sim._primitive import evolve_state, pauli_size
from qjax.sim._states import initial_ket, prepares, to_complex
from qjax.sim._trajectory import run_trajectory

__all__ = [
    "mixed_state",
    "one_trajectory",
    "outcome_probabilities",
    "postselects",
    "pure_state",
    "readout_errors",
    "readout_factors",
    "reduced_state",
    "run",
    "run_once",
    "word_values",
]


def postselects(structure: Structure) -> bool:
    """Whether any measurement keeps one outcome only."""
    return any(s.kind.name == "Measure" and s.detail[1] is not None for s in structure.steps)


def _renormalised(state: Array, weight: Array, *, power: int) -> tuple[Array, Array]:
    """State after a post-selection and its probability, both zero where that is rounding only.

    Args:
        state: amplitudes or Pauli coefficients, not normalised.
        weight: probability of the selected outcomes.
        power: of the amplitudes in it, two for kets and one for density matrices.
    """
    rounding = 10 * jnp.finfo(state.dtype).eps ** power
    reached = weight > rounding
    norm = jnp.where(reached, weight, 1) ** (1 / power)
    return jnp.where(reached, state / norm, 0), jnp.where(reached, weight, 0)


def _planar_state(
    structure: Structure, params: Any, data: Any, initial: Any, **options: Any
) -> tuple[Array, Any]:
    """Final ket as real and imaginary parts (2, 2**n), and probability of what was kept."""
    ket = initial_ket(structure, data) if initial is None and prepares(structure) else initial
    start = None
    if ket is not None:
        start = jnp.concatenate([ket.real, ket.imag]) if jnp.iscomplexobj(ket) else ket
    flat = evolve_state(structure, params, data, start, **options)
    state = reshape_inside(flat, (2, flat.size // 2))
    if not postselects(structure):
        return state, jnp.ones(())
    return _renormalised(state, jnp.sum(state**2), power=2)


def _pauli_state(
    structure: Structure, params: Any, data: Any, initial: Any, **options: Any
) -> tuple[Array, Any]:
    """Pauli coefficients (4**n,) of the final density matrix, and probability."""
    n = structure.num_qubits
    state = initial_ket(structure, data) if initial is None and prepares(structure) else initial
    start = None
    size = pauli_size(structure)
    if state is not None:
        rho = state if is_density_matrix(state) else jnp.outer(state, state.conj())
        no_record = jnp.arange(size // 4**n) == 0
        start = jnp.outer(to_pauli(rho, n), no_record).reshape(-1)
    final = evolve_state(structure, params, data, start, mixed=True, **options)
    coefficients = final.reshape(4**n, -1).sum(axis=1)
    if not postselects(structure):
        return coefficients, jnp.ones(())
    return _renormalised(coefficients, coefficients[0], power=1)


def pure_state(
    structure: Structure, params: Any, data: Any, initial: Any, **options: Any
) -> tuple[Array, Any]:
    """Final ket and probability of the post-selected outcomes."""
    state, weight = _planar_state(structure, params, data, initial, **options)
    return to_complex(state), weight


def mixed_state(
    structure: Structure, params: Any, data: Any, initial: Any, **options: Any
) -> tuple[Array, Any]:
    """Final density matrix and probability of the post-selected outcomes."""
    coefficients, weight = _pauli_state(structure, params, data, initial, **options)
    return from_pauli(coefficients, structure.num_qubits), weight


def _is_mixed(structure: Structure, initial: Any) -> bool:
    return is_noisy(structure) or (initial is not None and is_density_matrix(initial))


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


def readout_factors(structure: Structure, params: Any) -> dict[int, tuple[Any, Any]]:
    """(scale, offset) of every qubit that is read with errors: P reads as scale P + offset."""
    errors = readout_errors(structure, params)
    return {qubit: (1 - p01 - p10, p10 - p01) for qubit, (p01, p10) in errors.items()}


def word_values(
    structure: Structure, params: Any, data: Any, initial: Any, *, words: Any, **options: Any
) -> tuple[Array, Any]:
    """<P> of every Pauli word, and probability of the post-selected outcomes."""
    readout = readout_factors(structure, params)
    if _is_mixed(structure, initial):
        state, weight = _pauli_state(structure, params, data, initial, **options)
        return pauli_expectations(state, words, readout), weight
    structure, words, signs, longer = _simplified(structure, words)
    state, weight = _planar_state(structure, params, data, initial, longer=longer, **options)
    values = planar_expectations(state, words, readout)
    is_signed = any(sign != 1 for sign in signs)
    return values * jnp.asarray(signs, values.dtype) if is_signed else values, weight


def _simplified(structure: Structure, words: tuple[PauliWord, ...]) -> PulledBack:
    """Moves gates at the end of a circuit into the words, where nothing stands against it."""
    if postselects(structure) or any(s.kind.name == "ReadoutError" for s in structure.steps):
        return PulledBack(structure, words, (1,) * len(words), structure)
    return pull_back(structure, words)


def outcome_probabilities(
    structure: Structure, params: Any, data: Any, initial: Any, *, qubits: tuple[int, ...],
    **options: Any,
) -> tuple[Array, Any]:  # fmt: skip
    """Probabilities of the outcomes of some qubits, as they are read."""
    if _is_mixed(structure, initial):
        state, weight = _pauli_state(structure, params, data, initial, **options)
        chances = pauli_probabilities(state, qubits)
    else:
        ket, weight = _planar_state(structure, params, data, initial, **options)
        chances = marginal(ket[0] ** 2 + ket[1] ** 2, qubits)
    errors = readout_errors(structure, params)
    kept = {qubits.index(q): pair for q, pair in errors.items() if q in qubits}
    return confuse(chances, kept), weight


def one_trajectory(
    structure: Structure, params: Any, data: Any, initial: Any, key: Any
) -> tuple[Array, dict[str, Array], Any]:
    """Final ket of one random run, its outcomes, and probability of what was post-selected."""
    ket = initial_ket(structure, data) if initial is None else initial
    return run_trajectory(structure, params, data, ket, key)


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

    if 0 in batch:
        samples = [
            jax.ShapeDtypeStruct(a.shape[a.ndim - r :], a.dtype)
            for a, r in zip(arrays, ranks, strict=True)
        ]
        shapes = jax.eval_shape(call, *samples)
        return jax.tree.map(lambda s: jnp.zeros((*batch, *s.shape), s.dtype), shapes)

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
    """Density matrix of the kept qubits, and probability of the post-selected outcomes."""
    if _is_mixed(structure, initial):
        state, weight = _pauli_state(structure, params, data, initial)
        return from_pauli(pauli_partial_trace(state, keep), len(keep)), weight
    ket, weight = pure_state(structure, params, data, initial)
    return partial_trace(ket, keep), weight
