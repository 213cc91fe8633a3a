"""The simulator as users call it: functions of a circuit."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_numbers, check_positive_int, check_qubits, check_qubits_in_range
from qjax._typing import Array, ArrayLike, is_concrete
from qjax.circuit import Circuit, is_noisy
from qjax.errors import CircuitError, ObservableError, StateError
from qjax.linalg import as_state, is_density_matrix
from qjax.linalg import partial_trace as trace_out
from qjax.measure import index_bits, sample_indices, state_probabilities
from qjax.observables import PauliSum, as_pauli_sum
from qjax.sim._run import (
    mixed_state,
    one_trajectory,
    outcome_probabilities,
    postselects,
    pure_state,
    readout_errors,
    reduced_state,
    run,
    run_once,
    word_values,
)

__all__ = [
    "counts",
    "density_matrix",
    "expectation",
    "partial_trace",
    "probabilities",
    "sample",
    "statevector",
    "variance",
]

_LARGEST_DENSITY_SAMPLE = 12
_UNREACHED = (
    "The post-selected outcome has probability zero, so there is no state to return. "
    "Check `postselect` of the circuit's Measure operations."
)


def _check_circuit(circuit: Any) -> None:
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"Argument `circuit` must be a Circuit, but is {circuit!r}.")
    if circuit.unbound:
        names = ", ".join(circuit.unbound)
        raise CircuitError(
            f"The circuit has parameters without values: {names}. "
            f"Use circuit.bind({circuit.unbound[0]}=...)."
        )


def _check_initial(circuit: Circuit, initial_state: Any, *, ket: bool) -> Any:
    """Returns the initial state as an array of the working dtype, or None."""
    if initial_state is None:
        return None
    if any(step.kind.name == "StatePreparation" for step in circuit.structure.steps):
        raise StateError(
            "Argument `initial_state` must not be given for a circuit that prepares its own "
            "state (StatePreparation, amplitude_encoding)."
        )
    state = as_state(initial_state, name="initial_state")
    size = 2**circuit.num_qubits
    if state.shape not in ((size,), (size, size)):
        raise StateError(
            f"Argument `initial_state` must have shape ({size},) or ({size}, {size}) for "
            f"{circuit.num_qubits} qubits, but has shape {state.shape}. For a batch use jax.vmap."
        )
    if ket and is_density_matrix(state):
        raise StateError(
            "Argument `initial_state` must be a ket here, but is a density matrix. "
            "Use qjax.density_matrix."
        )

    def is_normalised(s: Any) -> Any:
        weight = s.trace().real if s.ndim == 2 else (abs(s) ** 2).sum()
        return abs(weight - 1) < 1e-3

    check_numbers(
        state,
        is_normalised,
        "Argument `initial_state` must have norm one, but has not (or holds NaN).",
        StateError,
    )
    return state


def _check_reached(circuit: Circuit, weight: Any) -> None:
    if postselects(circuit.structure):
        check_numbers(weight, lambda w: w > 0, _UNREACHED, StateError)


def _check_key(key: Any) -> Array:
    is_key = isinstance(key, jax.Array) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    )
    if not is_key:
        raise CircuitError(
            f"Argument `key` must be a random key such as jax.random.key(0), but is {key!r}."
        )
    return key


def _check_observables(circuit: Circuit, observables: Any) -> tuple[tuple[PauliSum, ...], bool]:
    """Returns the observables as sums, and whether only one was given."""
    single = not isinstance(observables, Sequence)
    items = [observables] if single else observables
    if not items:
        raise ObservableError("Argument `observables` must not be empty.")
    sums = tuple(as_pauli_sum(item) for item in items)
    for item in sums:
        if any(q >= circuit.num_qubits for q in item.qubits):
            raise ObservableError(
                f"Argument `observables` must act on qubits below {circuit.num_qubits}, but "
                f"holds {item!r}."
            )
        if jnp.iscomplexobj(item.coefficients):
            raise ObservableError(
                f"Argument `observables` must be Hermitian, but holds {item!r} with complex "
                "coefficients."
            )
    return sums, single


def _combine(sums: tuple[PauliSum, ...], words: tuple, values: Array) -> Array:
    """Values of the sums (..., number of sums) from those of the words (..., number of words)."""
    place = {word: i for i, word in enumerate(words)}
    results = []
    for item in sums:
        index = np.asarray([place[word] for word in item.words])
        weights = jnp.asarray(item.coefficients, values.dtype)
        results.append(jnp.sum(weights * values[..., index], axis=-1))
    return jnp.stack(jnp.broadcast_arrays(*results), axis=-1)


def statevector(
    circuit: Circuit, *, initial_state: ArrayLike | None = None, key: Array | None = None
) -> Array:
    """Final state vector of a circuit.

    Args:
        circuit: gates, state preparations and post-selections; with `key` also measurements,
            resets and channels.
        initial_state: ket (2**n,); |0...0> if not given.
        key: random key. With it measurements, resets and channels are drawn at random, and the
            result is one run. Averages over keys equal the density matrix; gradients of such runs
            are not gradients of the average.

    Returns:
        (..., 2**n) complex array, `...` being the circuit's batch axes. Qubit 0 is the most
        significant bit of the index. Readout errors do not change the state.

    Raises:
        CircuitError: if the circuit has unbound parameters, or is random and no key is given.
        StateError: if `initial_state` does not fit, or a post-selected outcome is impossible.

    Example:
        >>> import qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> qj.statevector(bell).real.round(4).tolist()
        [0.7071..., 0.0, 0.0, 0.7071...]
    """
    _check_circuit(circuit)
    initial = _check_initial(circuit, initial_state, ket=True)
    if not is_noisy(circuit.structure):
        ket, weight = run(circuit, initial, pure_state)
    elif key is None:
        raise CircuitError(
            "The circuit has measurements, resets or channels, so its state is not a vector. "
            "Use qjax.density_matrix, or give key=jax.random.key(0) for one random run."
        )
    else:
        ket, _, weight = run_once(circuit, initial, _check_key(key))
    _check_reached(circuit, weight)
    return ket


def density_matrix(circuit: Circuit, *, initial_state: ArrayLike | None = None) -> Array:
    """Final density matrix of a circuit, exact whatever the circuit holds.

    Measurements become mixtures of their outcomes, conditioned operations act in their branch.

    Args:
        circuit: any circuit. Memory grows as 4**n.
        initial_state: ket (2**n,) or density matrix (2**n, 2**n); |0...0> if not given.

    Returns:
        (..., 2**n, 2**n) complex array, `...` being the circuit's batch axes.

    Raises:
        CircuitError: if the circuit has unbound parameters.
        StateError: if `initial_state` does not fit, or a post-selected outcome is impossible.

    Example:
        >>> import qjax as qj
        >>> qj.density_matrix(qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(0.25, 0)])).real.tolist()
        [[0.25, 0.0], [0.0, 0.75]]
    """
    _check_circuit(circuit)
    rho, weight = run(circuit, _check_initial(circuit, initial_state, ket=False), mixed_state)
    _check_reached(circuit, weight)
    return rho


def expectation(
    circuit: Circuit, observables: Any, *, initial_state: ArrayLike | None = None
) -> Array:
    """Expectation values of observables after a circuit, exact.

    Runs on a state vector where the circuit keeps the state pure, else on a density matrix.

    Args:
        circuit: any circuit.
        observables: a Pauli sum or Pauli gate on the circuit's qubits, or a list of them.
        initial_state: ket (2**n,) or density matrix (2**n, 2**n); |0...0> if not given.

    Returns:
        Real array (...) for one observable, (..., m) for a list of m, `...` being the batch axes
        of the circuit and of the coefficients.

    Raises:
        CircuitError: if the circuit has unbound parameters.
        ObservableError: if an observable does not fit the circuit or is not Hermitian.
        StateError: if `initial_state` does not fit, or a post-selected outcome is impossible.

    Example:
        >>> import qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> qj.expectation(bell, [qj.Z(0) @ qj.Z(1), qj.Z(0)]).round(4).tolist()
        [1.0..., 0.0]
    """
    _check_circuit(circuit)
    sums, single = _check_observables(circuit, observables)
    initial = _check_initial(circuit, initial_state, ket=False)
    words = tuple(dict.fromkeys(word for item in sums for word in item.words))
    values, weight = run(circuit, initial, word_values, (("words", words),))
    _check_reached(circuit, weight)
    combined = _combine(sums, words, values)
    return combined[..., 0] if single else combined


def variance(
    circuit: Circuit, observables: Any, *, initial_state: ArrayLike | None = None
) -> Array:
    """Variance <O^2> - <O>^2 of observables after a circuit, exact.

    Args:
        circuit: any circuit.
        observables: a Pauli sum or Pauli gate on the circuit's qubits, or a list of them.
        initial_state: ket (2**n,) or density matrix (2**n, 2**n); |0...0> if not given.

    Returns:
        Real array (...) for one observable, (..., m) for a list of m; never negative.

    Raises:
        CircuitError, ObservableError, StateError: as `expectation`.

    Example:
        >>> import qjax as qj
        >>> round(float(qj.variance(qj.Circuit(1, [qj.H(0)]), qj.Z(0))), 4)
        1.0
    """
    _check_circuit(circuit)
    sums, single = _check_observables(circuit, observables)
    products = [item @ item for item in sums]
    # The square of a Hermitian sum is Hermitian: imaginary parts of P Q and Q P cancel.
    squares = tuple(PauliSum(p.words, p.coefficients.real) for p in products)
    both = expectation(circuit, (*sums, *squares), initial_state=initial_state)
    first, second = both[..., : len(sums)], both[..., len(sums) :]
    result = jnp.maximum(second - first**2, 0)
    return result[..., 0] if single else result


def probabilities(
    circuit: Circuit,
    qubits: int | Sequence[int] | None = None,
    *,
    initial_state: ArrayLike | None = None,
) -> Array:
    """Probabilities of the outcomes when qubits are measured in the computational basis.

    Args:
        circuit: any circuit.
        qubits: which to measure, in the order that the bits of the index shall have; all of them
            if not given.
        initial_state: ket (2**n,) or density matrix (2**n, 2**n); |0...0> if not given.

    Returns:
        (..., 2**k) real array, `...` being the circuit's batch axes; readout errors included.

    Raises:
        CircuitError: if the circuit has unbound parameters or `qubits` do not fit.
        StateError: if `initial_state` does not fit, or a post-selected outcome is impossible.

    Example:
        >>> import qjax as qj
        >>> qj.probabilities(qj.Circuit(2, [qj.X(1)])).tolist()
        [0.0, 1.0, 0.0, 0.0]
        >>> qj.probabilities(qj.Circuit(2, [qj.X(1)]), 1).tolist()
        [0.0, 1.0]
    """
    _check_circuit(circuit)
    kept = tuple(range(circuit.num_qubits)) if qubits is None else check_qubits(qubits)
    check_qubits_in_range(kept, circuit.num_qubits, what="probabilities")
    initial = _check_initial(circuit, initial_state, ket=False)
    result, weight = run(circuit, initial, outcome_probabilities, (("qubits", kept),))
    _check_reached(circuit, weight)
    return result


def sample(
    circuit: Circuit,
    shots: int,
    key: Array,
    *,
    initial_state: ArrayLike | None = None,
    return_outcomes: bool = False,
) -> Any:
    """Draws measurement outcomes of all qubits at the end of a circuit.

    Args:
        circuit: any circuit. With measurements, resets or channels outcomes are drawn from the
            exact density matrix up to 12 qubits, and run by run above.
        shots: how many to draw.
        key: random key; the same key gives the same outcomes.
        initial_state: ket (2**n,) or density matrix (2**n, 2**n); |0...0> if not given.
        return_outcomes: also return the outcomes of the named measurements in the circuit, by
            name, each (shots,), from the same runs.

    Returns:
        (..., shots, n) uint8 bits, qubit 0 first, readout errors included; with
        `return_outcomes` a pair of the bits and a dict.

    Raises:
        CircuitError: if the circuit has unbound parameters, `shots` is below one, or `key` is no
            random key.
        StateError: if `initial_state` does not fit, or a post-selected outcome is impossible.

    Example:
        >>> import jax, qjax as qj
        >>> qj.sample(qj.Circuit(2, [qj.X(1)]), shots=3, key=jax.random.key(0)).tolist()
        [[0, 1], [0, 1], [0, 1]]
    """
    _check_circuit(circuit)
    number = check_positive_int(shots, name="shots")
    _check_key(key)
    random = is_noisy(circuit.structure)
    if return_outcomes or (random and circuit.num_qubits > _LARGEST_DENSITY_SAMPLE):
        initial = _check_initial(circuit, initial_state, ket=True)
        bits, outcomes, weight = _sample_runs(circuit, initial, number, key)
        _check_reached(circuit, weight)
        return (bits, outcomes) if return_outcomes else bits
    weights = probabilities(circuit, initial_state=initial_state)
    return _sample_bits(weights, number, key)


@partial(jax.jit, static_argnames=("shots",))
def _sample_bits(weights: Array, shots: int, key: Array) -> Array:
    num_qubits = weights.shape[-1].bit_length() - 1
    if weights.ndim == 1:
        return index_bits(sample_indices(weights, shots, key), num_qubits)
    flat = weights.reshape(-1, weights.shape[-1])
    keys = jax.random.split(key, flat.shape[0])
    indices = jax.vmap(lambda w, k: sample_indices(w, shots, k))(flat, keys)
    return index_bits(indices, num_qubits).reshape((*weights.shape[:-1], shots, num_qubits))


@partial(jax.jit, static_argnames=("shots",))
def _sample_runs(circuit: Circuit, initial: Any, shots: int, key: Array) -> Any:
    """Bits, outcomes and post-selection weights of independent runs."""
    structure = circuit.structure
    if circuit.batch_shape:
        raise CircuitError(
            "A batched circuit cannot be sampled run by run. Use jax.vmap over circuit and key."
        )
    params = tuple(jnp.asarray(p) for p in circuit.params)

    def one(run_key: Array) -> Any:
        path, last, flip = jax.random.split(run_key, 3)
        ket, outcomes, weight = one_trajectory(structure, params, circuit.data, initial, path)
        bits = index_bits(
            sample_indices(state_probabilities(ket), 1, last)[0], structure.num_qubits
        )
        for qubit, (p01, p10) in readout_errors(structure, params).items():
            flip, use = jax.random.split(flip)
            wrong = jax.random.bernoulli(use, jnp.where(bits[qubit] == 1, p10, p01))
            bits = bits.at[qubit].set(bits[qubit] ^ wrong.astype(bits.dtype))
        return bits, outcomes, jnp.asarray(weight)

    return jax.lax.map(one, jax.random.split(key, shots), batch_size=min(shots, 64))


def counts(
    circuit: Circuit, shots: int, key: Array, *, initial_state: ArrayLike | None = None
) -> dict[str, int]:
    """How often each outcome occurs among samples; on the host, not for jit.

    Args:
        circuit: any circuit without batch axes.
        shots: how many to draw.
        key: random key.
        initial_state: ket (2**n,) or density matrix (2**n, 2**n); |0...0> if not given.

    Returns:
        Bit string, qubit 0 first -> number of shots, most frequent first.

    Raises:
        CircuitError: as `sample`, and inside a transformation or for a batched circuit.
        StateError: as `sample`.

    Example:
        >>> import jax, qjax as qj
        >>> qj.counts(qj.Circuit(2, [qj.X(1)]), shots=100, key=jax.random.key(0))
        {'01': 100}
    """
    bits = sample(circuit, shots, key, initial_state=initial_state)
    if not is_concrete(bits):
        raise CircuitError("counts returns a dict and cannot be traced. Use qjax.sample.")
    if bits.ndim != 2:
        raise CircuitError("counts takes one circuit, but this one has batch axes.")
    rows = np.asarray(bits)
    texts = Counter(map(bytes, rows + ord("0")))
    return {text.decode(): count for text, count in texts.most_common()}


def partial_trace(state: Any, keep: int | Sequence[int]) -> Array:
    """Density matrix of the kept qubits, all others traced out.

    Args:
        state: ket (2**n,), density matrix (..., 2**n, 2**n), or a circuit, of which the final
            state is taken.
        keep: qubits to keep, in the order that the result shall have.

    Returns:
        (..., 2**k, 2**k) complex array.

    Raises:
        StateError: if an array has another shape.
        CircuitError: if `keep` repeats a qubit or names one that does not exist.

    Example:
        >>> import qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> qj.partial_trace(bell, keep=0).real.round(4).tolist()
        [[0.5, 0.0], [0.0, 0.5]]

    References:
        Nielsen and Chuang, Quantum Computation and Quantum Information, section 2.4.3.
    """
    kept = check_qubits(keep, name="keep")
    if not isinstance(state, Circuit):
        return trace_out(state, kept)
    _check_circuit(state)
    check_qubits_in_range(kept, state.num_qubits, what="partial_trace")
    reduced, weight = run(state, None, reduced_state, (("keep", kept),))
    _check_reached(state, weight)
    return reduced
