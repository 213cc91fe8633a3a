"""Which pairs of qubits an entangling layer couples."""

from itertools import combinations

__all__ = ["ENTANGLEMENTS", "entangled_pairs"]

ENTANGLEMENTS = ("linear", "full", "circular", "none")


def entangled_pairs(num_qubits: int, entanglement: str) -> tuple[tuple[int, int], ...]:
    """Pairs (control, target) in the order in which they act.

    Args:
        num_qubits: n.
        entanglement: "linear": (q, q+1); "full": all i < j; "circular": linear and (n-1, 0),
            where n > 2; "none": no pairs, for circuits whose qubits stay apart.

    Example:
        >>> entangled_pairs(3, "circular")
        ((0, 1), (1, 2), (2, 0))
    """
    if entanglement == "none":
        return ()
    if entanglement == "full":
        return tuple(combinations(range(num_qubits), 2))
    linear = tuple((q, q + 1) for q in range(num_qubits - 1))
    closes = entanglement == "circular" and num_qubits > 2
    return (*linear, (num_qubits - 1, 0)) if closes else linear
