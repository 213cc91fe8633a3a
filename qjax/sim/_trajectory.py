"""One random path of a circuit with measurements, resets and channels, on a state vector.

A path is drawn event by event: each channel takes one of its branches, each measurement one
outcome. Its ket is rescaled by constants and never normalised, and its weight is kept apart, so
that the sum over paths, each weighted by how often it is drawn, is the density matrix together
with all of its derivatives; `_estimate.py` says how.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from qjax._typing import Array, float_dtype
from qjax.circuit import RX, RZ, Channel, Gate, Reference, Step, Structure
from qjax.linalg import apply_matrix
from qjax.measure import marginal
from qjax.sim._branches import Branches, channel_branches, draw, is_pauli, measurement, pauli_bits
from qjax.sim._engine import run_factors
from qjax.sim._lowering import Factor, lower_gate
from qjax.sim._states import to_complex, to_planar

__all__ = ["Path", "run_path", "run_trajectory", "safe_norm"]

# Weak channels are drawn as if they were stronger, so that together they make about this many
# more jumps in a path. The weights then spread by a factor below exp(EXTRA_JUMPS).
EXTRA_JUMPS = 0.25


class Path(NamedTuple):
    """Where a path stands.

    Attributes:
        state: planar ket (2, 2**n), whose norm is one in value but not in its derivatives.
        weight: real; one in value unless outcomes are post-selected or weak channels are favoured.
        outcomes: recorded outcomes by name.
    """

    state: Array
    weight: Array
    outcomes: dict[str, Array]


class _Stage(NamedTuple):
    """Gates and free Pauli channels that run as one plan, then at most one event.

    Attributes:
        steps: indices of the gates and Pauli channels.
        event: index of a channel, a measurement or a conditioned gate.
    """

    steps: tuple[int, ...]
    event: int | None


class _Itinerary(NamedTuple):
    """What is known of a circuit's paths before they are drawn.

    Attributes:
        stages: in order.
        channels: indices of all channels.
        flips: indices of the Pauli channels that depend on no outcome.
        random: indices of the other steps that take a random number.
        extra_jumps: share of `EXTRA_JUMPS` of each channel that has strengths.
    """

    stages: tuple[_Stage, ...]
    channels: tuple[int, ...]
    flips: tuple[int, ...]
    random: tuple[int, ...]
    extra_jumps: float


@lru_cache(maxsize=1024)
def _itinerary(structure: Structure) -> _Itinerary:
    stages: list[_Stage] = []
    waiting: list[int] = []
    channels, flips, random, tunable = [], [], [], 0
    for i, step in enumerate(structure.steps):
        if step.kind.name in ("StatePreparation", "ReadoutError"):
            continue
        is_channel = isinstance(step.kind, Channel)
        channels += [i] if is_channel else []
        tunable += bool(is_channel and step.references)
        if not step.conditions and (isinstance(step.kind, Gate) or is_pauli(step)):
            waiting.append(i)
            flips += [i] if is_channel else []
            continue
        stages.append(_Stage(tuple(waiting), i))
        waiting = []
        if is_channel or (step.kind.name == "Measure" and step.detail[1] is None):
            random.append(i)
    stages.append(_Stage(tuple(waiting), None))
    share = EXTRA_JUMPS / max(tunable, 1)
    return _Itinerary(tuple(stages), tuple(channels), tuple(flips), tuple(random), share)


class _Runner:
    """Runs the stages of one path; holds what they read and none of what they change."""

    def __init__(
        self,
        structure: Structure,
        params: Sequence[Any],
        data: Sequence[Any],
        key: Array,
        importance: bool,
    ):
        self.structure = structure
        self.params, self.data = list(params), list(data)
        self.plan = _itinerary(structure)
        self.extra_jumps = self.plan.extra_jumps if importance else 0.0
        steps = [structure.steps[i] for i in self.plan.channels]
        branches = channel_branches(steps, params, data)
        self.branches = dict(zip(self.plan.channels, branches, strict=True))
        numbers = jax.random.uniform(
            key, (len(self.plan.flips) + len(self.plan.random),), float_dtype()
        )
        numbers = lax.optimization_barrier(numbers)  # or XLA draws each number where it is used
        self.uniform = dict(zip(self.plan.flips + self.plan.random, numbers, strict=True))
        self.first_angle: dict[int, int] = {}
        self.weight = jnp.ones((), float_dtype())
        self._draw_flips()

    def _floor(self, branches: Branches) -> float:
        """Smallest weight of a branch, sharing the extra jumps of a channel equally."""
        return self.extra_jumps / len(branches.weights)

    def _draw_flips(self) -> None:
        """Draws all free Pauli channels: each word X^x Z^z becomes angles of RX and RZ."""
        angles: list[Array] = []
        alike: dict[tuple[str, ...], list[int]] = {}
        for i in self.plan.flips:
            alike.setdefault(self.structure.steps[i].detail, []).append(i)
        for detail, members in alike.items():
            words, x, z = pauli_bits(detail)
            weights = jnp.stack([self.branches[i].weights for i in members])
            uniform = jnp.stack([self.uniform[i] for i in members])
            floor = self.extra_jumps / len(words)
            chosen, factors = draw(weights, jnp.ones_like(weights), floor, uniform)
            self.weight = self.weight * jnp.prod(factors)
            turns = jnp.asarray(np.concatenate([x, z], axis=1) * np.pi, float_dtype())
            start = sum(part.size for part in angles)
            self.first_angle |= {i: start + turns.shape[1] * j for j, i in enumerate(members)}
            angles.append(jnp.matmul(chosen, turns, precision="highest").reshape(-1))
        if angles:
            self.params.append(jnp.concatenate(angles))

    def _flip(self, i: int) -> list[Factor]:
        """Factors of a free Pauli channel."""
        step = self.structure.steps[i]
        _, x, z = pauli_bits(step.detail)
        factors: list[Factor] = []
        for gate, bits, offset in ((RX, x, 0), (RZ, z, len(step.targets))):
            for j, qubit in enumerate(step.targets):
                if bits[:, j].any():
                    place = Reference(len(self.params) - 1, self.first_angle[i] + offset + j)
                    factors += lower_gate(Step(gate.kind, (qubit,), references=(place,)))
        return factors

    def _apply(self, factors: Sequence[Factor], data: Sequence[Any], state: Array) -> Array:
        return run_factors(factors, self.params, data, state)

    def run(self, stage: _Stage, path: Path) -> Path:
        """Does the steps of a stage."""
        factors: list[Factor] = []
        for i in stage.steps:
            step = self.structure.steps[i]
            factors += lower_gate(step) if isinstance(step.kind, Gate) else self._flip(i)
        if factors:
            path = path._replace(state=self._apply(factors, self.data, path.state))
        if stage.event is None:
            return path
        step = self.structure.steps[stage.event]
        after = self._happen(stage.event, step, path)
        if not step.conditions:
            return after
        holds = reduce(
            jnp.logical_and, [path.outcomes[name] == value for name, value in step.conditions]
        )
        return jax.tree.map(partial(jnp.where, holds), after, path)

    def _happen(self, i: int, step: Step, path: Path) -> Path:
        if isinstance(step.kind, Gate):
            return path._replace(state=self._apply(lower_gate(step), self.data, path.state))
        if isinstance(step.kind, Channel):
            return self._branch(i, step, self.branches[i], path)[0]
        name, postselect = step.detail
        if postselect is None:
            path, chosen = self._branch(i, step, measurement(), path)
            outcome = chosen[1].astype(jnp.int32)
        else:
            path, outcome = _project(step, postselect, path), jnp.asarray(postselect, jnp.int32)
        return path if name is None else path._replace(outcomes=path.outcomes | {name: outcome})

    def _branch(self, i: int, step: Step, branches: Branches, path: Path) -> tuple[Path, Array]:
        """Draws a branch by the reduced state of its qubits, then applies it alone."""
        rates = _rates(path.state, branches, step.targets)
        chosen, factor = draw(branches.weights, rates, self._floor(branches), self.uniform[i])
        state = _take(branches, chosen, rates, step.targets, path.state)
        return path._replace(state=state, weight=path.weight * factor), chosen


def _project(step: Step, outcome: int, path: Path) -> Path:
    """Keeps one outcome, whatever its chance, which the weight takes."""
    branches = measurement()
    rates = _rates(path.state, branches, step.targets)
    chosen = jnp.asarray(np.arange(2) == outcome, rates.dtype)
    state = _take(branches, chosen, rates, step.targets, path.state)
    return path._replace(state=state, weight=path.weight * rates[outcome])


def _rates(state: Array, branches: Branches, targets: tuple[int, ...]) -> Array:
    """|L_j psi|^2 / |psi|^2 of each operator, as constants, (m,)."""
    constant = lax.stop_gradient(state)
    num_axes = constant[0].size.bit_length() - 1
    if branches.by_populations:
        products = marginal(jnp.sum(constant**2, axis=0), targets)
        total = products.sum()
    else:
        rest = tuple(q for q in range(num_axes) if q not in targets)
        order = (0, *(1 + q for q in targets + rest))
        rows = constant.reshape((2,) * (1 + num_axes)).transpose(order)
        rows = rows.reshape(2 ** (1 + len(targets)), -1)
        table = jnp.matmul(rows, rows.T, precision="highest")
        products, total = table.reshape(-1), jnp.trace(table)
    squares = jnp.matmul(branches.effects, products, precision="highest")
    rates = jnp.maximum(squares, 0) / jnp.where(total > 0, total, 1)
    return checkpoint_name(rates, "rates")


def _take(
    branches: Branches, chosen: Array, rates: Array, targets: tuple[int, ...], state: Array
) -> Array:
    """Applies the chosen operator, rescaled so that the norm of the state stays as it is."""
    _, size, _ = branches.operators.shape
    flat = branches.operators.reshape(len(chosen), -1)
    scaled = chosen / safe_norm(rates)
    operator = jnp.matmul(scaled, flat, precision="highest").reshape(size, size)
    axes = (0, *(1 + qubit for qubit in targets))
    return apply_matrix(state.reshape(-1), operator, axes).reshape(state.shape)


def safe_norm(weight: Array) -> Array:
    """Square root of a weight, or one where it is zero."""
    return jnp.sqrt(jnp.where(weight > 0, weight, 1))


def run_path(
    structure: Structure,
    params: Sequence[Any],
    data: Sequence[Any],
    ket: Array,
    key: Array,
    *,
    importance: bool,
) -> Path:
    """Draws one path of a circuit.

    Stages are run in groups under `jax.checkpoint`: reverse mode keeps the states between groups
    and inside one of them, some 2 sqrt(stages) instead of all.

    Args:
        structure: of the circuit.
        params: per leaf an array (size,).
        data: further arrays without batch axes.
        ket: initial state (2**n,).
        key: random key.
        importance: draw weak channels more often than they occur, and weight the path for it.
            Without it paths are drawn as in nature.

    Returns:
        The end of the path.
    """
    runner = _Runner(structure, params, data, key, importance)
    path = Path(to_planar(ket), runner.weight, {})
    stages = runner.plan.stages
    size = math.isqrt(len(stages))

    def run_group(group: tuple[_Stage, ...], start: Path) -> Path:
        return reduce(lambda at, stage: runner.run(stage, at), group, start)

    keep = jax.checkpoint_policies.save_only_these_names("rates")
    for first in range(0, len(stages), size):
        group = partial(run_group, stages[first : first + size])
        path = jax.checkpoint(group, policy=keep)(path) if len(stages) > 1 else group(path)
    return path


def run_trajectory(
    structure: Structure, params: Sequence[Any], data: Sequence[Any], ket: Array, key: Array
) -> tuple[Array, dict[str, Array], Array]:
    """Runs a circuit once, drawing every outcome as in nature.

    Args:
        structure: of the circuit.
        params: per leaf an array (size,).
        data: further arrays without batch axes.
        ket: initial state (2**n,).
        key: random key.

    Returns:
        The normalised final ket, the recorded outcomes by name, and the probability of the
        post-selected outcomes.
    """
    path = run_path(structure, params, data, ket, key, importance=False)
    norm = jnp.sum(path.state**2)
    return to_complex(path.state) / safe_norm(norm), path.outcomes, path.weight * norm
