"""PennyLane's C++ simulator: forward, and gradients by its adjoint method, input by input."""
# pyright: reportMissingImports=false

from typing import Any

import numpy as np
import pennylane as qml
from pennylane import numpy as pnp

from bench._program import Program, Unsupported, plain_program, z_means
from bench._workloads import Problem
from bench.peers._pennylane import apply, hamiltonian, pauli

ENGINE = "lightning.qubit, adjoint, broadcast inputs run one after the other"
PRECISION = "complex64"


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    if problem.is_noisy:
        raise Unsupported("lightning.qubit has no channels")
    wires = range(problem.qubits)
    device = qml.device("lightning.qubit", wires=wires, c_dtype=np.complex64)
    inputs = problem.xs if problem.amplitudes is None else problem.amplitudes
    inputs = inputs[0] if problem.cell.batch == 1 else inputs
    theta = problem.theta

    @qml.qnode(device, diff_method=None)
    def forward(theta: Any) -> Any:
        apply(problem, theta, inputs)
        return [qml.expval(pauli(word)) for word in problem.words]

    @qml.qnode(device, interface="autograd", diff_method="adjoint")
    def energies(theta: Any) -> Any:
        apply(problem, theta, inputs)
        return qml.expval(hamiltonian(problem))

    slope = qml.grad(lambda theta: pnp.mean(energies(theta)))

    def gradient(theta: np.ndarray) -> tuple[Any, Any]:
        gradients = slope(pnp.array(theta, requires_grad=True))
        return slope.forward, gradients

    @qml.set_shots(problem.cell.shots or None)
    @qml.qnode(device, diff_method=None)
    def drawn(theta: Any) -> Any:
        apply(problem, theta, inputs)
        return qml.sample(wires=wires)

    def values() -> np.ndarray:
        return np.array(forward(theta)).reshape(len(problem.words), -1).T

    return plain_program(
        problem,
        forward=values,
        gradient=gradient,
        sample=lambda: drawn(theta),
        read_sample=z_means,
    )
