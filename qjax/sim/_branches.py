"""From channels to branches: weighted operators, one of which a trajectory takes.

Every channel is written as rho -> sum_j w_j L_j rho L_j^dagger with weights and operators that are
smooth in its strengths. Kraus operators sqrt(w_j) L_j are not: at w_j = 0 their roots have no
derivative, although the channel has one. Drawing a branch lives here too; the state does not.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array, complex_dtype, float_dtype
from qjax.circuit import Channel, Step, channel_arguments
from qjax.observables import word_matrix
from qjax.sim._numbers import reference_values

__all__ = ["Branches", "channel_branches", "draw", "is_pauli", "measurement", "pauli_bits"]


class Branches(NamedTuple):
    """What a channel may do to a state of k qubits, K = 2**k.

    Attributes:
        weights: (m,) real, smooth in the strengths.
        operators: (m, 2 K, 2 K) real, [[Re L, -Im L], [Im L, Re L]].
        effects: (m, K) or (m, 4 K K), constants: the squared norm after each operator is linear in
            the populations of the qubits, or else in the products of all planar amplitudes.
    """

    weights: Any
    operators: Any
    effects: Any

    @property
    def by_populations(self) -> bool:
        """Whether populations alone decide between the branches."""
        return 2 * self.effects.shape[-1] == self.operators.shape[-1]


def is_pauli(step: Step) -> bool:
    """Whether a step is a mixture of Pauli words, whose probabilities no state changes."""
    words = isinstance(step.detail, tuple) and all(isinstance(w, str) for w in step.detail)
    return isinstance(step.kind, Channel) and bool(step.references) and words


def draw(weights: Any, rates: Array, floor: float, uniform: Array) -> tuple[Array, Array]:
    """Draws a branch with probability q_j proportional to max(w_j, floor) r_j.

    The path's weight takes the factor w_j r_j / q_j. Its value is one where no weight is below the
    floor; its derivative is that of w_j, so it sums to the derivative of the channel. A branch
    with w_j = 0 is drawn too if `floor` is positive: it changes no value, but has a derivative.

    Args:
        weights: (..., m).
        rates: (..., m), |L_j psi|^2 / |psi|^2.
        floor: smallest weight that a branch is drawn with.
        uniform: (...) uniform random numbers.

    Returns:
        One at the branch drawn, else zero (..., m), and the factor of the weight (...).
    """
    rates = lax.stop_gradient(rates)
    proposal = jnp.maximum(lax.stop_gradient(weights), floor) * rates
    size = proposal.shape[-1]
    ones = np.triu(np.ones((size, size), proposal.dtype))
    cumulative = jnp.matmul(proposal, ones, precision="highest")
    total = cumulative[..., -1:]
    below = cumulative[..., :-1] <= uniform[..., None] * total
    index = jnp.sum(below.astype(jnp.int32), axis=-1, keepdims=True)
    chosen = jnp.arange(size) == index
    possible = chosen & (proposal > 0)
    factors = jnp.where(possible, rates * total / jnp.where(possible, proposal, 1), 0)
    return chosen.astype(proposal.dtype), jnp.sum(weights * factors, axis=-1)


@lru_cache(maxsize=1024)
def pauli_bits(words: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The identity and the words, each once, as X^x Z^z up to a phase.

    Returns:
        The words, the bits x and the bits z, each (number of words, k).
    """
    listed = tuple(dict.fromkeys(("I" * len(words[0]), *words)))
    x = np.array([[letter in "XY" for letter in word] for word in listed], int)
    z = np.array([[letter in "YZ" for letter in word] for word in listed], int)
    return listed, x, z


def _pauli_weights(superoperators: Array, words: tuple[str, ...]) -> Array:
    """Probabilities of the words in mixtures of Pauli words, (..., number of words).

    S[(x, x + l), (0, l)] = sum_z p_xz (-1)**(z . l), all indices being strings of bits.
    """
    _, x, z = pauli_bits(words)
    powers = 2 ** np.arange(x.shape[1])[::-1]
    size = 2 ** x.shape[1]
    numbers = np.arange(size)
    rows, columns = np.meshgrid(numbers, numbers, indexing="ij")
    table = superoperators[..., rows * size + (rows ^ columns), columns].real  # (..., x, l)
    parity = np.bitwise_count(numbers[:, None] & numbers[None]) % 2
    transformed = jnp.matmul(table, jnp.asarray(1 - 2.0 * parity, table.dtype), precision="highest")
    return transformed[..., x @ powers, z @ powers] / size


