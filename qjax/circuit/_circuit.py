"""The circuit: a static structure plus a few arrays, as one pytree."""

from collections.abc import Iterable, Mapping
from functools import reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_finite, check_num_qubits, check_qubits, check_qubits_in_range
from qjax._typing import float_dtype, is_concrete
from qjax.circuit._draw import draw
from qjax.circuit._operation import Operation
from qjax.circuit._parameter import Slot
from qjax.circuit._structure import (
    Leaf,
    Reference,
    Step,
    Structure,
    concatenate,
    invert,
    relabel,
)
from qjax.errors import CircuitError

__all__ = ["Circuit"]


@jax.tree_util.register_pytree_with_keys_class
class Circuit:
    """A sequence of operations on a register of qubits.

    A circuit is a pytree: its structure is static, and its numbers are a few arrays, so it passes
    through jit, vmap, grad and every other transformation. Two circuits are equal, and have the
    same hash, if they have the same operations on the same qubits and the same named parameters,
    whatever the numbers.

    Angles may be inline numbers (known or traced), arrays with leading batch axes, or slots of a
    `Parameter` that `bind` fills. A circuit with batch axes stands for many circuits of one
    structure; results carry these axes in front.

    Args:
        num_qubits: size of the register; qubit 0 is the most significant bit.
        operations: operations, or circuits on as many qubits, in the order in which they act.

    Raises:
        CircuitError: if an operation names a qubit outside the register, or breaks a rule.

    Example:
        >>> import qjax as qj
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> print(bell)
        0: ─H─●─
        1: ───X─
        >>> bell.depth, bell.count_operations()
        (2, {'H': 1, 'CX': 1})
    """

    __slots__ = ("data", "params", "structure")
    structure: Structure
    params: tuple[Any, ...]
    data: tuple[Any, ...]

    def __init__(self, num_qubits: int, operations: Iterable["Operation | Circuit"] = ()):
        size = check_num_qubits(num_qubits)
        items = [operations] if isinstance(operations, Operation | Circuit) else list(operations)
        parts: list[Circuit] = []
        run: list[Operation] = []
        for item in items:
            if isinstance(item, Operation):
                run.append(item)
            elif isinstance(item, Circuit):
                parts += [_pack(size, run), item] if run else [item]
                run = []
            else:
                raise CircuitError(
                    f"Argument `operations` must hold operations and circuits, but holds {item!r}."
                )
        if run or not parts:
            parts.append(_pack(size, run))
        whole = reduce(lambda a, b: a + b, parts, _empty(size)) if len(parts) > 1 else parts[0]
        if whole.num_qubits != size:
            whole = _empty(size) + whole  # raises, naming both sizes
        self.structure, self.params, self.data = whole.structure, whole.params, whole.data

    @classmethod
    def from_structure(
        cls, structure: Structure, params: tuple[Any, ...] = (), data: tuple[Any, ...] = ()
    ) -> "Circuit":
        """Joins a structure and its arrays, for code that builds circuits without operations.

        Args:
            structure: the static part.
            params: per leaf an array (..., size), or None where a parameter is unbound.
            data: per further array (..., its own axes).
        """
        self = object.__new__(cls)
        self.structure, self.params, self.data = structure, params, data
        self.batch_shape  # noqa: B018  raises if the batch axes do not fit together
        return self

    @property
    def num_qubits(self) -> int:
        """Size of the register."""
        return self.structure.num_qubits

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes of the arrays, broadcast together; () for one circuit."""
        shapes = [p.shape[:-1] for p in self.params if p is not None]
        ranks = self.structure.data_ranks
        shapes += [d.shape[: d.ndim - r] for d, r in zip(self.data, ranks, strict=True)]
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            raise CircuitError(
                f"The batch axes of a circuit's numbers must broadcast, but are {shapes!r}."
            ) from None

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations with their numbers."""
        return tuple(self._operation(step) for step in self.structure.steps)

    def _operation(self, step: Step) -> Operation:
        return Operation(
            step.kind,
            step.targets,
            step.controls,
            tuple(self._number(reference) for reference in step.references),
            None if step.data is None else self.data[step.data],
            step.detail,
            step.adjoint,
            step.conditions,
        )

    def _number(self, reference: Reference) -> Any:
        values = self.params[reference.leaf]
        if values is None:
            leaf = self.structure.leaves[reference.leaf]
            assert leaf.name is not None
            return Slot(leaf.name, leaf.shape, *reference[1:])
        number = values[..., reference.index]
        if reference.scale != 1:
            number = number * reference.scale
        return number if reference.shift == 0 else number + reference.shift

    @property
    def depth(self) -> int:
        """Number of layers when every operation is moved as early as it can go."""
        levels = [0] * self.num_qubits
        outcomes: dict[str, int] = {}
        for step in self.structure.steps:
            start = max(levels[q] for q in step.qubits)
            start = max([start, *(outcomes[name] for name, _ in step.conditions)])
            for qubit in step.qubits:
                levels[qubit] = start + 1
            if step.kind.name == "Measure" and step.detail[0] is not None:
                outcomes[step.detail[0]] = start + 1
        return max(levels)

    def count_operations(self) -> dict[str, int]:
        """How often each operation occurs, by name, in order of first appearance."""
        counts: dict[str, int] = {}
        for step in self.structure.steps:
            counts[step.name] = counts.get(step.name, 0) + 1
        return counts

    def inverse(self) -> "Circuit":
        """The inverse circuit.

        Raises:
            CircuitError: if the circuit holds anything but gates.

        Example:
            >>> import qjax as qj
            >>> print(qj.Circuit(1, [qj.S(0), qj.RX(0.5, 0)]).inverse())
            0: ─RX(-0.5)─S†─
        """
        return Circuit.from_structure(invert(self.structure), self.params, self.data)

    def on(self, qubits: Any, num_qubits: int | None = None) -> "Circuit":
        """The same circuit on other qubits.

        Args:
            qubits: where qubit 0, 1, ... of this circuit goes.
            num_qubits: size of the new register; the old one if not given.

        Raises:
            CircuitError: if there are not as many qubits, or they do not fit.

        Example:
            >>> import qjax as qj
            >>> print(qj.Circuit(2, [qj.CX(0, 1)]).on((2, 0), num_qubits=3))
            0: ─X─
            1: ─┼─
            2: ─●─
        """
        where = check_qubits(qubits)
        size = self.num_qubits if num_qubits is None else check_num_qubits(num_qubits)
        if len(where) != self.num_qubits:
            raise CircuitError(
                f"Argument `qubits` must name {self.num_qubits} qubits, but is {where!r}."
            )
        check_qubits_in_range(where, size, what="Circuit.on")
        return Circuit.from_structure(relabel(self.structure, where, size), self.params, self.data)

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all named parameters, bound or not."""
        return {leaf.name: leaf.shape for leaf in self.structure.leaves if leaf.name is not None}

    @property
    def unbound(self) -> tuple[str, ...]:
        """Names of the parameters that have no values yet."""
        pairs = zip(self.structure.leaves, self.params, strict=True)
        return tuple(str(leaf.name) for leaf, values in pairs if values is None)

    def bind(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> "Circuit":
        """Gives values to named parameters; those bound before may be given new ones.

        Args:
            values: name -> array of the parameter's shape, with leading batch axes if wanted.
            **named: the same, as keywords.

        Raises:
            CircuitError: on a name that the circuit does not have, or a shape that does not fit.

        Example:
            >>> import qjax as qj
            >>> theta = qj.Parameter("theta")
            >>> circuit = qj.Circuit(1, [qj.RY(theta, 0)])
            >>> float(qj.expectation(circuit.bind(theta=0.0), qj.Z(0)))
            1.0
        """
        given = {**(values or {}), **named}
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            raise CircuitError(
                f"The circuit has no parameters {unknown!r}; it has {sorted(self.parameters)!r}."
            )
        params = tuple(
            _as_leaf(given[leaf.name], leaf) if leaf.name in given else old
            for leaf, old in zip(self.structure.leaves, self.params, strict=True)
        )
        return Circuit.from_structure(self.structure, params, self.data)

    def __add__(self, other: Any) -> "Circuit":
        if isinstance(other, Operation):
            other = _pack(self.num_qubits, [other])
        if not isinstance(other, Circuit):
            return NotImplemented
        structure, places = concatenate(self.structure, other.structure)
        params = list(self.params) + [None] * (len(structure.leaves) - len(self.params))
        for place, values in zip(places, other.params, strict=True):
            if params[place] is None:
                params[place] = values
            elif values is not None and values is not params[place]:
                raise CircuitError(
                    f"Parameter {structure.leaves[place].name!r} is bound to two values. "
                    "Bind it after adding the circuits."
                )
        return Circuit.from_structure(structure, tuple(params), self.data + other.data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return False
        same = self.structure is other.structure
        return same or self.structure.outline == other.structure.outline

    def __hash__(self) -> int:
        return hash(self.structure.outline)

    def __len__(self) -> int:
        return len(self.structure.steps)

    def __str__(self) -> str:
        return draw(self.num_qubits, self.operations)

    def __repr__(self) -> str:
        batch = f", batch {self.batch_shape}" if self.batch_shape else ""
        return f"Circuit({self.num_qubits} qubits, {len(self)} operations{batch})"

    def tree_flatten_with_keys(self):
        """Flattens to the arrays, with the structure as static part."""
        key = jax.tree_util.GetAttrKey
        return ((key("params"), self.params), (key("data"), self.data)), self.structure

    @classmethod
    def tree_unflatten(cls, structure, children) -> "Circuit":
        """Inverse of `tree_flatten_with_keys`, without checks."""
        self = object.__new__(cls)
        self.structure = structure
        self.params, self.data = children
        return self


def _empty(num_qubits: int) -> Circuit:
    return Circuit.from_structure(Structure(num_qubits, ()))


def _as_leaf(value: Any, leaf: Leaf) -> Any:
    """The values of a parameter as an array (..., size)."""
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    rank = len(leaf.shape)
    fits = array.ndim >= rank and array.shape[array.ndim - rank :] == leaf.shape
    if not fits or not (
        jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    ):
        raise CircuitError(
            f"Parameter {leaf.name!r} takes real numbers of shape (..., "
            f"{', '.join(map(str, leaf.shape))}), but got {array.dtype} of shape {array.shape}."
        )
    check_finite(array, name=str(leaf.name), error=CircuitError)
    batch = array.shape[: array.ndim - rank]
    return array.astype(float_dtype()).reshape((*batch, prod(leaf.shape)))


def _group(value: Any) -> Any:
    """Which inline numbers share an array: all known ones; traced ones by kind of tracer.

    Under vmap the batched numbers thus stay apart from those that the whole batch shares.
    """
    return None if is_concrete(value) else type(value)


def _pack(num_qubits: int, operations: list[Operation]) -> Circuit:
    """Builds a circuit from operations, gathering their numbers into few arrays."""
    inline: dict[Any, list[Any]] = {}
    slots: dict[str, Slot] = {}
    for operation in operations:
        for value in operation.params:
            if not isinstance(value, Slot):
                inline.setdefault(_group(value), []).append(value)
            elif slots.setdefault(value.name, value).shape != value.shape:
                raise CircuitError(f"Parameter {value.name!r} is used with two shapes.")
    places = {key: i for i, key in enumerate((*inline, *slots))}
    leaves = [Leaf(len(values)) for values in inline.values()]
    leaves += [Leaf(prod(slot.shape), slot.name, slot.shape) for slot in slots.values()]
    used = dict.fromkeys(inline, 0)

    def refer(value: Any) -> Reference:
        if isinstance(value, Slot):
            return Reference(places[value.name], value.index, value.scale, value.shift)
        key = _group(value)
        used[key] += 1
        return Reference(places[key], used[key] - 1)

    steps, data = [], []
    for op in operations:
        steps.append(
            Step(
                op.kind, op.targets, op.controls, tuple(refer(p) for p in op.params),
                None if op.data is None else len(data), op.detail, op.adjoint, op.conditions,
            )
        )  # fmt: skip
        if op.data is not None:
            data.append(op.data)
    ranks = tuple(op.kind.data_rank or 0 for op in operations if op.data is not None)
    params = tuple(_stack(values) for values in inline.values()) + (None,) * len(slots)
    structure = Structure(num_qubits, tuple(steps), tuple(leaves), ranks)
    return Circuit.from_structure(structure, params, tuple(data))


def _stack(values: list[Any]) -> Any:
    """Stacks numbers and batches of numbers to one array (..., len(values))."""
    shapes = [np.shape(value) for value in values]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise CircuitError(
            f"Angles must be numbers or arrays whose shapes broadcast, but have shapes {shapes!r}."
        ) from None
    xp: Any = np if all(is_concrete(value) for value in values) else jnp
    return xp.stack(
        [xp.broadcast_to(xp.asarray(v, dtype=float_dtype()), shape) for v in values], axis=-1
    )
