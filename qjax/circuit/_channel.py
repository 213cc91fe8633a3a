"""Noise channels: one row each, with its Kraus operators and its superoperator.

Superoperators act on the row-major vectorised density matrix, S = sum_i K_i (x) conj(K_i). They
are written directly, without the square roots of the Kraus operators wherever those cancel, so
that derivatives with respect to the strengths are finite at 0 and 1. The one root that physics
leaves, sqrt(1 - gamma) on the coherences, has derivative zero at gamma = 1 by convention.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_finite, check_numbers, check_qubits
from qjax._typing import Array, ArrayLike
from qjax.circuit._kind import Channel, Instruction
from qjax.circuit._operation import Operation, make_operation
from qjax.circuit._parameter import Slot
from qjax.errors import CircuitError
from qjax.linalg import safe_sqrt
from qjax.observables import word_matrix

__all__ = [
    "AmplitudeDamping",
    "BitFlip",
    "Depolarizing",
    "GeneralizedAmplitudeDamping",
    "Kraus",
    "PauliChannel",
    "PhaseDamping",
    "PhaseFlip",
    "ReadoutError",
    "ThermalRelaxation",
    "pauli_probabilities",
]


def _check_probability(value: Any, name: str) -> None:
    if isinstance(value, Slot):
        return
    check_finite(value, name=name, error=CircuitError)
    check_numbers(
        value,
        lambda v: (v >= 0) & (v <= 1),
        f"Argument `{name}` must be between 0 and 1"
        + (f", but is {value!r}." if np.ndim(value) == 0 else ", but is not everywhere."),
        CircuitError,
    )


def _relaxation(gamma: Array, excited: Any, coherence: Array) -> Array:
    """Superoperator of a decay by `gamma` towards `excited`, (..., 4, 4).

    Populations: rho_11 -> (1 - gamma) rho_11 + gamma excited (rho_00 + rho_11). Coherences are
    multiplied by `coherence`.
    """
    gamma, excited, coherence = jnp.broadcast_arrays(gamma, jnp.asarray(excited), coherence)
    up, down = gamma * excited, gamma * (1 - excited)
    zero = jnp.zeros_like(gamma)
    rows = [
        [1 - up, zero, zero, down],
        [zero, coherence, zero, zero],
        [zero, zero, coherence, zero],
        [up, zero, zero, 1 - down],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _relaxation_kraus(gamma: Array, excited: Any, coherence: Array) -> Array:
    """Kraus operators of `_relaxation`, (..., 4, 2, 2)."""
    gamma, excited, coherence = jnp.broadcast_arrays(gamma, jnp.asarray(excited), coherence)
    stay0, stay1 = 1 - gamma * excited, 1 - gamma * (1 - excited)  # diagonal of the Choi matrix
    a = safe_sqrt(stay0)
    b = jnp.where(a > 0, coherence / jnp.where(a > 0, a, 1), 0)
    zero = jnp.zeros_like(gamma)
    operators = [
        [[a, zero], [zero, b]],
        [[zero, zero], [zero, safe_sqrt(stay1 - b**2)]],
        [[zero, safe_sqrt(gamma * (1 - excited))], [zero, zero]],
        [[zero, zero], [safe_sqrt(gamma * excited), zero]],
    ]
    return jnp.stack(
        [jnp.stack([jnp.stack(r, axis=-1) for r in op], axis=-2) for op in operators], axis=-3
    )


def _decay(name: str, parameters: tuple[str, ...], strengths: Any) -> Channel:
    """Row of a channel that is a relaxation; `strengths` gives (gamma, excited, coherence)."""
    return Channel(
        name=name,
        parameters=parameters,
        kraus=lambda *p: _relaxation_kraus(*strengths(*p)),
        superoperator=lambda *p: _relaxation(*strengths(*p)),
    )


def _word_operators(words: tuple[str, ...]) -> np.ndarray:
    size = len(words[0])
    return np.stack(
        [word_matrix(tuple((i, c) for i, c in enumerate(w) if c != "I"), size) for w in words]
    )


def pauli_probabilities(words: tuple[str, ...], *p: Array) -> Array:
    """Probabilities of the identity and of each word of a mixture of Pauli words.

    Args:
        words: the words, without the identity.
        *p: one strength, shared equally by the words, or one probability for each.

    Returns:
        (..., 1 + number of words), the identity first.

    Example:
        >>> pauli_probabilities(("X", "Y", "Z"), jnp.asarray(0.75)).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if len(p) == 1:  # one strength, shared equally
        p = (p[0] / len(words),) * len(words)
    listed = jnp.stack(jnp.broadcast_arrays(*p), axis=-1)
    return jnp.concatenate([1 - listed.sum(axis=-1, keepdims=True), listed], axis=-1)


