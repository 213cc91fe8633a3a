"""Aligned text tables, and the walk over a model's layers that they are about."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
from flax import nnx

from qjax.errors import ModelError
from qjax.nn._layer import QuantumLayer

__all__ = ["Entry", "count_parameters", "entries", "text_table"]


class Entry(NamedTuple):
    """A layer of a model and where it stands.

    Attributes:
        place: its index, behind those of the sequences that it is in: "1", "0.2".
        layer: a module, or a function such as an activation.
    """

    place: str
    layer: Any

    @property
    def kind(self) -> str:
        """The name of its class, or of the function."""
        if isinstance(self.layer, nnx.Module):
            return type(self.layer).__name__
        return getattr(self.layer, "__name__", type(self.layer).__name__)


def entries(model: Any, *, apart: bool = True) -> list[Entry]:
    """The layers of a model in order, nested nnx.Sequentials unrolled.

    Args:
        model: a layer or an nnx.Sequential.
        apart: whether each must be quantum or not, and nothing in between.

    Raises:
        ModelError: if they must, and are not.
    """
    if apart and not isinstance(model, nnx.Sequential | QuantumLayer):
        raise ModelError(
            "Argument `model` must be an nnx.Sequential or a quantum layer, but is "
            f"{type(model).__name__}."
        )
    found = _unrolled(model, ())
    for entry in found if apart else ():
        _check_apart(entry.layer)
    return found


def _unrolled(model: Any, place: tuple[int, ...]) -> list[Entry]:
    if isinstance(model, nnx.Sequential):
        parts = enumerate(model.layers)
        return [entry for i, layer in parts for entry in _unrolled(layer, (*place, i))]
    return [Entry(".".join(map(str, place or (0,))), model)]


def _check_apart(layer: Any) -> None:
    if isinstance(layer, QuantumLayer) or not isinstance(layer, nnx.Module):
        return
    if any(isinstance(module, QuantumLayer) for _, module in nnx.iter_modules(layer)):
        raise ModelError(
            "Argument `model` must hold its quantum layers in nnx.Sequentials, where they can be "
            f"told apart, but {type(layer).__name__} hides some."
        )


def count_parameters(layer: Any) -> int:
    """Number of trainable numbers of a layer; none for a plain function."""
    if not isinstance(layer, nnx.Module):
        return 0
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param)))


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()
) -> str:
    """Columns as wide as they need to be: the first and those named `left` flush left."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            text.ljust(width) if name in (header[0], *left) else text.rjust(width)
            for name, text, width in zip(header, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
