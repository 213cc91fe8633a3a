"""Qulacs. Its rotations turn the other way, so angles and gradients change their signs."""
# pyright: reportMissingImports=false

from typing import Any

import numpy as np
import qulacs

from bench._program import Program, Unsupported, plain_program, z_means_of_integers
from bench._workloads import Problem, Word
from bench.peers._shared_bits import reversed_bits

ENGINE = "parametric circuit, OpenMP, backprop, inputs one after the other"
PRECISION = "complex128"

LETTERS = {"X": 1, "Y": 2, "Z": 3}


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    n = problem.qubits
    if problem.amplitudes is not None and problem.task == "gradient":
        raise Unsupported("backprop starts from |0...0> only")
    if problem.is_noisy and problem.task == "gradient":
        raise Unsupported("no gradients of density matrices")
    observables = [observable(n, [(1.0, word)]) for word in problem.words]
    circuit, sources = parametric_circuit(problem)
    state = qulacs.DensityMatrix(n) if problem.is_noisy else qulacs.QuantumState(n)
    start = None if problem.amplitudes is None else reversed_bits(problem.amplitudes, n)

    def evolve(theta: np.ndarray, b: int) -> None:
        for k, angle in enumerate(angles(problem, sources, theta, b)):
            circuit.set_parameter(k, angle)
        if start is None:
            state.set_zero_state()
        else:
            state.load(start[b])
        circuit.update_quantum_state(state)

    def forward() -> np.ndarray:
        rows = []
        for b in range(problem.cell.batch):
            evolve(problem.theta, b)
            rows.append([each.get_expectation_value(state) for each in observables])
        return np.array(rows)

    def sample() -> Any:
        evolve(problem.theta, 0)
        return state.sampling(problem.cell.shots)

    return plain_program(
        problem,
        forward=forward,
        gradient=gradient_function(problem, circuit, sources, state, evolve),
        sample=sample,
        read_sample=lambda raw: z_means_of_integers(raw, np.ones(len(raw)), n, reverse=True),
    )


def gradient_function(
    problem: Problem, circuit: Any, sources: list[tuple[str, int]], state: Any, evolve: Any
) -> Any:
    """theta -> loss and gradient: one run and one backprop per input."""
    words = zip(problem.weights.tolist(), problem.words, strict=True)
    total = observable(problem.qubits, list(words))

    def gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, result = 0.0, np.zeros_like(theta)
        for b in range(problem.cell.batch):
            evolve(theta, b)
            loss += total.get_expectation_value(state)
            for (source, index), slope in zip(sources, circuit.backprop(total), strict=True):
                if source == "theta":
                    result[index] -= slope
        return loss / problem.cell.batch, result / problem.cell.batch

    return gradient


def parametric_circuit(problem: Problem) -> tuple[Any, list[tuple[str, int]]]:
    """The circuit, and where each of its parameters comes from."""
    circuit = qulacs.ParametricQuantumCircuit(problem.qubits)
    sources = []
    for gate in problem.gates:
        if gate.name == "CX":
            circuit.add_CNOT_gate(*gate.qubits)
        elif gate.name == "H":
            circuit.add_H_gate(*gate.qubits)
        elif gate.name == "AmplitudeDamping":
            circuit.add_gate(qulacs.gate.AmplitudeDampingNoise(*gate.qubits, gate.strength))
        elif gate.name == "RZZ":
            circuit.add_parametric_multi_Pauli_rotation_gate(list(gate.qubits), [3, 3], 0.0)
        else:
            getattr(circuit, f"add_parametric_{gate.name}_gate")(*gate.qubits, 0.0)
        if gate.source:
            sources.append((gate.source, gate.index))
    return circuit, sources


def angles(problem: Problem, sources: Any, theta: np.ndarray, b: int) -> list[float]:
    """The parameters of input b."""
    tables = {"theta": -theta, "x": -problem.xs[b]}
    return [float(tables[source][index]) for source, index in sources]


def observable(n: int, terms: list[tuple[float, Word]]) -> Any:
    """A weighted sum of Pauli words."""
    result = qulacs.Observable(n)
    for weight, word in terms:
        result.add_operator(weight, " ".join(f"{letter} {qubit}" for qubit, letter in word))
    return result
