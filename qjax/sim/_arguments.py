"""Checks of the arguments that the functions of circuits share."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from qjax._checks import check_numbers, check_positive_int
from qjax._typing import Array
from qjax.circuit import Circuit, Structure, is_noisy
from qjax.errors import CircuitError, ObservableError, StateError
from qjax.linalg import as_state, is_density_matrix
from qjax.observables import PauliSum, as_pauli_sum
from qjax.sim._memory import check_memory
from qjax.sim._run import postselects

__all__ = [
    "check_circuit",
    "check_fits",
    "check_initial",
    "check_key",
    "check_max_bytes",
    "check_observables",
    "check_reached",
    "check_repetitions",
    "check_unused",
    "is_mixed",
]

_UNREACHED = (
    "The post-selected outcome has probability zero, so there is no state to return. "
    "Check `postselect` of the circuit's Measure operations."
)
_SMALLER = {
    "ket": "Use fewer qubits.",
    "noisy": "Use fewer qubits, or trajectories on state vectors: "
    "expectation(..., method='trajectories'), statevector(..., key=).",
    "batch": "Run the batch in parts with qjax.batch_map.",
}


def check_circuit(circuit: Any) -> None:
    """Raises unless `circuit` is a circuit whose parameters all have values."""
    if not isinstance(circuit, Circuit):
        raise CircuitError(f"Argument `circuit` must be a Circuit, but is {circuit!r}.")
    if circuit.unbound:
        names = ", ".join(circuit.unbound)
        raise CircuitError(
            f"The circuit has parameters without values: {names}. "
            f"Use circuit.bind({circuit.unbound[0]}=...)."
        )


def check_initial(circuit: Circuit, initial_state: Any, *, ket: bool) -> Any:
    """Returns the initial state as an array of the working dtype, or None."""
    if initial_state is None:
        return None
    if any(step.kind.name == "StatePreparation" for step in circuit.structure.steps):
        raise StateError(
            "Argument `initial_state` must not be given for a circuit that prepares its own "
            "state (StatePreparation, amplitude_encoding)."
        )
    state = as_state(initial_state, name="initial_state")
    size = 2**circuit.num_qubits
    if state.shape not in ((size,), (size, size)):
        raise StateError(
            f"Argument `initial_state` must have shape ({size},) or ({size}, {size}) for "
            f"{circuit.num_qubits} qubits, but has shape {state.shape}. For a batch use jax.vmap."
        )
    if ket and is_density_matrix(state):
        raise StateError(
            "Argument `initial_state` must be a ket here, but is a density matrix. "
            "Use qjax.density_matrix."
        )

    def is_normalised(s: Any) -> Any:
        weight = s.trace().real if s.ndim == 2 else (abs(s) ** 2).sum()
        return abs(weight - 1) < 1e-3

    check_numbers(
        state,
        is_normalised,
        "Argument `initial_state` must have norm one, but has not (or holds NaN).",
        StateError,
    )
    return state


def check_reached(circuit: Circuit, weight: Any) -> None:
    """Raises if the post-selected outcomes have probability zero."""
    if postselects(circuit.structure):
        check_numbers(weight, lambda w: w > 0, _UNREACHED, StateError)


def check_key(key: Any) -> Array:
    """Returns `key` if it is a random key, of the new or the old style."""
    is_key = isinstance(key, jax.Array) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    )
    if not is_key:
        raise CircuitError(
            f"Argument `key` must be a random key such as jax.random.key(0), but is {key!r}."
        )
    return key


def check_fits(circuit: Circuit, *, mixed: bool, states: int | None = None) -> None:
    """Raises if the states of a circuit cannot fit into memory; see `check_memory`.

    Args:
        circuit: of the states.
        mixed: whether they are density matrices.
        states: how many there are at a time; the circuit's batch if not given.
    """
    batch = prod(circuit.batch_shape) if states is None else states
    records = _count_records(circuit.structure) if mixed else 0
    remedy = _SMALLER["batch" if batch > 1 else "noisy" if mixed else "ket"]
    check_memory(circuit.num_qubits, mixed=mixed, batch=batch, records=records, remedy=remedy)


def _count_records(structure: Structure) -> int:
    """Measurement outcomes that a density matrix keeps for operations that depend on them."""
    used = {name for step in structure.steps for name, _ in step.conditions}
    measured = [step.detail for step in structure.steps if step.kind.name == "Measure"]
    return len(used & {name for name, postselect in measured if postselect is None})


def is_mixed(circuit: Circuit, initial: Any) -> bool:
    """Whether the exact state at the end is a density matrix."""
    return is_noisy(circuit.structure) or (initial is not None and is_density_matrix(initial))


def check_observables(circuit: Circuit, observables: Any) -> tuple[tuple[PauliSum, ...], bool]:
    """Returns the observables as sums, and whether only one was given."""
    single = not isinstance(observables, Sequence)
    items = [observables] if single else observables
    if not items:
        raise ObservableError("Argument `observables` must not be empty.")
    sums = tuple(as_pauli_sum(item) for item in items)
    for item in sums:
        if any(q >= circuit.num_qubits for q in item.qubits):
            raise ObservableError(
                f"Argument `observables` must act on qubits below {circuit.num_qubits}, but "
                f"holds {item!r}."
            )
        if jnp.iscomplexobj(item.coefficients):
            raise ObservableError(
                f"Argument `observables` must be Hermitian, but holds {item!r} with complex "
                "coefficients."
            )
    return sums, single


def check_repetitions(value: Any, *, name: str, method: str) -> int:
    """Returns a number of trajectories or shots as an int of at least 2."""
    if value is None:
        raise CircuitError(
            f"Argument `{name}` must be given with method={method!r}, for example {name}=1000."
        )
    number = check_positive_int(value, name=name)
    if number < 2:
        raise CircuitError(
            f"Argument `{name}` must be at least 2, so that there is a standard error, "
            f"but is {number}."
        )
    return number


def check_max_bytes(value: Any) -> int | None:
    """Returns the memory that a gradient may use for kept states, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CircuitError(
            "Argument `max_bytes` must be a number of bytes, zero or more, for example 2**30, "
            f"but is {value!r}."
        )
    return value


_USED = {
    "exact": ("max_bytes",),
    "trajectories": ("num_trajectories", "key"),
    "shots": ("shots", "key"),
}


def check_unused(method: str, **arguments: Any) -> None:
    """Raises if an argument is given that the method of an expectation value does not use."""
    for name, value in arguments.items():
        if value is not None and name not in _USED[method]:
            others = " or ".join(f"method={m!r}" for m, used in _USED.items() if name in used)
            raise CircuitError(
                f"Argument `{name}` must not be given with method={method!r}, which does not use "
                f"it, but is {value!r}. It belongs to {others}."
            )
