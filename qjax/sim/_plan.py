"""The plan of a circuit: which blocks act on the state, in which order.

A plan is static, printable and cached per structure, batch size and device. It says what is done;
the numbers come in when the engine runs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod
from typing import NamedTuple

import jax
import numpy as np

from qjax.circuit import Structure
from qjax.sim._bits import BitMap, joined
from qjax.sim._cost import MACHINES, Machine
from qjax.sim._layout import COMPONENT, arrange, canonical, free_order
from qjax.sim._lowering import Factor, Form, lower_mixed, lower_pure

__all__ = [
    "MOST_PRODUCTS",
    "Block",
    "Plan",
    "Segment",
    "Strategy",
    "Task",
    "by_products",
    "default_device",
    "is_sample",
    "machine_of",
    "make_plan",
    "plan_factors",
    "plan_with",
    "products_fit",
    "strategies",
    "wanted_first",
]

LARGEST_BLOCKS = (8, 16, 32, 64, 128, 256)  # sizes K of a block's matrix that are tried
LONGEST_PERIOD = 1024  # factors of a layer that may become a loop
UNROLLED = 24  # blocks up to which a repeated layer is written out
MANY_TURNS = 16  # of a loop, beside which a few more gates in one cost nothing
LONGEST_PLANNED = 600  # factors up to which a repeated layer may be planned as a whole
MOST_PRODUCTS = 256  # of functions of angles, in a matrix built in one go
LARGEST_CONSTANT = 2**20  # entries of what such a matrix is built from
LARGE_STATE = 2**15  # entries of a state vector from which small arrays are made by products
HUGE_STATE = 2**21  # entries from which they are not: XLA may hold a state more for it
SMALL_STATE = 2**13  # numbers of a state that cost less than building matrices


class Task(NamedTuple):
    """What a plan is made for, beside the structure.

    Attributes:
        mixed: whether the state is a density matrix.
        batch: number of samples.
        given: whether the initial state is given, rather than |0...0>.
        real: whether a given initial state is real.
        leaves: arrays of angles that differ from sample to sample.
        data: further arrays that do.
        fuse: merge factors into blocks.
        device: "cpu" or "gpu".
    """

    mixed: bool = False
    batch: int = 1
    given: bool = False
    real: bool = False
    leaves: frozenset[int] = frozenset()
    data: frozenset[int] = frozenset()
    fuse: bool = True
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Block:
    """Factors that act together in one pass over the state.

    Attributes:
        kind: "dense" (one matrix), "phases" (a diagonal), "permutation" (basis states are renamed)
            or "split" (a gate on the rows and the columns of a density matrix one after the other).
        sites: that it acts on, ascending.
        factors: in the order in which they act.
        complex: whether the matrix has an imaginary part.
        sample: whether its numbers differ from sample to sample.
    """

    kind: str
    sites: tuple[int, ...]
    factors: tuple[Factor, ...]
    complex: bool
    sample: bool

    @cached_property
    def size(self) -> int:
        """K, the dimension of its matrix."""
        dims = {s: d for f in self.factors for s, d in zip(f.sites, f.form.dims, strict=False)}
        return prod(dims[s] for s in self.sites)

    @cached_property
    def unitary(self) -> bool:
        """Whether its transpose undoes it."""
        return all(factor.form.unitary for factor in self.factors)

    @cached_property
    def bit_map(self) -> BitMap:
        """What a permutation does to the bits of its sites."""
        maps = [(f.form.bit_map, f.sites) for f in self.factors if f.form.bit_map is not None]
        return joined(maps, self.sites)

    @cached_property
    def localised(self) -> tuple[tuple[Form, tuple[int, ...]], ...]:
        """Its forms, on its own sites 0, 1, ..."""
        local = {site: i for i, site in enumerate(self.sites)}
        return tuple((f.form, tuple(local[s] for s in f.sites)) for f in self.factors)


class Segment(NamedTuple):
    """A sequence of blocks, once or repeated with other numbers.

    Attributes:
        rows: per repeat its blocks; all rows have the same forms on the same sites.
    """

    rows: tuple[tuple[Block, ...], ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the first repeat."""
        return self.rows[0]

    @property
    def repeats(self) -> int:
        """How often it is run."""
        return len(self.rows)


