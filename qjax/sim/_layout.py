"""Where the axes of a state lie in memory while blocks act on it.

The state is one array per sample, its axes in an order that may change: a block wants its own axes
together. Where they are not, the smaller part of them is moved to the larger one, or all of them to
the front if the product is then so much faster. The order is static, so all of this happens while a
circuit is traced.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from qjax.sim._cost import Machine

__all__ = ["COMPONENT", "Move", "Order", "arrange", "canonical", "free_order", "halves", "sites_of"]

COMPONENT = -1  # label of the axis (real part, imaginary part); sites have their own numbers

Order = tuple[int, ...]


class Move(NamedTuple):
    """Where a block finds its axes.

    Attributes:
        order: of all axes when the matrix is applied, and after.
        outer: numbers before the axes of the block.
        seconds: predicted, of moving and multiplying.
    """

    order: Order
    outer: int
    seconds: float


def canonical(num_sites: int, real: bool) -> Order:
    """Component first, then the sites ascending."""
    return (*(() if real else (COMPONENT,)), *range(num_sites))


def free_order(num_sites: int, real: bool, first: Order) -> Order:
    """Where the order may be chosen freely: some axes first, then the canonical order."""
    rest = (axis for axis in canonical(num_sites, real) if axis not in first)
    return (*first, *rest)


def sites_of(order: Order) -> tuple[int, ...]:
    """The sites of an order, without the component."""
    return tuple(a for a in order if a != COMPONENT)


def halves(order: Order) -> tuple[Order, Order]:
    """The sites before the component and those after it; halves of all if it is first or absent."""
    sites = sites_of(order)
    inside = COMPONENT in order and order[0] != COMPONENT
    cut = order.index(COMPONENT) if inside else len(sites) // 2
    return sites[:cut], sites[cut:]


def _size(axis: int, dims: Sequence[int]) -> int:
    return 2 if axis == COMPONENT else dims[axis]


def _together(order: Order, own: Order) -> Order:
    """The axes of a block at the place of their longest run, in their own order."""
    chosen = set(own)
    best, length, start = 0, 0, None
    for i, axis in enumerate((*order, None)):
        inside = axis in chosen
        if inside and start is None:
            start = i
        if not inside and start is not None:
            if i - start > length:
                best, length = start, i - start
            start = None
    cut = sum(axis not in chosen for axis in order[:best])
    rest = tuple(axis for axis in order if axis not in chosen)
    return (*rest[:cut], *own, *rest[cut:])


def arrange(
    order: Order, sites: Order, complex_matrix: bool, dims: Sequence[int], batch: int,
    machine: Machine,
) -> Move:  # fmt: skip
    """Brings the axes of a block together at least cost.

    Args:
        order: present order.
        sites: of the block, ascending.
        complex_matrix: whether the component belongs to the block.
        dims: of the sites.
        batch: number of samples, the innermost axis.
        machine: constants of the cost model.
    """
    own = ((COMPONENT,) if complex_matrix else ()) + sites
    rest = tuple(axis for axis in order if axis not in set(own))
    size = prod(_size(axis, dims) for axis in own)
    numbers = prod(_size(axis, dims) for axis in order) * batch
    moves = []
    for wanted in dict.fromkeys((_together(order, own), own + rest, rest + own)):
        outer = prod(_size(axis, dims) for axis in wanted[: wanted.index(own[0])])
        seconds = machine.matrix(size, numbers, outer=outer)
        if wanted != order:
            row = _row(order, wanted, dims, batch)
            inner = numbers // (outer * size)
            seconds += machine.transposition(row, numbers, inner=inner)
        moves.append(Move(wanted, outer, seconds))
    return min(moves, key=lambda move: move.seconds)


def _row(before: Order, after: Order, dims: Sequence[int], batch: int) -> int:
    """Length in numbers of the rows that a transposition keeps together."""
    row = batch
    for a, b in zip(reversed(before), reversed(after), strict=True):
        if a != b:
            break
        row *= _size(a, dims)
    return row
