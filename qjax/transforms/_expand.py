"""Gates as elements: the rule of every row of the gate table."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from qjax._typing import is_concrete
from qjax.circuit import Gate, Step, kind_matrix
from qjax.errors import CircuitError
from qjax.observables import word_matrix
from qjax.transforms._amplitudes import is_real_array, unknown_amplitude_elements
from qjax.transforms._controlled import (
    controlled_pair,
    controlled_phase,
    controlled_rz,
    controlled_u,
    controlled_unitary,
    pauli_rotation,
    relative_x,
)
from qjax.transforms._double import double_amplitudes, double_unitary
from qjax.transforms._elements import Element, Local, Pair, inverted
from qjax.transforms._linear import Number, is_known
from qjax.transforms._matrices import CX, TO_Z, p, rotation, u
from qjax.transforms._multiplexed import amplitude_elements, unitary_elements

__all__ = ["Call", "Rule", "expand", "expand_relative"]


class Call(NamedTuple):
    """A gate with its numbers; `matrix` is the array of a gate that carries one."""

    kind: Gate
    controls: tuple[int, ...]
    targets: tuple[int, ...]
    numbers: tuple[Number, ...]
    detail: Any = None
    matrix: Any = None


_REMEDIES = {"ReadoutError": "Leave it out: it changes what is read and not the state."}

Rule = Callable[[Call], list[Element]]


def expand(
    step: Step,
    numbers: tuple[Number, ...],
    data: Any = None,
    rules: Mapping[str, Rule] | None = None,
) -> list[Element]:
    """The elements whose product is a gate or state preparation, up to a global phase.

    Args:
        step: which operation on which qubits.
        numbers: its angles.
        data: its matrix or amplitudes; the angles that prepare amplitudes known later are called
            (("amplitudes", number of the array), i), see `amplitude_angles`.
        rules: further rules, by the name of the gate.

    Raises:
        CircuitError: if there is no rule, or a matrix is not known.
    """
    is_data_known = data is None or (
        is_concrete(data) and np.ndim(data) == (step.kind.data_rank or 0)
    )
    if step.kind.name == "StatePreparation":
        if is_data_known:
            return amplitude_elements(step.targets, double_amplitudes(data))
        leaf = ("amplitudes", step.data)
        return unknown_amplitude_elements(step.targets, leaf, is_real_array(data))
    if not is_data_known:
        raise CircuitError(
            f"{step.name} on qubits {step.qubits!r} can be decomposed only if its matrix is known "
            "and has no batch axes. Decompose outside of jit, vmap and grad."
        )
    if not isinstance(step.kind, Gate):
        remedy = _REMEDIES.get(step.kind.name, "Use qjax.transforms.dilate first.")
        raise CircuitError(
            f"{step.name} is not a gate and cannot be decomposed into gates. {remedy}"
        )
    call = Call(step.kind, step.controls, step.targets, numbers, step.detail, data)
    rule = {**_RULES, **(rules or {})}.get(step.kind.name, _by_matrix)
    elements = rule(call)
    return inverted(elements) if step.adjoint else elements


def expand_relative(step: Step) -> list[Element]:
    """X with two or more controls, up to a diagonal.

    The diagonal depends on the order of the controls. In ascending order it is the same for two
    gates that differ only in that order, as the gates of a pair may.
    """
    return relative_x(tuple(sorted(step.controls)), step.targets[0])


def _unitary(controls: tuple[int, ...], targets: tuple[int, ...], matrix: Any) -> list[Element]:
    """A known matrix on any number of qubits."""
    array = double_unitary(matrix)
    if len(targets) == 1:
        return controlled_unitary(controls, targets[0], array)
    if len(targets) == 2:
        return controlled_pair(controls, (targets[0], targets[1]), array)
    for _ in controls:
        array = np.kron(np.diag([1, 0]), np.eye(len(array))) + np.kron(np.diag([0, 1]), array)
    return unitary_elements(controls + targets, array)


def _by_matrix(call: Call) -> list[Element]:
    """Through the matrix that the gate table gives."""
    if not is_known(*call.numbers):
        raise CircuitError(
            f"{call.kind.name} can be decomposed only if its angles are known. Bind them, and "
            "decompose outside of jit, vmap and grad."
        )
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        found = np.asarray(kind_matrix(call.kind, call.numbers, call.matrix, call.detail, False))
    return _unitary(call.controls, call.targets, found)


def _identity(call: Call) -> list[Element]:
    return []


def _axis_rotation(letter: str) -> Rule:
    """Rotations about X, Y and Z; known ones without controls are one matrix."""

    def rule(call: Call) -> list[Element]:
        (theta,), target = call.numbers, call.targets[0]
        if not call.controls and isinstance(theta, float):
            return [Local((target,), rotation(letter, theta))]
        change = [Local((target,), TO_Z[letter])] if letter != "Z" else []
        return [*change, *controlled_rz(call.controls, target, theta), *inverted(change)]

    return rule


def _phase(call: Call) -> list[Element]:
    (phi,) = call.numbers
    if not call.controls and isinstance(phi, float):
        return [Local((call.targets[0],), p(phi))]
    return controlled_phase(call.controls + call.targets, phi)


def _u(call: Call) -> list[Element]:
    theta, phi, lam = call.numbers
    if isinstance(theta, float) and isinstance(phi, float) and isinstance(lam, float):
        return controlled_unitary(call.controls, call.targets[0], u(theta, phi, lam))
    return controlled_u(call.controls, call.targets[0], theta, phi, lam)


def _swap(call: Call) -> list[Element]:
    a, b = call.targets
    if not call.controls:
        return [Pair((a, b), np.asarray(call.kind.matrix, complex))]
    turn = Pair((b, a), CX)
    change = [Local((b,), TO_Z["X"])]
    return [turn, *change, *controlled_phase((*call.controls, a, b), np.pi), *change, turn]


def _iswap(call: Call) -> list[Element]:
    a, b = call.targets
    if not call.controls:
        return [Pair((a, b), np.asarray(call.kind.matrix, complex))]
    return [
        element
        for word in ("XX", "YY")
        for element in pauli_rotation(call.controls, word, (a, b), -np.pi / 2)
    ]


def _word(word: str | None = None) -> Rule:
    def rule(call: Call) -> list[Element]:
        letters = call.detail if word is None else word
        return pauli_rotation(call.controls, letters, call.targets, call.numbers[0])

    return rule


def _evolution(call: Call) -> list[Element]:
    """The Pauli rotations of a product formula, or the exponential of a known matrix."""
    words, scheme = call.detail
    if scheme is not None:
        steps, order = scheme
        once = [
            pauli_rotation(call.controls, word, call.targets, number * (2 / (steps * order)))
            for word, number in zip(words, call.numbers, strict=True)
        ]
        formula = (once + (once[::-1] if order == 2 else [])) * steps
        return [element for rotation_ in formula for element in rotation_]
    if not is_known(*call.numbers):
        raise CircuitError(
            "Evolution under words that do not commute can be decomposed only if its time is "
            "known. Use Evolution(..., method='trotter')."
        )
    hamiltonian = np.zeros((2 ** len(call.targets),) * 2, complex)
    for word, number in zip(words, call.numbers, strict=True):
        letters = tuple((i, letter) for i, letter in enumerate(word) if letter != "I")
        hamiltonian += number * word_matrix(letters, len(word))
    energies, states = np.linalg.eigh(hamiltonian)
    return _unitary(
        call.controls, call.targets, (states * np.exp(-1j * energies)) @ states.conj().T
    )


_RULES: dict[str, Rule] = {
    "I": _identity,
    **{f"R{letter}": _axis_rotation(letter) for letter in "XYZ"},
    "P": _phase,
    "U": _u,
    "SWAP": _swap,
    "ISWAP": _iswap,
    **{f"R{word}": _word(word) for word in ("XX", "YY", "ZZ")},
    "PauliRotation": _word(),
    "Evolution": _evolution,
}
