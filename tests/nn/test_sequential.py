"""QuantumSequential: one circuit for a stack, and stacks among classical layers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import ModelError
from qjax.nn import (
    Angle,
    QuantumFeatureExtractor,
    QuantumLayer,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
)
from tests.nn.checks import (
    FULL,
    as_function,
    checked_jacobians,
    largest_slopes,
    layered,
    log_scores,
    prepared,
    rotations,
)
from tests.support import oracle

X = np.array([0.3, -0.8, 0.1, 0.5, 0.2, 0.7])
KEEP = (0, 2)


class Bare(QuantumLayer):
    """A layer that only flips its qubits."""

    def __init__(self, num_qubits: int):
        self.num_qubits = num_qubits

    def operations(self) -> qj.Circuit:
        return qj.Circuit(self.num_qubits, [qj.X(q) for q in range(self.num_qubits)])


def extractor(num_qubits: int, rngs: nnx.Rngs, **options) -> QuantumFeatureExtractor:
    """One layer of it."""
    return QuantumFeatureExtractor(num_qubits, depth=1, rngs=rngs, **options)


def make_stack(seed: int = 0) -> QuantumSequential:
    """Three qubits, of which two are kept; 6 + 4 + 2 angles."""
    rngs = nnx.Rngs(seed)
    return QuantumSequential(
        extractor(3, rngs),
        QuantumPooling(3, keep=KEEP),
        extractor(2, rngs),
        QuantumReadout(2, 3, rngs=rngs),
    )


def angles_of(stack: nnx.Module) -> list[np.ndarray]:
    """The arrays of angles, first layer first."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(stack, Angle))]


def circuit_by_hand(first, second, last, between=()) -> qj.Circuit:
    """The same circuit gate by gate, with operations between the layers if wanted."""
    ops = [op for q in range(3) for op in (qj.RY(first[0, q, 0], q), qj.RZ(first[0, q, 1], q))]
    ops += [qj.CX(0, 1), qj.CX(0, 2), qj.CX(1, 2), *between]
    for i, q in enumerate(KEEP):
        ops += [qj.RY(second[0, i, 0], q), qj.RZ(second[0, i, 1], q)]
    ops += [qj.CX(0, 2), qj.RY(last[0], 0), qj.RY(last[1], 2)]
    return qj.Circuit(3, ops)


def scores(circuit: qj.Circuit) -> np.ndarray:
    """Class scores of a circuit after amplitude encoding."""
    return log_scores(np.asarray(qj.probabilities(qj.amplitude_encoding(X, 3) + circuit, KEEP)), 3)


def test_is_one_circuit(x64):
    """Gate for gate the circuit written by hand, and the oracle's numbers."""
    stack = make_stack()
    first, second, last = angles_of(stack)
    by_hand = circuit_by_hand(first, second, last)
    found = [(op.name, op.qubits) for op in stack.operations().operations]
    assert found == [(op.name, op.qubits) for op in by_hand.operations]
    np.testing.assert_allclose(stack(X), scores(by_hand), atol=1e-12)
    ops = [*prepared(X, 3), *layered(first, FULL[3]), *layered(second, FULL[2], KEEP)]
    ket = oracle.statevector(3, [*ops, *rotations(last, KEEP)])
    expected = log_scores(oracle.probabilities(ket, KEEP), 3)
    np.testing.assert_allclose(stack(X), expected, atol=1e-12)


def test_differs_from_measuring_in_between(x64):
    """Measuring what is handed on destroys it; measuring what is dropped changes nothing."""
    stack = make_stack()
    angles = angles_of(stack)
    kept = circuit_by_hand(*angles, between=[qj.Measure(q) for q in KEEP])
    dropped = circuit_by_hand(*angles, between=[qj.Measure(1)])
    assert np.abs(scores(kept) - stack(X)).max() > 0.1
    np.testing.assert_allclose(scores(dropped), stack(X), atol=1e-12)


def test_differs_from_passing_numbers_on(x64):
    """Expectation values as angles of the next layer are another model."""
    rngs = nnx.Rngs(0)
    first = extractor(2, rngs, measurement_bases=("Z",), encoding="angle")
    readout = QuantumReadout(2, 3, rngs=rngs)
    coherent = QuantumSequential(first, readout)
    assert np.abs(coherent(X[:2]) - readout(first(X[:2]))).max() > 0.1


def test_nested_stacks(x64):
    """A stack is a layer: grouping changes nothing."""
    flat = make_stack()
    first, pooling, second, readout = flat.layers
    for nested in (
        QuantumSequential(QuantumSequential(first, pooling), second, readout),
        QuantumSequential(first, QuantumSequential(pooling, QuantumSequential(second, readout))),
    ):
        np.testing.assert_allclose(nested(X), flat(X), atol=1e-14)
        assert len(nested.operations()) == len(flat.operations())


