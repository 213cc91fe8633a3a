"""Qiskit Aer: forward, noise and samples; it has no gradients of its own."""
# pyright: reportMissingImports=false

from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import Pauli
from qiskit_aer import AerSimulator
from qiskit_aer.noise import amplitude_damping_error

from bench._program import Program, Unsupported, plain_program, z_means_of_integers
from bench._workloads import Gate, Problem
from bench.peers._shared_bits import reversed_bits

ENGINE = "statevector or density_matrix, single precision, bound parameters"
PRECISION = "complex64"


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    if problem.task in ("gradient", "train"):
        raise Unsupported("no gradients of its own")
    method = "density_matrix" if problem.is_noisy else "statevector"
    simulator = AerSimulator(method=method, precision="single")
    if problem.task == "sample":
        circuit = build(problem, problem.theta, None)
        circuit.measure_all()

        def sample() -> Any:
            return simulator.run(circuit, shots=problem.cell.shots).result().get_counts()

        return plain_program(problem, sample=sample, read_sample=lambda c: _means(c, problem))
    run = _amplitude_run if problem.amplitudes is not None else _bound_run
    return plain_program(problem, forward=run(problem, simulator))


def _bound_run(problem: Problem, simulator: Any) -> Any:
    """One circuit with the inputs as parameters, so that Aer sees the batch."""
    x = ParameterVector("x", max(1, problem.xs.shape[1]))
    circuit = build(problem, problem.theta, x)
    save(problem, circuit)
    binds = {x[k]: column.tolist() for k, column in enumerate(problem.xs.T)}

    def forward() -> np.ndarray:
        job = simulator.run(circuit, parameter_binds=[binds] if binds else None)
        return _values(job.result(), problem, problem.cell.batch)

    return forward


def _amplitude_run(problem: Problem, simulator: Any) -> Any:
    assert problem.amplitudes is not None
    circuits = []
    for amplitudes in reversed_bits(problem.amplitudes, problem.qubits):
        circuit = QuantumCircuit(problem.qubits)
        circuit.set_statevector(amplitudes)
        circuits.append(circuit.compose(build(problem, problem.theta, None)))
        save(problem, circuits[-1])
    return lambda: _values(simulator.run(circuits).result(), problem, len(circuits))


def build(problem: Problem, theta: Any, x: Any) -> Any:
    """The circuit; angles are numbers or parameters."""
    circuit = QuantumCircuit(problem.qubits)
    for gate in problem.gates:
        _append(circuit, gate, theta, x)
    return circuit


def _append(circuit: Any, gate: Gate, theta: Any, x: Any) -> None:
    if gate.name == "AmplitudeDamping":
        circuit.append(amplitude_damping_error(gate.strength).to_instruction(), gate.qubits)
    elif gate.source:
        angle = (theta if gate.source == "theta" else x)[gate.index]
        getattr(circuit, gate.name.lower())(angle, *gate.qubits)
    else:
        getattr(circuit, gate.name.lower())(*gate.qubits)


def save(problem: Problem, circuit: Any) -> None:
    """Asks for each expectation value."""
    for k, word in enumerate(problem.words):
        letters = "".join(letter for _, letter in reversed(word))
        qubits = [qubit for qubit, _ in word]
        circuit.save_expectation_value(Pauli(letters), qubits, label=str(k))


def _values(result: Any, problem: Problem, batch: int) -> np.ndarray:
    labels = [str(k) for k in range(len(problem.words))]
    return np.array([[result.data(b)[label] for label in labels] for b in range(batch)])


def _means(counts: dict[str, int], problem: Problem) -> np.ndarray:
    outcomes = [int(bits, 2) for bits in counts]
    return z_means_of_integers(outcomes, list(counts.values()), problem.qubits, reverse=True)
