"""An operation: a gate, channel or instruction, on given qubits, with given numbers."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._checks import check_finite, check_qubits
from qjax._typing import Array, complex_dtype
from qjax.circuit._kind import Channel, Gate, Instruction, Kind
from qjax.circuit._parameter import Parameter, Slot
from qjax.errors import CircuitError, ObservableError
from qjax.observables import PauliSum, as_pauli_sum

__all__ = ["Operation", "kind_matrix", "make_operation"]

Conditions = tuple[tuple[str, int], ...]

_LETTERS = ("I", "X", "Y", "Z")


@dataclass(frozen=True, eq=False, repr=False)
class Operation:
    """One operation of a circuit; made by the gate, channel and instruction constructors.

    Attributes:
        kind: the row of the table that it comes from.
        targets: qubits that it acts on.
        controls: qubits that must be 1 for it to act.
        params: angles or strengths, numbers or arrays with batch axes, or slots.
        data: matrix, Kraus operators or amplitudes, where the kind has them.
        detail: static extra, such as the word of a Pauli rotation or the name of a measurement.
        adjoint: whether the conjugate transpose of the kind's matrix is meant.
        conditions: (measurement name, outcome) pairs that must all hold for it to act.

    Example:
        >>> import qjax as qj
        >>> gate = qj.CRX(0.3, 1, 0)
        >>> gate.name, gate.qubits, gate.params
        ('CRX', (1, 0), (0.3,))
    """

    kind: Kind
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()
    params: tuple[Any, ...] = ()
    data: Any = None
    detail: Any = None
    adjoint: bool = False
    conditions: Conditions = field(default=())

    @property
    def name(self) -> str:
        """Name as printed, with one leading C per control, for example "CX"."""
        return display_name(self.kind, len(self.controls))

    @property
    def qubits(self) -> tuple[int, ...]:
        """All qubits, the controls first."""
        return self.controls + self.targets

    def controlled(self, *control_qubits: int) -> "Operation":
        """The same gate, acting only where all `control_qubits` are 1.

        Raises:
            CircuitError: if this is not a gate, or if a control is already one of its qubits.

        Example:
            >>> import qjax as qj
            >>> qj.RY(0.3, 2).controlled(0, 1)
            CCRY(0.3, 0, 1, 2)
        """
        if not isinstance(self.kind, Gate):
            raise CircuitError(f"{self.name} is not a gate and cannot be controlled.")
        controls = check_qubits(control_qubits, name="control_qubits") + self.controls
        check_qubits(controls + self.targets)
        return replace(self, controls=controls)

    def inverse(self) -> "Operation":
        """The inverse gate.

        Raises:
            CircuitError: if the operation has no inverse.

        Example:
            >>> import qjax as qj
            >>> qj.RX(0.3, 0).inverse(), qj.S(0).inverse()
            (RX(-0.3, 0), S†(0))
        """
        if not isinstance(self.kind, Gate):
            raise CircuitError(f"{self.name} is not a gate and has no inverse.")
        if self.kind.rotation:
            return replace(self, params=tuple(-p for p in self.params))
        return self if self.kind.hermitian else replace(self, adjoint=not self.adjoint)

    def conditioned(self, name: str, value: int = 1) -> "Operation":
        """The same operation, done only if the measurement called `name` gave `value`.

        Raises:
            CircuitError: if `value` is neither 0 nor 1, or if this cannot be conditioned.

        Example:
            >>> import qjax as qj
            >>> qj.X(1).conditioned("m")
            X(1).conditioned('m', 1)
        """
        if isinstance(self.kind, Instruction):
            raise CircuitError(f"{self.name} cannot depend on a measurement outcome.")
        if value not in (0, 1):
            raise CircuitError(f"Argument `value` must be 0 or 1, but is {value!r}.")
        return replace(self, conditions=(*self.conditions, (name, int(value))))

    @property
    def matrix(self) -> Array:
        """Matrix of the gate on `targets`, without the controls, (..., 2**k, 2**k)."""
        if not isinstance(self.kind, Gate):
            raise CircuitError(f"{self.name} is not a gate and has no matrix.")
        self._check_bound()
        return jnp.asarray(
            kind_matrix(self.kind, self.params, self.data, self.detail, self.adjoint),
            dtype=complex_dtype(),
        )

    @property
    def kraus_operators(self) -> Array:
        """Kraus operators of the channel, (..., m, 2**k, 2**k)."""
        if not isinstance(self.kind, Channel):
            raise CircuitError(f"{self.name} is not a channel and has no Kraus operators.")
        self._check_bound()
        arguments = channel_arguments(self.kind, self.params, self.data, self.detail)
        return jnp.asarray(self.kind.kraus(*arguments), dtype=complex_dtype())

    def _check_bound(self) -> None:
        free = sorted({p.name for p in self.params if isinstance(p, Slot)})
        if free:
            raise CircuitError(f"{self.name} has parameters without values: {', '.join(free)}.")

    def as_pauli_sum(self) -> PauliSum:
        """The observable that a Pauli gate stands for."""
        if self.kind.name not in _LETTERS or self.controls or self.conditions:
            raise ObservableError(
                f"Only the gates I, X, Y and Z double as observables, not {self!r}."
            )
        (qubit,) = self.targets
        word = () if self.kind.name == "I" else ((qubit, self.kind.name),)
        return PauliSum((word,), np.ones(1))

    def __matmul__(self, other: Any) -> PauliSum:
        return self.as_pauli_sum() @ as_pauli_sum(other)

    def __mul__(self, scalar: Any) -> PauliSum:
        return self.as_pauli_sum() * scalar

    __rmul__ = __mul__

    def __truediv__(self, scalar: Any) -> PauliSum:
        return self.as_pauli_sum() / scalar

    def __neg__(self) -> PauliSum:
        return -self.as_pauli_sum()

    def __add__(self, other: Any) -> PauliSum:
        return self.as_pauli_sum() + as_pauli_sum(other)

    def __radd__(self, other: Any) -> PauliSum:
        return other + self.as_pauli_sum()

    def __sub__(self, other: Any) -> PauliSum:
        return self.as_pauli_sum() - as_pauli_sum(other)

    def __repr__(self) -> str:
        parts = [repr(self.detail)] if isinstance(self.detail, str) else []
        parts += [format_number(p) for p in self.params]
        parts += [str(q) for q in self.qubits]
        if self.kind.name == "Measure":
            name, outcome = self.detail
            parts += [] if name is None else [repr(name)]
            parts += [] if outcome is None else [f"postselect={outcome}"]
        text = f"{self.name}{'†' if self.adjoint else ''}({', '.join(parts)})"
        return text + "".join(f".conditioned({n!r}, {v})" for n, v in self.conditions)


def display_name(kind: Kind, num_controls: int) -> str:
    """Name of a kind under some controls: X with one control is CX."""
    return "C" * num_controls + kind.name


def format_number(value: Any) -> str:
    """Short text of an angle: its value if it is one known number, else a dot."""
    if isinstance(value, Slot):
        return repr(value)
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):  # a tracer or a batch
        return "·"


def kind_matrix(kind: Gate, params: tuple, data: Any, detail: Any, adjoint: bool) -> Any:
    """Matrix of a gate from its numbers; NumPy in, NumPy out for fixed gates."""
    if not callable(kind.matrix):
        matrix: Any = kind.matrix
    else:
        arguments = () if data is None else (data,)
        arguments += tuple(jnp.asarray(p) for p in params)
        arguments = arguments if detail is None else (detail, *arguments)
        matrix = kind.matrix(*arguments)
    return matrix.conj().swapaxes(-1, -2) if adjoint else matrix


def channel_arguments(kind: Channel, params: tuple, data: Any, detail: Any) -> tuple:
    """Arguments of a channel's functions: detail, data, then strengths, each where present."""
    arguments = () if detail is None else (detail,)
    arguments += () if data is None else (data,)
    return arguments + tuple(jnp.asarray(p) for p in params)


