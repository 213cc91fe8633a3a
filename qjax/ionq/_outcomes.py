"""What was measured: frequencies or probabilities of outcomes, qubit 0 leftmost.

Nothing here knows how the service writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from qjax._checks import check_positive_int, check_qubits, check_qubits_in_range
from qjax.errors import ObservableError
from qjax.ionq._errors import ResponseError
from qjax.observables import PauliSum, as_pauli_sum

__all__ = ["MeasuredValue", "Outcomes", "ShotTable", "check_width"]

_LARGEST_DENSE = 26
_LARGEST_REGISTER = 62  # outcomes are kept as 64-bit integers


def check_width(num_qubits: int) -> None:
    """Raises `ResponseError` unless outcomes of that many qubits fit into 64-bit integers."""
    if not 1 <= num_qubits <= _LARGEST_REGISTER:
        raise ResponseError(
            f"Outcomes need between 1 and {_LARGEST_REGISTER} qubits, but have {num_qubits}."
        )


class MeasuredValue(NamedTuple):
    """An expectation value and how far it may be off.

    Attributes:
        value: the mean.
        standard_error: of the mean; 0 for exact probabilities.
    """

    value: float
    standard_error: float


@dataclass(frozen=True, eq=False, repr=False)
class Outcomes:
    """The outcomes of one circuit that have any weight.

    Attributes:
        num_qubits: n.
        indices: (m,) int64, ascending; qubit 0 is the most significant of n bits.
        weights: (m,) float64, adding up to one.
        shots: behind the weights; None where they are exact probabilities.

    Example:
        >>> import numpy as np
        >>> from qjax.ionq import Outcomes
        >>> outcomes = Outcomes(2, np.array([0, 3]), np.array([0.25, 0.75]), 100)
        >>> outcomes.counts(), outcomes.probabilities()
        ({'00': 25, '11': 75}, {'00': 0.25, '11': 0.75})
    """

    num_qubits: int
    indices: np.ndarray
    weights: np.ndarray
    shots: int | None = None

    @classmethod
    def from_weights(
        cls, num_qubits: int, indices: np.ndarray, weights: np.ndarray, shots: int | None
    ) -> "Outcomes":
        """Sorts, adds up what is named twice, drops zeros and normalises.

        Raises:
            ResponseError: if an outcome has more bits than there are qubits, or no weight is left.
        """
        check_width(num_qubits)
        if len(indices) and (indices.min() < 0 or indices.max() >= 1 << num_qubits):
            raise ResponseError(f"An outcome has more than {num_qubits} bits.")
        distinct, place = np.unique(indices.astype(np.int64), return_inverse=True)
        summed = np.bincount(place, weights=weights, minlength=len(distinct))
        kept = summed > 0
        if not kept.any():
            raise ResponseError("The results hold no outcome with any weight.")
        return cls(num_qubits, distinct[kept], summed[kept] / summed[kept].sum(), shots)

    def probabilities(self) -> dict[str, float]:
        """Bit string, qubit 0 first -> relative frequency or exact probability."""
        return {self._text(i): float(w) for i, w in zip(self.indices, self.weights, strict=True)}

    def probability_vector(self) -> np.ndarray:
        """(2**n,) float64.

        Raises:
            ObservableError: above 26 qubits.
        """
        if self.num_qubits > _LARGEST_DENSE:
            raise ObservableError(
                f"A vector over all outcomes is made up to {_LARGEST_DENSE} qubits, but there are "
                f"{self.num_qubits}. Use probabilities()."
            )
        dense = np.zeros(1 << self.num_qubits)
        dense[self.indices] = self.weights
        return dense

    def counts(self) -> dict[str, int]:
        """Bit string, qubit 0 first -> number of shots; they add up to `shots`.

        Where error mitigation gave weights that are no whole numbers of shots, the largest
        remainders are rounded up.

        Raises:
            ObservableError: if the probabilities are exact, with no shots behind them.
        """
        if self.shots is None:
            raise ObservableError(
                "Exact probabilities have no counts. Draw some with sample_counts(shots, seed)."
            )
        scaled = self.weights * self.shots
        whole = np.floor(scaled).astype(np.int64)
        missing = self.shots - int(whole.sum())
        order = np.argsort(whole - scaled, kind="stable")  # largest remainder first
        whole[order[:missing]] += 1
        return {self._text(i): int(c) for i, c in zip(self.indices, whole, strict=True) if c}

    def sample_counts(self, shots: int, seed: int) -> dict[str, int]:
        """Counts drawn from the probabilities.

        Args:
            shots: how many.
            seed: of the random numbers.
        """
        number = check_positive_int(shots, name="shots", error=ObservableError)
        drawn = np.random.default_rng(seed).multinomial(number, self.weights)
        return {self._text(i): int(c) for i, c in zip(self.indices, drawn, strict=True) if c}

    def marginal(self, qubits: Sequence[int]) -> "Outcomes":
        """Outcomes of some qubits, the others summed over.

        A native circuit whose qubits changed places is read with its `positions`.

        Args:
            qubits: which, in the order that the result shall have.

        Raises:
            CircuitError: if one is named twice or is not there.
        """
        where = check_qubits(qubits)
        check_qubits_in_range(where, self.num_qubits, what="Outcomes.marginal")
        indices = np.zeros_like(self.indices)
        for qubit in where:
            indices = (indices << 1) | ((self.indices >> (self.num_qubits - 1 - qubit)) & 1)
        return Outcomes.from_weights(len(where), indices, self.weights, self.shots)

    def expectation(self, observable: Any) -> MeasuredValue:
        """Mean of an observable made of Z and the identity.

        Args:
            observable: Pauli sum with real coefficients; letters X and Y need other circuits, see
                `measurement_circuits`.

        Raises:
            ObservableError: on another letter, or on a qubit that is not there.
        """
        words = as_pauli_sum(observable, name="observable")
        if any(letter != "Z" for word in words.words for _, letter in word):
            raise ObservableError(
                "Argument `observable` must hold the letter Z alone, because the outcomes are of "
                f"that basis, but is {words!r}. Use measurement_circuits for other letters."
            )
        return self.mean(words)

    def mean(self, words: PauliSum) -> MeasuredValue:
        """Mean over the outcomes of a sum of parities: every letter counts as the bit read."""
        if max(words.qubits, default=0) >= self.num_qubits:
            raise ObservableError(
                f"Argument `observable` must act on {self.num_qubits} qubits, but acts on "
                f"{words.qubits!r}."
            )
        values = np.zeros(len(self.indices))
        for word, coefficient in zip(words.words, np.asarray(words.coefficients), strict=True):
            mask = sum(1 << (self.num_qubits - 1 - qubit) for qubit, _ in word)
            odd = np.bitwise_count(self.indices & mask) & 1
            values += coefficient * np.where(odd, -1.0, 1.0)
        mean = float(self.weights @ values)
        if self.shots is None:
            return MeasuredValue(mean, 0.0)
        spread = float(self.weights @ (values - mean) ** 2)
        freedom = self.shots - 1
        return MeasuredValue(mean, float(np.sqrt(spread / freedom)) if freedom else np.inf)

    def _text(self, index: int) -> str:
        return format(int(index), f"0{self.num_qubits}b")

    def __repr__(self) -> str:
        behind = "exact" if self.shots is None else f"{self.shots} shots"
        return f"Outcomes({self.num_qubits} qubits, {len(self.indices)} outcomes, {behind})"


@dataclass(frozen=True, eq=False, repr=False)
class ShotTable:
    """Every shot, in the order in which it was taken.

    Attributes:
        bits: (shots, n) uint8, qubit 0 first.
        registers: name -> (shots, width) uint8, for the classical registers of an OpenQASM job.
    """

    bits: np.ndarray
    registers: Mapping[str, np.ndarray]

    @property
    def num_qubits(self) -> int:
        """Width of `bits`."""
        return self.bits.shape[1]

    @property
    def outcomes(self) -> Outcomes:
        """The shots, counted."""
        shots, num_qubits = self.bits.shape
        powers = 1 << np.arange(num_qubits - 1, -1, -1, dtype=np.int64)
        indices = self.bits.astype(np.int64) @ powers
        return Outcomes.from_weights(num_qubits, indices, np.ones(shots), shots)

    def __repr__(self) -> str:
        return f"ShotTable({self.bits.shape[0]} shots, {self.bits.shape[1]} qubits)"
