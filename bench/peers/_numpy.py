"""The oracle: plain NumPy in double precision, gradients by the parameter-shift rule.

It is independent of every peer and gives the values that they are compared with. It is not timed.
"""

from typing import Any

import numpy as np

from bench._program import Program, Unsupported, plain_program
from bench._workloads import Gate, Problem, Word

ENGINE = "reference values: NumPy, parameter shift"
PRECISION = "complex128"

LONGEST = 60.0  # seconds, estimated
PER_GATE, PER_AMPLITUDE = 15e-6, 2e-8  # seconds

PAULIS = {
    "X": np.array([[0, 1], [1, 0]], complex),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1.0 + 0j, -1.0]),
}
PLAIN = {
    "H": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "CX": np.eye(4)[[0, 1, 3, 2]],
}


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    _check_cost(problem)
    if problem.task == "sample":  # the exact values stand for the samples
        return Program(lambda: values(problem, problem.theta), lambda raw: {"means": raw[0]})
    return plain_program(
        problem,
        forward=lambda: values(problem, problem.theta),
        gradient=lambda theta: shift_rule(problem, theta),
    )


def _check_cost(problem: Problem) -> None:
    size = 2 ** (problem.qubits * (2 if problem.is_noisy else 1))
    runs = 1 + 2 * len(problem.theta) * (problem.task in ("gradient", "train"))
    gates = problem.cell.batch * runs * (len(problem.gates) + len(problem.words))
    seconds = max(1, problem.cell.steps) * gates * (PER_GATE + size * PER_AMPLITUDE)
    if seconds > LONGEST:
        raise Unsupported("too slow at this size for the oracle")


def shift_rule(problem: Problem, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient: half the difference at plus and minus a quarter turn, exactly."""
    gradient = np.zeros_like(theta)
    for k in range(len(theta)):
        turn = np.zeros_like(theta)
        turn[k] = np.pi / 2
        gradient[k] = (loss(problem, theta + turn) - loss(problem, theta - turn)) / 2
    return loss(problem, theta), gradient


def loss(problem: Problem, theta: np.ndarray) -> float:
    """sum_{b,i} w_i <P_i> / batch."""
    return float((values(problem, theta) @ problem.weights).mean())


def values(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """Expectation values (batch, words), input by input."""
    rows = []
    for b in range(problem.cell.batch):
        ket = np.zeros(2**problem.qubits, complex)
        ket[0] = 1
        if problem.amplitudes is not None:
            ket = problem.amplitudes[b].astype(complex)
        run = _mixed_values if problem.is_noisy else _pure_values
        rows.append(run(problem, theta, problem.xs[b], ket))
    return np.array(rows)


def _pure_values(problem: Problem, theta: Any, x: Any, ket: np.ndarray) -> list[float]:
    state = ket.reshape((2,) * problem.qubits)
    for gate in problem.gates:
        state = apply(state, matrix(gate, theta, x), gate.qubits)
    return [float(np.vdot(state, _times_word(state, word)).real) for word in problem.words]


def _mixed_values(problem: Problem, theta: Any, x: Any, ket: np.ndarray) -> list[float]:
    n = problem.qubits
    rho = np.outer(ket, ket.conj()).reshape((2,) * (2 * n))
    for gate in problem.gates:
        rows, columns = gate.qubits, tuple(n + q for q in gate.qubits)
        rho = np.sum(
            [apply(apply(rho, k, rows), k.conj(), columns) for k in krauses(gate, theta, x)], axis=0
        )
    size = 2**n
    return [float(np.trace(_times_word(rho, w).reshape(size, size)).real) for w in problem.words]


def apply(state: np.ndarray, u: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A matrix (2**k, 2**k) on k axes of a state of axes of length 2."""
    k = len(axes)
    moved = np.tensordot(u.reshape((2,) * (2 * k)), state, (tuple(range(k, 2 * k)), axes))
    return np.moveaxis(moved, tuple(range(k)), axes)


def _times_word(state: np.ndarray, word: Word) -> np.ndarray:
    for qubit, letter in word:
        state = apply(state, PAULIS[letter], (qubit,))
    return state


def matrix(gate: Gate, theta: Any, x: Any) -> np.ndarray:
    """exp(-i angle P / 2) for the rotations."""
    if gate.name in PLAIN:
        return PLAIN[gate.name]
    angle = theta[gate.index] if gate.source == "theta" else x[gate.index]
    word = gate.name[1:]
    pauli = np.kron(PAULIS[word[0]], PAULIS[word[1]]) if len(word) == 2 else PAULIS[word]
    return np.cos(angle / 2) * np.eye(len(pauli)) - 1j * np.sin(angle / 2) * pauli


def krauses(gate: Gate, theta: Any, x: Any) -> list[np.ndarray]:
    """The Kraus operators of a channel, or the one matrix of a gate."""
    if gate.name != "AmplitudeDamping":
        return [matrix(gate, theta, x)]
    gamma = gate.strength
    return [
        np.diag([1, np.sqrt(1 - gamma)]),
        np.array([[0, np.sqrt(gamma)], [0, 0]]),
    ]
