"""What a model is made of, as a table, and how Flax shows layers."""

import io
from contextlib import redirect_stdout

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import (
    AdaptiveLayer,
    DecodingLayer,
    QuantumConv2D,
    QuantumFeatureExtractor,
    QuantumNonlinearity,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    models,
    summary,
)
from tests.nn.test_layers import LAYERS, make


def stack():
    """Three qubits, all of whose gates are easily counted."""
    rngs = nnx.Rngs(0)
    return QuantumSequential(
        QuantumFeatureExtractor(4, depth=2, entanglement="linear", rngs=rngs),
        QuantumPooling(4, kind="measurement"),
        QuantumReadout(2, 3, rngs=rngs),
    )


def test_one_layer():
    """RY and RZ on each qubit and a chain of CX, twice, after the encoding."""
    layer = QuantumFeatureExtractor(3, depth=2, entanglement="linear", rngs=nnx.Rngs(0))
    (row,) = summary(layer, jnp.ones((5, 8))).layers
    assert row.name == "0 QuantumFeatureExtractor"
    assert (row.qubits, row.parameters, row.output_shape) == (3, 12, (5, 9))
    assert row.gates == {"StatePreparation": 1, "RY": 6, "RZ": 6, "CX": 4}
    # encoding; RY, RZ; CX 0-1, 1-2; qubit 0 goes on while 1 and 2 wait: RY, RZ; CX; CX
    assert row.depth == layer.circuit(np.ones(8)).depth == 1 + 2 + 2 + 2 + 2


def test_ancillas_of_channels():
    """One for each damping of the layer, printed behind the qubits."""
    found = summary(QuantumNonlinearity(3), jnp.ones((5, 3)))
    assert (found.layers[0].qubits, found.layers[0].ancillas) == (3, 3)
    assert str(found).splitlines()[1].split()[2] == "3+3"


def test_layers_of_a_stack():
    """The whole circuit first, then what each layer does to the state."""
    found = summary(stack(), jnp.ones((5, 16)))
    whole, *inner = found.layers
    assert [row.name for row in found.layers] == [
        "0 QuantumSequential",
        "0.0 QuantumFeatureExtractor",
        "0.1 QuantumPooling",
        "0.2 QuantumReadout",
    ]
    assert [row.gates for row in inner] == [
        {"StatePreparation": 1, "RY": 8, "RZ": 8, "CX": 6},
        {"CX": 2},
        {"RY": 2},
    ]
    assert whole.gates == {"StatePreparation": 1, "RY": 10, "RZ": 8, "CX": 8}
    assert whole.depth == stack().circuit(np.ones(16)).depth
    assert [row.depth for row in inner[1:]] == [1, 1]
    assert [row.kept_qubits for row in inner] == [4, 2, 2]
    assert [row.parameters for row in found.layers] == [18, 16, 0, 2]
    assert (found.parameters, whole.output_shape, whole.qubits) == (18, (5, 3), 4)


def test_shapes_go_from_layer_to_layer():
    """Through functions, layers of Flax and nested sequences."""
    rngs = nnx.Rngs(0)
    first = nnx.Sequential(nnx.Linear(5, 4, rngs=rngs), jax.nn.relu)
    extractor = QuantumFeatureExtractor(2, measurement_bases=("Z",), rngs=rngs)
    found = summary(nnx.Sequential(first, extractor, DecodingLayer()), jnp.ones((7, 5)))
    assert [(row.name, row.qubits, row.output_shape) for row in found.layers] == [
        ("0.0 Linear", None, (7, 4)),
        ("0.1 relu", None, (7, 4)),
        ("1 QuantumFeatureExtractor", 2, (7, 2)),
        ("2 DecodingLayer", None, (7, 2)),
    ]
    assert found.parameters == 5 * 4 + 4 + 12


def test_filters_of_a_convolution():
    """Gates of both circuits, depth of one."""
    layer = QuantumConv2D(1, 2, num_filters=2, depth=1, entanglement="none", rngs=nnx.Rngs(0))
    (row,) = summary(layer, jnp.ones((5, 4, 4, 1))).layers
    assert (row.qubits, row.depth, row.parameters) == (3, 3, 2 * 3 * 2)
    assert row.gates == {"StatePreparation": 2, "RY": 6, "RZ": 6}


def test_circuit_of_an_adaptive_layer():
    """That of its quantum side."""
    layer = AdaptiveLayer(QuantumPooling(4), nnx.Linear(4, 2, rngs=nnx.Rngs(0)))
    (row,) = summary(layer, jnp.ones((5, 4))).layers
    assert (row.qubits, row.gates, row.parameters) == (4, {"RY": 4}, 4 * 2 + 2 + 1)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name):
    """Its output shape and its parameters; nothing runs, so no number changes."""
    layer, x = make(name)
    before = jax.tree.map(np.array, nnx.state(layer, nnx.Not(nnx.RngState)))
    found = summary(layer, x)
    outputs = [row.output_shape for row in found.layers if row.output_shape is not None]
    assert outputs[-1] == jax.eval_shape(layer, x).shape
    leaves = jax.tree.leaves(nnx.state(layer, nnx.Param))
    assert found.parameters == sum(leaf.size for leaf in leaves)
    after = nnx.state(layer, nnx.Not(nnx.RngState))
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_ready_made_models(name):
    """All parameters are in some row."""
    model = models.create(name, num_features=16, num_classes=3, rngs=nnx.Rngs(0))
    found = summary(model, jnp.ones((2, 16)))
    outer = [row for row in found.layers if row.output_shape is not None]
    assert sum(row.parameters for row in outer) == found.parameters
    assert outer[-1].output_shape == (2, 3)


def test_table():
    """What is not there is a dash."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(stack(), DecodingLayer(3, 2, rngs=rngs))
    lines = str(summary(model, jnp.ones((5, 16)))).splitlines()
    assert lines == [
        "layer                        qubits  depth  parameters  output    gates",
        "0 QuantumSequential               4     12          18  (5, 3)    "
        "1 StatePreparation, 10 RY, 8 RZ, 8 CX",
        "0.0 QuantumFeatureExtractor       4     10          16  4 qubits  "
        "1 StatePreparation, 8 RY, 8 RZ, 6 CX",
        "0.1 QuantumPooling                4      1           0  2 qubits  2 CX",
        "0.2 QuantumReadout                2      1           2  2 qubits  2 RY",
        "1 DecodingLayer                   -      -           6  (5, 2)    -",
        "total                                               24",
    ]


def test_inputs_that_do_not_fit():
    """As the layer says."""
    with pytest.raises(ModelError, match="must have between 1 and 16 features"):
        summary(stack(), jnp.ones((5, 17)))


@pytest.mark.parametrize("name", LAYERS)
def test_flax_shows_layers(name):
    """Names, and shapes of parameters; of a single number its value."""
    layer, x = make(name)
    printed = io.StringIO()
    with redirect_stdout(printed):
        nnx.display(layer, summary(layer, x))
    text = printed.getvalue()
    assert text.startswith(type(layer).__name__) and "output" in text
    for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param)):
        assert (f"shape={leaf.shape}" if leaf.size > 1 else "value=Array(") in text
