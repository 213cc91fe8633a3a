"""Running a plan forward, and its adjoint.

Going back needs two states whatever the depth: a unitary block is undone by its transpose, on the
state and on its cotangent alike, and one matrix product of the two gives the cotangent of the
block's matrix. Circuits whose states are small, and those with blocks that cannot be undone, are
differentiated by JAX through the forward run instead, with checkpoints where the states would not
fit.
"""

from collections.abc import Callable, Sequence
from math import isqrt, prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from qjax._typing import Array
from qjax.sim._bits import inverse, look_up
from qjax.sim._kernels import (
    Unit,
    dense_matrix,
    gram,
    move_axes,
    multiply,
    turn,
)
from qjax.sim._layout import COMPONENT, Order, arrange, canonical, free_order
from qjax.sim._lowering import Factor
from qjax.sim._numbers import Numbers
from qjax.sim._pauli_basis import from_pauli, to_pauli
from qjax.sim._phases import (
    PhaseLayout,
    phase_layout,
    phase_tables,
    phase_units,
    table_sums,
)
from qjax.sim._plan import (
    Block,
    Plan,
    Segment,
    Task,
    default_device,
    machine_of,
    plan_factors,
    wanted_first,
)
from qjax.sim._products import product_state
from qjax.sim._tables import Pair, block_tables, chain_vectors

__all__ = ["cotangents", "evolve", "run_factors"]

KEPT_BYTES = 2**26  # of states that a gradient may keep unless told otherwise


class _Step(NamedTuple):
    """One block with its place in memory.

    Attributes:
        block: which.
        before, after: orders of the axes.
        order: when the matrix is applied.
        outer: numbers before its axes.
        phases: layout of the tables of a phases block.
    """

    block: Block
    before: Order
    order: Order
    after: Order
    outer: int = 1
    phases: PhaseLayout | None = None


class _Stretch(NamedTuple):
    """A segment with its places in memory; its first and last order agree if it is a loop."""

    steps: tuple[_Step, ...]
    repeats: int
    before: Order
    after: Order


def _terms(block: Block) -> list[Any]:
    return [(f.sites, f.form.columns) for f in block.factors]


def _step(block: Block, order: Order, plan: Plan, first: Order = ()) -> _Step:
    """Places one block.

    Args:
        block: which.
        order: of the axes before it.
        plan: that it belongs to.
        first: axes that the next block wants first.
    """
    if block.kind == "permutation":
        after = free_order(len(plan.dims), COMPONENT not in order, first)
        return _Step(block, order, after, after)
    if block.kind == "split":
        return _Step(block, order, order, order)
    if block.kind == "phases":
        layout = phase_layout(order, _terms(block), plan.dims)
        after = order if COMPONENT in order else (COMPONENT, *order)
        return _Step(block, order, order, after, phases=layout)
    has_component = COMPONENT in order
    machine = machine_of(plan.task.device)
    move = arrange(
        order, block.sites, block.complex and has_component, plan.dims, plan.task.batch, machine
    )
    after = move.order
    if block.complex and not has_component:
        cut = after.index(block.sites[0])
        after = (*after[:cut], COMPONENT, *after[cut:])
    return _Step(block, order, move.order, after, move.outer)


def _steps(
    segment: Segment, order: Order, plan: Plan, following: Sequence[Segment]
) -> tuple[_Step, ...]:
    steps = []
    for i, block in enumerate(segment.blocks):
        first = wanted_first(segment, i, following)
        first = tuple(axis for axis in first if axis in order)
        steps.append(_step(block, order, plan, first))
        order = steps[-1].after
    return tuple(steps)


def _schedule(plan: Plan, order: Order) -> list[_Stretch]:
    """Orders of all axes through the whole plan."""
    stretches = []
    for k, segment in enumerate(plan.segments):
        following = plan.segments[k + 1 :]
        start = order
        if segment.repeats > 1:  # begin as the loop ends: after two turns the order is stationary
            for _ in range(2):
                start = _steps(segment, start, plan, following)[-1].after
        steps = _steps(segment, start, plan, following)
        stretches.append(_Stretch(steps, segment.repeats, start, steps[-1].after))
        order = start if segment.repeats > 1 else steps[-1].after
    return stretches


