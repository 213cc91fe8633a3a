"""Plans: what is fused, what runs as a loop, and that neither changes any number."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.sim import _plan, make_plan
from qjax.sim._adjoint import cotangents
from qjax.sim._engine import evolve
from qjax.sim._kernels import multiply
from qjax.sim._lightcone import pull_back
from qjax.sim._lowering import lower_pure
from qjax.sim._plan import Strategy, Task, plan_with
from qjax.sim._primitive import evolve_state
from qjax.sim._run import word_values

RNG = np.random.default_rng(11)


def angles(*shape):
    """Random angles of a shape."""
    return RNG.uniform(-np.pi, np.pi, shape)


def on_all(num_qubits, operations):
    """A circuit with an H on every qubit, then the operations."""
    return qj.Circuit(num_qubits, [*map(qj.H, range(num_qubits)), *operations])


BOND = qj.Z(0) @ qj.Z(1) + qj.Z(1) @ qj.Z(2) + 0.7 * qj.X(0) + 0.7 * qj.Y(2)
MIXED_LAYER = [qj.RX(0.3, 0), qj.CX(0, 1), qj.T(1), qj.CRY(0.2, 1, 2), qj.SWAP(2, 0)]

PURE = {
    "layers, full": qj.hardware_efficient(angles(4, 5, 2), "full"),
    "layers, ring": qj.hardware_efficient(angles(5, 6, 2), "circular"),
    "layers that differ": qj.strongly_entangling(angles(5, 5, 3)),
    "nine qubits": qj.hardware_efficient(angles(3, 9, 2), "linear"),
    "many controls": on_all(
        6, [qj.RY(0.4, 5).controlled(0, 1, 2, 3), qj.X(0).controlled(1, 2, 3, 4, 5)]
    ),
    "long words": on_all(
        6,
        [
            qj.PauliRotation(0.3, "XYZXYZ", range(6)),
            qj.PauliRotation(-0.8, "ZZZZZ", range(1, 6)),
            qj.PauliRotation(0.5, "YYYYY", range(5)).controlled(5),
        ],
    ),
    "product formula": on_all(3, [qj.Evolution(BOND, 0.3, method="trotter", steps=4)]),
    "diagonals": on_all(3, [qj.RZZ(0.1 * k, k % 3, (k + 1) % 3) for k in range(9)]),
    "mixed": on_all(3, MIXED_LAYER * 4),
}

NOISY = {
    "channels": qj.insert_noise(
        qj.hardware_efficient(angles(3, 3, 2)),
        qj.NoiseModel().after("all", qj.AmplitudeDamping, 0.1).after("CX", qj.Depolarizing, 0.05),
    ),
    "outcomes": on_all(
        2,
        [
            qj.Measure(0, "a"),
            qj.RX(0.3, 1).conditioned("a"),
            qj.AmplitudeDamping(0.3, 1).conditioned("a", 0),
            qj.Measure(1, "b"),
            qj.Reset(0),
            qj.X(0).conditioned("a").conditioned("b"),
        ],
    ),
    "long words": on_all(5, [qj.PauliRotation(0.3, "XYZXY", range(5)), qj.PhaseDamping(0.2, 0)]),
}


def final(circuit, *, mixed, fuse):
    """Final numbers of a plan, from |0...0>."""
    run = jax.jit(lambda p, d: evolve_state(circuit.structure, p, d, mixed=mixed, fuse=fuse))
    return np.asarray(run(circuit.params, circuit.data))


@pytest.mark.parametrize("case", PURE)
@pytest.mark.usefixtures("x64")
def test_fusion_and_loops_change_nothing(case):
    """State vectors with one block per gate and with the blocks that the plan chooses."""
    expected = final(PURE[case], mixed=False, fuse=False)
    np.testing.assert_allclose(final(PURE[case], mixed=False, fuse=True), expected, atol=1e-12)


@pytest.mark.parametrize("case", NOISY)
@pytest.mark.usefixtures("x64")
def test_fusion_changes_nothing_in_density_matrices(case):
    """The same on the Pauli coefficients of a density matrix and on recorded outcomes."""
    expected = final(NOISY[case], mixed=True, fuse=False)
    np.testing.assert_allclose(final(NOISY[case], mixed=True, fuse=True), expected, atol=1e-12)


@pytest.mark.parametrize("largest", [2, 4, 8, 16])
@pytest.mark.parametrize(
    ("split", "permute"),
    [(True, False), (True, True), (False, False), (False, True)],
    ids=["phases apart", "phases and CX apart", "all in matrices", "CX apart"],
)
@pytest.mark.parametrize("case", ["layers, ring", "mixed", "many controls", "product formula"])
@pytest.mark.usefixtures("x64")
def test_every_strategy_gives_the_same(case, split, permute, largest):
    """Whatever the cost model chooses, the numbers are those of the reference plan."""
    circuit = PURE[case]
    task = Task(device="cpu")
    factors = lower_pure(circuit.structure)
    dims = (2,) * circuit.num_qubits
    plan = plan_with(factors, dims, task, Strategy(largest, split, permute))
    kinds = {block.kind for segment in plan.segments for block in segment.blocks}
    assert ("permutation" in kinds) == (permute and case in ("layers, ring", "mixed"))
    run = jax.jit(lambda p, d: evolve(plan, p, d, None, jnp.dtype(float))[:, 0])
    found = run([jnp.asarray(p, float) for p in circuit.params], circuit.data)
    expected = final(circuit, mixed=False, fuse=False)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_layers_become_a_loop():
    """A deep ansatz has as few distinct blocks as one layer, and says so when printed."""
    deep, deeper = (qj.hardware_efficient(angles(depth, 4, 2)) for depth in (60, 90))
    plans = [make_plan(circuit.structure) for circuit in (deep, deeper)]
    distinct = [sum(len(segment.blocks) for segment in plan.segments) for plan in plans]
    assert distinct[0] == distinct[1]
    assert "59 times:" in str(plans[0])
    assert make_plan(deep.structure, fuse=False).num_blocks == len(deep)


def test_inputs_stay_out_of_shared_blocks():
    """Angles that differ from sample to sample do not enter the matrices of the ansatz."""
    circuit = qj.hardware_efficient(angles(1, 4, 2)) + qj.angle_encoding(angles(4))
    circuit = circuit + qj.hardware_efficient(angles(2, 4, 2))
    plan = make_plan(circuit.structure, batch=8, leaves=frozenset([1]))
    blocks = [block for segment in plan.segments for block in segment.blocks]
    assert any(block.sample for block in blocks)
    assert not any(block.sample for block in blocks if block.kind == "dense")


def test_plans_are_cached():
    """The same structure gives the same plan object."""
    first, second = (qj.hardware_efficient(angles(2, 3, 2)).structure for _ in range(2))
    assert make_plan(first) is make_plan(second)


def test_fixed_gates_keep_their_norm():
    """A thousand Hadamards are multiplied in float64 and lose nothing in complex64."""
    ket = qj.statevector(qj.Circuit(1, [qj.H(0)] * 1000))
    np.testing.assert_allclose(ket, [1, 0], atol=1e-6)


def test_real_gates_stay_real():
    """RY, H, CX and CZ need no imaginary part, and RX only phases beside a real matrix."""
    circuit = qj.Circuit(2, [qj.CX(0, 1), qj.RY(0.1, 0), qj.H(1), qj.CZ(0, 1), qj.RX(0.2, 1)])
    task = Task(device="cpu")
    plan = plan_with(lower_pure(circuit.structure), (2, 2), task, Strategy(4))
    blocks = [block for segment in plan.segments for block in segment.blocks]
    assert {block.kind for block in blocks} == {"dense", "phases"}
    assert not any(block.complex for block in blocks)


def test_diagonals_of_all_pairs_take_no_memory():
    """A table over all qubits comes without a matrix as long and as wide, as a cost layer has."""
    n = 13
    pairs = [qj.RZZ(0.1 * a * b, a, b) for a in range(n) for b in range(a)]
    circuit = on_all(n, [*pairs, *(qj.RX(0.3, q) for q in range(n))])
    plan = make_plan(circuit.structure)
    assert any(b.kind == "phases" and len(b.sites) == n for s in plan.segments for b in s.blocks)
    params = [jnp.asarray(p, "float32") for p in circuit.params]
    program = jax.make_jaxpr(lambda p: evolve(plan, p, [], None, jnp.dtype("float32")))(params)
    assert sum(np.asarray(c).nbytes for c in program.consts) < 64 * 2**n


@pytest.mark.parametrize("layer", ["hardware_efficient", "strongly_entangling"])
@pytest.mark.parametrize("depth", [3, 9])
def test_matrices_taken_by_products(monkeypatch, x64, layer, depth):
    """Real and complex ones, of loops as well, change no number."""
    per_gate = 2 if layer == "hardware_efficient" else 3
    circuit = getattr(qj, layer)(angles(depth, 5, per_gate))
    task = Task(device="cpu")
    plan = plan_with(lower_pure(circuit.structure), (2,) * 5, task, Strategy(4, permute=True))
    params = [jnp.asarray(p) for p in circuit.params]
    expected, found = both_ways(monkeypatch, plan, params, [])
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        np.testing.assert_allclose(one[0], other[0], atol=1e-12)
    assert other_operations(found[-1]) < other_operations(expected[-1])
    in_loop = any(segment.repeats > 1 for segment in plan.segments)
    assert in_loop == (layer == "hardware_efficient" and depth == 9)


def other_operations(program):
    """How many are no products of matrices, nor free; by name, into inner programs."""
    free = {"dot_general", "reshape", "squeeze", "broadcast_in_dim", "convert_element_type"}
    count = 0
    for equation in program.eqns:
        inner = [p.jaxpr for p in equation.params.values() if hasattr(p, "jaxpr")]
        count += sum(map(other_operations, inner)) if inner else equation.primitive.name not in free
    return count


def both_ways(monkeypatch, plan, params, data):
    """What `value_and_slopes` gives for small states and for large ones."""
    results = []
    for large in (2**40, 1):
        monkeypatch.setattr(_plan, "LARGE_STATE", large)
        results.append(value_and_slopes(plan, params, data))
    return results


def value_and_slopes(plan, params, data):
    """Of a function of the final state, traced anew: by JAX, by kept states and by undoing."""
    dtype = jnp.dtype("float64")
    size = jax.eval_shape(lambda: evolve(plan, params, data, None, dtype)).shape[0]
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(size, 1)))

    def run(params):
        return jnp.sum(weights * jnp.sin(evolve(plan, params, data, None, dtype)))

    def back(params, max_bytes):
        state = evolve(plan, params, data, None, dtype)
        slope = weights * jnp.cos(state)
        return cotangents(plan, params, data, None, state, slope, dtype, max_bytes)[0]

    value, slope = jax.jit(jax.value_and_grad(run))(params)
    ways = [jax.jit(back, static_argnums=1)(params, limit) for limit in (0, 2**30)]
    return [value], slope, *ways, jax.make_jaxpr(run)(params).jaxpr


@pytest.mark.parametrize(
    ("circuit", "mixed"),
    [(c, mixed) for mixed in (False, True) for c in PURE.values()]
    + [(c, True) for c in NOISY.values()],
    ids=[f"{name}, {kind}" for kind in ("pure", "mixed") for name in PURE] + [*NOISY],
)
@pytest.mark.usefixtures("x64")
def test_small_arrays_by_products(monkeypatch, circuit, mixed):
    """What is made for large states is the same for every kind of circuit, and so are slopes."""
    plan = make_plan(circuit.structure, mixed=mixed)
    params = [jnp.asarray(p, float) for p in circuit.params]
    expected, found = both_ways(monkeypatch, plan, params, circuit.data)
    for way in (1, 2, 3):
        for one, other in zip(found[way], expected[1], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-11)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-11)


@pytest.mark.usefixtures("x64")
def test_many_gates_on_one_site(monkeypatch):
    """A chain of which no sum of few products is made is taken step by step."""
    gates = [qj.RY(angle, 0) for angle in angles(30)] + [qj.RX(a, 2) for a in angles(3)]
    circuit = qj.Circuit(3, [*gates, qj.CX(0, 1), qj.CX(1, 2)])
    plan = make_plan(circuit.structure)
    params = [jnp.asarray(p, float) for p in circuit.params]
    expected, found = both_ways(monkeypatch, plan, params, [])
    np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
    np.testing.assert_allclose(found[1][0], expected[1][0], atol=1e-12)
    program = jax.make_jaxpr(lambda p: evolve(plan, p, [], None, jnp.dtype(float)))(params)
    assert sum(np.asarray(c).nbytes for c in program.consts) < 2**20


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(4, 4), (8, 4)])
def test_copies_of_a_matrix(shape, transposed):
    """By a product and by repeating it, on axes in the middle of a state."""
    matrix = jnp.asarray(RNG.normal(size=shape))
    state = jnp.asarray(RNG.normal(size=(3 * shape[0 if transposed else 1] * 5, 2)))
    found, expected = (
        multiply(state, matrix, 3, tiled=tiled, transposed=transposed) for tiled in (True, False)
    )
    whole = np.kron(np.kron(np.eye(3), matrix.T if transposed else matrix), np.eye(5))
    np.testing.assert_allclose(found, whole @ state, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(expected, whole @ state, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_last_layer_joins_the_loop():
    """Of many layers; values and slopes are those of one gate after the other."""
    circuit = qj.hardware_efficient(angles(40, 4, 2), "circular")
    words = tuple(((q, "Z"),) for q in range(4))
    shorter, _, _, longer = pull_back(circuit.structure, words)
    assert len(make_plan(shorter, longer=longer).segments) == 1 < len(make_plan(shorter).segments)
    assert make_plan(shorter, longer=shorter) is make_plan(shorter)

    def values(params, fuse):
        return word_values(circuit.structure, params, (), None, words=words, fuse=fuse)[0]

    params = [jnp.asarray(p) for p in circuit.params]
    found, expected = (values(params, fuse) for fuse in (True, False))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    found, expected = (jax.jacrev(values)(params, fuse)[0] for fuse in (True, False))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("depth", [4, 64])
def test_few_kernels(depth):
    """XLA compiles each for some ten milliseconds: most are to be passes over the state."""
    weights = np.random.default_rng(0).normal(size=16)

    def loss(theta):
        circuit = qj.hardware_efficient(theta, "circular")
        return jnp.asarray(weights) @ qj.expectation(circuit, [qj.Z(q) for q in range(16)])

    theta = jax.ShapeDtypeStruct((depth, 16, 2), jnp.float32)
    text = jax.jit(jax.value_and_grad(loss)).lower(theta).compile().as_text() or ""
    assert 20 < len(re.findall("kind=(kLoop|kInput)", text)) < 42


@pytest.mark.parametrize("num_qubits", [8, 14])
def test_cosines_are_not_taken_in_a_pass_over_the_state(num_qubits):
    """XLA fuses what it can: a cosine would be computed anew for every number of the state."""
    circuit = qj.hardware_efficient(angles(2, num_qubits, 2), "circular")
    run = jax.jit(lambda p: evolve_state(circuit.structure, p, []))
    text = run.lower(circuit.params).compile().as_text() or ""
    kernels = "".join(part for part in text.split("\n\n") if " cosine(" in part)
    shapes = re.findall(r"ROOT \S+ = f32\[([\d,]*)\]", kernels)
    assert shapes
    for shape in shapes:
        assert np.prod([int(size) for size in shape.split(",")]) < 2**num_qubits
