"""Data re-uploading: circuits that encode their inputs again before every trainable layer."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_choice, check_finite, check_num_qubits
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import CX, RX, RY, RZ, Circuit, Gate, Leaf, Reference, Step, Structure
from qjax.errors import CircuitError, EncodingError
from qjax.library._ansatz import _angles
from qjax.library._encoding import _features
from qjax.library._entanglement import ENTANGLEMENTS, entangled_pairs

__all__ = ["data_reuploading"]

_ROTATIONS: dict[str, Gate] = {"RX": RX.kind, "RY": RY.kind, "RZ": RZ.kind}
_TRAINABLE: dict[int, tuple[Gate, ...]] = {2: (RY.kind, RZ.kind), 3: (RZ.kind, RY.kind, RZ.kind)}


def data_reuploading(
    x: ArrayLike,
    theta: ArrayLike,
    entanglement: str = "circular",
    scaling: ArrayLike | None = None,
    rotation: str = "RY",
) -> Circuit:
    """Layers that each encode the inputs, rotate every qubit, and entangle.

    Layer l rotates qubit q by the angle scaling[l, q] * x[q], then by its trainable angles, and
    ends with CX on the pairs. Without scaling and with one qubit, an expectation value is a
    Fourier series in x with frequencies up to the number of layers; scaling lets a model choose
    its frequencies.

    Args:
        x: (..., n) features, used as angles in radians.
        theta: (..., depth, n, 2) angles: RY then RZ of each qubit and layer; or
            (..., depth, n, 3): RZ, RY, RZ.
        entanglement: pairs (control, target) of the CX of each layer: "linear" (q, q+1), "full"
            (all i < j), "circular" (linear and (n-1, 0)), "none".
        scaling: (..., depth, n) factors of the features, trainable like theta; all 1 if not given.
        rotation: by which the features enter: "RX", "RY" or "RZ". Under "RY" the first trainable
            RY of (..., depth, n, 2) adds a bias to the feature.

    Returns:
        Circuit on n qubits with `depth` layers. The batch axes of x, theta and scaling broadcast.

    Raises:
        CircuitError: if theta or scaling has another shape, or the entanglement is another.
        EncodingError: if x is not finite or has another number of features, or the rotation is
            another.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> from qjax.library import data_reuploading
        >>> print(data_reuploading([0.1, 0.2], jnp.zeros((2, 2, 2))))
        0: ─RY(0.1)─RY(0)─RZ(0)─●─RY(0.1)─RY(0)─RZ(0)─●─
        1: ─RY(0.2)─RY(0)─RZ(0)─X─RY(0.2)─RY(0)─RZ(0)─X─

    References:
        Perez-Salinas et al., Data re-uploading for a universal quantum classifier,
        Quantum 4, 226 (2020).
        Schuld, Sweke and Meyer, Effect of data encoding on the expressive power of variational
        quantum-machine-learning models, Phys. Rev. A 103, 032430 (2021).
    """
    check_choice(entanglement, ENTANGLEMENTS, name="entanglement")
    check_choice(rotation, tuple(_ROTATIONS), name="rotation", error=EncodingError)
    per_qubit = np.shape(theta)[-1] if np.ndim(theta) else 0
    if per_qubit not in _TRAINABLE:
        raise CircuitError(
            "Argument `theta` must have shape (..., depth, num_qubits, 2) or "
            f"(..., depth, num_qubits, 3), but has shape {np.shape(theta)}."
        )
    angles, depth, num_qubits = _angles(theta, per_qubit)
    values = _features(x)
    if values.shape[-1] != num_qubits:
        raise EncodingError(
            f"Argument `x` must have {num_qubits} features, one per qubit of `theta`, "
            f"but has shape {values.shape}."
        )
    if scaling is not None:
        values = _scaled(values, scaling, depth)
    structure = _reuploading(
        depth, num_qubits, per_qubit, entanglement, rotation, scaling is not None
    )
    return Circuit.from_structure(structure, (values, angles))


def _scaled(x: Array, scaling: ArrayLike, depth: int) -> Array:
    """The features of every layer, (..., depth * n)."""
    factors = scaling if isinstance(scaling, jax.Array) else jnp.asarray(np.asarray(scaling))
    n = x.shape[-1]
    real = jnp.issubdtype(factors.dtype, jnp.floating) or jnp.issubdtype(factors.dtype, jnp.integer)
    if factors.shape[-2:] != (depth, n) or not real:
        raise CircuitError(
            f"Argument `scaling` must be real of shape (..., {depth}, {n}), depth and qubits of "
            f"`theta`, but is {factors.dtype} of shape {factors.shape}."
        )
    check_finite(factors, name="scaling", error=CircuitError)
    try:
        np.broadcast_shapes(x.shape[:-1], factors.shape[:-2])
    except ValueError:
        raise CircuitError(
            "The batch axes of `x` and `scaling` must broadcast, but the shapes are "
            f"{x.shape} and {factors.shape}."
        ) from None
    products = x[..., None, :] * factors.astype(float_dtype())
    return products.reshape((*products.shape[:-2], depth * n))


@lru_cache(maxsize=256)
def _reuploading(
    depth: int, num_qubits: int, per_qubit: int, entanglement: str, rotation: str, is_scaled: bool
) -> Structure:
    check_num_qubits(num_qubits)
    pairs = [Step(CX.kind, (t,), (c,)) for c, t in entangled_pairs(num_qubits, entanglement)]
    steps: list[Step] = []
    for layer in range(depth):
        first = layer * num_qubits  # of the layer's qubits, counted through all layers
        for qubit in range(num_qubits):
            feature = Reference(0, first + qubit if is_scaled else qubit)
            steps.append(Step(_ROTATIONS[rotation], (qubit,), references=(feature,)))
            steps += [
                Step(gate, (qubit,), references=(Reference(1, (first + qubit) * per_qubit + k),))
                for k, gate in enumerate(_TRAINABLE[per_qubit])
            ]
        steps += pairs
    num_angles = depth * num_qubits
    data = Leaf(num_angles if is_scaled else num_qubits)
    return Structure(num_qubits, tuple(steps), (data, Leaf(num_angles * per_qubit)))
