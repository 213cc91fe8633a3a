"""Where the axes of a state lie through a plan: which order each block meets, and leaves behind."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from qjax.sim._layout import COMPONENT, Order, arrange, free_order
from qjax.sim._phases import PhaseLayout, phase_layout
from qjax.sim._plan import Block, Plan, Segment, by_products, machine_of, wanted_first

__all__ = ["Step", "Stretch", "place", "schedule"]


class Step(NamedTuple):
    """One block with its place in memory.

    Attributes:
        block: which.
        before, after: orders of the axes.
        order: when the matrix is applied.
        outer: numbers before its axes.
        phases: layout of the tables of a phases block.
        tiled: whether copies of the matrix are made by a product.
    """

    block: Block
    before: Order
    order: Order
    after: Order
    outer: int = 1
    phases: PhaseLayout | None = None
    tiled: bool = False


class Stretch(NamedTuple):
    """A segment with its places in memory; its first and last order agree if it is a loop."""

    steps: tuple[Step, ...]
    repeats: int
    before: Order
    after: Order


def _terms(block: Block) -> list[Any]:
    return [(f.sites, f.form.columns) for f in block.factors]


def place(block: Block, order: Order, plan: Plan, first: Order = ()) -> Step:
    """Places one block.

    Args:
        block: which.
        order: of the axes before it.
        plan: that it belongs to.
        first: axes that the next block wants first.
    """
    if block.kind == "permutation":
        after = free_order(len(plan.dims), COMPONENT not in order, first)
        return Step(block, order, after, after)
    if block.kind == "split":
        return Step(block, order, order, order)
    if block.kind == "phases":
        layout = phase_layout(
            order, _terms(block), plan.dims, joint=by_products(plan) and not block.sample
        )
        after = order if COMPONENT in order else (COMPONENT, *order)
        return Step(block, order, order, after, phases=layout)
    has_component = COMPONENT in order
    machine = machine_of(plan.task.device)
    move = arrange(
        order, block.sites, block.complex and has_component, plan.dims, plan.task.batch, machine
    )
    after = move.order
    if block.complex and not has_component:
        cut = after.index(block.sites[0])
        after = (*after[:cut], COMPONENT, *after[cut:])
    return Step(block, order, move.order, after, move.outer, tiled=by_products(plan))


def _steps(
    segment: Segment, order: Order, plan: Plan, following: Sequence[Segment]
) -> tuple[Step, ...]:
    steps = []
    for i, block in enumerate(segment.blocks):
        first = wanted_first(segment, i, following)
        first = tuple(axis for axis in first if axis in order)
        steps.append(place(block, order, plan, first))
        order = steps[-1].after
    return tuple(steps)


def schedule(plan: Plan, order: Order) -> list[Stretch]:
    """Orders of all axes through the whole plan."""
    stretches = []
    for k, segment in enumerate(plan.segments):
        following = plan.segments[k + 1 :]
        start = order
        if segment.repeats > 1:  # begin as the loop ends: after two turns the order is stationary
            for _ in range(2):
                start = _steps(segment, start, plan, following)[-1].after
        steps = _steps(segment, start, plan, following)
        stretches.append(Stretch(steps, segment.repeats, start, steps[-1].after))
        order = start if segment.repeats > 1 else steps[-1].after
    return stretches
