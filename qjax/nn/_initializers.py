"""Initialisers of angles, some of which start outside barren plateaus; what each may be used for.

An initialiser is any callable from a random key and a shape to angles. Those with options
are frozen dataclasses, so that equal ones compare equal and models built with them do too.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from qjax._checks import check_positive_int
from qjax._typing import Array, float_dtype
from qjax.errors import ModelError

__all__ = [
    "GaussianAngles",
    "IdentityBlockAngles",
    "Initializer",
    "NarrowUniformAngles",
    "uniform_angles",
]

Initializer = Callable[[Array, tuple[int, ...]], Array]


def uniform_angles(key: Array, shape: tuple[int, ...]) -> Array:
    """Angles drawn uniformly from [-pi, pi).

    Args:
        key: random key.
        shape: of the angles.

    Returns:
        Array of `shape`, in radians.

    Example:
        >>> from qjax.nn import uniform_angles
        >>> uniform_angles(jax.random.key(0), (2, 3)).shape
        (2, 3)
    """
    return jax.random.uniform(key, shape, float_dtype(), -math.pi, math.pi)


@dataclass(frozen=True)
class _NarrowAngles:
    """Angles around zero whose variance is one over locality * rotations.

    Args:
        locality: S, the number of qubits that the observable acts on.
        rotations: R, the number of rotations of each qubit; from the shape if not given.
    """

    locality: int = 1
    rotations: int | None = None

    def __post_init__(self) -> None:
        check_positive_int(self.locality, name="locality", error=ModelError)
        if self.rotations is not None:
            check_positive_int(self.rotations, name="rotations", error=ModelError)

    def standard_deviation(self, shape: tuple[int, ...]) -> float:
        """1 / sqrt(S R) for angles of the shape (depth, n, k), where R = depth * k, or (n,).

        Raises:
            ModelError: if R is not given and the shape is another.
        """
        rotations = self.rotations
        if rotations is None:
            if len(shape) not in (1, 3):
                raise ModelError(
                    f"Argument `rotations` must be given for angles of shape {shape!r}, which is "
                    "neither (depth, num_qubits, angles) nor (num_qubits,): how many of them "
                    "rotate each qubit?"
                )
            rotations = shape[0] * shape[2] if len(shape) == 3 else 1
        return 1 / math.sqrt(self.locality * rotations)


class GaussianAngles(_NarrowAngles):
    """Draws angles from a normal distribution that is the narrower, the deeper the circuit.

    The variance is v = 1 / (S R), with R rotations of each qubit and an observable on S qubits. For
    rotations about Y and Z on |0...0>, CX or CZ between them, and a word of Z that acts on S qubits
    at most as it is carried back through CX, a derivative in an RY on the word has variance

        Var df >= v / 2 = 1 / (2 S R),

    shown on the design page "Plateaus"; in another state it is that times (tr rho Z...Z)^2. The
    theorem that the formula comes from is about gates exp(-i t G), t being half of our angle, with
    variance 1 / (4 S (L + 2)), L + 2 = R: for L layers of one rotation per qubit, about axes that
    anticommute with Z, each followed by CZ on any pairs, then a layer of RX and one of RY, and for
    the expectation value f of any Pauli word on S qubits,

        E |grad f|^2 >= L / (4 S^S (L + 2)^(S + 1)) (tr rho Z...Z)^2

    in our angles, Z...Z on the qubits of the word. So S has to be small there.

    Args:
        locality: S, the number of qubits that the observable acts on.
        rotations: R, the number of rotations of each qubit. If not given it is read from the
            shape: depth * k for (depth, n, k), and 1 for (n,).

    Raises:
        ModelError: if a number is below 1, or R is not given and the shape is another.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import GaussianAngles, QuantumFeatureExtractor
        >>> layer = QuantumFeatureExtractor(
        ...     4, depth=50, angle_init=GaussianAngles(), rngs=nnx.Rngs(0)
        ... )
        >>> abs(layer.theta[...].std() - 0.1) < 0.01  # 1 / sqrt(50 * 2)
        Array(True, dtype=bool)

    References:
        Zhang, Liu, Hsieh and Tao, Escaping from the barren plateau via Gaussian initializations in
        deep variational quantum circuits, NeurIPS 35, 18612 (2022), theorem 4.1.
    """

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Angles of `shape` in radians."""
        return self.standard_deviation(shape) * jax.random.normal(key, shape, float_dtype())


