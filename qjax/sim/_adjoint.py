"""The way back through a plan.

Going back needs two states whatever the depth: a unitary block is undone by its transpose, on the
state and on its cotangent alike, and one matrix product of the two gives the cotangent of the
block's matrix. Circuits whose states are small, and those with blocks that cannot be undone, are
differentiated by JAX through the forward run instead, with checkpoints where the states would not
fit.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from qjax._typing import Array
from qjax.sim._bits import inverse, look_up
from qjax.sim._engine import (
    Phases,
    Row,
    Run,
    apply_step,
    enter,
    evolve,
    meet,
    packed_slopes,
    phase_view,
    separate,
    tools_of_turn,
    tools_outside_loops,
)
from qjax.sim._kernels import Unit, gram, move_axes, multiply, turn
from qjax.sim._layout import COMPONENT, Order
from qjax.sim._phases import PhaseLayout, table_sums
from qjax.sim._plan import Plan
from qjax.sim._schedule import Step, Stretch

__all__ = ["cotangents"]

KEPT_BYTES = 2**26  # of states that a gradient may keep unless told otherwise
LARGE = 2**22  # numbers of a state beyond which memory counts for more than the time to compile


def cotangents(
    plan: Plan,
    params: Sequence[Any],
    data: Sequence[Any],
    state: Array | None,
    result: Array,
    slope: Array,
    dtype: Any,
    max_bytes: int | None = None,
) -> tuple[tuple, tuple, Array | None]:
    """Cotangents of params, data and initial state from that of the result.

    Args:
        plan: from `make_plan`.
        params: as for `evolve`.
        data: as for `evolve`.
        state: as for `evolve`.
        result: what `evolve` returned.
        slope: its cotangent.
        dtype: real dtype of the state.
        max_bytes: of states that may be kept; some 64 MiB if not given.
    """
    budget = KEPT_BYTES if max_bytes is None else max_bytes
    blocks = [block for segment in plan.segments for block in segment.blocks]
    loops = any(segment.repeats > 1 for segment in plan.segments)
    fits = kept_bytes(plan, dtype) <= budget
    if plan.unitary and (loops or not fits):
        longest = max((len(segment.blocks) for segment in plan.segments), default=0)
        in_turn = longest * _block_bytes(plan, dtype) > budget
        return _sweep(plan, params, data, state, result, slope, dtype, keep=False, in_turn=in_turn)
    if fits and all(block.kind != "split" for block in blocks):
        return _sweep(plan, params, data, state, result, slope, dtype, keep=True)

    def run(p: Any, d: Any, s: Any) -> Array:
        return evolve(plan, p, d, s, dtype, checkpointed=not fits)

    _, pull = jax.vjp(run, tuple(params), tuple(data), state)
    return pull(slope)


def kept_bytes(plan: Plan, dtype: Any) -> int:
    """Memory of all states between blocks."""
    return max(plan.num_blocks, 1) * _block_bytes(plan, dtype)


def _block_bytes(plan: Plan, dtype: Any) -> int:
    """Memory of the state that a block meets and of what it makes of it."""
    components = 1 if plan.task.mixed else 2
    numbers = components * prod(plan.dims) * plan.task.batch
    return 3 * numbers * jnp.dtype(dtype).itemsize


def _sweep(
    plan: Plan, params: Any, data: Any, state: Any, result: Array, slope: Array, dtype: Any,
    *, keep: bool, in_turn: bool = False,
) -> tuple[tuple, tuple, Array | None]:  # fmt: skip
    """Goes through the plan backwards, with kept states or undoing every block.

    In turn, if the states of a stretch would not fit in memory at once.
    """
    made: dict[str, Any] = {}

    def prepare(p: Any, d: Any) -> Any:
        made["run"] = run = Run(plan, p, d, dtype)
        first = None if plan.task.given else run.initial(None)
        return run.arrays, first

    (arrays, first), pull = jax.vjp(prepare, tuple(params), tuple(data))
    run: Run = made["run"]
    orders = [run.start]
    for stretch in run.stretches:
        orders.append(stretch.before if stretch.repeats > 1 else stretch.after)
    tools = tools_outside_loops(run.stretches, arrays)
    kept = _run_keeping(run, tools, state if plan.task.given else first) if keep else None
    bra = run.unfinish(slope, orders[-1])
    ket = run.unfinish(result, orders[-1])
    slopes: list[Any] = [None] * len(arrays)
    for s in reversed(range(len(arrays))):
        stretch = run.stretches[s]
        met = None if kept is None else kept[s]
        back = _Back(stretch, arrays[s], tools[s], plan, met, in_turn)
        ket, bra, slopes[s] = back.run(ket, bra)
        bra = _leave(bra, orders[s], stretch.before, plan)
        if kept is None:
            ket = _leave(ket, orders[s], stretch.before, plan)
    params_bar, data_bar = pull((slopes, None if plan.task.given else bra))
    return params_bar, data_bar, bra if plan.task.given else None


def _leave(state: Array, order: Order, wanted: Order, plan: Plan) -> Array:
    """What `enter` does, backwards."""
    if COMPONENT in wanted and COMPONENT not in order:
        state = move_axes(state, wanted, (COMPONENT, *order), plan.dims)
        return state[: state.shape[0] // 2]
    return move_axes(state, wanted, order, plan.dims)


def _run_keeping(run: Run, tools: list[Any], state: Array) -> list[Any]:
    """Runs a plan and returns, per stretch and step, the state that the step meets."""
    plan, order = run.plan, run.start
    kept: list[Any] = []

    def turn_once(
        stretch: Stretch, tools: Sequence[Any], carry: Array
    ) -> tuple[Array, list[Array | None]]:
        met: list[Array | None] = []
        for step, tool in zip(stretch.steps, tools, strict=True):
            found = meet(step, carry, plan)
            met.append(None if step.block.kind == "permutation" else found)
            carry = apply_step(step, tool, found, run)
        return carry, met

    for stretch, row in zip(run.stretches, tools, strict=True):
        state = enter(state, order, stretch.before, plan)
        if stretch.repeats == 1:
            state, met = turn_once(stretch, row, state)
            order = stretch.after
        else:
            varying, shared = separate(stretch, row)

            def body(
                carry: Array, moving: Any, stretch: Any = stretch, shared: Any = shared
            ) -> Any:
                tools = tools_of_turn(stretch, moving, shared)
                carry, met = turn_once(stretch, tools, carry)
                return move_axes(carry, stretch.after, stretch.before, plan.dims), met

            state, met = lax.scan(body, state, varying, length=stretch.repeats)
            order = stretch.before
        kept.append(met)
    return kept


class _Back(NamedTuple):
    """A stretch on the way back.

    Attributes:
        stretch: which.
        row: what its steps are made of.
        tools: what they multiply by, unless it is a loop.
        plan: that it belongs to.
        kept: per step the state that it met; None if states are found by undoing steps.
        in_turn: whether a step is undone once the one after it has been used.
    """

    stretch: Stretch
    row: Row
    tools: Any
    plan: Plan
    kept: Any
    in_turn: bool

    def once(
        self, ket: Any, bra: Array, tools: Sequence[Any], kept: Any
    ) -> tuple[Any, Array, list[Any]]:
        """One turn of the stretch: state, cotangent and cotangents of the arrays."""
        slopes: list[Any] = [None] * len(self.stretch.steps)
        in_order = bra.size >= LARGE
        done: Any = ()  # what the next step waits for
        for i in reversed(range(len(self.stretch.steps))):
            step, tool = self.stretch.steps[i], tools[i]
            if kept is not None:
                bra, slopes[i] = _pull(step, tool, kept[i], bra, self.plan)
                bra = _move_back(step, bra, self.plan)
            elif in_order:
                ket, bra, slopes[i], done = _undo_in_order(step, tool, ket, bra, self.plan, done)
            else:
                met = _undo(step, _after(tool, done) if self.in_turn else tool, ket)
                bra, slopes[i] = _pull(step, tool, met, bra, self.plan)
                bra = _move_back(step, bra, self.plan)
                ket = _move_back(step, met, self.plan)
                done = slopes[i] if jax.tree.leaves(slopes[i]) else done  # a permutation has none
        return ket, bra, slopes

    def run(self, ket: Array, bra: Array) -> tuple[Array, Array, Row]:
        """State and cotangent before the stretch, and cotangents of its arrays."""
        stretch, plan = self.stretch, self.plan
        if stretch.repeats == 1:
            ket, bra, slopes = self.once(ket, bra, self.tools, self.kept)
            return ket, bra, packed_slopes(self.row, slopes)
        varying, shared = separate(stretch, self.row)

        def body(carry: tuple[Any, Array], moving: Any) -> tuple[Any, Any]:
            turning, kept = moving
            ket, bra = carry
            bra = move_axes(bra, stretch.before, stretch.after, plan.dims)
            if kept is None:
                ket = move_axes(ket, stretch.before, stretch.after, plan.dims)
            tools = tools_of_turn(stretch, turning, shared)
            ket, bra, slopes = self.once(ket, bra, tools, kept)
            steps, packs = packed_slopes(self.row, slopes)
            found = {i: [*steps, *packs][i] for i in turning}
            return (ket if kept is None else carry[0], bra), found

        start = (ket if self.kept is None else jnp.zeros(()), bra)
        (ket, bra), found = lax.scan(
            body, start, (varying, self.kept), length=stretch.repeats, reverse=True
        )
        steps = [self._summed(i, array, found) for i, array in enumerate(self.row.steps)]
        packs = [found[len(steps) + k] for k in range(len(self.row.packs))]
        return ket, bra, Row(steps, packs)

    def _summed(self, i: int, array: Any, found: dict[int, Any]) -> Any:
        """Cotangent of an array from those of all turns."""
        if i not in found:  # fixed: nobody asks
            return jax.tree.map(jnp.zeros_like, array)
        parts = found[i] if isinstance(array, tuple) else (found[i],)
        wanted = array if isinstance(array, tuple) else (array,)
        whole = tuple(
            p if p.ndim == w.ndim else p.sum(axis=0) for p, w in zip(parts, wanted, strict=True)
        )
        return whole if isinstance(array, tuple) else whole[0]


def _undo_in_order(
    step: Step, tool: Any, ket: Array, bra: Array, plan: Plan, done: Any
) -> tuple[Array, Array, Any, Any]:
    """Undoes a step of a large state, one array after the other.

    Returns:
        State and cotangent before the step, the cotangent of its array, and what the next step is
        to wait for.
    """
    if step.phases is not None:
        slope = _slopes_of_phases(step.phases, tool, ket, bra)
        tool = _after(tool, slope, alone=True)
        bra = _undo_phases(step.phases, tool, bra)
        return _undo_phases(step.phases, _after(tool, bra, alone=True), ket), bra, slope, bra
    met = _undo(step, _after(tool, done, alone=True), ket)
    slope: Any = ()
    if step.block.kind != "permutation":
        slope = gram(bra, met, tool, step.outer, on_cpu=plan.task.device == "cpu")
        tool = _after(tool, slope, alone=True)
        bra = multiply(bra, tool, step.outer, tiled=step.tiled, transposed=True)
    moved = _move_back(step, bra, plan)
    if moved is not bra:  # waiting for what was moved would join the two copies in one kernel
        met = _move_back(step, _after(met, bra, alone=True), plan)
    return met, moved, slope, bra


def _after(value: Any, first: Any, *, alone: bool = False) -> Any:
    """A value that depends on other arrays, which XLA then finds first.

    It would otherwise undo the state further than it has used it, and hold more states at once.

    Args:
        value: tree of arrays.
        first: another one.
        alone: whether what is read of the latter is read by a step of its own, after which they
            are not needed for this any more.
    """
    arrays = jax.tree.leaves(first)
    if not arrays:
        return value
    read = [lax.stop_gradient(x).reshape(-1)[0] for x in arrays]
    # Of a comparison, which is a number even if that of the first sample of a batch is none.
    nothing = sum(0 * (x > 0).astype(x.dtype) for x in read)
    if alone:
        nothing = lax.optimization_barrier(nothing)
    return jax.tree.map(lambda array: array + nothing, value)


def _pull(step: Step, tool: Any, ket: Array, bra: Array, plan: Plan) -> tuple[Array, Any]:
    """Cotangents of the state that a step meets, in the step's order, and of the step's array.

    Args:
        step: which.
        tool: what it multiplies by.
        ket: state that the matrix or the phases meet, in the step's order.
        bra: cotangent of the state after it.
        plan: for the device.
    """
    if step.block.kind == "permutation":
        return bra, ()
    if step.phases is not None:
        return _pull_phases(step, tool, ket, bra)
    slope = gram(bra, ket, tool, step.outer, on_cpu=plan.task.device == "cpu")
    return multiply(bra, tool, step.outer, tiled=step.tiled, transposed=True), slope


def _move_back(step: Step, state: Array, plan: Plan) -> Array:
    """A state in the order that a step was given."""
    block = step.block
    if block.kind == "permutation":
        back = inverse(block.bit_map)
        return look_up(state, step.order, step.before, block.sites, back)
    return move_axes(state, step.order, step.before, plan.dims)


def _pull_phases(step: Step, tool: Phases, ket: Array, bra: Array) -> tuple[Array, Any]:
    layout = step.phases
    assert layout is not None
    batch = ket.shape[-1]
    turned = _opposite_view(layout, tool, bra)
    axis = 0 if layout.axis is None else layout.axis
    bra_r, bra_i = (lax.index_in_dim(turned, i, axis, keepdims=False) for i in (0, 1))
    if layout.axis is None:
        density = phase_view(ket, layout) * bra_i
        turned = bra_r
    else:
        view = phase_view(ket, layout)
        ket_r, ket_i = (lax.index_in_dim(view, i, axis, keepdims=False) for i in (0, 1))
        density = ket_r * bra_i - ket_i * bra_r
    return turned.reshape(-1, batch), table_sums(layout, density, tool.tables)


def _slopes_of_phases(layout: PhaseLayout, tool: Phases, ket: Array, bra: Array) -> Any:
    """Cotangents of the tables from state and cotangent after the phases.

    They are those from before, since the phases turn both alike.
    """
    axis = 0 if layout.axis is None else layout.axis
    views = [phase_view(x, layout._replace(axis=axis)) for x in (ket, bra)]
    (ket_r, ket_i), (bra_r, bra_i) = (
        [lax.index_in_dim(view, i, axis, keepdims=False) for i in (0, 1)] for view in views
    )
    return table_sums(layout, ket_r * bra_i - ket_i * bra_r, tool.tables)


def _opposite_view(layout: PhaseLayout, tool: Phases, state: Array) -> Array:
    """A complex state, as a view, with the opposite phases."""
    axis = 0 if layout.axis is None else layout.axis
    opposite = tuple(Unit(unit.cosine, -unit.sine) for unit in tool.units)
    negated = tuple(-table for table in tool.tables)
    return turn(phase_view(state, layout._replace(axis=axis)), negated, opposite, axis)


def _undo_phases(layout: PhaseLayout, tool: Phases, state: Array) -> Array:
    """The state before phases from the one after them; without a component if it had none."""
    turned = _opposite_view(layout, tool, state)
    if layout.axis is None:
        turned = turned[0]
    return turned.reshape(-1, state.shape[-1])


def _undo(step: Step, tool: Any, ket: Array) -> Array:
    """State that a unitary step met, in its order, from the state after it."""
    if step.block.kind == "permutation":
        return ket
    if step.phases is not None:
        return _undo_phases(step.phases, tool, ket)
    return multiply(ket, tool, step.outer, tiled=step.tiled, transposed=True)
