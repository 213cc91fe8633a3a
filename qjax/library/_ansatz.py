"""Ansätze: circuits with trainable angles. They take their angles as one array, whole."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_choice, check_finite, check_num_qubits
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import CX, RY, RZ, Circuit, Gate, Leaf, Reference, Step, Structure
from qjax.errors import CircuitError
from qjax.library._entanglement import ENTANGLEMENTS, entangled_pairs

__all__ = ["hardware_efficient", "strongly_entangling"]

Pairs = tuple[tuple[int, int], ...]


def _angles(theta: ArrayLike, per_qubit: int) -> tuple[Array, int, int]:
    """Angles as (..., depth * n * per_qubit), with depth and n."""
    array = theta if isinstance(theta, jax.Array) else jnp.asarray(np.asarray(theta))
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if array.ndim < 3 or array.shape[-1] != per_qubit or 0 in array.shape[-3:] or not real:
        raise CircuitError(
            f"Argument `theta` must be real of shape (..., depth, num_qubits, {per_qubit}), "
            f"but is {array.dtype} of shape {array.shape}."
        )
    check_finite(array, name="theta", error=CircuitError)
    depth, num_qubits = array.shape[-3:-1]
    flat = array.astype(float_dtype()).reshape((*array.shape[:-3], depth * num_qubits * per_qubit))
    return flat, depth, num_qubits


def _layered(rotations: tuple[Gate, ...], num_qubits: int, layers: tuple[Pairs, ...]) -> Structure:
    """Layers of the given rotations on every qubit, then CX on the layer's pairs."""
    check_num_qubits(num_qubits)
    per_layer = num_qubits * len(rotations)
    steps = []
    for number, pairs in enumerate(layers):
        for qubit in range(num_qubits):
            first = number * per_layer + qubit * len(rotations)
            steps += [
                Step(gate, (qubit,), references=(Reference(0, first + k),))
                for k, gate in enumerate(rotations)
            ]
        steps += [Step(CX.kind, (t,), (c,)) for c, t in pairs]
    return Structure(num_qubits, tuple(steps), (Leaf(len(layers) * per_layer),))


def hardware_efficient(theta: ArrayLike, entanglement: str = "linear") -> Circuit:
    """Layers of RY and RZ on every qubit, then CX between neighbours.

    Args:
        theta: (..., depth, n, 2) angles in radians: RY then RZ of each qubit and layer.
        entanglement: pairs (control, target) of the CX of each layer: "linear" (q, q+1), "full"
            (all i < j), "circular" (linear and (n-1, 0)), "none".

    Returns:
        Circuit on n qubits with `depth` layers, with the batch axes of theta.

    Raises:
        CircuitError: if theta has another shape, or the entanglement is another.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> qj.hardware_efficient(jnp.zeros((2, 3, 2))).count_operations()
        {'RY': 6, 'RZ': 6, 'CX': 4}

    References:
        Kandala et al., Hardware-efficient variational quantum eigensolver for small molecules and
        quantum magnets, Nature 549, 242 (2017).
    """
    check_choice(entanglement, ENTANGLEMENTS, name="entanglement")
    flat, depth, num_qubits = _angles(theta, 2)
    return Circuit.from_structure(_hardware_efficient(depth, num_qubits, entanglement), (flat,))


@lru_cache(maxsize=256)
def _hardware_efficient(depth: int, num_qubits: int, entanglement: str) -> Structure:
    pairs = entangled_pairs(num_qubits, entanglement)
    return _layered((RY.kind, RZ.kind), num_qubits, (pairs,) * depth)


def strongly_entangling(theta: ArrayLike) -> Circuit:
    """Layers of RZ RY RZ on every qubit, then CX over a distance that grows with the layer.

    Layer l couples qubit q with qubit q + r mod n, r = l mod (n - 1) + 1.

    Args:
        theta: (..., depth, n, 3) angles in radians: RZ, RY, RZ of each qubit and layer.

    Returns:
        Circuit on n qubits with `depth` layers, with the batch axes of theta.

    Raises:
        CircuitError: if theta has another shape.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> qj.strongly_entangling(jnp.zeros((2, 3, 3))).count_operations()
        {'RZ': 12, 'RY': 6, 'CX': 6}

    References:
        Schuld et al., Circuit-centric quantum classifiers, Phys. Rev. A 101, 032308 (2020).
    """
    flat, depth, num_qubits = _angles(theta, 3)
    return Circuit.from_structure(_strongly_entangling(depth, num_qubits), (flat,))


@lru_cache(maxsize=256)
def _strongly_entangling(depth: int, num_qubits: int) -> Structure:
    def pairs(layer: int) -> Pairs:
        if num_qubits == 1:
            return ()
        distance = layer % (num_qubits - 1) + 1
        return tuple((q, (q + distance) % num_qubits) for q in range(num_qubits))

    return _layered((RZ.kind, RY.kind, RZ.kind), num_qubits, tuple(map(pairs, range(depth))))
