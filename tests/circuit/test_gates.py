"""Every gate against the oracle: matrix, inverse, controls, derivatives, shift rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from tests.support import oracle
from tests.support.oracle import GATES, Op
from tests.support.strategies import as_circuit, as_operation, random_unitary, unitary_of

pytestmark = pytest.mark.usefixtures("x64")

ANGLES = (0.7, -1.3, 2.1)
PARAMETRIC = [name for name, gate in GATES.items() if gate.num_params]
FOUR_TERM = {"CRX", "CRY", "CRZ"}  # generators with eigenvalues -1/2, 0, 1/2
STEP = 1e-6


def gate_op(name: str, **kwargs) -> Op:
    """The gate on descending qubits, with fixed angles."""
    gate = GATES[name]
    return Op(name, tuple(range(gate.num_qubits))[::-1], ANGLES[: gate.num_params], **kwargs)


def gate_circuit(name: str, params) -> qj.Circuit:
    """The gate between layers that make its expectation depend on every angle."""
    n = GATES[name].num_qubits
    layer = [op for q in range(n) for op in (qj.H(q), qj.T(q), qj.RX(0.4 + q, q))]
    after = [qj.RY(0.9 + q, q) for q in range(n)]
    return qj.Circuit(n, [*layer, getattr(qj, name)(*params, *range(n)), *after])


@pytest.mark.parametrize("name", GATES)
def test_matrix_equals_oracle(name):
    """Also on descending qubits with a spectator, so that bit order shows."""
    op = gate_op(name)
    n = len(op.qubits) + 1
    found = unitary_of(as_circuit(n, [op]))
    np.testing.assert_allclose(found, oracle.unitary(n, [op]), atol=1e-13)
    np.testing.assert_allclose(found @ found.conj().T, np.eye(2**n), atol=1e-13)


@pytest.mark.parametrize("name", GATES)
def test_inverse_is_the_conjugate_transpose(name):
    """For every gate, and undone again by a second inverse."""
    op = gate_op(name, inverse=True)
    n = len(op.qubits)
    found = unitary_of(as_circuit(n, [op]))
    np.testing.assert_allclose(found, oracle.unitary(n, [gate_op(name)]).conj().T, atol=1e-13)
    assert repr(as_operation(op).inverse()) == repr(as_operation(gate_op(name)))


@pytest.mark.parametrize("name", GATES)
def test_controlled_is_a_block_matrix(name):
    """One control more, before the gate's own qubits, on top of an inverse."""
    bare = gate_op(name)
    n = len(bare.qubits) + 1
    op = Op(name, (n - 1, *bare.qubits), bare.params, controls=1, inverse=True)
    found = unitary_of(as_circuit(n, [op]))
    np.testing.assert_allclose(found, oracle.unitary(n, [op]), atol=1e-13)


@pytest.mark.parametrize("controls", [(0, 3), (3, 0)])
def test_two_controls(controls):
    """Two controls around the targets, in both orders."""
    op = Op("ISWAP", (*controls, 2, 1), controls=2)
    found = unitary_of(as_circuit(4, [op]))
    np.testing.assert_allclose(found, oracle.unitary(4, [op]), atol=1e-13)


@pytest.mark.parametrize(
    ("ours", "same"),
    [
        (lambda: qj.X(1).controlled(0), lambda: qj.CX(0, 1)),
        (lambda: qj.X(2).controlled(0, 1), lambda: qj.CCX(0, 1, 2)),
        (lambda: qj.CX(1, 2).controlled(0), lambda: qj.CCX(0, 1, 2)),
        (lambda: qj.SWAP(1, 2).controlled(0), lambda: qj.CSWAP(0, 1, 2)),
        (lambda: qj.RY(0.3, 1).controlled(0), lambda: qj.CRY(0.3, 0, 1)),
        (lambda: qj.P(0.3, 1).controlled(0), lambda: qj.CP(0.3, 0, 1)),
    ],
)
def test_controlled_gates_have_one_form(ours, same):
    """Writing the control out gives the named gate."""
    assert ours().name == same().name
    assert ours().qubits == same().qubits
    assert qj.Circuit(3, [ours()]) == qj.Circuit(3, [same()])


