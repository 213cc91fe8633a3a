"""The static part of a circuit: which operation acts where, and which numbers it takes.

Structures are interned: equal structures are one object. Comparing and hashing them therefore
costs nothing, however many operations they hold, and neither does calling a jitted function with
a circuit. All rules that a circuit must obey are checked here, once per structure.
"""

from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from qjax._checks import check_qubits_in_range
from qjax.circuit._kind import Channel, Kind
from qjax.circuit._operation import display_name
from qjax.errors import CircuitError

__all__ = ["Leaf", "Reference", "Step", "Structure", "concatenate", "invert", "relabel"]


class Reference(NamedTuple):
    """Where one number lives: scale * leaves[leaf][..., index] + shift."""

    leaf: int
    index: int
    scale: float = 1.0
    shift: float = 0.0


class Leaf(NamedTuple):
    """What is known of one array of numbers before its values are.

    Attributes:
        size: how many numbers it holds (its last axis).
        name: of the parameter whose values it takes, or None for inline numbers.
        shape: of the parameter.
    """

    size: int
    name: str | None = None
    shape: tuple[int, ...] = ()


class Step(NamedTuple):
    """An operation without its numbers; the fields are those of `Operation`."""

    kind: Kind
    targets: tuple[int, ...]
    controls: tuple[int, ...] = ()
    references: tuple[Reference, ...] = ()
    data: int | None = None
    detail: Any = None
    adjoint: bool = False
    conditions: tuple[tuple[str, int], ...] = ()

    @property
    def qubits(self) -> tuple[int, ...]:
        """All qubits, the controls first."""
        return self.controls + self.targets

    @property
    def name(self) -> str:
        """Name as printed."""
        return display_name(self.kind, len(self.controls))


_INTERNED: WeakValueDictionary[tuple, "Structure"] = WeakValueDictionary()
_LOCK = Lock()


class Structure:
    """Number of qubits, steps, and the shapes of the arrays that hold the numbers.

    Attributes:
        num_qubits: size of the register.
        steps: the operations, in order.
        leaves: one entry per array of angles.
        data_ranks: for each further array (matrices, Kraus operators, amplitudes) how many of its
            trailing axes are not batch axes.
    """

    __slots__ = ("__weakref__", "_outline", "data_ranks", "leaves", "num_qubits", "steps")
    num_qubits: int
    steps: tuple[Step, ...]
    leaves: tuple[Leaf, ...]
    data_ranks: tuple[int, ...]
    _outline: tuple | None

    def __new__(
        cls,
        num_qubits: int,
        steps: tuple[Step, ...],
        leaves: tuple[Leaf, ...] = (),
        data_ranks: tuple[int, ...] = (),
    ) -> "Structure":
        key = (num_qubits, steps, leaves, data_ranks)
        found = _INTERNED.get(key)
        if found is not None:
            return found
        _check_steps(num_qubits, steps)
        self = super().__new__(cls)
        self.num_qubits, self.steps, self.leaves, self.data_ranks = key
        self._outline = None
        with _LOCK:
            return _INTERNED.setdefault(key, self)

    @property
    def outline(self) -> tuple:
        """The operations without regard to how their numbers are split into arrays.

        Two circuits are equal if their outlines are: the same operations on the same qubits, with
        the same named parameters in the same places.
        """
        if self._outline is None:
            steps = tuple(
                step._replace(
                    references=tuple(self._source(r) for r in step.references),
                    data=None if step.data is None else 0,
                )
                for step in self.steps
            )
            self._outline = (self.num_qubits, steps)
        return self._outline

    def _source(self, reference: Reference) -> Any:
        name = self.leaves[reference.leaf].name
        return None if name is None else (name, *reference[1:])

    def __reduce__(self):
        return Structure, (self.num_qubits, self.steps, self.leaves, self.data_ranks)

    def __repr__(self) -> str:
        return f"Structure({self.num_qubits} qubits, {len(self.steps)} operations)"


