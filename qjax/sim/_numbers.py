"""The numbers of a circuit: picked out of its arrays once, cosines and sines taken once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.circuit import Reference

__all__ = ["Numbers", "Wanted", "reference_values"]

LARGEST_SELECTION = 2**18  # entries of a 0-1 matrix that picks numbers


def reference_values(references: Sequence[Reference], params: Sequence[Any]) -> Array:
    """Numbers scale * params[leaf][..., index] + shift, (number of references, ...).

    Args:
        references: which to take.
        params: per leaf an array (size,) or (size, batch).
    """
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
    shift = np.asarray([r.shift for r in references])
    if np.array_equal(index, np.arange(total)) and (scale == scale[0]).all():
        picked = joined if scale[0] == 1 else joined * scale[0].astype(joined.dtype)
    elif index.size * total <= LARGEST_SELECTION:
        # XLA turns the derivative of a gather into a loop over single numbers.
        chosen = np.zeros((index.size, total), joined.dtype)
        chosen[np.arange(index.size), index] = scale
        picked = jnp.matmul(chosen, joined, precision="highest")
    else:
        shape = (-1,) + (1,) * len(batch)
        picked = joined[index] * jnp.asarray(scale.reshape(shape), joined.dtype)
    if not shift.any():
        return picked
    return picked + jnp.asarray(shift.reshape((-1,) + (1,) * len(batch)), picked.dtype)


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
    known: dict[tuple[str, bool], Any] = field(default_factory=dict)

    def ask(
        self, references: Sequence[Reference], shape: tuple[int, ...], sample: bool
    ) -> "Wanted":
        """Notes references; their values will have the given shape, batch after it."""
        listed = self.wanted[sample]
        start = len(listed)
        listed += references
        return Wanted(self, start, shape, sample)

    def whole(self, name: str, sample: bool) -> Array:
        """A function of all values at once."""
        if (name, sample) not in self.known:
            if name == "angle":
                value = reference_values(self.wanted[sample], self.params)
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
        whole = self.numbers.whole(name, self.sample)
        count = int(np.prod(self.shape))
        chosen = whole if count == whole.shape[0] else whole[self.start : self.start + count]
        return chosen.reshape((*self.shape, *whole.shape[1:]))
