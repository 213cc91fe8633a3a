"""Noise models, rules gate -> channels, and the pass that applies them to a circuit."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qjax._checks import check_qubits, check_qubits_in_range
from qjax._typing import float_dtype
from qjax.circuit import (
    Circuit,
    Depolarizing,
    Gate,
    Leaf,
    Operation,
    PauliChannel,
    ReadoutError,
    Reference,
    Slot,
    Step,
    Structure,
    is_gate_name,
)
from qjax.errors import CircuitError
from qjax.transforms._check import check_circuit

__all__ = ["NoiseModel", "insert_noise"]

_ANY = "all"


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["strengths"],
    meta_fields=["gates", "channel", "qubits", "joint"],
)
class _Rule:
    """After any of `gates` (on all of `qubits`, if given): `channel(*strengths, ...)`."""

    def __init__(
        self,
        gates: tuple[str, ...],
        channel: Callable[..., Operation],
        strengths: tuple[Any, ...],
        qubits: tuple[int, ...] | None,
        joint: bool,
    ):
        self.gates, self.channel, self.strengths = gates, channel, strengths
        self.qubits, self.joint = qubits, joint

    def applies(self, operation: Step) -> bool:
        """Whether noise follows the operation."""
        named = _ANY in self.gates or operation.name in self.gates
        return named and (self.qubits is None or set(operation.qubits) <= set(self.qubits))

    def channels(self, operation: Step) -> list[Operation]:
        """The channels that follow the operation."""
        if self.joint:
            return [self.channel(*self.strengths, operation.qubits)]
        return [self.channel(*self.strengths, qubit) for qubit in operation.qubits]


@jax.tree_util.register_pytree_node_class
class NoiseModel:
    """Rules gate -> channels, and readout errors; a value, applied to a circuit by `insert_noise`.

    Models are immutable: `after` and `readout` return a longer model. A model is a pytree whose
    leaves are the strengths, so noisy expectation values can be differentiated in them.

    Example:
        >>> import qjax as qj
        >>> model = qj.NoiseModel().after("CX", qj.Depolarizing, 0.02).readout(0.01, 0.03)
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> qj.insert_noise(bell, model).count_operations()
        {'H': 1, 'CX': 1, 'Depolarizing': 1, 'ReadoutError': 2}
    """

    def __init__(self):
        self._rules: tuple[_Rule, ...] = ()
        self._readout: tuple[tuple[tuple[int, ...] | None, Any], ...] = ()

    def _with(self, rules: Any, readout: Any) -> "NoiseModel":
        model = NoiseModel()
        model._rules, model._readout = tuple(rules), tuple(readout)
        return model

    def after(
        self,
        gates: str | Sequence[str],
        channel: Callable[..., Operation],
        *strengths: Any,
        qubits: Sequence[int] | None = None,
    ) -> "NoiseModel":
        """A model with one more rule; all rules that match a gate apply, in order.

        Args:
            gates: names as printed ("CX"), or "all".
            channel: constructor such as `Depolarizing`. `Depolarizing` and a `PauliChannel` of
                words act jointly on the gate's qubits, other channels on each of them.
            *strengths: its arguments before the qubits.
            qubits: apply only to gates that lie on these qubits.

        Raises:
            CircuitError: if a name is no gate's, or the channel does not take the strengths.
        """
        names = (gates,) if isinstance(gates, str) else tuple(gates)
        for name in names:
            if name != _ANY and not (isinstance(name, str) and is_gate_name(name)):
                raise CircuitError(
                    "Argument `gates` must hold names of gates as printed, such as 'CX', or "
                    f"'all', but holds {name!r}."
                )
        where = None if qubits is None else check_qubits(qubits)
        joint = channel is Depolarizing or (channel is PauliChannel and len(strengths) == 1)
        rule = _Rule(names, channel, strengths, where, joint)
        if not joint:
            try:
                channel(*strengths, 0)
            except TypeError as error:
                raise CircuitError(
                    f"Argument `channel` does not take the strengths {strengths!r}: {error}."
                ) from None
        return self._with((*self._rules, rule), self._readout)

    def readout(
        self, p01: Any, p10: Any, qubits: int | Sequence[int] | None = None
    ) -> "NoiseModel":
        """A model with readout errors on `qubits`, or on all; see `ReadoutError`."""
        where = None if qubits is None else check_qubits(qubits)
        ReadoutError(p01, p10, 0)  # checks the probabilities
        return self._with(self._rules, (*self._readout, (where, (p01, p10))))

    def __repr__(self) -> str:
        rules = [
            f"after({list(r.gates)}, {getattr(r.channel, '__name__', r.channel)}, *{r.strengths})"
            for r in self._rules
        ]
        rules += [f"readout(*{pair}, qubits={where})" for where, pair in self._readout]
        return f"NoiseModel({'; '.join(rules)})"

    def tree_flatten(self):
        """Flattens to the strengths."""
        places = tuple(where for where, _ in self._readout)
        return (self._rules, tuple(pair for _, pair in self._readout)), places

    @classmethod
    def tree_unflatten(cls, places, children) -> "NoiseModel":
        """Inverse of `tree_flatten`."""
        model = object.__new__(cls)
        model._rules, pairs = children
        model._readout = tuple(zip(places, pairs, strict=True))
        return model


def insert_noise(circuit: Circuit, model: NoiseModel) -> Circuit:
    """The circuit with the channels of a noise model after its gates.

    Args:
        circuit: any circuit without readout errors.
        model: the rules.

    Returns:
        An ordinary circuit. A channel after a conditioned gate is conditioned likewise.

    Raises:
        CircuitError: if a readout rule names a qubit that the circuit does not have, or two of
            them name the same one.

    Example:
        >>> import qjax as qj
        >>> model = qj.NoiseModel().after("all", qj.AmplitudeDamping, 0.5)
        >>> float(qj.expectation(qj.insert_noise(qj.Circuit(1, [qj.X(0)]), model), qj.Z(0)))
        0.0
    """
    check_circuit(circuit)
    insertion = _Insertion(circuit)
    for step in circuit.structure.steps:
        insertion.steps.append(step)
        if not isinstance(step.kind, Gate):
            continue
        for rule in model._rules:
            if rule.applies(step):
                insertion.add(rule, rule.channels(step), step.conditions)
    for rule in model._readout:
        where, (p01, p10) = rule
        qubits = tuple(range(circuit.num_qubits)) if where is None else where
        check_qubits_in_range(qubits, circuit.num_qubits, what="NoiseModel.readout")
        insertion.add(rule, [ReadoutError(p01, p10, qubit) for qubit in qubits], ())
    return insertion.finish()


class _Insertion:
    """A circuit in the making: the old arrays, and one new array of strengths per rule."""

    def __init__(self, circuit: Circuit):
        self.num_qubits = circuit.num_qubits
        self.leaves, self.params = list(circuit.structure.leaves), list(circuit.params)
        self.ranks, self.data = list(circuit.structure.data_ranks), list(circuit.data)
        self.steps: list[Step] = []
        self.places: dict[int, tuple[int, int]] = {}  # rule -> where its strengths and data lie

    def add(self, rule: Any, channels: list[Operation], conditions: Any) -> None:
        if id(rule) not in self.places:
            self.places[id(rule)] = self._store(channels[0])
        leaf, data = self.places[id(rule)]
        for channel in channels:
            self.steps.append(
                Step(
                    channel.kind,
                    channel.targets,
                    references=tuple(Reference(leaf, i) for i in range(len(channel.params))),
                    data=None if channel.data is None else data,
                    detail=channel.detail,
                    conditions=conditions,
                )
            )

    def _store(self, channel: Operation) -> tuple[int, int]:
        """Takes over the numbers of a channel, which all channels of its rule share."""
        alone = Circuit(self.num_qubits, [channel])
        places = len(self.leaves), len(self.data)
        if any(isinstance(p, Slot) for p in channel.params):
            raise CircuitError(
                "A noise model takes numbers, not parameter slots. Make the model inside the "
                "function that is differentiated; its strengths are leaves of a pytree."
            )
        if channel.params:
            values = [jnp.asarray(p, float_dtype()) for p in channel.params]
            self.params.append(jnp.stack(jnp.broadcast_arrays(*values), axis=-1))
            self.leaves.append(Leaf(len(channel.params)))
        self.data += alone.data
        self.ranks += alone.structure.data_ranks
        return places

    def finish(self) -> Circuit:
        structure = Structure(
            self.num_qubits, tuple(self.steps), tuple(self.leaves), tuple(self.ranks)
        )
        return Circuit.from_structure(structure, tuple(self.params), tuple(self.data))