def test_pooling_twice(x64):
    """Qubits are counted among those that are left."""
    rngs = nnx.Rngs(0)
    pools = QuantumPooling(4, keep=(3, 1, 0)), QuantumPooling(3, keep=(2, 0))
    stack = QuantumSequential(*pools, QuantumReadout(2, 2, "expectation", rngs=rngs))
    assert stack.kept_qubits == (0, 3)
    (theta,) = angles_of(stack)
    x = np.array([0.1, 0.5, 0.9, 1.3])
    expected = np.cos(x[[0, 3]] + theta)
    np.testing.assert_allclose(stack(x), expected, atol=1e-12)


def test_stack_of_one_layer(x64):
    """Is that layer."""
    layer = extractor(2, nnx.Rngs(0))
    np.testing.assert_allclose(QuantumSequential(layer)(X[:3]), layer(X[:3]), atol=1e-14)


def test_gradients(x64):
    """All angles of all layers, and all inputs, move some score."""
    in_leaves, in_x = checked_jacobians(make_stack(), X)
    assert [leaf.shape[1:] for leaf in in_leaves] == [(1, 3, 2), (1, 2, 2), (2,)]
    for leaf in in_leaves:
        assert np.all(largest_slopes(leaf, 3) > 1e-4)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-4)


def test_dead_angle_of_a_dropped_qubit(x64):
    """RZ on a control commutes with CX; on a qubit that is then dropped nobody sees it.

    RY on the same qubit, and RZ on the target, which CX turns into Z on both, are seen.
    """
    rngs = nnx.Rngs(1)
    stack = QuantumSequential(
        extractor(2, rngs), QuantumPooling(2, keep=(1,)), QuantumReadout(1, 2, rngs=rngs)
    )
    run, leaves = as_function(stack)
    jacobian = jax.jit(jax.jacrev(run))
    for seed in range(3):
        in_theta, in_last = jacobian(leaves, np.random.default_rng(seed).normal(size=4))
        slopes = largest_slopes(np.asarray(in_theta), 2)
        assert slopes[0, 0, 1] < 1e-10
        assert np.count_nonzero(slopes > 1e-6) == 3 and np.all(np.abs(in_last) > 1e-6)


# --- among classical layers -----------------------------------------------------------------------


def make_hybrid(dtype=jnp.float32) -> nnx.Sequential:
    """Linear layers before and behind a quantum one."""
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Linear(3, 2, param_dtype=dtype, rngs=rngs),
        extractor(2, rngs, encoding="angle"),
        nnx.Linear(6, 2, param_dtype=dtype, rngs=rngs),
    )


def test_gradients_between_linear_layers(x64):
    """They pass through the quantum layer to the weights before it."""
    in_leaves, in_x = checked_jacobians(make_hybrid(jnp.float64), X[:3])
    assert len(in_leaves) == 5
    first_bias, first_kernel = in_leaves[:2]
    assert np.abs(first_bias).max() > 1e-3 and np.abs(first_kernel).max() > 1e-3
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def loss_of(model: nnx.Module, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    scores = model(x)  # pyright: ignore[reportCallIssue]
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()


@nnx.jit
def train_step(model, optimizer, x, labels):
    """One step on what the optimiser has been told to move."""
    state = nnx.DiffState(0, optimizer.wrt)
    value, slopes = nnx.value_and_grad(loss_of, argnums=state)(model, x, labels)
    optimizer.update(model, slopes)
    return value


def test_optimiser_of_angles_alone():
    """Learns by them, and leaves the linear layers as they are."""
    model = make_hybrid()
    before = nnx.to_pure_dict(nnx.state(model))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=Angle)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    losses = [float(train_step(model, optimizer, x, labels)) for _ in range(10)]
    assert losses[-1] < losses[0] - 0.02
    after = nnx.to_pure_dict(nnx.state(model))
    moved = [np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)]
    assert moved == [False, False, True, False, False]


def test_angles_and_other_parameters_split():
    """The filter parts the state in two, and merging gives the model back."""
    model = make_hybrid()
    graph, angles, rest = nnx.split(model, Angle, ...)
    assert [leaf.shape for leaf in jax.tree.leaves(angles)] == [(1, 2, 2)]
    assert len(jax.tree.leaves(rest)) == 4
    x = X[:3].astype(np.float32)
    np.testing.assert_array_equal(nnx.merge(graph, angles, rest)(x), model(x))


# --- errors ---------------------------------------------------------------------------------------


