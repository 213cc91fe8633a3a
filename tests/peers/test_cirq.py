"""States, channels and expectation values against Cirq, which orders qubits as qjax does."""

from collections.abc import Mapping, Sequence
from typing import Any

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

cirq: Any = pytest.importorskip("cirq")

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("x64")]

LINE = cirq.LineQubit.range(NUM_QUBITS)
KET = random_ket(NUM_QUBITS, seed=7)
RHO = random_density_matrix(NUM_QUBITS, seed=8)

FIXED = {
    "I": cirq.I,
    "X": cirq.X,
    "Y": cirq.Y,
    "Z": cirq.Z,
    "H": cirq.H,
    "S": cirq.S,
    "T": cirq.T,
    "SX": cirq.X**0.5,
    "CX": cirq.CX,
    "CY": cirq.ControlledGate(cirq.Y),
    "CZ": cirq.CZ,
    "CH": cirq.ControlledGate(cirq.H),
    "SWAP": cirq.SWAP,
    "ISWAP": cirq.ISWAP,
    "CCX": cirq.CCX,
    "CSWAP": cirq.CSWAP,
}
TURNING = {
    "RX": cirq.rx,
    "RY": cirq.ry,
    "RZ": cirq.rz,
    "P": lambda t: cirq.ZPowGate(exponent=t / np.pi),
    "CRX": lambda t: cirq.ControlledGate(cirq.rx(t)),
    "CRY": lambda t: cirq.ControlledGate(cirq.ry(t)),
    "CRZ": lambda t: cirq.ControlledGate(cirq.rz(t)),
    "CP": lambda t: cirq.CZPowGate(exponent=t / np.pi),
    "RXX": lambda t: cirq.XXPowGate(exponent=t / np.pi, global_shift=-0.5),
    "RYY": lambda t: cirq.YYPowGate(exponent=t / np.pi, global_shift=-0.5),
    "RZZ": lambda t: cirq.ZZPowGate(exponent=t / np.pi, global_shift=-0.5),
}
NOISE = {
    "AmplitudeDamping": cirq.amplitude_damp,
    "PhaseDamping": cirq.phase_damp,
    "BitFlip": cirq.bit_flip,
    "PhaseFlip": cirq.phase_flip,
    "GeneralizedAmplitudeDamping": lambda g, excited: cirq.generalized_amplitude_damp(
        1 - excited, g
    ),
}


# --- from plain operations to Cirq ----------------------------------------------------------------


def pauli_sum(terms: Mapping[str, float]) -> Any:
    """The observable of {word: coefficient}."""
    return sum(c * cirq.DensePauliString(word).on(*LINE) for word, c in terms.items())


def unitary_operations(op: Op) -> list[Any]:
    """The operations of a gate on its targets."""
    where = [LINE[q] for q in op.qubits[op.controls :]]
    if op.name in FIXED:
        return [FIXED[op.name].on(*where)]
    if op.name in TURNING:
        return [TURNING[op.name](*op.params).on(*where)]
    if op.name == "U":
        theta, phi, lam = op.params
        turn = [TURNING["P"](lam), cirq.ry(theta), TURNING["P"](phi)]
        return [gate.on(*where) for gate in turn]
    if op.name == "PauliRotation":
        share = op.params[0] / (2 * np.pi)
        word = cirq.DensePauliString(op.data).on(*where)
        return [cirq.PauliStringPhasor(word, exponent_neg=share, exponent_pos=-share)]
    if op.name == "Evolution":
        matrix = exponential(pauli_sum(op.data).matrix(LINE), op.params[0])
        return [cirq.MatrixGate(matrix).on(*where)]
    return [cirq.MatrixGate(np.asarray(op.data)).on(*where)]


def channel_operations(op: Op) -> list[Any]:
    """The operations of a channel; Cirq has thermal relaxation in two parts only."""
    where = [LINE[q] for q in op.qubits]
    if op.name == "Depolarizing":
        return [cirq.depolarize(*op.params, n_qubits=len(where)).on(*where)]
    if op.name == "PauliChannel":
        words = op.data or dict(zip("XYZ", op.params, strict=True))
        rest = {"I" * len(where): 1 - sum(words.values())}
        return [cirq.asymmetric_depolarize(error_probabilities=words | rest).on(*where)]
    if op.name == "ThermalRelaxation":
        t1, t2, time, excited = (*op.params, 0.0)[:4]
        decay = cirq.generalized_amplitude_damp(1 - excited, 1 - np.exp(-time / t1))
        phase = cirq.phase_damp(1 - np.exp(-2 * time / t2 + time / t1))
        return [decay.on(*where), phase.on(*where)]
    if op.name == "Kraus":
        return [cirq.KrausChannel([np.asarray(K) for K in op.data]).on(*where)]
    if op.name == "Reset":
        return [cirq.reset(*where)]
    return [NOISE[op.name](*op.params).on(*where)]


def cirq_operations(op: Op) -> list[Any]:
    """Everything that an operation becomes, inverted and controlled where it is."""
    if op.name == "StatePreparation":
        where = [LINE[q] for q in op.qubits]
        return [cirq.StatePreparationChannel(np.asarray(op.data, complex)).on(*where)]
    if op.name == "Measure":
        return [cirq.measure(LINE[op.qubits[0]], key=op.data)]
    if op.name in NOISE or op.name in {o.name for o in CHANNELS.values()}:
        return channel_operations(op)
    found = unitary_operations(op)
    if op.inverse:
        found = [cirq.inverse(part) for part in reversed(found)]
    controls = [LINE[q] for q in op.qubits[: op.controls]]
    return [part.controlled_by(*controls) for part in found]


