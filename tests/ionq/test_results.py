"""Results: order of bits, both generations, counts, expectation values and their errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qjax as qj
from qjax.errors import CircuitError, ObservableError
from qjax.ionq import Outcomes, ResponseError, measurement_circuits
from qjax.ionq._client._results import from_ionq_order, is_outcomes, read_outcomes, read_shots
from tests.support import oracle

newer = {"probabilities": {"registers": {"output_all": {"100": 0.75, "001": 0.25}, "c": {"1": 1}}}}


class TestBitOrder:
    @given(st.integers(1, 12), st.data())
    def test_is_that_of_the_reversed_text(self, num_qubits, data):
        key = data.draw(st.integers(0, 2**num_qubits - 1))
        turned = int(from_ionq_order(np.array([key]), num_qubits)[0])
        assert format(turned, f"0{num_qubits}b") == format(key, f"0{num_qubits}b")[::-1]

    def test_both_generations_agree(self):
        older = read_outcomes({"1": 0.75, "4": 0.25}, num_qubits=3)  # X on qubit 0 is key 1
        assert older.probabilities() == read_outcomes(newer).probabilities()
        assert older.probabilities() == {"001": 0.25, "100": 0.75}
        shots = [{"registers": {"output_all": [1, 0, 0], "c": [1]}}] * 3
        rows = read_shots({"shots": shots})
        assert rows.bits.tolist() == read_shots(["1", 1, "1"], num_qubits=3).bits.tolist()
        assert rows.registers["c"].tolist() == [[1], [1], [1]] and rows.num_qubits == 3
        assert rows.outcomes.counts() == {"100": 3}

    def test_sixty_two_qubits(self):
        outcomes = read_outcomes({"1": 1.0}, num_qubits=62)
        assert outcomes.indices.tolist() == [2**61]

    def test_a_register_by_name(self):
        assert read_outcomes(newer, register="c").probabilities() == {"1": 1.0}
        histogram = {"histogram": {"registers": {"output_all": {"10": 3, "01": 1}}}}
        assert read_outcomes(histogram, counted=True).counts() == {"01": 1, "10": 3}
        only = read_shots({"shots": [{"registers": {"c": [0, 1]}}]})
        assert only.bits.tolist() == [[0, 1]]


class TestWhatIsNoResult:
    @pytest.mark.parametrize(
        ("payload", "options", "text"),
        [
            ({"8": 1.0}, {"num_qubits": 3}, "the outcome 8, which 3 qubits cannot give"),
            ({"9" * 30: 1.0}, {"num_qubits": 2}, "the outcome 9{30}, which 2 qubits cannot give"),
            ({"9" * 5000: 1.0}, {"num_qubits": 2}, "not a table of outcomes"),
            ({"²": 1.0}, {"num_qubits": 2}, "not a table of outcomes"),
            ({"0": 1.0}, {"num_qubits": 63}, "between 1 and 62 qubits, but have 63"),
            ({"0": 10**400}, {"num_qubits": 1}, "not a number of at least zero"),
            ({"probabilities": {"registers": {"output_all": {"1" * 70: 1}}}}, {}, "but have 70"),
            ({"0": 0.5}, {"num_qubits": 1}, "add up to 0.500000, not to one"),
            ({"0": 1.2, "1": -0.2}, {"num_qubits": 1}, "not a number of at least zero"),
            ({"0": 1.0}, {}, "does not say how many qubits"),
            ({"x": 1.0}, {"num_qubits": 1}, "not a table of outcomes"),
            ([], {"num_qubits": 1}, "not a table of outcomes"),
            ({"0": 1.5}, {"num_qubits": 1, "counted": True}, "not a whole number"),
            ({"0": 0}, {"num_qubits": 1, "counted": True}, "no outcome with any weight"),
            ({"0": float("nan")}, {"num_qubits": 1}, "not a number of at least"),
            (newer, {"register": "d"}, "no register 'd', but: c, output_all"),
            ({"0": 1.0}, {"num_qubits": 0}, "between 1 and 62 qubits, but have 0"),
            ({"probabilities": {"registers": {"output_all": {"1a": 1}}}}, {}, "not bit strings"),
        ],
    )
    def test_outcomes(self, payload, options, text):
        with pytest.raises(ResponseError, match=text):
            read_outcomes(payload, **options)

    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            ([], "not a list of shots"),
            ({"shots": [1]}, "a shot without registers"),
            ({"shots": [{"registers": {"a": [0]}}, {"registers": {}}]}, "the same registers"),
            ({"shots": [{"registers": {"a": [2]}}]}, "lists of bits"),
            ({"shots": [{"registers": {"a": [1], "b": [1]}}]}, "no register 'output_all'"),
            (["x"], "not a whole number"),
            (["²"], "not a whole number"),
            (["9" * 30], "the outcome 9{30}, which 1 qubits cannot give"),
        ],
    )
    def test_shots(self, payload, text):
        with pytest.raises(ResponseError, match=text):
            read_shots(payload, num_qubits=1)

    def test_looks(self):
        assert is_outcomes({"0": 1}) and is_outcomes(newer)
        assert not any(map(is_outcomes, ({}, None, {"a": {"0": 1}}, {"error": "x"})))


class TestOutcomes:
    @given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
    def test_counts_are_the_counts_whatever_the_rounding(self, counts):
        total = sum(counts)
        table = {str(k): c / total for k, c in enumerate(counts)}
        outcomes = read_outcomes(table, num_qubits=3, shots=total)
        expected = {format(k, "03b")[::-1]: c for k, c in enumerate(counts) if c}
        assert outcomes.counts() == dict(sorted(expected.items()))

    def test_weights_that_are_no_counts_still_add_up(self):
        outcomes = Outcomes(2, np.arange(3), np.full(3, 1 / 3), 100)
        assert sorted(outcomes.counts().values()) == [33, 33, 34]

    def test_exact_probabilities_are_normalised_and_sampled_on_request(self):
        outcomes = read_outcomes({"0": 0.5 + 1e-9, "3": 0.5, "1": -1e-17}, num_qubits=2)
        assert outcomes.probability_vector().sum() == pytest.approx(1, abs=1e-15)
        assert list(outcomes.probabilities()) == ["00", "11"]
        with pytest.raises(ObservableError, match="have no counts. Draw some with sample_counts"):
            outcomes.counts()
        drawn = outcomes.sample_counts(1000, seed=0)
        assert sum(drawn.values()) == 1000 and abs(drawn["00"] - 500) < 80
        assert drawn == outcomes.sample_counts(1000, seed=0)

    def test_marginals_and_other_orders(self):
        outcomes = Outcomes(3, np.array([1, 3, 4]), np.array([0.5, 0.3, 0.2]), 10)
        assert outcomes.marginal((2, 0)).counts() == {"01": 2, "10": 8}
        assert outcomes.marginal((2, 1, 0)).probabilities() == {"001": 0.2, "100": 0.5, "110": 0.3}
        with pytest.raises(CircuitError, match="must be below num_qubits=3"):
            outcomes.marginal((3,))

    def test_no_vector_of_many_qubits(self):
        outcomes = read_outcomes({"0": 1.0}, num_qubits=27)
        with pytest.raises(ObservableError, match="up to 26 qubits, but there are 27"):
            outcomes.probability_vector()

    def test_repr(self):
        assert repr(Outcomes(1, np.array([0]), np.ones(1), 7)) == (
            "Outcomes(1 qubits, 1 outcomes, 7 shots)"
        )


class TestExpectation:
    def test_against_the_sum_over_shots(self):
        bits = np.random.default_rng(0).integers(0, 2, (200, 3)) * [1, 1, 0]
        signs = 1.0 - 2 * bits
        values = 0.5 * signs[:, 0] * signs[:, 1] - 2 * signs[:, 2] + 0.25 * signs[:, 1] + 3
        rows = read_shots({"shots": [{"registers": {"output_all": row.tolist()}} for row in bits]})
        observable = (
            0.5 * qj.Z(0) @ qj.Z(1) - 2 * qj.Z(2) + 0.25 * qj.Z(1) + 3 * qj.I(0)
        )  # fmt: skip
        mean, error = rows.outcomes.expectation(observable)
        assert mean == pytest.approx(values.mean())
        assert error == pytest.approx(values.std(ddof=1) / np.sqrt(200))

    def test_exact_probabilities_have_no_error_and_one_shot_no_estimate_of_it(self):
        outcomes = Outcomes(1, np.array([0, 1]), np.array([0.25, 0.75]))
        assert outcomes.expectation(qj.Z(0)) == (-0.5, 0.0)
        assert Outcomes(1, np.array([0]), np.ones(1), 1).expectation(qj.Z(0)) == (1.0, np.inf)

    def test_letters_and_qubits_that_are_not_there(self):
        outcomes = Outcomes(1, np.array([0]), np.ones(1), 10)
        with pytest.raises(ObservableError, match="the letter Z alone"):
            outcomes.expectation(qj.X(0))
        with pytest.raises(ObservableError, match="must act on 1 qubits, but acts on"):
            outcomes.expectation(qj.Z(1))


OBSERVABLES = [
    0.7 * qj.X(0) @ qj.Z(1) - 0.2 * qj.Y(1) + 0.4 * qj.Z(0) @ qj.Z(2) + 1.5 * qj.I(0),
    qj.Y(0) @ qj.Y(1) @ qj.Z(2) + 0.3 * qj.Y(1) - qj.X(1),
    2.0 * qj.I(0),
]
CIRCUIT = qj.Circuit(3, [qj.RY(0.7, 0), qj.CX(0, 1), qj.RX(0.4, 2), qj.CRZ(1.1, 2, 0), qj.H(1)])


def exact_probabilities(circuit):
    ket = oracle.statevector(circuit.num_qubits, oracle.from_circuit(circuit))
    return oracle.probabilities(ket)


def simulated(circuit, p=None, shots=None, seed=0):
    """What the service would answer, from the oracle."""
    p = exact_probabilities(circuit) if p is None else p
    indices = np.arange(len(p))
    if shots is None:
        return Outcomes.from_weights(circuit.num_qubits, indices, p, None)
    drawn = np.random.default_rng(seed).multinomial(shots, p / p.sum())
    return Outcomes.from_weights(circuit.num_qubits, indices, drawn / shots, shots)


def exact(observable):
    ket = oracle.statevector(3, oracle.from_circuit(CIRCUIT))
    terms = {
        "".join(dict(word).get(q, "I") for q in range(3)): float(c)
        for word, c in zip(observable.words, observable.coefficients, strict=True)
    }
    return oracle.expectation(ket, terms)


class TestMeasurementCircuits:
    def test_exact_values(self):
        plan = measurement_circuits(CIRCUIT, OBSERVABLES)
        values = plan.estimate([simulated(circuit) for circuit in plan.circuits])
        np.testing.assert_allclose(
            [v.value for v in values], list(map(exact, OBSERVABLES)), atol=1e-12
        )
        assert all(v.standard_error == 0 for v in values)

    def test_words_share_circuits(self):
        plan = measurement_circuits(CIRCUIT, OBSERVABLES)
        assert len(plan.circuits) == 3
        one = measurement_circuits(CIRCUIT, qj.Z(0) + qj.Z(1) @ qj.Z(2))
        assert [c.count_operations() for c in one.circuits] == [CIRCUIT.count_operations()]

    def test_standard_errors_are_those_of_repeated_experiments(self):
        plan = measurement_circuits(CIRCUIT, OBSERVABLES[0])
        known = [(circuit, exact_probabilities(circuit)) for circuit in plan.circuits]
        runs = [
            plan.estimate([simulated(*one, 400, 10 * seed + k) for k, one in enumerate(known)])
            for seed in range(200)
        ]
        values = np.array([run[0].value for run in runs])
        errors = np.array([run[0].standard_error for run in runs])
        assert abs(values.mean() - exact(OBSERVABLES[0])) < 4 * values.std() / np.sqrt(200)
        assert errors.mean() == pytest.approx(values.std(), rel=0.2)

    def test_constants_need_no_circuit(self):
        plan = measurement_circuits(CIRCUIT, 2.0 * qj.I(0))
        assert plan.circuits == () and plan.estimate([]) == [(2.0, 0.0)]

    def test_bad_input(self):
        plan = measurement_circuits(CIRCUIT, qj.X(0))
        with pytest.raises(ObservableError, match="one entry per circuit, 1, but holds 0"):
            plan.estimate([])
        with pytest.raises(ObservableError, match="must have real coefficients"):
            measurement_circuits(CIRCUIT, 1j * qj.X(0))
        with pytest.raises(CircuitError, match="must be below num_qubits=3"):
            measurement_circuits(CIRCUIT, qj.X(5))


def test_multiples_of_the_identity_need_no_circuit():
    plan = measurement_circuits(qj.Circuit(2, [qj.H(0)]), [2.5 * qj.I(0), -1.0 * qj.I(1)])
    assert plan.circuits == ()
    assert plan.estimate([]) == [(2.5, 0.0), (-1.0, 0.0)]
