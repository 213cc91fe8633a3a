"""Models as JSON and arrays: what is written, what comes back, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import ModelError
from qjax.nn import (
    AmplitudeEncoding,
    DecodingLayer,
    GaussianAngles,
    QuantumConv2D,
    QuantumFeatureExtractor,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    ShotExecutor,
    config,
    from_config,
    models,
)
from tests.nn.test_layers import LAYERS, make

HERE = __name__.split(".")[0]


def over_json(module, seed=1):
    """Rebuilt with other parameters, by way of text."""
    return from_config(json.loads(json.dumps(config(module))), nnx.Rngs(seed), trusted=(HERE,))


def check_round_trip(module, x):
    """The same structure; with the arrays, the same outputs bit for bit."""
    again = over_json(module)
    assert nnx.graphdef(again) == nnx.graphdef(module)
    assert config(again) == config(module)
    nnx.update(again, nnx.state(module))
    np.testing.assert_array_equal(again(x), module(x))


# --- every layer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name):
    """One row a layer, as in the tests of all layers."""
    check_round_trip(*make(name))


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_ready_made_models(name):
    """Whatever they are made of."""
    model = models.create(name, num_features=16, num_classes=3, rngs=nnx.Rngs(0))
    check_round_trip(model, np.random.default_rng(0).normal(size=(2, 16)))


def own_ansatz(theta):
    """A function at the top level of a module."""
    return qj.angle_encoding(theta, "RX")


@dataclass(frozen=True)
class OwnEncoding:
    """Turns by multiples of the features."""

    factor: float

    def __call__(self, x):
        return qj.angle_encoding(self.factor * x)


def test_functions_and_dataclasses():
    """Names of functions; frozen dataclasses with their fields; not the default entanglement."""
    layer = QuantumFeatureExtractor(
        2,
        entanglement="circular",
        encoding=OwnEncoding(0.5),
        ansatz=own_ansatz,
        angle_shape=(2,),
        executor=qj.expectation,
        rngs=nnx.Rngs(0),
    )
    assert config(layer) == {
        "type": "qjax.nn:QuantumFeatureExtractor",
        "arguments": {
            "num_qubits": 2,
            "depth": 3,
            "entanglement": "circular",
            "measurement_bases": ["Z", "X", "Y"],
            "encoding": {"type": f"{__name__}:OwnEncoding", "arguments": {"factor": 0.5}},
            "ansatz": {"function": f"{__name__}:own_ansatz"},
            "angle_shape": [2],
            "executor": {"function": "qjax:expectation"},
            "angle_init": {"function": "qjax.nn:uniform_angles"},
        },
    }
    check_round_trip(layer, np.array([[0.3, 0.4]]))


def test_initialisers():
    """Frozen dataclasses of qjax."""
    layer = QuantumReadout(2, 2, angle_init=GaussianAngles(rotations=3), rngs=nnx.Rngs(0))
    saved = config(layer)["arguments"]["angle_init"]
    assert saved["arguments"] == {"locality": 1, "rotations": 3}
    check_round_trip(layer, np.array([[0.3, 0.4]]))


def test_convolution():
    """Filters are built again from the layer's own arguments."""
    layer = QuantumConv2D(1, (2, 3), strides=2, num_filters=2, depth=1, rngs=nnx.Rngs(0))
    check_round_trip(layer, np.random.default_rng(0).uniform(size=(2, 5, 5, 1)))


def test_random_streams():
    """Key and counter are arrays: the next shots are those that the old layer takes next."""
    layer = AmplitudeEncoding(1, ("X",), executor=ShotExecutor(100, rngs=nnx.Rngs(0)))
    x = np.array([1.0, 0.0])
    assert layer(x) != layer(x)
    check_round_trip(layer, x)