@pytest.mark.parametrize("name", PARAMETRIC)
def test_matrix_derivative_equals_finite_differences(name):
    """The Jacobian of the whole matrix in each angle."""
    gate = GATES[name]
    qubits = range(gate.num_qubits)

    def matrix(params):
        circuit = qj.Circuit(gate.num_qubits, [getattr(qj, name)(*params, *qubits)])
        basis = jnp.eye(2**gate.num_qubits, dtype=complex)
        run = jax.vmap(lambda ket: qj.statevector(circuit, initial_state=ket), out_axes=1)
        return run(basis)

    params = np.array(ANGLES[: gate.num_params])
    found = jax.jit(jax.jacfwd(matrix))(params)
    for i, step in enumerate(STEP * np.eye(len(params))):
        difference = gate.matrix(*(params + step)) - gate.matrix(*(params - step))
        np.testing.assert_allclose(found[..., i], difference / (2 * STEP), atol=1e-8)


@pytest.mark.parametrize("name", PARAMETRIC)
def test_expectation_gradient_equals_shift_rule(name):
    """Reverse mode against the two- or four-term parameter-shift rule."""

    def mean(params):
        return qj.expectation(gate_circuit(name, params), qj.Z(0) + 0.5 * qj.X(0))

    params = np.array(ANGLES[: GATES[name].num_params])
    if name in FOUR_TERM:
        shifts = np.array([np.pi / 2, 3 * np.pi / 2])
        weights = np.array([np.sqrt(2) + 1, -(np.sqrt(2) - 1)]) / (4 * np.sqrt(2))
    else:
        shifts, weights = np.array([np.pi / 2]), np.array([0.5])
    plus = params + shifts[:, None, None] * np.eye(len(params))
    minus = params - shifts[:, None, None] * np.eye(len(params))

    @jax.jit
    def evaluate(params, shifted):
        return jax.grad(mean)(params), jax.vmap(jax.vmap(jax.vmap(mean)))(shifted)

    gradient, values = evaluate(params, np.stack([plus, minus]))
    expected = weights @ (values[0] - values[1])
    assert np.all(np.abs(expected) > 1e-3)
    np.testing.assert_allclose(gradient, expected, atol=1e-10)


@pytest.mark.parametrize("name", PARAMETRIC)
def test_repr_shows_name_angles_and_qubits(name):
    """`RX(0.7, 0)`: angles first, then qubits."""
    op = gate_op(name)
    numbers = [f"{p:g}" for p in op.params] + [str(q) for q in op.qubits]
    assert repr(as_operation(op)) == f"{name}({', '.join(numbers)})"


@pytest.mark.parametrize("name", GATES)
def test_operation_reports_what_it_was_given(name):
    """Name, qubits (controls first) and params."""
    op = gate_op(name)
    operation = as_operation(op)
    assert (operation.name, operation.qubits) == (name, op.qubits)
    np.testing.assert_allclose([float(p) for p in operation.params], op.params)


@pytest.mark.parametrize(("word", "qubits"), [("X", (1,)), ("YZ", (2, 0)), ("XYZ", (1, 2, 0))])
def test_pauli_rotation(word, qubits):
    """exp(-i theta P / 2), its inverse and its controlled form."""
    for op in (
        Op("PauliRotation", qubits, (0.8,), word),
        Op("PauliRotation", qubits, (0.8,), word, inverse=True),
        Op("PauliRotation", (3, *qubits), (0.8,), word, controls=1),
    ):
        found = unitary_of(as_circuit(4, [op]))
        np.testing.assert_allclose(found, oracle.unitary(4, [op]), atol=1e-13)


def test_pauli_rotation_with_identity_letters():
    """An I in the word leaves its qubit alone."""
    op = Op("PauliRotation", (2, 1, 0), (0.8,), "XIZ")
    found = unitary_of(as_circuit(3, [op]))
    np.testing.assert_allclose(found, oracle.unitary(3, [op]), atol=1e-13)


