"""QuantumFeatureExtractor against the oracle and closed forms."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import EncodingError, ModelError, QjaxError
from qjax.nn import Angle, QuantumFeatureExtractor, uniform_angles
from tests.nn.checks import (
    CIRCULAR,
    FULL,
    LINEAR,
    checked_jacobians,
    iqp,
    largest_slopes,
    layered,
    prepared,
    readings,
    rotations,
)
from tests.support import oracle
from tests.support.oracle import Op

X5 = np.array([0.3, -0.8, 0.1, 0.5, 0.2])
X3 = np.array([0.4, -0.9, 1.3])


def strong(theta: Any) -> list[Op]:
    """Layers of RZ, RY, RZ, then CX over a distance that grows."""
    depth, n, _ = np.shape(theta)
    ops = []
    for layer in range(depth):
        for q in range(n):
            ops += [
                Op(name, (q,), (float(a),))
                for name, a in zip(("RZ", "RY", "RZ"), theta[layer][q], strict=True)
            ]
        r = layer % (n - 1) + 1
        ops += [Op("CX", (q, (q + r) % n)) for q in range(n)]
    return ops


CASES = {
    "full, amplitude": ({}, X5, prepared(X5, 3), lambda t: layered(t, FULL[3])),
    "linear, angle": (
        {"entanglement": "linear", "encoding": "angle", "measurement_bases": ("Z",)},
        X3,
        rotations(X3),
        lambda t: layered(t, LINEAR[3]),
    ),
    "circular, iqp": (
        {"entanglement": "circular", "encoding": "iqp", "measurement_bases": ("Y", "X")},
        X3,
        iqp(X3),
        lambda t: layered(t, CIRCULAR[3]),
    ),
    "strongly entangling": ({"ansatz": "strongly_entangling"}, X5, prepared(X5, 3), strong),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_oracle(case, x64):
    """Encoding, ansatz and the order of the readings."""
    options, x, encoding, ansatz = CASES[case]
    layer = QuantumFeatureExtractor(3, depth=2, rngs=nnx.Rngs(0), **options)
    ket = oracle.statevector(3, [*encoding, *ansatz(layer.theta[...])])
    expected = readings(ket, options.get("measurement_bases", ("Z", "X", "Y")))
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)


def test_reuploading_equals_oracle(x64):
    """The inputs enter again before every layer of the ansatz."""
    layer = QuantumFeatureExtractor(
        3, depth=2, entanglement="circular", encoding="reuploading", rngs=nnx.Rngs(0)
    )
    theta = np.asarray(layer.theta[...])
    ops = [op for t in theta for op in (*rotations(X3), *layered(t[None], CIRCULAR[3]))]
    expected = readings(oracle.statevector(3, ops), "ZXY")
    np.testing.assert_allclose(layer(X3), expected, atol=1e-12)
    (in_theta,), in_x = checked_jacobians(layer, X3)
    assert np.all(largest_slopes(in_theta, 9) > 1e-3) and np.all(np.abs(in_x).max(axis=0) > 1e-3)
    for refused in (layer.operations, lambda: layer.encode(X3)):
        with pytest.raises(ModelError, match="must come first|no circuit of its own"):
            refused()


def turned(theta):
    """An ansatz of one's own."""
    return qj.angle_encoding(theta, "RX")


def test_ansatz_by_a_function(x64):
    """With angles of a shape of one's own; a circuit on other qubits is refused."""
    options = {"encoding": "angle", "ansatz": turned, "measurement_bases": ("Z",)}
    layer = QuantumFeatureExtractor(2, angle_shape=(2,), rngs=nnx.Rngs(0), **options)
    theta = np.asarray(layer.theta[...])
    expected = np.cos(X3[:2]) * np.cos(theta)
    np.testing.assert_allclose(layer(X3[:2]), expected, atol=1e-12)
    other = QuantumFeatureExtractor(2, angle_shape=(3,), rngs=nnx.Rngs(0), **options)
    with pytest.raises(ModelError, match="`ansatz` must return a circuit on 2 qubits, .* on 3"):
        other(X3[:2])


def test_without_entanglers(x64):
    """Every output depends on its own qubit's input alone."""
    layer = QuantumFeatureExtractor(3, 2, "none", ("Z",), encoding="angle", rngs=nnx.Rngs(0))
    _, in_x = checked_jacobians(layer, X3)
    assert np.all(np.abs(np.diag(in_x)) > 1e-3)
    np.testing.assert_allclose(in_x - np.diag(np.diag(in_x)), 0, atol=1e-12)


