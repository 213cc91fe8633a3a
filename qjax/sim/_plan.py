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
from qjax.sim._cost import MACHINES, Machine
from qjax.sim._layout import arrange, canonical
from qjax.sim._lowering import Factor, Form, lower_mixed, lower_pure

__all__ = [
    "Block",
    "Plan",
    "Segment",
    "Task",
    "default_device",
    "machine_of",
    "make_plan",
    "plan_factors",
    "plan_with",
]

LARGEST_BLOCKS = (8, 16, 32, 64, 128, 256)  # sizes K of a block's matrix that are tried
LONGEST_PERIOD = 1024  # factors of a layer that may become a loop
UNROLLED = 24  # blocks up to which a repeated layer is written out
LONGEST_PLANNED = 600  # factors up to which a repeated layer may be planned as a whole
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
        kind: "dense" (one matrix), "phases" (a diagonal) or "split" (a gate on the rows and the
            columns of a density matrix one after the other).
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
        largest: bound on the size of a block's matrix.
        split: whether phases are kept apart from matrices.
        seconds: predicted time of one run.
    """

    structure: Structure | None
    task: Task
    dims: tuple[int, ...]
    chains: tuple[tuple[Factor, ...], ...]
    segments: tuple[Segment, ...]
    largest: int = 1
    split: bool = True
    seconds: float = 0.0

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
    kind = {"dense": "matrix", "phases": "phases", "split": "rows and columns"}[block.kind]
    flags = [f for f in ("complex", "sample") if getattr(block, f) and block.kind == "dense"]
    names = [factor.form.name for factor in block.factors]
    counted = {name: names.count(name) for name in dict.fromkeys(names)}
    listed = ", ".join(f"{n} {name}" if n > 1 else name for name, n in counted.items())
    where = ", ".join(map(str, block.sites)) if len(block.sites) <= 8 else f"{len(block.sites)}"
    return f"{' '.join([*flags, kind])} on qubits {where}: {listed}"


class _Options(NamedTuple):
    """What the cost model chooses between."""

    largest: int
    split: bool
    fuse: bool
    task: Task
    dims: tuple[int, ...]


def _is_sample(factor: Factor, task: Task) -> bool:
    return factor.data in task.data or any(r.leaf in task.leaves for r in factor.references)


def _stages(factors: Sequence[Factor], options: _Options) -> list[list[int]]:
    """Numbers of the factors, stage by stage: matrices in even stages, phases in odd ones.

    Every factor goes to the earliest stage of its kind that the order on its sites allows, so
    that the phases between two layers of matrices become one diagonal.
    """
    level = [0] * len(options.dims)
    stages: dict[int, list[int]] = {}
    for i, factor in enumerate(factors):
        earliest = max(level[s] for s in factor.sites)
        kind = _kind(factor, options)
        if kind == "split":  # a stage of its own, after all that came before
            chosen = max(level) + 2 - max(level) % 2
            level = [chosen + 2] * len(level)
            stages[chosen] = [i]
            continue
        wanted = {"dense": 0, "phases": 1}.get(kind, earliest % 2)
        chosen = earliest + (earliest % 2 != wanted)
        for site in factor.sites:
            level[site] = chosen
        stages.setdefault(chosen, []).append(i)
    return [stages[key] for key in sorted(stages)]


def _kind(factor: Factor, options: _Options) -> str:
    form = factor.form
    if form.inner:
        return "split"
    if form.columns is None:
        return "dense"
    if _is_sample(factor, options.task):
        return "phases"
    if form.size > max(options.largest, 4):
        return "phases"
    if not options.split:
        return "dense"
    return "phases" if form.basis is None else "either"


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
        alone = _is_sample(factor, options.task) or not options.fuse
        if not alone:
            joins = len(sites) > 1 and _is_small(options)  # a layer of its own form ends here
            bound = max(options.largest, factor.form.size)
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
    if not options.fuse:
        return [(_kind(f, options).replace("either", "dense"), [i]) for i, f in enumerate(factors)]
    groups: list[tuple[str, list[int]]] = []
    for stage in _stages(factors, options):
        kinds = {_kind(factors[i], options) for i in stage}
        if "split" in kinds:
            groups += [("split", [i]) for i in stage]
        elif "phases" in kinds:
            groups.append(("phases", stage))
        else:
            groups += [("dense", members) for _, members in _pack(factors, stage, options)]
    return groups


def _block(kind: str, factors: Sequence[Factor], task: Task) -> Block:
    sites = tuple(sorted({site for factor in factors for site in factor.sites}))
    return Block(
        kind=kind,
        sites=sites,
        factors=tuple(factors),
        complex=kind == "dense" and any(f.form.complex for f in factors),
        sample=any(_is_sample(f, task) for f in factors),
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


def _find_loop(factors: Sequence[Factor]) -> tuple[int, int, int]:
    """(start, period, repeats) of the repeated sequence that covers most; repeats 1 if none."""
    keys = _identities(factors)
    best, covered = (0, len(keys), 1), 0
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
            best, covered = (start, period, repeats), repeats * period
    return best


def _plan_segments(factors: Sequence[Factor], options: _Options) -> tuple[Segment, ...]:
    """Blocks of a sequence of factors, a repeated part of it as a loop."""

    def whole(part: Sequence[Factor]) -> Segment:
        groups = _group(part, options)
        return Segment((tuple(_block(k, [part[i] for i in m], options.task) for k, m in groups),))

    if not options.fuse:
        return (whole(factors),) if factors else ()
    start, period, repeats = _find_loop(factors)
    if repeats < 3 or len(factors) <= LONGEST_PLANNED:
        segment = whole(factors)
        if len(segment.blocks) <= UNROLLED or repeats < 3:
            return (segment,) if factors else ()
    body = factors[start : start + period]
    groups = _group(body, options)
    rows = []
    for turn in range(repeats):
        part = factors[start + turn * period : start + (turn + 1) * period]
        rows.append(tuple(_block(k, [part[i] for i in m], options.task) for k, m in groups))
    before = factors[:start]
    after = factors[start + repeats * period :]
    middle = (Segment(tuple(rows)),)
    if len(groups) * repeats <= UNROLLED:
        middle = (Segment((tuple(block for row in rows for block in row),)),)
    return (
        *(_plan_segments(before, options) if before else ()),
        *middle,
        *(_plan_segments(after, options) if after else ()),
    )


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
    total = 0.0
    built: dict[tuple, int] = {}  # blocks of one form, and how many there are
    for segment in segments:
        seconds = 0.0
        for block in segment.blocks:
            if block.kind == "phases":
                seconds += machine.phases(numbers)
                continue
            if block.kind == "split":
                seconds += 8 * machine.phases(2 * numbers)
                continue
            move = arrange(order, block.sites, block.complex, dims, task.batch, machine)
            order = move.order
            seconds += move.seconds * (8 if block.sample else 1)
            key = (block.size, block.complex, block.localised, _num_angles(block))
            built[key] = built.get(key, 0) + segment.repeats
        total += seconds * segment.repeats
    for (size, is_complex, _, angles), count in built.items():
        if angles:
            products = 2 ** min(angles, 8) * (2 if is_complex else 1)
            total += machine.matrices(size, products, count)
    return total


def _num_angles(block: Block) -> int:
    return sum(bool(factor.references) for factor in block.factors)


def plan_factors(
    factors: Sequence[Factor], dims: tuple[int, ...], task: Task, structure: Structure | None = None
) -> Plan:
    """Plans a sequence of factors: tries block sizes, and phases apart or within matrices.

    Args:
        factors: in the order in which they act.
        dims: of the sites.
        task: what the plan is for.
        structure: of the circuit, for printing.
    """
    best: Plan | None = None
    for split in (True, False) if not task.mixed and task.fuse else (True,):
        for largest in LARGEST_BLOCKS if task.fuse else (1,):
            if largest <= max(prod(dims), 8):
                plan = plan_with(factors, dims, task, largest=largest, split=split)
                best = plan if best is None or plan.seconds < best.seconds else best
    assert best is not None
    return replace(best, structure=structure)


def plan_with(
    factors: Sequence[Factor], dims: tuple[int, ...], task: Task, *, largest: int, split: bool
) -> Plan:
    """One strategy: a bound on the size of matrices, and phases apart from them or within.

    Args:
        factors: in the order in which they act.
        dims: of the sites.
        task: what the plan is for.
        largest: bound on the size K of a block's matrix.
        split: whether phases are kept apart.
    """
    chains: tuple[tuple[Factor, ...], ...] = ()
    rest = list(factors)
    if not task.given:
        chains = ((),) * len(dims)
        if task.fuse:
            chains, rest = _take_chains(factors, len(dims))
    options = _Options(largest, split, task.fuse, task, dims)
    segments = _plan_segments(rest, options)
    seconds = _predict(segments, options, machine_of(task.device))
    return Plan(None, task, dims, chains, segments, largest, split, seconds)


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


def make_plan(structure: Structure, task: Task | None = None, **options: object) -> Plan:
    """Plans the simulation of a circuit.

    Args:
        structure: of the circuit.
        task: what the plan is for.
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
    return _cached_plan(structure, base._replace(**options) if options else base)
