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

# P reads as (1 - p01 - p10) P + (p10 - p01): pairs (scale, offset) per qubit.
ReadoutFactors = Mapping[int, tuple[Array, Array]]

LARGEST_REDUCED = 3  # qubits of a reduced density matrix
LARGEST_SIGN_TABLE = 2**18  # entries


def word_expectations(
    state: Array, words: Sequence[PauliWord], readout: ReadoutFactors | None = None
) -> Array:
    """<P> for every word P.

    Words on few qubits are read from reduced states, one per set of qubits; words of Z alone from
    one probability vector; the rest are applied to the state letter by letter.

    Args:
        state: ket (2**n,) or density matrix (2**n, 2**n).
        words: Pauli words on qubits below n.
        readout: per qubit the scale and the offset that a readout error gives to its letter.

    Returns:
        (number of words,) real.

    Example:
        >>> plus = jnp.array([1, 1]) / jnp.sqrt(2)
        >>> word_expectations(plus, [((0, "X"),), ((0, "Z"),)]).round(3).tolist()
        [1.0, 0.0]
    """
    errors = readout or {}
    reduced, diagonal, rest = _sort_words(words)
    parts, order = [], []
    for supports in reduced.values():
        table = _from_reduced(state, tuple(supports), errors)  # (supports, 4**k)
        index = [
            row * table.shape[1] + _letters_index(words[i])
            for row, members in enumerate(supports.values())
            for i in members
        ]
        parts.append(_pick(table.reshape(-1), index))
        order += [i for members in supports.values() for i in members]
    if diagonal:
        parts.append(_from_probabilities(state, [words[i] for i in diagonal], errors))
        order += diagonal
    parts += [_apply_word(state, words[i], errors)[None] for i in rest]
    order += rest
    return _pick(jnp.concatenate(parts), list(np.argsort(order)))


def _sort_words(words: Sequence[PauliWord]) -> tuple[dict, list[int], list[int]]:
    """Which words are read how.

    Returns:
        size -> support -> words read from reduced states; words read from the probabilities; and
        words applied to the state.
    """
    supports = [tuple(qubit for qubit, _ in word) for word in words]
    only_z = [all(letter == "Z" for _, letter in word) for word in words]
    mixed = {s for s, z in zip(supports, only_z, strict=True) if not z}
    reduced: dict[int, dict[tuple[int, ...], list[int]]] = {}
    diagonal, rest = [], []
    for i, (support, z) in enumerate(zip(supports, only_z, strict=True)):
        if support in mixed and len(support) <= LARGEST_REDUCED:
            reduced.setdefault(len(support), {}).setdefault(support, []).append(i)
        elif z:
            diagonal.append(i)
        else:
            rest.append(i)
    return reduced, diagonal, rest


def _letters_index(word: PauliWord) -> int:
    """Number of a word among the 4**k words on its support, in base 4 with digits IXYZ."""
    return reduce(lambda total, item: 4 * total + "IXYZ".index(item[1]), word, 0)


def _pick(values: Array, index: list[int]) -> Array:
    """values[index], as a product where that is cheap: XLA compiles no gather, no scatter."""
    if index == list(range(values.shape[0])):
        return values
    chosen = np.zeros((len(index), values.shape[0]), values.dtype)
    chosen[np.arange(len(index)), index] = 1
    if chosen.size > LARGEST_SIGN_TABLE:
        return values[np.asarray(index)]
    return jnp.matmul(chosen, values, precision="highest")


def _from_reduced(state: Array, supports: tuple[tuple[int, ...], ...], errors: Any) -> Array:
    """All Pauli words on sets of k qubits, (number of sets, 4**k)."""
    stacked = jnp.stack([partial_trace(state, support) for support in supports])
    operators = [_operators(support, errors) for support in supports]
    table = operators[0][None] if not errors else jnp.stack(operators)
    # Tr(P rho) = sum_ab P_ab rho_ba, its imaginary part being zero
    turned = jnp.swapaxes(stacked, -1, -2)[:, None]
    products = table.real * turned.real - table.imag * turned.imag
    return jnp.sum(products, axis=(-1, -2))


def _operators(support: tuple[int, ...], errors: Any) -> Any:
    """Matrices of all 4**k words on k qubits as they are read, (4**k, 2**k, 2**k)."""

    def join(a: Any, b: Any) -> Any:
        product = a[:, None, :, None, :, None] * b[None, :, None, :, None, :]
        size = a.shape[-1] * b.shape[-1]
        return product.reshape((a.shape[0] * b.shape[0], size, size))

    letters = [_all_letters(qubit, errors) for qubit in support]
    whole = reduce(join, letters)
    return whole.astype(complex_dtype())


def _all_letters(qubit: int, errors: Any) -> Any:
    letters = np.stack([PAULI_MATRICES[c] for c in "IXYZ"])
    if qubit not in errors:
        return letters
    return jnp.stack([letters[0], *(_letter(qubit, c, errors) for c in "XYZ")])


def _letter(qubit: int, letter: str, errors: Any) -> Array:
    matrix = jnp.asarray(PAULI_MATRICES[letter], complex_dtype())
    if qubit not in errors:
        return matrix
    scale, offset = errors[qubit]
    return scale * matrix + offset * jnp.eye(2, dtype=matrix.dtype)


def _from_probabilities(state: Array, words: Sequence[PauliWord], errors: Any) -> Array:
    """Words of Z alone, (number of words,)."""
    probabilities = state_probabilities(state)
    qubits = tuple(sorted({qubit for word in words for qubit, _ in word}))
    if 2 ** len(qubits) * len(words) <= LARGEST_SIGN_TABLE:
        signs = [_signs(word, qubits, errors) for word in words]
        table = np.stack(signs) if not errors else jnp.stack([jnp.asarray(s) for s in signs])
        kept = marginal(probabilities, qubits)
        return jnp.matmul(table.astype(kept.dtype), kept, precision="highest")
    return jnp.stack([_from_marginal(probabilities, word, errors) for word in words])


def _outcome_values(qubit: int, errors: Any) -> Any:
    """What Z reads on the outcomes 0 and 1, (2,)."""
    if qubit not in errors:
        return np.array([1.0, -1.0])
    scale, offset = errors[qubit]
    return scale * jnp.array([1.0, -1.0], float_dtype()) + offset


def _signs(word: PauliWord, qubits: tuple[int, ...], errors: Any) -> Any:
    """What a word of Z reads on every outcome of `qubits`, (2**number of qubits,)."""
    present = {qubit for qubit, _ in word}
    columns = [_outcome_values(q, errors) if q in present else np.ones(2) for q in qubits]
    return reduce(lambda a, b: (a[:, None] * b[None]).reshape(-1), columns, np.ones(1))


def _from_marginal(probabilities: Array, word: PauliWord, errors: Any) -> Array:
    support = tuple(qubit for qubit, _ in word)
    table = marginal(probabilities, support).reshape((2,) * len(support))
    for qubit in support:  # always the leading axis
        values = jnp.asarray(_outcome_values(qubit, errors), table.dtype)
        table = jnp.tensordot(values, table, axes=1, precision="highest")
    return table


def _apply_word(state: Array, word: PauliWord, errors: Any) -> Array:
    """Tr(P rho) by applying P to the ket, or to the rows of the density matrix."""
    moved = state
    for qubit, letter in word:
        moved = apply_matrix(moved, _letter(qubit, letter, errors), (qubit,))
    if is_density_matrix(state):
        return jnp.trace(moved).real
    return jnp.vdot(state, moved).real
