"""Products of cosines and sines of angles, as cosines and sines of sums of the angles.

cos a cos b = (cos(a+b) + cos(a-b)) / 2, and so on: the products of functions of several angles are
linear in as many cosines and sines of sums, and the sums are one product of the angles with a
constant. It takes more cosines than to multiply out those of the angles, but one step where that
takes one for each doubling of the products, and one on the way back.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._numbers import Wanted

__all__ = ["in_waves", "waves"]

# Per function of an angle x: by frequency w the coefficient of exp(i w x).
_SPECTRA: dict[str, dict[float, complex]] = {
    "1": {0.0: 1.0},
    "cos": {1.0: 0.5, -1.0: 0.5},
    "sin": {1.0: -0.5j, -1.0: 0.5j},
    "cos/2": {0.5: 0.5, -0.5: 0.5},
    "sin/2": {0.5: -0.5j, -0.5: 0.5j},
}


def in_waves(
    features: Sequence[tuple[str, ...]], basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Writes sum_p product_p basis_p, over products of functions of angles, as a sum over waves.

    Args:
        features: per angle its functions.
        basis: (products, ...), those of later angles fastest.

    Returns:
        weights: (angles, sums), of the angles in each sum.
        basis: (2 * sums, ...), of the cosine of every sum and its sine behind it.
    """
    frequencies = [sorted({w for name in names for w in _SPECTRA[name]}) for names in features]
    whole = basis.reshape((*map(len, features), -1))
    for i, (names, each) in enumerate(zip(features, frequencies, strict=True)):
        table = np.array([[_SPECTRA[name].get(w, 0.0) for name in names] for w in each])
        whole = np.moveaxis(np.tensordot(table, whole, axes=(1, i)), 0, i)
    whole = whole.reshape(-1, whole.shape[-1])  # (all sums, ...), of exponentials
    weights = np.stack([w.ravel() for w in np.meshgrid(*frequencies, indexing="ij")])
    # A sum and its negative, which is as far from the other end, share a cosine and a sine.
    count = len(whole)
    half = np.arange(count // 2, count)
    first, second = whole[half], whole[count - 1 - half]
    alone = (half == count - 1 - half)[:, None]  # the sum of no angles
    cosines = np.where(alone, first, first + second)
    sines = np.where(alone, 0.0, 1j * (first - second))
    result = np.stack([cosines, sines], axis=1).reshape(-1, *basis.shape[1:])
    return weights[:, half], result if np.iscomplexobj(basis) else np.real(result)


def waves(wanted: Wanted, weights: np.ndarray) -> Array:
    """Cosines and sines, side by side, of sums of numbers (..., angles), (..., 2 * sums).

    Behind the barrier, where XLA does not make two products of one with both.
    """
    sums = wanted.sums(weights)
    both = lax.optimization_barrier(jnp.stack([lax.cos(sums), lax.sin(sums)], axis=-1))
    return both.reshape(*sums.shape[:-1], -1)
