"""Encodings: circuits that put classical data into a quantum state."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import (
    check_choice,
    check_finite,
    check_num_qubits,
    check_numbers,
    check_positive_int,
)
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import RX, RY, RZ, RZZ, Circuit, Gate, H, Leaf, Reference, Step, Structure
from qjax.circuit import StatePreparation as _StatePreparation
from qjax.errors import EncodingError
from qjax.library._entanglement import ENTANGLEMENTS, entangled_pairs

__all__ = [
    "amplitude_encoding",
    "angle_encoding",
    "basis_encoding",
    "iqp_encoding",
    "normalise",
]

_ROTATIONS: dict[str, Gate] = {"RX": RX.kind, "RY": RY.kind, "RZ": RZ.kind}
_PREPARATION = _StatePreparation(np.array([1.0, 0.0]), 0).kind


def _features(x: ArrayLike) -> Array:
    """Data as a finite real array (..., features)."""
    array = x if isinstance(x, jax.Array) else jnp.asarray(np.asarray(x))
    if array.ndim == 0 or array.shape[-1] == 0:
        raise EncodingError(
            f"Argument `x` must have shape (..., features), but has shape {array.shape}."
        )
    if jnp.iscomplexobj(array):
        raise EncodingError("Argument `x` must be real, but is complex.")
    check_finite(array, name="x", error=EncodingError)
    return array.astype(float_dtype())


def amplitude_encoding(x: ArrayLike, num_qubits: int | None = None) -> Circuit:
    """Puts 2**n numbers into the amplitudes of n qubits: |psi> = sum_i x_i / ||x|| |i>.

    The state keeps neither the norm of x nor, as a global phase, its overall sign: x, 2x and -x
    give the same expectation values. Where the norm matters, give it to the model as one more
    feature (`jnp.linalg.norm(x, axis=-1)`), for example by an angle.

    Args:
        x: (..., features) real numbers, at most 2**n; filled up with zeros.
        num_qubits: n; the smallest that fits if not given.

    Returns:
        Circuit on n qubits whose state is prepared, with the batch axes of x. A zero vector
        encodes as |0...0> with zero gradient inside a transformation, and raises where it is known.

    Raises:
        EncodingError: if x has too many features for the qubits, is zero, or is not finite.

    Example:
        >>> import qjax as qj
        >>> qj.probabilities(qj.amplitude_encoding([3.0, 4.0])).round(2).tolist()
        [0.36..., 0.64...]

    References:
        Schuld and Petruccione, Machine Learning with Quantum Computers, section 4.1 (2021).
    """
    values = _features(x)
    features = values.shape[-1]
    n = max(1, (features - 1).bit_length()) if num_qubits is None else check_num_qubits(num_qubits)
    if features > 2**n:
        raise EncodingError(
            f"Argument `x` has {features} features, but {n} qubits have only {2**n} amplitudes. "
            "Use more qubits, or reduce the features (mean pooling, PCA) first."
        )
    check_numbers(
        values,
        lambda v: (v != 0).any(axis=-1),
        "Argument `x` must not be the zero vector, which has no direction to encode.",
        EncodingError,
    )
    padding = [(0, 0)] * (values.ndim - 1) + [(0, 2**n - features)]
    amplitudes = normalise(jnp.pad(values, padding))
    return Circuit.from_structure(_preparation(n), (), (amplitudes,))


def normalise(x: Array) -> Array:
    """Unit vectors x / ||x||; (1, 0, ..., 0), with zero gradient, for the zero vector.

    Args:
        x: (..., features) real.

    Returns:
        Array of the shape of `x`.

    Example:
        >>> normalise(jnp.array([3.0, 4.0])).round(2).tolist()
        [0.6..., 0.8...]
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    is_zero = largest == 0
    scaled = x / jnp.where(is_zero, 1, largest)  # so that no square under- or overflows
    norm = jnp.sqrt(jnp.sum(jnp.where(is_zero, 1, scaled) ** 2, axis=-1, keepdims=True))
    first = (jnp.arange(x.shape[-1]) == 0).astype(x.dtype)
    return jnp.where(is_zero, first, scaled / norm)


@lru_cache(maxsize=64)
def _preparation(num_qubits: int) -> Structure:
    step = Step(_PREPARATION, tuple(range(num_qubits)), data=0)
    return Structure(num_qubits, (step,), (), (1,))


