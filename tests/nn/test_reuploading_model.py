"""The data re-uploading classifier: what it computes, and that all of it can learn."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import qjax as qj
from qjax.data import linearly_separable
from qjax.errors import ModelError
from qjax.nn import Angle, QuantumSequential, compute_split
from qjax.nn.models import ReuploadingLayer, reuploading
from qjax.train import Learner, evaluate, fit
from tests.nn.checks import CIRCULAR, LINEAR, checked_jacobians, largest_slopes, layered, readings
from tests.support import oracle

SIZES = [  # features, classes, options: qubits, depth
    (1, 2, {}, 1, 3),
    (2, 2, {}, 1, 5),
    (3, 3, {}, 2, 4),
    (5, 2, {"num_qubits": 2, "uploads": 1}, 2, 2),
    (10, 2, {"uploads": 1}, 5, 1),
    (4, 2, {"num_qubits": 3, "uploads": 2}, 3, 2),
]


def features(num_features: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, num_features)


def build(num_features: int, num_classes: int, seed: int = 0, **options: Any) -> Any:
    return reuploading(
        num_features=num_features, num_classes=num_classes, rngs=nnx.Rngs(seed), **options
    )


def angles_by_hand(layer: Any, x: np.ndarray) -> np.ndarray:
    """Angle after angle, with the features in turns."""
    theta, scaling = np.asarray(layer.theta[...]), np.asarray(layer.scaling[...])
    turns = [
        t + s * x[i % len(x)] for i, (t, s) in enumerate(zip(theta.flat, scaling.flat, strict=True))
    ]
    return np.reshape(turns, theta.shape)


@pytest.mark.parametrize(("num_features", "num_classes", "options", "qubits", "depth"), SIZES)
@pytest.mark.usefixtures("x64")
def test_scores_equal_the_oracle(num_features, num_classes, options, qubits, depth):
    """RY and RZ by affine functions of the features, CX in a ring, X of every qubit, projected."""
    model, x = build(num_features, num_classes, **options), features(num_features)
    layer, projection = model.layers
    assert (layer.num_qubits, layer.depth) == (qubits, depth)
    ops = layered(angles_by_hand(layer, x), CIRCULAR.get(qubits, LINEAR[qubits]))
    values = readings(oracle.statevector(qubits, ops), "X")
    np.testing.assert_allclose(layer(x), values, atol=1e-13)
    np.testing.assert_allclose(model(x), 8 * values @ np.asarray(projection.kernel[...]))


@pytest.mark.parametrize(("num_features", "num_classes", "options", "qubits", "depth"), SIZES)
@pytest.mark.usefixtures("x64")
def test_gradients_equal_finite_differences_and_none_is_dead(
    num_features, num_classes, options, qubits, depth
):
    """In every angle, factor, weight and input."""
    model = build(num_features, num_classes, **options)
    in_leaves, in_x = checked_jacobians(model, features(num_features))
    assert [leaf.shape[1:] for leaf in in_leaves] == [
        (depth, qubits, 2),
        (depth, qubits, 2),
        (qubits, num_classes),
    ]
    for leaf in in_leaves:
        assert np.all(largest_slopes(leaf, num_classes) > 1e-6)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-6)


@pytest.mark.parametrize(
    ("num_features", "num_classes", "options", "qubits", "depth"),
    [
        (10, 2, {}, 5, 5),
        (4, 2, {}, 2, 5),
        (64, 10, {}, 6, 27),
        (2, 10, {}, 4, 2),
        (64, 10, {"num_qubits": 8, "uploads": 2}, 8, 8),
        (1, 1, {"uploads": 1}, 1, 1),
    ],
)
def test_size(num_features, num_classes, options, qubits, depth):
    """Half the features at most, enough for the classes; each feature is encoded often enough."""
    model: Any = nnx.eval_shape(lambda: build(num_features, num_classes, **options))
    layer = model.layers[0]
    assert (layer.num_qubits, layer.depth) == (qubits, depth)
    assert layer.theta.shape == layer.scaling.shape == (depth, qubits, 2)
    uploads = 2 * qubits * depth // num_features
    assert uploads >= options.get("uploads", 5)
    assert 2 * qubits * (depth - 1) < options.get("uploads", 5) * num_features


def test_nearly_all_parameters_are_in_the_circuit():
    """Angles and factors have the type that filters name."""
    model = build(10, 2)
    angles = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, Angle)))
    rest = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Not(Angle))))
    assert (angles, rest) == (100, 10)
    assert compute_split(model, np.ones((8, 10)), timed=False).quantum_flops_share > 0.9


def test_batch_axes():
    """Any number of them; jit, and one row after the other."""
    model = build(5, 3)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 4, 5)).astype(np.float32)
    scores = model(x)
    assert scores.shape == (2, 4, 3) and scores.dtype == np.float32
    np.testing.assert_allclose(jax.jit(lambda m, v: m(v))(model, x), scores, atol=1e-5)
    rows = [[model(row) for row in block] for block in x]
    np.testing.assert_allclose(rows, scores, atol=1e-5)


def test_layer_comes_first_in_a_sequential():
    """Its circuit is handed on; after another layer it has nothing to act with."""
    layer = ReuploadingLayer(4, 2, 3, rngs=nnx.Rngs(0))
    x = features(4)
    joined = QuantumSequential(layer)
    np.testing.assert_allclose(joined(x), layer(x), atol=1e-6)
    assert layer.circuit(x) == layer.encode(x)
    with pytest.raises(ModelError, match="ReuploadingLayer needs the inputs in every layer, so"):
        QuantumSequential(ReuploadingLayer(4, 2, 3, rngs=nnx.Rngs(0)), layer)(x)


def test_executor_computes_the_expectation_values():
    """It gets the circuit and X of every qubit."""
    seen = []

    def executor(circuit, observables):
        seen.append(len(observables))
        return qj.expectation(circuit, observables)

    layer = ReuploadingLayer(4, 2, 3, executor=executor, rngs=nnx.Rngs(0))
    plain = ReuploadingLayer(4, 2, 3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(layer(features(4)), plain(features(4)), atol=1e-6)
    assert seen == [2]


def test_learns_what_frozen_angles_cannot():
    """Points on two sides of a line, turned by 45 degrees to the axes, through one qubit."""
    x, y = linearly_separable(200, 2, seed=0)
    learner = Learner(build(2, 2), optax.adam(0.03))
    accuracies = []
    for variables in (..., nnx.Not(Angle)):
        state = fit(
            learner, learner.start(), x[:150], y[:150], epochs=40, batch_size=50, seed=0,
            trainable=learner.trainable(variables),
        ).state  # fmt: skip
        accuracies.append(evaluate(learner, state, x[150:], y[150:]).accuracy)
    assert accuracies[0] > 0.95 and accuracies[0] > accuracies[1] + 0.1


BAD_ARGUMENTS = [
    ({"num_features": 0}, "`num_features` must be at least 1, but is 0"),
    ({"num_features": 2.5}, "`num_features` must be an integer, but is 2.5"),
    ({"num_classes": 0}, "`num_classes` must be at least 1, but is 0"),
    ({"uploads": 0}, "`uploads` must be at least 1, but is 0"),
    ({"num_qubits": 0}, "`num_qubits` must be between 1 and 40, but is 0"),
    ({"num_qubits": "2"}, "`num_qubits` must be an integer, but is '2'"),
]


@pytest.mark.parametrize(("arguments", "text"), BAD_ARGUMENTS)
def test_bad_arguments(arguments, text):
    """Numbers out of range."""
    with pytest.raises(ModelError, match=text):
        build(**{"num_features": 4, "num_classes": 2, **arguments})


def test_layer_with_fewer_angles_than_features():
    """Some feature would not enter."""
    text = "`num_features` must be at most 8, .* 2 layers on 2 qubits, but is 9. Use more layers"
    with pytest.raises(ModelError, match=text):
        ReuploadingLayer(9, 2, 2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("x", [np.ones(3), np.ones((2, 5)), 1.0])
def test_inputs_that_do_not_fit(x):
    """Another number of features."""
    with pytest.raises(ModelError, match="`x` must have 4 features, but has shape"):
        build(4, 2)(x)


def test_inputs_that_are_not_finite():
    """NaN would reach the scores."""
    with pytest.raises(ModelError, match="`x` must be finite"):
        build(2, 2)(np.array([0.0, np.nan]))
