"""qujax: a circuit as a function from angles (in units of pi) to a state tensor."""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import qujax

from bench._program import Program, z_means_of_integers
from bench._workloads import Problem
from bench.peers import _shared_jax

ENGINE = "jit + vmap"
PRECISION = "complex64"

NAMES = {"RX": "Rx", "RY": "Ry", "RZ": "Rz", "RZZ": "ZZPhase", "H": "H", "CX": "CX"}


def prepare(problem: Problem) -> Program:
    """See `bench.peers`."""
    state = state_function(problem)
    make = (
        qujax.get_densitytensor_to_expectation_func
        if problem.is_noisy
        else qujax.get_statetensor_to_expectation_func
    )
    observables = [
        make([[letter for _, letter in word]], [[qubit for qubit, _ in word]], [1.0])
        for word in problem.words
    ]

    def evaluate(theta: Any, x: Any) -> Any:
        found = state(theta, x)
        return jnp.stack([observable(found) for observable in observables])

    def sample(theta: Any, key: Any) -> Any:
        return qujax.sample_integers(key, state(theta, jnp.zeros(0)), problem.cell.shots)

    return _shared_jax.prepare(
        problem,
        evaluate,
        sample=sample,
        read_sample=lambda raw: z_means_of_integers(
            np.asarray(raw), np.ones(problem.cell.shots), problem.qubits, reverse=False
        ),
    )


def state_function(problem: Problem) -> Callable[[Any, Any], Any]:
    """theta, x -> state or density tensor."""
    offset = len(problem.theta)
    names, qubits, params = [], [], []
    for gate in problem.gates:
        names.append(_gate(gate))
        qubits.append(list(gate.qubits))
        start = offset if gate.source == "x" else 0
        none: list[Any] = [[], []] if gate.name == "AmplitudeDamping" else []  # per Kraus operator
        params.append([start + gate.index] if gate.source else none)
    n = problem.qubits
    if problem.is_noisy:
        run = qujax.get_params_to_densitytensor_func(names, qubits, params, n)
    else:
        run = qujax.get_params_to_statetensor_func(names, qubits, params, n)

    def state(theta: Any, x: Any) -> Any:
        if problem.amplitudes is not None:
            return run(theta / jnp.pi, x.reshape((2,) * n).astype(jnp.complex64))
        return run(jnp.concatenate([theta, x]) / jnp.pi)

    return state


def _gate(gate: Any) -> Any:
    if gate.name != "AmplitudeDamping":
        return NAMES[gate.name]
    gamma = gate.strength
    return [
        jnp.array([[1.0, 0.0], [0.0, (1 - gamma) ** 0.5]]),
        jnp.array([[0.0, gamma**0.5], [0.0, 0.0]]),
    ]
