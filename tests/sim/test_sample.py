"""Samples: shapes, counts, and statistics with fixed keys against exact probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import QjaxError
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import as_circuit, random_density_matrix

SHOTS = 4000
OPS = [Op("RY", (0,), (1.0,)), Op("CX", (0, 1)), Op("RY", (2,), (2.0,)), Op("CRX", (2, 0), (0.7,))]


def z_score(observed, expected) -> float:
    """Chi-square of counts, cells under five pooled, as standard deviations (Wilson-Hilferty)."""
    observed, expected = np.ravel(observed).astype(float), np.ravel(expected).astype(float)
    large = expected >= 5
    cells = np.append(observed[large], observed[~large].sum())
    means = np.append(expected[large], expected[~large].sum())
    keep = means > 0
    assert cells[~keep].sum() == 0
    chi_square = np.sum((cells[keep] - means[keep]) ** 2 / means[keep])
    freedom = keep.sum() - 1
    if freedom == 0:
        return 0.0
    spread = 2 / (9 * freedom)
    return ((chi_square / freedom) ** (1 / 3) - (1 - spread)) / np.sqrt(spread)


def indices(bits) -> np.ndarray:
    """Rows of bits as numbers, the first most significant."""
    bits = np.asarray(bits, dtype=np.int64)
    return bits @ (1 << np.arange(bits.shape[1])[::-1])


def histogram(bits) -> np.ndarray:
    """How often each basis state was drawn."""
    return np.bincount(indices(bits), minlength=2 ** np.shape(bits)[1])


class TestInterface:
    """Shapes, types and keys."""

    def test_bits(self):
        """One row a shot, one column a qubit, small integers."""
        bits = qj.sample(as_circuit(3, OPS), 50, jax.random.key(0))
        assert bits.shape == (50, 3)
        assert bits.dtype in (jnp.int8, jnp.uint8)
        assert set(np.unique(bits)) <= {0, 1}

    def test_certain_outcome(self):
        """Qubit 0 is the first column and the first letter."""
        circuit = qj.Circuit(3, [qj.X(0), qj.CX(0, 2)])
        assert np.all(qj.sample(circuit, 5, jax.random.key(0)) == jnp.array([1, 0, 1]))
        assert qj.counts(circuit, 5, jax.random.key(0)) == {"101": 5}

    def test_counts_are_those_of_sample(self):
        """The same key gives the same shots."""
        circuit, key = as_circuit(3, OPS), jax.random.key(1)
        table = qj.counts(circuit, shots=200, key=key)
        weights = histogram(qj.sample(circuit, shots=200, key=key))
        assert table == {format(i, "03b"): n for i, n in enumerate(weights) if n}
        assert all(type(n) is int for n in table.values())

    def test_same_key_same_shots(self):
        """Randomness comes from the key alone."""
        circuit = as_circuit(3, OPS)
        one, two, other = (qj.sample(circuit, 100, jax.random.key(k)) for k in (3, 3, 4))
        np.testing.assert_array_equal(one, two)
        assert np.any(one != other)

    def test_inside_jit_and_vmap(self):
        """`sample` is an ordinary JAX function."""
        keys = jax.random.split(jax.random.key(0), 3)
        run = jax.jit(jax.vmap(lambda key: qj.sample(as_circuit(3, OPS), 20, key)))
        bits = run(keys)
        assert bits.shape == (3, 20, 3)
        np.testing.assert_array_equal(bits[1], qj.sample(as_circuit(3, OPS), 20, keys[1]))

    @pytest.mark.parametrize("shots", [0, -1])
    def test_shots_must_be_positive(self, shots):
        """Nothing cannot be sampled."""
        with pytest.raises(QjaxError, match="shots"):
            qj.sample(as_circuit(3, OPS), shots, jax.random.key(0))


class TestStatistics:
    """Chi-square with fixed keys: within four standard deviations."""

    def test_pure(self):
        """Gates only."""
        bits = qj.sample(as_circuit(3, OPS), SHOTS, jax.random.key(0))
        expected = SHOTS * oracle.probabilities(oracle.statevector(3, OPS))
        assert abs(z_score(histogram(bits), expected)) < 4

    def test_shots_are_independent(self):
        """Pairs of successive shots are as frequent as their product says."""
        bits = qj.sample(qj.Circuit(1, [qj.RY(1.0, 0)]), SHOTS, jax.random.key(7))
        one = np.sin(0.5) ** 2
        single = np.array([1 - one, one])
        pairs = histogram(np.asarray(bits).reshape(-1, 2))
        assert abs(z_score(pairs, SHOTS / 2 * np.outer(single, single))) < 4

    def test_the_score_sees_a_bias(self):
        """The test itself can fail."""
        expected = SHOTS * oracle.probabilities(oracle.statevector(3, OPS))
        biased = expected * np.where(np.arange(8) % 2, 1.2, 0.8)
        assert z_score(biased, expected) > 4

    @pytest.mark.parametrize("start", ["mixed", "ket"])
    def test_initial_state(self, start):
        """A mixed state, or a ket, to start from."""
        rho = random_density_matrix(3, seed=1)
        state = rho if start == "mixed" else np.linalg.eigh(rho)[1][:, 0]
        bits = qj.sample(as_circuit(3, OPS), SHOTS, jax.random.key(2), initial_state=state)
        expected = oracle.probabilities(oracle.density_matrix(3, OPS, state))
        assert abs(z_score(histogram(bits), SHOTS * expected)) < 4

    def test_noisy(self):
        """Channels and readout errors."""
        ops = [*OPS, Op("AmplitudeDamping", (0,), (0.4,)), Op("Depolarizing", (1, 2), (0.3,))]
        circuit = as_circuit(3, ops) + qj.Circuit(3, [qj.ReadoutError(0.1, 0.2, 1)])
        bits = qj.sample(circuit, SHOTS, jax.random.key(3))
        expected = oracle.probabilities(oracle.density_matrix(3, ops), None, {1: (0.1, 0.2)})
        assert abs(z_score(histogram(bits), SHOTS * expected)) < 4

    @pytest.mark.parametrize("noise", [[], [Op("AmplitudeDamping", (1,), (0.3,))]])
    def test_mid_circuit(self, noise):
        """Measurement, feedback and reset, shot by shot."""
        ops = [
            *(Op("RY", (0,), (1.0,)), Op("Measure", (0,), data="m")),
            *(Op("RX", (1,), (1.3,), conditions=(("m", 1),)), Op("Reset", (0,)), *noise),
            *(Op("RY", (0,), (0.5,)), Op("CX", (1, 0))),
        ]
        bits = qj.sample(as_circuit(2, ops), SHOTS, jax.random.key(4))
        expected = oracle.probabilities(oracle.density_matrix(2, ops))
        assert abs(z_score(histogram(bits), SHOTS * expected)) < 4

    def test_postselected(self):
        """Only the chosen outcome is ever seen, and the rest is conditioned on it."""
        ops = [
            *(Op("RY", (0,), (1.0,)), Op("CRY", (0, 1), (0.8,))),
            Op("Measure", (1,), data="m", postselect=1),
        ]
        bits = qj.sample(as_circuit(2, ops), SHOTS, jax.random.key(5))
        expected = oracle.probabilities(oracle.density_matrix(2, ops))
        assert np.all(np.asarray(bits)[:, 1] == 1)
        assert abs(z_score(histogram(bits), SHOTS * expected)) < 4


class TestTrajectories:
    """`statevector(..., key=)` of circuits with measurements."""

    TELEPORT = (
        *(qj.U(1.1, 0.5, 0.2, 0), qj.H(1), qj.CX(1, 2), qj.CX(0, 1), qj.H(0)),
        *(qj.Measure(0, "a"), qj.Measure(1, "b")),
        *(qj.X(2).conditioned("b"), qj.Z(2).conditioned("a")),
    )

    def test_teleportation_always_arrives(self):
        """Four outcomes, equally likely; the state arrives in each of them."""
        keys = jax.random.split(jax.random.key(0), 400)
        circuit = qj.Circuit(3, self.TELEPORT)
        kets = np.asarray(jax.jit(jax.vmap(lambda k: qj.statevector(circuit, key=k)))(keys))
        sent = oracle.statevector(1, [Op("U", (0,), (1.1, 0.5, 0.2))])
        blocks = kets.reshape(-1, 4, 2)
        weights = np.sum(np.abs(blocks) ** 2, axis=-1)
        np.testing.assert_allclose(weights.max(axis=1), 1, atol=1e-5)
        arrived = blocks[np.arange(len(keys)), weights.argmax(axis=1)]
        np.testing.assert_allclose(np.abs(arrived @ sent.conj()), 1, atol=1e-5)
        outcomes = np.bincount(weights.argmax(axis=1), minlength=4)
        assert abs(z_score(outcomes, np.full(4, 100))) < 4

    @pytest.mark.parametrize(
        "noise",
        [
            [Op("RY", (0,), (0.5,))],
            [
                Op("AmplitudeDamping", (1,), (0.4,)),
                Op("Depolarizing", (0, 1), (0.3,)),
                Op("Reset", (0,), conditions=(("m", 1),)),
                Op("BitFlip", (1,), (0.3,), conditions=(("m", 0),)),
            ],
        ],
        ids=["gates", "channels"],
    )
    def test_average_is_the_density_matrix(self, noise):
        """The mean over trajectories tends to the exact state."""
        ops = [
            *(Op("RY", (0,), (1.0,)), Op("Measure", (0,), data="m")),
            *(Op("RX", (1,), (1.3,), conditions=(("m", 1),)), *noise),
        ]
        circuit, keys = as_circuit(2, ops), jax.random.split(jax.random.key(1), SHOTS)
        kets = np.asarray(jax.jit(jax.vmap(lambda k: qj.statevector(circuit, key=k)))(keys))
        found = np.einsum("ki,kj->ij", kets, kets.conj()) / SHOTS
        np.testing.assert_allclose(found, oracle.density_matrix(2, ops), atol=4 / np.sqrt(SHOTS))


def test_noisy_register_too_large_for_a_density_matrix():
    """13 qubits with feedback, damping and readout error: the mean of each bit."""
    n = 13
    circuit = qj.Circuit(
        n,
        [
            *(qj.RY(0.3 * q, q) for q in range(n)),
            *(qj.Measure(1, "m"), qj.X(2).conditioned("m")),
            *(qj.AmplitudeDamping(0.5, 3), qj.CX(3, 4), qj.ReadoutError(0.1, 0.2, 5)),
        ],
    )
    p = np.sin(0.15 * np.arange(n)) ** 2
    p[2] = p[2] * (1 - p[1]) + p[1] * (1 - p[2])
    p[3] /= 2
    p[4] = p[3] * (1 - p[4]) + p[4] * (1 - p[3])
    p[5] = 0.8 * p[5] + 0.1 * (1 - p[5])
    shots = 400
    bits = qj.sample(circuit, shots, jax.random.key(8))
    assert bits.shape == (shots, n)
    scores = np.abs(np.mean(bits, axis=0) - p) / np.sqrt(p * (1 - p) / shots + 1e-12)
    assert scores.max() < 4


NUM_QUBITS, MANY = 20, 10**6


@pytest.fixture(scope="module")
def drawn():
    """Observed and expected counts of all 2**20 outcomes, in single precision."""
    n = NUM_QUBITS
    angles = 0.9 + 0.07 * np.arange(n)
    ladder = [qj.CX(q, q + 1) for q in range(n - 1)]
    circuit = qj.Circuit(n, [*(qj.RY(a, q) for q, a in enumerate(angles)), *ladder])
    bits = np.asarray(qj.sample(circuit, MANY, jax.random.key(2026)))
    weights = np.ones(1)
    for angle in angles:
        weights = np.kron(weights, [np.cos(angle / 2) ** 2, np.sin(angle / 2) ** 2])
    target = np.arange(2**n)
    for shift in (1, 2, 4, 8, 16):  # the ladder sends each bit to the parity up to it
        target ^= target >> shift
    expected = np.empty(2**n)
    expected[target] = MANY * weights
    return histogram(bits), expected


class TestLargeRegister:
    """20 qubits, a million shots: float32 cumulative sums and random numbers are coarse there."""

    @pytest.mark.parametrize("kept", [range(10), range(10, 20), range(5, 15), range(0, 20, 2)])
    def test_marginals(self, drawn, kept):
        """High, low, middle and alternate bits."""
        others = tuple(q for q in range(NUM_QUBITS) if q not in kept)
        observed, expected = (a.reshape((2,) * NUM_QUBITS).sum(axis=others) for a in drawn)
        assert abs(z_score(observed, expected)) < 4

    def test_every_outcome(self, drawn):
        """All cells at full resolution, and blocks of cells of like probability."""
        observed, expected = drawn
        assert observed.sum() == MANY
        assert abs(z_score(observed, expected)) < 4
        order = np.argsort(expected)
        blocks = [a[order].reshape(1024, -1).sum(axis=1) for a in (observed, expected)]
        assert abs(z_score(*blocks)) < 4

    def test_every_stretch_of_the_index(self, drawn):
        """4096 neighbouring ranges: a drifting cumulative sum shows at the far end."""
        blocks = [a.reshape(4096, -1).sum(axis=1) for a in drawn]
        assert abs(z_score(*blocks)) < 4
        halves = [a.reshape(2, -1).sum(axis=1) for a in drawn]
        assert abs(z_score(*halves)) < 4
