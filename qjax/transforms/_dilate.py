"""From channels to gates on more qubits, for devices that have no channels.

A channel is a unitary on the system and fresh ancillas, which nobody looks at afterwards
(Stinespring). The named channels have short circuits; any other goes through its Kraus operators.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from qjax._typing import Array, complex_dtype
from qjax.circuit import (
    CRY,
    CX,
    CZ,
    RY,
    SWAP,
    Channel,
    Circuit,
    Gate,
    Operation,
    Slot,
    StatePreparation,
    Unitary,
    X,
    pauli_probabilities,
)
from qjax.errors import CircuitError
from qjax.linalg import safe_sqrt
from qjax.transforms._check import check_circuit

__all__ = ["dilate"]


def dilate(circuit: Circuit) -> Circuit:
    """Replaces channels, resets and measurements by gates on ancilla qubits.

    The ancillas come after the circuit's own qubits, start in |0> and are used once each, so
    expectation values, probabilities and the reduced state of the circuit's qubits are the same.
    How many there are is the difference of the two `num_qubits`:

    - `AmplitudeDamping(g)`: one; CRY(2 arcsin sqrt g) onto it, CX back.
    - `PhaseDamping(l)`: one; CRY(2 arcsin sqrt l) onto it.
    - mixtures of Pauli words on k qubits: at most 2 k, one per qubit that some word flips (CX from
      it) and one per qubit whose phase some word flips (CZ from it), prepared in amplitudes that
      are the roots of the probabilities.
    - `Reset`: one; SWAP with it. `Measure`: one; CX onto it, and operations conditioned on the
      outcome are controlled by it.
    - other channels with m Kraus operators: ceil(log2 m), and one unitary.

    Derivatives are those of the channel too, but for strengths that are exactly 0 or 1: the angles
    of the gates are arcsines of roots, whose infinite slope there is replaced by zero.

    Args:
        circuit: any circuit without post-selection and without parameters left to bind.

    Returns:
        Circuit of gates, preparations and readout errors on more qubits; the same circuit if it
        has nothing to replace.

    Raises:
        CircuitError: if the circuit post-selects, conditions a channel on an outcome, or has
            channels whose strengths are not bound.

    Example:
        >>> import qjax as qj
        >>> from qjax.transforms import dilate
        >>> decay = qj.Circuit(1, [qj.X(0), qj.AmplitudeDamping(0.25, 0)])
        >>> print(dilate(decay))
        0: ─X─●─────────X─
        1: ───RY(1.047)─●─

    References:
        Nielsen and Chuang, Quantum Computation and Quantum Information, section 8.2 and 8.3.
    """
    check_circuit(circuit)
    steps = circuit.structure.steps
    if not any(isinstance(step.kind, Channel) or step.kind.name == "Measure" for step in steps):
        return circuit
    builder = _Builder(circuit.num_qubits)
    for operation in circuit.operations:
        builder.add(operation)
    return Circuit(builder.size, builder.operations)


class _Builder:
    """The operations so far, and how many qubits they need."""

    def __init__(self, num_qubits: int):
        self.size = num_qubits
        self.operations: list[Operation] = []
        self.outcomes: dict[str, int] = {}  # measurement -> ancilla that holds its outcome

    def ancilla(self) -> int:
        self.size += 1
        return self.size - 1

    def add(self, operation: Operation) -> None:
        if operation.name == "Measure":
            self._measure(operation)
        elif isinstance(operation.kind, Channel):
            self._channel(operation)
        elif operation.conditions:
            self._conditioned(operation)
        else:
            self.operations.append(operation)

    def _measure(self, operation: Operation) -> None:
        name, postselect = operation.detail
        if postselect is not None:
            raise CircuitError(
                f"Measure with postselect={postselect} drops runs, which no unitary does. Remove "
                "`postselect`, and discard the other outcomes afterwards."
            )
        ancilla = self.ancilla()
        self.operations.append(CX(operation.targets[0], ancilla))
        if name is not None:
            self.outcomes[name] = ancilla

    def _conditioned(self, operation: Operation) -> None:
        assert isinstance(operation.kind, Gate)
        holders = [self.outcomes[name] for name, _ in operation.conditions]
        zeros = [X(self.outcomes[name]) for name, value in operation.conditions if value == 0]
        gate = replace(operation, conditions=()).controlled(*dict.fromkeys(holders))
        self.operations += [*zeros, gate, *zeros]

    def _channel(self, operation: Operation) -> None:
        if operation.conditions:
            raise CircuitError(
                f"{operation.name} is conditioned on a measurement and cannot be dilated. "
                "Condition gates only."
            )
        if any(isinstance(p, Slot) for p in operation.params):
            raise CircuitError(
                f"{operation.name} has a strength that is not bound. Use `circuit.bind` first."
            )
        rule = _RULES.get(operation.name, _general)
        words = isinstance(operation.detail, tuple)
        self.operations += (_pauli_mixture if words else rule)(operation, self.ancilla)


NewAncilla = Callable[[], int]


def _angle(probability: Any) -> Array:
    """2 arcsin sqrt p, with zero derivative where the true one is infinite."""
    return 2 * jnp.arctan2(safe_sqrt(jnp.asarray(probability)), safe_sqrt(1 - probability))


def _amplitude_damping(operation: Operation, new_ancilla: NewAncilla) -> list[Operation]:
    (qubit,), ancilla = operation.targets, new_ancilla()
    return [CRY(_angle(operation.params[0]), qubit, ancilla), CX(ancilla, qubit)]


def _phase_damping(operation: Operation, new_ancilla: NewAncilla) -> list[Operation]:
    return [CRY(_angle(operation.params[0]), operation.targets[0], new_ancilla())]


def _reset(operation: Operation, new_ancilla: NewAncilla) -> list[Operation]:
    return [SWAP(operation.targets[0], new_ancilla())]


def _pauli_mixture(operation: Operation, new_ancilla: NewAncilla) -> list[Operation]:
    """Ancillas in sum_w sqrt(p_w) |bits of w>, each controlling an X or a Z."""
    words = ("I" * len(operation.targets), *operation.detail)
    flips = [("XY", CX), ("YZ", CZ)]  # a word flips a qubit, or its phase
    controls = [
        (place, letters, gate)
        for place in range(len(operation.targets))
        for letters, gate in flips
        if any(word[place] in letters for word in words)
    ]
    if not controls:
        return []
    chances = pauli_probabilities(operation.detail, *map(jnp.asarray, operation.params))
    total = jnp.zeros((*chances.shape[:-1], 2 ** len(controls)), chances.dtype)
    for column, word in enumerate(words):
        bits = "".join("01"[word[place] in letters] for place, letters, _ in controls)
        total = total.at[..., int(bits, 2)].add(chances[..., column])
    ancillas = [new_ancilla() for _ in controls]
    if len(ancillas) == 1:
        prepared = RY(_angle(total[..., 1]), ancillas[0])
    else:
        prepared = StatePreparation(safe_sqrt(total), ancillas)
    return [
        prepared,
        *(
            gate(ancilla, operation.targets[place])
            for ancilla, (place, _, gate) in zip(ancillas, controls, strict=True)
        ),
    ]


def _general(operation: Operation, new_ancilla: NewAncilla) -> list[Operation]:
    """A unitary whose columns for ancillas in |0> are the stacked Kraus operators."""
    kraus = operation.kraus_operators  # (..., m, K, K)
    *batch, m, size, _ = kraus.shape
    num_ancillas = (m - 1).bit_length()
    padding = [(0, 0)] * len(batch) + [(0, 2**num_ancillas - m), (0, 0), (0, 0)]
    isometry = jnp.pad(kraus, padding).reshape((*batch, -1, size))  # (..., ancillas K, K)
    # The other columns act on states that do not occur: any completion will do, and no derivative
    # comes from it.
    complete, _ = jnp.linalg.qr(jax.lax.stop_gradient(isometry), mode="complete")
    matrix = jnp.concatenate([isometry, complete[..., size:]], axis=-1).astype(complex_dtype())
    ancillas = [new_ancilla() for _ in range(num_ancillas)]
    return [Unitary(matrix, [*ancillas, *operation.targets])]


_RULES: dict[str, Callable[[Operation, NewAncilla], list[Operation]]] = {
    "AmplitudeDamping": _amplitude_damping,
    "PhaseDamping": _phase_damping,
    "Reset": _reset,
}