def _arrays(
    plan: Plan, stretches: Sequence[_Stretch], numbers: Numbers, dtype: Any
) -> Callable[[], list[list[Any]]]:
    """What every step is made of: a matrix, tables of phases, or nothing."""
    build = block_tables(plan, numbers, dtype)

    def ready() -> list[list[Any]]:
        tables = build()
        diagonals = [
            (step.phases, table)
            for stretch, row in zip(stretches, tables, strict=True)
            for step, table in zip(stretch.steps, row, strict=True)
            if step.phases is not None
        ]
        phases = iter(phase_tables(diagonals, plan.dims, dtype))
        result = []
        for stretch, row in zip(stretches, tables, strict=True):
            arrays = []
            for step, table in zip(stretch.steps, row, strict=True):
                if step.phases is not None:
                    arrays.append(next(phases))
                elif step.block.kind != "dense":
                    arrays.append(())
                else:
                    arrays.append(_prepare(step, table, dtype))
            result.append(arrays)
        return result

    return ready


class _Phases(NamedTuple):
    """What a diagonal is multiplied by.

    Attributes:
        tables: of phases.
        units: their cosines and sines.
    """

    tables: tuple[Array, ...]
    units: tuple[Unit, ...]


def _tools(rows: Sequence[tuple[Sequence[_Step], Sequence[Any]]]) -> list[list[Any]]:
    """What the steps of several stretches multiply by; cosines and sines are taken at once."""
    diagonals = [
        (step.phases, array)
        for steps, arrays in rows
        for step, array in zip(steps, arrays, strict=True)
        if step.phases is not None
    ]
    units = iter(phase_units([(layout, lax.stop_gradient(tables)) for layout, tables in diagonals]))
    return [
        [
            array if step.phases is None else _Phases(_shaped(array, step.phases), next(units))
            for step, array in zip(steps, arrays, strict=True)
        ]
        for steps, arrays in rows
    ]


def _tools_outside_loops(
    stretches: Sequence[_Stretch], arrays: Sequence[Sequence[Any]]
) -> list[list[Any]]:
    """As `_tools`; the arrays of a loop stay, since each turn makes its own."""
    flat = [(s.steps, a) for s, a in zip(stretches, arrays, strict=True) if s.repeats == 1]
    made = iter(_tools(flat))
    return [
        next(made) if stretch.repeats == 1 else list(row)
        for stretch, row in zip(stretches, arrays, strict=True)
    ]


def _prepare(step: _Step, pair: Pair, dtype: Any) -> Array:
    block = step.block
    options = {"component": COMPONENT in step.before, "complex_matrix": block.complex}
    if not block.sample:
        return dense_matrix(pair, dtype=dtype, **options)
    turned = Pair(*(None if p is None else jnp.moveaxis(p, -1, -3) for p in pair))
    return jnp.moveaxis(dense_matrix(turned, dtype=dtype, **options), -3, -1)


def _is_stacked(step: _Step, array: Array, repeats: int) -> bool:
    """Whether an array of a loop has one entry per turn."""
    rank = 2 + (1 if step.block.sample and step.block.kind == "dense" else 0)
    return repeats > 1 and array.ndim > rank


def _view(state: Array, layout: PhaseLayout) -> Array:
    runs = list(layout.runs)
    if layout.axis is not None:
        runs.insert(layout.axis, 2)
    return state.reshape((*runs, state.shape[-1]))


def _shaped(tables: Sequence[Array], layout: PhaseLayout) -> tuple[Array, ...]:
    return tuple(
        t.reshape((*shape, t.shape[-1])) for t, shape in zip(tables, layout.shapes, strict=True)
    )


def _forward(step: _Step, tool: Any, state: Array, run: "_Run") -> Array:
    return _apply(step, tool, _meet(step, state, run.plan), run)


def _meet(step: _Step, state: Array, plan: Plan) -> Array:
    """Brings a state into the order of a step, which is all that a permutation does."""
    block = step.block
    if block.kind == "permutation":
        return look_up(state, step.before, step.order, block.sites, block.bit_map)
    return move_axes(state, step.before, step.order, plan.dims)


def _apply(step: _Step, tool: Any, state: Array, run: "_Run") -> Array:
    if step.block.kind == "split":
        return _run_split(run.plan, step.block, step.order, state, run.numbers)
    if step.block.kind == "permutation":
        return state
    layout = step.phases
    if layout is not None:
        turned = turn(_view(state, layout), tool.tables, tool.units, layout.axis)
        return turned.reshape(-1, state.shape[-1])
    return multiply(state, tool, step.outer)


