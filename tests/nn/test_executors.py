"""Layers on executors: noisy, from shots, and with channels as gates on ancillas."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import ModelError
from qjax.nn import (
    DilationExecutor,
    NoisyExecutor,
    QuantumConv2D,
    QuantumFeatureExtractor,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    ShotExecutor,
    models,
)

X = np.array([[0.4, -0.9], [1.3, 0.2], [-0.5, 0.8]], np.float32)
NOISE = qj.NoiseModel().after("CX", qj.Depolarizing, 0.05).readout(0.02, 0.1)


def extractor(executor=None):
    """Two qubits, two layers."""
    return QuantumFeatureExtractor(
        2, depth=2, encoding="angle", executor=executor, rngs=nnx.Rngs(0)
    )


def readout(executor=None):
    """Scores of three classes."""
    return QuantumReadout(2, 3, executor=executor, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("make", [extractor, readout])
def test_noise(make):
    """As if the noise had been inserted by hand; not the same as without."""
    layer, noisy = make(), make(NoisyExecutor(NOISE))
    circuit = qj.insert_noise(layer.circuit(X), NOISE)
    np.testing.assert_allclose(noisy(X), layer.measure(circuit, (0, 1)), atol=1e-5)
    assert np.abs(noisy(X) - layer(X)).max() > 0.01


@pytest.mark.parametrize("inner", [None, NoisyExecutor(NOISE)], ids=["pure", "noisy"])
def test_shots(inner):
    """Near the exact values, different at every call, the same from the same seed."""

    def sampled():
        shots = ShotExecutor(2000, rngs=nnx.Rngs(3))
        return extractor(shots if inner is None else NoisyExecutor(NOISE, shots))

    layer, exact = sampled(), extractor(inner)(X)
    first, second = layer(X), layer(X)
    assert 0.001 < np.abs(first - exact).max() < 5 / np.sqrt(2000)
    assert np.abs(first - second).max() > 0.001
    again = sampled()
    np.testing.assert_array_equal([again(X), again(X)], [first, second])


def test_shots_under_nnx_jit_and_vmap():
    """The stream of keys goes on inside nnx.jit; every sample has shots of its own."""
    layer = extractor(ShotExecutor(100, rngs=nnx.Rngs(3)))
    run = nnx.jit(lambda m, x: m(x))
    expected = extractor(ShotExecutor(100, rngs=nnx.Rngs(3)))
    np.testing.assert_allclose(run(layer, X), expected(X), atol=1e-6)
    np.testing.assert_allclose(run(layer, X), expected(X), atol=1e-6)
    same = np.repeat(X[:1], 6, axis=0)
    assert len({tuple(row) for row in np.asarray(run(layer, same)).tolist()}) > 1


def test_training_with_shots_and_noise():
    """A loss from 200 noisy shots a basis falls; its gradient is that without shot noise."""
    shots = ShotExecutor(200, rngs=nnx.Rngs(3))
    model = QuantumSequential(extractor(), QuantumPooling(2, executor=NoisyExecutor(NOISE, shots)))
    target = jnp.array([[0.6], [-0.6], [0.6]])
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        def loss(m):
            return jnp.mean((m(X) - target) ** 2)

        value, gradient = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradient)
        return value

    losses = [float(step(model, optimizer)) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:3])


@pytest.mark.parametrize("kind", ["amplitude_damping", "phase_damping"])
def test_channels_as_gates(kind):
    """The same values and derivatives on one ancilla per channel, which no observable reads."""
    layers = [
        QuantumNonlinearity(2, kind, 0.3, learnable=True, executor=executor)
        for executor in (None, DilationExecutor())
    ]
    np.testing.assert_allclose(layers[1](X), layers[0](X), atol=1e-6)
    exact, found = (
        jax.tree.leaves(nnx.grad(lambda m: jnp.sum(jnp.sin(m(X))))(layer)) for layer in layers
    )
    np.testing.assert_allclose(found, exact, atol=1e-5)
    sizes = []

    def device(circuit, observables):
        sizes.append(circuit.num_qubits)
        return qj.expectation(circuit, observables)

    QuantumNonlinearity(2, kind, executor=DilationExecutor(device))(X)
    assert sizes == [4]


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: NoisyExecutor(NOISE, e)])
def test_readout_from_few_shots_has_a_bounded_gradient(wrap):
    """A class that was never seen counts as seen once, not as a probability of epsilon."""
    x = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)

    def slope(executor):
        layer = QuantumReadout(3, 6, executor=executor, rngs=nnx.Rngs(0))
        gradient = nnx.grad(lambda m: -jnp.mean(m(x)[:, 0]))(layer)
        return np.abs(gradient["theta"][...]).max(), np.asarray(layer(x))

    exact, _ = slope(None)
    sampled, scores = slope(wrap(ShotExecutor(20, rngs=nnx.Rngs(1))))
    assert scores.min() > np.log(1 / 20 / 2)  # some outcomes were not seen in 20 shots
    assert scores.min() < np.log(1.5 / 20)
    assert 0.01 * exact < sampled < 10 * exact


def test_executors_can_be_exchanged():
    """Trained exactly, then run from shots: of a layer, and of all that is read of a stack."""
    layer = extractor()
    exact = layer(X)
    for each in (ShotExecutor(500, rngs=nnx.Rngs(0)), NoisyExecutor(NOISE), qj.expectation, None):
        layer.executor = each
        nnx.merge(*nnx.split(layer))(X)
        assert np.allclose(layer(X), exact, atol=1e-5) == (each in (qj.expectation, None))
    stack = QuantumSequential(extractor(), QuantumPooling(2))
    stack.executor = ShotExecutor(50, rngs=nnx.Rngs(0))
    assert stack.executor is stack.layers[-1].executor
    assert np.any(stack(X) != stack(X))
    images = QuantumConv2D(1, 2, num_filters=2, depth=1, rngs=nnx.Rngs(0))
    images.executor = ShotExecutor(50, rngs=nnx.Rngs(0))
    x = np.ones((1, 2, 2, 1), np.float32)
    assert np.any(images(x) != images(x))


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_ready_made_models_take_an_executor(name):
    """And run on it."""
    calls = []

    def device(circuit, observables):
        calls.append(len(observables))
        return qj.expectation(circuit, observables)

    options: Any = {"num_features": 16, "num_classes": 2, "rngs": nnx.Rngs(0)}
    model: Any = models.MODELS[name](executor=device, **options)
    model(np.ones((2, 16), np.float32))
    assert calls


def test_measured_stacks_run_on_shots():
    """Finding out whether the sizes fit takes no key from the stream."""
    shots = ShotExecutor(100, rngs=nnx.Rngs(0))
    options: Any = {"encoding": "angle", "measurement_bases": ("Z",)}
    first = QuantumFeatureExtractor(2, executor=shots, rngs=nnx.Rngs(0), **options)
    stack = QuantumSequential(first, QuantumPooling(2, executor=shots))
    before = int(shots.stream.count[...])
    measured = stack.measured(X)
    assert int(shots.stream.count[...]) == before
    assert measured(X).shape == (3, 1)


def test_one_job_for_a_stack():
    """A coherent stack asks its executor once, with one circuit of the whole batch."""
    calls = []

    def device(circuit, observables):
        calls.append((circuit.batch_shape, circuit.num_qubits, len(observables)))
        return qj.expectation(circuit, observables)

    stack = QuantumSequential(
        extractor(), QuantumPooling(2), QuantumReadout(1, 2, executor=device, rngs=nnx.Rngs(0))
    )
    stack(X)
    assert calls == [((3,), 2, 2)]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: extractor(cast(Any, "device")),
            "`executor` must be a function .*, but is 'device'",
        ),
        (lambda: DilationExecutor(cast(Any, 3)), "`executor` must be a function .*, but is 3"),
        (lambda: NoisyExecutor(cast(Any, 0.1)), "`noise` must be a qjax.NoiseModel, but is float"),
        (lambda: ShotExecutor(1, rngs=nnx.Rngs(0)), "`shots` must be at least 2, but is 1"),
        (
            lambda: ShotExecutor(cast(Any, 0.5), rngs=nnx.Rngs(0)),
            "`shots` must be an integer, but is 0.5",
        ),
    ],
)
def test_bad_arguments(make, text):
    """By name."""
    with pytest.raises(ModelError, match=text):
        make()