def test_layers_of_flax():
    """Only what differs from their defaults, and functions by their public names."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(4, 3, use_bias=False, rngs=rngs),
        nnx.LayerNorm(3, epsilon=1e-3, rngs=rngs),
        jax.nn.relu,
        jnp.tanh,
        nnx.Linear(3, 2, dtype=jnp.float16, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Dropout(0.5, deterministic=True),
    )
    assert config(model) == {
        "type": "flax.nnx:Sequential",
        "arguments": {
            "fns": [
                {
                    "type": "flax.nnx:Linear",
                    "arguments": {"in_features": 4, "out_features": 3, "use_bias": False},
                },
                {"type": "flax.nnx:LayerNorm", "arguments": {"num_features": 3, "epsilon": 1e-3}},
                {"function": "jax.nn:relu"},
                {"function": "jax.numpy:tanh"},
                {
                    "type": "flax.nnx:Linear",
                    "arguments": {
                        "in_features": 3,
                        "out_features": 2,
                        "dtype": {"dtype": "float16"},
                    },
                },
                {"type": "flax.nnx:Dropout", "arguments": {"rate": 0.5}},
                {
                    "type": "flax.nnx:Dropout",
                    "arguments": {"rate": 0.5, "deterministic": True, "rngs": None},
                },
            ]
        },
    }
    check_round_trip(model, np.ones((2, 4), np.float32))


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (jnp.bfloat16, "bfloat16"),
        (np.dtype("float16"), "float16"),
        (np.float16, "float16"),
        (float, "float"),
    ],
)
def test_dtypes(dtype, name):
    """In all the ways in which they are given; Python's float follows the precision."""
    layer = nnx.Linear(2, 1, param_dtype=dtype, rngs=nnx.Rngs(0))
    assert config(layer)["arguments"]["param_dtype"] == {"dtype": name}
    check_round_trip(layer, np.ones((1, 2), np.float32))


def test_quantum_and_classical_layers_together():
    """Nested, in sequences of both kinds."""
    rngs = nnx.Rngs(0)
    stack = QuantumSequential(
        QuantumFeatureExtractor(2, rngs=rngs),
        QuantumPooling(2, kind="controlled", rngs=rngs),
        QuantumReadout(1, 2, rngs=rngs),
    )
    model = nnx.Sequential(nnx.Sequential(nnx.Linear(3, 4, rngs=rngs)), stack, DecodingLayer())
    check_round_trip(model, np.ones((2, 3), np.float32))


def test_mode_of_evaluation():
    """A model that was switched to evaluation comes back so."""
    model = nnx.Sequential(nnx.BatchNorm(2, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    model.eval()
    check_round_trip(model, np.array([[1.0, 2.0], [3.0, 5.0]], np.float32))


# --- what cannot be saved -------------------------------------------------------------------------


class Own(nnx.Module):
    """Keeps one of its arguments."""

    def __init__(self, width: int, height: int = 1):
        self.width = width
        self.kernel = nnx.Param(jnp.zeros((width, height)))


class Altered(nnx.Module):
    """Keeps its argument, but not as it was given."""

    def __init__(self, width: int):
        self.width = width + 1


class Holding(nnx.Module):
    """Keeps whatever it is given."""

    def __init__(self, value):
        self.value = value


def scaled(factor: float) -> Callable:
    """A closure."""
    return lambda x: qj.angle_encoding(factor * x)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [(lambda x: qj.angle_encoding(x), "<lambda>"), (scaled(2.0), "scaled.<locals>.<lambda>")],
)
def test_functions_without_a_name(encoding, shown):
    """Which argument it is, and what to give instead."""
    layer = QuantumPooling(2, encoding=encoding)
    text = (
        f"Argument `encoding` of QuantumPooling cannot be saved, since nothing leads back to .*"
        f"{shown}. Give a function that is defined at the top level of a module, or a frozen "
        "dataclass with `__call__`."
    )
    with pytest.raises(ModelError, match=text):
        config(layer)


def test_arguments_that_are_not_kept():
    """The default would hide them."""
    text = "Own cannot be saved, since it does not keep its argument `height`. Set an attribute"
    with pytest.raises(ModelError, match=text):
        config(Own(2, 3))


def test_arguments_that_are_kept_otherwise():
    """Nothing is lost silently: the rebuilt module is compared with the first."""
    with pytest.raises(ModelError, match="Altered cannot be saved, since it is not what its"):
        config(Altered(2))


def test_layers_that_are_used_twice():
    """They would come back as two, with parameters of their own."""
    layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="Sequential cannot be saved, since it is not what its"):
        config(nnx.Sequential(layer, layer))