def _decompose(choi: Array) -> tuple[Array, Array]:
    """Weights and operators from a Choi matrix J = sum_j w_j |L_j>> <<L_j|, (K*K, K*K).

    J = L D L^dagger with complete pivoting: rational in the entries of J, so as smooth as they
    are. A pivot that vanishes stays a branch of its own, for the sake of its derivative; what it
    shares with other entries is dropped, which is nothing for the channels of qjax.
    """
    size = choi.shape[0]
    dimension = int(np.sqrt(size))
    rest, left = choi, jnp.ones(size, bool)
    weights, operators = [], []
    for _ in range(size):
        diagonal = lax.stop_gradient(jnp.diagonal(rest).real)
        unit = jax.nn.one_hot(jnp.argmax(jnp.where(left, diagonal, -jnp.inf)), size)
        unit = unit.astype(rest.dtype)
        column = jnp.matmul(rest, unit, precision="highest")
        weight = jnp.sum(unit * column).real
        vanishes = lax.stop_gradient(weight) < 8 * jnp.finfo(weight.dtype).eps
        vector = jnp.where(vanishes, unit, column / jnp.where(vanishes, 1, weight))
        rest = rest - weight * jnp.outer(vector, vector.conj())
        left = left & (unit == 0)
        weights.append(weight)
        operators.append(vector.reshape(dimension, dimension))
    return jnp.stack(weights), jnp.stack(operators)


def _choi(superoperators: Array) -> Array:
    """J[(i, j), (k, l)] = S[(i, k), (j, l)], (..., K*K, K*K)."""
    size = superoperators.shape[-1]
    k = int(np.sqrt(size))
    batch = superoperators.shape[:-2]
    split = superoperators.reshape((*batch, k, k, k, k))
    return jnp.swapaxes(split, -3, -2).reshape((*batch, size, size))


@lru_cache(maxsize=256)
def _is_phase_covariant(kind: Channel, detail: Any, num_strengths: int) -> bool:
    """Whether a channel commutes with rotations about Z, seen at one set of strengths.

    Its operators, as `_decompose` gives them, then shift the number of a basis state by a fixed
    amount each, so that all effects L_j^dagger L_j are diagonal.
    """
    strengths = [0.37 / max(num_strengths, 1)] * num_strengths
    with jax.ensure_compile_time_eval():
        table = jax.jit(lambda *p: kind.superoperator(*channel_arguments(kind, p, None, detail)))
        choi = np.asarray(_choi(table(*strengths)))
    numbers = np.arange(int(np.sqrt(len(choi))))
    shift = (numbers[:, None] - numbers[None]).reshape(-1)
    return not choi[shift[:, None] != shift[None]].any()


def _branches(weights: Any, operators: Any, *, diagonal: bool) -> Branches:
    """Branches from weights (..., m) and complex operators (..., m, K, K)."""
    operators = jnp.asarray(operators, complex_dtype())
    real, imag = operators.real, operators.imag
    top = jnp.concatenate([real, -imag], axis=-1)
    planar = jnp.concatenate([top, jnp.concatenate([imag, real], axis=-1)], axis=-2)
    constant = lax.stop_gradient(planar)
    if diagonal:
        effects = jnp.sum(constant**2, axis=-2)[..., : real.shape[-1]]
    else:
        effects = jnp.matmul(jnp.swapaxes(constant, -1, -2), constant, precision="highest")
        effects = effects.reshape((*effects.shape[:-2], -1))
    return Branches(jnp.asarray(weights, float_dtype()), planar, effects)


def measurement() -> Branches:
    """The two outcomes of measuring a qubit."""
    projectors = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]])
    return _branches(np.ones(2), projectors, diagonal=True)


def _with_strengths(steps: Sequence[Step], params: Sequence[Any]) -> Branches:
    """Branches of channels of one form, each array with a leading axis for the channels."""
    first = steps[0]
    kind = first.kind
    assert isinstance(kind, Channel)
    numbers = tuple(
        reference_values([step.references[i] for step in steps], params)
        for i in range(len(first.references))
    )
    table = jnp.asarray(kind.superoperator(*channel_arguments(kind, numbers, None, first.detail)))
    table = jnp.broadcast_to(table, (len(steps), *table.shape[-2:]))
    if not is_pauli(first):
        diagonal = _is_phase_covariant(kind, first.detail, len(numbers))
        return _branches(*jax.vmap(_decompose)(_choi(table)), diagonal=diagonal)
    words, _, _ = pauli_bits(first.detail)
    k = len(first.targets)
    letters = [word_matrix(tuple(zip(range(k), word, strict=True)), k) for word in words]
    operators = np.broadcast_to(letters, (len(steps), *np.shape(letters)))
    return _branches(_pauli_weights(table, first.detail), operators, diagonal=True)


def _form(step: Step) -> tuple:
    sources = tuple(reference._replace(index=0) for reference in step.references)
    return step.kind, step.detail, len(step.targets), sources


def channel_branches(
    steps: Sequence[Step], params: Sequence[Any], data: Sequence[Any]
) -> list[Branches]:
    """Branches of every channel among `steps`, built together where they are of one form.

    Args:
        steps: channels.
        params: per leaf an array (size,).
        data: further arrays without batch axes.

    Returns:
        One entry per step.
    """
    found: dict[int, Branches] = {}
    alike: dict[tuple, list[int]] = {}
    for i, step in enumerate(steps):
        if step.data is None:
            alike.setdefault(_form(step), []).append(i)
        else:
            kraus = data[step.data]
            found[i] = _branches(np.ones(len(kraus)), kraus, diagonal=False)
    for members in alike.values():
        together = _with_strengths([steps[i] for i in members], params)
        for row, i in enumerate(members):
            found[i] = Branches(*(array[row] for array in together))
    return [found[i] for i in range(len(steps))]
