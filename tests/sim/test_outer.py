"""Outer products, and the states that are made of them."""

from functools import reduce
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.sim._chains import Vectors
from qjax.sim._outer import (
    Picked,
    multiply_neighbours,
    outer_picked,
    outer_planar,
    outer_product,
)
from qjax.sim._products import product_state

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


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
def test_outer_product_of_picked_rows(parts, axis):
    """Vectors that are combinations of rows, against NumPy; no kernel but those of products."""
    rows = [RNG.normal(size=(3, 4)), RNG.normal(size=(5, 8))]
    chosen = [RNG.normal(size=(parts, len(r))) for r in rows]

    def product(a, b):
        return outer_picked(Picked(a, chosen[0]), Picked(b, chosen[1]), axis)

    a, b = ((c @ r).T @ [1, 1j][:parts] for r, c in zip(rows, chosen, strict=True))
    whole = np.outer(a, b)
    expected = np.stack([whole.real, whole.imag][:parts], axis)
    np.testing.assert_allclose(product(*map(jnp.asarray, rows)), expected, rtol=1e-4, atol=1e-5)
    program = jax.make_jaxpr(product)(*map(jnp.asarray, rows)).jaxpr
    assert {e.primitive.name for e in program.eqns} <= {"dot_general", "reshape"}


def test_outer_product_of_planes():
    """Complex vectors, real and imaginary parts first."""
    a, b = RNG.normal(size=(2, 4)), RNG.normal(size=(2, 6))
    found = outer_planar(jnp.asarray(a), jnp.asarray(b))
    expected = np.kron(a[0] + 1j * a[1], b[0] + 1j * b[1])
    np.testing.assert_allclose(found[0] + 1j * found[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (3, 0, 4, 1, 2), (4, 3, 2, 1, 0)], ids=str)
def test_state_of_unlike_sites(order, batch, is_complex):
    """Dimensions two and four, groups whose members lie apart, some alike in all samples."""
    dims = {0: 2, 1: 4, 2: 2, 3: 2, 4: 4}
    groups, vectors = [], {}
    for sites in ([0, 3], [1, 4], [2]):
        behind = () if batch is None or sites == [2] else (batch,)
        parts = 2 if is_complex and sites != [1, 4] else 1
        planes = RNG.normal(size=(parts, len(sites), dims[sites[0]], *behind))
        groups.append(Vectors([(site,) for site in sites], jnp.asarray(planes)))
        whole = np.tensordot([1, 1j][:parts], planes, axes=(0, 0))
        vectors |= {
            s: np.broadcast_to(w.T, (batch or 1, dims[s]))
            for s, w in zip(sites, whole, strict=True)
        }
    check_state(groups, vectors, order, batch or 1, is_complex)


def check_state(groups, vectors, order, batch, is_complex):
    """Against Kronecker products of vectors (samples, d) of each site."""
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
        outer = prod(vectors[site].shape[-1] for site in order[:cut])
        parts = np.stack([p.reshape(outer, -1, batch) for p in (expected.real, expected.imag)], 1)
        np.testing.assert_allclose(found, parts.reshape(-1, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_state_of_runs(batch):
    """A vector of several sites, which all samples share."""
    vectors = {s: RNG.normal(size=(1, 2)) + 1j * RNG.normal(size=(1, 2)) for s in range(5)}

    def planes(*runs):
        whole = [reduce(np.kron, [vectors[s][0] for s in run]) for run in runs]
        return Vectors(list(runs), jnp.asarray(np.stack([[w.real, w.imag] for w in whole])), 1)

    groups = [planes((2, 3), (0, 1)), planes((4,))]
    shared = {s: np.broadcast_to(v, (batch, 2)) for s, v in vectors.items()}
    check_state(groups, shared, (0, 1, 2, 3, 4), batch, is_complex=True)


def test_no_sites_before_the_component():
    """One qubit: the product of nothing and its vector."""
    group = Vectors([(0,)], jnp.asarray([[[0.6, 0.0]], [[0.0, 0.8]]]))
    found = product_state([group], (-1, 0), 1, jnp.dtype("float32"))
    np.testing.assert_allclose(found[:, 0], [0.6, 0.0, 0.0, 0.8], rtol=1e-6)
