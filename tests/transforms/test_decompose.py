"""Circuits written in each basis, shortened and merged, against the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from qjax.transforms import (
    NoiseModel,
    cancel_inverses,
    decompose,
    dilate,
    insert_noise,
    merge_one_qubit_gates,
    merge_rotations,
)
from tests.support import oracle
from tests.support.oracle import GATES, Op
from tests.support.strategies import as_circuit, as_observable, random_unitary

pytestmark = pytest.mark.usefixtures("x64")

ONE = (("U",), ("RZ", "RY"), ("RZ", "RX"), ("RZ", "SX"))
TWO = ("RZZ", "RXX", "RYY", "CX", "CZ")
ANGLES = (0.7, -1.3, 2.1)


def unitary(circuit):
    return oracle.unitary(circuit.num_qubits, oracle.from_circuit(circuit))


def assert_same(found, expected):
    """Up to a global phase."""
    phase = np.trace(found.conj().T @ expected)
    np.testing.assert_allclose(found * phase / abs(phase), expected, atol=1e-10)


def all_gates():
    """Every gate of the table, plain, inverted, controlled."""
    for name, gate in GATES.items():
        angles = ANGLES[: gate.num_params]
        for controls in (0, 1):
            n = gate.num_qubits + controls
            yield Op(name, tuple(range(n))[::-1], angles, controls=controls, inverse=bool(controls))
    yield Op("PauliRotation", (2, 0, 1), (0.8,), "XYZ")
    yield Op("PauliRotation", (2, 0, 1), (0.8,), "IYI")
    yield Op("PauliRotation", (3, 0, 1), (0.8,), "YZ", controls=1)
    yield Op("Unitary", (1,), data=random_unitary(1, 1))
    yield Op("Unitary", (1, 0), data=random_unitary(2, 1), inverse=True)
    yield Op("Unitary", (2, 1, 0), data=random_unitary(2, 2), controls=1)
    yield Op("Unitary", (2, 1, 0), data=random_unitary(3, 2))
    yield Op("Evolution", (0, 1), (0.4,), {"XX": 0.3, "ZI": 0.5})
    yield Op("Evolution", (0, 1), (0.4,), {"ZZ": 0.3, "ZI": 0.5, "II": 0.2})


@pytest.mark.parametrize("pair", TWO)
@pytest.mark.parametrize("one", ONE)
def test_every_gate_in_every_basis(one, pair):
    for op in all_gates():
        n = max(op.qubits) + 1
        circuit = as_circuit(n, [op])
        written = decompose(circuit, (*one, pair))
        assert set(written.count_operations()) <= {*one, pair}
        assert_same(unitary(written), unitary(circuit))


@pytest.mark.parametrize("pair", ["RZZ", "CX"])
@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if gate.num_params])
def test_named_angles_stay_named(name, pair):
    """Each gate by parameters, with one more control too."""
    gate = GATES[name]
    theta = qj.Parameter("theta", (gate.num_params,))
    for controls in (0, 1):
        n = gate.num_qubits + controls
        angles = [theta[i] * 0.9 + 0.1 for i in range(gate.num_params)]
        operation = getattr(qj, name)(*angles, *range(gate.num_qubits))
        operation = operation.controlled(*range(gate.num_qubits, n)) if controls else operation
        circuit = qj.Circuit(n, [operation])
        written = decompose(circuit, ("RZ", "RY", pair))
        assert written.unbound == ("theta",)
        values = np.array(ANGLES[: gate.num_params])
        assert_same(unitary(written.bind(theta=values)), unitary(circuit.bind(theta=values)))


@pytest.mark.parametrize(
    ("operation", "ising", "cx"),
    [
        (qj.CX(0, 1), 1, 1),
        (qj.CP(0.3, 0, 1), 1, 2),
        (qj.RYY(0.3, 0, 1), 1, 2),
        (qj.ISWAP(0, 1), 2, 2),
        (qj.SWAP(0, 1), 3, 3),
        (qj.Unitary(random_unitary(2, 3), (0, 1)), 3, 3),
        (qj.Unitary(np.kron(random_unitary(1, 3), random_unitary(1, 4)), (0, 1)), 0, 0),
    ],
)
def test_number_of_two_qubit_gates(operation, ising, cx):
    circuit = qj.Circuit(2, [operation])
    for pair, count in (("RZZ", ising), ("CX", cx), ("CZ", cx)):
        assert decompose(circuit, ("U", pair)).count_operations().get(pair, 0) == count


def test_trotter_evolution_keeps_its_formula():
    """The same product formula, not the exponential."""
    hamiltonian = as_observable({"ZZI": 0.7, "IXY": -0.4, "YII": 0.3, "III": 0.2})
    states = jnp.eye(8, dtype=complex)
    run = jax.jit(
        lambda c: jax.vmap(lambda state: qj.statevector(c, initial_state=state), out_axes=1)(states)
    )
    for order in (1, 2):
        evolution = qj.Evolution(hamiltonian, 0.9, method="trotter", steps=2, order=order)
        circuit = qj.Circuit(3, [evolution, qj.T(0), evolution.inverse()])
        assert_same(unitary(decompose(circuit)), np.asarray(run(circuit)))
        alone = np.asarray(run(qj.Circuit(3, [evolution])))
        np.testing.assert_allclose(evolution.matrix, alone, atol=1e-12)
        np.testing.assert_allclose(evolution.inverse().matrix, alone.conj().T, atol=1e-12)
        batch = qj.Evolution(
            hamiltonian, np.array([0.2, 0.9]), method="trotter", steps=2, order=order
        )
        np.testing.assert_allclose(batch.matrix[1], alone, atol=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
def test_amplitudes(is_complex):
    """Known ones, and ones that are traced or batched; 2**n - n - 1 Ising gates if known."""
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(3, 8)) + (1j if is_complex else 0) * rng.normal(size=(3, 8))
    batch[1, 2:6] = 0
    batch /= np.linalg.norm(batch, axis=1, keepdims=True)
    for ket in batch:
        circuit = qj.Circuit(3, [qj.StatePreparation(ket, (1, 2, 0))])
        written = decompose(circuit)
        assert written.count_operations()["RZZ"] <= 4
        found = unitary(written)[:, 0]
        expected = oracle.statevector(3, oracle.from_circuit(circuit))
        assert abs(np.vdot(found, expected)) == pytest.approx(1, abs=1e-12)

    def prepare(batch):
        return decompose(qj.Circuit(3, [qj.StatePreparation(batch, (1, 2, 0)), qj.H(1)]))

    for written in (prepare(batch), jax.jit(prepare)(jnp.asarray(batch))):
        assert written.batch_shape == (3,)
        assert "StatePreparation" not in written.count_operations()
        for i, ket in enumerate(batch):
            one = qj.Circuit.from_structure(
                written.structure,
                tuple(np.asarray(p)[..., i, :] if np.ndim(p) > 1 else p for p in written.params),
            )
            source = qj.Circuit(3, [qj.StatePreparation(ket, (1, 2, 0)), qj.H(1)])
            expected = oracle.statevector(3, oracle.from_circuit(source))
            assert abs(np.vdot(unitary(one)[:, 0], expected)) == pytest.approx(1, abs=1e-12)


def test_what_is_no_gate_stays():
    """Channels and measurements keep their places, conditions their gates."""
    theta = qj.Parameter("theta")
    circuit = qj.Circuit(
        2,
        [
            qj.H(0), qj.Measure(0, "m"), qj.CX(0, 1).conditioned("m"), qj.BitFlip(0.2, 1),
            qj.Kraus(np.eye(2)[None], 0), qj.RY(theta, 1).conditioned("m", 0),
            qj.ReadoutError(0.1, 0.2, 0),
        ],
    )  # fmt: skip
    written = decompose(circuit, ("RZ", "RX", "CZ"))
    assert "RY" not in written.count_operations() and "H" not in written.count_operations()
    values = [c.bind(theta=0.7) for c in (circuit, written)]
    states = [oracle.density_matrix(2, oracle.from_circuit(c)) for c in values]
    np.testing.assert_allclose(states[0], states[1], atol=1e-12)


def test_gates_of_the_basis_are_left_alone():
    circuit = qj.Circuit(2, [qj.RZ(0.3, 0), qj.CX(0, 1), qj.RY(0.2, 1)])
    assert decompose(circuit, ("RZ", "RY", "CX")) == circuit


def test_unknown_basis():
    with pytest.raises(CircuitError, match="Argument `basis` must name a set of one-qubit gates"):
        decompose(qj.Circuit(1, []), ("H", "CX"))
    with pytest.raises(CircuitError, match="Argument `basis` must name"):
        decompose(qj.Circuit(1, []), ("U", "CX", "CZ"))


def test_traced_matrices_are_refused():
    def write(matrix):
        return decompose(qj.Circuit(1, [qj.Unitary(matrix, 0)]))

    with pytest.raises(CircuitError, match="only if its matrix is known"):
        jax.jit(write)(jnp.eye(2, dtype=complex))


# --- shortening -----------------------------------------------------------------------------------

CANCELLED = {
    "neighbours": ([qj.H(0), qj.H(0)], 0),
    "inverses": ([qj.S(0), qj.S(0).inverse()], 0),
    "rotations": ([qj.RX(0.3, 0), qj.RX(-0.3, 0)], 0),
    "same rotation": ([qj.RX(0.3, 0), qj.RX(0.3, 0)], 2),
    "past a control": ([qj.CX(0, 1), qj.RZ(0.3, 0), qj.T(0), qj.CX(0, 1)], 2),
    "past a target": ([qj.CX(0, 1), qj.RX(0.3, 1), qj.CX(2, 1), qj.CX(0, 1)], 2),
    "not past H": ([qj.CX(0, 1), qj.H(0), qj.CX(0, 1)], 3),
    "swapped qubits": ([qj.CZ(0, 1), qj.CZ(1, 0)], 0),
    "symmetric targets": ([qj.SWAP(0, 1), qj.SWAP(1, 0)], 0),
    "not for CX": ([qj.CX(0, 1), qj.CX(1, 0)], 2),
    "toffoli": ([qj.CCX(0, 1, 2), qj.CCX(1, 0, 2)], 0),
    "chain": ([qj.H(0), qj.CX(0, 1), qj.CX(0, 1), qj.H(0)], 0),
    "unitary": ([qj.Unitary(random_unitary(1, 0), 0), qj.Unitary(random_unitary(1, 0), 0)], 2),
    "words": (
        [
            qj.PauliRotation(0.3, "XIZ", (0, 1, 2)),
            qj.CX(2, 1),
            qj.PauliRotation(-0.3, "XIZ", (0, 1, 2)),
        ],
        1,
    ),
    "adjoint U": ([qj.U(0.1, 0.2, 0.3, 0), qj.U(0.1, 0.2, 0.3, 0).inverse()], 0),
}


@pytest.mark.parametrize("name", CANCELLED)
def test_cancel_inverses(name):
    operations, count = CANCELLED[name]
    circuit = qj.Circuit(3, operations)
    shorter = cancel_inverses(circuit)
    assert len(shorter) == count
    np.testing.assert_allclose(unitary(shorter), unitary(circuit), atol=1e-13)


MERGED = {
    "neighbours": ([qj.RX(0.3, 0), qj.RX(0.3, 0)], 1),
    "to nothing": ([qj.RX(0.3, 0), qj.RX(-0.3, 0)], 0),
    "past a control": ([qj.RZ(0.3, 0), qj.CX(0, 1), qj.RZ(0.4, 0)], 2),
    "ising": ([qj.RZZ(0.3, 0, 1), qj.RZ(0.1, 0), qj.CP(0.2, 1, 2), qj.RZZ(0.4, 1, 0)], 3),
    "controlled": ([qj.CP(0.3, 0, 1), qj.CP(0.2, 1, 0)], 1),
    "other axis": ([qj.RX(0.3, 0), qj.RY(0.3, 0), qj.RX(0.3, 0)], 3),
}


@pytest.mark.parametrize("name", MERGED)
def test_merge_rotations(name):
    operations, count = MERGED[name]
    circuit = qj.Circuit(3, operations)
    shorter = merge_rotations(circuit)
    assert len(shorter) == count
    np.testing.assert_allclose(unitary(shorter), unitary(circuit), atol=1e-13)


def test_parameters_are_merged_where_they_can_be_named():
    theta = qj.Parameter("theta", (2,))
    gates = [qj.RZ(theta[0], 0), qj.RZ(0.5 * theta[0] + 0.1, 0), qj.RZ(theta[1], 0), qj.RZ(0.2, 0)]
    circuit = qj.Circuit(1, gates)
    shorter = merge_rotations(circuit)
    assert len(shorter) == 2
    undone = merge_rotations(qj.Circuit(1, [qj.RZ(theta[0], 0), qj.RZ(-theta[0], 0)]))
    assert len(undone) == 0
    values = np.array([0.3, -0.8])
    bound = [unitary(c.bind(theta=values)) for c in (shorter, circuit)]
    np.testing.assert_allclose(bound[0], bound[1], atol=1e-13)


def test_parameters_times_zero_are_known():
    """The constant is all that is left, and the parameter can still be bound."""
    t = qj.Parameter("t")
    merged = merge_rotations(qj.Circuit(2, [qj.RX(0 * t, 0), qj.RX(0.3, 0), qj.RZ(0 * t, 1)]))
    assert merged.count_operations() == {"RX": 1}
    for operation in (qj.RX(0 * t, 0), qj.RZZ(0 * t + 0.3, 0, 1), qj.U(0 * t, t, 0.3, 1)):
        circuit = qj.Circuit(2, [operation])
        expected = unitary(circuit.bind(t=0.7))
        for basis in (("U", "RZZ"), ("RZ", "RY", "CX")):
            assert_same(unitary(decompose(circuit, basis).bind(t=0.7)), expected)
        for shorten in (cancel_inverses, merge_rotations, merge_one_qubit_gates):
            assert_same(unitary(shorten(circuit).bind(t=0.7)), expected)


@pytest.mark.parametrize(
    "transform",
    [
        cancel_inverses,
        decompose,
        dilate,
        merge_one_qubit_gates,
        merge_rotations,
        lambda circuit: insert_noise(circuit, NoiseModel()),
    ],
)
def test_what_is_no_circuit(transform):
    with pytest.raises(
        CircuitError, match="Argument `circuit` must be a Circuit, but is 'x'. Wrap"
    ):
        transform("x")


def test_passes_on_random_circuits():
    names = [name for name, gate in GATES.items() if gate.num_qubits <= 3]
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ops = []
        for _ in range(15):
            name = str(rng.choice(names))
            gate = GATES[name]
            angles = tuple(float(t) for t in rng.choice([0.3, -0.3, 1.1], gate.num_params))
            order = [int(q) for q in rng.permutation(3)[: gate.num_qubits]]
            ops.append(Op(name, tuple(order), angles, inverse=bool(rng.integers(2))))
        circuit = as_circuit(3, ops)
        expected = unitary(circuit)
        for shorten in (cancel_inverses, merge_rotations):
            shorter = shorten(circuit)
            assert len(shorter) <= len(circuit)
            np.testing.assert_allclose(unitary(shorter), expected, atol=1e-12)
        assert_same(unitary(merge_one_qubit_gates(circuit)), expected)


def test_merge_one_qubit_gates():
    theta = qj.Parameter("theta")
    operations = [qj.H(0), qj.T(0), qj.CX(0, 1), qj.RX(theta, 0), qj.S(0), qj.SX(0), qj.H(1)]
    merged = merge_one_qubit_gates(qj.Circuit(2, operations))
    assert merged.count_operations() == {"U": 2, "CX": 1, "RX": 1, "H": 1}
    assert len(merge_one_qubit_gates(qj.Circuit(1, [qj.X(0), qj.X(0)]))) == 0
    unitary_gate = qj.Unitary(random_unitary(1, 0), 0)
    kept = merge_one_qubit_gates(qj.Circuit(1, [unitary_gate]))
    assert kept.count_operations() == {"Unitary": 1}


def test_measurements_are_walls():
    """Nothing is cancelled or merged across what is no gate."""
    circuit = qj.Circuit(1, [qj.X(0), qj.Measure(0, "m"), qj.X(0)])
    assert len(cancel_inverses(circuit)) == 3
    conditioned = [qj.Measure(0, "m"), qj.X(0).conditioned("m"), qj.X(0)]
    assert len(cancel_inverses(qj.Circuit(1, conditioned))) == 3
    damped = [qj.RX(0.3, 0), qj.BitFlip(0.1, 0), qj.RX(0.3, 0)]
    assert len(merge_rotations(qj.Circuit(1, damped))) == 3