def _pauli_superoperator(words: tuple[str, ...], *p: Array) -> Array:
    operators = _word_operators(("I" * len(words[0]), *words))
    table = np.stack([np.kron(k, k.conj()) for k in operators])
    table = table if np.imag(table).any() else np.real(table)
    weights = pauli_probabilities(words, *p)
    return jnp.tensordot(weights, jnp.asarray(table, _matching(weights, table)), axes=1)


def _pauli_kraus(words: tuple[str, ...], *p: Array) -> Array:
    operators = _word_operators(("I" * len(words[0]), *words))
    roots = safe_sqrt(pauli_probabilities(words, *p))[..., None, None]
    return roots * jnp.asarray(operators, _matching(roots, operators))


def _matching(weights: Array, table: np.ndarray) -> Any:
    return jnp.result_type(weights.dtype, np.complex64) if np.iscomplexobj(table) else weights.dtype


def _pauli_row(name: str, parameters: tuple[str, ...] | None, num_targets: int | None) -> Channel:
    return Channel(
        name=name,
        parameters=parameters,
        num_targets=num_targets,
        kraus=_pauli_kraus,
        superoperator=_pauli_superoperator,
    )


_AMPLITUDE_DAMPING = _decay("AmplitudeDamping", ("gamma",), lambda g: (g, 0.0, safe_sqrt(1 - g)))
_PHASE_DAMPING = _decay("PhaseDamping", ("lam",), lambda p: (0 * p, 0.0, safe_sqrt(1 - p)))
_GENERALIZED = _decay(
    "GeneralizedAmplitudeDamping", ("gamma", "excited"), lambda g, e: (g, e, safe_sqrt(1 - g))
)
_THERMAL = _decay(
    "ThermalRelaxation",
    ("t1", "t2", "time", "excited"),
    lambda t1, t2, time, e: (-jnp.expm1(-time / t1), e, jnp.exp(-time / t2)),
)
_BIT_FLIP = _pauli_row("BitFlip", ("p",), 1)
_PHASE_FLIP = _pauli_row("PhaseFlip", ("p",), 1)
_DEPOLARIZING = _pauli_row("Depolarizing", ("p",), None)
_PAULI_CHANNEL = _pauli_row("PauliChannel", None, None)
_KRAUS = Channel(
    name="Kraus",
    num_targets=None,
    data_rank=3,
    kraus=jnp.asarray,
    superoperator=lambda k: _kraus_superoperator(jnp.asarray(k)),
)
_READOUT_ERROR = Instruction(name="ReadoutError", parameters=("p01", "p10"))


def _kraus_superoperator(kraus: Array) -> Array:
    size = kraus.shape[-1]
    pairs = jnp.einsum("...mij,...mkl->...ikjl", kraus, kraus.conj())
    return pairs.reshape((*pairs.shape[:-4], size * size, size * size))


def AmplitudeDamping(gamma: Any, qubit: int) -> Operation:
    """Decay of |1> to |0>: Z -> gamma + (1 - gamma) Z, X and Y times sqrt(1 - gamma).

    Args:
        gamma: probability of decay in [0, 1], a number or (...).
        qubit: where it acts.

    Raises:
        CircuitError: if `gamma` is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> float(qj.expectation(qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(0.5, 0)]), qj.Z(0)))
        0.0

    References:
        Nielsen and Chuang, section 8.3.5.
    """
    _check_probability(gamma, "gamma")
    return make_operation(_AMPLITUDE_DAMPING, (gamma,), qubit)


def PhaseDamping(lam: Any, qubit: int) -> Operation:
    """Loss of phase: X and Y times sqrt(1 - lam), Z unchanged.

    Args:
        lam: strength in [0, 1], a number or (...).
        qubit: where it acts.

    Raises:
        CircuitError: if `lam` is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> circuit = qj.Circuit(1, [qj.H(0), qj.PhaseDamping(0.75, 0)])
        >>> round(float(qj.expectation(circuit, qj.X(0))), 5)
        0.5

    References:
        Nielsen and Chuang, section 8.3.6.
    """
    _check_probability(lam, "lam")
    return make_operation(_PHASE_DAMPING, (lam,), qubit)


