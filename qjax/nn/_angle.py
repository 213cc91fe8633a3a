"""Trainable angles: the parameters of quantum layers, told apart from classical ones by type."""

from flax import nnx

__all__ = ["Angle"]


class Angle(nnx.Param):
    """An `nnx.Param` that holds rotation angles in radians.

    Being a type of its own, it can be named in filters: to freeze all quantum parameters, to give
    them a learning rate of their own, or to count them.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import Angle, QuantumFeatureExtractor
        >>> layer = QuantumFeatureExtractor(2, depth=3, rngs=nnx.Rngs(0))
        >>> angles = nnx.state(layer, Angle)
        >>> [leaf.shape for leaf in jax.tree.leaves(angles)]
        [(3, 2, 2)]
    """
