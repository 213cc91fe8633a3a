"""Trainable angles: the parameters of quantum layers, told apart from classical ones by type."""

from typing import Any

from flax import nnx

from qjax.errors import ModelError

__all__ = ["Angle", "QuantumParam", "drawn_angles"]


class QuantumParam(nnx.Param):
    """An `nnx.Param` of a circuit: an `Angle`, or the `Strength` of a channel.

    Being a type of its own, it can be named in filters: to freeze all quantum parameters, to give
    them a learning rate of their own, or to count them.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import QuantumNonlinearity, QuantumParam
        >>> layer = QuantumNonlinearity(2, learnable=True)
        >>> [leaf.shape for leaf in jax.tree.leaves(nnx.state(layer, QuantumParam))]
        [(2,)]
    """


class Angle(QuantumParam):
    """A `QuantumParam` that holds rotation angles in radians, or factors of such angles.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import Angle, QuantumFeatureExtractor
        >>> layer = QuantumFeatureExtractor(2, depth=3, rngs=nnx.Rngs(0))
        >>> angles = nnx.state(layer, Angle)
        >>> [leaf.shape for leaf in jax.tree.leaves(angles)]
        [(3, 2, 2)]
    """


def drawn_angles(angle_init: Any, rngs: nnx.Rngs, shape: tuple[int, ...]) -> Angle:
    """Angles of a shape, drawn by an initialiser with a key of the stream "params".

    Raises:
        ModelError: if the initialiser cannot be called, or returns another shape.
    """
    if not callable(angle_init):
        raise ModelError(
            "Argument `angle_init` must be a function of a key and a shape, such as "
            f"qjax.nn.uniform_angles, but is {angle_init!r}."
        )
    angles = angle_init(rngs.params(), shape)
    if getattr(angles, "shape", None) != shape:
        raise ModelError(
            f"Argument `angle_init` must return an array of the shape that it is given, {shape}, "
            f"but returns {angles!r:.80}."
        )
    return Angle(angles)
