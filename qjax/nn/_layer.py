"""What quantum layers have in common: how they encode, act, hand qubits on and are read.

A layer can run alone, from numbers to numbers, or inside a `QuantumSequential`, which joins the
circuits of its layers and passes the quantum state between them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qjax._checks import check_choice, check_finite, check_num_qubits
from qjax._typing import Array, ArrayLike, as_float_array
from qjax.circuit import Circuit
from qjax.errors import CircuitError, ModelError
from qjax.library import amplitude_encoding, angle_encoding, iqp_encoding
from qjax.observables import PauliSum
from qjax.sim import expectation

__all__ = ["Encoding", "Executor", "QuantumLayer", "check_register", "pauli_features"]

Executor = Callable[[Circuit, Sequence[PauliSum]], Array]
"""Computes expectation values (..., m) of m observables after a circuit with batch axes (...)."""

Encoding = str | Callable[[Array], Circuit]

ENCODINGS = ("amplitude", "angle", "iqp")


def check_register(num_qubits: Any) -> int:
    """Returns `num_qubits` if it is a register size; raises ModelError if not."""
    try:
        return check_num_qubits(num_qubits)
    except CircuitError as error:
        raise ModelError(str(error)) from None


def pauli_features(qubits: Sequence[int], bases: Sequence[str]) -> list[PauliSum]:
    """The Pauli letters of every qubit, basis by basis: all of the first, then all of the next."""
    return [PauliSum((((qubit, basis),),), np.ones(1)) for basis in bases for qubit in qubits]


def check_bases(bases: Sequence[str]) -> tuple[str, ...]:
    """Returns the measurement bases as a tuple; raises ModelError unless they are X, Y or Z."""
    result = tuple(bases) if isinstance(bases, Sequence) else ()
    if not all(isinstance(basis, str) for basis in result):
        result = ()
    if not result or len(set(result)) != len(result) or not set(result) <= {"X", "Y", "Z"}:
        raise ModelError(
            "Argument `measurement_bases` must hold distinct letters of 'X', 'Y', 'Z', "
            f"but is {bases!r}."
        )
    return result


class QuantumLayer(nnx.Module):
    """Base of the layers whose work is a circuit.

    A layer says four things: how numbers enter it (`encode`), what it does to a state
    (`operations`), which qubits it hands on (`kept_qubits`), and how numbers leave it (`measure`).
    """

    num_qubits: int
    encoding: Encoding | None = None
    _executor: Executor | None = None

    @property
    def executor(self) -> Executor | None:
        """What computes expectation values; None for the exact simulator. It can be exchanged."""
        return self._executor

    @executor.setter
    def executor(self, executor: Executor | None) -> None:
        self._executor = kept_executor(executor)

    def encode(self, x: ArrayLike) -> Circuit:
        """Circuit that puts inputs (..., features) into the layer's qubits.

        Raises:
            ModelError: if the layer has no encoding, or the inputs do not fit the qubits.
        """
        if self.encoding is None:
            raise ModelError(
                f"{type(self).__name__} has no encoding and cannot be the first layer. "
                "Put a QuantumFeatureExtractor before it in a QuantumSequential."
            )
        return encode_features(x, self.encoding, self.num_qubits)

    def operations(self) -> Circuit:
        """What the layer does to a state handed to it, on qubits 0 to num_qubits - 1."""
        return Circuit(self.num_qubits)

    def circuit(self, x: ArrayLike) -> Circuit:
        """The whole circuit for inputs (..., features): their encoding, then the operations."""
        return self.encode(x) + self.operations()

    @property
    def kept_qubits(self) -> tuple[int, ...]:
        """Qubits that the next layer of a `QuantumSequential` acts on, in order."""
        return tuple(range(self.num_qubits))

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Reads the numbers out after `circuit`, of which this layer's qubits are `qubits`."""
        raise ModelError(
            f"{type(self).__name__} reads nothing out and cannot be the last layer. "
            "Put a QuantumReadout or a QuantumFeatureExtractor after it."
        )

    def evaluate(self, circuit: Circuit, observables: Sequence[PauliSum]) -> Array:
        """Expectation values (..., m) by the layer's executor, or else by the exact simulator."""
        return (self.executor or expectation)(circuit, observables)

    def __call__(self, x: ArrayLike) -> Array:
        """Runs the layer alone: encodes (..., features), acts, and reads out (..., outputs)."""
        return self.measure(self.circuit(x), tuple(range(self.num_qubits)))


