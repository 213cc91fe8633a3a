"""Comparing compiled circuits with what they were compiled from, in double precision."""

from typing import Any

import jax
import numpy as np

from qjax._typing import is_concrete
from qjax.circuit import Circuit
from qjax.errors import CircuitError
from qjax.ionq._compiler._program import Program
from qjax.ionq._compiler._reference import apply_matrix, apply_native, apply_operation
from qjax.transforms._amplitudes import amplitude_angles, is_real_array
from qjax.transforms._double import double_angles

__all__ = ["check_verifiable", "verify_program"]

_LARGEST = 20
_LARGEST_UNITARY = 8
_RANDOM_STATES = 3
_DRAWS = 3
_ALLOWED = 1e-9


def check_verifiable(circuit: Circuit) -> None:
    """Raises if a circuit has too many qubits for the states that are compared."""
    if circuit.num_qubits > _LARGEST:
        raise CircuitError(
            f"Argument `verify` must be False above {_LARGEST} qubits, because whole states are "
            f"compared, but the circuit has {circuit.num_qubits}. Verify a smaller circuit of the "
            "same kind."
        )


def verify_program(
    circuit: Circuit, program: Program, positions: tuple[int, ...], cut_off: float = 0.0
) -> None:
    """Raises unless a program equals its circuit up to a global phase.

    All columns of the unitary are compared up to 8 qubits, random states above; only |0...0> where
    the circuit prepares states. Numbers that are not known are drawn at random three times.

    Args:
        circuit: the source.
        program: what it was compiled to.
        positions: for each qubit of the circuit the ion where it ends.
        cut_off: by how much more than rounding they may differ, for what was left out on purpose.

    Raises:
        CircuitError: if an amplitude differs by more than 1e-9 and what was cut off.
    """
    rng = np.random.default_rng(0)
    draws = _DRAWS if program.unknowns else 1
    for _ in range(draws):
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            difference = _difference(_with_numbers(circuit, rng), program, positions, rng)
        if difference > _ALLOWED + cut_off:
            raise CircuitError(
                f"The compiled circuit differs from its source by {difference:.2g}, which is an "
                "error of the compiler. Please report it with the circuit."
            )


def _with_numbers(circuit: Circuit, rng: np.random.Generator) -> Circuit:
    """The circuit with random numbers where they are not known, and in double precision."""
    params = [
        values if _is_known(values, 1) else rng.uniform(-2 * np.pi, 2 * np.pi, leaf.size)
        for values, leaf in zip(circuit.params, circuit.structure.leaves, strict=True)
    ]
    data = [
        array if _is_known(array, rank) else _random_amplitudes(array, rng)
        for array, rank in zip(circuit.data, circuit.structure.data_ranks, strict=True)
    ]
    doubles = tuple(double_angles(values) for values in params)
    return Circuit.from_structure(circuit.structure, doubles, tuple(data))


def _is_known(array: Any, rank: int) -> bool:
    return array is not None and is_concrete(array) and np.ndim(array) == rank


def _random_amplitudes(like: Any, rng: np.random.Generator) -> np.ndarray:
    ket = rng.normal(size=like.shape[-1])
    if not is_real_array(like):
        ket = ket + 1j * rng.normal(size=like.shape[-1])
    return ket / np.linalg.norm(ket)


def _difference(
    circuit: Circuit, program: Program, positions: tuple[int, ...], rng: np.random.Generator
) -> float:
    n = circuit.num_qubits
    states = _start(circuit, rng)
    expected = states
    for operation in circuit.operations:
        expected = apply_operation(expected, operation, n)
    values: dict[Any, Any] = dict(enumerate(circuit.params))
    for place, array in enumerate(circuit.data):
        if circuit.structure.data_ranks[place] == 1:
            values["amplitudes", place] = amplitude_angles(array)
    native, frames = program.evaluate(values, np)
    found = states
    for operation in native.operations:
        found = apply_native(found, operation, n)
    for qubit, frame in enumerate(np.asarray(frames)):
        turn = np.diag(np.exp(np.array([-1j, 1j]) * np.pi * frame))
        found = apply_matrix(found, turn, (qubit,), n)
    found = found.reshape((2,) * n + (-1,)).transpose([*positions, n]).reshape(states.shape)
    phase = np.vdot(found, expected)
    return float(np.abs(found * (phase / abs(phase)) - expected).max()) if phase else 1.0


def _start(circuit: Circuit, rng: np.random.Generator) -> np.ndarray:
    """(2**n, columns)."""
    size = 2**circuit.num_qubits
    if any(step.kind.name == "StatePreparation" for step in circuit.structure.steps):
        return np.eye(size, 1, dtype=complex)
    if circuit.num_qubits <= _LARGEST_UNITARY:
        return np.eye(size, dtype=complex)
    states = rng.normal(size=(2, size, _RANDOM_STATES))
    states = states[0] + 1j * states[1]
    return states / np.linalg.norm(states, axis=0)
