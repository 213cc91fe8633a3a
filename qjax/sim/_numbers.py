"""The numbers of a circuit: picked out of its arrays once, cosines and sines taken once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.circuit import Reference
from qjax.sim._dot import matmul

__all__ = ["Numbers", "Wanted", "reference_values"]

LARGEST_SELECTION = 2**18  # entries of a 0-1 matrix that picks numbers


class _Selection(NamedTuple):
    """Numbers scale * joined[index] + shift.

    Attributes:
        joined: arrays one behind the other, (total, ...).
        index: (count,), of what is taken.
        scale: (count,).
        shift: (count,).
    """

    joined: Array
    index: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    def values(self, start: int = 0, count: int | None = None) -> Array:
        """All numbers, (count, ...), or some."""
        end = None if count is None else start + count
        joined, *numbers = self
        index, scale, shift = (x[start:end] for x in numbers)
        total, behind = len(joined), (1,) * (joined.ndim - 1)
        distances = np.diff(index) if len(index) > 1 else np.ones(1, int)
        if (distances == distances[0]).all() and distances[0] > 0 and (scale == scale[0]).all():
            stop, stride = int(index[-1]) + 1, int(distances[0])
            picked = lax.slice_in_dim(joined, int(index[0]), stop, stride)
            picked = picked if scale[0] == 1 else picked * scale[0].astype(joined.dtype)
        elif index.size * total <= LARGEST_SELECTION:
            # XLA turns the derivative of a gather into a loop over single numbers.
            chosen = np.zeros((index.size, total))
            chosen[np.arange(index.size), index] = scale
            picked = matmul(chosen, joined)
        else:
            picked = joined[index] * jnp.asarray(scale.reshape(-1, *behind), joined.dtype)
        if not shift.any():
            return picked
        return picked + jnp.asarray(shift.reshape(-1, *behind), picked.dtype)

    def sums(self, weights: np.ndarray) -> Array:
        """Numbers (count,) times weights (count, sums)."""
        found = matmul(self.joined, self.table(weights))
        shift = self.shift @ weights
        return found + jnp.asarray(shift, found.dtype) if shift.any() else found

    def table(self, weights: np.ndarray) -> np.ndarray:
        """What the arrays are multiplied by for such sums, shifts apart, (total, sums)."""
        table = np.zeros((len(self.joined), weights.shape[1]))
        np.add.at(table, self.index, self.scale[:, None] * weights)
        return table


def _selection(references: Sequence[Reference], params: Sequence[Any]) -> _Selection:
    leaves = sorted({r.leaf for r in references})
    offsets, total = {}, 0
    for leaf in leaves:
        offsets[leaf], total = total, total + params[leaf].shape[0]
    batch = max((params[leaf].shape[1:] for leaf in leaves), key=len)
    arrays = [jnp.asarray(params[leaf]) for leaf in leaves]
    if len({a.ndim for a in arrays}) > 1:
        arrays = [jnp.broadcast_to(a.reshape((len(a), -1)), (len(a), *batch)) for a in arrays]
    joined = jnp.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    index = np.asarray([offsets[r.leaf] + r.index for r in references])
    scale = np.asarray([r.scale for r in references])
    return _Selection(joined, index, scale, np.asarray([r.shift for r in references]))


def reference_values(references: Sequence[Reference], params: Sequence[Any]) -> Array:
    """Numbers scale * params[leaf][..., index] + shift, (number of references, ...).

    Args:
        references: which to take.
        params: per leaf an array (size,) or (size, batch).
    """
    return _selection(references, params).values()


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "angle": lambda x: x,
    "cos": jnp.cos,
    "sin": jnp.sin,
    "cos/2": lambda x: jnp.cos(x / 2),
    "sin/2": lambda x: jnp.sin(x / 2),
}


@dataclass
class Numbers:
    """Collects references while blocks are looked at, then serves functions of their values.

    Attributes:
        params: per leaf an array (size,) or, for a batch, (size, batch).
        data: further arrays, batch last.
        sample_leaves: which arrays of angles have a batch axis.
        sample_data: which of the further arrays do.
    """

    params: Sequence[Any]
    data: Sequence[Any]
    sample_leaves: frozenset[int]
    sample_data: frozenset[int]
    wanted: dict[bool, list[Reference]] = field(default_factory=lambda: {False: [], True: []})
    selections: dict[bool, _Selection] = field(default_factory=dict)
    known: dict[tuple[str, bool], Any] = field(default_factory=dict)

    def ask(
        self, references: Sequence[Reference], shape: tuple[int, ...], sample: bool
    ) -> "Wanted":
        """Notes references; their values will have the given shape, batch after it."""
        listed = self.wanted[sample]
        start = len(listed)
        listed += references
        return Wanted(self, start, shape, sample)

    def selection(self, sample: bool) -> _Selection:
        """Where all values come from."""
        if sample not in self.selections:
            self.selections[sample] = _selection(self.wanted[sample], self.params)
        return self.selections[sample]

    def whole(self, name: str, sample: bool) -> Array:
        """A function of all values at once."""
        if (name, sample) not in self.known:
            if name == "angle":
                value = self.selection(sample).values()
            else:
                value = _FUNCTIONS[name](self.whole("angle", sample))
            self.known[name, sample] = value
        return self.known[name, sample]


@dataclass(frozen=True)
class Wanted:
    """Numbers that were asked for."""

    numbers: Numbers
    start: int
    shape: tuple[int, ...]
    sample: bool

    def get(self, name: str) -> Array:
        """Values of a function of the numbers, (*shape, ...)."""
        count = prod(self.shape)
        selection = self.numbers.selection(self.sample)
        if name == "angle" and len(selection.index) * len(selection.joined) > LARGEST_SELECTION:
            chosen = selection.values(self.start, count)  # all would be a gather
            return chosen.reshape((*self.shape, *chosen.shape[1:]))
        whole = self.numbers.whole(name, self.sample)
        chosen = whole if count == whole.shape[0] else whole[self.start : self.start + count]
        return chosen.reshape((*self.shape, *whole.shape[1:]))

    def sums(self, weights: np.ndarray) -> Array:
        """Sums of the numbers along the last axis of their shape, of which no sample has its own.

        Args:
            weights: (numbers along that axis, sums).
        """
        selection = self.numbers.selection(self.sample)
        rows, (terms, columns) = prod(self.shape[:-1]), weights.shape
        count = len(selection.index)
        if max(count, len(selection.joined)) * rows * columns > LARGEST_SELECTION:
            return matmul(self.get("angle"), weights)
        placed = np.zeros((count, rows, columns))  # XLA would compile a kernel for a slice
        own = placed[self.start : self.start + rows * terms].reshape(rows, terms, rows, columns)
        own[np.arange(rows), :, np.arange(rows)] = weights
        return selection.sums(placed.reshape(count, -1)).reshape((*self.shape[:-1], columns))
