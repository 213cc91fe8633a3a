"""Products of cosines and sines as waves."""

from functools import reduce

import jax.numpy as jnp
import numpy as np
import pytest

from qjax.circuit import Reference
from qjax.sim._numbers import Numbers
from qjax.sim._waves import in_waves, waves

RNG = np.random.default_rng(8)
FUNCTIONS = {
    "1": lambda x: 1.0,
    "cos": np.cos,
    "sin": np.sin,
    "cos/2": lambda x: np.cos(x / 2),
    "sin/2": lambda x: np.sin(x / 2),
}
HALF = ("cos/2", "sin/2")

FEATURES = {
    "one": (HALF,),
    "controlled": (("1", "cos/2", "sin/2"), HALF),
    "eight": (HALF,) * 8,
    "phases": (("1", "cos", "sin"),) * 3,
    "some missing": (("1", "cos"), ("sin",), HALF),
    "mixed": (("cos", "sin/2", "1"), ("sin", "cos/2")),
}


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
def test_equal_the_products(features, is_complex):
    """In float64, at random angles."""
    angles = RNG.uniform(-9, 9, len(features))
    values = [[FUNCTIONS[name](x) for name in f] for f, x in zip(features, angles, strict=True)]
    products = reduce(np.kron, values)
    basis = RNG.normal(size=(len(products), 2, 3))
    basis = basis + 1j * RNG.normal(size=basis.shape) if is_complex else basis
    weights, changed = in_waves(features, basis)
    assert np.iscomplexobj(changed) == is_complex
    sums = angles @ weights
    found = np.stack([np.cos(sums), np.sin(sums)], axis=-1).ravel()
    np.testing.assert_allclose(
        np.tensordot(found, changed, axes=1), np.tensordot(products, basis, axes=1), atol=1e-13
    )


@pytest.mark.parametrize("largest", [0, 2**18], ids=["cut", "placed"])
def test_of_numbers(largest, monkeypatch):
    """Scaled and shifted numbers of two arrays, asked for beside others."""
    monkeypatch.setattr("qjax.sim._numbers.LARGEST_SELECTION", largest)
    params = [RNG.normal(size=3), RNG.normal(size=2)]
    numbers = Numbers([jnp.asarray(p) for p in params], (), frozenset(), frozenset())
    numbers.ask([Reference(1, 1, 1.0, 0.0)], (1,), sample=False)
    references = [
        Reference(leaf, index, scale, shift)
        for leaf, index, scale, shift in [(0, 2, 1.0, 0.0), (1, 0, 2.0, 0.5), (0, 0, -1.0, 0.0),
                                          (0, 2, 0.5, 1.0)]
    ]  # fmt: skip
    wanted = numbers.ask(references, (2, 2), sample=False)
    numbers.ask([Reference(0, 1, 1.0, 0.0)], (1,), sample=False)
    weights = RNG.normal(size=(2, 3))
    values = [r.scale * params[r.leaf][r.index] + r.shift for r in references]
    expected = np.reshape(values, (2, 2)) @ weights
    np.testing.assert_allclose(wanted.sums(weights), expected, rtol=1e-5)
    found = waves(wanted, weights)
    both = np.stack([np.cos(expected), np.sin(expected)], axis=-1).reshape(2, -1)
    np.testing.assert_allclose(found, both, atol=1e-6)
