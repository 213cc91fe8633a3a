"""The convolution of a QCNN and the tree tensor network, against circuits written gate by gate."""

import jax
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from qjax.library import _tensor_network
from qjax.library._tensor_network import convolutional, tree_pairs, tree_tensor
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import unitary_of

pytestmark = pytest.mark.usefixtures("x64")

RING = {
    2: [(0, 1)],
    3: [(0, 1), (1, 2), (2, 0)],
    4: [(0, 1), (2, 3), (1, 2), (3, 0)],
    5: [(0, 1), (2, 3), (1, 2), (3, 4), (4, 0)],
}
TREE = {
    2: [(0, 1)],
    3: [(0, 1), (0, 2)],
    4: [(0, 1), (2, 3), (0, 2)],
    5: [(0, 1), (2, 3), (0, 2), (0, 4)],
    6: [(0, 1), (2, 3), (4, 5), (0, 2), (0, 4)],
    8: [(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (4, 6), (0, 4)],
}


def angles(*shape) -> np.ndarray:
    """Fixed angles that all differ."""
    return np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


def rotations(qubit: int, theta) -> list[Op]:
    """RZ, RY, RZ."""
    return [Op(name, (qubit,), (t,)) for name, t in zip(("RZ", "RY", "RZ"), theta, strict=True)]


def node(pair, theta) -> list[Op]:
    """Rotations of both qubits, then the three couplings: 9 angles."""
    first, second = pair
    return [
        *rotations(first, theta[:3]),
        *rotations(second, theta[3:6]),
        Op("RXX", pair, (theta[6],)),
        Op("RYY", pair, (theta[7],)),
        Op("RZZ", pair, (theta[8],)),
    ]


def block(pair, theta) -> list[Op]:
    """A node, and rotations of both qubits again: 15 angles."""
    first, second = pair
    return [
        *node(pair, theta[:9]),
        *rotations(first, theta[9:12]),
        *rotations(second, theta[12:]),
    ]


def convolution(theta, num_qubits: int) -> list[Op]:
    """One block on the pairs of the ring, layer by layer."""
    return [op for layer in theta for pair in RING[num_qubits] for op in block(pair, layer)]


def tree(theta, num_qubits: int) -> list[Op]:
    """A node with angles of its own on each pair."""
    pairs = zip(TREE[num_qubits], theta, strict=True)
    return [op for pair, row in pairs for op in node(pair, row)]


CASES = {
    "convolutional": (convolutional, convolution, lambda n: (2, 15)),
    "tree": (tree_tensor, tree, lambda n: (n - 1, 9)),
}


@pytest.mark.parametrize("num_qubits", [2, 3, 4, 5])
@pytest.mark.parametrize("case", CASES)
def test_equals_oracle(case, num_qubits):
    """Its whole matrix."""
    build, by_hand, shape = CASES[case]
    theta = angles(*shape(num_qubits))
    expected = oracle.unitary(num_qubits, by_hand(theta, num_qubits))
    np.testing.assert_allclose(unitary_of(build(theta, num_qubits)), expected, atol=1e-13)


@pytest.mark.parametrize("num_qubits", TREE)
def test_tree_pairs(num_qubits):
    """Each node drops one qubit, level by level, until the root is left."""
    assert list(tree_pairs(num_qubits)) == TREE[num_qubits]


def test_numbers_of_angles():
    """What the shapes above take for granted."""
    assert (_tensor_network.ANGLES_PER_BLOCK, _tensor_network.ANGLES_PER_NODE) == (15, 9)


def test_block_is_a_general_element_of_su4():
    """Its 15 derivatives U^-1 dU are linearly independent: they span all of su(4)."""
    theta = angles(1, 15)

    def matrix(row):
        return oracle.unitary(2, block((0, 1), row))

    steps = 1e-6 * np.eye(15)
    slopes = [(matrix(theta[0] + s) - matrix(theta[0] - s)) / 2e-6 for s in steps]
    tangents = np.array([(matrix(theta[0]).conj().T @ d).ravel() for d in slopes])
    as_real = np.concatenate([tangents.real, tangents.imag], axis=1)
    sizes = np.linalg.svd(as_real, compute_uv=False)
    assert sizes[-1] > 1e-2


def test_block_reaches_swap_and_cz():
    """Couplings (pi/2, pi/2, pi/2) are SWAP; CZ is RZZ(-pi/2) and RZ(pi/2) on both."""
    swap, cz = np.zeros((1, 15)), np.zeros((1, 15))
    swap[0, 6:9] = np.pi / 2
    cz[0, [8, 9, 12]] = -np.pi / 2, np.pi / 2, np.pi / 2
    for theta, name in ((swap, "SWAP"), (cz, "CZ")):
        target = oracle.unitary(2, [Op(name, (0, 1))])
        overlap = np.trace(target.conj().T @ unitary_of(convolutional(theta, 2)))
        assert abs(abs(overlap) - 4) < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_zero_angles_are_the_identity(case):
    """So that angles near zero are near the identity."""
    build, _, shape = CASES[case]
    np.testing.assert_allclose(unitary_of(build(np.zeros(shape(3)), 3)), np.eye(8), atol=1e-14)


def test_convolution_is_invariant_under_translation():
    """Moving all qubits on by two changes nothing; by one it does: the even pairs come first."""
    circuit = convolutional(angles(2, 15), 4)
    plain = unitary_of(circuit)
    np.testing.assert_allclose(unitary_of(circuit.on((2, 3, 0, 1))), plain, atol=1e-13)
    assert np.abs(unitary_of(circuit.on((1, 2, 3, 0))) - plain).max() > 1e-2


def test_tree_does_not_touch_a_dropped_qubit_again():
    """The reduced state of the root is that of the tree built step by step on fewer qubits."""
    theta = angles(3, 9)
    product = [Op("RY", (q,), (0.3 + q,)) for q in range(4)]

    def half(first, row):
        ops = [Op("RY", (0,), (0.3 + first,)), Op("RY", (1,), (1.3 + first,))]
        return oracle.partial_trace(oracle.statevector(2, ops + node((0, 1), row)), (0,))

    joined = np.kron(half(0, theta[0]), half(2, theta[1]))
    expected = oracle.partial_trace(oracle.density_matrix(2, node((0, 1), theta[2]), joined), (0,))
    encoding = qj.angle_encoding(np.array([op.params[0] for op in product]))
    found = qj.partial_trace(qj.statevector(encoding + tree_tensor(theta, 4)), [0])
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_angles_are_one_leaf(case):
    """The array is handed over whole, however often an angle is used."""
    build, _, shape = CASES[case]
    theta = angles(*shape(4))
    (leaf,) = jax.tree.leaves(build(theta, 4))
    assert np.size(leaf) == theta.size


@pytest.mark.parametrize("case", CASES)
def test_batched_angles(case):
    """Leading axes come out in front."""
    build, _, shape = CASES[case]
    theta = angles(3, *shape(3))
    circuit = build(theta, 3)
    assert circuit.batch_shape == (3,)
    rows = [qj.statevector(build(t, 3)) for t in theta]
    np.testing.assert_allclose(qj.statevector(circuit), rows, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_gradient_equals_finite_differences(case):
    """Every angle, those that several gates share among them."""
    build, by_hand, shape = CASES[case]
    theta = angles(*shape(3))

    def reference(theta):
        ket = oracle.statevector(3, by_hand(theta, 3))
        return oracle.expectation(ket, {"XZI": 1, "ZII": 0.5})

    observable = qj.X(0) @ qj.Z(1) + 0.5 * qj.Z(0)
    found = jax.jit(jax.grad(lambda t: qj.expectation(build(t, 3), observable)))(theta)
    steps = 1e-5 * np.eye(theta.size).reshape(-1, *theta.shape)
    numeric = [(reference(theta + s) - reference(theta - s)) / 2e-5 for s in steps]
    np.testing.assert_allclose(np.ravel(found), numeric, atol=1e-8)
    assert np.abs(found).max() > 0.1


BAD_ANGLES = [
    (convolutional, np.ones((2, 14)), r"real of shape \(..., depth, 15\), but is float64 of .*14"),
    (convolutional, np.ones(15), r"shape \(..., depth, 15\), but is float64 of shape \(15,\)"),
    (convolutional, np.ones((0, 15)), r"\(..., depth, 15\), but is float64 of shape \(0, 15\)"),
    (convolutional, np.ones((1, 15), complex), "must be real .*, but is complex128"),
    (convolutional, np.full((1, 15), np.nan), "`theta` must be finite"),
    (tree_tensor, np.ones((2, 9)), r"real of shape \(..., 3, 9\), but is float64 of .*\(2, 9\)"),
    (tree_tensor, np.ones((3, 15)), r"of shape \(..., 3, 9\), but is float64 of .*\(3, 15\)"),
    (tree_tensor, np.float64(1), r"of shape \(..., 3, 9\), but is float64 of shape \(\)"),
]


@pytest.mark.parametrize(("build", "theta", "text"), BAD_ANGLES)
def test_wrong_angles_raise(build, theta, text):
    """The expected shape is named."""
    with pytest.raises(CircuitError, match=text):
        build(theta, 4)


@pytest.mark.parametrize(
    ("num_qubits", "text"),
    [
        (1, "`num_qubits` must be at least 2, but is 1"),
        (0, "`num_qubits` must be between 1 and 40, but is 0"),
        (2.0, "`num_qubits` must be an integer, but is 2.0"),
    ],
)
def test_too_few_qubits_raise(num_qubits, text):
    """There must be a pair."""
    for build in (
        lambda n: convolutional(np.ones((1, 15)), n),
        lambda n: tree_tensor(np.ones((1, 9)), n),
        tree_pairs,
    ):
        with pytest.raises(CircuitError, match=text):
            build(num_qubits)
