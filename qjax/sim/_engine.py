"""Running a plan forward."""

from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from qjax._typing import Array
from qjax.sim._bits import look_up
from qjax.sim._chains import Vectors, chain_vectors
from qjax.sim._dot import matmul
from qjax.sim._kernels import Unit, dense_matrix, move_axes, multiply, turn
from qjax.sim._layout import COMPONENT, Order, canonical
from qjax.sim._lowering import Factor
from qjax.sim._numbers import Numbers
from qjax.sim._pauli_basis import from_pauli, to_pauli
from qjax.sim._phases import PhaseLayout, phase_tables, phase_units, taken_apart
from qjax.sim._plan import Block, Plan, Task, default_device, plan_factors
from qjax.sim._products import product_state
from qjax.sim._schedule import Step, Stretch, place, schedule
from qjax.sim._tables import Packed, Pair, block_tables

__all__ = [
    "Phases",
    "Row",
    "Run",
    "apply_step",
    "enter",
    "evolve",
    "meet",
    "packed_slopes",
    "phase_view",
    "run_factors",
    "separate",
    "tools_of_turn",
    "tools_outside_loops",
]


class Row(NamedTuple):
    """What the steps of a stretch are made of, one entry per turn in front if it is a loop.

    Attributes:
        steps: per step a matrix, or where it is packed; tables of phases; or nothing.
        packs: matrices of several steps, one below the other.
    """

    steps: list[Any]
    packs: list[Array]


def _arrays(
    plan: Plan, stretches: Sequence[Stretch], numbers: Numbers, dtype: Any
) -> Callable[[], list[Row]]:
    """Looks at all steps, then gives what the stretches are made of."""
    build = block_tables(
        plan, numbers, dtype, lambda s, j: COMPONENT in stretches[s].steps[j].before
    )

    def ready() -> list[Row]:
        tables = build()
        diagonals = [
            (step.phases, table)
            for stretch, made in zip(stretches, tables, strict=True)
            for step, table in zip(stretch.steps, made.blocks, strict=True)
            if step.phases is not None
        ]
        phases = iter(phase_tables(diagonals, dtype))
        result = []
        for stretch, made in zip(stretches, tables, strict=True):
            arrays = []
            for step, table in zip(stretch.steps, made.blocks, strict=True):
                if step.phases is not None:
                    arrays.append(next(phases))
                elif step.block.kind != "dense":
                    arrays.append(())
                elif isinstance(table, Packed):
                    arrays.append(table)
                else:
                    arrays.append(_prepare(step, table, dtype))
            result.append(Row(arrays, made.packs))
        return result

    return ready


class Phases(NamedTuple):
    """What a diagonal is multiplied by.

    Attributes:
        tables: of phases.
        units: their cosines and sines.
    """

    tables: tuple[Array, ...]
    units: tuple[Unit, ...]


def _tools(rows: Sequence[tuple[Sequence[Step], Sequence[Any]]]) -> list[list[Any]]:
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
            array if step.phases is None else Phases(_shaped(array, step.phases), next(units))
            for step, array in zip(steps, arrays, strict=True)
        ]
        for steps, arrays in rows
    ]


def tools_outside_loops(stretches: Sequence[Stretch], rows: Sequence[Row]) -> list[Any]:
    """As `_tools`; the row of a loop stays, since each turn makes its own."""
    flat = [(s.steps, _unpacked(r)) for s, r in zip(stretches, rows, strict=True) if s.repeats == 1]
    made = iter(_tools(flat))
    return [
        next(made) if stretch.repeats == 1 else row
        for stretch, row in zip(stretches, rows, strict=True)
    ]


def _unpacked(row: Row) -> list[Any]:
    """Arrays of the steps; what is packed is taken by products, since XLA compiles every slice."""
    arrays = []
    for array in row.steps:
        if isinstance(array, Packed):
            pack = row.packs[array.pack]
            size = len(pack) // array.count
            chosen = np.eye(size, len(pack), k=array.place * size)
            array = matmul(chosen, pack)
        arrays.append(array)
    return arrays


def packed_slopes(row: Row, slopes: Sequence[Any]) -> Row:
    """Cotangents of a row, or of what a turn has of it, from those of the steps' arrays."""
    steps: list[Any] = []
    packs: list[list[Any]] = [[] for _ in row.packs]
    for array, slope in zip(row.steps, slopes, strict=True):
        if isinstance(array, Packed):
            packs[array.pack].append((array.place, slope))
        steps.append(array if isinstance(array, Packed) else slope)
    ordered = [sorted(parts, key=lambda part: part[0]) for parts in packs]
    return Row(steps, [lax.concatenate([slope for _, slope in parts], 0) for parts in ordered])


def _prepare(step: Step, pair: Pair, dtype: Any) -> Array:
    block = step.block
    options = {"component": COMPONENT in step.before, "complex_matrix": block.complex}
    if not block.sample:
        return dense_matrix(pair, dtype=dtype, **options)
    turned = Pair(*(None if p is None else jnp.moveaxis(p, -1, -3) for p in pair))
    return jnp.moveaxis(dense_matrix(turned, dtype=dtype, **options), -3, -1)


