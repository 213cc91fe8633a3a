"""horqrux. It turns on double precision for the whole process when it is imported."""
# pyright: reportMissingImports=false

from typing import Any

import horqrux as hq
import jax.numpy as jnp
from horqrux.noise import DigitalNoiseInstance, DigitalNoiseType
from horqrux.utils.operator_utils import density_mat

from bench._program import Program, Unsupported
from bench._workloads import Gate, Problem
from bench.peers import _shared_jax

ENGINE = "jit + vmap; RZZ as CX RZ CX"
PRECISION = "complex128"

ROTATIONS = {"RX": hq.RX, "RY": hq.RY, "RZ": hq.RZ}


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    if problem.task == "sample":
        raise Unsupported("draws its samples outside jit, into a Counter, from a fixed key")
    n = problem.qubits
    circuit = hq.QuantumCircuit(n, [op for gate in problem.gates for op in operations(gate)])
    observables = [
        hq.Observable([getattr(hq, letter)(qubit)])
        if len(word) == 1
        else hq.Observable([_product(word)])
        for word in problem.words
        for qubit, letter in word[:1]
    ]

    def evaluate(theta: Any, x: Any) -> Any:
        values = {f"theta{k}": theta[k] for k in range(len(problem.theta))}
        if problem.amplitudes is not None:
            start = x.reshape((2,) * n).astype(jnp.complex128)
        else:
            values |= {f"x{k}": x[k] for k in range(problem.xs.shape[1])}
            start = hq.zero_state(n)
        if problem.is_noisy:
            start = density_mat(start)
        state = hq.run(circuit, start, values)
        return jnp.stack([observable(state) for observable in observables])

    return _shared_jax.prepare(problem, evaluate, dtype=jnp.float64)


def operations(gate: Gate) -> list[Any]:
    """The library's operations for one gate."""
    name = f"{gate.source}{gate.index}"
    if gate.name == "CX":
        control, target = gate.qubits
        return [hq.NOT(target, control)]
    if gate.name == "RZZ":
        first, second = gate.qubits
        return [hq.NOT(second, first), hq.RZ(name, second), hq.NOT(second, first)]
    if gate.name == "H":
        return [hq.H(*gate.qubits)]
    if gate.name == "AmplitudeDamping":
        noise = DigitalNoiseInstance(DigitalNoiseType.AMPLITUDE_DAMPING, gate.strength)
        return [hq.I(*gate.qubits, noise=(noise,))]
    return [ROTATIONS[gate.name](name, *gate.qubits)]


def _product(word: Any) -> Any:
    from horqrux.composite import OpSequence

    return OpSequence([getattr(hq, letter)(qubit) for qubit, letter in word])