def _run_split(plan: Plan, block: Block, order: Order, state: Array, numbers: Numbers) -> Array:
    """A gate too large for a transfer matrix: on the rows, and its conjugate on the columns."""
    n = sum(d == 4 for d in plan.dims)
    natural = tuple(range(len(plan.dims)))
    moved = move_axes(state, order, natural, plan.dims)
    batch = moved.shape[-1]
    elements = from_pauli(moved.reshape(4**n, -1), n).reshape(-1, batch)
    planar = jnp.concatenate([elements.real, elements.imag])
    dims = (2,) * (2 * n + len(plan.dims) - n)
    task = plan.task._replace(mixed=False, given=True, real=False)
    inner = plan_factors(block.factors[0].form.inner, dims, task)
    done = evolve(inner, numbers.params, numbers.data, planar, planar.dtype)
    half = len(done) // 2
    whole = lax.complex(done[:half], done[half:]).reshape(2**n, 2**n, -1)
    back = to_pauli(whole, n).reshape(-1, batch).astype(state.dtype)
    return move_axes(back, natural, order, plan.dims)


def _pull(step: _Step, tool: Any, ket: Array, bra: Array, plan: Plan) -> tuple[Array, Any]:
    """Cotangents of the state before a step and of its array.

    Args:
        step: which.
        tool: what it multiplies by.
        ket: state that the matrix or the phases meet, in the step's order.
        bra: cotangent of the state after it.
        plan: for the dimensions.
    """
    if step.block.kind == "permutation":
        return _move_back(step, bra, plan), ()
    if step.phases is not None:
        return _pull_phases(step, tool, ket, bra)
    slope = gram(bra, ket, tool, step.outer)
    bra = multiply(bra, tool, step.outer, transposed=True)
    return _move_back(step, bra, plan), slope


def _move_back(step: _Step, state: Array, plan: Plan) -> Array:
    block = step.block
    if block.kind == "permutation":
        back = inverse(block.bit_map)
        return look_up(state, step.order, step.before, block.sites, back)
    return move_axes(state, step.order, step.before, plan.dims)


def _pull_phases(step: _Step, tool: _Phases, ket: Array, bra: Array) -> tuple[Array, Any]:
    layout = step.phases
    assert layout is not None
    batch = ket.shape[-1]
    turned = _turn_back(layout, tool, bra)
    axis = 0 if layout.axis is None else layout.axis
    bra_r, bra_i = (lax.index_in_dim(turned, i, axis, keepdims=False) for i in (0, 1))
    if layout.axis is None:
        density = _view(ket, layout) * bra_i
        turned = bra_r
    else:
        view = _view(ket, layout)
        ket_r, ket_i = (lax.index_in_dim(view, i, axis, keepdims=False) for i in (0, 1))
        density = ket_r * bra_i - ket_i * bra_r
    return turned.reshape(-1, batch), table_sums(layout, density, tool.tables)


def _turn_back(layout: PhaseLayout, tool: _Phases, state: Array) -> Array:
    """A complex state, as a view, with the opposite phases."""
    axis = 0 if layout.axis is None else layout.axis
    opposite = tuple(Unit(unit.cosine, -unit.sine) for unit in tool.units)
    negated = tuple(-table for table in tool.tables)
    return turn(_view(state, layout._replace(axis=axis)), negated, opposite, axis)


def _undo(step: _Step, tool: Any, ket: Array) -> Array:
    """State that a unitary step met, in its order, from the state after it."""
    layout = step.phases
    if step.block.kind == "permutation":
        return ket
    if layout is None:
        return multiply(ket, tool, step.outer, transposed=True)
    turned = _turn_back(layout, tool, ket)
    if layout.axis is None:
        turned = turned[0]
    return turned.reshape(-1, ket.shape[-1])


