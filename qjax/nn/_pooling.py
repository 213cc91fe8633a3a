"""Pooling of qubits: some are kept, the others traced out."""

from collections.abc import Sequence

from flax import nnx

from qjax._checks import check_choice, check_positive_int, check_qubits
from qjax._typing import Array
from qjax.circuit import CRX, CRZ, CX, AmplitudeDamping, Circuit, Operation, X
from qjax.errors import CircuitError, ModelError
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
from qjax.nn._strength import check_strength, strength_parameter, strengths_of

__all__ = ["QuantumPooling"]

_KINDS = ("partial_trace", "measurement", "amplitude_damping", "controlled")


class QuantumPooling(QuantumLayer):
    """Keeps one qubit out of each group and traces the others out, exactly.

    In a `QuantumSequential` the next layer acts on the kept qubits, whose state is the reduced
    density matrix; on hardware the others are just not measured. Alone, the layer encodes its
    inputs and returns expectation values of the kept qubits. Before the trace, the kind acts:

    - `partial_trace`: nothing.
    - `measurement`: CX from every dropped qubit onto the kept one of its group, so that Z of the
      kept qubit is the parity Z...Z of the group. X of the kept qubit is unchanged by it, and Y
      becomes Y of the kept one times Z of the dropped ones.
    - `amplitude_damping`: amplitude damping of all qubits, Z -> g + (1 - g) Z. (Damping only the
      dropped ones would change nothing.)
    - `controlled`: for every dropped qubit d and the kept one k of its group CRZ(a) from d to k
      where d is 1, and CRX(b) where d is 0; the angles are the same in all groups.

    Args:
        num_qubits: n.
        pool_size: one qubit out of each group of this size is kept, the first.
        kind: "partial_trace", "measurement", "amplitude_damping" or "controlled".
        measurement_bases: letters of "Z", "X", "Y", read when the layer comes last.
        keep: qubits to keep, instead of one per group; not for the kinds that act on groups.
        strength: of the damping, in (0, 1).
        learnable: whether the strength, the same for all qubits, is trained.
        encoding: of the inputs when the layer runs alone, as in `QuantumFeatureExtractor`.
        executor: what computes expectation values; the exact simulator if not given.
        angle_init: draws the angles from a key and a shape.
        rngs: random streams; the angles of `controlled` take "params". Needed for it only.

    Attributes:
        theta: `Angle` of shape (pool_size - 1, 2), (a, b) of each dropped qubit; for `controlled`.
        logits: `Strength` of shape (), for a learnable `amplitude_damping`.

    Raises:
        ModelError: if n is not divisible by `pool_size`, or an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import QuantumPooling
        >>> pooling = QuantumPooling(4)
        >>> pooling.kept_qubits
        (0, 2)
        >>> pooling(jnp.array([0.0, 1.0, jnp.pi, 1.0])).round(4).tolist()
        [1.0, -1.0]

    References:
        Cong, Choi and Lukin, Quantum convolutional neural networks, Nature Physics 15, 1273
        (2019), for `controlled`.
    """

    def __init__(
        self,
        num_qubits: int,
        pool_size: int = 2,
        kind: str = "partial_trace",
        measurement_bases: tuple[str, ...] = ("Z",),
        *,
        keep: Sequence[int] | None = None,
        strength: float = 0.1,
        learnable: bool = True,
        encoding: Encoding = "angle",
        executor: Executor | None = None,
        angle_init: Initializer = uniform_angles,
        rngs: nnx.Rngs | None = None,
    ):
        check_choice(kind, _KINDS, name="kind", error=ModelError)
        self.num_qubits = check_register(num_qubits)
        self.pool_size = check_positive_int(pool_size, name="pool_size", error=ModelError)
        self.kind = kind
        self.measurement_bases = check_bases(measurement_bases)
        self.encoding = check_encoding(encoding)
        self.executor = executor
        self.angle_init = angle_init
        self.learnable = bool(learnable)
        self.strength = check_strength(
            strength, learnable=self.learnable and kind == "amplitude_damping"
        )
        self.keep = self._check_keep(keep)
        if kind == "controlled":
            if rngs is None:
                raise ModelError("Argument `rngs` must be given for kind='controlled'.")
            self.theta = drawn_angles(angle_init, rngs, (self.pool_size - 1, 2))
        if kind == "amplitude_damping" and self.learnable:
            self.logits = strength_parameter(self.strength, ())

    def _check_keep(self, keep: Sequence[int] | None) -> tuple[int, ...] | None:
        if keep is None:
            if self.num_qubits % self.pool_size:
                raise ModelError(
                    f"Argument `num_qubits` must be divisible by pool_size={self.pool_size}, "
                    f"but is {self.num_qubits}. Give `keep` to choose the qubits yourself."
                )
            return None
        if self.kind in ("measurement", "controlled"):
            raise ModelError(
                f"Argument `keep` must not be given for kind={self.kind!r}, which acts on groups "
                f"of pool_size={self.pool_size} qubits, but is {keep!r}."
            )
        try:
            kept = check_qubits(keep, name="keep")
        except CircuitError as error:
            raise ModelError(str(error)) from None
        if not kept or max(kept) >= self.num_qubits:
            raise ModelError(
                f"Argument `keep` must name qubits below {self.num_qubits}, but is {keep!r}."
            )
        return kept

    @property
    def kept_qubits(self) -> tuple[int, ...]:
        """Qubits that are not traced out."""
        return self.keep or tuple(range(0, self.num_qubits, self.pool_size))

    def operations(self) -> Circuit:
        """What the kind does before the trace."""
        operations: list[Operation] = []
        if self.kind == "measurement":
            operations = [CX(dropped, kept) for kept, _, dropped in self._dropped()]
        if self.kind == "amplitude_damping":
            operations = self._damping()
        if self.kind == "controlled":
            operations = self._controlled()
        return Circuit(self.num_qubits, operations)

    def _damping(self) -> list[Operation]:
        strength = strengths_of(self.logits) if self.learnable else self.strength
        return [AmplitudeDamping(strength, qubit) for qubit in range(self.num_qubits)]

    def _controlled(self) -> list[Operation]:
        theta = self.theta[...]
        operations: list[Operation] = []
        for kept, place, dropped in self._dropped():
            operations += [
                CRZ(theta[place, 0], dropped, kept),
                X(dropped),
                CRX(theta[place, 1], dropped, kept),
            ]
        return operations

    def _dropped(self) -> list[tuple[int, int, int]]:
        """Of each dropped qubit: the kept one of its group, its place among the dropped, itself."""
        return [
            (kept, place, kept + 1 + place)
            for kept in self.kept_qubits
            for place in range(self.pool_size - 1)
        ]

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., bases * kept qubits) of the kept qubits, basis-major."""
        kept = [qubits[i] for i in self.kept_qubits]
        return self.evaluate(circuit, pauli_features(kept, self.measurement_bases))
