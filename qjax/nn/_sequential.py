"""Coherent composition: one circuit for a whole stack of quantum layers."""

from functools import reduce
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx

from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.nn._layer import Executor, QuantumLayer, output_of

__all__ = ["QuantumSequential"]


class QuantumSequential(QuantumLayer):
    """Runs quantum layers one after another on one quantum state, not on numbers.

    The first layer encodes the inputs, every layer adds its operations on the qubits that the one
    before handed on, and the last one is read out. Nothing is measured in between: qubits that a
    pooling layer drops are traced out because nobody looks at them again.

    The same layers can also run one by one, measured and encoded again in between: `measured()`.

    Args:
        *layers: quantum layers; each must have as many qubits as the one before keeps.

    Raises:
        ModelError: if there are no layers, one is not a quantum layer, or neighbours do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from qjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> stack = nn.QuantumSequential(
        ...     nn.QuantumFeatureExtractor(4, rngs=rngs),
        ...     nn.QuantumPooling(4),
        ...     nn.QuantumReadout(2, num_classes=3, rngs=rngs),
        ... )
        >>> stack(jnp.ones((5, 16))).shape
        (5, 3)
    """

    def __init__(self, *layers: QuantumLayer):
        if not layers:
            raise ModelError("Argument `layers` must hold at least one layer, but is empty.")
        strangers = [layer for layer in layers if not isinstance(layer, QuantumLayer)]
        if strangers:
            raise ModelError(
                "Argument `layers` must be quantum layers, given one by one, but holds "
                f"{type(strangers[0]).__name__}. Join other layers with nnx.Sequential."
            )
        for before, after in pairwise(layers):
            if len(before.kept_qubits) != after.num_qubits:
                raise ModelError(
                    f"{type(after).__name__} has {after.num_qubits} qubits, but the "
                    f"{type(before).__name__} before it keeps {len(before.kept_qubits)}."
                )
        self.layers = nnx.List(layers)
        self.num_qubits = layers[0].num_qubits

    @property
    def executor(self) -> Executor | None:
        """That of the last layer, the only one that is measured."""
        return self.layers[-1].executor

    @executor.setter
    def executor(self, executor: Executor | None) -> None:
        self.layers[-1].executor = executor

    def _places(self) -> list[tuple[int, ...]]:
        """The qubits of every layer, and of what comes after the last, in the register."""
        places = [tuple(range(self.num_qubits))]
        for layer in self.layers:
            places.append(tuple(places[-1][i] for i in layer.kept_qubits))
        return places

    def measured(self, x: ArrayLike) -> nnx.Sequential:
        """The same layers, with the same parameters, measured and encoded again in between.

        A coherent stack is one circuit and one job per sample, and keeps entanglement between
        layers; its qubits must all live until the end. Measured layers are shallower circuits, one
        after another, whose nonlinearity grows with every encoding; what a measurement does not
        read is lost.

        Args:
            x: inputs (..., features), of which only the shape matters: to see that what every
                layer reads fits the encoding of the next.

        Raises:
            ModelError: if a layer reads nothing out, has no encoding, or gets inputs that do not
                fit it.

        Example:
            >>> import jax.numpy as jnp
            >>> from qjax import nn
            >>> stack = nn.QuantumSequential(
            ...     nn.QuantumNonlinearity(4, measurement_bases=("Z",)), nn.QuantumPooling(4)
            ... )
            >>> stack.measured(jnp.ones((5, 4)))(jnp.ones((5, 4))).shape
            (5, 2)
        """
        values = jax.ShapeDtypeStruct(jnp.shape(x), float_dtype())
        for place, layer in enumerate(self.layers):
            try:
                values = output_of(layer, values)
            except ModelError as error:
                raise ModelError(
                    f"Layer {place}, {type(layer).__name__}, cannot run on inputs of shape "
                    f"{values.shape}: {error} Choose other measurement bases or another encoding, "
                    "or run the stack as one circuit."
                ) from None
        return nnx.Sequential(*self.layers)

    @property
    def kept_qubits(self) -> tuple[int, ...]:
        """Qubits that the last layer hands on."""
        return self._places()[-1]

    def encode(self, x: ArrayLike) -> Circuit:
        """Circuit with which the first layer encodes inputs (..., features)."""
        return self.layers[0].encode(x)

    def operations(self) -> Circuit:
        """The operations of all layers."""
        return self._join(self.layers[0].operations())

    def circuit(self, x: ArrayLike) -> Circuit:
        """The first layer's circuit for inputs (..., features), then the others' operations."""
        return self._join(self.layers[0].circuit(x))

    def _join(self, first: Circuit) -> Circuit:
        followers = zip(list(self.layers)[1:], self._places()[1:], strict=False)
        parts = [layer.operations().on(place, self.num_qubits) for layer, place in followers]
        return reduce(lambda a, b: a + b, parts, first)

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """What the last layer reads."""
        place = self._places()[len(self.layers) - 1]
        return self.layers[-1].measure(circuit, tuple(qubits[i] for i in place))
