"""The plan of a circuit: blocks of factors, each block one pass over the state.

A plan is static, printable and cached per structure. It says what is done in which order; the
numbers come in when the engine runs it.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from qjax.circuit import Structure
from qjax.sim._lowering import Factor, lower_density, lower_pure

__all__ = ["Block", "Plan", "Segment", "find_repeats", "make_plan", "plan_blocks"]

LARGEST_BLOCK = 4  # axes of a block that holds angles: its matrix is built at every step
LARGEST_FIXED = 5  # axes of a block of fixed gates
SMALL_STATE = 8  # axes up to which one pass over the state is cheap, whatever the block
FEWEST_REPEATS = 3  # of a sequence of blocks that becomes a loop
LONGEST_PERIOD = 32


@dataclass(frozen=True, eq=False)
class Block:
    """Factors that are multiplied into one matrix before it meets the state.

    Attributes:
        axes: ascending axes of the state that the block acts on.
        factors: in the order in which they act.
        diagonal: whether the matrix is diagonal.
        real: whether the matrix is real.
        direct: whether its single factor is too large for a matrix and acts by itself.
    """

    axes: tuple[int, ...]
    factors: tuple[Factor, ...]
    diagonal: bool
    real: bool
    direct: bool = False

    @cached_property
    def localised(self) -> tuple[Factor, ...]:
        """The factors on the block's own axes 0, 1, ..., without the indices of their numbers."""
        local = {axis: i for i, axis in enumerate(self.axes)}
        return tuple(
            factor._replace(
                axes=tuple(local[a] for a in factor.axes),
                controls=tuple((local[a], v) for a, v in factor.controls),
                references=tuple(r._replace(index=0) for r in factor.references),
            )
            for factor in self.factors
        )

    @property
    def fixed(self) -> bool:
        """Whether the matrix is known when the plan is made."""
        return all(factor.constant_matrix for factor in self.factors)


class Segment(NamedTuple):
    """`repeats` times `period` blocks, from block `start` on, that differ in their numbers only."""

    start: int
    period: int
    repeats: int


@dataclass(frozen=True, eq=False)
class Plan:
    """How a circuit is simulated.

    Attributes:
        structure: of the circuit.
        mixed: whether the state is a density matrix (2n axes) or a vector (n axes).
        num_axes: binary axes of the state.
        blocks: in the order in which they act.
        segments: the blocks again, repeated sequences taken together; these run as loops.
    """

    structure: Structure
    mixed: bool
    num_axes: int
    blocks: tuple[Block, ...]
    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        what = "density matrix" if self.mixed else "state vector"
        lines = [
            f"{what} of {self.structure.num_qubits} qubits, {self.num_axes} axes, "
            f"{len(self.structure.steps)} operations in {len(self.blocks)} blocks"
        ]
        for start, period, repeats in self.segments:
            margin = "  "
            if repeats > 1:
                lines.append(f"  {repeats} times:")
                margin = "    "
            lines += [margin + _describe(block) for block in self.blocks[start : start + period]]
        return "\n".join(lines)


def _describe(block: Block) -> str:
    flags = [name for name in ("fixed", "diagonal", "real", "direct") if getattr(block, name)]
    names = " ".join(_factor_name(factor) for factor in block.factors)
    return f"axes {block.axes}{' ' + ' '.join(flags) if flags else ''}: {names}"


def _factor_name(factor: Factor) -> str:
    name = factor.constant or (factor.kind.name if factor.kind else factor.form)
    return "C" * len(factor.controls) + name + ("*" if factor.form == "conjugate" else "")


class _OpenBlock:
    """A block that still takes factors."""

    def __init__(self, factor: Factor, source: object):
        self.axes = set(factor.all_axes)
        self.factors = [factor]
        self.source = source
        self.closed = _acts_directly(factor)
        self.ended = False  # by a fixed gate on several axes after angles

    def accepts(self, axes: set[int], source: object, largest: int) -> bool:
        """Whether a factor on `axes` may join.

        Fixed factors join blocks with angles only where these need not grow for them, and end
        them: the layers of an ansatz thus become blocks of one form, whose matrices are built
        together and which run as a loop.
        """
        union = len(self.axes | axes)
        if self.closed or union > max(largest, len(axes)):
            return False
        if self.source == source:
            return source is None or not self.ended
        if source is None:
            return union == len(self.axes)
        return self.source is None and union <= LARGEST_BLOCK

    def add(self, factor: Factor, source: object) -> None:
        self.axes |= set(factor.all_axes)
        self.factors.append(factor)
        self.ended |= source is None and self.source is not None and len(factor.all_axes) > 1
        self.source = self.source if source is None else source

    def close(self) -> Block:
        factors = tuple(self.factors)
        return Block(
            axes=tuple(sorted(self.axes)),
            factors=factors,
            diagonal=all(f.diagonal for f in factors),
            real=all(f.real for f in factors),
            direct=self.closed,
        )


