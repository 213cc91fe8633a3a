"""Outer products of neighbours."""

from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.sim._outer import multiply_neighbours, outer_product
from qjax.sim._products import product_state
from qjax.sim._tables import Pair

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("count", range(1, 8))
def test_is_the_kronecker_product(count):
    """Of any number of vectors, in their order."""
    vectors = RNG.normal(size=(2, count, 2))
    found = multiply_neighbours(jnp.asarray(vectors), 1, outer_product)
    expected = [reduce(np.kron, rows) for rows in vectors]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("count", [5, 6])
def test_derivative_has_no_padding(count):
    """What each level adds to the way back is one concatenation."""

    def loss(vectors):
        return jnp.sum(multiply_neighbours(vectors, 0, outer_product) ** 3)

    text = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones((count, 2))))
    assert "pad" not in text and "scatter" not in text


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 0, 4, 1, 2), (4, 3, 2, 1, 0)], ids=str)
def test_state_of_unlike_sites(order, batch, is_complex):
    """Dimensions two and four, groups whose members lie apart, some alike in all samples."""
    dims = {0: 2, 1: 4, 2: 2, 3: 2, 4: 4}
    groups, vectors = [], {}
    for sites in ([0, 3], [1, 4], [2]):
        shape = (len(sites), dims[sites[0]], *(() if sites == [2] else (batch,)))
        real = RNG.normal(size=shape)
        imag = RNG.normal(size=shape) if is_complex and sites != [1, 4] else None
        groups.append((sites, Pair(real, imag)))
        whole = real + 1j * (0 if imag is None else imag)
        vectors |= {
            s: np.broadcast_to(w.T, (batch, dims[s])) for s, w in zip(sites, whole, strict=True)
        }
    expected = np.stack(
        [reduce(np.kron, [vectors[site][sample] for site in order]) for sample in range(batch)], -1
    )
    if not is_complex:
        found = product_state(groups, order, batch, jnp.dtype("float32"))
        np.testing.assert_allclose(found, expected.real, rtol=1e-4, atol=1e-5)
        return
    for cut in (0, 2):  # where the axis (real part, imaginary part) lies
        place = (*order[:cut], -1, *order[cut:])
        found = product_state(groups, place, batch, jnp.dtype("float32"))
        outer = prod(dims[site] for site in order[:cut])
        parts = np.stack([p.reshape(outer, -1, batch) for p in (expected.real, expected.imag)], 1)
        np.testing.assert_allclose(found, parts.reshape(-1, batch), rtol=1e-4, atol=1e-5)