class Strategy(NamedTuple):
    """One way to plan.

    Attributes:
        largest: bound on the size K of a block's matrix.
        split: whether phases are kept apart from matrices.
        permute: whether CX and the like are.
    """

    largest: int
    split: bool = True
    permute: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """How a circuit is simulated.

    Attributes:
        structure: of the circuit.
        task: what the plan is for.
        dims: dimension of every site of the state.
        chains: per site the factors that act on |0> before any other qubit is touched; empty if
            the initial state is given. The state they make is a product.
        segments: the rest, in the order in which it acts.
        way: how it was planned.
        seconds: predicted time of one run.
    """

    structure: Structure | None
    task: Task
    dims: tuple[int, ...]
    chains: tuple[tuple[Factor, ...], ...]
    segments: tuple[Segment, ...]
    way: Strategy
    seconds: float

    @cached_property
    def unitary(self) -> bool:
        """Whether every block can be undone by its transpose."""
        return all(block.unitary for segment in self.segments for block in segment.blocks)

    @cached_property
    def num_blocks(self) -> int:
        """Passes over the state of one run."""
        return sum(len(segment.blocks) * segment.repeats for segment in self.segments)

    def __str__(self) -> str:
        what = "density matrix" if self.task.mixed else "state vector"
        n = len(self.dims) if self.structure is None else self.structure.num_qubits
        steps = 0 if self.structure is None else len(self.structure.steps)
        head = (
            f"{what} of {n} qubits, batch {self.task.batch}: {steps} operations in "
            f"{self.num_blocks} blocks, predicted {_time(self.seconds)}"
        )
        lines = [head]
        absorbed = sum(map(len, self.chains))
        if absorbed:
            lines.append(f"  product state: {absorbed} factors")
        for segment in self.segments:
            margin = "  "
            if segment.repeats > 1:
                lines.append(f"  {segment.repeats} times:")
                margin = "    "
            lines += [margin + _describe(block) for block in segment.blocks]
        return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"


def _describe(block: Block) -> str:
    kind = {"dense": "matrix", "split": "rows and columns"}.get(block.kind, block.kind)
    flags = [f for f in ("complex", "sample") if getattr(block, f) and block.kind == "dense"]
    names = [factor.form.name for factor in block.factors]
    counted = {name: names.count(name) for name in dict.fromkeys(names)}
    listed = ", ".join(f"{n} {name}" if n > 1 else name for name, n in counted.items())
    count = len(block.sites)
    where = f"{count} qubits" if count > 8 else f"qubits {', '.join(map(str, block.sites))}"
    return f"{' '.join([*flags, kind])} on {where}: {listed}"


class _Options(NamedTuple):
    """What decides how factors are grouped."""

    way: Strategy
    task: Task
    dims: tuple[int, ...]


def is_sample(factor: Factor, task: Task) -> bool:
    """Whether the samples of a batch have a factor of their own each."""
    return factor.data in task.data or any(r.leaf in task.leaves for r in factor.references)


STAGES = ("dense", "phases", "permutation")  # kinds of the stages, over and over again


