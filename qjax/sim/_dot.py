"""Products of matrices in full precision."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array

__all__ = ["dot", "matmul"]


def dot(a: Array, b: Array, dimensions: Any) -> Array:
    """`lax.dot_general` in full precision."""
    return lax.dot_general(a, b, dimensions, precision=lax.Precision.HIGHEST)


def matmul(a: Any, b: Any) -> Any:
    """Matrices (..., I, K) times matrices (..., K, J), in the dtype of the one that is traced.

    NumPy if both are. One matrix (K, J), or a vector (K,), may multiply any array (..., K).
    """
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a @ b
    dtype = jnp.result_type(*(x for x in (a, b) if not isinstance(x, np.ndarray)))
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    if b.ndim <= 2:
        return dot(a, b, (((a.ndim - 1,), (0,)), ((), ())))
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
