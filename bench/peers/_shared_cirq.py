"""Gates and observables of Cirq, which qsim and TensorFlow Quantum share."""
# pyright: reportMissingImports=false

from typing import Any

import cirq
import numpy as np

from bench._workloads import Gate, Word

__all__ = ["operation", "pauli"]


def operation(gate: Gate, qubits: Any, theta: Any, x: Any) -> Any:
    """One gate; angles may be numbers or symbols."""
    on = [qubits[q] for q in gate.qubits]
    if gate.name == "CX":
        return cirq.CNOT(*on)
    if gate.name == "H":
        return cirq.H(*on)
    angle = (theta if gate.source == "theta" else x)[gate.index]
    if gate.name == "RZZ":  # but for a global phase
        return cirq.ZZPowGate(exponent=angle / np.pi, global_shift=-0.5)(*on)
    return {"RX": cirq.rx, "RY": cirq.ry, "RZ": cirq.rz}[gate.name](angle)(*on)


def pauli(word: Word, qubits: Any) -> Any:
    """A Pauli word as an observable."""
    return cirq.PauliString({qubits[qubit]: getattr(cirq, letter) for qubit, letter in word})
