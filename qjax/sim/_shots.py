"""Expectation values from samples: what a device with a finite number of shots would return."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.circuit import SX, Circuit, H, Step, Structure
from qjax.observables import PauliWord

__all__ = ["measured_in", "parities", "with_derivative_of"]


_TURNS = {"X": H.kind, "Y": SX.kind}  # what takes the letter to Z


def measured_in(circuit: Circuit, basis: PauliWord) -> Circuit:
    """The circuit with every qubit of `basis` turned so that its letter becomes Z."""
    old = circuit.structure
    errors = tuple(step for step in old.steps if step.kind.name == "ReadoutError")
    before = tuple(step for step in old.steps if step.kind.name != "ReadoutError")
    turns = tuple(Step(_TURNS[letter], (qubit,)) for qubit, letter in basis if letter != "Z")
    steps = (*before, *turns, *errors)
    structure = Structure(old.num_qubits, steps, old.leaves, old.data_ranks)
    return Circuit.from_structure(structure, circuit.params, circuit.data)


def parities(bits: Array, words: Sequence[PauliWord], dtype: Any) -> Array:
    """+1 or -1 for the product of each word's outcomes, (..., shots, number of words).

    Args:
        bits: (..., shots, n) of zeros and ones.
        words: whose letters are the basis that the bits were measured in.
        dtype: of the result.
    """
    masks = np.zeros((bits.shape[-1], len(words)), np.int32)
    for column, word in enumerate(words):
        masks[[qubit for qubit, _ in word], column] = 1
    ones = jnp.matmul(bits.astype(jnp.int32), jnp.asarray(masks))
    return (1 - 2 * (ones % 2)).astype(dtype)


@jax.custom_jvp
def with_derivative_of(value: Array, exact: Array) -> Array:
    """`value`, differentiated as if it were `exact`."""
    return value


@with_derivative_of.defjvp
def _(primals: Any, tangents: Any) -> Any:
    value, _exact = primals
    return value, tangents[1].astype(value.dtype)
