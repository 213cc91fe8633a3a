"""JAX transformations of circuits, in angles, inputs, initial states and channel strengths."""

from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import random_ket

pytestmark = pytest.mark.usefixtures("x64")

STEP = 1e-6
THETA, X = np.array([0.4, -0.9, 1.3]), np.array([0.7, 0.2])
START = random_ket(2, seed=1)


def pure(theta, x) -> list[Op]:
    """Input rotations, entangler, trainable rotations."""
    return [
        *(Op("RY", (q,), (x[q],)) for q in range(2)),
        Op("RXX", (0, 1), (theta[0],)),
        Op("RZ", (0,), (theta[1],)),
        Op("CRY", (1, 0), (theta[2],)),
    ]


def build(theta, x, strength=None) -> qj.Circuit:
    """The circuit of `pure`, damped at the end if a strength is given."""
    noise = [] if strength is None else [qj.AmplitudeDamping(strength, 0)]
    return qj.Circuit(
        2,
        [
            *(qj.RY(x[0], 0), qj.RY(x[1], 1), qj.RXX(theta[0], 0, 1), qj.RZ(theta[1], 0)),
            *(qj.CRY(theta[2], 1, 0), *noise),
        ],
    )


def mean(theta, x, start=START, strength=None):
    """<X0 + Z0 Z1> by qjax."""
    observable = qj.X(0) + qj.Z(0) @ qj.Z(1)
    return qj.expectation(build(theta, x, strength), observable, initial_state=start)


def reference(theta, x, start=START, strength=None) -> float:
    """<X0 + Z0 Z1> by the oracle."""
    noise = [] if strength is None else [Op("AmplitudeDamping", (0,), (strength,))]
    start = start / np.linalg.norm(start)
    return oracle.expectation(
        oracle.density_matrix(2, [*pure(theta, x), *noise], start), {"XI": 1, "ZZ": 1}
    )


def differences(function, value, step=STEP) -> np.ndarray:
    """Central finite differences in each element."""
    value = np.asarray(value, float)
    steps = step * np.eye(value.size).reshape(-1, *value.shape)
    return np.array([(function(value + s) - function(value - s)) / (2 * step) for s in steps])


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd], ids=lambda f: f.__name__)
@pytest.mark.parametrize("noisy", [False, True], ids=["pure", "noisy"])
def test_first_derivatives(transform, noisy):
    """In angles, inputs, initial amplitudes and channel strength, against the oracle."""
    parts = np.stack([np.real(START), np.imag(START)])
    arguments = (THETA, X, parts, 0.3) if noisy else (THETA, X, parts)

    def from_parts(theta, x, parts, *strength):
        ket = parts[0] + 1j * parts[1]
        return mean(theta, x, ket / jnp.linalg.norm(ket), *strength)

    found = jax.jit(transform(from_parts, tuple(range(len(arguments)))))(*arguments)
    for i, derivative in enumerate(found):

        def partial(value, i=i):
            changed: list[Any] = [*arguments[:i], value, *arguments[i + 1 :]]
            theta, x, parts, *strength = changed
            return reference(theta, x, parts[0] + 1j * parts[1], *strength)

        np.testing.assert_allclose(
            np.ravel(derivative), differences(partial, arguments[i]), atol=1e-8
        )


