"""Expectation values of Pauli words in states, with or without readout errors.

A ket is held as its real and imaginary parts, (2, 2**n). Words are sorted by how they are read:

- words on few qubits from reduced density matrices, one per group of qubits, which holds every
  word on the group;
- all others by their X-mask x (the qubits with X or Y): with t_b = conj(psi_{b xor x}) psi_b,

      <P> = sum_b (-1)^{b.z} Re(i^y t_b),        z the qubits with Z or Y, y the number of Y,

  so that words of one mask share one pass, and words of Z alone need the probabilities only.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._innermost import combine_two, product_inside, reshape_inside
from qjax._typing import Array
from qjax.linalg import apply_matrix, as_state, is_density_matrix
from qjax.measure._probabilities import planar
from qjax.observables import PAULI_MATRICES, PauliWord, word_matrix

__all__ = ["planar_expectations", "word_expectations"]

# P reads as (1 - p01 - p10) P + (p10 - p01): pairs (scale, offset) per qubit.
ReadoutFactors = Mapping[int, tuple[Array, Array]]

LARGEST_GROUP = 5  # qubits of a reduced density matrix
SMALLEST_GROUPED = 7  # qubits of a register: in smaller ones a reduced state is no reduction
SMALL = 5  # qubits up to which signs are one table
LARGEST_SIGN_TABLE = 2**18  # entries


def word_expectations(
    state: Array, words: Sequence[PauliWord], readout: ReadoutFactors | None = None
) -> Array:
    """<P> for every word P.

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
    array = as_state(state)
    if not is_density_matrix(array):
        return planar_expectations(planar(array), words, readout)
    return jnp.stack([_apply_word(array, word, readout or {}) for word in words])


def planar_expectations(
    state: Array, words: Sequence[PauliWord], readout: ReadoutFactors | None = None
) -> Array:
    """<P> for every word P in a ket held as real and imaginary parts.

    Args:
        state: (2, 2**n) real.
        words: Pauli words on qubits below n.
        readout: per qubit the scale and the offset that a readout error gives to its letter.

    Returns:
        (number of words,) real.
    """
    errors = readout or {}
    num_qubits = state.shape[1].bit_length() - 1
    groups, masks = _sort_words(words, grouped=bool(errors) or num_qubits >= SMALLEST_GROUPED)
    parts, order = [], []
    for qubits, members in groups:
        parts.append(_from_group(state, qubits, [words[i] for i in members], errors))
        order += members
    for mask, members in masks.items():
        chosen = [words[i] for i in members]
        if errors and mask:
            ket = lax.complex(state[0], state[1])
            parts.append(jnp.stack([_apply_word(ket, word, errors) for word in chosen]))
        else:
            parts.append(_from_mask(state, mask, chosen, errors))
        order += members
    whole = jnp.concatenate(parts) if len(parts) > 1 else parts[0]
    return _pick(whole, list(np.argsort(order)))


def _mask(word: PauliWord) -> tuple[int, ...]:
    return tuple(qubit for qubit, letter in word if letter != "Z")


def _sort_words(
    words: Sequence[PauliWord], *, grouped: bool
) -> tuple[list[tuple[tuple[int, ...], list[int]]], dict[tuple[int, ...], list[int]]]:
    """Which words are read how.

    Args:
        words: the words.
        grouped: whether reduced states of groups of qubits are wanted at all.

    Returns:
        Groups of qubits with the words that are read from their reduced state; and X-masks with
        the words that share them.
    """
    groups: list[tuple[set[int], list[int]]] = []
    masks: dict[tuple[int, ...], list[int]] = {}
    by_mask: dict[tuple[int, ...], list[int]] = {}
    for i, word in enumerate(words):
        by_mask.setdefault(_mask(word), []).append(i)
    for mask, members in by_mask.items():
        small = [i for i in members if len(words[i]) <= LARGEST_GROUP]
        if not grouped or not mask or len(small) < len(members):
            masks[mask] = members
            continue
        for i in members:
            support = {qubit for qubit, _ in words[i]}
            fitting = [g for g in groups if len(g[0] | support) <= LARGEST_GROUP]
            best = min(fitting, key=lambda g: len(support - g[0]), default=None)
            if best is None:
                groups.append((support, [i]))
            else:
                best[0].update(support)
                best[1].append(i)
    if groups and () in masks:  # words of Z alone ride along where a group holds them
        rest = []
        for i in masks.pop(()):
            support = {qubit for qubit, _ in words[i]}
            home = next((g for g in groups if support <= g[0]), None)
            if home is None:
                rest.append(i)
            else:
                home[1].append(i)
        if rest:
            masks[()] = rest
    return [(tuple(sorted(qubits)), members) for qubits, members in groups], masks


