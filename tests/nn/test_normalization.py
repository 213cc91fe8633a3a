"""QuantumAwareNormalization: scaled by the signal, bounded, running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import QuantumAwareNormalization
from tests.nn.checks import checked_jacobians


def values(samples: int = 200, num_features: int = 3) -> np.ndarray:
    """Expectation values of different means and spreads."""
    rng = np.random.default_rng(0)
    spread = 0.3 / np.arange(1, num_features + 1)
    return np.linspace(-0.5, 0.5, num_features) + spread * rng.uniform(
        -1, 1, (samples, num_features)
    )


def test_statistics_of_the_batch_in_training(x64):
    """limit tanh(z / limit) of the standardised values, over all axes but the last."""
    x = values().reshape(20, 10, 3)
    layer = QuantumAwareNormalization(3, limit=2.0, epsilon=1e-4)
    z = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-4)
    np.testing.assert_allclose(layer(x), 2 * np.tanh(z / 2), atol=1e-12)


def test_running_averages_in_evaluation(x64):
    """They follow the batches by the momentum, stay put in evaluation, and do for one sample."""
    x = values()
    layer = QuantumAwareNormalization(3, momentum=0.8)
    layer(x)
    layer(2 * x)
    mean = 0.8 * (0.2 * x.mean(0)) + 0.2 * 2 * x.mean(0)
    var = 0.8 * (0.8 + 0.2 * x.var(0)) + 0.2 * 4 * x.var(0)
    np.testing.assert_allclose(layer.mean[...], mean, atol=1e-12)
    np.testing.assert_allclose(layer.var[...], var, atol=1e-12)
    layer.eval()
    z = (x[0] - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(layer(x[0]), np.pi * np.tanh(z / np.pi), atol=1e-12)
    np.testing.assert_allclose(layer.mean[...], mean, atol=1e-12)


def test_shot_noise_is_taken_out_of_the_variance(x64):
    """From 40 shots per value the variance of the data is found, not that of the estimates."""
    rng = np.random.default_rng(1)
    exact = 0.2 + 0.1 * rng.uniform(-1, 1, (20_000, 1))
    estimated = 2 * rng.binomial(40, (1 + exact) / 2) / 40 - 1
    layers = [QuantumAwareNormalization(1, shots=s, momentum=0.0) for s in (40, None)]
    for layer in layers:
        layer(estimated)
    aware, plain = (float(layer.var[...][0]) for layer in layers)
    assert abs(aware / exact.var() - 1) < 0.15
    assert plain > 5 * exact.var()


def test_pure_noise_is_not_blown_up(x64):
    """Where shots are all the variance there is, outputs spread by about one, in both modes."""
    rng = np.random.default_rng(2)
    estimated = 2 * rng.binomial(100, 0.5, (256, 3)) / 100 - 1
    layer = QuantumAwareNormalization(3, shots=100, momentum=0.0)
    assert np.all(np.asarray(layer(estimated)).std(axis=0) < 1.1)
    layer.eval()
    assert np.all(np.asarray(layer(estimated)).std(axis=0) < 1.1)


def test_signal_is_found_in_small_batches(x64):
    """The mean over many batches of 8 has no bias beyond that of a population variance."""
    rng = np.random.default_rng(3)
    exact = 0.1 + 0.05 * rng.normal(size=(4000, 8, 1))
    estimated = 2 * rng.binomial(100, (1 + exact) / 2) / 100 - 1
    layer = QuantumAwareNormalization(1, shots=100, momentum=0.0)
    found = []
    for batch in estimated:
        layer(batch)
        found.append(float(layer.var[...][0]))
    assert abs(np.mean(found) / (0.05**2 * 7 / 8) - 1) < 0.1


def test_outputs_are_angles_that_do_not_wrap(x64):
    """Whatever comes in."""
    layer = QuantumAwareNormalization(1)
    x = np.concatenate([np.full(999, 0.1), [1.0]])[:, None]
    out = np.asarray(layer(x))
    assert np.all(np.abs(out) < np.pi) and out.max() > 3
    constant = QuantumAwareNormalization(1)
    np.testing.assert_allclose(constant(np.full((5, 1), 0.3)), 0, atol=1e-12)


def test_gradients(x64):
    """In the inputs, through the statistics of their batch."""
    layer = QuantumAwareNormalization(2, shots=100)
    _, in_x = checked_jacobians(layer, values(4, 2))
    assert np.abs(in_x).max() > 1


def test_under_nnx_jit_and_grad():
    """The running averages move inside nnx.jit, and nothing is trained."""
    layer, x = QuantumAwareNormalization(3, momentum=0.5), values().astype(np.float32)
    nnx.jit(lambda m, v: m(v))(layer, x)
    np.testing.assert_allclose(layer.mean[...], 0.5 * x.mean(0), atol=1e-6)
    assert jax.tree.leaves(nnx.state(layer, nnx.Param)) == []


BAD_ARGUMENTS = [
    ({"num_features": 0}, "`num_features` must be at least 1, but is 0"),
    ({"shots": 1}, "`shots` must be at least 2, but is 1"),
    ({"shots": 0}, "`shots` must be at least 1, but is 0"),
    ({"limit": 0}, "`limit` must be above 0, but is 0"),
    ({"epsilon": -1e-3}, "`epsilon` must be above 0, but is -0.001"),
    ({"momentum": 1.0}, "`momentum` must be at least 0 and below 1, but is 1.0"),
]


@pytest.mark.parametrize(("options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(options, text):
    """By name."""
    with pytest.raises(ModelError, match=text):
        QuantumAwareNormalization(**({"num_features": 3} | options))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((5, 2), r"`x` must have 3 features, but has shape \(5, 2\)"),
        ((), "`x` must have 3 features"),
        ((0, 3), "`x` must hold at least 2 samples to train on"),
        ((3,), "`x` must hold at least 2 samples to train on, .*Call `eval"),
    ],
)
def test_inputs_that_do_not_fit(shape, text):
    """Another length, or one sample in training."""
    with pytest.raises(ModelError, match=text):
        QuantumAwareNormalization(3)(jnp.ones(shape))