def cirq_circuit(ops: Sequence[Op]) -> Any:
    """A circuit on all qubits, also those that nothing acts on."""
    parts = [part for op in ops for part in cirq_operations(op)]
    return cirq.Circuit(cirq.I.on_each(*LINE), parts)


def cirq_ket(ops: Sequence[Op], initial_state: Any = 0) -> np.ndarray:
    """The final state vector by Cirq."""
    simulator = cirq.Simulator(dtype=np.complex128)
    result = simulator.simulate(cirq_circuit(ops), qubit_order=LINE, initial_state=initial_state)
    return result.final_state_vector


def cirq_density_matrix(ops: Sequence[Op], initial_state: Any = 0) -> np.ndarray:
    """The final density matrix by Cirq, averaged over outcomes."""
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    circuit = cirq.dephase_measurements(cirq_circuit(ops))
    result = simulator.simulate(circuit, qubit_order=LINE, initial_state=initial_state)
    return result.final_density_matrix


# --- comparisons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", UNITARIES)
def test_gate(case):
    """As it is, inverted and controlled, on a random state."""
    for op in variants(UNITARIES[case]):
        found = qj.statevector(as_circuit(NUM_QUBITS, [op]), initial_state=KET)
        np.testing.assert_allclose(found, cirq_ket([op], KET), atol=ATOL)


@pytest.mark.parametrize("case", CHANNELS)
def test_channel(case):
    """On part of a random mixed state."""
    op = CHANNELS[case]
    found = qj.density_matrix(as_circuit(NUM_QUBITS, [op]), initial_state=RHO)
    np.testing.assert_allclose(found, cirq_density_matrix([op], RHO), atol=ATOL)


@pytest.mark.parametrize("case", ["AmplitudeDamping", "PauliChannel words", "Kraus two"])
def test_kraus_operators(case):
    """What the operation says of itself makes Cirq's superoperator."""
    op = CHANNELS[case]
    operation = as_circuit(NUM_QUBITS, [op]).operations[0]
    found = cirq.kraus_to_superoperator([np.asarray(K) for K in operation.kraus_operators])
    expected = cirq.kraus_to_superoperator(cirq.kraus(channel_operations(op)[0]))
    np.testing.assert_allclose(found, expected, atol=ATOL)


@pytest.mark.parametrize("noisy", [False, True], ids=["pure", "noisy"])
def test_expectation_values(noisy):
    """Of words, a sum, and a Hamiltonian."""
    terms = [*OBSERVABLES, HAMILTONIAN]
    ops = random_circuit(1, 8, noisy=noisy)
    found = qj.expectation(as_circuit(NUM_QUBITS, ops), [as_observable(t) for t in terms])
    places = {qubit: i for i, qubit in enumerate(LINE)}
    rho = cirq_density_matrix(ops)
    expected = [pauli_sum(t).expectation_from_density_matrix(rho, places) for t in terms]
    np.testing.assert_allclose(found, expected, atol=ATOL)


@pytest.mark.parametrize("seed", range(3))
def test_random_circuit(seed):
    """Twenty gates: the state vector, phase and all."""
    ops = random_circuit(seed, 20)
    found = qj.statevector(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, cirq_ket(ops), atol=ATOL)


@pytest.mark.parametrize("seed", range(2))
def test_random_noisy_circuit(seed):
    """Ten gates and five channels: the density matrix."""
    ops = random_circuit(seed, 10, noisy=True)
    found = qj.density_matrix(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, cirq_density_matrix(ops), atol=ATOL)


def test_state_preparation():
    """On two of the qubits, out of order."""
    ops = [Op("StatePreparation", (2, 0), data=random_ket(2, seed=3)), Op("CX", (0, 1))]
    found = qj.statevector(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, cirq_ket(ops), atol=ATOL)


def test_measurement_in_the_middle():
    """Its outcomes become a mixture."""
    ops = [*random_circuit(2, 5), Op("Measure", (1,), data="m"), *random_circuit(3, 5)]
    found = qj.density_matrix(as_circuit(NUM_QUBITS, ops))
    np.testing.assert_allclose(found, cirq_density_matrix(ops), atol=ATOL)


@pytest.mark.parametrize("keep", [(0,), (2, 0)])
def test_partial_trace(keep):
    """The kept qubits in the order given."""
    found = qj.partial_trace(RHO, keep)
    tensor = RHO.reshape((2,) * (2 * NUM_QUBITS))
    expected = cirq.partial_trace(tensor, list(keep)).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=ATOL)


def test_quantities_of_states():
    """Fidelity and entropy."""
    other = random_density_matrix(NUM_QUBITS, seed=9)
    found = [qj.fidelity(RHO, other), qj.von_neumann_entropy(RHO) / np.log(2)]
    shape = (2,) * NUM_QUBITS
    expected = [
        cirq.fidelity(RHO, other, qid_shape=shape),
        cirq.von_neumann_entropy(RHO, qid_shape=shape),
    ]
    np.testing.assert_allclose(found, expected, atol=1e-9)
