"""Drawing outcomes from a probability vector."""

import jax
import jax.numpy as jnp

from qjax._typing import Array

__all__ = ["index_bits", "sample_indices"]


def sample_indices(probabilities: Array, shots: int, key: Array) -> Array:
    """Draws indices with the given probabilities, in O(2**n + shots n).

    The vector is cut into 2**(n/2) rows: a row is drawn first, then an index in it. Cumulative
    sums thus stay short; one float32 sum over 2**20 entries would be biased visibly at 10**6
    shots.

    Args:
        probabilities: (2**n,), not necessarily normalised.
        shots: how many to draw.
        key: random key.

    Returns:
        (shots,) int32.

    Example:
        >>> sample_indices(jnp.array([0.0, 1.0]), 3, jax.random.key(0)).tolist()
        [1, 1, 1]
    """
    num_bits = probabilities.shape[-1].bit_length() - 1
    columns = 2 ** (num_bits // 2)
    table = jnp.maximum(probabilities, 0).reshape(-1, columns)  # rounding may leave -1e-9
    row_key, column_key = jax.random.split(key)
    within = jnp.cumsum(table, axis=1)  # (rows, columns)
    across = jnp.cumsum(within[:, -1])[None]  # (1, rows)
    rows = _search(across, jnp.zeros(shots, jnp.int32), row_key)
    return rows * columns + _search(within, rows, column_key)


def _search(cumulative: Array, rows: Array, key: Array) -> Array:
    """Draws one column per entry of `rows` from the cumulative weights of that row."""
    total = cumulative[:, -1][rows]
    target = jax.random.uniform(key, rows.shape, cumulative.dtype) * total
    position = jnp.zeros_like(rows)
    step = cumulative.shape[1] // 2
    while step:  # binary search, unrolled: the first column whose cumulative weight is above
        below = cumulative[rows, position + (step - 1)] <= target
        position = position + jnp.where(below, step, 0)
        step //= 2
    return position


def index_bits(indices: Array, num_bits: int) -> Array:
    """Bits of indices, most significant first.

    Args:
        indices: (...) integers.
        num_bits: how many bits.

    Returns:
        (..., num_bits) uint8.

    Example:
        >>> index_bits(jnp.array([2]), 3).tolist()
        [[0, 1, 0]]
    """
    shifts = jnp.arange(num_bits - 1, -1, -1)
    return ((indices[..., None] >> shifts) & 1).astype(jnp.uint8)
