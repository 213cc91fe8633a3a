"""States, channels and expectation values against Qiskit and Aer.

Qiskit's qubit 0 is the least significant bit. Qubits keep their numbers here; matrices, words and
amplitudes on several qubits take them in reverse, and states are turned around at the border.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pytest

import qjax as qj
from tests.peers.cases import (
    ATOL,
    CHANNELS,
    HAMILTONIAN,
    NUM_QUBITS,
    OBSERVABLES,
    UNITARIES,
    exponential,
    random_circuit,
    variants,
)
from tests.support.oracle import Op
from tests.support.strategies import (
    as_circuit,
    as_observable,
    random_density_matrix,
    random_ket,
)

qiskit: Any = pytest.importorskip("qiskit")
aer: Any = pytest.importorskip("qiskit_aer")
info: Any = pytest.importorskip("qiskit.quantum_info")
library: Any = pytest.importorskip("qiskit.circuit.library")
noise: Any = pytest.importorskip("qiskit_aer.noise")

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("x64")]

KET = random_ket(NUM_QUBITS, seed=7)
RHO = random_density_matrix(NUM_QUBITS, seed=8)

GATE_CLASSES = {
    "I": library.IGate,
    "X": library.XGate,
    "Y": library.YGate,
    "Z": library.ZGate,
    "H": library.HGate,
    "S": library.SGate,
    "T": library.TGate,
    "SX": library.SXGate,
    "RX": library.RXGate,
    "RY": library.RYGate,
    "RZ": library.RZGate,
    "P": library.PhaseGate,
    "U": library.UGate,
    "CX": library.CXGate,
    "CY": library.CYGate,
    "CZ": library.CZGate,
    "CH": library.CHGate,
    "SWAP": library.SwapGate,
    "ISWAP": library.iSwapGate,
    "CRX": library.CRXGate,
    "CRY": library.CRYGate,
    "CRZ": library.CRZGate,
    "CP": library.CPhaseGate,
    "RXX": library.RXXGate,
    "RYY": library.RYYGate,
    "RZZ": library.RZZGate,
    "CCX": library.CCXGate,
    "CSWAP": library.CSwapGate,
}
ERRORS = {
    "AmplitudeDamping": noise.amplitude_damping_error,
    "PhaseDamping": noise.phase_damping_error,
    "BitFlip": lambda p: noise.pauli_error([("X", p), ("I", 1 - p)]),
    "PhaseFlip": lambda p: noise.pauli_error([("Z", p), ("I", 1 - p)]),
    "GeneralizedAmplitudeDamping": lambda g, excited: noise.amplitude_damping_error(g, excited),
    "ThermalRelaxation": noise.thermal_relaxation_error,
}


# --- bit order ------------------------------------------------------------------------------------


def turned(state: Any) -> np.ndarray:
    """A ket or density matrix with the order of its bits reversed."""
    state = np.asarray(state)
    axes = np.arange(NUM_QUBITS)[::-1]
    both = axes if state.ndim == 1 else [*axes, *(NUM_QUBITS + axes)]
    return state.reshape((2,) * (NUM_QUBITS * state.ndim)).transpose(both).reshape(state.shape)


def pauli_op(terms: Mapping[str, float]) -> Any:
    """The observable of {word: coefficient}; Qiskit writes qubit 0 last."""
    return info.SparsePauliOp.from_list([(word[::-1], c) for word, c in terms.items()])


# --- from plain operations to Qiskit --------------------------------------------------------------


def gate_and_targets(op: Op) -> tuple[Any, tuple[int, ...]]:
    """The gate, and the qubits that it takes, without controls."""
    targets = op.qubits[op.controls :]
    if op.name in GATE_CLASSES:
        return GATE_CLASSES[op.name](*op.params), targets
    if op.name == "PauliRotation":
        word = info.SparsePauliOp(op.data[::-1])
        return library.PauliEvolutionGate(word, time=op.params[0] / 2), targets
    if op.name == "Evolution":
        matrix = exponential(pauli_op(op.data).to_matrix(), op.params[0])
        return library.UnitaryGate(matrix), targets
    if op.name == "StatePreparation":
        return library.StatePreparation(op.data), targets[::-1]
    return library.UnitaryGate(op.data), targets[::-1]


def error_and_targets(op: Op) -> tuple[Any, tuple[int, ...]]:
    """The channel as Aer's quantum error, and the qubits that it takes."""
    k = len(op.qubits)
    if op.name == "Depolarizing":
        share = op.params[0] * 4**k / (4**k - 1)  # of the maximally mixed state
        return noise.depolarizing_error(share, k), op.qubits
    if op.name == "PauliChannel":
        words = op.data or dict(zip("XYZ", op.params, strict=True))
        rest = [("I" * k, 1 - sum(words.values()))]
        return noise.pauli_error([(w[::-1], p) for w, p in words.items()] + rest), op.qubits
    if op.name == "Kraus":
        return noise.kraus_error([np.asarray(K) for K in op.data]), op.qubits[::-1]
    return ERRORS[op.name](*op.params), op.qubits