def test_other_values():
    """Named, with their type."""
    with pytest.raises(
        ModelError, match="Argument `value` of Holding must be a number, .* complex"
    ):
        config(Holding(1j))
    with pytest.raises(ModelError, match=r"Argument `value` of Holding\[1\] must be a number"):
        config(Holding((1, 2j)))


def test_what_is_no_module():
    """Named by its type."""
    with pytest.raises(ModelError, match="`module` must be an nnx.Module, but is float"):
        config(3.0)  # pyright: ignore[reportArgumentType]


# --- what is not built ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        {"type": "os:system", "arguments": {}},
        {"function": "os:system"},
        {"type": "subprocess:Popen", "arguments": {"args": "true"}},
        {"function": "jax._src.compiler:os.system"},
        {"type": "qjax.nn._layer:jax.os.system", "arguments": {}},
        {"function": "tests.nn.test_config:own_ansatz"},
    ],
)
def test_names_outside_the_trusted_packages(value):
    """Also by way of a trusted module that imports another."""
    text = r"(must name classes and functions of flax, jax, qjax, but|must name what exists)"
    with pytest.raises(ModelError, match=text):
        from_config({"type": "flax.nnx:Sequential", "arguments": {"fns": [value]}}, nnx.Rngs(0))


def test_a_foreign_function_behind_a_trusted_module():
    """A module's attributes are looked at, not only its name."""
    assert jax.numpy.save is np.save
    with pytest.raises(ModelError, match="but names 'jax.numpy:save'. If you trust"):
        from_config({"function": "jax.numpy:save"}, nnx.Rngs(0))


def test_trusted_packages():
    """Named by the caller."""
    saved = config(Holding(own_ansatz))
    with pytest.raises(ModelError, match="name its package in `trusted`"):
        from_config(saved, nnx.Rngs(0))
    again = from_config(saved, nnx.Rngs(0), trusted=(HERE,))
    assert isinstance(again, Holding) and again.value is own_ansatz


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"type": "jax.nn:relu", "arguments": {}}, "must name nnx.Modules and frozen dataclasses"),
        ({"type": "qjax:Circuit", "arguments": {}}, "must name nnx.Modules and frozen"),
        ({"type": "qjax.nn:Nothing", "arguments": {}}, "must name what exists, but names 'qjax.nn"),
        ({"function": "qjax.nothing:f"}, "must name what exists, but names 'qjax.nothing:f'"),
        ({"function": 3}, "must name classes and functions of .*, but names 3"),
        ({"type": "qjax.nn:QuantumPooling"}, "but config is {'type': 'qjax.nn:QuantumPooling'}"),
        ({"dtype": "float99"}, "but config is {'dtype': 'float99'}"),
        ([1, {}], r"but config\[1\] is {}"),
        (
            {"type": "qjax.nn:QuantumPooling", "arguments": {"num_qubits": 2, "depth": 2}},
            "unexpected keyword .*depth",
        ),
        ({"type": "qjax.nn:QuantumPooling", "arguments": {}}, "missing a required .*num_qubits"),
        ({"function": "jax.nn:relu"}, "must describe an nnx.Module, but"),
        ("relu", "must describe an nnx.Module, but is 'relu'"),
    ],
)
def test_malformed_configs(value, text):
    """What is wrong is shown."""
    with pytest.raises(ModelError, match=text):
        from_config(value, nnx.Rngs(0))


def test_arguments_out_of_range():
    """The layer's own errors."""
    saved = {"type": "qjax.nn:QuantumPooling", "arguments": {"num_qubits": 3}}
    with pytest.raises(ModelError, match="`num_qubits` must be divisible by pool_size=2"):
        from_config(saved, nnx.Rngs(0))
