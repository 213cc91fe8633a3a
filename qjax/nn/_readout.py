"""From a quantum state to class scores."""

from itertools import product

import jax.numpy as jnp
import numpy as np
from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax._typing import Array
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.library import angle_encoding
from qjax.nn._angle import drawn_angles
from qjax.nn._initializers import Initializer, uniform_angles
from qjax.nn._layer import (
    Encoding,
    Executor,
    QuantumLayer,
    check_bases,
    check_encoding,
    check_register,
    pauli_features,
)
from qjax.observables import PauliSum
from qjax.sim import probabilities

__all__ = ["QuantumReadout"]

_KINDS = ("computational", "expectation")


class QuantumReadout(QuantumLayer):
    """A trainable RY on every qubit, then a measurement that scores the classes.

    `computational`: outcome c of a measurement of all qubits stands for class c; the
    probabilities of the first `num_classes` outcomes are renormalised and returned as logarithms,

        log((p_c + eps) / sum_d (p_d + eps)),

    so that an outcome of probability zero has a finite score and gradient: eps is the machine
    epsilon of the working dtype, or 1 / shots for an executor that has an attribute `shots`, as if
    every class had been counted once more (an outcome that was not seen in some shots may still
    have a large derivative). `expectation`: the expectation values of the qubits in the given
    bases, basis-major, of which the first `num_classes` are the scores (logits).

    Args:
        num_qubits: n.
        num_classes: at most 2**n, or n * bases for `expectation`.
        kind: "computational" or "expectation".
        measurement_bases: letters of "Z", "X", "Y", for `expectation`.
        encoding: of the inputs when the layer runs alone, as in `QuantumFeatureExtractor`.
        executor: what computes expectation values; the exact simulator if not given. Probabilities
            are then put together from the expectation values of all products of Z.
        angle_init: draws the angles from a key and a shape.
        rngs: random streams; the angles take "params".

    Attributes:
        theta: `Angle` of shape (n,).

    Raises:
        ModelError: if the classes do not fit the qubits, or an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from qjax.nn import QuantumReadout
        >>> readout = QuantumReadout(2, num_classes=3, rngs=nnx.Rngs(0))
        >>> scores = readout(jnp.array([0.3, 0.4]))
        >>> scores.shape, round(float(jnp.exp(scores).sum()), 5)
        ((3,), 1.0)
    """

    def __init__(
        self,
        num_qubits: int,
        num_classes: int,
        kind: str = "computational",
        *,
        measurement_bases: tuple[str, ...] = ("Z", "X", "Y"),
        encoding: Encoding = "angle",
        executor: Executor | None = None,
        angle_init: Initializer = uniform_angles,
        rngs: nnx.Rngs,
    ):
        check_choice(kind, _KINDS, name="kind", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
        self.kind = kind
        self.measurement_bases = check_bases(measurement_bases)
        self.encoding = check_encoding(encoding)
        self.executor = executor
        self.angle_init = angle_init
        computational = kind == "computational"
        largest = 2**num_qubits if computational else num_qubits * len(self.measurement_bases)
        if num_classes > largest:
            what = "outcomes" if computational else "expectation values"
            raise ModelError(
                f"Argument `num_classes` must be at most {largest}, the number of {what} of "
                f"{num_qubits} qubits, but is {num_classes}. Use more qubits."
            )
        self.theta = drawn_angles(angle_init, rngs, (self.num_qubits,))

    def operations(self) -> Circuit:
        """The trainable RY layer."""
        return angle_encoding(self.theta[...], "RY")

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Scores (..., num_classes)."""
        if self.kind == "expectation":
            values = self.evaluate(circuit, pauli_features(qubits, self.measurement_bases))
            return values[..., : self.num_classes]
        chances = self._probabilities(circuit, qubits)[..., : self.num_classes]
        shots = getattr(self.executor, "shots", None)
        smallest = jnp.finfo(chances.dtype).eps if shots is None else 1 / shots
        safe = jnp.maximum(chances, 0) + smallest
        return jnp.log(safe) - jnp.log(jnp.sum(safe, axis=-1, keepdims=True))

    def _probabilities(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Probabilities (..., 2**n) of the outcomes of the qubits."""
        if self.executor is None:
            return probabilities(circuit, qubits)
        words = list(product((0, 1), repeat=len(qubits)))  # which qubits have a Z, (2**n, n)
        observables = [
            PauliSum(
                (tuple((q, "Z") for q, z in sorted(zip(qubits, w, strict=True)) if z),), np.ones(1)
            )
            for w in words
        ]
        values = self.executor(circuit, observables)
        # The projector onto bits b is the product over qubits of (1 + (-1)**b_q Z_q) / 2.
        signs = 1 - 2 * (np.array(words) @ np.array(words).T % 2)  # (2**n, 2**n), symmetric
        return values @ jnp.asarray(signs / len(words), values.dtype)