def GeneralizedAmplitudeDamping(gamma: Any, excited: Any, qubit: int) -> Operation:
    """Decay by `gamma` towards a thermal state with population `excited` of |1>.

    Args:
        gamma: strength in [0, 1], a number or (...).
        excited: population of |1> in equilibrium, in [0, 1].
        qubit: where it acts.

    Raises:
        CircuitError: if a strength is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> circuit = qj.Circuit(1, [qj.GeneralizedAmplitudeDamping(1.0, 0.25, 0)])
        >>> float(qj.expectation(circuit, qj.Z(0)))
        0.5

    References:
        Nielsen and Chuang, section 8.3.5.
    """
    _check_probability(gamma, "gamma")
    _check_probability(excited, "excited")
    return make_operation(_GENERALIZED, (gamma, excited), qubit)


def ThermalRelaxation(t1: Any, t2: Any, time: Any, qubit: int, excited: Any = 0.0) -> Operation:
    """Relaxation for `time` with the constants T1 and T2.

    Populations approach equilibrium by exp(-time/t1); coherences shrink by exp(-time/t2).

    Args:
        t1: relaxation time of the populations, positive, in the unit of `time`.
        t2: dephasing time, positive and at most 2 t1.
        time: duration, not negative.
        qubit: where it acts.
        excited: population of |1> in equilibrium, in [0, 1].

    Raises:
        CircuitError: if a time is out of range or t2 > 2 t1.

    Example:
        >>> import math, qjax as qj
        >>> circuit = qj.Circuit(1, [qj.X(0), qj.ThermalRelaxation(50.0, 70.0, 50.0, 0)])
        >>> round(float(qj.expectation(circuit, qj.Z(0))), 4) == round(1 - 2 / math.e, 4)
        True

    References:
        Krantz et al., A quantum engineer's guide to superconducting qubits, section III.B (2019).
    """
    known = [v for v in (t1, t2, time) if not isinstance(v, Slot)]
    if len(known) == 3:
        check_numbers(
            (t1, t2, time),
            lambda v: (v[0] > 0) & (v[1] > 0) & (v[1] <= 2 * v[0] * (1 + 1e-6)) & (v[2] >= 0),
            "Arguments `t1`, `t2` and `time` must satisfy t1 > 0, 0 < t2 <= 2 t1 and time >= 0"
            + (f", but are {(t1, t2, time)!r}." if all(np.ndim(v) == 0 for v in known) else "."),
            CircuitError,
        )
    _check_probability(excited, "excited")
    return make_operation(_THERMAL, (t1, t2, time, excited), qubit)


def BitFlip(p: Any, qubit: int) -> Operation:
    """X with probability p.

    Args:
        p: probability in [0, 1], a number or (...).
        qubit: where it acts.

    Raises:
        CircuitError: if `p` is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> float(qj.expectation(qj.Circuit(1, [qj.BitFlip(0.25, 0)]), qj.Z(0)))
        0.5
    """
    _check_probability(p, "p")
    return make_operation(_BIT_FLIP, (p,), qubit, detail=("X",))


def PhaseFlip(p: Any, qubit: int) -> Operation:
    """Z with probability p.

    Args:
        p: probability in [0, 1], a number or (...).
        qubit: where it acts.

    Raises:
        CircuitError: if `p` is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> circuit = qj.Circuit(1, [qj.H(0), qj.PhaseFlip(0.5, 0)])
        >>> abs(round(float(qj.expectation(circuit, qj.X(0))), 5))
        0.0
    """
    _check_probability(p, "p")
    return make_operation(_PHASE_FLIP, (p,), qubit, detail=("Z",))


def Depolarizing(p: Any, qubits: Any) -> Operation:
    """Each of the 4**k - 1 Pauli words other than the identity with probability p / (4**k - 1).

    On one qubit the Bloch vector shrinks by 1 - 4p/3.

    Args:
        p: probability of any error in [0, 1], a number or (...).
        qubits: one qubit or several (at most 4), on which the error acts jointly.

    Raises:
        CircuitError: if `p` is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> float(qj.expectation(qj.Circuit(1, [qj.Depolarizing(0.75, 0)]), qj.Z(0)))
        0.0

    References:
        Nielsen and Chuang, section 8.3.4.
    """
    _check_probability(p, "p")
    where = check_qubits(qubits)
    if len(where) > 4:
        raise CircuitError(f"Argument `qubits` must name at most 4 qubits, but is {where!r}.")
    words = tuple("".join(letters) for letters in product("IXYZ", repeat=len(where)))[1:]
    return make_operation(_DEPOLARIZING, (p,), where, detail=words)