def _stages(factors: Sequence[Factor], options: _Options) -> list[tuple[str, list[int]]]:
    """Kinds and numbers of the factors, stage by stage.

    Every factor goes to the earliest stage of its kind that the order on its sites allows, so
    that the phases between two layers of matrices become one diagonal.
    """
    level = [0] * len(options.dims)
    stages: dict[int, list[int]] = {}
    whole: set[int] = set()
    for i, factor in enumerate(factors):
        kinds = _kinds(factor, options)
        if "split" in kinds:  # a stage of its own, after all that came before
            chosen = (max(level) // len(STAGES) + 1) * len(STAGES)
            whole.add(chosen)
            level = [chosen + len(STAGES)] * len(level)
        else:
            chosen = max(level[s] for s in factor.sites)
            while STAGES[chosen % len(STAGES)] not in kinds:
                chosen += 1
            for site in factor.sites:
                level[site] = chosen
        stages.setdefault(chosen, []).append(i)
    return [
        ("split" if key in whole else STAGES[key % len(STAGES)], stages[key])
        for key in sorted(stages)
    ]


def _kinds(factor: Factor, options: _Options) -> tuple[str, ...]:
    """Kinds of the stages that a factor fits into, the first for a factor by itself."""
    form = factor.form
    if form.inner:
        return ("split",)
    if form.columns is None:
        if not options.way.permute or form.bit_map is None:
            return ("dense",)
        return ("permutation",) if len(factor.sites) > 1 else ("dense", "permutation")
    if is_sample(factor, options.task) or form.size > max(options.way.largest, 4):
        return ("phases",)
    if not options.way.split:
        return ("dense",)
    return ("phases",) if form.basis is None else ("dense", "phases")


def _is_small(options: _Options) -> bool:
    """Whether passes over the state cost less than building matrices.

    Layers are then kept apart, so that the matrices of all of them are built together.
    """
    return 2 * prod(options.dims) * options.task.batch <= SMALL_STATE


def _pack(
    factors: Sequence[Factor], stage: list[int], options: _Options
) -> list[tuple[set[int], list[int]]]:
    """Gathers the matrices of one stage into blocks, keeping the order on every site."""
    blocks: list[tuple[set[int], list[int]]] = []
    closed: set[int] = set()
    last: dict[int, int] = {}
    for i in stage:
        factor = factors[i]
        sites = set(factor.sites)
        first = max((last.get(site, 0) for site in sites), default=0)
        chosen = None
        alone = is_sample(factor, options.task) or not options.task.fuse
        if not alone:
            joins = len(sites) > 1 and _is_small(options)  # a layer of its own form ends here
            bound = max(options.way.largest, factor.form.size)
            best = None
            for j in range(first, len(blocks)):
                if j in closed or (joins and any(factors[k].references for k in blocks[j][1])):
                    continue
                union = blocks[j][0] | sites
                growth = len(union) - len(blocks[j][0])
                fits = growth == 0 or prod(options.dims[s] for s in union) <= bound
                if fits and (best is None or growth < best):
                    chosen, best = j, growth
                    if growth == 0:
                        break
        if chosen is None:
            blocks.append((sites, [i]))
            chosen = len(blocks) - 1
            if alone:
                closed.add(chosen)
        else:
            blocks[chosen][0].update(sites)
            blocks[chosen][1].append(i)
        last |= dict.fromkeys(sites, chosen)
    return blocks


def _group(factors: Sequence[Factor], options: _Options) -> list[tuple[str, list[int]]]:
    """Kinds and factor numbers of the blocks, in the order in which they act."""
    if not options.task.fuse:
        return [(_kinds(factor, options)[0], [i]) for i, factor in enumerate(factors)]
    groups: list[tuple[str, list[int]]] = []
    for kind, stage in _stages(factors, options):
        if kind == "dense":
            groups += [("dense", members) for _, members in _pack(factors, stage, options)]
        else:
            groups.append((kind, stage))
    return groups


def _block(kind: str, factors: Sequence[Factor], task: Task) -> Block:
    sites = tuple(sorted({site for factor in factors for site in factor.sites}))
    return Block(
        kind=kind,
        sites=sites,
        factors=tuple(factors),
        complex=kind == "dense" and any(f.form.complex for f in factors),
        sample=any(is_sample(f, task) for f in factors),
    )


def _identities(factors: Sequence[Factor]) -> np.ndarray:
    """A number per factor, equal for factors that differ only in which numbers they take."""
    known: dict[object, int] = {}
    keys = []
    for i, factor in enumerate(factors):
        references = tuple(r._replace(index=0) for r in factor.references)
        key: object = (factor.form, factor.sites, references)
        if factor.data is not None or factor.form.inner:
            key = i
        keys.append(known.setdefault(key, len(known)))
    return np.asarray(keys)


def _find_loop(factors: Sequence[Factor]) -> "_Loop":
    """The repeated sequence that covers most; one turn if there is none."""
    keys = _identities(factors)
    best, covered = _Loop(0, len(keys), 1), 0
    for period in range(1, min(LONGEST_PERIOD, len(keys) // 2) + 1):
        same = keys[period:] == keys[:-period]
        if not same.any():
            continue
        breaks = np.flatnonzero(~same)
        edges = np.concatenate([[-1], breaks, [len(same)]])
        longest = int(np.argmax(np.diff(edges)))
        start, length = int(edges[longest]) + 1, int(np.diff(edges)[longest]) - 1
        repeats = length // period + 1
        if repeats > 1 and repeats * period > covered:
            best, covered = _Loop(start, period, repeats), repeats * period
    return best


class _Loop(NamedTuple):
    """A repeated sequence among factors: where it begins, how long it is, how often it comes."""

    start: int
    period: int
    repeats: int


def _plan_segments(
    factors: Sequence[Factor], options: _Options, loop: _Loop, *, sketch: bool
) -> tuple[Segment, ...]:
    """Blocks of a sequence of factors, a repeated part of it as a loop.

    Args:
        factors: which.
        options: how they are grouped.
        loop: among them.
        sketch: whether all turns of a loop may stand for the first, which is enough to tell the
            time that it takes.
    """

    def whole(part: Sequence[Factor]) -> Segment:
        groups = _group(part, options)
        return Segment((tuple(_block(k, [part[i] for i in m], options.task) for k, m in groups),))

    def outside(part: Sequence[Factor]) -> tuple[Segment, ...]:
        return _plan_segments(part, options, _find_loop(part), sketch=sketch) if part else ()

    if not options.task.fuse:
        return (whole(factors),) if factors else ()
    start, period, repeats = loop
    if repeats < 3 or len(factors) <= LONGEST_PLANNED:
        segment = whole(factors)
        if len(segment.blocks) <= UNROLLED or repeats < 3:
            return (segment,) if factors else ()
    body = factors[start : start + period]
    groups = _group(body, options)
    is_short = len(groups) * repeats <= UNROLLED
    rows = []
    for turn in range(1 if sketch and not is_short else repeats):
        part = factors[start + turn * period : start + (turn + 1) * period]
        rows.append(tuple(_block(k, [part[i] for i in m], options.task) for k, m in groups))
    middle = Segment(tuple(rows) * (repeats // len(rows)))
    if is_short:
        middle = Segment((tuple(block for row in rows for block in row),))
    before, after = factors[:start], factors[start + repeats * period :]
    return (*outside(before), middle, *outside(after))


def _take_chains(
    factors: Sequence[Factor], num_sites: int
) -> tuple[tuple[tuple[Factor, ...], ...], list[Factor]]:
    """Cuts off, per site, the factors that act before the site meets another one."""
    chains: list[list[Factor]] = [[] for _ in range(num_sites)]
    closed: set[int] = set()
    rest = []
    for factor in factors:
        if len(factor.sites) == 1 and factor.sites[0] not in closed and not factor.form.inner:
            chains[factor.sites[0]].append(factor)
        else:
            closed |= set(factor.sites)
            if factor.form.inner:
                closed |= set(range(num_sites))
            rest.append(factor)
    return tuple(map(tuple, chains)), rest


def _predict(segments: Sequence[Segment], options: _Options, machine: Machine) -> float:
    """Seconds of one run, by the cost model."""
    task, dims = options.task, options.dims
    real = task.mixed
    order = canonical(len(dims), real)
    numbers = (1 if real else 2) * prod(dims) * task.batch
    total = machine.start
    built: dict[tuple, int] = {}  # blocks of one form, and how many there are
    for k, segment in enumerate(segments):
        following = segments[k + 1 :]
        seconds = 0.0
        for i, block in enumerate(segment.blocks):
            if block.kind == "permutation":
                seconds += machine.permutation(numbers)
                order = free_order(len(dims), real, wanted_first(segment, i, following))
                continue
            if block.kind == "phases":
                seconds += machine.phases(numbers)
                continue
            if block.kind == "split":
                seconds += 8 * machine.phases(2 * numbers)
                continue
            move = arrange(order, block.sites, block.complex, dims, task.batch, machine)
            order = move.order
            seconds += move.seconds * (8 if block.sample else 1)
            key = (block.size, block.complex, block.localised, _pieces(block))
            built[key] = built.get(key, 0) + segment.repeats
        total += seconds * segment.repeats
    for (size, is_complex, _, pieces), count in built.items():
        if pieces:
            total += machine.matrices(size, 2 if is_complex else 1, pieces, count)
    return total


def wanted_first(segment: Segment, i: int, following: Sequence[Segment]) -> tuple[int, ...]:
    """The axes that the block after the i-th one wants first.

    Args:
        segment: of the block.
        i: its number.
        following: the next segments.
    """
    blocks = segment.blocks
    if i + 1 < len(blocks):
        block = blocks[i + 1]
    elif segment.repeats > 1:
        block = blocks[0]
    elif following:
        block = following[0].blocks[0]
    else:
        return ()
    if block.kind != "dense":
        return ()
    return (COMPONENT, *block.sites) if block.complex else block.sites


def _pieces(block: Block) -> tuple[int, ...]:
    """Products of functions of angles in each of the pieces that its matrix is built of."""
    features = [len(f.form.features) or 2 for f in block.factors if f.references]
    pieces: list[int] = []
    for count in features:
        if pieces and products_fit(pieces[-1] * count, block.size):
            pieces[-1] *= count
        else:
            pieces.append(count)
    return tuple(pieces)


def products_fit(products: int, size: int) -> bool:
    """Whether a matrix (size, size) may be one sum over so many products of functions of angles."""
    return products <= MOST_PRODUCTS and products * size**2 <= LARGEST_CONSTANT


class _Parts(NamedTuple):
    """What is the same in all ways to plan a sequence of factors.

    Attributes:
        chains: as in `Plan`.
        rest: the factors that are in none.
        loop: among the rest.
    """

    chains: tuple[tuple[Factor, ...], ...]
    rest: list[Factor]
    loop: _Loop


def _parts(factors: Sequence[Factor], dims: tuple[int, ...], task: Task) -> _Parts:
    chains: tuple[tuple[Factor, ...], ...] = ()
    rest = list(factors)
    if not task.given:
        chains = ((),) * len(dims)
        if task.fuse:
            chains, rest = _take_chains(factors, len(dims))
    return _Parts(chains, rest, _find_loop(rest))


def plan_factors(
    factors: Sequence[Factor], dims: tuple[int, ...], task: Task, structure: Structure | None = None
) -> Plan:
    """Plans a sequence of factors in the way that is predicted to be fastest.

    Args:
        factors: in the order in which they act.
        dims: of the sites.
        task: what the plan is for.
        structure: of the circuit, for printing.
    """
    parts = _parts(factors, dims, task)
    machine = machine_of(task.device)

    def seconds(way: Strategy) -> float:
        options = _Options(way, task, dims)
        segments = _plan_segments(parts.rest, options, parts.loop, sketch=True)
        return _predict(segments, options, machine)

    best = min(strategies(factors, dims, task), key=seconds)
    return replace(_plan_parts(parts, dims, task, best), structure=structure)


def strategies(factors: Sequence[Factor], dims: tuple[int, ...], task: Task) -> list[Strategy]:
    """All ways that are tried."""
    if not task.fuse:
        return [Strategy(1)]
    sizes = [size for size in LARGEST_BLOCKS if size <= max(prod(dims), 8)]
    ways = [Strategy(size) for size in sizes]
    if task.mixed:
        return ways
    if any(len(f.sites) > 1 and f.form.bit_map is not None for f in factors):
        ways += [Strategy(size, permute=True) for size in sizes if size < prod(dims)]
    return ways + [Strategy(size, split=False) for size in sizes]


def plan_with(factors: Sequence[Factor], dims: tuple[int, ...], task: Task, way: Strategy) -> Plan:
    """Plans a sequence of factors in one way.

    Args:
        factors: in the order in which they act.
        dims: of the sites.
        task: what the plan is for.
        way: how.
    """
    return _plan_parts(_parts(factors, dims, task), dims, task, way)


def _plan_parts(parts: _Parts, dims: tuple[int, ...], task: Task, way: Strategy) -> Plan:
    options = _Options(way, task, dims)
    segments = _plan_segments(parts.rest, options, parts.loop, sketch=False)
    seconds = _predict(segments, options, machine_of(task.device))
    return Plan(None, task, dims, parts.chains, segments, way, seconds)


def by_products(plan: Plan) -> bool:
    """Whether small arrays are made, and taken apart, by products of matrices where possible.

    XLA compiles a kernel for any other operation on a CPU, some 25 ms of its time, but calls its
    library for a product. That takes longer to run, which is not seen beside passes over a large
    state.
    """
    return plan.task.device == "cpu" and LARGE_STATE <= prod(plan.dims) < HUGE_STATE


def machine_of(device: str) -> Machine:
    """Constants of the cost model for a kind of device."""
    return MACHINES.get(device, MACHINES["gpu"])


def default_device() -> str:
    """Kind of device that arrays live on unless told otherwise."""
    return jax.default_backend()


@lru_cache(maxsize=1024)
def _cached_plan(structure: Structure, task: Task) -> Plan:
    if task.mixed:
        factors, dims = lower_mixed(structure)
    else:
        factors = lower_pure(structure, task.leaves, task.data)
        dims = (2,) * structure.num_qubits
    return plan_factors(factors, dims, task, structure)


def make_plan(
    structure: Structure,
    task: Task | None = None,
    *,
    longer: Structure | None = None,
    **options: object,
) -> Plan:
    """Plans the simulation of a circuit.

    Args:
        structure: of the circuit.
        task: what the plan is for.
        longer: structure of a circuit with more gates that may be run instead: it is, if a loop
            of many turns takes in what would be compiled apart, and so leaves fewer segments.
        **options: fields of the task by keyword: `mixed` for a density matrix, `batch` for the
            number of samples, `fuse=False` for the reference plan in which every factor is a pass
            over the state, which fused plans are tested against.

    Returns:
        The plan; the same object for the same arguments.

    Raises:
        CircuitError: if a state vector is asked for and an operation does not keep it pure.

    Example:
        >>> import qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> print(make_plan(bell.structure, batch=32))
        state vector of 2 qubits, batch 32: 2 operations in 1 blocks, predicted ...
          product state: 1 factors
          matrix on qubits 0, 1: CX
    """
    base = Task(device=default_device()) if task is None else task
    base = base._replace(**options) if options else base
    plan = _cached_plan(structure, base)
    if longer is None or max((s.repeats for s in plan.segments), default=1) < MANY_TURNS:
        return plan
    other = _cached_plan(longer, base)
    return other if len(other.segments) < len(plan.segments) else plan
