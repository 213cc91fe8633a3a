"""Numbers that describe states: purity, fidelity, distance and entropies."""

import math

import jax
import jax.numpy as jnp

from qjax._typing import Array, ArrayLike
from qjax.errors import StateError
from qjax.linalg._partial_trace import as_state, is_density_matrix

__all__ = [
    "fidelity",
    "purity",
    "renyi_entropy",
    "safe_sqrt",
    "trace_distance",
    "von_neumann_entropy",
]


def safe_sqrt(x: Array) -> Array:
    """Square root whose derivative at zero (and below) is zero instead of infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def _density(state: ArrayLike, name: str = "state") -> Array:
    array = as_state(state, name=name)
    return array if is_density_matrix(array) else jnp.outer(array, array.conj())


def purity(state: ArrayLike) -> Array:
    """Tr(rho^2): one for a pure state, 2**-n for the maximally mixed one.

    Args:
        state: ket (2**n,) or density matrix (..., 2**n, 2**n).

    Returns:
        Real array (...).

    Example:
        >>> float(purity(jnp.eye(2) / 2))
        0.5
    """
    array = as_state(state)
    power = jnp.sum(jnp.abs(array) ** 2, axis=-1)
    return jnp.sum(power, axis=-1) if is_density_matrix(array) else power**2


@jax.custom_jvp
def _spectrum(rho: Array) -> Array:
    """Eigenvalues of Hermitian matrices, with a derivative that is finite when they coincide."""
    return jnp.linalg.eigvalsh(rho)


@_spectrum.defjvp
def _spectrum_jvp(primals, tangents):
    (rho,), (direction,) = primals, tangents
    values, vectors = jnp.linalg.eigh(rho)
    moved = jnp.einsum("...ji,...jk,...ki->...i", vectors.conj(), direction, vectors)
    return values, moved.real


@jax.custom_jvp
def _psd_sqrt(rho: Array) -> Array:
    """Square root of positive matrices, with a derivative that is finite when they are singular."""
    values, vectors = jnp.linalg.eigh(rho)
    return (vectors * safe_sqrt(values)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2).conj()


@_psd_sqrt.defjvp
def _psd_sqrt_jvp(primals, tangents):
    (rho,), (direction,) = primals, tangents
    values, vectors = jnp.linalg.eigh(rho)
    adjoint = jnp.swapaxes(vectors, -1, -2).conj()
    roots = safe_sqrt(values)
    sums = roots[..., :, None] + roots[..., None, :]
    positive = sums > 0
    moved = jnp.where(
        positive, (adjoint @ direction @ vectors) / jnp.where(positive, sums, 1), 0
    )  # the Sylvester equation R dR + dR R = d rho in the eigenbasis of rho
    return (vectors * roots[..., None, :]) @ adjoint, vectors @ moved @ adjoint


def _check_base(base: float | None) -> float:
    if base is None:
        return 1.0
    if not base > 0 or base == 1:
        raise StateError(f"Argument `base` must be positive and not one, but is {base!r}.")
    return math.log(base)


def von_neumann_entropy(state: ArrayLike, *, base: float | None = None) -> Array:
    """-Tr(rho log rho), in nats, or in units of `base` (2 for bits).

    Args:
        state: ket (2**n,) or density matrix (..., 2**n, 2**n).
        base: of the logarithm; e if not given.

    Returns:
        Real array (...). Eigenvalues that are zero contribute zero, with zero gradient.

    Example:
        >>> round(float(von_neumann_entropy(jnp.eye(2) / 2, base=2)), 6)
        1.0
    """
    scale = _check_base(base)
    values = _spectrum(_density(state))
    positive = values > jnp.finfo(values.dtype).eps
    logs = jnp.log(jnp.where(positive, values, 1))
    return jnp.sum(jnp.where(positive, -values * logs, 0), axis=-1) / scale


def renyi_entropy(state: ArrayLike, alpha: float, *, base: float | None = None) -> Array:
    """log(Tr(rho^alpha)) / (1 - alpha), in nats, or in units of `base`.

    Args:
        state: ket (2**n,) or density matrix (..., 2**n, 2**n).
        alpha: order, positive; at 1 this is the von Neumann entropy.
        base: of the logarithm; e if not given.

    Returns:
        Real array (...).

    Example:
        >>> round(float(renyi_entropy(jnp.eye(2) / 2, 2, base=2)), 6)
        1.0
    """
    if not alpha > 0:
        raise StateError(f"Argument `alpha` must be positive, but is {alpha!r}.")
    if alpha == 1:
        return von_neumann_entropy(state, base=base)
    scale = _check_base(base)
    values = _spectrum(_density(state))
    positive = values > jnp.finfo(values.dtype).eps
    powers = jnp.where(positive, jnp.where(positive, values, 1) ** alpha, 0)
    return jnp.log(jnp.sum(powers, axis=-1)) / ((1 - alpha) * scale)


def fidelity(a: ArrayLike, b: ArrayLike) -> Array:
    """Uhlmann fidelity (Tr sqrt(sqrt(a) b sqrt(a)))^2; |<a|b>|^2 for two kets.

    Args:
        a: ket (2**n,) or density matrix (..., 2**n, 2**n).
        b: the same, on as many qubits.

    Returns:
        Real array (...), between zero and one for normalised states.

    Raises:
        StateError: if the numbers of qubits differ.

    Example:
        >>> float(fidelity(jnp.array([1, 0]), jnp.eye(2) / 2))
        0.5

    References:
        Jozsa, Fidelity for mixed quantum states, J. Mod. Opt. 41, 2315 (1994).
    """
    first, second = as_state(a, name="a"), as_state(b, name="b")
    if first.shape[-1] != second.shape[-1]:
        raise StateError(
            f"Arguments `a` and `b` must have as many qubits, but have shapes "
            f"{first.shape} and {second.shape}."
        )
    if is_density_matrix(first) and is_density_matrix(second):
        root = _psd_sqrt(first)
        return jnp.sum(safe_sqrt(_spectrum(root @ second @ root)), axis=-1) ** 2
    if is_density_matrix(first):
        first, second = second, first
    if is_density_matrix(second):
        return jnp.einsum("i,...ij,j->...", first.conj(), second, first).real
    return jnp.abs(jnp.vdot(first, second)) ** 2


def trace_distance(a: ArrayLike, b: ArrayLike) -> Array:
    """Half the sum of the absolute eigenvalues of a - b.

    Args:
        a: ket (2**n,) or density matrix (..., 2**n, 2**n).
        b: the same, on as many qubits.

    Returns:
        Real array (...), between zero and one for normalised states.

    Example:
        >>> float(trace_distance(jnp.array([1, 0]), jnp.array([0, 1])))
        1.0
    """
    first, second = _density(a, "a"), _density(b, "b")
    if first.shape[-1] != second.shape[-1]:
        raise StateError(
            f"Arguments `a` and `b` must have as many qubits, but have shapes "
            f"{first.shape} and {second.shape}."
        )
    return jnp.sum(jnp.abs(_spectrum(first - second)), axis=-1) / 2
