"""One random run of a circuit with measurements, resets and channels, on a state vector.

Averages over keys equal the density matrix. Derivatives do not pass through the choice of the
outcomes, so they are those of the run, not of the average.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from qjax._typing import Array
from qjax.circuit import Channel, Gate, Step, Structure, channel_arguments
from qjax.linalg import apply_matrix
from qjax.sim._engine import run_blocks, to_complex, to_planar
from qjax.sim._fusion import reference_values
from qjax.sim._lowering import Factor, lower_gate
from qjax.sim._plan import find_repeats, plan_blocks

__all__ = ["run_trajectory"]


class _Run:
    """State, key and recorded outcomes while the steps of a circuit go by."""

    def __init__(self, structure: Structure, params: Sequence[Any], data: Sequence[Any]):
        self.inputs = frozenset(i for i, leaf in enumerate(structure.leaves) if leaf.is_data)
        self.num_qubits, self.params, self.data = structure.num_qubits, params, data
        self.waiting: list[Factor] = []
        self.outcomes: dict[str, Array] = {}
        self.weight: Any = 1.0

    def start(self, ket: Array, key: Array) -> None:
        self.state, self.key = to_planar(ket), key

    def next_key(self) -> Array:
        self.key, key = jax.random.split(self.key)
        return key

    def flush(self) -> None:
        """Applies the gates that have gathered since the last random event."""
        blocks = plan_blocks(tuple(self.waiting), self.num_qubits, self.inputs, fuse=True)
        self.state = run_blocks(blocks, find_repeats(blocks), self.params, self.data, self.state)
        self.waiting = []

    def do(self, step: Step) -> None:
        if isinstance(step.kind, Gate) and not step.conditions:
            self.waiting += lower_gate(step)
            return
        self.flush()
        before = self.state
        if isinstance(step.kind, Gate):
            self.waiting = lower_gate(step)
            self.flush()
        elif isinstance(step.kind, Channel):
            self.apply_channel(step)
        elif step.kind.name == "Measure":
            self.measure(step)
        if step.conditions:
            holds = reduce(
                jnp.logical_and, [self.outcomes[name] == value for name, value in step.conditions]
            )
            self.state = jnp.where(holds, self.state, before)

    def measure(self, step: Step) -> None:
        (qubit,), (name, postselect) = step.targets, step.detail
        view = self.state.reshape((2, 2**qubit, 2, -1))
        weights = jnp.sum(view**2, axis=(0, 1, 3))
        if postselect is None:
            chance = weights[1] / jnp.sum(weights)
            bit = jax.random.bernoulli(self.next_key(), chance).astype(jnp.int32)
        else:
            bit = jnp.asarray(postselect, jnp.int32)
            self.weight = self.weight * weights[postselect]
        keep = (jnp.arange(2) == bit)[:, None] / safe_norm(weights[bit])
        self.state = (view * keep.astype(view.dtype)).reshape(self.state.shape)
        if name is not None:
            self.outcomes[name] = bit

    def apply_channel(self, step: Step) -> None:
        """Draws one Kraus operator with probability |K psi|^2."""
        kind = step.kind
        assert isinstance(kind, Channel)
        numbers = tuple(reference_values([r], self.params)[0] for r in step.references)
        extra = None if step.data is None else self.data[step.data]
        kraus = jnp.asarray(kind.kraus(*channel_arguments(kind, numbers, extra, step.detail)))
        ket = to_complex(self.state)
        dtype = ket.dtype
        moved = jax.vmap(lambda k: apply_matrix(ket, k.astype(dtype), step.targets))(kraus)
        weights = jnp.sum(jnp.abs(moved) ** 2, axis=-1)
        chosen = jax.random.categorical(self.next_key(), jnp.log(weights))
        self.state = to_planar(moved[chosen] / safe_norm(weights[chosen]))


def safe_norm(weight: Array) -> Array:
    """Square root of a weight, or one where it is zero."""
    return jnp.sqrt(jnp.where(weight > 0, weight, 1))


def run_trajectory(
    structure: Structure, params: Sequence[Any], data: Sequence[Any], ket: Array, key: Array
) -> tuple[Array, dict[str, Array], Any]:
    """Runs a circuit once, drawing every outcome.

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
    run = _Run(structure, params, data)
    run.start(ket, key)
    for step in structure.steps:
        if step.kind.name not in ("StatePreparation", "ReadoutError"):
            run.do(step)
    run.flush()
    return to_complex(run.state), run.outcomes, run.weight