def test_one_qubit_closed_form(x64):
    """RY(x + a) then RZ(b): a point of the Bloch sphere."""
    layer = QuantumFeatureExtractor(1, depth=1, encoding="angle", rngs=nnx.Rngs(1))
    a, b = np.asarray(layer.theta[...])[0, 0]
    x = np.linspace(-3, 3, 5)
    t = x + a
    expected = [np.cos(t), np.sin(t) * np.cos(b), np.sin(t) * np.sin(b)]
    np.testing.assert_allclose(layer(x[:, None]), np.transpose(expected), atol=1e-12)


def test_gradients(x64):
    """Every angle and every input of an entangling layer moves some output."""
    layer = QuantumFeatureExtractor(2, depth=2, rngs=nnx.Rngs(2))
    (in_theta,), in_x = checked_jacobians(layer, np.array([0.3, -0.8, 0.4]))
    assert np.all(largest_slopes(in_theta, 6) > 1e-3)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def test_gradients_of_the_other_options(x64):
    """Strongly entangling, after an encoding whose inputs are angles."""
    layer = QuantumFeatureExtractor(
        2, depth=1, encoding="iqp", ansatz="strongly_entangling", rngs=nnx.Rngs(3)
    )
    (in_theta,), in_x = checked_jacobians(layer, X3[:2])
    assert np.all(largest_slopes(in_theta, 6) > 1e-3)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def test_dead_angles_of_a_reading_in_z_alone(x64):
    """The last RZ is diagonal, CX permutes basis states: neither changes a probability after it."""
    layer = QuantumFeatureExtractor(2, depth=2, measurement_bases=("Z",), rngs=nnx.Rngs(2))
    (in_theta,), _ = checked_jacobians(layer, np.array([0.3, -0.8, 0.4]))
    dead = largest_slopes(in_theta, 2) < 1e-10
    expected = np.zeros((2, 2, 2), bool)
    expected[-1, :, 1] = True
    np.testing.assert_array_equal(dead, expected)


def test_all_bases_come_from_one_run():
    """The executor is asked once, for all observables, and its answer is the output."""
    calls = []

    def executor(circuit, observables):
        calls.append((circuit.num_qubits, [str(o) for o in observables]))
        return jnp.arange(4.0)

    layer = QuantumFeatureExtractor(
        2, depth=1, measurement_bases=("X", "Z"), executor=executor, rngs=nnx.Rngs(0)
    )
    assert layer(np.ones(4)).tolist() == [0, 1, 2, 3]
    expected = [str(1.0 * qj.X(0)), str(1.0 * qj.X(1)), str(1.0 * qj.Z(0)), str(1.0 * qj.Z(1))]
    assert calls == [(2, expected)]


def test_encoding_by_a_function(x64):
    """Any function from features to a circuit."""
    x = np.array([0.2, 1.1])
    named = QuantumFeatureExtractor(2, depth=1, encoding="angle", rngs=nnx.Rngs(0))
    given = QuantumFeatureExtractor(2, depth=1, encoding=qj.angle_encoding, rngs=nnx.Rngs(0))
    wide = QuantumFeatureExtractor(
        2, depth=1, encoding=lambda v: qj.angle_encoding(v, "RX"), rngs=nnx.Rngs(0)
    )
    np.testing.assert_allclose(given(x), named(x), atol=1e-14)
    assert np.abs(wide(x) - named(x)).max() > 1e-2


def test_angles_are_drawn_uniformly():
    """From [-pi, pi), in the shape of the ansatz, unless another initialiser is given."""
    layer = QuantumFeatureExtractor(8, depth=50, rngs=nnx.Rngs(0))
    theta = np.asarray(layer.theta[...])
    assert isinstance(layer.theta, Angle) and theta.shape == (50, 8, 2)
    assert -np.pi <= theta.min() < -3.1 and 3.1 < theta.max() < np.pi
    assert abs(theta.std() - np.pi / np.sqrt(3)) < 0.1
    np.testing.assert_array_equal(uniform_angles(jax.random.key(1), (3,)).shape, (3,))
    zero = QuantumFeatureExtractor(
        2,
        depth=3,
        ansatz="strongly_entangling",
        angle_init=lambda _, shape: jnp.zeros(shape),
        rngs=nnx.Rngs(0),
    )
    np.testing.assert_array_equal(zero.theta[...], np.zeros((3, 2, 3)))


