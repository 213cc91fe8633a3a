"""The share of floating-point operations that quantum layers do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import DecodingLayer, QuantumFeatureExtractor, models, quantum_share

X = jnp.ones((4, 4))


def share_beside(width: int) -> float:
    """Of a two-qubit extractor behind a linear layer of some width."""
    rngs = nnx.Rngs(0)
    before = [nnx.Linear(4, width, rngs=rngs), jax.nn.relu, nnx.Linear(width, 4, rngs=rngs)]
    return quantum_share(nnx.Sequential(*before, QuantumFeatureExtractor(2, depth=1, rngs=rngs)), X)


def test_falls_as_the_classical_part_grows():
    """Between 0 and 1, from mostly quantum to mostly classical."""
    small, large = share_beside(1), share_beside(1000)
    assert 0.5 < small < 1
    assert 0 < large < 0.1


def test_of_a_quantum_layer_alone():
    """All of it but the cross-entropy."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    assert 0.9 < quantum_share(layer, X) <= 1


def test_of_classical_layers_alone():
    """Nothing."""
    assert quantum_share(nnx.Sequential(DecodingLayer(4, 3, rngs=nnx.Rngs(0))), X) == 0


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_of_the_models_for_digits(name):
    """At least the 0.60 that the project promises."""
    model = models.create(name, num_features=64, num_classes=10, rngs=nnx.Rngs(0))
    assert 0.6 <= quantum_share(model, jnp.ones((32, 64))) <= 1


def test_leaves_the_model_as_it_is():
    """Counting runs nothing."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    before = np.asarray(layer.theta[...])
    assert quantum_share(layer, X) == quantum_share(layer, X)
    np.testing.assert_array_equal(layer.theta[...], before)


def test_of_nested_and_stateful_layers():
    """Nested sequences count as if written out; random and running state is no obstacle."""
    rngs = nnx.Rngs(0)
    quantum = QuantumFeatureExtractor(2, depth=1, rngs=rngs)
    first, last = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
    flat = quantum_share(nnx.Sequential(first, quantum, last), X)
    assert quantum_share(nnx.Sequential(nnx.Sequential(first, quantum), last), X) == flat > 0.5
    extra = [nnx.Dropout(0.1, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)]
    assert 0.5 < quantum_share(nnx.Sequential(first, *extra, quantum, last), X) < flat


def test_hidden_quantum_layers():
    """A module that is not a sequence could do anything with the layers inside it."""

    class Wrapped(nnx.Module):
        def __init__(self):
            self.inner = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))

    with pytest.raises(ModelError, match="but Wrapped hides some"):
        quantum_share(nnx.Sequential(Wrapped()), X)


def test_inputs_without_a_batch():
    """There must be one batch axis."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match=r"must have shape \(batch, features\), but has shape"):
        quantum_share(layer, X[0])


def test_model_whose_layers_cannot_be_told_apart():
    """Named by its type."""
    text = "`model` must be an nnx.Sequential or a quantum layer, but is Linear"
    with pytest.raises(ModelError, match=text):
        quantum_share(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), X)