def _acts_directly(factor: Factor) -> bool:
    return factor.form == "parity" or bool(factor.controls and len(factor.all_axes) > LARGEST_BLOCK)


def _source(factor: Factor) -> object:
    """Which arrays a factor's numbers come from; None if it has none."""
    leaves = {reference.leaf for reference in factor.references}
    if not leaves and factor.data is None:
        return None
    return (tuple(sorted(leaves)), factor.data)


def plan_blocks(
    factors: tuple[Factor, ...], num_axes: int, data_leaves: frozenset[int], fuse: bool
) -> tuple[Block, ...]:
    """Groups factors into blocks of a few axes, keeping the order on every axis.

    Numbers from different arrays stay in different blocks: under vmap one of them may differ from
    sample to sample while the other is shared, and a block takes the batch axes of all its
    numbers. For the same reason gates that hold inputs are not widened to several qubits.

    Args:
        factors: in the order in which they act.
        num_axes: binary axes of the state.
        data_leaves: arrays that hold inputs rather than trainable angles.
        fuse: if False every factor is a block of its own.
    """
    largest_fixed = num_axes if num_axes <= SMALL_STATE else LARGEST_FIXED
    blocks: list[_OpenBlock] = []
    last: dict[int, int] = {}  # axis -> the last block on it
    for factor in factors:
        axes, source = set(factor.all_axes), _source(factor)
        is_input = any(reference.leaf in data_leaves for reference in factor.references)
        largest = largest_fixed if source is None else len(axes) if is_input else LARGEST_BLOCK
        chosen = None
        if fuse and not _acts_directly(factor):
            first = max((last.get(axis, -1) for axis in axes), default=-1)
            fitting = [
                i for i in range(max(first, 0), len(blocks))
                if blocks[i].accepts(axes, source, largest)
            ]  # fmt: skip
            chosen = min(fitting, key=lambda i: len(axes - blocks[i].axes), default=None)
        if chosen is None:
            blocks.append(_OpenBlock(factor, source))
            chosen = len(blocks) - 1
        else:
            blocks[chosen].add(factor, source)
        last |= dict.fromkeys(axes, chosen)
    return tuple(block.close() for block in blocks)


def find_repeats(blocks: tuple[Block, ...]) -> tuple[Segment, ...]:
    """Cuts blocks into segments, taking repeated sequences together wherever they cover most.

    Blocks repeat if they act on the same axes and hold the same gates, whatever their angles;
    fixed blocks if they act on the same axes.
    """
    keys = [_repeat_key(block) for block in blocks]
    segments = []
    position = 0
    while position < len(blocks):
        best = Segment(position, 1, 1)
        for period in range(1, min(LONGEST_PERIOD, (len(blocks) - position) // 2) + 1):
            first, repeats = keys[position : position + period], 1
            while keys[position + repeats * period :][:period] == first:
                repeats += 1
            if repeats >= FEWEST_REPEATS and period * repeats > best.period * best.repeats:
                best = Segment(position, period, repeats)
        segments.append(best)
        position += best.period * best.repeats
    return tuple(segments)


def _repeat_key(block: Block) -> object:
    if block.direct:
        return object()  # never equal to another
    flags = (block.axes, block.diagonal, block.real)
    return flags if block.fixed else (*flags, block.localised)


@lru_cache(maxsize=1024)
def make_plan(structure: Structure, *, mixed: bool, fuse: bool = True) -> Plan:
    """Plans the simulation of a circuit.

    Args:
        structure: of the circuit.
        mixed: plan for a density matrix instead of a state vector.
        fuse: merge neighbouring factors into blocks; without it every factor is a pass over the
            state, which is the reference that fused plans are tested against.

    Returns:
        The plan; the same object for the same arguments.

    Raises:
        CircuitError: if a state vector is asked for and an operation does not keep it pure.
    """
    if mixed:
        factors, num_axes = lower_density(structure)
    else:
        factors, num_axes = lower_pure(structure), structure.num_qubits
    inputs = frozenset(i for i, leaf in enumerate(structure.leaves) if leaf.is_data)
    blocks = plan_blocks(factors, num_axes, inputs, fuse)
    whole = tuple(Segment(i, 1, 1) for i in range(len(blocks)))
    segments = find_repeats(blocks) if fuse else whole
    return Plan(structure, mixed, num_axes, blocks, segments)
