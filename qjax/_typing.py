"""Type aliases and default dtypes; nothing here computes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

__all__ = ["Array", "ArrayLike", "as_float_array", "complex_dtype", "float_dtype", "is_concrete"]

Array = jax.Array


def float_dtype() -> np.dtype:
    """Real dtype of every angle and expectation value: float32, or float64 under x64."""
    return np.dtype(np.float64 if jax.config.jax_enable_x64 else np.float32)  # pyright: ignore[reportAttributeAccessIssue]


def complex_dtype() -> np.dtype:
    """Complex dtype of every state: complex64, or complex128 under x64."""
    return np.dtype(np.complex128 if jax.config.jax_enable_x64 else np.complex64)  # pyright: ignore[reportAttributeAccessIssue]


def is_concrete(value: Any) -> bool:
    """Whether the numbers in `value` are known now, that is, not traced by a transformation."""
    return not isinstance(value, Tracer)


def as_float_array(value: Any) -> Array:
    """Returns numbers as an array of the working float dtype."""
    return jnp.asarray(value).astype(float_dtype())
