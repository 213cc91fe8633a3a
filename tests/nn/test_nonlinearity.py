"""QuantumNonlinearity: channels on the encoded state, and evolution under the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import QuantumNonlinearity, Strength
from tests.nn.checks import checked_jacobians, prepared, readings, rotations
from tests.support import oracle
from tests.support.oracle import Op

X = np.array([0.4, -0.9, 1.3])
IMAGE = np.array([0.3, -0.8, 0.1, 0.5, 0.2, 0.7])
KINDS = {"amplitude_damping": "AmplitudeDamping", "phase_damping": "PhaseDamping"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["angle", "amplitude"])
def test_channel_equals_oracle(kind, encoding, x64):
    """Kraus operators on every qubit of an encoded, for amplitudes entangled, state."""
    layer = QuantumNonlinearity(3, kind, 0.35, encoding=encoding)
    first = rotations(X) if encoding == "angle" else prepared(IMAGE, 3)
    channels = [Op(KINDS[kind], (q,), (0.35,)) for q in range(3)]
    rho = oracle.density_matrix(3, [*first, *channels])
    found = layer(X if encoding == "angle" else IMAGE)
    np.testing.assert_allclose(found, readings(rho, "ZXY"), atol=1e-12)


def test_closed_forms(x64):
    """The Bloch vector (sin x, 0, cos x) after each channel."""
    x = np.linspace(-3, 3, 7)[:, None]
    damped = QuantumNonlinearity(1, "amplitude_damping", 0.3)(x)
    expected = [0.3 + 0.7 * np.cos(x), np.sqrt(0.7) * np.sin(x), 0 * x]
    np.testing.assert_allclose(damped, np.concatenate(expected, -1), atol=1e-12)
    dephased = QuantumNonlinearity(1, "phase_damping", 0.3)(x)
    expected = [np.cos(x), np.sqrt(0.7) * np.sin(x), 0 * x]
    np.testing.assert_allclose(dephased, np.concatenate(expected, -1), atol=1e-12)


def test_parametric_equals_oracle(x64):
    """RX(s x_i), then RZZ(s x_i x_j) on neighbours, after the encoding."""
    layer = QuantumNonlinearity(3, "parametric", 0.6, measurement_bases=("Y", "Z"))
    ops = [
        *rotations(X),
        *(Op("RX", (q,), (0.6 * X[q],)) for q in range(3)),
        *(Op("RZZ", (q, q + 1), (0.6 * X[q] * X[q + 1],)) for q in range(2)),
    ]
    np.testing.assert_allclose(layer(X), readings(oracle.statevector(3, ops), "YZ"), atol=1e-12)


def test_channel_is_linear_in_the_state(x64):
    """Of the mixture of two inputs' states the outputs are the mean of their outputs."""
    layer = QuantumNonlinearity(2, "amplitude_damping", 0.4, encoding="amplitude")
    a, b = np.array([1.0, 2, 0, -1]), np.array([0.0, 1, 3, 1])
    kets = [v / np.linalg.norm(v) for v in (a, b)]
    mixture = sum(np.outer(k, k) for k in kets) / 2
    damped = [Op("AmplitudeDamping", (q,), (0.4,)) for q in range(2)]
    rho = oracle.density_matrix(2, damped, mixture)
    np.testing.assert_allclose((layer(a) + layer(b)) / 2, readings(rho, "ZXY"), atol=1e-12)
    assert np.abs(layer(a + b) - layer(a) - layer(b)).max() > 0.1  # but not linear in the inputs


@pytest.mark.parametrize("kind", ["amplitude_damping", "phase_damping", "parametric"])
def test_gradients(kind, x64):
    """In a learnable strength and in every input."""
    layer = QuantumNonlinearity(3, kind, 0.3, learnable=True)
    (in_strength,), in_x = checked_jacobians(layer, X)
    assert np.all(np.abs(in_strength).max(axis=0) > 1e-2)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-2)


def test_learnable_strength_starts_where_asked_and_stays_a_probability(x64):
    """The same outputs as a fixed strength; steps of any size stay inside (0, 1)."""
    fixed, learnable = (QuantumNonlinearity(2, strength=0.2, learnable=b) for b in (False, True))
    np.testing.assert_allclose(learnable(X[:2]), fixed(X[:2]), atol=1e-12)
    assert jax.tree.leaves(nnx.state(fixed)) == []
    assert nnx.state(learnable, Strength) == nnx.state(learnable)
    learnable.logits[...] = jnp.array([300.0, -300.0])
    np.testing.assert_allclose(learnable(X[:2])[:2], [1, np.cos(X[1])], atol=1e-12)


BAD_ARGUMENTS = [
    ((0,), {}, "`num_qubits` must be between 1 and 40, but is 0"),
    ((2, "relu"), {}, "`kind` must be one of 'amplitude_damping', .*, but is 'relu'"),
    ((2,), {"strength": 1.5}, "`strength` must be between 0 and 1, but is 1.5"),
    ((2,), {"strength": "0.1"}, "`strength` must be a finite number, but is '0.1'"),
    ((2,), {"strength": 0.0, "learnable": True}, "strictly between 0 and 1 to be learnable"),
    ((2, "parametric"), {"strength": np.nan}, "`strength` must be a finite number, but is nan"),
    ((2, "parametric"), {"strength": "x"}, "`strength` must be a finite number, but is 'x'"),
    ((2, "parametric"), {"encoding": "amplitude"}, "`encoding` must be 'angle' for kind='param"),
    ((2,), {"encoding": "iqp"}, "`encoding` must be one of 'angle', 'amplitude', but is 'iqp'"),
    (
        (2, "phase_damping"),
        {"measurement_bases": ("Z",)},
        r"`measurement_bases` must hold 'X' or 'Y' .* leaves Z as it is, but is \('Z',\)",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(arguments, options, text):
    """What cannot be, and what would do nothing."""
    with pytest.raises(ModelError, match=text):
        QuantumNonlinearity(*arguments, **options)


@pytest.mark.parametrize("kind", ["amplitude_damping", "parametric"])
def test_inputs_that_do_not_fit(kind):
    """One feature per qubit for angles."""
    with pytest.raises(ModelError, match="`x` must have 2 features, one per qubit"):
        QuantumNonlinearity(2, kind)(np.ones(3))


def test_parametric_must_come_first():
    """It needs the inputs, which later layers of a stack do not get."""
    with pytest.raises(ModelError, match="must come first in a QuantumSequential"):
        QuantumNonlinearity(2, "parametric").operations()
