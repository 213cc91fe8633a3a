"""Small classifiers for the tests of training."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Phase(nnx.Param):
    """A kind of parameter that filters can name."""


class Waves(nnx.Module):
    """Sines of a linear map, then a linear layer; dropout and batch norm on request.

    `calls` counts how often Python has run a model of this kind, that is, the traces.
    """

    calls: ClassVar[int] = 0

    def __init__(self, rngs: nnx.Rngs, *, stateful: bool = False) -> None:
        self.phases = Phase(jax.random.normal(rngs.params(), (4, 6)))
        self.scale = nnx.Param(jnp.full((), 1.0))  # weakly typed
        self.head = nnx.Linear(6, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs) if stateful else None
        self.dropout = nnx.Dropout(0.2, rngs=rngs) if stateful else None

    def __call__(self, x: jax.Array) -> jax.Array:
        Waves.calls += 1
        features = jnp.sin(self.scale[...] * (x @ self.phases[...]))
        if self.norm is not None and self.dropout is not None:
            features = self.dropout(self.norm(features))
        return jax.nn.log_softmax(self.head(features))


def clusters(num_samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping clouds of points: inputs of shape (n, 4) and classes of shape (n,)."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, num_samples).astype(np.int32)
    centres = np.random.default_rng(99).normal(size=(3, 4))
    x = centres[y] + 0.4 * generator.normal(size=(num_samples, 4))
    return x.astype(np.float32), y
