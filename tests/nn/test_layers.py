"""What every layer must do: transformations, state, seeds, compilation. One row a layer."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.nn import (
    DecodingLayer,
    EncodingLayer,
    QuantumFeatureExtractor,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
)
from tests.nn.checks import as_function, compilations


def extractor(rngs):
    """Two qubits, one layer."""
    return QuantumFeatureExtractor(2, depth=1, rngs=rngs)


LAYERS = {
    "extractor": (extractor, 3),
    "pooling": (lambda _: QuantumPooling(2, measurement_bases=("Z", "X"), encoding="iqp"), 2),
    "readout": (lambda rngs: QuantumReadout(2, 3, rngs=rngs), 2),
    "logits": (lambda rngs: QuantumReadout(1, 2, "expectation", rngs=rngs), 1),
    "encoding": (lambda _: EncodingLayer(4, keep_norm=True), 3),
    "decoding": (lambda rngs: DecodingLayer(3, 2, rngs=rngs), 3),
    "sequential": (
        lambda rngs: QuantumSequential(
            extractor(rngs), QuantumPooling(2), QuantumReadout(1, 2, rngs=rngs)
        ),
        3,
    ),
}
TRAINABLE = [name for name in LAYERS if name not in ("pooling", "encoding")]


def make(name: str, seed: int = 0):
    """The layer and a batch of inputs for it."""
    layer, num_features = LAYERS[name]
    x = np.random.default_rng(seed).normal(size=(2, 2, num_features)).astype(np.float32)
    return layer(nnx.Rngs(seed)), jnp.asarray(x)


def loss(layer, x):
    """A number that depends on every output."""
    out = layer(x)
    return jnp.sum(jnp.sin(out + jnp.arange(out.shape[-1])))


@pytest.mark.parametrize("name", LAYERS)
def test_batch_vmap_jit_and_loop_agree(name):
    """Two batch axes, one mapped axis, nnx.jit, split and merged, one sample after another."""
    layer, x = make(name)
    expected = layer(x)
    assert expected.shape[:2] == (2, 2) and expected.dtype == np.float32
    assert np.isfinite(expected).all()
    for found in (
        jax.jit(jax.vmap(layer))(x),
        nnx.jit(lambda m, v: m(v))(layer, x),
        nnx.merge(*nnx.split(layer))(x),
        np.array([[layer(v) for v in row] for row in x]),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", TRAINABLE)
def test_nnx_grad_equals_jax_grad(name):
    """Over the module, and over the arrays of its state."""
    layer, x = make(name)
    run, leaves = as_function(layer)

    def pure(values):
        out = run(values, x)
        return jnp.sum(jnp.sin(out + jnp.arange(out.shape[-1])))

    found = jax.tree.leaves(nnx.jit(nnx.grad(loss))(layer, x))
    expected = jax.jit(jax.grad(pure))(leaves)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.any(np.abs(ours) > 1e-6)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", TRAINABLE)
def test_seed_decides_the_parameters(name):
    """The same seed, the same numbers; another seed, others in every array."""
    states = [jax.tree.leaves(nnx.state(make(name, seed)[0])) for seed in (0, 0, 1)]
    for first, again, other in zip(*states, strict=True):
        np.testing.assert_array_equal(first, again)
        assert np.all(first != other)


def test_layers_that_share_a_stream_differ():
    """Each draw takes the next key."""
    rngs = nnx.Rngs(0)
    first, second = extractor(rngs), extractor(rngs)
    assert np.all(first.theta[...] != second.theta[...])


@pytest.mark.parametrize("name", LAYERS)
def test_copies_and_pickles(name):
    """The layer, its state and a tree.map of it survive."""
    layer, x = make(name)
    graph, state = nnx.split(layer)
    doubled = jax.tree.map(lambda a: 2 * a, state)
    halved = jax.tree.map(lambda a: a / 2, doubled)
    for again in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        nnx.merge(graph, halved),
    ):
        np.testing.assert_array_equal(again(x), layer(x))
        assert nnx.graphdef(again) == graph


@pytest.mark.parametrize("name", LAYERS)
def test_new_numbers_compile_nothing(name):
    """One trace and one program per structure, inside jit and outside."""
    (first, x), (second, y) = make(name, 0), make(name, 1)
    run, leaves = as_function(first)
    traces = []

    @jax.jit
    def counted(values, inputs):
        traces.append(1)
        return run(values, inputs)

    np.testing.assert_allclose(counted(leaves, x), first(x), atol=1e-5)
    with compilations() as seen:
        counted(as_function(second)[1], y)
        second(y)
    assert len(traces) == 1 and not seen


def test_new_structure_compiles():
    """The counter does count: one more qubit is another program."""
    with compilations() as seen:
        QuantumReadout(5, 3, rngs=nnx.Rngs(0))(np.ones(5))
    assert seen


@pytest.mark.parametrize("name", LAYERS)
def test_double_precision(name, x64):
    """Parameters and outputs follow the working dtype."""
    layer, x = make(name)
    assert jax.eval_shape(layer, x).dtype == np.float64
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(nnx.state(layer)))
