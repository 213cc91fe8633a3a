"""Pauli words that one measurement basis serves."""

from collections.abc import Sequence
from typing import NamedTuple

from qjax.observables._pauli import PauliWord

__all__ = ["MeasurementGroup", "group_words"]


class MeasurementGroup(NamedTuple):
    """Words that are read together.

    Attributes:
        basis: the letter in which each qubit is measured, as a word; other qubits do not matter.
        members: places of the words in the list that was grouped.
    """

    basis: PauliWord
    members: tuple[int, ...]


def group_words(words: Sequence[PauliWord]) -> tuple[MeasurementGroup, ...]:
    """Sorts words into groups that agree on the letter of every qubit that they share.

    Greedy, longest words first: each joins the first group that it agrees with. To read a group
    every qubit is measured in its letter; a word's outcome is the parity of its qubits' bits.

    Args:
        words: of Pauli letters; an empty word joins any group.

    Returns:
        Groups in the order in which their first words come; none for no words.

    Example:
        >>> from qjax.observables import group_words
        >>> [g.members for g in group_words([((0, "Z"),), ((0, "X"),), ((0, "Z"), (1, "Z"))])]
        [(0, 2), (1,)]

    References:
        McClean et al., The theory of variational hybrid quantum-classical algorithms, New J. Phys.
        18, 023023 (2016), section 3.
    """
    bases: list[dict[int, str]] = []
    members: list[list[int]] = []
    for place in sorted(range(len(words)), key=lambda i: -len(words[i])):
        letters = dict(words[place])
        for basis, group in zip(bases, members, strict=True):
            if all(basis.get(qubit, letter) == letter for qubit, letter in letters.items()):
                basis.update(letters)
                group.append(place)
                break
        else:
            bases.append(letters)
            members.append([place])
    groups = [
        MeasurementGroup(tuple(sorted(basis.items())), tuple(sorted(group)))
        for basis, group in zip(bases, members, strict=True)
    ]
    return tuple(sorted(groups, key=lambda group: group.members))
