"""Which operations the asked observables do not need, and which the observables can absorb.

Read backwards from its end, a circuit of gates may lose

- every gate that acts on no qubit of any word (it is outside their light cone);
- every diagonal gate whose qubits are read by Z alone (it commutes with the words);
- X, Z, CX, CZ and SWAP where the words on their qubits are of Z alone, by conjugation:
  C^dagger P C is a word again, up to a sign.

Words of Z alone stay so and are all read from the probabilities; no other word changes.
"""

from functools import lru_cache

from qjax.circuit import Gate, Step, Structure
from qjax.observables import PauliWord

__all__ = ["pull_back"]


@lru_cache(maxsize=256)
def pull_back(
    structure: Structure, words: tuple[PauliWord, ...]
) -> tuple[Structure, tuple[PauliWord, ...], tuple[int, ...]]:
    """Shortens a circuit of gates for the words that are asked for.

    Args:
        structure: of the circuit.
        words: whose expectation values are wanted.

    Returns:
        A structure with the same arrays, words, and a sign per word: the signed words after the
        shorter circuit have the expectation values of the given ones after the whole.
    """
    current = [dict(word) for word in words]
    signs = [1] * len(words)
    kept: list[Step] = []
    frozen: set[int] = set()  # qubits of gates that stay and act later
    for step in reversed(structure.steps):
        if not isinstance(step.kind, Gate) or step.conditions:
            kept.append(step)
            frozen |= set(step.qubits)
            continue
        if not frozen & set(step.qubits) and _absorb(step, current, signs):
            continue
        kept.append(step)
        frozen |= set(step.qubits)
    moved = tuple(tuple(sorted(word.items())) for word in current)
    steps = tuple(reversed(kept))
    return Structure(
        structure.num_qubits, steps, structure.leaves, structure.data_ranks
    ), moved, tuple(signs)  # fmt: skip


def _absorb(step: Step, words: list[dict[int, str]], signs: list[int]) -> bool:
    """Moves a gate into the words if possible."""
    qubits = step.qubits
    letters = {word[q] for word in words for q in qubits if q in word}
    if not letters:
        return True
    if not letters <= {"Z"}:
        return False
    kind = step.kind
    assert isinstance(kind, Gate)
    diagonal = kind.diagonal(step.detail) if callable(kind.diagonal) else kind.diagonal
    if diagonal:
        return True
    if kind.name == "X" and len(step.controls) <= 1:
        (target,) = step.targets
        for i, word in enumerate(words):
            if target in word:
                if step.controls:
                    _toggle(word, step.controls[0])
                else:
                    signs[i] = -signs[i]
        return True
    if kind.name == "SWAP" and not step.controls:
        a, b = step.targets
        for word in words:
            if (a in word) != (b in word):
                _toggle(word, a)
                _toggle(word, b)
        return True
    return False


def _toggle(word: dict[int, str], qubit: int) -> None:
    if word.pop(qubit, None) is None:
        word[qubit] = "Z"