def _is_stacked(step: Step, array: Array, repeats: int) -> bool:
    """Whether an array of a loop has one entry per turn."""
    is_joint = step.phases is not None and step.phases.together
    rank = 1 if is_joint else 3 if step.block.sample and step.block.kind == "dense" else 2
    return repeats > 1 and array.ndim > rank


def phase_view(state: Array, layout: PhaseLayout) -> Array:
    """A state (numbers, batch) with an axis for each run of sites, the component among them."""
    runs = list(layout.runs)
    if layout.axis is not None:
        runs.insert(layout.axis, 2)
    return state.reshape((*runs, state.shape[-1]))


def _shaped(arrays: Sequence[Array], layout: PhaseLayout) -> tuple[Array, ...]:
    tables = taken_apart(layout, arrays)
    return tuple(
        t.reshape((*shape, t.shape[-1])) for t, shape in zip(tables, layout.shapes, strict=True)
    )


def _forward(step: Step, tool: Any, state: Array, run: "Run") -> Array:
    return apply_step(step, tool, meet(step, state, run.plan), run)


def meet(step: Step, state: Array, plan: Plan) -> Array:
    """Brings a state into the order of a step, which is all that a permutation does."""
    block = step.block
    if block.kind == "permutation":
        return look_up(state, step.before, step.order, block.sites, block.bit_map)
    return move_axes(state, step.before, step.order, plan.dims)


def apply_step(step: Step, tool: Any, state: Array, run: "Run") -> Array:
    """Applies a step to a state in its order; a permutation was applied when that was met."""
    if step.block.kind == "split":
        return _run_split(run.plan, step.block, step.order, state, run.numbers)
    if step.block.kind == "permutation":
        return state
    layout = step.phases
    if layout is not None:
        turned = turn(phase_view(state, layout), tool.tables, tool.units, layout.axis)
        return turned.reshape(-1, state.shape[-1])
    return multiply(state, tool, step.outer, tiled=step.tiled)


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


class Run:
    """A plan, its schedule and its numbers, ready to be run."""

    def __init__(self, plan: Plan, params: Sequence[Any], data: Sequence[Any], dtype: Any):
        self.plan, self.dtype = plan, dtype
        task = plan.task
        self.numbers = Numbers(params, data, task.leaves, task.data)
        self.vectors: list[Vectors] | None = None
        waiting = None
        if not task.given:
            self.start = canonical(len(plan.dims), not _chains_are_complex(plan))
            self.start = _best_start(plan, self.start)
            waiting = chain_vectors(plan, self.numbers, dtype, self.start)
        else:
            self.start = canonical(len(plan.dims), task.mixed or task.real)
        self.stretches = schedule(plan, self.start)
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
        return schedule(plan, order)[0].before
    block = plan.segments[0].blocks[0]
    return order if block.kind == "permutation" else place(block, order, plan).order


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
    run = Run(plan, params, data, dtype)
    state = run.initial(state)
    order = run.start
    tools = tools_outside_loops(run.stretches, run.arrays)
    for stretch, row in zip(run.stretches, tools, strict=True):
        state = enter(state, order, stretch.before, plan)
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


def enter(state: Array, order: Order, wanted: Order, plan: Plan) -> Array:
    """Brings a state into the order in which a stretch begins, complex if that is."""
    if COMPONENT in wanted and COMPONENT not in order:
        state = jnp.concatenate([state, jnp.zeros_like(state)])
        order = (COMPONENT, *order)
    return move_axes(state, order, wanted, plan.dims)


def _run_stretch(stretch: Stretch, row: Any, state: Array, run: Run, checkpointed: bool) -> Array:
    """Runs a stretch.

    Args:
        stretch: which.
        row: its tools, or the row of a loop.
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
    varying, shared = separate(stretch, row)

    def body(carry: Array, moving: dict[int, Any]) -> tuple[Array, None]:
        for step, tool in zip(stretch.steps, tools_of_turn(stretch, moving, shared), strict=True):
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


def _run_in_groups(stretch: Stretch, tools: list[Any], state: Array, run: Run) -> Array:
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


def separate(stretch: Stretch, row: Row) -> tuple[dict[int, Any], dict[int, Any]]:
    """Arrays of a loop with one entry per turn, and those that all turns share.

    Tables of phases come in tuples, of which some may be shared: these are repeated.

    Returns:
        By step, the packs behind the last.
    """
    varying: dict[int, Any] = {}
    shared: dict[int, Any] = {}
    for i, (step, array) in enumerate(zip(stretch.steps, row.steps, strict=True)):
        if isinstance(array, Packed):
            shared[i] = array
            continue
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
    return varying | dict(enumerate(row.packs, len(stretch.steps))), shared


def tools_of_turn(stretch: Stretch, moving: dict[int, Any], shared: dict[int, Any]) -> list[Any]:
    """What the steps of one turn of a loop multiply by."""
    count = len(stretch.steps)
    steps = [moving[i] if i in moving else shared[i] for i in range(count)]
    packs = [moving[i] for i in sorted(moving) if i >= count]
    return _tools([(stretch.steps, _unpacked(Row(steps, packs)))])[0]