def append(circuit: Any, op: Op) -> None:
    """Adds an operation, inverted and controlled where it is."""
    if op.name == "Reset":
        circuit.reset(op.qubits[0])
    elif op.name in {other.name for other in CHANNELS.values()}:
        error, targets = error_and_targets(op)
        circuit.append(error.to_instruction(), targets)
    else:
        gate, targets = gate_and_targets(op)
        gate = gate.inverse() if op.inverse else gate
        gate = gate.control(op.controls) if op.controls else gate
        circuit.append(gate, (*op.qubits[: op.controls], *targets))


def aer_circuit(ops: Sequence[Op], initial_state: Any = None) -> Any:
    """A circuit that starts in the given state, and has a bit to measure into.

    Aer forgets a circuit's global phase when a ket is set, so kets are prepared by gates.
    """
    circuit = qiskit.QuantumCircuit(NUM_QUBITS, 1)
    if np.ndim(initial_state) == 1:
        circuit.append(library.StatePreparation(turned(initial_state)), range(NUM_QUBITS))
    elif initial_state is not None:
        circuit.set_density_matrix(turned(initial_state))
    for op in ops:
        append(circuit, op)
    return circuit


def run(circuit: Any, method: str, **options: Any) -> Any:
    """The result of one run by Aer."""
    simulator = aer.AerSimulator(method=method, max_parallel_threads=1)
    compiled = qiskit.transpile(circuit, simulator, optimization_level=0)
    return simulator.run(compiled, **options).result()


def aer_ket(ops: Sequence[Op], initial_state: Any = None) -> np.ndarray:
    """The final state vector by Aer."""
    circuit = aer_circuit(ops, initial_state)
    circuit.save_statevector()
    return turned(run(circuit, "statevector").get_statevector())


def aer_density_matrix(ops: Sequence[Op], initial_state: Any = None) -> np.ndarray:
    """The final density matrix by Aer."""
    circuit = aer_circuit(ops, initial_state)
    circuit.save_density_matrix()
    return turned(run(circuit, "density_matrix").data()["density_matrix"])


# --- comparisons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", UNITARIES)
def test_gate(case):
    """As it is, inverted and controlled, on a random state."""
    for op in variants(UNITARIES[case]):
        found = qj.statevector(as_circuit(NUM_QUBITS, [op]), initial_state=KET)
        np.testing.assert_allclose(found, aer_ket([op], KET), atol=ATOL)


@pytest.mark.parametrize("case", CHANNELS)
def test_channel(case):
    """On part of a random mixed state."""
    op = CHANNELS[case]
    found = qj.density_matrix(as_circuit(NUM_QUBITS, [op]), initial_state=RHO)
    np.testing.assert_allclose(found, aer_density_matrix([op], RHO), atol=ATOL)


@pytest.mark.parametrize("case", [c for c in CHANNELS if c != "Reset"])
def test_kraus_operators(case):
    """What the operation says of itself is the same superoperator."""
    op = CHANNELS[case]
    operators = np.asarray(as_circuit(NUM_QUBITS, [op]).operations[0].kraus_operators)
    error, targets = error_and_targets(op)
    if targets == op.qubits:  # not reversed yet
        operators = [info.Operator(K).reverse_qargs().data for K in operators]
    found = info.SuperOp(info.Kraus(list(operators)))
    np.testing.assert_allclose(found.data, info.SuperOp(error).data, atol=ATOL)


@pytest.mark.parametrize("noisy", [False, True], ids=["pure", "noisy"])
def test_expectation_values(noisy):
    """Of words, a sum, and a Hamiltonian; with their variances."""
    terms = [*OBSERVABLES, HAMILTONIAN]
    ops = random_circuit(1, 8, noisy=noisy)
    circuit = as_circuit(NUM_QUBITS, ops)
    observables = [as_observable(t) for t in terms]
    peer = aer_circuit(ops)
    for i, t in enumerate(terms):
        operator = pauli_op(t)
        peer.save_expectation_value_variance(operator, range(NUM_QUBITS), label=str(i))
    data = run(peer, "density_matrix").data()
    expected = np.array([data[str(i)] for i in range(len(terms))])
    np.testing.assert_allclose(qj.expectation(circuit, observables), expected[:, 0], atol=ATOL)
    np.testing.assert_allclose(qj.variance(circuit, observables), expected[:, 1], atol=ATOL)


@pytest.mark.parametrize("seed", range(3))
def test_random_circuit(seed):
    """Twenty gates: the state vector, phase and all."""
    ops = random_circuit(seed, 20)
    found = qj.statevector(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, aer_ket(ops), atol=ATOL)