class NarrowUniformAngles(_NarrowAngles):
    """Draws angles uniformly from an interval around zero that shrinks with the depth.

    They are as spread as those of `GaussianAngles`: the interval is [-w, w) with w^2 = 3 / (S R).
    Proven for a width proportional to 1 / sqrt(depth): gradients that decay like a power of the
    number of qubits and the depth.

    Args:
        locality: S, the number of qubits that the observable acts on.
        rotations: R, the number of rotations of each qubit. If not given it is read from the
            shape: depth * k for (depth, n, k), and 1 for (n,).

    Raises:
        ModelError: if a number is below 1, or R is not given and the shape is another.

    Example:
        >>> import jax
        >>> from qjax.nn import NarrowUniformAngles
        >>> theta = NarrowUniformAngles()(jax.random.key(0), (50, 4, 2))
        >>> abs(theta).max() < 0.1732  # sqrt(3 / (50 * 2))
        Array(True, dtype=bool)

    References:
        Wang, Qi, Ferrie and Dong, Trainability enhancement of parameterized quantum circuits via
        reduced-domain parameter initialization, Phys. Rev. Applied 22, 054005 (2024).
    """

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Angles of `shape` in radians."""
        width = math.sqrt(3) * self.standard_deviation(shape)
        return jax.random.uniform(key, shape, float_dtype(), -width, width)


@dataclass(frozen=True)
class IdentityBlockAngles:
    """Draws angles for blocks of a circuit and its inverse, equal in both: each block is 1.

    The halves of a block are U(theta[..., 0, ...]) and U(theta[..., 1, ...])^-1. At the start they
    cancel, though every angle is drawn from [-pi, pi), and afterwards each half learns its own.
    A gradient then sees half a block only, so the halves should be shallow and the blocks many. Of
    layers that end with CX a half needs two or more: the last CX cancel those of its inverse, so
    that halves of one layer would never entangle.

    The named ansätze have no such blocks: in all of their layers the rotations come first and CX
    in the same order, in the inverse of a layer it is the other way round. An ansatz that has them
    joins a circuit and an inverse, as below.

    Raises:
        ModelError: if the shape is not (..., 2, depth, num_qubits, angles).

    Example:
        >>> import jax, jax.numpy as jnp, qjax as qj
        >>> from flax import nnx
        >>> from qjax.nn import IdentityBlockAngles, QuantumFeatureExtractor
        >>> def blocks(theta):  # (blocks, 2, depth, n, 2)
        ...     return qj.Circuit(
        ...         theta.shape[-2],
        ...         [
        ...             half
        ...             for first, second in theta
        ...             for half in (
        ...                 qj.hardware_efficient(first),
        ...                 qj.hardware_efficient(second).inverse(),
        ...             )
        ...         ],
        ...     )
        >>> layer = QuantumFeatureExtractor(
        ...     3,
        ...     ansatz=blocks,
        ...     angle_shape=(4, 2, 2, 3, 2),
        ...     measurement_bases=("Z",),
        ...     encoding="angle",
        ...     angle_init=IdentityBlockAngles(),
        ...     rngs=nnx.Rngs(0),
        ... )
        >>> layer(jnp.array([0.0, jnp.pi, 0.0])).round(4).tolist()
        [1.0, -1.0, 1.0]

    References:
        Grant, Wossnig, Ostaszewski and Benedetti, An initialization strategy for addressing barren
        plateaus in parametrized quantum circuits, Quantum 3, 214 (2019).
    """

    def __call__(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Angles of `shape` in radians."""
        if len(shape) < 4 or shape[-4] != 2:
            raise ModelError(
                "Argument `shape` must be (..., 2, depth, num_qubits, angles), the two halves of "
                f"each block along its fourth axis from the end, but is {shape!r}."
            )
        half = uniform_angles(key, (*shape[:-4], 1, *shape[-3:]))
        return jnp.broadcast_to(half, shape)
