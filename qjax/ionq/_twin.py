r"""Comparison of a job's results with its local twin, the same circuit in the simulator.

With N shots, O_x of outcome x and twin probabilities p_x, the outcomes with N p_x >= 5 and one
cell for all others enter Pearson's

    X^2 = sum_x (O_x - N p_x)^2 / (N p_x),

which Wilson and Hilferty's cube root turns into a number that is close to standard normal if the
twin is right. Where fewer than 5 shots are expected outside the frequent outcomes, the shots found
there are tested by the binomial tail instead. The z-score is the larger of the two.
"""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np
from scipy.special import betainc, ndtri

from qjax.circuit import Circuit
from qjax.ionq._errors import IonQError
from qjax.ionq._outcomes import Outcomes
from qjax.sim import probabilities
from qjax.transforms import NoiseModel, insert_noise

__all__ = ["TwinComparison", "TwinError", "compare_with_twin"]

_LARGEST_TWIN = 14
_FEW = 5.0  # expected shots below which outcomes are pooled
_ACCURACY = 1e-6  # of the twin's probabilities, in single precision
_SMOOTHING = 0.01  # share of white noise mixed in before likelihoods are compared
_TINY = 1e-300
_STRONG = 10.0  # natural logarithm of a likelihood ratio that settles the bit order


class TwinError(IonQError, ValueError):
    """Results and a circuit that cannot be compared."""


@dataclass(frozen=True)
class TwinComparison:
    """How well results fit the simulated circuit.

    Attributes:
        z: about standard normal if the twin describes the device; large if it does not. For exact
            results 0 if they agree with the twin to its accuracy, else infinite.
        total_variation: half the sum of the differences of probabilities.
        fidelity: classical fidelity of the two distributions, (sum sqrt(p q))^2.
        z_reversed: z-score if all bits were read in the opposite order.
        white_noise: share of uniformly random outcomes that fits the results best, from 0 to 1.
        z_white: z-score of the twin with that share mixed in.
        bits_reversed: whether the opposite bit order fits much better.
        agrees: whether z is at most `threshold`.
        threshold: that was asked for.
    """

    z: float
    total_variation: float
    fidelity: float
    z_reversed: float
    white_noise: float
    z_white: float
    bits_reversed: bool
    agrees: bool
    threshold: float

    @property
    def verdict(self) -> str:
        """What the numbers suggest, in one sentence; they do not prove a cause."""
        if self.bits_reversed:
            return "The results fit the circuit only if the bits are read in the opposite order."
        if self.agrees:
            return "The results agree with the twin."
        if self.z_white <= self.threshold:
            return (
                f"The results look like the twin with {self.white_noise:.1%} of random outcomes: "
                "more noise than the twin has, such as drift or gates that it does not know."
            )
        return (
            "The results fit neither the twin nor the twin with random outcomes: another circuit "
            "ran (a bad compile, swapped qubits), or the device errs in a way the twin lacks."
        )


def compare_with_twin(
    outcomes: Outcomes,
    circuit: Circuit,
    noise: NoiseModel | None = None,
    *,
    threshold: float = 5.0,
) -> TwinComparison:
    """Compares results with a local simulation of the circuit that was sent.

    A device without an exact noise model will differ from any twin once there are shots enough;
    compare `total_variation` and `white_noise` over time rather than `z` alone. Results after
    error mitigation are no independent shots, so `z` overstates there.

    Args:
        outcomes: of the job.
        circuit: that was sent, of at most 14 qubits.
        noise: model of the device; the twin is ideal without.
        threshold: of `z` up to which results count as agreeing.

    Raises:
        TwinError: if the circuit is too large, or has another number of qubits than the results.

    Example:
        >>> import numpy as np, qjax as qj
        >>> from qjax.ionq import Outcomes, compare_with_twin
        >>> bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        >>> counted = Outcomes(2, np.array([0, 3]), np.array([0.48, 0.52]), 500)
        >>> compare_with_twin(counted, bell).verdict
        'The results agree with the twin.'

    References:
        Wilson and Hilferty, The distribution of chi-square, PNAS 17, 684 (1931).
    """
    if circuit.num_qubits != outcomes.num_qubits:
        raise TwinError(
            f"Argument `circuit` must have {outcomes.num_qubits} qubits, as the results have, but "
            f"has {circuit.num_qubits}."
        )
    if circuit.num_qubits > _LARGEST_TWIN:
        raise TwinError(
            f"A twin has at most {_LARGEST_TWIN} qubits, but the circuit has {circuit.num_qubits}."
        )
    noisy = circuit if noise is None else insert_noise(circuit, noise)
    expected = np.asarray(probabilities(noisy), np.float64)
    expected = np.maximum(expected, 0) / np.maximum(expected, 0).sum()
    return _compare(outcomes.probability_vector(), expected, outcomes.shots, threshold)