def make_operation(
    kind: Kind,
    params: tuple[Any, ...],
    qubits: Any,
    *,
    data: Any = None,
    detail: Any = None,
    num_controls: int = 0,
) -> Operation:
    """Checks the static arguments of an operation and builds it.

    Raises:
        CircuitError: on a wrong number of qubits, repeated qubits or angles that are not numbers.
    """
    where = check_qubits(qubits)
    expected = None if kind.num_targets is None else kind.num_targets + num_controls
    name = display_name(kind, num_controls)
    if expected is not None and len(where) != expected:
        raise CircuitError(
            f"Argument `qubits` of {name} must name {expected} qubits, but is {where!r}."
        )
    if not where:
        raise CircuitError(f"Argument `qubits` of {name} must not be empty.")
    names = kind.parameters or tuple(f"params[{i}]" for i in range(len(params)))
    values = tuple(_check_angle(p, n, name) for p, n in zip(params, names, strict=True))
    return Operation(
        kind,
        targets=where[num_controls:],
        controls=where[:num_controls],
        params=values,
        data=data,
        detail=detail,
    )


def _check_angle(value: Any, name: str, gate: str) -> Any:
    if isinstance(value, Slot):
        if isinstance(value, Parameter) and value.shape != ():
            raise CircuitError(
                f"Argument `{name}` of {gate} must be one number, but is the parameter "
                f"{value.name!r} of shape {value.shape}. Index it: {value.name}[0]."
            )
        return value
    try:
        dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    except Exception:  # anything that NumPy cannot read: strings of tracers, ragged lists
        dtype = np.dtype(object)
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise CircuitError(f"Argument `{name}` of {gate} must be a real number, but is {value!r}.")
    check_finite(value, name=name, error=CircuitError)
    return value
