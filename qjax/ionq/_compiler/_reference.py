"""What operations make of states, in NumPy and double precision, for comparing circuits.

Nothing here is shared with the passes of the compiler but the definitions of gates.
"""

from dataclasses import replace

import numpy as np

from qjax.circuit import Gate, Operation, kind_matrix
from qjax.observables import PAULI_MATRICES
from qjax.transforms._double import double_amplitudes, double_unitary

__all__ = ["apply_matrix", "apply_native", "apply_operation"]


def apply_matrix(
    states: np.ndarray, matrix: np.ndarray, qubits: tuple[int, ...], num_qubits: int
) -> np.ndarray:
    """A matrix on some qubits of (2**n, columns)."""
    k = len(qubits)
    tensor = states.reshape((2,) * num_qubits + (-1,))
    gate = matrix.reshape((2,) * (2 * k))
    product = np.tensordot(gate, tensor, (range(k, 2 * k), qubits))
    return np.moveaxis(product, range(k), qubits).reshape(states.shape)


def apply_operation(states: np.ndarray, operation: Operation, num_qubits: int) -> np.ndarray:
    """A gate or state preparation on (2**n, columns)."""
    targets = operation.targets
    if operation.controls:
        return _controlled(states, operation, num_qubits)
    if operation.name == "StatePreparation":
        return _prepared(states, double_amplitudes(operation.data), targets, num_qubits)
    if operation.name == "PauliRotation":
        theta = float(operation.params[0])
        return _rotated(states, operation.detail, targets, theta, num_qubits)
    if operation.name == "Evolution":
        return _evolved(states, operation, num_qubits)
    kind = operation.kind
    assert isinstance(kind, Gate)
    data = None if operation.data is None else double_unitary(operation.data)
    arguments = (operation.params, data, operation.detail, operation.adjoint)
    matrix = np.asarray(kind_matrix(kind, *arguments), complex)
    return apply_matrix(states, matrix, targets, num_qubits)


def _controlled(states: np.ndarray, operation: Operation, num_qubits: int) -> np.ndarray:
    """The operation without its controls on that part of the states where all are one."""
    controls = operation.controls
    rest = [q for q in range(num_qubits) if q not in controls]
    inner = replace(operation, controls=(), targets=tuple(map(rest.index, operation.targets)))
    changed = states.reshape((2,) * num_qubits + (-1,)).copy()
    where = tuple(1 if q in controls else slice(None) for q in range(num_qubits))
    part = changed[where]
    done = apply_operation(part.reshape(2 ** len(rest), -1), inner, len(rest))
    changed[where] = done.reshape(part.shape)
    return changed.reshape(states.shape)


def _prepared(
    states: np.ndarray, amplitudes: np.ndarray, targets: tuple[int, ...], num_qubits: int
) -> np.ndarray:
    """|a><0...0| on the targets."""
    k = len(targets)
    tensor = np.moveaxis(states.reshape((2,) * num_qubits + (-1,)), targets, range(k))
    product = np.multiply.outer(amplitudes.reshape((2,) * k), tensor[(0,) * k])
    return np.moveaxis(product, range(k), targets).reshape(states.shape)


def _rotated(
    states: np.ndarray, word: str, targets: tuple[int, ...], theta: float, num_qubits: int
) -> np.ndarray:
    """exp(-i theta/2 P), letter by letter, so that no matrix is larger than (2, 2)."""
    flipped = states
    for letter, qubit in zip(word, targets, strict=True):
        if letter != "I":
            flipped = apply_matrix(flipped, PAULI_MATRICES[letter], (qubit,), num_qubits)
    return np.cos(theta / 2) * states - 1j * np.sin(theta / 2) * flipped


def _evolved(states: np.ndarray, operation: Operation, num_qubits: int) -> np.ndarray:
    """The product formula of an evolution, or the exponential by eigenvalues."""
    words, scheme = operation.detail
    sign = -1 if operation.adjoint else 1
    if scheme is None:
        return apply_matrix(states, _exponential(operation), operation.targets, num_qubits)
    steps, order = scheme
    share = 2 * sign / (steps * order)
    once = [(w, share * float(a)) for w, a in zip(words, operation.params, strict=True)]
    formula = (once + (once[::-1] if order == 2 else [])) * steps
    for word, theta in formula[::sign]:
        states = _rotated(states, word, operation.targets, theta, num_qubits)
    return states


def _exponential(operation: Operation) -> np.ndarray:
    """exp(-i sum_k a_k P_k), or its adjoint."""
    size = len(operation.targets)
    hamiltonian = np.zeros((2**size, 2**size), complex)
    for word, number in zip(operation.detail[0], operation.params, strict=True):
        product = np.eye(1)
        for letter in word:
            product = np.kron(product, PAULI_MATRICES[letter])
        hamiltonian += float(number) * product
    energies, vectors = np.linalg.eigh(hamiltonian)
    phases = np.exp((1j if operation.adjoint else -1j) * energies)
    return (vectors * phases) @ vectors.conj().T


def apply_native(states: np.ndarray, operation: Operation, num_qubits: int) -> np.ndarray:
    """A native gate, by its definition once more: the gates' own matrices are not trusted."""
    return apply_matrix(states, _native_matrix(operation), operation.qubits, num_qubits)


def _native_matrix(operation: Operation) -> np.ndarray:
    numbers = [float(number) for number in operation.params]
    if operation.name == "ZZ":
        return np.diag(np.exp(-1j * np.pi * numbers[0] * np.array([1, -1, -1, 1])))
    axes = [
        np.array([[0, np.exp(-2j * np.pi * p)], [np.exp(2j * np.pi * p), 0]]) for p in numbers[:2]
    ]
    if operation.name == "GPI":
        return axes[0]
    generator, turns = (axes[0], 0.25) if operation.name == "GPI2" else (np.kron(*axes), numbers[2])
    return np.cos(np.pi * turns) * np.eye(len(generator)) - 1j * np.sin(np.pi * turns) * generator
