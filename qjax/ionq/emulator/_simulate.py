"""Probabilities and shots of circuits, from qjax's engine, in double precision where it fits."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import numpy as np

from qjax.circuit import RX, RZ, Circuit, Operation, Parameter
from qjax.ionq.emulator._measured import Deferred, defer
from qjax.sim import probabilities
from qjax.transforms import NoiseModel, insert_noise

__all__ = ["Shots", "exact_outcomes", "precision", "sample_shots"]

_LARGEST_DOUBLE = 20  # qubits up to which states are complex128
_LARGEST_DENSITY = 8  # qubits up to which noise is computed on the density matrix
_CHUNK = 2**18  # amplitudes of the trajectories that run side by side
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


def precision(num_qubits: int) -> AbstractContextManager[Any]:
    """Double precision for states that leave room for it."""
    return jax.enable_x64(num_qubits <= _LARGEST_DOUBLE)


def exact_outcomes(circuit: Circuit) -> dict[str, float]:
    """Probabilities of the outcomes of all qubits, as the service writes them.

    Args:
        circuit: without noise.

    Returns:
        Decimal integer, whose bit i is qubit i -> probability.
    """
    deferred = defer(circuit, resets=True)
    kept = range(deferred.num_qubits)
    vector = np.asarray(probabilities(deferred.circuit, kept), np.float64)
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
    shots with the same errors share a state vector.

    Args:
        circuit: with measurements, resets and conditions where it likes.
        shots: how many.
        seed: of the random numbers.
        noise: depolarizing channels after gates.
        registers: classical registers to report, each bit a measurement or a constant.
    """
    rng = np.random.default_rng(seed)
    noisy = circuit if noise is None else insert_noise(circuit, noise)
    quiet = _count_sites(noisy) == 0
    deferred = defer(noisy, resets=quiet)
    if quiet or deferred.circuit.num_qubits <= _LARGEST_DENSITY:
        indices = _draw(np.asarray(probabilities(deferred.circuit), np.float64), shots, rng)
    else:
        deferred, indices = _trajectories(noisy, shots, rng)
    return _read(deferred, indices, registers or {})


def _read(deferred: Deferred, indices: np.ndarray, registers: Registers) -> Shots:
    total = deferred.circuit.num_qubits
    found: dict[str, list[int]] = {}
    for name, bits in registers.items():
        columns = np.zeros((len(indices), len(bits)), np.int64)
        for place, bit in enumerate(bits):
            held = isinstance(bit, str)
            columns[:, place] = (
                _columns(indices, total, [deferred.outcomes[bit]])[:, 0] if held else int(bit)
            )
        found[name] = _from_columns(columns)
    return Shots(_from_columns(_columns(indices, total, range(deferred.num_qubits))), found)


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


def _trajectories(
    noisy: Circuit, shots: int, rng: np.random.Generator
) -> tuple[Deferred, np.ndarray]:
    """Outcomes of shots that each draw their own Pauli errors."""
    errors = Parameter("errors", (2 * _count_sites(noisy),))
    unitary = Circuit(noisy.num_qubits, list(_with_slots(noisy, errors)))
    deferred = defer(unitary, resets=True)
    drawn = _draw_errors(noisy, shots, rng)
    patterns, which = np.unique(drawn, axis=0, return_inverse=True)
    which = which.reshape(-1)
    together = max(1, _CHUNK >> deferred.circuit.num_qubits)
    together = min(together, 1 << (len(patterns) - 1).bit_length())
    indices = np.zeros(shots, np.int64)
    for first in range(0, len(patterns), together):
        part = patterns[first : first + together]
        padded = np.zeros((together, patterns.shape[1]))
        padded[: len(part)] = part * np.pi
        bound = deferred.circuit.bind(errors=padded)
        for row, weights in enumerate(np.asarray(probabilities(bound), np.float64)[: len(part)]):
            (members,) = np.nonzero(which == first + row)
            indices[members] = _draw(weights, len(members), rng)
    return deferred, indices


def _is_error(operation: Operation) -> bool:
    return operation.kind.name == "Depolarizing"


def _count_sites(noisy: Circuit) -> int:
    return sum(len(o.targets) for o in noisy.operations if _is_error(o))


def _with_slots(noisy: Circuit, errors: Parameter) -> Iterator[Operation]:
    """The circuit with each Pauli error as X^x Z^z, through angles that are 0 or pi."""
    place = 0
    for operation in noisy.operations:
        if not _is_error(operation):
            yield operation
            continue
        for qubit in operation.targets:
            for gate in (RX(errors[place], qubit), RZ(errors[place + 1], qubit)):
                for name, value in operation.conditions:
                    gate = gate.conditioned(name, value)
                yield gate
            place += 2


def _draw_errors(noisy: Circuit, shots: int, rng: np.random.Generator) -> np.ndarray:
    """For each shot the exponents x and z of every qubit of every error, (shots, sites)."""
    columns = []
    for operation in (o for o in noisy.operations if _is_error(o)):
        words = operation.detail
        chosen = rng.integers(len(words), size=shots)
        happens = rng.random(shots) < float(operation.params[0])
        bits = np.array([[(c in "XY", c in "YZ") for c in word] for word in words])
        columns.append(bits.reshape(len(words), -1)[chosen] * happens[:, None])
    return np.concatenate(columns, axis=1).astype(np.int8)
