"""Finding gates X with several controls that are done and undone again.

Such a pair may be replaced by gates that equal it up to a diagonal, which are cheaper.
"""

from qjax.circuit import Step, Structure
from qjax.transforms._commute import acts_diagonally, same_place

__all__ = ["pair_toffolis"]


def _is_toffoli(step: Step) -> bool:
    return step.kind.name == "X" and len(step.controls) >= 2 and not step.conditions


def pair_toffolis(structure: Structure) -> dict[int, bool]:
    """Positions of the gates of such pairs, with whether a gate is the first of its pair.

    All gates between the two must be diagonal on each of their qubits, so that a diagonal that the
    first leaves behind is undone by the second.
    """
    waiting: list[int] = []
    pairs: dict[int, bool] = {}
    for place, step in enumerate(structure.steps):
        partner = None
        if _is_toffoli(step):
            partner = next((w for w in waiting if same_place(structure.steps[w], step)), None)
        if partner is not None:
            pairs[partner], pairs[place] = True, False
        waiting = [
            w
            for w in waiting
            if w != partner
            and all(
                acts_diagonally(step, q) for q in set(step.qubits) & set(structure.steps[w].qubits)
            )
        ]
        if _is_toffoli(step) and partner is None:
            waiting.append(place)
    return pairs