def _compare(
    found: np.ndarray, expected: np.ndarray, shots: int | None, threshold: float
) -> TwinComparison:
    turned = _reverse(expected)
    white = _white_share(found, expected)
    uniform = 1 / len(expected)
    z = _z_score(found, expected, shots)
    return TwinComparison(
        z=z,
        total_variation=_total_variation(found, expected),
        fidelity=float(np.sqrt(found * expected).sum() ** 2),
        z_reversed=_z_score(found, turned, shots),
        white_noise=white,
        z_white=_z_score(found, (1 - white) * expected + white * uniform, shots),
        bits_reversed=_prefers(found, turned, expected, shots),
        agrees=z <= threshold,
        threshold=threshold,
    )


def _reverse(vector: np.ndarray) -> np.ndarray:
    """Probabilities of the outcomes with their bits in the opposite order."""
    num_qubits = len(vector).bit_length() - 1
    return vector.reshape((2,) * num_qubits).transpose().reshape(-1)


def _total_variation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).sum() / 2)


def _white_share(found: np.ndarray, expected: np.ndarray) -> float:
    """Least squares fit of (1 - w) expected + w uniform; 0 where the twin is uniform itself."""
    uniform = 1 / len(expected)
    direction = expected - uniform
    size = float(direction @ direction)
    if size < _ACCURACY**2:
        return 0.0
    return float(np.clip(1 - (found - uniform) @ direction / size, 0, 1))


def _prefers(found: np.ndarray, first: np.ndarray, second: np.ndarray, shots: int | None) -> bool:
    """Whether the results are far likelier under `first`; exact results count as 1000 shots."""
    mixed = [(1 - _SMOOTHING) * p + _SMOOTHING / len(p) for p in (first, second)]
    gain = float(found @ np.log(mixed[0] / mixed[1]))
    return gain * (shots or 1000) > _STRONG


def _z_score(found: np.ndarray, expected: np.ndarray, shots: int | None) -> float:
    if shots is None:
        limit = 10 * _ACCURACY * sqrt(len(expected))
        return 0.0 if _total_variation(found, expected) <= limit else np.inf
    frequent = expected * shots >= _FEW
    rest = max(1.0 - float(expected[frequent].sum()), _ACCURACY)
    seen = round((1.0 - float(found[frequent].sum())) * shots)
    if rest * shots >= _FEW:
        cells = np.append(expected[frequent], rest), np.append(found[frequent], seen / shots)
        return _chi_square_score(*cells, shots)
    tail = _tail_score(seen, shots, rest)
    # The frequent outcomes among themselves, given how many shots fell on them.
    kept, inside = expected[frequent], shots - seen
    if not inside or len(kept) < 2:
        return tail
    shares = found[frequent] * shots / inside
    return max(tail, _chi_square_score(kept / kept.sum(), shares, inside))


def _chi_square_score(expected: np.ndarray, found: np.ndarray, shots: int) -> float:
    freedom = len(expected) - 1
    if freedom < 1:
        return 0.0
    statistic = shots * float(((found - expected) ** 2 / expected).sum())
    spread = 2 / (9 * freedom)
    return ((statistic / freedom) ** (1 / 3) - (1 - spread)) / sqrt(spread)


def _tail_score(seen: int, shots: int, chance: float) -> float:
    """The z of at least `seen` of `shots` with a chance each, 0 if none was seen."""
    if not seen:
        return 0.0
    tail = float(betainc(seen, shots - seen + 1, chance))  # of the binomial distribution
    if tail > _TINY:
        return float(-ndtri(tail))
    share = seen / shots  # too small for a float: Chernoff's bound, leading order of the tail
    other = (1 - share) * log((1 - share) / (1 - chance)) if seen < shots else 0.0
    return sqrt(2 * shots * (share * log(share / chance) + other))