def PauliChannel(*arguments: Any) -> Operation:
    """Random Pauli errors: PauliChannel(px, py, pz, qubit) or PauliChannel({word: p}, qubits).

    Args:
        *arguments: probabilities of X, Y and Z and a qubit; or a mapping from words over "IXYZ"
            to probabilities, and as many qubits as the words have letters.

    Raises:
        CircuitError: if a probability is outside [0, 1], their sum exceeds one, or the words do
            not fit the qubits.

    Example:
        >>> import qjax as qj
        >>> circuit = qj.Circuit(2, [qj.PauliChannel({"XX": 0.25}, (0, 1))])
        >>> float(qj.expectation(circuit, qj.Z(0)))
        0.5
    """
    if len(arguments) == 4:
        words: tuple[str, ...] = ("X", "Y", "Z")
        values, qubits = arguments[:3], arguments[3]
    elif len(arguments) == 2 and isinstance(arguments[0], Mapping) and arguments[0]:
        words, values, qubits = tuple(arguments[0]), tuple(arguments[0].values()), arguments[1]
    else:
        raise CircuitError(
            "PauliChannel takes (px, py, pz, qubit) or ({word: probability}, qubits), "
            f"but got {arguments!r}."
        )
    where = check_qubits(qubits)
    if any(len(w) != len(where) or not set(w) <= set("IXYZ") for w in words) or len(where) > 4:
        raise CircuitError(
            f"Argument `words` must have one letter of 'IXYZ' per qubit, for at most 4 qubits, "
            f"but is {words!r} for the qubits {where!r}."
        )
    for word, value in zip(words, values, strict=True):
        _check_probability(value, f"p{word.lower()}")
    if not any(isinstance(value, Slot) for value in values):
        check_numbers(
            values,
            lambda v: sum(v) <= 1 + 1e-6,
            "The probabilities of a PauliChannel must add up to at most one, but do not.",
            CircuitError,
        )
    return make_operation(_PAULI_CHANNEL, values, where, detail=words)


def Kraus(operators: ArrayLike, qubits: Any) -> Operation:
    """Channel given by its Kraus operators, rho -> sum_i K_i rho K_i^dagger.

    Args:
        operators: (..., m, 2**k, 2**k) with sum_i K_i^dagger K_i = 1 (to 1e-4).
        qubits: k qubits, the first one the most significant bit of the matrices.

    Raises:
        CircuitError: if the shape does not fit or the operators do not sum to one.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> reset = jnp.array([[[1.0, 0], [0, 0]], [[0, 1], [0, 0]]])
        >>> float(qj.expectation(qj.Circuit(1, [qj.X(0), qj.Kraus(reset, 0)]), qj.Z(0)))
        1.0

    References:
        Nielsen and Chuang, section 8.2.3.
    """
    where = check_qubits(qubits)
    size = 2 ** len(where)
    array = operators if isinstance(operators, jax.Array) else np.asarray(operators)
    if array.ndim < 3 or array.shape[-2:] != (size, size):
        raise CircuitError(
            f"Argument `operators` must have shape (..., m, {size}, {size}) for the qubits "
            f"{where!r}, but has shape {array.shape}."
        )
    check_numbers(
        array,
        lambda k: abs((k.conj().swapaxes(-1, -2) @ k).sum(axis=-3) - np.eye(size)) < 1e-4,
        "Argument `operators` must satisfy sum K^dagger K = 1, but does not.",
        CircuitError,
    )
    return make_operation(_KRAUS, (), where, data=array)


def ReadoutError(p01: Any, p10: Any, qubit: int) -> Operation:
    """Classical error of the final readout of a qubit, in whatever basis it is measured.

    It changes what `probabilities`, `sample`, `counts`, `expectation` and `variance` report, not
    the state: a Pauli P on the qubit reads as (1 - p01 - p10) P + (p10 - p01).

    Args:
        p01: probability of reading 1 where the outcome is 0, in [0, 1].
        p10: probability of reading 0 where the outcome is 1, in [0, 1].
        qubit: which must have no operation after this one.

    Raises:
        CircuitError: if a probability is outside [0, 1].

    Example:
        >>> import qjax as qj
        >>> circuit = qj.Circuit(1, [qj.ReadoutError(0.1, 0.2, 0)])
        >>> round(float(qj.expectation(circuit, qj.Z(0))), 5)
        0.8
    """
    _check_probability(p01, "p01")
    _check_probability(p10, "p10")
    return make_operation(_READOUT_ERROR, (p01, p10), qubit)