def _pick(values: Array, index: list[int]) -> Array:
    """values[index], as a product where that is cheap: XLA compiles no gather, no scatter."""
    if index == list(range(values.shape[0])):
        return values
    chosen = np.zeros((len(index), values.shape[0]), values.dtype)
    chosen[np.arange(len(index)), index] = 1
    if chosen.size > LARGEST_SIGN_TABLE:
        return values[np.asarray(index)]
    return jnp.matmul(chosen, values, precision="highest")


def _from_group(
    state: Array, qubits: tuple[int, ...], words: Sequence[PauliWord], errors: Any
) -> Array:
    """Words on a few qubits from their reduced density matrix."""
    num_qubits = state.shape[1].bit_length() - 1
    size = 2 ** len(qubits)
    rest = [q for q in range(num_qubits) if q not in qubits]
    tensor = state.reshape((2,) * (num_qubits + 1))
    table = tensor.transpose((0, *(q + 1 for q in (*qubits, *rest)))).reshape(2 * size, -1)
    grams = lax.dot_general(
        table, table, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
    ).reshape(2, size, 2, size)
    real = grams[0, :, 0] + grams[1, :, 1]
    imag = grams[1, :, 0] - grams[0, :, 1]
    flat = jnp.concatenate([real.reshape(-1), imag.reshape(-1)])
    # Tr(P rho) = sum_ab Re(P_ab) Re(rho_ab) + Im(P_ab) Im(rho_ab), P being Hermitian
    place = {qubit: i for i, qubit in enumerate(qubits)}
    known = not any(q in errors for word in words for q, _ in word)
    if known:
        stacked = np.stack(
            [word_matrix(tuple((place[q], c) for q, c in word), len(qubits)) for word in words]
        )
        rows: Any = np.concatenate(
            [p.reshape(len(words), -1) for p in (np.real(stacked), np.imag(stacked))], axis=1
        )
    else:
        read = jnp.stack([_read_matrix(word, qubits, errors) for word in words])
        rows = jnp.concatenate([p.reshape(len(words), -1) for p in (read.real, read.imag)], axis=1)
    return jnp.matmul(jnp.asarray(rows, flat.dtype), flat, precision="highest")


def _read_matrix(word: PauliWord, qubits: tuple[int, ...], errors: Any) -> Array:
    """Matrix of a word as it is read, on the given qubits."""
    letters = dict(word)
    dtype = jnp.result_type(*(e[0] for e in errors.values()), np.complex64)
    parts = [_letter(q, letters.get(q, "I"), errors, dtype) for q in qubits]
    return reduce(jnp.kron, parts)


def _letter(qubit: int, letter: str, errors: Any, dtype: Any) -> Array:
    matrix = jnp.asarray(PAULI_MATRICES[letter], dtype)
    if qubit not in errors or letter == "I":
        return matrix
    scale, offset = errors[qubit]
    return scale * matrix + offset * jnp.eye(2, dtype=dtype)


def _from_mask(
    state: Array, mask: tuple[int, ...], words: Sequence[PauliWord], errors: Any
) -> Array:
    """Words of one X-mask."""
    num_qubits = state.shape[1].bit_length() - 1
    if mask:
        products = _flipped_products(state, mask, num_qubits)
    else:
        products = [combine_two(state**2, (1.0, 1.0))]
    values: list[Any] = [None] * len(words)
    counts = [sum(letter == "Y" for _, letter in word) for word in words]
    for part in (0, 1):  # Re(i^y t) is Re t, -Im t, -Re t, Im t for y = 0, 1, 2, 3
        members = [i for i, y in enumerate(counts) if y % 2 == part]
        if members:
            signs = [(1, -1, -1, 1)[counts[i] % 4] for i in members]
            supports = [[q for q, letter in words[i] if letter != "X"] for i in members]
            sums = _signed_sums(products[part], supports, signs, num_qubits, errors)
            for k, i in enumerate(members):
                values[i] = (sums, k)
    if all(v[0] is values[0][0] for v in values):
        return values[0][0]
    return jnp.stack([v[0][v[1]] for v in values])


