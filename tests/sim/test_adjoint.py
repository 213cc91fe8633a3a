"""The primitives: every transformation of every measurement, and every way to go backwards."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.sim import _adjoint, _kernels, _primitive
from qjax.sim._engine import evolve
from qjax.sim._plan import Task, make_plan
from qjax.sim._primitive import evolve_state

RNG = np.random.default_rng(5)
THETA = RNG.uniform(-np.pi, np.pi, (2, 3, 2))
XS = RNG.uniform(-np.pi, np.pi, (4, 3))
WORDS = [qj.Z(0), qj.X(1) @ qj.Y(2), qj.Z(0) @ qj.Z(1) @ qj.Z(2), 0.5 * qj.Y(0) - qj.X(2)]


@pytest.fixture(autouse=True)
def double_precision(x64):
    """All comparisons are in float64."""


def build(theta, x, noisy=False):
    """Shared and per-sample angles in every kind of block."""
    parts = [qj.angle_encoding(x), qj.RY(theta[0, 0, 0], 0), qj.CX(0, 1), qj.RZ(theta[0, 1, 0], 1)]
    parts += [qj.RX(0.3 * x[0], 1), qj.CRX(x[1], 0, 2), qj.RXX(theta[1, 0, 0], 0, 2)]
    parts += [qj.U(theta[0, 0, 1], x[2], theta[1, 1, 1], 1), qj.CP(x[0] * theta[0, 1, 0], 2, 0)]
    parts += [qj.AmplitudeDamping(0.1 + 0.05 * jnp.cos(x[0]), 1)] if noisy else []
    parts += [qj.CX(1, 2), qj.RY(theta[1, 2, 0], 2), qj.H(0)]
    return qj.Circuit(3, parts)


MEASUREMENTS = {
    "expectation": lambda c: qj.expectation(c, WORDS),
    "probabilities": lambda c: qj.probabilities(c, (2, 0)),
    "state": lambda c: jnp.concatenate([(s := qj.statevector(c)).real, s.imag]),
}
NOISY = {
    "expectation, noisy": lambda c: qj.expectation(c, WORDS),
    "density matrix": lambda c: (lambda r: jnp.concatenate([r.real, r.imag]))(
        qj.density_matrix(c).reshape(-1)
    ),
}


def plain(circuit, noisy, fuse=False):
    """Final numbers as plain JAX code without a primitive, by default by the reference plan."""
    task = Task(mixed=noisy, fuse=fuse)
    plan = make_plan(circuit.structure, task)
    params = [jnp.asarray(p) for p in circuit.params]
    return evolve(plan, params, circuit.data, None, jnp.dtype(float))[:, 0]


def measured(name, state):
    """The measurement `name` of plain numbers, by other code than the library's."""
    if name in NOISY:
        from qjax.sim._pauli_basis import from_pauli

        rho = from_pauli(state, 3)
    else:
        ket = state[:8] + 1j * state[8:]
        if name == "state":
            return state
        rho = jnp.outer(ket, ket.conj())
    if name == "density matrix":
        return jnp.concatenate([rho.reshape(-1).real, rho.reshape(-1).imag])
    if name == "probabilities":
        table = jnp.diagonal(rho).real.reshape(2, 2, 2).sum(axis=1)
        return table.T.reshape(-1)
    matrices = [word.as_pauli_sum().matrix(3) for word in WORDS]
    return jnp.stack([jnp.trace(rho @ m).real for m in matrices])


