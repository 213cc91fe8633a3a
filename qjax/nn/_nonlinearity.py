"""Channels, or evolution under the data themselves, on an encoded state."""

from collections.abc import Sequence

import jax.numpy as jnp

from qjax._checks import check_choice, check_real
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.circuit import RX, RZZ, AmplitudeDamping, Circuit, PhaseDamping
from qjax.errors import ModelError
from qjax.nn._angle import Angle
from qjax.nn._layer import (
    Encoding,
    Executor,
    QuantumLayer,
    as_input,
    check_bases,
    check_encoding,
    check_register,
    pauli_features,
)
from qjax.nn._strength import check_strength, strength_parameter, strengths_of

__all__ = ["QuantumNonlinearity"]

_CHANNELS = {"amplitude_damping": AmplitudeDamping, "phase_damping": PhaseDamping}
_KINDS = (*_CHANNELS, "parametric")
_ENCODINGS = ("angle", "amplitude")


class QuantumNonlinearity(QuantumLayer):
    """A map from numbers to numbers that is not linear, made of an encoding and a channel.

    A channel is linear in the state, so it is the encoding that makes the outputs nonlinear in
    the inputs; the channel shapes them. With angle encoding (RY) of x on one qubit:

    - `amplitude_damping` of strength g: Z = g + (1 - g) cos x, X = sqrt(1 - g) sin x: everything
      is drawn towards |0>.
    - `phase_damping` of strength l: X = sqrt(1 - l) sin x, and Z = cos x is untouched. Read in Z
      alone it would do nothing, so that is an error.
    - `parametric`: evolution under the data, after the encoding and without a channel: RX(s x_i)
      on every qubit, then RZZ(s x_i x_j) on neighbours i, j = i + 1.

    Channels are exact on a density matrix, whose size is 4**n.

    Args:
        num_qubits: n.
        kind: "amplitude_damping", "phase_damping" or "parametric".
        strength: of the channel on every qubit, in [0, 1]; for `parametric` the factor s, any
            number.
        learnable: whether the strength is trained: for channels one per qubit, kept inside (0, 1);
            for `parametric` one number.
        encoding: "angle" (n features) or "amplitude" (at most 2**n; not for `parametric`), or a
            function from (..., features) to a circuit on n qubits.
        measurement_bases: letters of "Z", "X", "Y".
        executor: what computes expectation values; the exact simulator if not given.

    Attributes:
        logits: `Strength` of shape (n,), if a channel's strength is learnable.
        scale: `Angle` of shape (), s, if that of `parametric` is.

    Raises:
        ModelError: if an argument is out of range, or phase damping is read in Z alone.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import QuantumNonlinearity
        >>> layer = QuantumNonlinearity(1, "amplitude_damping", strength=0.5)
        >>> layer(jnp.array([jnp.pi / 2])).round(3).tolist()  # Z, X, Y
        [0.5, 0.707..., 0.0]

    References:
        Nielsen and Chuang, Quantum Computation and Quantum Information, section 8.3.
    """

    def __init__(
        self,
        num_qubits: int,
        kind: str = "amplitude_damping",
        strength: float = 0.1,
        learnable: bool = False,
        encoding: Encoding = "angle",
        measurement_bases: Sequence[str] = ("Z", "X", "Y"),
        *,
        executor: Executor | None = None,
    ):
        check_choice(kind, _KINDS, name="kind", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.kind = kind
        self.learnable = bool(learnable)
        self.encoding = check_encoding(encoding, _ENCODINGS)
        self.measurement_bases = check_bases(measurement_bases)
        self.executor = executor
        if kind == "phase_damping" and self.measurement_bases == ("Z",):
            raise ModelError(
                "Argument `measurement_bases` must hold 'X' or 'Y' for kind='phase_damping', which "
                "leaves Z as it is, but is ('Z',)."
            )
        if kind == "parametric":
            self.strength = self._check_factor(strength)
            if self.learnable:
                self.scale = Angle(jnp.asarray(self.strength, float_dtype()))
            return
        self.strength = check_strength(strength, learnable=self.learnable)
        if self.learnable:
            self.logits = strength_parameter(self.strength, (self.num_qubits,))

    def _check_factor(self, strength: float) -> float:
        if self.encoding == "amplitude":
            raise ModelError(
                "Argument `encoding` must be 'angle' for kind='parametric', which needs one "
                "feature per qubit, but is 'amplitude'."
            )
        return check_real(strength, name="strength", error=ModelError)

    def operations(self) -> Circuit:
        """The channel on every qubit."""
        if self.kind == "parametric":
            raise ModelError(
                "A QuantumNonlinearity of kind='parametric' evolves under its inputs, so it must "
                "come first in a QuantumSequential."
            )
        n, channel = self.num_qubits, _CHANNELS[self.kind]
        strengths = strengths_of(self.logits) if self.learnable else [self.strength] * n
        return Circuit(n, [channel(strengths[qubit], qubit) for qubit in range(n)])

    def circuit(self, x: ArrayLike) -> Circuit:
        """Encoding, then the channel or the evolution, for inputs (..., features)."""
        if self.kind != "parametric":
            return super().circuit(x)
        values = as_input(x)
        encoded = self.encode(values)
        if values.shape[-1] != self.num_qubits:
            raise ModelError(
                f"Argument `x` must have {self.num_qubits} features, one per qubit, for "
                f"kind='parametric', but has shape {values.shape}."
            )
        scale = self.scale[...] if self.learnable else self.strength
        last = self.num_qubits - 1
        singles = [RX(scale * values[..., i], i) for i in range(self.num_qubits)]
        pairs = [RZZ(scale * values[..., i] * values[..., i + 1], i, i + 1) for i in range(last)]
        return encoded + Circuit(self.num_qubits, [*singles, *pairs])

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., bases * n), basis-major."""
        return self.evaluate(circuit, pauli_features(qubits, self.measurement_bases))
