"""Ansätze against the same circuits written gate by gate."""

from collections import Counter

import jax
import numpy as np
import pytest

import qjax as qj
from qjax.errors import QjaxError
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import unitary_of

pytestmark = pytest.mark.usefixtures("x64")

PAIRS = {
    "linear": lambda n: [(q, q + 1) for q in range(n - 1)],
    "full": lambda n: [(i, j) for i in range(n) for j in range(i + 1, n)],
    "circular": lambda n: [(q, q + 1) for q in range(n - 1)] + ([(n - 1, 0)] if n > 2 else []),
}


def angles(*shape) -> np.ndarray:
    """Fixed angles that all differ."""
    return np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


def hardware_efficient(theta, entanglement: str) -> list[Op]:
    """RY and RZ on each qubit, then the CX pattern, layer by layer."""
    depth, n, _ = theta.shape
    ops = []
    for layer in range(depth):
        for q in range(n):
            ops.append(Op("RY", (q,), (theta[layer, q, 0],)))
            ops.append(Op("RZ", (q,), (theta[layer, q, 1],)))
        ops += [Op("CX", pair) for pair in PAIRS[entanglement](n)]
    return ops


def strongly_entangling(theta) -> list[Op]:
    """RZ, RY, RZ on each qubit, then CX at a distance that grows with the layer."""
    depth, n, _ = theta.shape
    ops = []
    for layer in range(depth):
        for q in range(n):
            for i, name in enumerate(("RZ", "RY", "RZ")):
                ops.append(Op(name, (q,), (theta[layer, q, i],)))
        if n > 1:
            distance = layer % (n - 1) + 1
            ops += [Op("CX", (q, (q + distance) % n)) for q in range(n)]
    return ops


@pytest.mark.parametrize("entanglement", PAIRS)
@pytest.mark.parametrize("num_qubits", [1, 2, 3, 4])
def test_hardware_efficient(entanglement, num_qubits):
    """Its whole matrix, at two layers."""
    theta = angles(2, num_qubits, 2)
    circuit = qj.hardware_efficient(theta, entanglement=entanglement)
    expected = oracle.unitary(num_qubits, hardware_efficient(theta, entanglement))
    np.testing.assert_allclose(unitary_of(circuit), expected, atol=1e-13)


def test_hardware_efficient_default():
    """Linear."""
    theta = angles(1, 3, 2)
    assert qj.hardware_efficient(theta) == qj.hardware_efficient(theta, entanglement="linear")


@pytest.mark.parametrize(("depth", "num_qubits"), [(1, 1), (2, 2), (4, 4), (3, 3)])
def test_strongly_entangling(depth, num_qubits):
    """Its whole matrix, through a cycle of distances."""
    theta = angles(depth, num_qubits, 3)
    expected = oracle.unitary(num_qubits, strongly_entangling(theta))
    np.testing.assert_allclose(unitary_of(qj.strongly_entangling(theta)), expected, atol=1e-13)


@pytest.mark.parametrize(
    ("build", "theta", "ops"),
    [
        (
            lambda theta: qj.hardware_efficient(theta, entanglement="circular"),
            angles(2, 3, 2),
            hardware_efficient(angles(2, 3, 2), "circular"),
        ),
        (
            lambda theta: qj.strongly_entangling(theta),
            angles(2, 3, 3),
            strongly_entangling(angles(2, 3, 3)),
        ),
    ],
    ids=["hardware efficient", "strongly entangling"],
)
def test_operations_can_be_listed(build, theta, ops):
    """`operations` shows the gates as if they had been written one by one."""
    circuit = build(theta)
    found = oracle.from_circuit(circuit)
    assert sorted((op.name, op.qubits) for op in found) == sorted((o.name, o.qubits) for o in ops)
    np.testing.assert_allclose(oracle.unitary(3, found), oracle.unitary(3, ops), atol=1e-13)
    assert circuit.count_operations() == Counter(op.name for op in ops)


def test_angles_are_one_leaf_of_the_given_size():
    """The array is handed over whole."""
    theta = angles(3, 4, 2)
    (leaf,) = jax.tree.leaves(qj.hardware_efficient(theta))
    assert np.size(leaf) == theta.size


@pytest.mark.parametrize("ansatz", ["hardware_efficient", "strongly_entangling"])
def test_batched_angles(ansatz):
    """Leading axes come out in front."""
    k = {"hardware_efficient": 2, "strongly_entangling": 3}[ansatz]
    theta = angles(3, 2, 2, k)
    circuit = getattr(qj, ansatz)(theta)
    assert circuit.batch_shape == (3,)
    found = qj.statevector(circuit)
    rows = [qj.statevector(getattr(qj, ansatz)(t)) for t in theta]
    np.testing.assert_allclose(found, rows, atol=1e-13)


def test_batched_data_and_shared_angles():
    """A batch of inputs, one set of angles, and the gradient of the mean in both."""
    x, theta = angles(4, 3), angles(2, 3, 2)

    def means(theta, x):
        circuit = qj.angle_encoding(x) + qj.hardware_efficient(theta, entanglement="circular")
        return qj.expectation(circuit, [qj.Z(q) for q in range(3)])

    found = means(theta, x)
    assert found.shape == (4, 3)
    gates = hardware_efficient(theta, "circular")
    for row, sample in zip(found, x, strict=True):
        ket = oracle.statevector(3, [Op("RY", (q,), (v,)) for q, v in enumerate(sample)] + gates)
        expected = [oracle.expectation(ket, {w: 1}) for w in ("ZII", "IZI", "IIZ")]
        np.testing.assert_allclose(row, expected, atol=1e-13)
    total, one = (jax.jit(jax.grad(lambda t, x: means(t, x).sum()))(theta, v) for v in (x, x[:1]))
    assert total.shape == theta.shape
    assert not np.allclose(total, one)


def test_gradient_equals_finite_differences():
    """Every angle of a small ansatz."""
    theta = angles(2, 2, 2)

    def reference(theta):
        ket = oracle.statevector(2, hardware_efficient(theta, "linear"))
        return oracle.expectation(ket, {"XZ": 1, "ZI": 0.5})

    found = jax.jit(
        jax.grad(
            lambda t: qj.expectation(qj.hardware_efficient(t), qj.X(0) @ qj.Z(1) + 0.5 * qj.Z(0))
        )
    )(theta)
    steps = 1e-6 * np.eye(theta.size).reshape(-1, *theta.shape)
    numeric = [(reference(theta + s) - reference(theta - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(np.ravel(found), numeric, atol=1e-8)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (0,), ()])
@pytest.mark.parametrize("ansatz", ["hardware_efficient", "strongly_entangling"])
def test_wrong_shapes_raise(ansatz, shape):
    """The expected shape is named."""
    with pytest.raises(QjaxError, match="theta"):
        getattr(qj, ansatz)(np.ones(shape))
