"""What is written is read back as the same matrix, for every gate and under every decoration."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import qjax as qj
from qjax import qasm
from qjax.errors import CircuitError
from tests.support import oracle
from tests.support.oracle import GATES, Op
from tests.support.strategies import as_circuit, random_unitary, unitary_circuits

pytestmark = pytest.mark.usefixtures("x64")
pytest.importorskip("openqasm3")

ANGLES = (0.7, -1.3, 2.1)


def check_round_trip(circuit: qj.Circuit, version: int = 3) -> None:
    text = qasm.write(circuit, version)
    again = qasm.parse(text)
    n = circuit.num_qubits
    wanted = oracle.unitary(n, oracle.from_circuit(circuit))
    found = oracle.unitary(n, oracle.from_circuit(again))
    overlap = np.trace(wanted.conj().T @ found) / 2**n
    assert abs(abs(overlap) - 1) < 1e-12, text
    np.testing.assert_allclose(found, overlap * wanted, atol=1e-11)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("controls", [0, 1, 2, 3])
@pytest.mark.parametrize("name", GATES)
def test_every_gate(name, controls, inverse):
    gate = GATES[name]
    size = gate.num_qubits
    n = size + controls
    angles = ANGLES[: gate.num_params]
    op = Op(name, tuple(range(n))[::-1], angles, controls=controls, inverse=inverse)
    check_round_trip(as_circuit(n, [op]))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", [n for n in GATES if n != "ISWAP"])
def test_every_gate_in_version_two(name, inverse):
    gate = GATES[name]
    op = Op(name, tuple(range(gate.num_qubits))[::-1], ANGLES[: gate.num_params], inverse=inverse)
    check_round_trip(as_circuit(gate.num_qubits, [op]), version=2)


@pytest.mark.parametrize("word", ["Z", "XY", "YIX", "III", "ZZXY"])
@pytest.mark.parametrize("controls", [0, 1, 2])
def test_pauli_rotations(word, controls):
    size = len(word)
    op = qj.PauliRotation(0.6, word, range(size))
    if controls:
        op = op.controlled(*range(size, size + controls))
    check_round_trip(qj.Circuit(size + controls, [op]))


@pytest.mark.parametrize("controls", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_one_qubit_matrices(seed, controls):
    op = qj.Unitary(random_unitary(1, seed), 0)
    if controls:
        op = op.controlled(*range(1, 1 + controls))
    check_round_trip(qj.Circuit(1 + controls, [op]))


@pytest.mark.parametrize("matrix", [np.eye(2), np.diag([1, 1j]), np.array([[0, 1j], [1, 0]])])
def test_matrices_with_zeros(matrix):
    check_round_trip(qj.Circuit(2, [qj.Unitary(matrix, 1).controlled(0)]))


@pytest.mark.parametrize("order", [1, 2])
def test_product_formulas(order):
    hamiltonian = 0.5 * qj.X(0) @ qj.Y(1) + 0.3 * qj.Z(0)
    op = qj.Evolution(hamiltonian, 0.4, method="trotter", steps=2, order=order)
    circuit = qj.Circuit(2, [op])
    found = qasm.parse(qasm.write(circuit))
    wanted = np.asarray(qj.statevector(circuit))
    state = np.asarray(qj.statevector(found))
    assert abs(abs(np.vdot(wanted, state)) - 1) < 1e-12


@given(unitary_circuits(max_qubits=4, max_ops=6))
@settings(max_examples=20, deadline=None)
def test_random_circuits(drawn):
    check_round_trip(as_circuit(*drawn))


def test_measurements_conditions_and_resets():
    circuit = qj.Circuit(
        3,
        [
            qj.H(0),
            qj.Measure(0, "c[1]"),
            qj.Measure(1, "d"),
            qj.Measure(2),
            qj.X(2).conditioned("c[1]").conditioned("d", 0),
            qj.Reset(1),
            qj.Measure(1, "a name"),
            qj.RY(0.3, 0).conditioned("a name"),
        ],
    )
    text = qasm.write(circuit)
    assert text.splitlines()[2:] == [
        "qubit[3] q;",
        "bit[2] c;",
        "bit[1] d;",
        "bit[1] m0;",
        "bit[1] m1;",
        "h q[0];",
        "c[1] = measure q[0];",
        "d[0] = measure q[1];",
        "measure q[2];",
        "if (c[1] && !d[0]) { x q[2]; }",
        "reset q[1];",
        "m1[0] = measure q[1];",
        "if (m1[0]) { ry(0.3) q[0]; }",
    ]
    assert [o.name for o in qasm.parse(text).operations] == [o.name for o in circuit.operations]


def test_version_two_measures_and_conditions():
    circuit = qj.Circuit(2, [qj.Measure(0, "c[1]"), qj.Measure(1), qj.X(1).conditioned("c[1]", 0)])
    text = qasm.write(circuit, version=2)
    assert text.splitlines()[2:] == [
        "qreg q[2];",
        "creg m0[1];",
        "creg m1[1];",
        "measure q[0] -> m0[0];",
        "measure q[1] -> m1[0];",
        "if (m0 == 0) x q[1];",
    ]
    assert str(qasm.parse(text).operations[-1]) == "X(1).conditioned('m0[0]', 0)"


def test_parameters():
    theta, w = qj.Parameter("theta"), qj.Parameter("w", (2, 2))
    circuit = qj.Circuit(
        2, [qj.RX(2 * theta + 0.5, 0), qj.U(w[1, 0], 0.1, -theta, 1).controlled(0)]
    )
    again = qasm.parse(qasm.write(circuit))
    assert again.parameters == circuit.parameters
    values = {"theta": 0.3, "w": [[0.1, 0.2], [0.7, 0.4]]}
    wanted = oracle.unitary(2, oracle.from_circuit(circuit.bind(values)))
    found = oracle.unitary(2, oracle.from_circuit(again.bind(values)))
    overlap = np.trace(wanted.conj().T @ found) / 4
    np.testing.assert_allclose(found, overlap * wanted, atol=1e-12)
    with pytest.raises(CircuitError, match="OpenQASM 2 has no parameters, but theta, w"):
        qasm.write(circuit, 2)


@pytest.mark.parametrize(
    ("operations", "version", "message"),
    [
        ([qj.BitFlip(0.1, 0)], 3, "which is a channel"),
        ([qj.Measure(0, postselect=1)], 3, "has no word for Measure"),
        ([qj.Unitary(np.eye(4), (0, 1))], 3, "Decompose it into gates of the table"),
        ([qj.T(0).controlled(1).inverse()], 2, "OpenQASM 2 has no word for `ctrl @ inv @ t`"),
        ([qj.RX(jnp.array([0.1, 0.2]), 0)], 3, "A batched circuit"),
        ([qj.X(0)], 4, "Argument `version` must be 2 or 3, but is 4"),
        (
            [qj.Measure(0, "a"), qj.Measure(1, "b"), qj.X(0).conditioned("a").conditioned("b")],
            2,
            "on one register only",
        ),
    ],
)  # fmt: skip
def test_errors(operations, version, message):
    with pytest.raises(CircuitError, match=message):
        qasm.write(qj.Circuit(2, operations), version)
