"""Expectation values from shots against the exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError

KEY = jax.random.key(7)
CIRCUIT = qj.Circuit(3, [qj.RY(0.7, 0), qj.RX(0.4, 1), qj.CX(0, 1), qj.CX(1, 2), qj.RZ(0.3, 0)])
SUMS = [
    0.3 * qj.X(0) @ qj.X(1) + 0.5 * qj.Z(0) - qj.Y(0) @ qj.Y(1) + 0.2 * qj.I(0),
    qj.Z(0) @ qj.Z(2),
    qj.Y(1),
    qj.I(0),
]


def estimates(circuit, sums, shots, key=KEY):
    """Value and standard error."""
    return qj.expectation(circuit, sums, method="shots", shots=shots, key=key)


@pytest.mark.parametrize(
    "extra",
    [
        (),
        (qj.AmplitudeDamping(0.3, 0), qj.Depolarizing(0.1, (1, 2))),
        (qj.ReadoutError(0.05, 0.2, 0), qj.ReadoutError(0.1, 0.1, 1)),
    ],
    ids=["pure", "channels", "readout"],
)
def test_within_the_standard_error(extra):
    """Within four standard errors, which are small and themselves right to some percent."""
    circuit = qj.Circuit(3, [*CIRCUIT.operations, *extra])
    value, error = estimates(circuit, SUMS, 40_000)
    exact = qj.expectation(circuit, SUMS)
    assert np.all(np.abs(value - exact) <= 4 * error + 1e-6)
    assert np.all(error[:3] > 1e-3) and np.all(error < 0.02)
    assert error[3] == 0 and value[3] == 1  # the identity


def test_standard_error_is_the_spread(x64):
    """Over many keys the values spread as the error says, and their mean has no bias."""
    keys = jax.random.split(KEY, 600)
    value, error = jax.vmap(lambda k: estimates(CIRCUIT, SUMS[:3], 50, k))(keys)
    exact = np.asarray(qj.expectation(CIRCUIT, SUMS[:3]))
    spread = value.std(axis=0, ddof=1)
    assert np.all(np.abs(spread / np.sqrt((error**2).mean(axis=0)) - 1) < 0.1)
    assert np.all(np.abs(value.mean(axis=0) - exact) < 4 * spread / np.sqrt(len(keys)))


def test_words_of_one_basis_share_their_shots():
    """Z0, Z1 and Z0 Z1 come from the same bits: products of single outcomes are consistent."""
    bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
    (z0, z1, zz), error = estimates(bell, [qj.Z(0), qj.Z(1), qj.Z(0) @ qj.Z(1)], 101)
    assert z0 == z1 != 0 and zz == 1 and error[2] == 0


def test_batch_jit_and_the_same_key():
    """Every element of a batch has its own shots; jit and eager draw the same."""
    circuit = qj.angle_encoding(jnp.ones((5, 2)))
    value, error = estimates(circuit, [qj.Z(0), qj.X(1)], 1000)
    assert value.shape == error.shape == (5, 2)
    assert len(set(np.asarray(value[:, 0]).tolist())) > 1
    again = jax.jit(lambda c: estimates(c, [qj.Z(0), qj.X(1)], 1000))(circuit)
    np.testing.assert_allclose(again.value, value, atol=1e-6)
    other = estimates(circuit, [qj.Z(0), qj.X(1)], 1000, jax.random.key(8)).value
    assert np.any(other != value)


def test_derivative_is_exact(x64):
    """In angles and coefficients: that of the exact value, whatever the shots; errors have none."""

    def run(theta, c, method):
        circuit = qj.Circuit(2, [qj.RY(theta, 0), qj.CX(0, 1), qj.AmplitudeDamping(0.2, 1)])
        observable = c * qj.Z(0) + 0.4 * qj.X(0) @ qj.X(1)
        if method is None:
            return qj.expectation(circuit, observable)
        return estimates(circuit, observable, 10)[method]

    gradient = jax.grad(run, argnums=(0, 1))
    np.testing.assert_allclose(gradient(0.8, 1.3, 0), gradient(0.8, 1.3, None), atol=1e-12)
    assert gradient(0.8, 1.3, 1) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"key": KEY}, "`shots` must be given with method='shots', for example shots=1000"),
        ({"shots": 1, "key": KEY}, "`shots` must be at least 2, so that there is a standard error"),
        ({"shots": 10}, "`key` must be a random key"),
        ({"shots": 10, "key": KEY, "max_bytes": 5}, "`max_bytes` must not be given with method="),
        (
            {"shots": 10, "key": KEY, "num_trajectories": 5},
            "`num_trajectories` must not be given with method='shots'.*method='trajectories'",
        ),
    ],
)
def test_arguments_must_fit_together(arguments, text):
    """Each mistake by name."""
    with pytest.raises(CircuitError, match=text):
        qj.expectation(CIRCUIT, qj.Z(0), method="shots", **arguments)
