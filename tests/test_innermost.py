"""Linear maps that keep a batch innermost: values, derivatives and where the batch is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax._innermost import combine_two, product_inside, reshape_inside

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(8)
TABLE = RNG.normal(size=(5, 4))

CASES = {
    "reshape": (lambda x: reshape_inside(x, (2, 6)), lambda x: jnp.reshape(x, (2, 6))),
    "combination": (
        lambda x: combine_two(reshape_inside(x, (2, 2, 3)), (1.0, -0.5)),
        lambda x: x.reshape(2, 2, 3)[0] - 0.5 * x.reshape(2, 2, 3)[1],
    ),
    "product": (lambda x: product_inside(TABLE, x), lambda x: jnp.tensordot(TABLE, x, 1)),
}
TRANSFORMS = {
    "jit": jax.jit,
    "vmap": jax.vmap,
    "vmap of vmap": lambda f: jax.vmap(jax.vmap(f), in_axes=1, out_axes=2),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (jnp.sin(x),)),
    "vjp": lambda f: lambda x: jax.vjp(f, x)[1](jnp.cos(f(x))),
    "jacfwd": jax.jacfwd,
    "jacrev": jax.jacrev,
    "gradient of a square": lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 3)),
    "hessian": lambda f: jax.hessian(lambda x: jnp.sum(f(x) ** 3)),
    "vmap of a gradient": lambda f: jax.vmap(jax.grad(lambda x: jnp.sum(f(x) ** 3))),
    "linear transpose": lambda f: lambda x: jax.linear_transpose(f, x)(jnp.cos(f(x))),
}
LEADING = {"vmap": (7,), "vmap of a gradient": (7,), "vmap of vmap": (2, 7)}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("case", CASES)
def test_is_the_plain_map_under_every_transformation(case, transform):
    ours, plain = CASES[case]
    x = jnp.asarray(RNG.normal(size=(*LEADING.get(transform, ()), 4, 3)))
    found, expected = (TRANSFORMS[transform](f)(x) for f in (ours, plain))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_batch_is_never_moved(case):
    """With the batch innermost on both sides, neither direction transposes anything."""
    ours, _ = CASES[case]
    mapped = jax.vmap(ours, in_axes=-1, out_axes=-1)
    x = jnp.zeros((4, 3, 7))
    there = str(jax.make_jaxpr(mapped)(x))
    back = str(jax.make_jaxpr(lambda x: jax.vjp(mapped, x)[1](mapped(x)))(x))
    assert "transpose" not in there
    assert "transpose" not in back
