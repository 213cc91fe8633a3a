"""qjax, written as a user writes it: public names only."""

from typing import Any

import jax

import qjax as qj
from bench._program import Program
from bench._workloads import SAVING, Problem
from bench.peers import _shared_jax

ENGINE = "jit + vmap"
PRECISION = "complex64"


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    observables = [_observable(word) for word in problem.words]
    max_bytes = 0 if problem.cell.workload == SAVING else None

    def evaluate(theta: Any, x: Any) -> Any:
        return qj.expectation(circuit(problem, theta, x), observables, max_bytes=max_bytes)

    def energy(theta: Any, x: Any) -> Any:
        terms = zip(problem.weights.tolist(), observables, strict=True)
        hamiltonian = sum((w * p for w, p in terms), start=0 * observables[0])
        return qj.expectation(circuit(problem, theta, x), hamiltonian)

    def sample(theta: Any, key: Any) -> Any:
        return qj.sample(circuit(problem, theta, None), problem.cell.shots, key)

    loss = energy if problem.family == "vqe" else None
    return _shared_jax.prepare(problem, evaluate, loss=loss, sample=sample)


def circuit(problem: Problem, theta: Any, x: Any) -> qj.Circuit:
    """The circuit of one input; theta is flat."""
    n, layers = problem.qubits, problem.cell.layers
    if problem.family == "vqe":
        return _ising(n, theta.reshape(layers, 2 * n - 1))
    angles = theta.reshape(layers, n, 2)
    if problem.family in ("state", "sampling"):
        return qj.hardware_efficient(angles, "circular")
    if problem.family == "amplitude":
        return qj.amplitude_encoding(x) + qj.hardware_efficient(angles, "circular")
    if problem.family == "reuploading":
        return _reuploading(angles, x)
    if problem.family == "noisy":
        return _damped(problem, angles, x)
    return qj.angle_encoding(x) + qj.hardware_efficient(angles, "circular")


def _reuploading(angles: jax.Array, x: Any) -> qj.Circuit:
    encoding = qj.angle_encoding(x, "RX")
    result = encoding + qj.hardware_efficient(angles[:1], "circular")
    for number in range(1, len(angles)):
        result += encoding + qj.hardware_efficient(angles[number : number + 1], "circular")
    return result


def _damped(problem: Problem, angles: jax.Array, x: Any) -> qj.Circuit:
    gamma = next(gate.strength for gate in problem.gates if gate.name == "AmplitudeDamping")
    damping = qj.Circuit(
        problem.qubits, [qj.AmplitudeDamping(gamma, q) for q in range(problem.qubits)]
    )
    result = qj.angle_encoding(x)
    for number in range(len(angles)):
        result += qj.hardware_efficient(angles[number : number + 1], "circular") + damping
    return result


def _ising(n: int, angles: jax.Array) -> qj.Circuit:
    gates: list[Any] = [qj.H(q) for q in range(n)]
    for row in angles:
        gates += [qj.RZZ(row[q], q, q + 1) for q in range(n - 1)]
        gates += [qj.RX(row[n - 1 + q], q) for q in range(n)]
    return qj.Circuit(n, gates)


def _observable(word: tuple[tuple[int, str], ...]) -> Any:
    (qubit, letter), *rest = word
    product: Any = getattr(qj, letter)(qubit)
    for qubit, letter in rest:
        product = product @ getattr(qj, letter)(qubit)
    return product