def test_empty_stack():
    """There must be something to run."""
    with pytest.raises(ModelError, match="`layers` must hold at least one layer, but is empty"):
        QuantumSequential()


@pytest.mark.parametrize("stranger", [nnx.Linear(2, 2, rngs=nnx.Rngs(0)), [QuantumPooling(2)]])
def test_layers_that_are_not_quantum(stranger):
    """Named by their type."""
    text = f"must be quantum layers, given one by one, but holds {type(stranger).__name__}"
    with pytest.raises(ModelError, match=text):
        QuantumSequential(stranger)


def test_neighbours_that_do_not_fit():
    """Both layers are named, with their qubits."""
    text = "QuantumReadout has 2 qubits, but the QuantumPooling before it keeps 3"
    with pytest.raises(ModelError, match=text):
        QuantumSequential(QuantumPooling(6), QuantumReadout(2, 2, rngs=nnx.Rngs(0)))


def test_first_layer_without_an_encoding():
    """Numbers cannot enter it."""
    stack = QuantumSequential(Bare(2), QuantumPooling(2))
    with pytest.raises(ModelError, match="Bare has no encoding and cannot be the first layer"):
        stack(np.ones(2))


def test_last_layer_without_a_reading():
    """Numbers cannot leave it."""
    stack = QuantumSequential(QuantumPooling(4), Bare(2))
    with pytest.raises(ModelError, match="Bare reads nothing out and cannot be the last layer"):
        stack(np.ones(4))


def test_layer_of_ones_own_in_the_middle(x64):
    """Needs a circuit only."""
    stack = QuantumSequential(QuantumPooling(2), Bare(1), QuantumPooling(1, pool_size=1))
    np.testing.assert_allclose(stack(np.array([0.3, 0.5])), [-np.cos(0.3)], atol=1e-12)


# --- measured and encoded again -------------------------------------------------------------------


def test_measured_runs_the_layers_one_by_one(x64):
    """On numbers, with the parameters of the stack; another result than the coherent one."""
    rngs = nnx.Rngs(0)
    options = {"measurement_bases": ("Z",), "encoding": "angle"}
    first = extractor(4, rngs, **options)
    pooling = QuantumPooling(4)
    readout = QuantumReadout(2, 3, rngs=rngs)
    stack = QuantumSequential(first, pooling, readout)
    x = np.random.default_rng(0).normal(size=(3, 4))
    measured = stack.measured(x)
    np.testing.assert_allclose(measured(x), readout(pooling(first(x))), atol=1e-12)
    assert np.abs(measured(x) - stack(x)).max() > 0.05
    assert measured.layers[0].theta is first.theta


def test_measured_where_the_sizes_do_not_fit():
    """The layer, what it would get, and what to change."""
    stack = QuantumSequential(extractor(2, nnx.Rngs(0)), QuantumPooling(2))
    text = r"Layer 1, QuantumPooling, cannot run on inputs of shape \(1, 6\): .*Choose other"
    with pytest.raises(ModelError, match=text):
        stack.measured(np.ones((1, 4)))


def test_gradients_pass_through_a_frozen_layer():
    """The first layer alone learns what the second alone cannot: the loss falls to a half.

    Of the product of two signs the second layer, which has no entanglers and reads one qubit,
    sees nothing when the first does not act.
    """
    x = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype(np.float32) * 1.5
    y = np.sign(x[:, 0] * x[:, 1])
    rngs = nnx.Rngs(1)
    options = {"encoding": "angle", "measurement_bases": ("Z",)}
    second = QuantumFeatureExtractor(2, 1, "none", rngs=rngs, **options)

    def train(*layers):
        """The losses in 50 steps of Adam on the first layer, and the state of all after them."""
        graph, trained, rest = nnx.split(nnx.Sequential(*layers), nnx.PathContains(0), ...)
        optimizer = optax.adam(0.1)
        memory, losses = optimizer.init(trained), []

        def loss(angles):
            return jnp.mean((nnx.merge(graph, angles, rest)(x)[:, 0] - y) ** 2)

        @jax.jit
        def step(angles, memory):
            value, gradient = jax.value_and_grad(loss)(angles)
            updates, memory = optimizer.update(gradient, memory)
            return optax.apply_updates(angles, updates), memory, value

        for _ in range(50):
            trained, memory, value = step(trained, memory)
            losses.append(float(value))
        return [*losses, float(loss(trained))], rest

    alone, _ = train(second)
    assert min(alone) > 0.8
    first = QuantumFeatureExtractor(2, 4, "circular", rngs=rngs, **options)
    together, rest = train(first, second)
    np.testing.assert_array_equal(jax.tree.leaves(rest)[0], second.theta[...])  # it did not move
    assert together[-1] < 0.5 * together[0]