def _flipped_products(state: Array, mask: tuple[int, ...], num_qubits: int) -> list[Array]:
    """Real and imaginary part of conj(psi_{b xor x}) psi_b."""
    edges = sorted({0, num_qubits} | set(mask) | {q + 1 for q in mask})
    spans = list(pairwise(edges))
    view = reshape_inside(state, (2, *(2 ** (b - a) for a, b in spans)))
    axes = tuple(1 + i for i, (a, b) in enumerate(spans) if a in mask and b == a + 1)
    flipped = lax.rev(view, axes)
    real = combine_two(flipped * view, (1.0, 1.0))
    imag = combine_two(flipped * lax.rev(view, (0,)), (1.0, -1.0))
    return [reshape_inside(part, (2**num_qubits,)) for part in (real, imag)]


def _signed_sums(
    product: Array, supports: Sequence[Sequence[int]], signs: Sequence[int], num_qubits: int,
    errors: Any,
) -> Array:  # fmt: skip
    """sum_b prod_{q in support} (-1)^{b_q} product_b for every support, in one or two steps."""

    def contracted(table: Any, array: Array) -> Array:
        """Over the first axis: (rows, ...)."""
        if isinstance(table, np.ndarray):
            return product_inside(table, array)
        return jnp.tensordot(table.astype(array.dtype), array, axes=1, precision="highest")

    whole = num_qubits <= SMALL
    cut = 0 if whole else num_qubits // 2
    right = [_outcomes(s, range(cut, num_qubits), errors) for s in supports]
    if whole:
        weights = np.asarray(signs, dtype=float)[:, None]
        return contracted(weights * _stack(right), product)
    keys = [tuple(q for q in s if q < cut) for s in supports]
    distinct = list(dict.fromkeys(keys))
    left = _stack([_outcomes(s, range(cut), errors) for s in distinct])
    view = reshape_inside(product, (2**cut, 2 ** (num_qubits - cut)))
    sums = contracted(left, view)  # (distinct, D)
    ends = jnp.asarray(_stack(right), sums.dtype)
    crossed = lax.dot_general(
        ends, sums, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST
    )  # (words, distinct)
    place = np.zeros((len(keys), len(distinct)))
    place[np.arange(len(keys)), [distinct.index(k) for k in keys]] = np.asarray(signs)
    return jnp.sum(crossed * jnp.asarray(place, sums.dtype), axis=1)


def _stack(rows: Sequence[Any]) -> Any:
    if all(isinstance(row, np.ndarray) for row in rows):
        return np.stack(rows)
    return jnp.stack([jnp.asarray(row) for row in rows])


def _outcomes(support: Sequence[int], qubits: Sequence[int], errors: Any) -> Any:
    """What a word of Z reads on every outcome of the qubits, (2**number of qubits,)."""

    def column(qubit: int) -> Any:
        if qubit not in support:
            return np.ones(2)
        if qubit not in errors:
            return np.array([1.0, -1.0])
        scale, offset = errors[qubit]
        return scale * jnp.array([1.0, -1.0], jnp.result_type(scale)) + offset

    return reduce(lambda a, b: (a[:, None] * b[None]).reshape(-1), map(column, qubits), np.ones(1))


def _apply_word(state: Array, word: PauliWord, errors: Any) -> Array:
    """Tr(P rho) by applying P to the ket, or to the rows of the density matrix."""
    moved = state
    for qubit, letter in word:
        moved = apply_matrix(moved, _letter(qubit, letter, errors, state.dtype), (qubit,))
    if is_density_matrix(state):
        return jnp.trace(moved).real
    return jnp.vdot(state, moved).real
