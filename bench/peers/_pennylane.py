"""PennyLane's own simulators under JAX: default.qubit, and default.mixed for noise."""
# pyright: reportMissingImports=false

from typing import Any

import jax.numpy as jnp
import pennylane as qml

from bench._program import Program
from bench._workloads import Gate, Problem, Word
from bench.peers import _shared_jax

ENGINE = "default.qubit or default.mixed, JAX jit + vmap, backprop"
PRECISION = "complex64"

ROTATIONS = {"RX": qml.RX, "RY": qml.RY, "RZ": qml.RZ, "RZZ": qml.IsingZZ}
PAULIS = {"X": qml.PauliX, "Y": qml.PauliY, "Z": qml.PauliZ}


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    wires = range(problem.qubits)
    device = qml.device("default.mixed" if problem.is_noisy else "default.qubit", wires=wires)

    @qml.qnode(device, interface="jax", diff_method="backprop")
    def node(theta: Any, x: Any) -> Any:
        apply(problem, theta, x)
        return [qml.expval(pauli(word)) for word in problem.words]

    @qml.qnode(device, interface="jax", diff_method="backprop")
    def energy(theta: Any, x: Any) -> Any:
        apply(problem, theta, x)
        return qml.expval(hamiltonian(problem))

    def sample(theta: Any, key: Any) -> Any:
        random = qml.device("default.qubit", wires=wires, seed=key)

        @qml.set_shots(problem.cell.shots)
        @qml.qnode(random, interface="jax", diff_method=None)
        def drawn(theta: Any) -> Any:
            apply(problem, theta, None)
            return qml.sample(wires=wires)

        return drawn(theta)

    loss = energy if problem.family == "vqe" else None
    return _shared_jax.prepare(
        problem, lambda theta, x: jnp.stack(node(theta, x)), loss=loss, sample=sample
    )


def apply(problem: Problem, theta: Any, x: Any) -> None:
    """Queues the gates; x may have a batch axis in front, which PennyLane broadcasts."""
    if problem.amplitudes is not None:
        qml.StatePrep(x, wires=range(problem.qubits))
    for gate in problem.gates:
        _queue(gate, theta, x)


def _queue(gate: Gate, theta: Any, x: Any) -> None:
    if gate.name == "CX":
        qml.CNOT(wires=gate.qubits)
    elif gate.name == "H":
        qml.Hadamard(wires=gate.qubits)
    elif gate.name == "AmplitudeDamping":
        qml.AmplitudeDamping(gate.strength, wires=gate.qubits)
    else:
        angle = theta[gate.index] if gate.source == "theta" else x[..., gate.index]
        ROTATIONS[gate.name](angle, wires=gate.qubits)


def pauli(word: Word) -> Any:
    """A Pauli word as an observable."""
    factors = [PAULIS[letter](qubit) for qubit, letter in word]
    return factors[0] if len(factors) == 1 else qml.prod(*factors)


def hamiltonian(problem: Problem) -> Any:
    """The weighted sum of all words."""
    return qml.Hamiltonian(problem.weights.tolist(), [pauli(word) for word in problem.words])
