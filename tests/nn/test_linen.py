"""Layers inside Linen modules, by Flax's bridge: values, gradients, training."""

from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, traverse_util

from qjax.nn import QuantumFeatureExtractor, QuantumPooling, config, from_config
from tests.nn.test_layers import LAYERS, make

X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
LABELS = (X[:, 0] > X[:, 1]).astype(int)


class Net(linen.Module):
    """An extractor between two Linen layers."""

    @linen.compact
    def __call__(self, x):
        x = linen.Dense(4)(x)
        x = nnx.bridge.to_linen(QuantumFeatureExtractor, 2, depth=2, name="quantum")(x)
        return linen.Dense(2)(x)


class Twin(nnx.Module):
    """The same of NNX layers."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.quantum = QuantumFeatureExtractor(2, depth=2, rngs=rngs)
        self.last = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.quantum(self.first(x)))


def cross_entropy(scores):
    """Mean over the samples."""
    return optax.softmax_cross_entropy_with_integer_labels(scores, LABELS).mean()


def numbers(variables: Any) -> dict[Any, Any]:
    """The arrays of `Net` by the names that they have in `Twin`."""
    return {
        ("first", "bias"): variables["params"]["Dense_0"]["bias"],
        ("first", "kernel"): variables["params"]["Dense_0"]["kernel"],
        ("last", "bias"): variables["params"]["Dense_1"]["bias"],
        ("last", "kernel"): variables["params"]["Dense_1"]["kernel"],
        ("quantum", "theta"): variables["Angle"]["quantum"]["theta"],
    }


def test_values_and_gradients_are_those_of_nnx():
    """In all parameters, quantum and classical."""
    net, twin = Net(), Twin(nnx.Rngs(1))
    variables = net.init(jax.random.key(0), X)
    state = nnx.to_flat_state(nnx.state(twin))
    given = numbers(variables)
    nnx.update(twin, nnx.from_flat_state([(path, given[path]) for path, _ in state]))
    outputs: Any = net.apply(variables, X)
    np.testing.assert_allclose(outputs, twin(X), atol=1e-6)

    found = jax.jit(jax.grad(lambda v: cross_entropy(net.apply(v, X))))(variables)
    expected = nnx.jit(nnx.grad(lambda m: cross_entropy(m(X))))(twin)
    slopes = numbers(found)
    assert len(state) == 5
    for path, leaf in nnx.to_flat_state(expected):
        assert np.abs(leaf[...]).max() > 1e-4
        np.testing.assert_allclose(slopes[path], leaf[...], atol=1e-6)


def trained(collections, steps=30):
    """First and last loss, and the variables before and after training some collections."""
    net = Net()
    start = net.init(jax.random.key(0), X)
    variables = {name: start[name] for name in collections}
    rest = {name: start[name] for name in start if name not in collections}
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(variables, state):
        def loss(v):
            return cross_entropy(net.apply({**v, **rest}, X))

        value, slopes = jax.value_and_grad(loss)(variables)
        updates, state = optimizer.update(slopes, state)
        return optax.apply_updates(variables, updates), state, value

    state, losses = optimizer.init(variables), []
    for _ in range(steps):
        variables, state, value = step(variables, state)
        losses.append(float(value))
    return losses, start, {**variables, **rest}


def test_trains():
    """Angles and weights together fit what neither can guess."""
    losses, start, end = trained(["params", "Angle"])
    assert losses[-1] < 0.2 < 0.5 < losses[0]
    before, after = (np.asarray(numbers(v)["quantum", "theta"]) for v in (start, end))
    assert np.abs(after - before).max() > 0.1


def test_angles_are_a_collection_of_their_own():
    """Whoever trains "params" alone leaves the circuits as they are."""
    _, start, end = trained(["params"], steps=1)
    assert set(start) == {"params", "Angle"}
    before, after = (v["Angle"]["quantum"]["theta"] for v in (start, end))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_from_its_config(name):
    """As a Linen module of its own: what the NNX layer gives with the same arrays."""
    layer, x = make(name)
    module = nnx.bridge.to_linen(from_config, config(layer))
    variables = module.init(jax.random.key(1), x)
    arrays = {
        path: leaf
        for collection in variables.values()
        for path, leaf in traverse_util.flatten_dict(collection).items()
    }
    state = nnx.to_flat_state(nnx.state(layer, nnx.Not(nnx.RngState)))
    assert set(arrays) == {path for path, _ in state}
    nnx.update(layer, nnx.from_flat_state([(path, arrays[path]) for path, _ in state]))
    np.testing.assert_array_equal(module.apply(variables, x), layer(x))


def test_layers_without_random_streams():
    """`skip_rng` for a constructor that takes none."""
    module = nnx.bridge.ToLinen(lambda: QuantumPooling(2), skip_rng=True)
    x = jnp.array([0.0, 1.0])
    assert module.apply(module.init(jax.random.key(0), x), x) == 1