@pytest.mark.parametrize("strength", [None, 0.3], ids=["pure", "noisy"])
def test_hessian(strength):
    """Symmetric, and the difference of gradients."""
    found = jax.jit(jax.hessian(mean), static_argnums=3)(THETA, X, START, strength)
    gradient = jax.jit(jax.grad(mean), static_argnums=3)
    expected = differences(lambda t: np.asarray(gradient(t, X, START, strength)), THETA, 1e-5)
    np.testing.assert_allclose(found, np.transpose(found), atol=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_mixed_second_derivative():
    """d2/dx dtheta, forward over reverse."""
    found = jax.jit(jax.jacfwd(jax.grad(mean), 1))(THETA, X)
    gradient = jax.jit(jax.grad(mean))
    expected = differences(lambda x: np.asarray(gradient(THETA, x)), X, 1e-5)
    np.testing.assert_allclose(found, expected.T, atol=1e-8)


def test_jvp_of_the_state():
    """The derivative of the ket itself, along a direction."""
    direction = np.array([1.0, -0.5, 0.2])
    _, found = jax.jvp(lambda t: qj.statevector(build(t, X)), (THETA,), (direction,))
    plus, minus = (oracle.statevector(2, pure(THETA + s * direction, X)) for s in (STEP, -STEP))
    np.testing.assert_allclose(found, (plus - minus) / (2 * STEP), atol=1e-8)


def test_gradients_of_other_quantities():
    """Probabilities, density matrices and variances have derivatives too."""

    def numbers(theta):
        circuit = build(theta, X)
        rho = qj.density_matrix(circuit)
        return jnp.concatenate(
            [qj.probabilities(circuit, 0), jnp.abs(rho[0]), qj.variance(circuit, [qj.X(0)])]
        )

    def expected(theta):
        ket = oracle.statevector(2, pure(theta, X))
        rho = oracle.as_density_matrix(ket)
        variance = oracle.variance(ket, {"XI": 1})
        return np.concatenate([oracle.probabilities(ket, (0,)), np.abs(rho[0]), [variance]])

    found = jax.jit(jax.jacrev(numbers))(THETA)
    np.testing.assert_allclose(found, differences(expected, THETA).T, atol=1e-8)


def test_nested_vmap():
    """A grid of angles times inputs, inside jit, of the gradient."""
    thetas = THETA + np.arange(3)[:, None]
    xs = X + np.arange(2)[:, None]
    inner = jax.vmap(jax.value_and_grad(mean), (None, 0))
    values, gradients = jax.jit(jax.vmap(inner, (0, None)))(thetas, xs)
    assert gradients.shape == (3, 2, 3)
    expected = [[reference(t, x) for x in xs] for t in thetas]
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(gradients[2, 1], jax.grad(mean)(thetas[2], xs[1]), atol=1e-12)


def test_vmap_over_strengths_and_states():
    """Both at once."""
    starts = np.stack([random_ket(2, seed) for seed in range(3)])
    strengths = np.array([0.0, 0.4, 1.0])
    found = jax.vmap(mean, (None, None, 0, 0))(THETA, X, starts, strengths)
    expected = [reference(THETA, X, k, s) for k, s in zip(starts, strengths, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_batched_angles_under_vmap():
    """A leading batch axis inside, a mapped axis outside."""
    angles = np.arange(6.0).reshape(2, 3)
    run = jax.vmap(lambda a: qj.expectation(qj.Circuit(1, [qj.RX(a, 0)]), qj.Z(0)))
    np.testing.assert_allclose(run(angles), np.cos(angles), atol=1e-13)


def test_scan_over_layers():
    """The state as the carry of a loop."""
    angles = np.array([0.3, -0.7, 1.1])

    def layer(ket, angle):
        circuit = qj.Circuit(2, [qj.RY(angle, 0), qj.CX(0, 1)])
        return qj.statevector(circuit, initial_state=ket), qj.probabilities(
            circuit, 1, initial_state=ket
        )

    start = jnp.array([1, 0, 0, 0], dtype=complex)
    ket, seen = jax.jit(lambda a: jax.lax.scan(layer, start, a))(angles)
    ops = [op for a in angles for op in (Op("RY", (0,), (a,)), Op("CX", (0, 1)))]
    np.testing.assert_allclose(ket, oracle.statevector(2, ops), atol=1e-13)
    np.testing.assert_allclose(seen[-1], oracle.probabilities(np.asarray(ket), (1,)), atol=1e-13)


def test_scan_over_training_steps():
    """Gradient descent as one compiled loop finds the ground state."""

    def step(theta, _):
        value, slope = jax.value_and_grad(
            lambda t: qj.expectation(qj.Circuit(1, [qj.RX(t, 0)]), qj.Z(0))
        )(theta)
        return theta - 0.5 * slope, value

    _, values = jax.jit(lambda t: jax.lax.scan(step, t, length=30))(jnp.asarray(0.5))
    np.testing.assert_allclose(values[0], np.cos(0.5), atol=1e-12)
    assert values[-1] < -0.9999


def test_checkpoint():
    """Rematerialisation changes nothing."""
    found = jax.jit(jax.grad(jax.checkpoint(mean)))(THETA, X)
    np.testing.assert_allclose(found, jax.grad(mean)(THETA, X), atol=1e-13)


def test_gradient_through_jit_inside_vmap():
    """grad(vmap(jit)) of a sum of losses."""
    xs = X + np.arange(4)[:, None]

    def loss(theta):
        return jnp.sum(jax.vmap(jax.jit(mean), (None, 0))(theta, xs) ** 2)

    expected = differences(lambda t: sum(reference(t, x) ** 2 for x in xs), THETA)
    np.testing.assert_allclose(jax.grad(loss)(THETA), expected, atol=1e-7)


def test_gradient_of_a_sampled_trajectory():
    """Below a measurement with a fixed key the state is still differentiable."""

    def overlap(t):
        circuit = qj.Circuit(2, [qj.H(0), qj.Measure(0, "m"), qj.RX(t, 1)])
        ket = qj.statevector(circuit, key=jax.random.key(0))
        return jnp.sum(jnp.abs(ket.reshape(2, 2)[:, 1]) ** 2)

    np.testing.assert_allclose(jax.grad(overlap)(0.8), np.sin(0.8) / 2, atol=1e-12)


# --- compilation ----------------------------------------------------------------------------------


@contextmanager
def compilations():
    """Collects one entry for each program that XLA compiles."""
    seen = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


KEY_ROOT = 0
CALLS = {
    "statevector": lambda t: qj.statevector(build(t, X)),
    "density_matrix": lambda t: qj.density_matrix(build(t, X, t[0] ** 2)),
    "expectation": lambda t: qj.expectation(build(t, X), [qj.Z(0), qj.X(1)]),
    "noisy expectation": lambda t: qj.expectation(build(t, X, t[0] ** 2), qj.Z(0)),
    "coefficients": lambda t: qj.expectation(build(t, X), t[0] * qj.Y(0) + t[1] * qj.Y(1)),
    "variance": lambda t: qj.variance(build(t, X), qj.Z(0)),
    "probabilities": lambda t: qj.probabilities(build(t, X), (1, 0)),
    "sample": lambda t: qj.sample(build(t, X), shots=10, key=jax.random.key(KEY_ROOT)),
    "ansatz": lambda t: qj.statevector(qj.hardware_efficient(t[:2].reshape(1, 1, 2))),
    "bound": lambda t: qj.statevector(qj.Circuit(1, [qj.RX(qj.Parameter("t"), 0)]).bind(t=t[0])),
}


@pytest.mark.parametrize("call", CALLS)
def test_new_angles_compile_nothing(call):
    """One program per structure: the second call only runs it, outside jit as well."""
    with compilations() as first:
        before = np.asarray(CALLS[call](THETA))
    assert first, "the listener heard nothing"
    with compilations() as second:
        after = np.asarray(CALLS[call](THETA + 0.25))
    assert not second
    if call != "sample":
        assert not np.allclose(before, after)


def test_jit_traces_once_for_new_circuits():
    """Equal structures are equal to jit, however they were built."""
    traces = []

    @jax.jit
    def run(circuit):
        traces.append(1)
        return qj.expectation(circuit, qj.Z(0))

    run(build(THETA, X))
    run(build(2 * THETA, X))
    run(build(THETA, X) + qj.Circuit(2))
    assert len(traces) == 1
    run(build(THETA, X) + qj.Circuit(2, [qj.H(0)]))
    assert len(traces) == 2


def test_new_structure_compiles():
    """The counter does count: another gate is another program."""
    qj.statevector(qj.Circuit(1, [qj.RX(0.1, 0)])).block_until_ready()
    with compilations() as seen:
        qj.statevector(qj.Circuit(1, [qj.RX(0.1, 0), qj.SX(0), qj.RX(0.3, 0)]))
    assert seen


# --- batch axes of their own ----------------------------------------------------------------------


def broadcast_value(x, theta, noisy):
    """Two observables of a circuit whose inputs and angles have batch axes that broadcast."""
    circuit = qj.angle_encoding(x) + qj.hardware_efficient(theta)
    if noisy:
        circuit = circuit + qj.Circuit(2, [qj.AmplitudeDamping(0.2, 0)])
    return qj.expectation(circuit, [qj.Z(0), qj.X(1)])


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize(
    ("x_axes", "theta_axes"), [((3, 1), (2,)), ((3,), ()), ((1, 2), (3, 1)), ((2, 1, 2), (3, 1))]
)
def test_derivatives_where_inputs_and_angles_have_other_batch_axes(x_axes, theta_axes, noisy, x64):
    """Reverse mode, forward mode and forward over reverse equal those of one circuit a time."""
    x = jax.random.normal(jax.random.key(0), (*x_axes, 2))
    theta = jax.random.normal(jax.random.key(1), (*theta_axes, 1, 2, 2))
    batch = np.broadcast_shapes(x_axes, theta_axes)

    def apart(x, theta):
        xs = jnp.broadcast_to(x, (*batch, 2)).reshape(-1, 2)
        thetas = jnp.broadcast_to(theta, (*batch, 1, 2, 2)).reshape(-1, 1, 2, 2)
        values = [broadcast_value(*pair, noisy) for pair in zip(xs, thetas, strict=True)]
        return jnp.stack(values).reshape(*batch, 2)

    def together(x, theta):
        return broadcast_value(x, theta, noisy)

    weights = jax.random.normal(jax.random.key(2), (*batch, 2))
    found, expected = (
        jax.jit(
            lambda x, theta, run=run: (
                jax.grad(loss := lambda a, b: jnp.sum(weights * jnp.sin(run(a, b))), (0, 1))(
                    x, theta
                ),
                jax.jvp(loss, (x, theta), (x, theta))[1],
                jax.jvp(jax.grad(loss, 1), (x, theta), (x, theta))[1],
            )
        )(x, theta)
        for run in (together, apart)
    )
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), found, expected)


def test_gradient_of_vmap_around_a_batch(x64):
    """Angles mapped outside, inputs batched inside."""
    x = jax.random.normal(jax.random.key(0), (4, 2))
    theta = jax.random.normal(jax.random.key(1), (3, 1, 2, 2))

    def mapped(theta):
        return jnp.sin(jax.vmap(lambda t: broadcast_value(x, t, False))(theta)).sum()

    def looped(theta):
        return sum(jnp.sin(broadcast_value(x, t, False)).sum() for t in theta)

    np.testing.assert_allclose(jax.grad(mapped)(theta), jax.grad(looped)(theta), atol=1e-12)
