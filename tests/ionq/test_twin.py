"""The local twin: what agrees, what does not, and why."""

import numpy as np
import pytest

import qjax as qj
from qjax.ionq import Outcomes, TwinError, compare_with_twin
from tests.support import oracle

CIRCUIT = qj.Circuit(
    4,
    [qj.RY(0.7, 0), qj.CX(0, 1), qj.RX(0.4, 2), qj.CX(1, 2), qj.RY(1.3, 3), qj.CX(2, 3)],
)
BELL = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])


def ideal(circuit):
    return oracle.probabilities(
        oracle.statevector(circuit.num_qubits, oracle.from_circuit(circuit))
    )


def drawn(p, shots, seed):
    counts = np.random.default_rng(seed).multinomial(shots, p / p.sum())
    n = int(np.log2(len(p)))
    return Outcomes.from_weights(n, np.arange(len(p)), counts / shots, shots)


def reverse(p):
    n = int(np.log2(len(p)))
    return np.array([p[int(format(k, f"0{n}b")[::-1], 2)] for k in range(len(p))])


def test_z_is_about_standard_normal_if_the_twin_is_right():
    p = ideal(CIRCUIT)
    scores = [compare_with_twin(drawn(p, 1000, seed), CIRCUIT) for seed in range(60)]
    z = np.array([score.z for score in scores])
    assert abs(z.mean()) < 0.8 and 0.6 < z.std() < 1.3 and z.max() < 4  # the larger of two scores
    assert all(score.agrees and not score.bits_reversed for score in scores)
    assert scores[0].verdict == "The results agree with the twin."


def test_reversed_bits_are_recognised():
    comparison = compare_with_twin(drawn(reverse(ideal(CIRCUIT)), 500, 0), CIRCUIT)
    assert comparison.bits_reversed and not comparison.agrees
    assert comparison.z > 10 and comparison.z_reversed < 4
    assert "only if the bits are read in the opposite order" in comparison.verdict


def test_reversal_is_not_claimed_where_it_makes_no_difference():
    comparison = compare_with_twin(drawn(ideal(BELL), 1000, 0), BELL)
    assert comparison.agrees and not comparison.bits_reversed


def test_more_noise_than_the_twin_has():
    p = 0.9 * ideal(CIRCUIT) + 0.1 / 16
    comparison = compare_with_twin(drawn(p, 2000, 0), CIRCUIT)
    assert not comparison.agrees and comparison.white_noise == pytest.approx(0.1, abs=0.03)
    assert comparison.z_white < 5
    assert comparison.verdict.startswith("The results look like the twin with")


def test_another_circuit():
    other = CIRCUIT + qj.Circuit(4, [qj.RY(0.8, 1)])
    comparison = compare_with_twin(drawn(ideal(other), 2000, 0), CIRCUIT)
    assert not comparison.agrees and not comparison.bits_reversed
    assert comparison.verdict.startswith("The results fit neither the twin nor")


def test_one_impossible_outcome_counts():
    counts = np.array([500, 0, 1, 499])
    outcomes = Outcomes.from_weights(2, np.arange(4), counts / 1000, 1000)
    assert 2 < compare_with_twin(outcomes, BELL).z < 5
    wrong = Outcomes.from_weights(2, np.arange(4), np.array([0.5, 0.0, 0.5, 0.0]), 1000)
    assert compare_with_twin(wrong, BELL).z > 30


def test_noisy_twin():
    rate = 0.05
    noise = qj.NoiseModel().after("RXX", qj.Depolarizing, 15 / 16 * rate)
    gates = qj.Circuit(2, [qj.RY(0.7, 0)] + [qj.RXX(0.6, 0, 1)] * 6)
    pure = ideal(gates)
    rho = oracle.statevector(2, oracle.from_circuit(gates))
    p = oracle.probabilities(np.outer(rho, rho.conj()))
    mixed = (1 - rate) ** 6 * p + (1 - (1 - rate) ** 6) / 4
    np.testing.assert_allclose(p, pure)
    outcomes = drawn(mixed, 4000, 1)
    assert not compare_with_twin(outcomes, gates).agrees
    assert compare_with_twin(outcomes, gates, noise).z < 4


def test_exact_results():
    p = ideal(CIRCUIT)
    same = Outcomes.from_weights(4, np.arange(16), p, None)
    comparison = compare_with_twin(same, CIRCUIT)
    assert comparison.z == 0 and comparison.agrees
    assert comparison.fidelity == pytest.approx(1, abs=1e-5)
    turned = Outcomes.from_weights(4, np.arange(16), reverse(p), None)
    comparison = compare_with_twin(turned, CIRCUIT)
    assert comparison.z == np.inf and comparison.z_reversed == 0 and comparison.bits_reversed


def test_certain_outcomes():
    flip = qj.Circuit(2, [qj.X(0)])
    right = Outcomes(2, np.array([2]), np.ones(1), 1000)
    assert compare_with_twin(right, flip).z == 0
    wrong = Outcomes(2, np.array([1]), np.ones(1), 1000)
    comparison = compare_with_twin(wrong, flip)
    assert comparison.z > 100 and comparison.bits_reversed and comparison.z_reversed == 0


def test_what_cannot_be_compared():
    outcomes = Outcomes(2, np.array([0]), np.ones(1), 10)
    with pytest.raises(TwinError, match="must have 2 qubits, as the results have, but has 4"):
        compare_with_twin(outcomes, CIRCUIT)
    large = Outcomes(15, np.array([0]), np.ones(1), 10)
    with pytest.raises(TwinError, match="at most 14 qubits, but the circuit has 15"):
        compare_with_twin(large, qj.Circuit(15, [qj.X(0)]))