def kept_executor(executor: Executor | None) -> Any:
    """An executor as the attribute of a module: part of its state if it has one itself.

    Raises:
        ModelError: if it cannot be called.
    """
    if executor is not None and not callable(executor):
        raise ModelError(
            "Argument `executor` must be a function of a circuit and observables, or None, "
            f"but is {executor!r}."
        )
    return nnx.data(executor) if isinstance(executor, nnx.Module) else nnx.static(executor)


def output_of(layer: Any, values: Any) -> Any:
    """Shape and dtype of a layer's outputs; nothing runs, and the state of the layer stays."""
    if not isinstance(layer, nnx.Module):  # a plain function, such as an activation
        return jax.eval_shape(layer, values)
    graph, state = nnx.split(layer)
    return jax.eval_shape(lambda s, v: nnx.merge(graph, s, copy=True)(v), state, values)


def as_input(x: ArrayLike) -> Array:
    """Returns inputs as a real, finite array of the working dtype.

    Raises:
        ModelError: if they are no array of real numbers, or known to hold NaN or infinity, or
            numbers too large for the dtype.
    """
    try:
        array = x if isinstance(x, jax.Array) else np.asarray(x)
    except ValueError as error:
        raise ModelError(f"Argument `x` must be an array of numbers: {error}.") from None
    real = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool
    if not real or jnp.iscomplexobj(array):
        raise ModelError(f"Argument `x` must be real, but has dtype {array.dtype}.")
    with np.errstate(over="ignore"):
        values = as_float_array(array)
    check_finite(values, name="x", error=ModelError)
    return values


def encode_features(x: ArrayLike, encoding: Encoding, num_qubits: int) -> Circuit:
    """Applies an encoding by name or function to inputs (..., features).

    Raises:
        ModelError: if the number of features does not fit the qubits.
    """
    array = as_input(x)
    features = array.shape[-1] if array.ndim else 0
    if not isinstance(encoding, str):
        circuit = encoding(array)
        if not isinstance(circuit, Circuit):
            raise ModelError(
                f"Argument `encoding` must return a Circuit, but returns {type(circuit).__name__}."
            )
        if circuit.num_qubits != num_qubits:
            raise ModelError(
                f"Argument `encoding` must return a circuit on {num_qubits} qubits, but returns "
                f"one on {circuit.num_qubits}."
            )
        return circuit
    if encoding == "amplitude":
        if not 0 < features <= 2**num_qubits:
            raise ModelError(
                f"Argument `x` must have between 1 and {2**num_qubits} features for amplitude "
                f"encoding on {num_qubits} qubits, but has shape {array.shape}."
            )
        return amplitude_encoding(array, num_qubits)
    if features != num_qubits:
        raise ModelError(
            f"Argument `x` must have {num_qubits} features, one per qubit, for {encoding} "
            f"encoding, but has shape {array.shape}."
        )
    return angle_encoding(array) if encoding == "angle" else iqp_encoding(array)


def check_encoding(encoding: Any, choices: Sequence[str] = ENCODINGS) -> Encoding:
    """Returns the encoding; raises ModelError unless it is a known name or callable."""
    if isinstance(encoding, str) or not callable(encoding):
        check_choice(encoding, choices, name="encoding", error=ModelError)
    return encoding  # pyright: ignore[reportReturnType]  a callable is trusted to return a circuit