TRANSFORMATIONS = {
    "none": lambda f: f(THETA, XS[0]),
    "vmap x": lambda f: jax.vmap(f, (None, 0))(THETA, XS),
    "vmap theta": lambda f: jax.vmap(f, (0, None))(np.stack([THETA, 2 * THETA]), XS[0]),
    "vmap both": lambda f: jax.vmap(f)(np.stack([THETA] * 4) * 1.1, XS),
    "vmap nested": lambda f: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(
        np.stack([THETA, 2 * THETA]), XS
    ),
    "jacrev": lambda f: jax.jacrev(f, (0, 1))(THETA, XS[0]),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1))(THETA, XS[0]),
    "jvp": lambda f: jax.jvp(f, (THETA, XS[0]), (np.ones_like(THETA), XS[1])),
    "grad of vmap": lambda f: jax.grad(lambda t: jnp.sin(jax.vmap(f, (None, 0))(t, XS)).sum())(
        THETA
    ),
    "vmap of grad": lambda f: jax.vmap(
        jax.grad(lambda t, x: jnp.sin(f(t, x)).sum(), (0, 1)), (None, 0)
    )(THETA, XS),
    "vmap of jacfwd": lambda f: jax.vmap(jax.jacfwd(f, 1), (None, 0))(THETA, XS),
    "scan": lambda f: jax.lax.scan(
        lambda t, x: (t + 0.1 * jax.grad(lambda t: f(t, x)[0])(t), f(t, x)),
        jnp.asarray(THETA),
        jnp.asarray(XS),
    ),
    "checkpoint": lambda f: jax.grad(lambda t: jnp.sin(jax.checkpoint(f)(t, XS[0])).sum())(THETA),
}

SECOND = {
    "hessian": lambda f: jax.hessian(lambda x: jnp.sin(f(THETA, x)).sum())(XS[0]),
    "grad of grad": lambda f: jax.grad(
        lambda x: jax.grad(lambda y: jnp.sin(f(THETA, y)).sum())(x).sum()
    )(XS[0]),
    "vmap of hessian": lambda f: jax.vmap(jax.hessian(lambda x: jnp.sin(f(THETA, x)).sum()))(
        XS[:2]
    ),
}


def compare(transform, measurements, noisy, fuse):
    """A transformation of measurements, joined to one array, equals that of plain JAX code."""

    def ours(theta, x):
        circuit = build(theta, x, noisy)
        return jnp.concatenate([function(circuit) for function in measurements.values()])

    def reference(theta, x):
        state = plain(build(theta, x, noisy), noisy, fuse)
        return jnp.concatenate([measured(name, state) for name in measurements])

    jitted = jax.jit(transform, static_argnums=0)
    found, expected = (jax.tree.leaves(jitted(f)) for f in (ours, reference))
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("noisy", [False, True], ids=["pure", "noisy"])
def test_table(noisy, transformation):
    """Every transformation of every measurement equals that of plain JAX code."""
    compare(TRANSFORMATIONS[transformation], NOISY if noisy else MEASUREMENTS, noisy, fuse=False)


@pytest.mark.parametrize("transformation", SECOND)
@pytest.mark.parametrize("noisy", [False, True], ids=["pure", "noisy"])
def test_second_derivatives(noisy, transformation):
    """So do second derivatives; with blocks in the plain code, which takes long to compile."""
    compare(SECOND[transformation], NOISY if noisy else MEASUREMENTS, noisy, fuse=True)


