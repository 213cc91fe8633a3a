"""Named slots for angles that are given later."""

from dataclasses import dataclass
from math import prod
from typing import Any

from qjax.errors import CircuitError

__all__ = ["Parameter", "Slot"]


@dataclass(frozen=True)
class Slot:
    """One number of a named parameter, scaled and shifted: scale * name[index] + shift."""

    name: str
    shape: tuple[int, ...]
    index: int
    scale: float = 1.0
    shift: float = 0.0

    def _affine(self, scale: float, shift: float) -> "Slot":
        shifted = self.shift * scale + shift
        return Slot(self.name, self.shape, self.index, self.scale * scale, shifted)

    def __mul__(self, factor: float) -> "Slot":
        return self._affine(_as_float(factor), 0.0)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Slot":
        return self._affine(1 / _as_float(divisor), 0.0)

    def __add__(self, other: float) -> "Slot":
        return self._affine(1.0, _as_float(other))

    __radd__ = __add__

    def __sub__(self, other: float) -> "Slot":
        return self._affine(1.0, -_as_float(other))

    def __rsub__(self, other: float) -> "Slot":
        return self._affine(-1.0, _as_float(other))

    def __neg__(self) -> "Slot":
        return self._affine(-1.0, 0.0)

    def __repr__(self) -> str:
        text = self.name if self.shape == () else f"{self.name}[{self.index}]"
        text = text if self.scale == 1 else f"{self.scale:g}*{text}"
        return text if self.shift == 0 else f"{text}{self.shift:+g}"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except TypeError:
        raise CircuitError(
            f"A parameter can only be combined with plain numbers, but got {value!r}. "
            "Compute with arrays, and put the result inline or bind it."
        ) from None


class Parameter(Slot):
    """A named scalar or array whose values `Circuit.bind` supplies.

    Args:
        name: keyword under which `bind` takes it.
        shape: of the array; () for one number.

    Raises:
        CircuitError: if the name is not an identifier, or on an index out of range.

    Example:
        >>> import qjax as qj
        >>> theta = qj.Parameter("theta", (2,))
        >>> circuit = qj.Circuit(1, [qj.RX(theta[0], 0), qj.RZ(2 * theta[1] + 0.1, 0)])
        >>> circuit.bind(theta=[0.3, 0.4]).batch_shape
        ()
        >>> circuit.bind(theta=[[0.3, 0.4], [0.5, 0.6]]).batch_shape
        (2,)
    """

    def __init__(self, name: str, shape: tuple[int, ...] = ()):
        if not isinstance(name, str) or not name.isidentifier():
            raise CircuitError(
                f"Argument `name` must be a valid Python identifier, but is {name!r}."
            )
        super().__init__(name, tuple(shape), 0)

    def __getitem__(self, position: int | tuple[int, ...]) -> Slot:
        indices = position if isinstance(position, tuple) else (position,)
        inside = len(indices) == len(self.shape) and all(
            -n <= i < n for i, n in zip(indices, self.shape, strict=True)
        )
        if not inside:
            raise CircuitError(
                f"Index {position!r} does not name one number of parameter {self.name!r} "
                f"of shape {self.shape}."
            )
        flat = 0
        for i, n in zip(indices, self.shape, strict=True):
            flat = flat * n + i % n
        return Slot(self.name, self.shape, flat)

    def __len__(self) -> int:
        if not self.shape:
            raise CircuitError(f"Parameter {self.name!r} is one number and has no length.")
        return self.shape[0]

    def __iter__(self):
        if len(self.shape) != 1:
            raise CircuitError(
                f"Parameter {self.name!r} of shape {self.shape} is iterated over only if it has "
                "one axis."
            )
        return (self[i] for i in range(prod(self.shape)))