class _Run:
    """A plan, its schedule and its numbers, ready to be run."""

    def __init__(self, plan: Plan, params: Sequence[Any], data: Sequence[Any], dtype: Any):
        self.plan, self.dtype = plan, dtype
        task = plan.task
        self.numbers = Numbers(params, data, task.leaves, task.data)
        self.vectors: list[Any] | None = None
        waiting = None
        if not task.given:
            waiting = chain_vectors(plan, self.numbers, dtype)
            imaginary = _chains_are_complex(plan)
            self.start = canonical(len(plan.dims), not imaginary)
            self.start = _best_start(plan, self.start)
        else:
            self.start = canonical(len(plan.dims), task.mixed or task.real)
        self.stretches = _schedule(plan, self.start)
        make = _arrays(plan, self.stretches, self.numbers, dtype)
        self.arrays = make()
        if waiting is not None:
            self.vectors = waiting()

    @property
    def end(self) -> Order:
        """Order of the axes when all is done."""
        return self.stretches[-1].after if self.stretches else self.start

    def initial(self, state: Array | None) -> Array:
        """State before the first segment, (numbers, batch)."""
        batch = self.plan.task.batch
        if self.vectors is not None:
            return product_state(self.vectors, self.start, batch, self.dtype)
        assert state is not None
        return state

    def finish(self, state: Array, order: Order) -> Array:
        """Canonical order, with a component unless the state is a density matrix."""
        plan = self.plan
        real = COMPONENT not in order
        state = move_axes(state, order, canonical(len(plan.dims), real), plan.dims)
        if real and not plan.task.mixed:
            state = jnp.concatenate([state, jnp.zeros_like(state)])
        return state

    def unfinish(self, state: Array, order: Order) -> Array:
        """What `finish` does, backwards."""
        plan = self.plan
        real = COMPONENT not in order
        if real and not plan.task.mixed:
            state = state[: state.shape[0] // 2]
        return move_axes(state, canonical(len(plan.dims), real), order, plan.dims)


def _chains_are_complex(plan: Plan) -> bool:
    return any(f.form.complex for chain in plan.chains for f in chain) and not plan.task.mixed


def _best_start(plan: Plan, order: Order) -> Order:
    """The order in which the first block wants a product state."""
    if not plan.segments:
        return order
    if plan.segments[0].repeats > 1:
        return _schedule(plan, order)[0].before
    block = plan.segments[0].blocks[0]
    return order if block.kind == "permutation" else _step(block, order, plan).order


def evolve(
    plan: Plan,
    params: Sequence[Any],
    data: Sequence[Any],
    state: Array | None,
    dtype: Any,
    *,
    checkpointed: bool = False,
) -> Array:
    """Runs a plan.

    Args:
        plan: from `make_plan`.
        params: per leaf an array (size,), or (size, batch) for those that the plan's task lists.
        data: further arrays, likewise with the batch last.
        state: (numbers, batch) in canonical order, or None to start from |0...0>.
        dtype: real dtype of the state.
        checkpointed: when differentiated by JAX, keep about the square root of the states.

    Returns:
        (numbers, batch): real parts, then imaginary parts; Pauli coefficients for density matrices.
    """
    run = _Run(plan, params, data, dtype)
    state = run.initial(state)
    order = run.start
    tools = _tools_outside_loops(run.stretches, run.arrays)
    for stretch, row in zip(run.stretches, tools, strict=True):
        state = _enter(state, order, stretch.before, plan)
        state = _run_stretch(stretch, row, state, run, checkpointed)
        order = stretch.before if stretch.repeats > 1 else stretch.after
    return run.finish(state, order)


def run_factors(
    factors: Sequence[Factor], params: Sequence[Any], data: Sequence[Any], state: Array
) -> Array:
    """Applies factors to a ket held as real and imaginary parts (2, 2**n), as plain JAX code."""
    num_sites = state.shape[1].bit_length() - 1
    task = Task(given=True, device=default_device())
    plan = plan_factors(factors, (2,) * num_sites, task)
    done = evolve(plan, params, data, state.reshape(-1, 1), state.dtype)
    return done.reshape(state.shape)


def _enter(state: Array, order: Order, wanted: Order, plan: Plan) -> Array:
    """Brings a state into the order in which a stretch begins, complex if that is."""
    if COMPONENT in wanted and COMPONENT not in order:
        state = jnp.concatenate([state, jnp.zeros_like(state)])
        order = (COMPONENT, *order)
    return move_axes(state, order, wanted, plan.dims)


def _leave(state: Array, order: Order, wanted: Order, plan: Plan) -> Array:
    """What `_enter` does, backwards."""
    if COMPONENT in wanted and COMPONENT not in order:
        state = move_axes(state, wanted, (COMPONENT, *order), plan.dims)
        return state[: state.shape[0] // 2]
    return move_axes(state, wanted, order, plan.dims)


def _run_stretch(
    stretch: _Stretch, row: list[Any], state: Array, run: _Run, checkpointed: bool
) -> Array:
    """Runs a stretch.

    Args:
        stretch: which.
        row: its tools, or the arrays of a loop.
        state: before it.
        run: that it belongs to.
        checkpointed: as for `evolve`.
    """
    plan = run.plan
    if stretch.repeats == 1:
        if checkpointed and len(stretch.steps) > 3:
            return _run_in_groups(stretch, row, state, run)
        for step, tool in zip(stretch.steps, row, strict=True):
            state = _forward(step, tool, state, run)
        return state
    varying, shared = _separate(stretch, row)

    def body(carry: Array, moving: dict[int, Any]) -> tuple[Array, None]:
        for step, tool in zip(stretch.steps, _tools_of_turn(stretch, moving, shared), strict=True):
            carry = _forward(step, tool, carry, run)
        return move_axes(carry, stretch.after, stretch.before, plan.dims), None

    if not checkpointed:
        return lax.scan(body, state, varying, length=stretch.repeats)[0]
    inner = isqrt(stretch.repeats)
    outer = stretch.repeats // inner

    def several(carry: Array, moving: Any) -> tuple[Array, None]:
        return lax.scan(jax.checkpoint(body), carry, moving, length=inner)

    cut = inner * outer
    head = jax.tree.map(lambda a: a[:cut].reshape((outer, inner, *a.shape[1:])), varying)
    tail = jax.tree.map(lambda a: a[cut:], varying)
    state = lax.scan(jax.checkpoint(several), state, head, length=outer)[0]
    if cut < stretch.repeats:
        state = lax.scan(jax.checkpoint(body), state, tail, length=stretch.repeats - cut)[0]
    return state


def _run_in_groups(stretch: _Stretch, tools: list[Any], state: Array, run: _Run) -> Array:
    """Runs steps in about sqrt(steps) groups, of which only the ends are kept."""
    size = isqrt(len(stretch.steps) - 1) + 1
    for start in range(0, len(stretch.steps), size):
        steps = stretch.steps[start : start + size]

        @jax.checkpoint
        def group(state: Array, tools: list[Any], steps: Any = steps) -> Array:
            for step, tool in zip(steps, tools, strict=True):
                state = _forward(step, tool, state, run)
            return state

        state = group(state, tools[start : start + size])
    return state


def _separate(stretch: _Stretch, arrays: list[Any]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Arrays of a loop with one entry per turn, and those that all turns share.

    Tables of phases come in tuples, of which some may be shared: these are repeated.
    """
    varying: dict[int, Any] = {}
    shared: dict[int, Any] = {}
    for i, (step, array) in enumerate(zip(stretch.steps, arrays, strict=True)):
        parts = array if isinstance(array, tuple) else (array,)
        stacked = [_is_stacked(step, a, stretch.repeats) for a in parts]
        if not any(stacked):
            shared[i] = array
            continue
        whole = tuple(
            a if s else jnp.broadcast_to(a, (stretch.repeats, *a.shape))
            for a, s in zip(parts, stacked, strict=True)
        )
        varying[i] = whole if isinstance(array, tuple) else whole[0]
    return varying, shared


def _tools_of_turn(stretch: _Stretch, moving: dict[int, Any], shared: dict[int, Any]) -> list[Any]:
    """What the steps of one turn of a loop multiply by."""
    arrays = [moving[i] if i in moving else shared[i] for i in range(len(stretch.steps))]
    return _tools([(stretch.steps, arrays)])[0]


def kept_bytes(plan: Plan, dtype: Any) -> int:
    """Memory of all states between blocks."""
    components = 1 if plan.task.mixed else 2
    numbers = components * prod(plan.dims) * plan.task.batch
    return 3 * numbers * jnp.dtype(dtype).itemsize * max(plan.num_blocks, 1)


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
        return _sweep(plan, params, data, state, result, slope, dtype, keep=False)
    if fits and all(block.kind != "split" for block in blocks):
        return _sweep(plan, params, data, state, result, slope, dtype, keep=True)

    def run(p: Any, d: Any, s: Any) -> Array:
        return evolve(plan, p, d, s, dtype, checkpointed=not fits)

    _, pull = jax.vjp(run, tuple(params), tuple(data), state)
    return pull(slope)


def _sweep(
    plan: Plan, params: Any, data: Any, state: Any, result: Array, slope: Array, dtype: Any,
    *, keep: bool,
) -> tuple[tuple, tuple, Array | None]:  # fmt: skip
    """Goes through the plan backwards, with kept states or undoing every block."""
    made: dict[str, Any] = {}

    def prepare(p: Any, d: Any) -> Any:
        made["run"] = run = _Run(plan, p, d, dtype)
        first = None if plan.task.given else run.initial(None)
        return run.arrays, first

    (arrays, first), pull = jax.vjp(prepare, tuple(params), tuple(data))
    run: _Run = made["run"]
    orders = [run.start]
    for stretch in run.stretches:
        orders.append(stretch.before if stretch.repeats > 1 else stretch.after)
    tools = _tools_outside_loops(run.stretches, arrays)
    kept = _run_keeping(run, tools, state if plan.task.given else first) if keep else None
    bra = run.unfinish(slope, orders[-1])
    ket = run.unfinish(result, orders[-1])
    slopes: list[Any] = [None] * len(arrays)
    for s in reversed(range(len(arrays))):
        stretch = run.stretches[s]
        back = _Back(stretch, tools[s], plan, None if kept is None else kept[s])
        ket, bra, slopes[s] = back.run(ket, bra)
        bra = _leave(bra, orders[s], stretch.before, plan)
        if kept is None:
            ket = _leave(ket, orders[s], stretch.before, plan)
    params_bar, data_bar = pull((slopes, None if plan.task.given else bra))
    return params_bar, data_bar, bra if plan.task.given else None


def _run_keeping(run: _Run, tools: list[list[Any]], state: Array) -> list[Any]:
    """Runs a plan and returns, per stretch and step, the state that the step meets."""
    plan, order = run.plan, run.start
    kept: list[Any] = []

    def turn_once(
        stretch: _Stretch, tools: Sequence[Any], carry: Array
    ) -> tuple[Array, list[Array | None]]:
        met: list[Array | None] = []
        for step, tool in zip(stretch.steps, tools, strict=True):
            found = _meet(step, carry, plan)
            met.append(None if step.block.kind == "permutation" else found)
            carry = _apply(step, tool, found, run)
        return carry, met

    for stretch, row in zip(run.stretches, tools, strict=True):
        state = _enter(state, order, stretch.before, plan)
        if stretch.repeats == 1:
            state, met = turn_once(stretch, row, state)
            order = stretch.after
        else:
            varying, shared = _separate(stretch, row)

            def body(
                carry: Array, moving: Any, stretch: Any = stretch, shared: Any = shared
            ) -> Any:
                tools = _tools_of_turn(stretch, moving, shared)
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
        row: its tools, or the arrays of a loop.
        plan: that it belongs to.
        kept: per step the state that it met; None if states are found by undoing steps.
    """

    stretch: _Stretch
    row: list[Any]
    plan: Plan
    kept: Any

    def once(
        self, ket: Any, bra: Array, tools: Sequence[Any], kept: Any
    ) -> tuple[Any, Array, list[Any]]:
        """One turn of the stretch: state, cotangent and cotangents of the arrays."""
        slopes: list[Any] = [None] * len(self.stretch.steps)
        nothing: Any = 0.0
        for i in reversed(range(len(self.stretch.steps))):
            step = self.stretch.steps[i]
            if kept is not None:
                bra, slopes[i] = _pull(step, tools[i], kept[i], bra, self.plan)
                continue
            # Tied to the slope of the step before: XLA would otherwise undo the state further
            # than it has used it, and hold more states than two.
            tool = jax.tree.map(lambda a, zero=nothing: a + zero, tools[i])
            met = _undo(step, tool, ket)
            bra, slopes[i] = _pull(step, tool, met, bra, self.plan)
            ket = _move_back(step, met, self.plan)
            if found := jax.tree.leaves(slopes[i]):  # a permutation has none
                nothing = sum(0 * lax.stop_gradient(s).reshape(-1)[0] for s in found)
        return ket, bra, slopes

    def run(self, ket: Array, bra: Array) -> tuple[Array, Array, list[Any]]:
        """State and cotangent before the stretch, and cotangents of its arrays."""
        stretch, plan = self.stretch, self.plan
        if stretch.repeats == 1:
            return self.once(ket, bra, self.row, self.kept)
        varying, shared = _separate(stretch, self.row)

        def body(carry: tuple[Any, Array], moving: Any) -> tuple[Any, Any]:
            turning, kept = moving
            ket, bra = carry
            bra = move_axes(bra, stretch.before, stretch.after, plan.dims)
            if kept is None:
                ket = move_axes(ket, stretch.before, stretch.after, plan.dims)
            tools = _tools_of_turn(stretch, turning, shared)
            ket, bra, slopes = self.once(ket, bra, tools, kept)
            return (ket if kept is None else carry[0], bra), {i: slopes[i] for i in turning}

        start = (ket if self.kept is None else jnp.zeros(()), bra)
        (ket, bra), found = lax.scan(
            body, start, (varying, self.kept), length=stretch.repeats, reverse=True
        )
        return ket, bra, [self._summed(i, array, found) for i, array in enumerate(self.row)]

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