@pytest.mark.parametrize("measurement", [*MEASUREMENTS, *NOISY])
def test_outside_jit(measurement):
    """Values and gradients are the same one operation at a time."""
    noisy = measurement in NOISY
    function = {**MEASUREMENTS, **NOISY}[measurement]

    def loss(theta, x):
        return jnp.sin(function(build(theta, x, noisy))).sum()

    both = jax.value_and_grad(loss, (0, 1))
    found, expected = (jax.tree.leaves(f(THETA, XS[0])) for f in (both, jax.jit(both)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


DEEP = RNG.uniform(-np.pi, np.pi, (40, 3, 2))


def deep(theta, kind):
    """Forty layers, which run as a loop."""
    circuit = qj.hardware_efficient(theta, "circular")
    if kind == "noisy":
        model = qj.NoiseModel().after("CX", qj.AmplitudeDamping, 0.02)
        circuit = qj.insert_noise(circuit, model)
    return circuit


@pytest.mark.parametrize("max_bytes", [0, 2**40], ids=["little memory", "much memory"])
@pytest.mark.parametrize("kind", ["pure", "pure as if large", "noisy"])
@pytest.mark.parametrize("depth", [3, 40])
def test_ways_back_agree(monkeypatch, kind, depth, max_bytes):
    """Undoing blocks, checkpoints and kept states give the gradient of plain JAX code."""
    if kind == "pure as if large":
        monkeypatch.setattr(_adjoint, "LARGE", 1)
    weights = jnp.asarray(RNG.normal(size=64 if kind == "noisy" else 16))

    def loss(theta, run):
        circuit = deep(theta, kind)
        return jnp.sin(run(circuit) @ weights)

    def run(circuit):
        return evolve_state(
            circuit.structure, circuit.params, circuit.data, mixed=kind == "noisy",
            max_bytes=max_bytes,
        )  # fmt: skip

    forward = partial(plain, noisy=kind == "noisy", fuse=depth > 10)
    reference = jax.jit(jax.grad(loss), static_argnums=1)(DEEP[:depth], forward)
    found = jax.jit(jax.grad(loss), static_argnums=1)(DEEP[:depth], run)
    np.testing.assert_allclose(found, reference, atol=1e-11)


@pytest.mark.parametrize("max_bytes", [0, 2**40])
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("large", [1, 2**22], ids=["as if large", "small"])
def test_initial_states(monkeypatch, real, batched, max_bytes, large):
    """Gradients in given states, real and complex, alone and in a batch."""
    monkeypatch.setattr(_adjoint, "LARGE", large)
    circuit = deep(DEEP[:3], "pure")
    shape = (5, 8) if batched else (8,)
    start = RNG.normal(size=shape) if real else np.concatenate(RNG.normal(size=(2, *shape)), -1)

    def run(state, theta):
        params = (theta.reshape(-1),)
        return evolve_state(circuit.structure, params, (), state, max_bytes=max_bytes)

    def reference(state, theta):
        plan = make_plan(circuit.structure, given=True, real=real, fuse=False)
        return evolve(plan, (theta.reshape(-1),), (), state[:, None], jnp.dtype(float))[:, 0]

    def loss(state, theta, f):
        many = jax.vmap(f, (0, None)) if batched else f
        return jnp.sin(3 * many(state, theta)).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    found, expected = (gradient(jnp.asarray(start), DEEP[:3], f) for f in (run, reference))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)


def all_kinds(theta, x):
    """Six qubits with phases on a real and on a complex state, lookups and matrices."""
    n = 6
    first = [*map(qj.H, range(n)), qj.RZZ(theta[0], 0, 3), qj.CP(theta[1], 1, 4)]
    middle = [qj.CX(q, (q + 1) % n) for q in range(n)]
    middle += [gate for q in range(n) for gate in (qj.RY(theta[2 + q], q), qj.RX(x[q], q))]
    last = [qj.CX((q + 2) % n, q) for q in range(n)] + [qj.RZZ(x[0] * theta[8], 0, 5)]
    return qj.Circuit(n, [*first, *middle, *last, *(qj.RY(theta[9] * x[q], q) for q in range(n))])


@pytest.mark.parametrize("batched", [True, False])
def test_undoing_in_order(monkeypatch, batched):
    """Every kind of step, shared and differing in a batch, and derivatives of derivatives."""
    theta, xs = RNG.normal(size=10), RNG.normal(size=(3, 6))

    def energy(theta, x):
        circuit = all_kinds(theta, x)
        found = qj.expectation(circuit, [qj.Z(0) @ qj.X(2), qj.Y(5)], max_bytes=0)
        return jnp.sin(found).sum()

    def loss(theta, xs):
        return jax.vmap(energy, (None, 0))(theta, xs).sum() if batched else energy(theta, xs[0])

    def derivatives():
        fresh = lambda t, x: loss(t, x)  # noqa: E731  # traces are kept by function
        slope = jax.grad(fresh, (0, 1))
        along = lambda t: jax.jvp(lambda t: slope(t, xs)[0], (t,), (jnp.ones(10),))[1]  # noqa: E731
        twice = jax.grad(lambda t: (slope(t, xs)[0] ** 2).sum())
        return [*jax.jit(slope)(theta, xs), jax.jit(along)(theta), jax.jit(twice)(theta)]

    expected = derivatives()
    met = set()
    undo = _adjoint._undo_in_order

    def noting(step, tool, *others):
        if step.phases is not None:
            met.add("phases" if step.phases.axis is not None else "phases of a real state")
        elif step.block.kind == "dense":
            met.add(f"matrix of rank {tool.ndim}")
        else:
            met.add(step.block.kind)
        return undo(step, tool, *others)

    monkeypatch.setattr(_adjoint, "LARGE", 1)
    monkeypatch.setattr(_adjoint, "_undo_in_order", noting)
    for one, other in zip(derivatives(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)
    assert met == {"phases", "phases of a real state", "permutation", "matrix of rank 2"}


def test_one_sample_without_a_number_spoils_no_other(monkeypatch):
    """Steps that wait for an array read it, and the cotangent of the first sample may be NaN."""
    thetas = jnp.asarray(RNG.normal(size=(4, 40, 3, 2)))
    scales = jnp.asarray([jnp.nan, 1.0, 1.0, 1.0])

    def loss(theta, scale):
        return scale * qj.expectation(deep(theta, "pure"), qj.Z(0), max_bytes=0)

    for large in (1, 2**22):
        monkeypatch.setattr(_adjoint, "LARGE", large)
        slopes = jax.jit(jax.vmap(jax.grad(lambda t, s: loss(t, s))))(thetas, scales)
        assert np.isnan(slopes[0]).any() and np.isfinite(slopes[1:]).all()


def temporary_bytes(depth, kind, num_qubits):
    """Memory that XLA plans for a gradient that is to save it, in states."""
    structure = deep(jnp.zeros((depth, num_qubits, 2)), kind).structure
    mixed = kind == "noisy"

    def loss(params):
        return evolve_state(structure, params, (), mixed=mixed, max_bytes=0)[:9].sum()

    params = tuple(jnp.zeros(leaf.size) for leaf in structure.leaves)
    analysis = jax.jit(jax.grad(loss)).lower(params).compile().memory_analysis()
    assert analysis is not None
    numbers = 4**num_qubits if mixed else 2 * 2**num_qubits
    return analysis.temp_size_in_bytes / (8 * numbers)


def test_memory_of_a_gradient_does_not_grow_with_depth():
    """With unitary gates a layer costs its matrices, and not the five states between its blocks."""
    shallow, deeper = (temporary_bytes(depth, "pure", 16) for depth in (40, 160))
    assert shallow < 20
    assert deeper - shallow < 0.25 * (160 - 40)


def test_memory_of_a_gradient_of_a_large_state():
    """Four states of 24 qubits and some tables: two, what a block makes of them, and gaps."""
    theta = jax.ShapeDtypeStruct((8, 24, 2), jnp.float32)

    def loss(theta):
        circuit = qj.hardware_efficient(theta, "circular")
        return sum(qj.expectation(circuit, [qj.Z(q) for q in range(24)], max_bytes=0))

    with jax.enable_x64(False):
        analysis = jax.jit(jax.value_and_grad(loss)).lower(theta).compile().memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes + analysis.output_size_in_bytes < 4.5 * 8 * 2**24


@pytest.mark.parametrize(
    "shape", [(1, 96), (1, 90), (4, 24), (24, 4), (21, 2), (27, 3), (6, 2), (12, 1)]
)
def test_products_of_large_states_are_summed_in_parts(monkeypatch, shape):
    """The same sums, whatever the sizes have in common with those of the parts."""
    outer, inner = shape
    a, b = RNG.normal(size=(outer, 3, inner)), RNG.normal(size=(outer, 4, inner))
    monkeypatch.setattr(_kernels, "LARGE", 1)
    monkeypatch.setattr(_kernels, "LONG_ROWS", 1)
    monkeypatch.setattr(_kernels, "PART", 64 if inner < 4 else 16)
    bra, ket = (jnp.asarray(x.reshape(-1, 1)) for x in (a, b))
    found = _kernels.gram(bra, ket, jnp.zeros((3, 4)), outer, on_cpu=True)
    np.testing.assert_allclose(found, np.einsum("oai,obi->ab", a, b), atol=1e-12)


@pytest.mark.parametrize(
    ("outer", "on_cpu", "parts"),
    [(1, True, True), (2**13, True, False), (2**17, True, True), (1, False, False)],
)
def test_which_products_are_summed_in_parts(outer, on_cpu, parts):
    """Those whose operands XLA's library for CPUs would copy as a whole."""
    state = jax.ShapeDtypeStruct((2**24, 1), jnp.float32)
    matrix = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    gram = partial(_kernels.gram, outer=outer, on_cpu=on_cpu)
    program = jax.make_jaxpr(gram)(state, state, matrix)
    names = {equation.primitive.name for equation in program.eqns}
    assert bool(names & {"scan", "while"}) == parts


def test_memory_with_channels_grows_as_a_root():
    """Four times the depth needs about twice the states, not four times."""
    shallow, deeper = (temporary_bytes(depth, "noisy", 10) for depth in (30, 120))
    assert deeper < 2.5 * shallow


def test_cotangents_of_unused_operands_are_zero():
    """A parameter that no gate uses gets a zero gradient."""
    theta = qj.Parameter("theta", (2,))
    circuit = qj.Circuit(1, [qj.RX(theta[0], 0)])
    gradient = jax.grad(lambda t: qj.expectation(circuit.bind(theta=t), qj.Z(0)))(
        jnp.array([0.3, 0.4])
    )
    np.testing.assert_allclose(gradient, [-np.sin(0.3), 0], atol=1e-12)


def test_max_bytes_of_expectation():
    """The public argument reaches the way back, and bad values are refused."""
    theta = jnp.asarray(DEEP[:4])

    def loss(theta, max_bytes=None):
        circuit = qj.hardware_efficient(theta, "circular")
        return qj.expectation(circuit, qj.X(0) @ qj.Z(1), max_bytes=max_bytes)

    kept, undone = (jax.grad(loss)(theta, b) for b in (2**30, 0))
    np.testing.assert_allclose(kept, undone, atol=1e-12)
    for bad in (-1, 0.5, True):
        with pytest.raises(qj.QjaxError, match="`max_bytes` must be a number of bytes"):
            loss(theta, bad)
    drawn: Any = {"method": "trajectories", "num_trajectories": 2, "key": jax.random.key(0)}
    with pytest.raises(qj.QjaxError, match="`max_bytes` must not be given with method="):
        qj.expectation(qj.Circuit(1), qj.Z(0), max_bytes=0, **drawn)


@pytest.mark.parametrize("batch", [8, 7])
def test_large_batches_go_back_in_parts(batch, monkeypatch):
    """The gradient in shared and in per-sample angles is the same, part by part."""
    xs = jnp.asarray(RNG.uniform(-np.pi, np.pi, (batch, 3)))

    def loss(theta, xs):
        values = jax.vmap(lambda x: qj.expectation(build(theta, x), WORDS))(xs)
        return jnp.sum(jnp.sin(values))

    whole = jax.grad(loss, argnums=(0, 1))(THETA, xs)
    sizes = []
    at_once = _primitive._vjp_at_once

    def noted(*operands, spec, tangents):
        sizes.append(spec.batch)
        return at_once(*operands, spec=spec, tangents=tangents)

    jax.clear_caches()
    monkeypatch.setattr(_primitive, "_vjp_at_once", noted)
    monkeypatch.setattr(_primitive, "LARGEST_PART", 0)
    monkeypatch.setattr(_primitive, "LEAST_PART", 2)
    parts = jax.grad(loss, argnums=(0, 1))(THETA, xs)
    jax.clear_caches()
    assert set(sizes) == {2 if batch == 8 else 7}  # seven samples have no equal parts
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
