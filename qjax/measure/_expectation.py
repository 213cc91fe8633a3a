"""Expectation values of Pauli words in states, with or without readout errors."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array, complex_dtype, float_dtype
from qjax.linalg import apply_matrix, is_density_matrix, partial_trace
from qjax.measure._probabilities import marginal, state_probabilities
from qjax.observables import PAULI_MATRICES, PauliWord

__all__ = ["word_expectations"]

# P reads as (1 - p01 - p10) P + (p10 - p01): pairs (factor, offset) per qubit.
ReadoutFactors = Mapping[int, tuple[Array, Array]]

_LARGEST_REDUCED = 3
_LARGEST_MARGINAL = 12


def word_expectations(
    state: Array, words: Sequence[PauliWord], readout: ReadoutFactors | None = None
) -> Array:
    """<P> for every word P.

    Words on few qubits are read from reduced states, one per set of qubits; words of Z alone from
    the marginals of one probability vector; the rest are applied to the state letter by letter.

    Args:
        state: ket (2**n,) or density matrix (2**n, 2**n).
        words: Pauli words on qubits below n.
        readout: per qubit the factor and the offset that a readout error gives to its letter.

    Returns:
        (number of words,) real.

    Example:
        >>> plus = jnp.array([1, 1]) / jnp.sqrt(2)
        >>> word_expectations(plus, [((0, "X"),), ((0, "Z"),)]).round(3).tolist()
        [1.0, 0.0]
    """
    factors = readout or {}
    values: list[Any] = [None] * len(words)
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for i, word in enumerate(words):
        support = tuple(qubit for qubit, _ in word)
        only_z = all(letter == "Z" for _, letter in word)
        if only_z and len(support) <= _LARGEST_MARGINAL:
            groups.setdefault(("marginal", support), []).append(i)
        elif len(support) <= _LARGEST_REDUCED:
            groups.setdefault(("reduced", support), []).append(i)
        else:
            values[i] = _apply_word(state, word, factors)
    probabilities = None
    for (how, support), members in groups.items():
        if how == "marginal":
            if probabilities is None:
                probabilities = state_probabilities(state)
            value = _from_marginal(probabilities, support, factors)
            for i in members:
                values[i] = value
        else:
            reduced = partial_trace(state, support)
            for i in members:
                operators = [_letter(q, c, factors) for q, c in words[i]]
                whole = reduce(jnp.kron, operators)
                values[i] = jnp.sum(whole.T * reduced).real
    return jnp.stack([jnp.asarray(v, float_dtype()) for v in values])


def _from_marginal(probabilities: Array, support: tuple[int, ...], factors: Any) -> Array:
    table = marginal(probabilities, support).reshape((2,) * len(support))
    for qubit in support:  # always the leading axis
        signs: Any = np.array([1.0, -1.0])
        if qubit in factors:
            scale, offset = factors[qubit]
            signs = scale * signs + offset
        table = jnp.tensordot(jnp.asarray(signs, table.dtype), table, axes=1, precision="highest")
    return table


def _letter(qubit: int, letter: str, factors: Any) -> Array:
    matrix = jnp.asarray(PAULI_MATRICES[letter], complex_dtype())
    if qubit not in factors:
        return matrix
    scale, offset = factors[qubit]
    return scale * matrix + offset * jnp.eye(2, dtype=matrix.dtype)


def _apply_word(state: Array, word: PauliWord, factors: Any) -> Array:
    """Tr(P rho) by applying P to the ket, or to the rows of the density matrix."""
    moved = state
    for qubit, letter in word:
        moved = apply_matrix(moved, _letter(qubit, letter, factors), (qubit,))
    if is_density_matrix(state):
        return jnp.trace(moved).real
    return jnp.vdot(state, moved).real
