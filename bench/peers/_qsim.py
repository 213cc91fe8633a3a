"""qsim through Cirq: forward and samples; the translated circuit is kept between calls."""
# pyright: reportMissingImports=false

import os
from typing import Any

import cirq
import numpy as np
import qsimcirq

from bench._program import Program, Unsupported, plain_program, z_means
from bench._workloads import Problem
from bench.peers._shared_cirq import operation, pauli

ENGINE = "C++, fused gates, inputs one after the other"
PRECISION = "complex64"

FUSED = 4  # largest fused gate; its documentation advises 2 to 4, and 4 for large circuits


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    if problem.is_noisy:
        raise Unsupported("noise by random trajectories only, no density matrix")
    if problem.task in ("gradient", "train"):
        raise Unsupported("no gradients of its own")
    qubits = cirq.LineQubit.range(problem.qubits)
    circuits = [circuit(problem, qubits, x) for x in problem.xs]
    options = qsimcirq.QSimOptions(cpu_threads=os.cpu_count() or 1, max_fused_gate_size=FUSED)
    simulator = qsimcirq.QSimSimulator(options, circuit_memoization_size=len(circuits))
    observables = [pauli(word, qubits) for word in problem.words]
    starts: list[Any] = [None] * len(circuits)
    if problem.amplitudes is not None:
        starts = list(problem.amplitudes.astype(np.complex64))

    def forward() -> np.ndarray:
        rows = [
            simulator.simulate_expectation_values(
                each, observables, qubit_order=qubits, initial_state=start
            )
            for each, start in zip(circuits, starts, strict=True)
        ]
        return np.real(rows)

    measured = circuits[0] + cirq.measure(*qubits, key="all")

    def sample() -> Any:
        return simulator.run(measured, repetitions=problem.cell.shots).measurements["all"]

    return plain_program(problem, forward=forward, sample=sample, read_sample=z_means)


def circuit(problem: Problem, qubits: Any, x: Any) -> Any:
    """The circuit of one input, angles filled in."""
    result = cirq.Circuit(operation(gate, qubits, problem.theta, x) for gate in problem.gates)
    idle = set(qubits) - result.all_qubits()
    return result + [cirq.I(qubit) for qubit in idle]