@pytest.mark.parametrize("seed", range(2))
def test_random_noisy_circuit(seed):
    """Ten gates and five channels: the density matrix."""
    ops = random_circuit(seed, 10, noisy=True)
    found = qj.density_matrix(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, aer_density_matrix(ops), atol=ATOL)


@pytest.mark.parametrize("qubits", [(0, 1, 2), (2, 0), (1,)])
def test_probabilities(qubits):
    """Of some qubits, in the order given."""
    ops = random_circuit(4, 8, noisy=True)
    circuit = aer_circuit(ops)
    circuit.save_probabilities(qubits[::-1])
    expected = run(circuit, "density_matrix").data()["probabilities"]
    found = qj.probabilities(as_circuit(NUM_QUBITS, ops), qubits)
    np.testing.assert_allclose(found, expected, atol=ATOL)


def test_state_preparation():
    """On two of the qubits, out of order."""
    ops = [Op("StatePreparation", (2, 0), data=random_ket(2, seed=3)), Op("CX", (0, 1))]
    found = qj.statevector(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, aer_ket(ops), atol=ATOL)


@pytest.mark.parametrize("outcome", [0, 1])
def test_branch_of_a_measurement(outcome):
    """Post-selection and a conditioned gate, against the state that Aer keeps for that outcome."""
    ops = [Op("RY", (0,), (1.0,)), Op("CRX", (0, 1), (0.8,)), Op("RY", (2,), (0.4,))]
    circuit = aer_circuit(ops)
    circuit.measure(1, 0)
    with circuit.if_test((0, 1)):
        circuit.rx(0.7, 2)
    circuit.save_statevector(conditional=True)
    data = run(circuit, "statevector", shots=100, seed_simulator=1).data()
    expected = turned(data["statevector"][hex(outcome)])
    after = [
        Op("Measure", (1,), data="m", postselect=outcome),
        Op("RX", (2,), (0.7,), conditions=(("m", 1),)),
    ]
    found = qj.density_matrix(as_circuit(NUM_QUBITS, [*ops, *after]))
    np.testing.assert_allclose(found, np.outer(expected, expected.conj()), atol=ATOL)


def test_readout_error():
    """Which of the two numbers is which, from a million shots of Aer's."""
    p01, p10, shots = 0.1, 0.3, 1_000_000
    model = noise.NoiseModel()
    model.add_all_qubit_readout_error(noise.ReadoutError([[1 - p01, p01], [p10, 1 - p10]]))
    circuit = qiskit.QuantumCircuit(1, 1)
    circuit.ry(1.0, 0)
    circuit.measure(0, 0)
    simulator = aer.AerSimulator(noise_model=model, seed_simulator=1)
    ones = simulator.run(circuit, shots=shots).result().get_counts()["1"]
    ours = qj.Circuit(1, [qj.RY(1.0, 0), qj.ReadoutError(p01, p10, 0)])
    five_sigma = 5 * 0.5 / np.sqrt(shots)
    assert abs(ones / shots - float(qj.probabilities(ours)[1])) < five_sigma
    assert abs(1 - 2 * ones / shots - float(qj.expectation(ours, qj.Z(0)))) < 2 * five_sigma


def test_counts():
    """Qubit 0 comes first in ours and last in theirs."""
    ops = [Op("X", (0,)), Op("X", (1,))]
    circuit = aer_circuit(ops)
    circuit.measure_all()
    theirs = run(circuit, "statevector", shots=10).get_counts()
    ours = qj.counts(as_circuit(NUM_QUBITS, ops), 10, key=jax.random.key(0))
    assert ours == {text.split()[0][::-1]: n for text, n in theirs.items()} == {"110": 10}


@pytest.mark.parametrize("keep", [(0,), (2, 0)])
def test_partial_trace(keep):
    """The kept qubits in the order given; Qiskit keeps them in theirs."""
    found = np.asarray(qj.partial_trace(RHO, keep))
    rest = [q for q in range(NUM_QUBITS) if q not in keep]
    reduced = info.partial_trace(info.DensityMatrix(turned(RHO)), rest)
    expected = reduced if list(keep) == sorted(keep, reverse=True) else reduced.reverse_qargs()
    np.testing.assert_allclose(found, expected.data, atol=ATOL)


def test_quantities_of_states():
    """Fidelity, entropy and purity."""
    other = random_density_matrix(NUM_QUBITS, seed=9)
    found = [qj.fidelity(RHO, other), qj.von_neumann_entropy(RHO), qj.purity(RHO)]
    expected = [
        info.state_fidelity(info.DensityMatrix(RHO), info.DensityMatrix(other)),
        info.entropy(info.DensityMatrix(RHO), base=np.e),
        info.purity(info.DensityMatrix(RHO)).real,
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)