def _check_steps(num_qubits: int, steps: tuple[Step, ...]) -> None:
    touched: set[int] = set()
    read_out: set[int] = set()
    outcomes: set[str] = set()
    for step in steps:
        check_qubits_in_range(step.qubits, num_qubits, what=step.name)
        if read_out & set(step.qubits):
            raise CircuitError(
                f"{step.name} acts on qubits {step.qubits!r} after a ReadoutError, which must be "
                "the last operation on its qubit."
            )
        if step.kind.name == "StatePreparation" and touched & set(step.targets):
            raise CircuitError(
                f"StatePreparation on qubits {step.targets!r} must come before every other "
                "operation on them."
            )
        for name, _ in step.conditions:
            if name not in outcomes:
                raise CircuitError(
                    f"{step.name} is conditioned on {name!r}, but no earlier Measure has that "
                    f"name; known names: {sorted(outcomes)!r}."
                )
        if step.kind.name == "Measure" and step.detail[0] is not None:
            if step.detail[0] in outcomes:
                raise CircuitError(
                    f"Argument `name` of Measure must be unique, but is {step.detail[0]!r} twice."
                )
            outcomes.add(step.detail[0])
        if step.kind.name == "ReadoutError":
            read_out |= set(step.targets)
        touched |= set(step.qubits)


def _shift(step: Step, leaves: tuple[int, ...], num_data: int) -> Step:
    """The step with its arrays renumbered: leaf i becomes leaves[i], data j becomes j + num."""
    return step._replace(
        references=tuple(r._replace(leaf=leaves[r.leaf]) for r in step.references),
        data=None if step.data is None else step.data + num_data,
    )


@lru_cache(maxsize=4096)
def concatenate(first: Structure, second: Structure) -> tuple[Structure, tuple[int, ...]]:
    """First then second; leaves of one name become one.

    Returns:
        The structure, and for each leaf of `second` its place in it.
    """
    if first.num_qubits != second.num_qubits:
        raise CircuitError(
            f"Circuits can be added if they have as many qubits, but have {first.num_qubits} and "
            f"{second.num_qubits}. Use circuit.on(qubits, num_qubits) to place one in the other."
        )
    places = {leaf.name: i for i, leaf in enumerate(first.leaves) if leaf.name is not None}
    leaves = list(first.leaves)
    targets = []
    for leaf in second.leaves:
        if leaf.name in places:
            known = leaves[places[leaf.name]]
            if known.shape != leaf.shape:
                raise CircuitError(
                    f"Parameter {leaf.name!r} has two shapes, {known.shape} and {leaf.shape}."
                )
            targets.append(places[leaf.name])
        else:
            targets.append(len(leaves))
            leaves.append(leaf)
    moved = tuple(_shift(s, tuple(targets), len(first.data_ranks)) for s in second.steps)
    structure = Structure(
        first.num_qubits,
        first.steps + moved,
        tuple(leaves),
        first.data_ranks + second.data_ranks,
    )
    return structure, tuple(targets)


@lru_cache(maxsize=4096)
def invert(structure: Structure) -> Structure:
    """The inverse gates in reverse order."""
    return Structure(
        structure.num_qubits,
        tuple(_invert_step(step) for step in reversed(structure.steps)),
        structure.leaves,
        structure.data_ranks,
    )


def _invert_step(step: Step) -> Step:
    from_gate = getattr(step.kind, "hermitian", None)
    if from_gate is None or step.conditions:
        what = "a conditioned operation" if step.conditions else step.name
        raise CircuitError(f"A circuit with {what} has no inverse.")
    if getattr(step.kind, "rotation", False):
        negated = tuple(r._replace(scale=-r.scale, shift=-r.shift) for r in step.references)
        return step._replace(references=negated)
    return step if from_gate else step._replace(adjoint=not step.adjoint)


@lru_cache(maxsize=4096)
def relabel(structure: Structure, qubits: tuple[int, ...], num_qubits: int) -> Structure:
    """Qubit i becomes qubits[i] in a register of `num_qubits`."""
    steps = tuple(
        step._replace(
            targets=tuple(qubits[q] for q in step.targets),
            controls=tuple(qubits[q] for q in step.controls),
        )
        for step in structure.steps
    )
    return Structure(num_qubits, steps, structure.leaves, structure.data_ranks)


def is_noisy(structure: Structure) -> bool:
    """Whether any step turns pure states into mixed ones."""
    return any(
        isinstance(step.kind, Channel) or (step.kind.name == "Measure" and step.detail[1] is None)
        for step in structure.steps
    )
