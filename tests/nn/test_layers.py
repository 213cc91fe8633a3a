"""What every layer must do: transformations, state, seeds, compilation. One row a layer."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.nn import (
    AdaptiveLayer,
    AmplitudeEncoding,
    DecodingLayer,
    DilationExecutor,
    EncodingLayer,
    QuantumAwareNormalization,
    QuantumFeatureExtractor,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    models,
)
from qjax.storage import load_checkpoint, save_checkpoint
from tests.nn.checks import as_function, compilations


def extractor(rngs):
    """Two qubits, one layer."""
    return QuantumFeatureExtractor(2, depth=1, rngs=rngs)


def has_parameters(layer):
    """Whether anything is trained."""
    return bool(jax.tree.leaves(nnx.state(layer(nnx.Rngs(0)), nnx.Param)))


def has_random_parameters(layer):
    """Whether the seed decides on every array that is trained."""
    states = [jax.tree.leaves(nnx.state(layer(nnx.Rngs(seed)), nnx.Param)) for seed in (0, 1)]
    return all(np.all(a != b) for a, b in zip(*states, strict=True))


def linear(before, after, rngs):
    """A classical layer of the working dtype."""
    return nnx.Linear(before, after, param_dtype=float, rngs=rngs)


def pooling(kind):
    """Two of four qubits kept."""
    return lambda rngs: QuantumPooling(4, kind=kind, measurement_bases=("Z", "X"), rngs=rngs)


LAYERS = {
    "extractor": (extractor, 3),
    "reuploading": (
        lambda rngs: QuantumFeatureExtractor(2, depth=2, encoding="reuploading", rngs=rngs),
        2,
    ),
    "amplitude": (lambda _: AmplitudeEncoding(2), 3),
    "damping": (lambda _: QuantumNonlinearity(2, learnable=True), 2),
    "dilated": (
        lambda _: QuantumNonlinearity(2, learnable=True, executor=DilationExecutor()),
        2,
    ),
    "dephasing": (lambda _: QuantumNonlinearity(2, "phase_damping"), 2),
    "parametric": (lambda _: QuantumNonlinearity(2, "parametric", 0.7, learnable=True), 2),
    "pooling": (lambda _: QuantumPooling(2, measurement_bases=("Z", "X"), encoding="iqp"), 2),
    "pooling by parity": (pooling("measurement"), 4),
    "pooling with damping": (pooling("amplitude_damping"), 4),
    "pooling with control": (pooling("controlled"), 4),
    "readout": (lambda rngs: QuantumReadout(2, 3, rngs=rngs), 2),
    "logits": (lambda rngs: QuantumReadout(1, 2, "expectation", rngs=rngs), 1),
    "encoding": (lambda _: EncodingLayer(4, keep_norm=True), 3),
    "decoding": (lambda rngs: DecodingLayer(3, 2, rngs=rngs), 3),
    "normalization": (lambda _: QuantumAwareNormalization(3, use_running_average=True), 3),
    "mixture": (
        lambda rngs: AdaptiveLayer(QuantumPooling(2), linear(2, 1, rngs), "learned"),
        2,
    ),
    "choice": (
        lambda rngs: AdaptiveLayer(extractor(rngs), linear(3, 6, rngs), "auto"),
        3,
    ),
    "convolution": (
        lambda rngs: models.quantum_conv(
            num_features=9, num_classes=2, kernel_size=2, num_filters=1, depth=1, rngs=rngs
        ),
        9,
    ),
    "sequential": (
        lambda rngs: QuantumSequential(
            extractor(rngs), QuantumPooling(2), QuantumReadout(1, 2, rngs=rngs)
        ),
        3,
    ),
}
TRAINABLE = [name for name, (layer, _) in LAYERS.items() if has_parameters(layer)]
RANDOM = [name for name in TRAINABLE if has_random_parameters(LAYERS[name][0])]


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
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def pure(values):
        return loss(nnx.merge(graph, values, rest), x)

    found = jax.tree.leaves(nnx.jit(nnx.grad(loss))(layer, x))
    expected = jax.tree.leaves(jax.jit(jax.grad(pure))(parameters))
    live = [leaf for leaf in expected if np.any(np.abs(leaf) > 1e-6)]
    assert len(live) == len(expected) - (2 if name == "choice" else 0)  # the layer not chosen
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_empty_batch(name):
    """No samples, no outputs, and derivatives that are zero."""
    layer, x = make(name)
    out = layer(x[:0])
    assert out.shape == (0, *layer(x).shape[1:])
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)
    gradient = jax.grad(lambda p: jnp.sum(nnx.merge(graph, p, rest)(x[:0])))(parameters)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", LAYERS)
def test_between_linear_layers(name):
    """In an nnx.Sequential: every kernel, before and behind the layer, gets a gradient."""
    layer, num_features = LAYERS[name]
    rngs = nnx.Rngs(0)
    middle = layer(rngs)
    width = middle(jnp.ones(num_features) / 2).shape[-1]
    model = nnx.Sequential(
        nnx.Linear(5, num_features, rngs=rngs), middle, nnx.Linear(width, 3, rngs=rngs)
    )
    x = jax.random.normal(jax.random.key(0), (4, 5))
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    run = jax.jit(jax.grad(lambda p: loss(nnx.merge(graph, p, rest), x)))
    gradient = nnx.to_pure_dict(run(parameters))["layers"]
    for place in (0, 2):
        assert np.abs(gradient[place]["kernel"]).max() > 1e-4


@pytest.mark.parametrize("name", LAYERS)
def test_checkpoint(name, tmp_path):
    """All arrays of the state, whatever their type, come back bit for bit."""
    layer, x = make(name, 0)
    save_checkpoint(tmp_path, 0, nnx.state(layer))
    other, _ = make(name, 1)
    nnx.update(other, load_checkpoint(tmp_path, like=nnx.state(other)).tree)
    np.testing.assert_array_equal(other(x), layer(x))


@pytest.mark.parametrize("name", RANDOM)
def test_seed_decides_the_parameters(name):
    """The same seed, the same numbers; another seed, others in every array."""
    states = [jax.tree.leaves(nnx.state(make(name, seed)[0], nnx.Param)) for seed in (0, 0, 1)]
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
    copied = jax.tree.map(jnp.copy, state)
    for again in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        nnx.merge(graph, copied),
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
    leaves = jax.tree.leaves(nnx.state(layer))
    assert all(leaf.dtype == np.float64 for leaf in leaves if leaf.dtype.kind == "f")
