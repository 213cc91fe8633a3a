"""The simulator as users call it: functions of a circuit."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_choice, check_positive_int, check_qubits, check_qubits_in_range
from qjax._typing import Array, ArrayLike, float_dtype, is_concrete
from qjax.circuit import Circuit, is_noisy
from qjax.errors import CircuitError
from qjax.linalg import partial_trace as trace_out
from qjax.measure import index_bits, sample_indices, state_probabilities
from qjax.observables import PauliSum, group_words
from qjax.sim._arguments import (
    check_circuit,
    check_fits,
    check_initial,
    check_key,
    check_max_bytes,
    check_observables,
    check_reached,
    check_repetitions,
    check_unused,
    is_mixed,
)
from qjax.sim._estimate import Estimate, chunk_size, estimate, trajectory_values, with_keys
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
from qjax.sim._shots import measured_in, parities, with_derivative_of

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


def _combine(sums: tuple[PauliSum, ...], words: tuple, values: Array) -> Array:
    """Values of the sums (..., number of sums) from those of the words (..., number of words)."""
    place = {word: i for i, word in enumerate(words)}
    if all(
        isinstance(item.coefficients, np.ndarray) and item.coefficients.ndim == 1 for item in sums
    ):
        table = np.zeros((len(words), len(sums)))
        for column, item in enumerate(sums):
            table[[place[word] for word in item.words], column] = item.coefficients
        if np.array_equal(table, np.eye(len(words))):
            return values
        return jnp.matmul(values, jnp.asarray(table, values.dtype), precision="highest")
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
        MemoryLimitError: if the state cannot fit into memory.

    Example:
        >>> import qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> qj.statevector(bell).real.round(4).tolist()
        [0.7071..., 0.0, 0.0, 0.7071...]
    """
    check_circuit(circuit)
    initial = check_initial(circuit, initial_state, ket=True)
    random = is_noisy(circuit.structure)
    if random and key is None:
        raise CircuitError(
            "The circuit has measurements, resets or channels, so its state is not a vector. "
            "Use qjax.density_matrix, or give key=jax.random.key(0) for one random run."
        )
    check_fits(circuit, mixed=False)
    if random:
        ket, _, weight = run_once(circuit, initial, check_key(key))
    else:
        ket, weight = run(circuit, initial, pure_state)
    check_reached(circuit, weight)
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
        MemoryLimitError: if the state cannot fit into memory.

    Example:
        >>> import qjax as qj
        >>> qj.density_matrix(qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(0.25, 0)])).real.tolist()
        [[0.25, 0.0], [0.0, 0.75]]
    """
    check_circuit(circuit)
    initial = check_initial(circuit, initial_state, ket=False)
    check_fits(circuit, mixed=True)
    rho, weight = run(circuit, initial, mixed_state)
    check_reached(circuit, weight)
    return rho


@overload
def expectation(
    circuit: Circuit,
    observables: Any,
    *,
    initial_state: ArrayLike | None = None,
    method: Literal["exact"] | None = None,
    max_bytes: int | None = None,
) -> Array: ...


@overload
def expectation(
    circuit: Circuit,
    observables: Any,
    *,
    initial_state: ArrayLike | None = None,
    method: Literal["trajectories"],
    num_trajectories: int,
    key: Array,
) -> Estimate: ...


@overload
def expectation(
    circuit: Circuit,
    observables: Any,
    *,
    initial_state: ArrayLike | None = None,
    method: Literal["shots"],
    shots: int,
    key: Array,
) -> Estimate: ...


def expectation(
    circuit: Circuit,
    observables: Any,
    *,
    initial_state: ArrayLike | None = None,
    method: str | None = None,
    num_trajectories: int | None = None,
    shots: int | None = None,
    key: Array | None = None,
    max_bytes: int | None = None,
) -> Array | Estimate:
    """Expectation values of observables after a circuit: exact, from trajectories, or from shots.

    The exact method runs on a state vector where the circuit keeps the state pure, else on a
    density matrix. Trajectories are random runs on state vectors, for noisy circuits that are too
    large for a density matrix; their mean and its derivatives with respect to angles, inputs and
    noise strengths are unbiased. With post-selection they give the ratio of two means instead,
    whose bias falls as one over their number. A circuit without noise is run once.

    Shots are samples of measured bits, as a device would return them. Words that agree on the
    letter of every qubit they share are read from the same shots; each further group of words
    takes as many shots again. Values have shot noise; derivatives have none: they are those of the
    exact expectation values, which is what the mean of a shift rule over many shots would give.

    Args:
        circuit: any circuit.
        observables: a Pauli sum or Pauli gate on the circuit's qubits, or a list of them.
        initial_state: ket (2**n,) or, exact only, density matrix (2**n, 2**n); |0...0> if not
            given.
        method: "exact" (the default), "trajectories" or "shots".
        num_trajectories: how many to run, at least 2; for trajectories only.
        shots: how many to draw for each group of words, at least 2; for shots only.
        key: random key, for trajectories and shots; the same key gives the same result.
        max_bytes: memory for states that a gradient may keep because that is faster; 64 MiB if
            not given, 0 to save memory. For the exact method only.

    Returns:
        Real array (...) for one observable, (..., m) for a list of m, `...` being the batch axes
        of the circuit and of the coefficients. With trajectories or shots an `Estimate`, a pair of
        such arrays: `value` and its `standard_error`, which is constant under differentiation.

    Raises:
        CircuitError: if the circuit has unbound parameters, or `method`, `num_trajectories`,
            `shots`, `key` and `max_bytes` do not fit together.
        ObservableError: if an observable does not fit the circuit or is not Hermitian.
        StateError: if `initial_state` does not fit, or a post-selected outcome is impossible.
        MemoryLimitError: if the state cannot fit into memory.

    Example:
        >>> import jax, qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> qj.expectation(bell, [qj.Z(0) @ qj.Z(1), qj.Z(0)]).round(4).tolist()
        [1.0..., 0.0]
        >>> noisy = qj.Circuit(2, [*bell.operations, qj.PhaseDamping(0.2, 0)])
        >>> value, error = qj.expectation(
        ...     noisy, qj.Z(0) @ qj.Z(1), method="trajectories", num_trajectories=10,
        ...     key=jax.random.key(0),
        ... )
        >>> round(float(value), 4), round(float(error), 4)
        (1.0, 0.0)

    References:
        Dalibard, Castin and Molmer, Wave-function approach to dissipative processes in quantum
        optics, Phys. Rev. Lett. 68, 580 (1992), for the trajectories. Kool, van Hoof and Welling,
        Buy 4 REINFORCE samples, get a baseline for free (2019), for the leave-one-out baseline.
    """
    check_circuit(circuit)
    sums, single = check_observables(circuit, observables)
    method = "exact" if method is None else method
    check_choice(method, ("exact", "trajectories", "shots"), name="method")
    given = {"num_trajectories": num_trajectories, "shots": shots, "key": key}
    check_unused(method, **given, max_bytes=max_bytes)
    if method == "trajectories":
        number = check_repetitions(num_trajectories, name="num_trajectories", method=method)
        result: Any = _estimate(circuit, sums, initial_state, number, check_key(key))
    elif method == "shots":
        number = check_repetitions(shots, name="shots", method=method)
        result = _sampled(circuit, sums, initial_state, number, check_key(key))
    else:
        result = _exact(circuit, sums, initial_state, check_max_bytes(max_bytes))
    return jax.tree.map(lambda a: a[..., 0], result) if single else result


def _words(sums: tuple[PauliSum, ...]) -> tuple:
    return tuple(dict.fromkeys(word for item in sums for word in item.words))


def _exact(
    circuit: Circuit, sums: tuple[PauliSum, ...], initial_state: Any, max_bytes: int | None
) -> Array:
    """Values of the sums, (..., number of sums)."""
    initial = check_initial(circuit, initial_state, ket=False)
    check_fits(circuit, mixed=is_mixed(circuit, initial))
    words = _words(sums)
    options = (("words", words), ("max_bytes", max_bytes))
    values, weight = run(circuit, initial, word_values, options)
    check_reached(circuit, weight)
    return _combine(sums, words, values)


def _estimate(
    circuit: Circuit, sums: tuple[PauliSum, ...], initial_state: Any, number: int, key: Array
) -> Estimate:
    """Estimates of the sums, each (..., number of sums)."""
    initial = check_initial(circuit, initial_state, ket=True)
    together = chunk_size(circuit.num_qubits, number) * prod(circuit.batch_shape)
    check_fits(circuit, mixed=False, states=together)
    sums = (*sums, PauliSum(((),), np.ones(1)))  # the identity: the weight of each trajectory
    words = _words(sums)
    options = (("words", words), ("num_trajectories", number))
    values = run(with_keys(circuit, key), initial, trajectory_values, options)
    combine = jax.vmap(partial(_combine, sums, words), in_axes=-2)
    combined = combine(values)  # (number, ..., sums)
    check_reached(circuit, combined[..., -1].sum(axis=0))
    ratio = postselects(circuit.structure)
    return estimate(combined[..., :-1], combined[..., -1:], ratio=ratio)


def _sampled(
    circuit: Circuit, sums: tuple[PauliSum, ...], initial_state: Any, shots: int, key: Array
) -> Estimate:
    """Values of the sums from shots, (..., number of sums), with derivatives of the exact ones."""
    words = _words(sums)
    groups = group_words(words)
    value: Any = 0.0
    squared_error: Any = 0.0
    for group, group_key in zip(groups, jax.random.split(key, len(groups)), strict=True):
        turned = measured_in(circuit, group.basis)
        bits = sample(turned, shots, group_key, initial_state=initial_state)
        members = [words[i] for i in group.members]
        found = parities(bits, members, float_dtype())  # (..., shots, members)
        among_all = jnp.zeros((*found.shape[:-1], len(words)), found.dtype)
        among_all = among_all.at[..., np.asarray(group.members)].set(found)
        each = jax.vmap(partial(_combine, sums, words), in_axes=-2)(among_all)  # (shots, ..., sums)
        value = value + each.mean(axis=0)
        squared_error = squared_error + each.var(axis=0, ddof=1) / shots
    exact = _exact(circuit, sums, initial_state, None)
    error = jax.lax.stop_gradient(jnp.sqrt(squared_error))
    return Estimate(with_derivative_of(jax.lax.stop_gradient(value), exact), error)


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
        CircuitError, ObservableError, StateError, MemoryLimitError: as `expectation`.

    Example:
        >>> import qjax as qj
        >>> round(float(qj.variance(qj.Circuit(1, [qj.H(0)]), qj.Z(0))), 4)
        1.0
    """
    check_circuit(circuit)
    sums, single = check_observables(circuit, observables)
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
        MemoryLimitError: if the state cannot fit into memory.

    Example:
        >>> import qjax as qj
        >>> qj.probabilities(qj.Circuit(2, [qj.X(1)])).tolist()
        [0.0, 1.0, 0.0, 0.0]
        >>> qj.probabilities(qj.Circuit(2, [qj.X(1)]), 1).tolist()
        [0.0, 1.0]
    """
    check_circuit(circuit)
    kept = tuple(range(circuit.num_qubits)) if qubits is None else check_qubits(qubits)
    check_qubits_in_range(kept, circuit.num_qubits, what="probabilities")
    initial = check_initial(circuit, initial_state, ket=False)
    check_fits(circuit, mixed=is_mixed(circuit, initial))
    result, weight = run(circuit, initial, outcome_probabilities, (("qubits", kept),))
    check_reached(circuit, weight)
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
        MemoryLimitError: if the state cannot fit into memory.

    Example:
        >>> import jax, qjax as qj
        >>> qj.sample(qj.Circuit(2, [qj.X(1)]), shots=3, key=jax.random.key(0)).tolist()
        [[0, 1], [0, 1], [0, 1]]
    """
    check_circuit(circuit)
    number = check_positive_int(shots, name="shots")
    check_key(key)
    random = is_noisy(circuit.structure)
    if return_outcomes or (random and circuit.num_qubits > _LARGEST_DENSITY_SAMPLE):
        initial = check_initial(circuit, initial_state, ket=True)
        check_fits(circuit, mixed=False, states=chunk_size(circuit.num_qubits, number))
        bits, outcomes, weight = _sample_runs(circuit, initial, number, key)
        check_reached(circuit, weight)
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

    return jax.lax.map(
        one, jax.random.split(key, shots), batch_size=chunk_size(structure.num_qubits, shots)
    )


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
    check_circuit(state)
    check_qubits_in_range(kept, state.num_qubits, what="partial_trace")
    check_fits(state, mixed=is_mixed(state, None))
    reduced, weight = run(state, None, reduced_state, (("keep", kept),))
    check_reached(state, weight)
    return reduced
