"""Which operations the asked observables do not need, and which the observables can absorb.

Read backwards from its end, a circuit of gates may lose

- every gate that acts on no qubit of any word (it is outside their light cone);
- every diagonal gate whose qubits are read by Z alone (it commutes with the words);
- X, Z, CX, CZ and SWAP where the words on their qubits are of Z alone, by conjugation:
  C^dagger P C is a word again, up to a sign.

Words of Z alone stay so and are all read from the probabilities; no other word changes.

The diagonal gates may as well stay. A deep circuit is compiled as a loop over its layers, and the
last one is then compiled apart if it has no diagonal gates.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

from qjax.circuit import Gate, Step, Structure
from qjax.observables import PauliWord

__all__ = ["PulledBack", "pull_back"]


class PulledBack(NamedTuple):
    """A circuit without what some words do not need.

    Attributes:
        structure: of the shorter circuit, with the same arrays.
        words: to be read after it.
        signs: per word: the signed words have the expectation values of the given ones after the
            whole circuit.
        longer: the structure with the diagonal gates that commute with the words, which have the
            same expectation values after it.
    """

    structure: Structure
    words: tuple[PauliWord, ...]
    signs: tuple[int, ...]
    longer: Structure


@lru_cache(maxsize=256)
def pull_back(structure: Structure, words: tuple[PauliWord, ...]) -> PulledBack:
    """Shortens a circuit of gates for the words that are asked for.

    Args:
        structure: of the circuit.
        words: whose expectation values are wanted.
    """
    current = [dict(word) for word in words]
    signs = [1] * len(words)
    kept: list[Step] = []
    longer: list[Step] = []
    frozen: set[int] = set()  # qubits of gates that stay and act later
    for step in reversed(structure.steps):
        is_free = isinstance(step.kind, Gate) and not step.conditions
        way = "kept"
        if is_free and not frozen & set(step.qubits):
            way = _absorb(step, current, signs)
        if way == "kept":
            kept.append(step)
            frozen |= set(step.qubits)
        if way != "dropped":
            longer.append(step)
    moved = tuple(tuple(sorted(word.items())) for word in current)
    first, second = (
        Structure(structure.num_qubits, tuple(reversed(s)), structure.leaves, structure.data_ranks)
        for s in (kept, longer)
    )
    return PulledBack(first, moved, tuple(signs), second)


def _absorb(
    step: Step, words: list[dict[int, str]], signs: list[int]
) -> Literal["kept", "dropped", "commutes"]:
    """Moves a gate into the words if possible."""
    qubits = step.qubits
    letters = {word[q] for word in words for q in qubits if q in word}
    if not letters:
        return "dropped"
    if not letters <= {"Z"}:
        return "kept"
    kind = step.kind
    assert isinstance(kind, Gate)
    diagonal = kind.diagonal(step.detail) if callable(kind.diagonal) else kind.diagonal
    if diagonal:
        return "commutes"
    if kind.name == "X" and len(step.controls) <= 1:
        (target,) = step.targets
        for i, word in enumerate(words):
            if target in word:
                if step.controls:
                    _toggle(word, step.controls[0])
                else:
                    signs[i] = -signs[i]
        return "dropped"
    if kind.name == "SWAP" and not step.controls:
        a, b = step.targets
        for word in words:
            if (a in word) != (b in word):
                _toggle(word, a)
                _toggle(word, b)
        return "dropped"
    return "kept"


def _toggle(word: dict[int, str], qubit: int) -> None:
    if word.pop(qubit, None) is None:
        word[qubit] = "Z"