def test_zero_vector():
    """An error where it is known; inside jit |0...0> with zero gradient, which `checked` tells."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    with pytest.raises(EncodingError, match="`x` must not be the zero vector"):
        layer(np.zeros(4))
    value, slope = jax.jit(jax.value_and_grad(lambda x: layer(x).sum()))(jnp.zeros(4))
    np.testing.assert_allclose(value, layer(np.array([1.0])).sum(), atol=1e-6)
    np.testing.assert_array_equal(slope, np.zeros(4))
    with pytest.raises(QjaxError, match="`x` must not be the zero vector"):
        qj.checked(jax.jit(layer))(jnp.zeros(4))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_that_are_not_finite(bad):
    """Never a silent NaN."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="`x` must be finite, but holds NaN or infinity"):
        layer(np.array([1.0, bad]))


BAD_ARGUMENTS = [
    ((0,), {}, "`num_qubits` must be between 1 and 40, but is 0"),
    ((41,), {}, "`num_qubits` must be between 1 and 40, but is 41"),
    ((2.0,), {}, "`num_qubits` must be an integer, but is 2.0"),
    ((2, 0), {}, "`depth` must be at least 1, but is 0"),
    ((2, 1.5), {}, "`depth` must be an integer, but is 1.5"),
    ((2, 1, "star"), {}, "`entanglement` must be one of .*, but is 'star'"),
    ((2, 1, "full", ()), {}, r"`measurement_bases` must hold distinct letters .*, but is \(\)"),
    ((2, 1, "full", ("Z", "Z")), {}, "must hold distinct letters of 'X', 'Y', 'Z'"),
    ((2, 1, "full", ("I",)), {}, r"must hold distinct letters .* but is \('I',\)"),
    ((2,), {"encoding": "basis"}, "`encoding` must be one of 'amplitude', .*, but is 'basis'"),
    ((2,), {"encoding": 3}, "`encoding` must be one of .*, but is 3"),
    ((2,), {"ansatz": "qaoa"}, "`ansatz` must be one of 'hardware_efficient', .* but is 'qaoa'"),
    ((1,), {"ansatz": "tree_tensor"}, "`num_qubits` must be at least 2 for ansatz='tree_tensor'"),
    ((2,), {"angle_shape": (3,)}, "`angle_shape` belongs to an ansatz of your own, but `ansatz`"),
    ((2,), {"ansatz": qj.angle_encoding}, "`angle_shape` must be the shape .*, but is None"),
    ((2,), {"ansatz": qj.angle_encoding, "angle_shape": (0,)}, "`angle_shape` must be at least 1"),
    (
        (2,),
        {"encoding": "reuploading", "ansatz": "strongly_entangling"},
        "`ansatz` must be 'hardware_efficient' for encoding='reuploading'",
    ),
]


@pytest.mark.parametrize(("args", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(args, options, text):
    """Each is refused when the layer is built."""
    with pytest.raises(ModelError, match=text):
        QuantumFeatureExtractor(*args, rngs=nnx.Rngs(0), **options)


BAD_INPUTS = [
    ("amplitude", (5,), "between 1 and 4 features for amplitude encoding on 2 qubits, .*(5,)"),
    ("amplitude", (0,), "between 1 and 4 features"),
    ("amplitude", (), "between 1 and 4 features .*, but has shape"),
    ("angle", (3,), "`x` must have 2 features, one per qubit, for angle encoding, .*(3,)"),
    ("reuploading", (3,), "`x` must have 2 features, one per qubit, for reuploading .*(3,)"),
    ("iqp", (7, 1), "`x` must have 2 features, one per qubit, for iqp encoding, .*(7, 1)"),
]


@pytest.mark.parametrize(("encoding", "shape", "text"), BAD_INPUTS)
def test_inputs_that_do_not_fit(encoding, shape, text):
    """Shapes are static: the error comes inside jit as well."""
    layer = QuantumFeatureExtractor(2, depth=1, encoding=encoding, rngs=nnx.Rngs(0))
    for call in (layer, jax.jit(layer)):
        with pytest.raises(ModelError, match=text):
            call(jnp.ones(shape))


def test_function_that_encodes_into_too_many_qubits():
    """Its circuit must have the layer's qubits."""
    layer = QuantumFeatureExtractor(2, encoding=qj.angle_encoding, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="return a circuit on 2 qubits, but returns one on 3"):
        layer(np.ones(3))
