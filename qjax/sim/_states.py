"""The initial state of a circuit, and kets as pairs of real arrays."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array, complex_dtype, float_dtype
from qjax.circuit import Structure

__all__ = ["initial_ket", "prepares", "to_complex", "to_planar"]


def to_planar(vector: Array) -> Array:
    """(2**m,) complex to (2, 2**m) real."""
    return jnp.stack([vector.real, vector.imag]).astype(float_dtype())


def to_complex(state: Array) -> Array:
    """(2, 2**m) real to (2**m,) complex."""
    return lax.complex(state[0], state[1])


def prepares(structure: Structure) -> bool:
    """Whether the circuit prepares amplitudes."""
    return any(step.kind.name == "StatePreparation" for step in structure.steps)


def initial_ket(structure: Structure, data: Sequence[Any]) -> Array:
    """|0...0> with the prepared amplitudes in place, (2**n,), real if they are."""
    n = structure.num_qubits
    prepared = [s for s in structure.steps if s.kind.name == "StatePreparation"]
    order = [q for step in prepared for q in step.targets]
    rest = [q for q in range(n) if q not in order]
    arrays = [jnp.asarray(data[step.data]) for step in prepared if step.data is not None]
    dtype = complex_dtype() if any(map(jnp.iscomplexobj, arrays)) or not arrays else float_dtype()
    vectors = [array.astype(dtype) for array in arrays]
    if rest:
        vectors.append((jnp.arange(2 ** len(rest)) == 0).astype(dtype))
    ket = reduce(lambda a, b: jnp.outer(a, b).reshape(-1), vectors)
    positions = [*order, *rest]
    if positions == sorted(positions):
        return ket
    return ket.reshape((2,) * n).transpose(np.argsort(positions)).reshape(-1)
