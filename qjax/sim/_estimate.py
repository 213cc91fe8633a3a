r"""Expectation values from trajectories: unbiased in value and in every first derivative.

With the channels written as rho -> sum_j w_j L_j rho L_j^dagger, the expectation value is a sum
over paths p, one branch per channel, of the unnormalised kets phi_p = L_p ... |psi_0>:

    <O> = sum_p w_p <phi_p|O|phi_p>.

A path is drawn with probability q_p and contributes w_p <phi_p|O|phi_p> / q_p with q_p held
constant under differentiation. The mean of value and derivatives is then that of the sum, whatever
q_p is, as long as no path with a value or a derivative is left out. Drawing branches by their
chance |L_j phi|^2 makes the value the plain average over quantum trajectories. Its plain
derivative, through normalised kets, would miss that the chances themselves depend on the angles.

A path of W_p = w_p <phi_p|phi_p> / q_p has mean one whatever the angles, so (1 - W_p) b may be
added for any constant b that does not depend on the path: b is the ratio of the sums of the
values and of W over all *other* paths (leave-one-out). Value and derivative keep their means and
lose most of their noise.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from qjax._typing import Array
from qjax.circuit import Circuit, Structure, is_noisy
from qjax.measure import word_expectations
from qjax.sim._run import readout_factors
from qjax.sim._states import initial_ket, to_complex
from qjax.sim._trajectory import run_path

__all__ = ["Estimate", "chunk_size", "estimate", "trajectory_values", "with_keys"]

LARGEST_CHUNK = 2**18  # amplitudes of the trajectories that run side by side


class Estimate(NamedTuple):
    """A mean over random trajectories and how far it may be off.

    Attributes:
        value: (...) or (..., m), as `expectation` returns it.
        standard_error: of `value`, of the same shape; constant under differentiation.

    Example:
        >>> import jax, qjax as qj
        >>> circuit = qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(0.5, 0)])
        >>> value, error = qj.expectation(
        ...     circuit, qj.Z(0), method="trajectories", num_trajectories=400, key=jax.random.key(0)
        ... )
        >>> bool(abs(value - 0.0) < 4 * error), bool(error < 0.06)
        (True, True)
    """

    value: Array
    standard_error: Array


def chunk_size(num_qubits: int, num_trajectories: int) -> int:
    """How many trajectories run side by side: chunks of about equal size."""
    largest = max(1, LARGEST_CHUNK >> num_qubits)
    chunks = -(-num_trajectories // largest)
    return -(-num_trajectories // chunks)


def with_keys(circuit: Circuit, key: Array) -> Circuit:
    """The circuit with one random key per element of its batch as its last array."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    keys = jax.random.split(key, circuit.batch_shape) if circuit.batch_shape else key
    old = circuit.structure
    structure = Structure(old.num_qubits, old.steps, old.leaves, (*old.data_ranks, 0))
    return Circuit.tree_unflatten(structure, (circuit.params, (*circuit.data, keys)))


def trajectory_values(
    structure: Structure,
    params: Sequence[Any],
    data: Sequence[Any],
    initial: Any,
    *,
    words: Any,
    num_trajectories: int,
) -> Array:
    """Weighted values of Pauli words in each trajectory, of a circuit made by `with_keys`.

    Reverse mode runs every trajectory again instead of keeping its states.

    Returns:
        (num_trajectories, number of words), readout errors included.
    """
    *data, key = data
    ket = initial_ket(structure, data) if initial is None else initial
    readout = readout_factors(structure, params)

    def one(path_key: Array) -> Array:
        path = run_path(structure, params, data, ket, path_key, importance=True)
        return path.weight * word_expectations(to_complex(path.state), words, readout)

    if not is_noisy(structure):  # all trajectories are the same
        values = one(key)
        return jnp.broadcast_to(values, (num_trajectories, *values.shape))
    size = chunk_size(structure.num_qubits, num_trajectories)
    padded = -(-num_trajectories // size) * size  # so that all chunks are compiled as one
    keys = jax.random.split(key, padded)
    values = lax.map(jax.checkpoint(one, prevent_cse=False), keys, batch_size=size)
    return values[:num_trajectories]


def estimate(values: Array, norms: Array, *, ratio: bool) -> Estimate:
    """Mean and standard error over the leading axis.

    Args:
        values: (N, ...) weighted values.
        norms: (N, ...) weighted squared norms W.
        ratio: if True the mean of the values over that of the norms, for post-selection, with the
            standard error of a ratio to first order; else the unbiased mean with the baseline.
    """
    number = len(values)
    total, total_norm = values.sum(axis=0), norms.sum(axis=0)
    if ratio:
        value = _divide(total, total_norm)
        residuals = _divide(values - value * norms, total_norm / number)
    else:
        others = lax.stop_gradient(_divide(total - values, total_norm - norms))
        terms = values + (1 - norms) * others
        value = terms.mean(axis=0)
        residuals = terms - value
    spread = jnp.sqrt(jnp.sum(lax.stop_gradient(residuals) ** 2, axis=0) / (number * (number - 1)))
    return Estimate(value, spread)


def _divide(numerator: Array, denominator: Array) -> Array:
    """Quotient, or zero where the denominator is zero or less."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)
