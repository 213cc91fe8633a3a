"""TensorCircuit-NG with its JAX backend."""
# pyright: reportMissingImports=false

from typing import Any

import numpy as np
import tensorcircuit as tc

from bench._program import Program, z_means_of_integers
from bench._workloads import Problem, Word
from bench.peers import _shared_jax

ENGINE = "JAX backend, jit + vmap"
PRECISION = "complex64"

K = tc.set_backend("jax")
tc.set_dtype("complex64")

NAMES = {"RX": "rx", "RY": "ry", "RZ": "rz", "RZZ": "rzz"}


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""

    def evaluate(theta: Any, x: Any) -> Any:
        state = circuit(problem, theta, x)
        return K.stack([K.real(state.expectation_ps(**_letters(word))) for word in problem.words])

    def sample(theta: Any, key: Any) -> Any:
        return circuit(problem, theta, None).sample(
            batch=problem.cell.shots,
            allow_state=True,
            format="sample_int",
            random_generator=key,
            jittable=True,
        )

    return _shared_jax.prepare(
        problem,
        evaluate,
        sample=sample,
        read_sample=lambda raw: z_means_of_integers(
            np.asarray(raw), np.ones(problem.cell.shots), problem.qubits, reverse=False
        ),
    )


def circuit(problem: Problem, theta: Any, x: Any) -> Any:
    """The circuit of one input."""
    n = problem.qubits
    if problem.is_noisy:
        c = tc.DMCircuit(n)
    elif problem.amplitudes is not None:
        c = tc.Circuit(n, inputs=K.cast(x, "complex64"))
    else:
        c = tc.Circuit(n)
    for gate in problem.gates:
        if gate.name == "CX":
            c.cnot(*gate.qubits)
        elif gate.name == "H":
            c.h(*gate.qubits)
        elif gate.name == "AmplitudeDamping":
            c.amplitudedamping(*gate.qubits, gamma=gate.strength, p=1.0)
        else:
            angle = (theta if gate.source == "theta" else x)[gate.index]
            getattr(c, NAMES[gate.name])(*gate.qubits, theta=angle)
    return c


def _letters(word: Word) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for qubit, letter in word:
        found.setdefault(letter.lower(), []).append(qubit)
    return found
