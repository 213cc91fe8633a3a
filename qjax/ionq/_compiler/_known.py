"""What of a circuit decides how it is compiled, as a value that can be a key."""

from typing import Any, NamedTuple

import numpy as np

from qjax._typing import is_concrete
from qjax.circuit import Circuit, Structure

__all__ = ["Source"]


class Source(NamedTuple):
    """What of a circuit decides how it is compiled: its structure and the known numbers."""

    structure: Structure
    params: tuple[Any, ...]
    data: tuple[Any, ...]

    @classmethod
    def of(cls, circuit: Circuit) -> "Source":
        ranks = circuit.structure.data_ranks
        params = tuple(_angles(values) for values in circuit.params)
        data = tuple(_array(array, rank) for array, rank in zip(circuit.data, ranks, strict=True))
        return cls(circuit.structure, params, data)

    @property
    def circuit(self) -> Circuit:
        """The circuit; unknown angles are None, unknown arrays are zeros with a batch axis."""
        arrays = [None if p is None else p.array for p in self.params]
        return Circuit.from_structure(
            self.structure, tuple(arrays), tuple(known.array for known in self.data)
        )


class _Known(NamedTuple):
    """A known array by its bytes; of an unknown one the type and shape."""

    content: bytes | None
    dtype: str
    shape: tuple[int, ...]

    @property
    def array(self) -> np.ndarray:
        if self.content is None:
            return np.zeros((1, *self.shape), self.dtype)
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


def _array(array: Any, rank: int) -> _Known:
    shape = tuple(np.shape(array))
    dtype = np.dtype(array.dtype).str
    if is_concrete(array) and len(shape) == rank:
        return _Known(np.asarray(array).tobytes(), dtype, shape)
    return _Known(None, dtype, shape[len(shape) - rank :])


def _angles(values: Any) -> _Known | None:
    known = None if values is None else _array(values, 1)
    return known if known is not None and known.content is not None else None
