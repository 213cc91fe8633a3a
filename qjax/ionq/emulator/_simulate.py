"""Probabilities and shots of circuits, from qjax's engine, in double precision where it fits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from qjax.circuit import Circuit, I, Operation, Unitary
from qjax.ionq.emulator._branches import branch_shots
from qjax.ionq.emulator._fuse import (
    Local,
    blocks_circuit,
    fuse,
    local_unitaries,
    mixed_circuit,
    pure_circuit,
)
from qjax.ionq.emulator._measured import Deferred, count_fresh, defer
from qjax.observables import PAULI_MATRICES
from qjax.sim import probabilities
from qjax.transforms import NoiseModel, insert_noise

__all__ = ["Shots", "exact_outcomes", "has_exact_outcomes", "precision", "sample_shots"]

_LARGEST_DOUBLE = 20  # qubits up to which states are complex128
_LARGEST_DENSITY = 8  # qubits up to which noise is computed on the density matrix
_LARGEST_DEFERRED = 12  # qubits up to which outcomes may take qubits of their own without a thought
_MOST_DEFERRED = 30  # qubits up to which they may where the shots one by one would cost more
_MOST_FRESH = 2  # of such qubits, where every shot draws its errors
_CHUNK = 2**18  # amplitudes of the trajectories that run side by side
_PAULIS = np.stack([PAULI_MATRICES[letter] for letter in "IXYZ"])
_SMALLEST = 1e-12  # probability that is still reported
_DIGITS = 12


class Shots(NamedTuple):
    """Outcomes of shots.

    Attributes:
        all: per shot the integer whose bit i is qubit i.
        registers: classical register -> per shot the integer whose bit i is bit i of it.
    """

    all: list[int]
    registers: dict[str, list[int]]


Registers = dict[str, tuple[str | int, ...]]
Drawn = tuple[np.ndarray, dict[str, np.ndarray]]  # outcomes of all qubits, and of measurements


def precision(num_qubits: int) -> AbstractContextManager[Any]:
    """Double precision for states that leave room for it."""
    return jax.enable_x64(num_qubits <= _LARGEST_DOUBLE)


def has_exact_outcomes(circuit: Circuit, shots: int) -> bool:
    """Whether measurements are moved to the end: if that costs less than the shots one by one.

    Args:
        circuit: without noise.
        shots: how many are wanted.
    """
    fresh = count_fresh(circuit)
    total = circuit.num_qubits + fresh
    return total <= _LARGEST_DEFERRED or (2**fresh <= shots and total <= _MOST_DEFERRED)


def exact_outcomes(circuit: Circuit) -> dict[str, float]:
    """Probabilities of the outcomes of all qubits, as the service writes them.

    Args:
        circuit: without noise.

    Returns:
        Decimal integer, whose bit i is qubit i -> probability.
    """
    deferred = defer(circuit, resets=True)
    kept = range(deferred.num_qubits)
    vector = np.asarray(probabilities(pure_circuit(deferred.circuit), kept), np.float64)
    (places,) = np.nonzero(vector > _SMALLEST)
    values = (vector / vector.sum())[places]
    keys = _from_columns(_columns(places, deferred.num_qubits, kept))
    order = np.argsort(keys)
    return {str(keys[i]): round(float(values[i]), _DIGITS) for i in order}


def sample_shots(
    circuit: Circuit,
    shots: int,
    seed: int,
    *,
    noise: NoiseModel | None = None,
    registers: Registers | None = None,
) -> Shots:
    """Draws shots.

    Noise is exact on the density matrix for few qubits; above, each shot draws its errors, and
    shots with the same errors share a state vector. Where measurements would take too many qubits
    at the end, each shot draws their outcomes.

    Args:
        circuit: with measurements, resets and conditions where it likes.
        shots: how many.
        seed: of the random numbers.
        noise: depolarizing channels after gates.
        registers: classical registers to report, each bit a measurement or a constant.
    """
    rng = np.random.default_rng(seed)
    noisy = circuit if noise is None else insert_noise(circuit, noise)
    quiet, fresh = _count_sites(noisy) == 0, count_fresh(noisy)
    if quiet and has_exact_outcomes(circuit, shots):
        found = _at_the_end(defer(noisy, resets=True), pure_circuit, shots, rng)
    elif not quiet and circuit.num_qubits + fresh <= _LARGEST_DENSITY:
        found = _at_the_end(defer(noisy, resets=False), mixed_circuit, shots, rng)
    elif not quiet and fresh <= _MOST_FRESH:
        found = _trajectories(noisy, shots, rng)
    else:
        found = branch_shots(noisy, shots, rng)
    return _report(*found, circuit.num_qubits, registers or {})


def _report(
    indices: np.ndarray, outcomes: dict[str, np.ndarray], num_qubits: int, registers: Registers
) -> Shots:
    """Shots from the final outcome of all qubits, and the outcomes of measurements."""
    found: dict[str, list[int]] = {}
    for name, bits in registers.items():
        columns = np.zeros((len(indices), len(bits)), np.int64)
        for place, bit in enumerate(bits):
            columns[:, place] = outcomes[bit] if isinstance(bit, str) else bit
        found[name] = _from_columns(columns)
    return Shots(_from_columns(_columns(indices, num_qubits, range(num_qubits))), found)


def _at_the_end(
    deferred: Deferred,
    as_blocks: Callable[[Circuit], Circuit],
    shots: int,
    rng: np.random.Generator,
) -> Drawn:
    blocks = as_blocks(deferred.circuit)
    return _parted(deferred, _draw(np.asarray(probabilities(blocks), np.float64), shots, rng))


def _parted(deferred: Deferred, indices: np.ndarray) -> Drawn:
    """The qubits of the original circuit, and those that hold outcomes."""
    total = deferred.circuit.num_qubits
    outcomes = {
        name: _columns(indices, total, [holder])[:, 0] for name, holder in deferred.outcomes.items()
    }
    return indices >> (total - deferred.num_qubits), outcomes


def _columns(indices: np.ndarray, total: int, qubits: Any) -> np.ndarray:
    """Bits of outcomes, one column per qubit; qubit 0 is the most significant bit of an index."""
    shifts = total - 1 - np.asarray(list(qubits))
    return indices[:, None] >> shifts & 1


def _from_columns(columns: np.ndarray) -> list[int]:
    """Integers whose bit i is column i."""
    return (columns.astype(np.int64) << np.arange(columns.shape[1])).sum(axis=1).tolist()


def _draw(weights: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    cumulative = np.cumsum(np.maximum(weights, 0))
    drawn = rng.random(shots) * cumulative[-1]
    return np.minimum(np.searchsorted(cumulative, drawn, side="right"), len(weights) - 1)


def _trajectories(noisy: Circuit, shots: int, rng: np.random.Generator) -> Drawn:
    """Outcomes of shots that each draw their own Pauli errors."""
    deferred = defer(_with_marks(noisy), resets=True)
    size, operations = deferred.circuit.num_qubits, deferred.circuit.operations
    drawn = _draw_errors(noisy, shots, rng)
    patterns, which = np.unique(drawn, axis=0, return_inverse=True)
    which = which.reshape(-1)
    together = min(max(1, _CHUNK >> size), 1 << (len(patterns) - 1).bit_length())
    indices = np.zeros(shots, np.int64)
    for first in range(0, len(patterns), together):
        part = np.zeros((together, patterns.shape[1]), np.int8)
        rows = patterns[first : first + together]
        part[: len(rows)] = rows
        blocks = fuse(_with_errors(operations, part), 2)
        weights = np.asarray(probabilities(blocks_circuit(size, blocks)), np.float64)
        weights = np.broadcast_to(weights, (together, weights.shape[-1]))
        for row in range(len(rows)):
            (members,) = np.nonzero(which == first + row)
            indices[members] = _draw(weights[row], len(members), rng)
    return _parted(deferred, indices)


def _is_error(operation: Operation) -> bool:
    return operation.kind.name == "Depolarizing"


def _count_sites(noisy: Circuit) -> int:
    return sum(len(o.targets) for o in noisy.operations if _is_error(o))


def _with_marks(noisy: Circuit) -> Circuit:
    """The circuit with I in the place of every qubit of every error."""
    operations: list[Operation] = []
    for operation in noisy.operations:
        if _is_error(operation):
            marks = [I(qubit) for qubit in operation.targets]
            operations += [replace(mark, conditions=operation.conditions) for mark in marks]
        else:
            operations.append(operation)
    return Circuit(noisy.num_qubits, operations)


def _with_errors(operations: Sequence[Operation], errors: np.ndarray) -> Iterator[Local]:
    """The gates, with each mark replaced by the errors of its place.

    Args:
        operations: the gates; identities are the marks.
        errors: (patterns, places), 0 to 3 for I, X, Y and Z.
    """
    place = 0
    for item, operation in zip(local_unitaries(operations), operations, strict=True):
        if operation.kind.name != "I":
            yield item
            continue
        paulis = _PAULIS[errors[:, place]]  # (patterns, 2, 2)
        place += 1
        for _ in operation.controls:
            half = paulis.shape[-1]
            wider = np.zeros((len(paulis), 2 * half, 2 * half), complex)
            wider[:, :half, :half] = np.eye(half)
            wider[:, half:, half:] = paulis
            paulis = wider
        qubits = operation.qubits
        yield Local(paulis, qubits, None if len(qubits) <= 2 else Unitary(paulis, qubits))


def _draw_errors(noisy: Circuit, shots: int, rng: np.random.Generator) -> np.ndarray:
    """For each shot the letter of every qubit of every error, (shots, places)."""
    columns = []
    for operation in (o for o in noisy.operations if _is_error(o)):
        words = np.array([["IXYZ".index(c) for c in word] for word in operation.detail], np.int8)
        chosen = rng.integers(len(words), size=shots)
        happens = rng.random(shots) < float(operation.params[0])
        columns.append(words[chosen] * happens[:, None].astype(np.int8))
    return np.concatenate(columns, axis=1)