@pytest.mark.parametrize("qubits", [(1,), (2, 0), (0, 2, 1)])
def test_unitary(qubits):
    """A given matrix, its inverse and its controlled form."""
    matrix = random_unitary(len(qubits), seed=len(qubits))
    for op in (
        Op("Unitary", qubits, data=matrix),
        Op("Unitary", qubits, data=matrix, inverse=True),
        Op("Unitary", (3, *qubits), data=matrix, controls=1),
    ):
        found = unitary_of(as_circuit(4, [op]))
        np.testing.assert_allclose(found, oracle.unitary(4, [op]), atol=1e-12)


HAMILTONIAN = {"ZZI": 0.7, "IXY": -0.4, "YII": 0.3, "III": 0.2}


@pytest.mark.parametrize("inverse", [False, True])
def test_exact_evolution(inverse):
    """exp(-i t H), the identity term's phase included."""
    op = Op("Evolution", (0, 1, 2), (0.9,), HAMILTONIAN, inverse=inverse)
    operation = qj.Evolution(qj.PauliSum.from_strings(HAMILTONIAN), 0.9, method="exact")
    circuit = qj.Circuit(3, [operation.inverse() if inverse else operation])
    np.testing.assert_allclose(unitary_of(circuit), oracle.unitary(3, [op]), atol=1e-12)


@pytest.mark.parametrize("method", ["exact", "trotter"])
@pytest.mark.parametrize("hamiltonian", [HAMILTONIAN, {"ZZI": 0.7, "IIZ": 0.3, "III": 0.2}])
def test_controlled_evolution(hamiltonian, method):
    """The phase of the identity term becomes a relative one."""
    operation = qj.Evolution(
        qj.PauliSum.from_strings(hamiltonian), 0.9, method=method, steps=2, order=1
    )
    plain = unitary_of(qj.Circuit(3, [operation]))
    found = unitary_of(qj.Circuit(4, [operation.controlled(3)]))
    expected = oracle.embed(oracle.controlled(plain), (3, 0, 1, 2), 4)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_trotter_evolution_has_an_exact_inverse(order):
    """The inverse undoes the product formula itself, not only what it approximates."""
    hamiltonian = qj.PauliSum.from_strings(HAMILTONIAN)
    operation = qj.Evolution(hamiltonian, 0.9, method="trotter", steps=2, order=order)
    for both in (
        qj.Circuit(3, [operation, operation.inverse()]),
        qj.Circuit(3, [operation]) + qj.Circuit(3, [operation]).inverse(),
    ):
        np.testing.assert_allclose(unitary_of(both), np.eye(8), atol=1e-12)


@pytest.mark.parametrize(("order", "expected"), [(1, 2.0), (2, 4.0)])
def test_trotter_error_falls_with_its_order(order, expected):
    """Twice the steps: half the error at first order, a quarter at second."""
    exact = oracle.evolution(oracle.sum_matrix(HAMILTONIAN), 0.5)
    hamiltonian = qj.PauliSum.from_strings(HAMILTONIAN)
    errors = []
    for steps in (8, 16):
        evolution = qj.Evolution(hamiltonian, 0.5, method="trotter", steps=steps, order=order)
        errors.append(np.linalg.norm(unitary_of(qj.Circuit(3, [evolution])) - exact))
    assert errors[0] > 1e-6
    assert errors[0] / errors[1] == pytest.approx(expected, rel=0.1)


def test_evolution_gradient_in_time():
    """d/dt <O> = i <[H, O]>, also through the automatic choice of method."""

    def mean(t):
        hamiltonian = qj.PauliSum.from_strings(HAMILTONIAN)
        return qj.expectation(qj.Circuit(3, [qj.Evolution(hamiltonian, t)]), qj.Z(0))

    H, Z = oracle.sum_matrix(HAMILTONIAN), oracle.word_matrix("ZII")
    ket = oracle.evolution(H, 0.6)[:, 0]
    expected = oracle.expectation(ket, 1j * (H @ Z - Z @ H))
    assert abs(expected) > 0.1
    np.testing.assert_allclose(jax.grad(mean)(0.6), expected, atol=1e-10)
