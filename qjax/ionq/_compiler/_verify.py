"""Comparing compiled circuits with what they were compiled from, in double precision."""

from typing import Any

import jax
import numpy as np

from qjax._typing import is_concrete
from qjax.circuit import Circuit, Gate, Operation, kind_matrix
from qjax.errors import CircuitError
from qjax.ionq._compiler._program import Program
from qjax.transforms._amplitudes import amplitude_angles, is_real_array
from qjax.transforms._double import double_amplitudes, double_angles, double_unitary
from qjax.transforms._matrices import controlled

__all__ = ["verify_program"]

_LARGEST_UNITARY = 8
_RANDOM_STATES = 3
_DRAWS = 3
_ALLOWED = 1e-9


def verify_program(
    circuit: Circuit, program: Program, positions: tuple[int, ...], allowed: float = _ALLOWED
) -> None:
    """Raises unless a program equals its circuit up to a global phase.

    All columns of the unitary are compared up to 8 qubits, random states above; only |0...0> where
    the circuit prepares states. Numbers that are not known are drawn at random three times.

    Raises:
        CircuitError: if they differ by more than `allowed`.
    """
    rng = np.random.default_rng(0)
    draws = _DRAWS if program.unknowns else 1
    for _ in range(draws):
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            difference = _difference(_with_numbers(circuit, rng), program, positions, rng)
        if difference > allowed:
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
        expected = _apply(expected, _matrix(operation), operation.qubits, n)
    values: dict[Any, Any] = dict(enumerate(circuit.params))
    for place, array in enumerate(circuit.data):
        if circuit.structure.data_ranks[place] == 1:
            values["amplitudes", place] = amplitude_angles(array)
    native, frames = program.evaluate(values, np)
    found = states
    for operation in native.operations:
        found = _apply(found, _native_matrix(operation), operation.qubits, n)
    for qubit, frame in enumerate(np.asarray(frames)):
        turn = np.diag(np.exp(np.array([-1j, 1j]) * np.pi * frame))
        found = _apply(found, turn, (qubit,), n)
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


def _matrix(operation: Operation) -> np.ndarray:
    if operation.name == "StatePreparation":
        amplitudes = double_amplitudes(operation.data)
        return np.outer(amplitudes, np.eye(len(amplitudes))[0])
    kind = operation.kind
    assert isinstance(kind, Gate)
    data = None if operation.data is None else double_unitary(operation.data)
    arguments = (operation.params, data, operation.detail, operation.adjoint)
    matrix = np.asarray(kind_matrix(kind, *arguments), complex)
    for _ in operation.controls:
        matrix = controlled(matrix)
    return matrix


def _native_matrix(operation: Operation) -> np.ndarray:
    """The definition once more, so that the gates' own matrices are not taken on trust."""
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


def _apply(
    states: np.ndarray, matrix: np.ndarray, qubits: tuple[int, ...], num_qubits: int
) -> np.ndarray:
    """A matrix on some qubits of (2**n, columns)."""
    k = len(qubits)
    tensor = states.reshape((2,) * num_qubits + (-1,))
    gate = matrix.reshape((2,) * (2 * k))
    product = np.tensordot(gate, tensor, (range(k, 2 * k), qubits))
    return np.moveaxis(product, range(k), qubits).reshape(states.shape)