def angle_encoding(x: ArrayLike, rotation: str = "RY") -> Circuit:
    """One rotation per feature: feature i is the angle on qubit i.

    Args:
        x: (..., n) angles in radians.
        rotation: "RX", "RY" or "RZ" (RZ on |0...0> changes nothing but a phase: put H before it).

    Returns:
        Circuit on n qubits, with the batch axes of x.

    Raises:
        EncodingError: if x is not finite, or the rotation is another.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> circuit = qj.angle_encoding(jnp.array([0.0, jnp.pi]))
        >>> qj.expectation(circuit, [qj.Z(0), qj.Z(1)]).round(4).tolist()
        [1.0, -1.0]
    """
    check_choice(rotation, tuple(_ROTATIONS), name="rotation", error=EncodingError)
    values = _features(x)
    return Circuit.from_structure(_rotations(values.shape[-1], rotation), (values,))


@lru_cache(maxsize=256)
def _rotations(num_qubits: int, rotation: str) -> Structure:
    check_num_qubits(num_qubits)
    steps = tuple(
        Step(_ROTATIONS[rotation], (q,), references=(Reference(0, q),)) for q in range(num_qubits)
    )
    return Structure(num_qubits, steps, (Leaf(num_qubits),))


def basis_encoding(bits: ArrayLike) -> Circuit:
    """Puts a bit string into the computational basis state of the same bits.

    Args:
        bits: (..., n) of zeros and ones, integers or booleans.

    Returns:
        Circuit on n qubits, with the batch axes of the bits: RY(pi b) on every qubit, which takes
        |0> to |b> without a phase.

    Raises:
        EncodingError: if an entry is neither 0 nor 1.

    Example:
        >>> import qjax as qj
        >>> qj.probabilities(qj.basis_encoding([1, 0])).round(4).tolist()
        [0.0, 0.0, 1.0, 0.0]
    """
    values = _features(jnp.asarray(bits).astype(float_dtype()))
    check_numbers(
        values,
        lambda v: (v == 0) | (v == 1),
        "Argument `bits` must hold zeros and ones only, but does not.",
        EncodingError,
    )
    structure = _scaled_rotations(values.shape[-1])
    return Circuit.from_structure(structure, (values,))


@lru_cache(maxsize=256)
def _scaled_rotations(num_qubits: int) -> Structure:
    plain = _rotations(num_qubits, "RY")
    steps = tuple(
        step._replace(references=(step.references[0]._replace(scale=float(np.pi)),))
        for step in plain.steps
    )
    return Structure(num_qubits, steps, plain.leaves)


def iqp_encoding(x: ArrayLike, repeats: int = 1, entanglement: str = "full") -> Circuit:
    """Instantaneous quantum polynomial encoding: H, RZ(x_i), RZZ(x_i x_j), repeated.

    Its kernel is believed to be hard to compute classically.

    Args:
        x: (..., n) features, used as angles in radians.
        repeats: how often the three layers are repeated.
        entanglement: which pairs (i, j) get an RZZ: "full", "linear", "circular" or "none".

    Returns:
        Circuit on n qubits, with the batch axes of x.

    Raises:
        EncodingError: if x is not finite or the entanglement is another.

    Example:
        >>> import qjax as qj
        >>> print(qj.iqp_encoding([0.1, 0.2]))
        0: ─H─RZ(0.1)─RZZ(0.02)─
        1: ─H─RZ(0.2)─RZZ───────

    References:
        Havlicek et al., Supervised learning with quantum-enhanced feature spaces,
        Nature 567, 209 (2019).
    """
    check_positive_int(repeats, name="repeats", error=EncodingError)
    check_choice(entanglement, ENTANGLEMENTS, name="entanglement", error=EncodingError)
    values = _features(x)
    n = values.shape[-1]
    pairs = np.asarray(entangled_pairs(n, entanglement), dtype=int).reshape(-1, 2)
    products = values[..., pairs[:, 0]] * values[..., pairs[:, 1]]
    numbers = jnp.concatenate([values, products], axis=-1)
    return Circuit.from_structure(_iqp(n, repeats, entanglement), (numbers,))


@lru_cache(maxsize=256)
def _iqp(num_qubits: int, repeats: int, entanglement: str) -> Structure:
    pairs = entangled_pairs(num_qubits, entanglement)
    layer: list[Any] = [Step(H.kind, (q,)) for q in range(num_qubits)]
    layer += [Step(RZ.kind, (q,), references=(Reference(0, q),)) for q in range(num_qubits)]
    layer += [
        Step(RZZ.kind, pair, references=(Reference(0, num_qubits + k),))
        for k, pair in enumerate(pairs)
    ]
    leaf = Leaf(num_qubits + len(pairs))
    return Structure(num_qubits, tuple(layer) * repeats, (leaf,))
