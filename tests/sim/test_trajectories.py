"""`expectation(..., method="trajectories")`: values, errors that mean something, gradients.

Statistics use fixed keys and allow five standard deviations. What they are compared with is the
NumPy oracle, a closed form, or the density-matrix engine where that is tested elsewhere.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.circuit import channel_arguments
from qjax.errors import CircuitError, StateError
from qjax.sim._branches import channel_branches
from qjax.sim._estimate import LARGEST_CHUNK, chunk_size
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import as_circuit, as_observable, random_kraus

NUMBER = 3000
OBSERVABLES = [{"ZZ": 1.0}, {"XI": 0.5, "IZ": -1.0}, {"YX": 1.0}]
START = [Op("RY", (0,), (1.0,)), Op("RX", (1,), (0.7,)), Op("CX", (0, 1))]
END = [Op("RX", (0,), (0.4,)), Op("CRY", (0, 1), (1.1,))]
MEASURED = [Op("Measure", (0,), data="m"), Op("RY", (1,), (1.3,), conditions=(("m", 1),))]


def estimated(circuit, observables, number=NUMBER, seed=0, **kwargs):
    return qj.expectation(
        circuit,
        observables,
        method="trajectories",
        num_trajectories=number,
        key=jax.random.key(seed),
        **kwargs,
    )


def assert_close(estimate, expected, *, deviations=5.0, rounding=2e-5):
    """Within so many standard errors; where there is no spread, within rounding."""
    value, error = (np.asarray(a, float) for a in estimate)
    assert value.shape == error.shape == np.shape(expected)
    assert np.all(np.abs(value - expected) <= deviations * error + rounding), (value, error)


def mean_of(samples):
    """Mean and standard error of independent samples along the first axis."""
    samples = np.asarray(samples, float)
    return samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))


CHANNELS = {
    "damping": [Op("AmplitudeDamping", (0,), (0.4,)), Op("PhaseDamping", (1,), (0.3,))],
    "thermal": [
        Op("GeneralizedAmplitudeDamping", (0,), (0.5, 0.3)),
        Op("ThermalRelaxation", (1,), (40.0, 60.0, 30.0, 0.2)),
    ],
    "flips": [Op("BitFlip", (0,), (0.2,)), Op("PhaseFlip", (1,), (0.3,))],
    "depolarizing": [Op("Depolarizing", (1, 0), (0.3,)), Op("Depolarizing", (0,), (0.2,))],
    "pauli words": [
        Op("PauliChannel", (0,), (0.1, 0.2, 0.05)),
        Op("PauliChannel", (1, 0), (), {"XZ": 0.2, "YY": 0.1}),
    ],
    "one-qubit Kraus": [Op("Kraus", (1,), data=random_kraus(1, 3))],
    "two-qubit Kraus": [Op("Kraus", (1, 0), data=random_kraus(2, 4))],
    "reset": [Op("Reset", (0,))],
    "feed-forward": [*MEASURED, Op("Reset", (0,), conditions=(("m", 1),))],
    "conditioned channels": [
        *MEASURED,
        Op("Depolarizing", (0, 1), (0.3,), conditions=(("m", 0),)),
        Op("AmplitudeDamping", (1,), (0.5,), conditions=(("m", 1),)),
    ],
    "post-selection": [
        Op("AmplitudeDamping", (0,), (0.4,)),
        Op("Measure", (1,), data="m", postselect=1),
        Op("BitFlip", (0,), (0.3,), conditions=(("m", 1),)),
    ],
    "post-selection of zero": [Op("BitFlip", (1,), (0.2,)), Op("Measure", (1,), postselect=0)],
}


def oracle_values(ops):
    rho = oracle.density_matrix(2, ops)
    matrices = [oracle.sum_matrix(terms) for terms in OBSERVABLES]
    return [np.trace(matrix @ rho).real for matrix in matrices]


class TestValue:
    """Means against exact expectation values."""

    @pytest.mark.parametrize("case", CHANNELS)
    def test_equals_the_density_matrix(self, case):
        """Each kind of channel between two layers of gates."""
        ops = [*START, *CHANNELS[case], *END]
        observables = [as_observable(terms) for terms in OBSERVABLES]
        estimate = estimated(as_circuit(2, ops), observables)
        assert_close(estimate, oracle_values(ops))
        assert np.all(np.asarray(estimate.standard_error) < 0.05)

    def test_readout_errors(self):
        """They act on the letters, as they do on exact values."""
        circuit = as_circuit(2, [*START, *CHANNELS["damping"]])
        circuit += qj.Circuit(2, [qj.ReadoutError(0.1, 0.3, 0), qj.ReadoutError(0.2, 0.0, 1)])
        observables = [as_observable(terms) for terms in OBSERVABLES]
        assert_close(estimated(circuit, observables), qj.expectation(circuit, observables))

    @pytest.mark.parametrize("seed", range(3))
    def test_initial_state(self, seed):
        """A ket to start from."""
        ops = [*CHANNELS["damping"], *END]
        ket = oracle.statevector(2, START)
        estimate = estimated(as_circuit(2, ops), qj.Z(1), seed=seed, initial_state=ket)
        rho = oracle.density_matrix(2, [*START, *ops])
        assert_close(estimate, np.trace(oracle.word_matrix("IZ") @ rho).real)

    def test_standard_error_is_calibrated(self):
        """Chi-square of the deviations over many keys."""
        circuit = as_circuit(2, [*START, *CHANNELS["damping"], *CHANNELS["flips"], *END])
        keys = jax.random.split(jax.random.key(5), 400)

        def run(key):
            return qj.expectation(
                circuit, qj.Z(0) @ qj.Z(1), method="trajectories", num_trajectories=200, key=key
            )

        value, error = jax.jit(jax.vmap(run))(keys)
        squares = (
            (np.asarray(value) - float(qj.expectation(circuit, qj.Z(0) @ qj.Z(1)))) / error
        ) ** 2
        assert abs(squares.mean() - 1) < 4 * np.sqrt(2 / len(keys))

    def test_ratio_is_calibrated(self):
        """The same for post-selection, whose standard error is that of a ratio."""
        circuit = as_circuit(2, [*START, *CHANNELS["post-selection"], *END])
        keys = jax.random.split(jax.random.key(6), 400)

        def run(key):
            return qj.expectation(
                circuit, qj.Z(0), method="trajectories", num_trajectories=400, key=key
            )

        value, error = jax.jit(jax.vmap(run))(keys)
        squares = ((np.asarray(value) - float(qj.expectation(circuit, qj.Z(0)))) / error) ** 2
        assert abs(squares.mean() - 1) < 4 * np.sqrt(2 / len(keys))

    def test_without_noise_it_is_exact(self):
        """Gates and readout errors leave nothing to draw."""
        circuit = as_circuit(2, START) + qj.Circuit(2, [qj.ReadoutError(0.1, 0.2, 0)])
        value, error = estimated(circuit, qj.Z(0), number=2)
        np.testing.assert_allclose(value, qj.expectation(circuit, qj.Z(0)), atol=1e-6)
        assert error == 0

    def test_noise_of_strength_zero_costs_no_precision(self):
        """Branches that are drawn for the sake of their derivatives do not blur the value."""
        ops = [*START, Op("Depolarizing", (0, 1), (0.0,)), Op("AmplitudeDamping", (0,), (0.0,))]
        value, error = estimated(as_circuit(2, ops), qj.Z(0), number=100)
        np.testing.assert_allclose(value, np.cos(1.0), atol=1e-5)
        assert error < 1e-6

    def test_weak_noise_is_seen_by_few_trajectories(self):
        """Rare jumps are drawn more often and weighted: far less noise than counting them."""
        p, number = 1e-4, 1000
        circuit = qj.Circuit(2, [qj.X(0), qj.BitFlip(p, 0), qj.CX(0, 1)])
        estimate = estimated(circuit, qj.Z(1), number=number)
        assert_close(estimate, -1 + 2 * p, rounding=1e-6)
        plain = 2 * np.sqrt(p / number)
        assert 0 < estimate.standard_error < plain / 10

    def test_register_too_large_for_a_density_matrix(self):
        """16 qubits, each damped, in the closed form of a product state."""
        n, gamma = 16, 0.3
        angles = 0.3 + 0.1 * np.arange(n)
        noise = [qj.AmplitudeDamping(gamma, q) for q in (0, 7, 15)]
        circuit = qj.Circuit(n, [*(qj.RY(a, q) for q, a in enumerate(angles)), *noise])
        observables = [qj.Z(q) for q in (0, 3, 7, 15)]
        z = np.cos(angles[[0, 3, 7, 15]])
        z[[0, 2, 3]] = gamma + (1 - gamma) * z[[0, 2, 3]]
        assert_close(estimated(circuit, observables, number=200), z)


def model(angles, inputs, strengths):
    """Two qubits with every kind of dependence that a gradient may have."""
    return qj.Circuit(
        2,
        [
            *(qj.RY(inputs, 0), qj.RX(angles[0], 1), qj.CX(0, 1)),
            *(qj.AmplitudeDamping(strengths[0], 0), qj.Depolarizing(strengths[1], (0, 1))),
            *(qj.RY(angles[1], 1), qj.GeneralizedAmplitudeDamping(strengths[2], 0.3, 1)),
            *(qj.PhaseDamping(0.5 * strengths[0], 0), qj.BitFlip(strengths[1], 0)),
            *(qj.Measure(1, "m"), qj.RX(angles[0], 0).conditioned("m")),
            qj.ReadoutError(0.1 * strengths[2], 0.2, 0),
        ],
    )


OBSERVABLE = qj.Z(0) @ qj.Z(1) + 0.5 * qj.X(0)
ANGLES, INPUT = jnp.array([0.9, 0.4]), jnp.array(1.2)
STRENGTHS = {
    "inside": jnp.array([0.3, 0.2, 0.4]),
    "weak": jnp.array([1e-3, 1e-3, 1e-3]),
    "zero": jnp.zeros(3),
    "one": jnp.ones(3),
}


def exact(angles, inputs, strengths):
    return qj.expectation(model(angles, inputs, strengths), OBSERVABLE)


def value_of(angles, inputs, strengths, key, number=500):
    return qj.expectation(
        model(angles, inputs, strengths),
        OBSERVABLE,
        method="trajectories",
        num_trajectories=number,
        key=key,
    ).value


def assert_gradients_agree(found, expected, deviations=5.0):
    for samples, target in zip(found, expected, strict=True):
        mean, error = mean_of(samples)
        assert np.all(np.isfinite(mean))
        assert np.all(np.abs(mean - target) <= deviations * error + 2e-4), (mean, error, target)


class TestGradient:
    """Means of gradients over keys against the exact gradients."""

    @pytest.mark.parametrize("case", STRENGTHS)
    def test_is_unbiased(self, case):
        """In angles, inputs and strengths, at both ends of their range too."""
        arguments = (ANGLES, INPUT, STRENGTHS[case])
        keys = jax.random.split(jax.random.key(11), 60)
        gradient = jax.grad(value_of, argnums=(0, 1, 2))
        found = jax.jit(jax.vmap(gradient, (None, None, None, 0)))(*arguments, keys)
        expected = jax.jit(jax.grad(exact, argnums=(0, 1, 2)))(*arguments)
        assert_gradients_agree(found, expected)

    def test_the_naive_one_is_biased(self):
        """Through normalised runs: the same check fails by far, so it can fail."""
        arguments = (ANGLES, INPUT, STRENGTHS["inside"])

        def naive(angles, inputs, strengths, key):
            circuit = model(angles, inputs, strengths)
            plain = qj.Circuit(2, circuit.operations[:-1])  # readout errors are no part of it
            ket = qj.statevector(plain, key=key)
            return qj.expectation(qj.Circuit(2, []), OBSERVABLE, initial_state=ket)

        def exact_without_readout(*arguments):
            circuit = qj.Circuit(2, model(*arguments).operations[:-1])
            return qj.expectation(circuit, OBSERVABLE)

        keys = jax.random.split(jax.random.key(12), 4000)
        gradient = jax.grad(naive, argnums=(0, 1, 2))
        found = jax.jit(jax.vmap(gradient, (None, None, None, 0)))(*arguments, keys)
        expected = jax.grad(exact_without_readout, argnums=(0, 1, 2))(*arguments)
        with pytest.raises(AssertionError):
            assert_gradients_agree(found, expected, deviations=20.0)

    def test_post_selection(self):
        """The gradient of a ratio of means: consistent, with a bias below its noise here."""

        def circuit(theta):
            return qj.Circuit(
                2,
                [
                    *(qj.RY(theta, 0), qj.CX(0, 1), qj.AmplitudeDamping(0.4, 0), qj.RX(theta, 1)),
                    *(qj.Measure(1, postselect=1), qj.RY(0.5 * theta, 0)),
                ],
            )

        def run(theta, key):
            return qj.expectation(
                circuit(theta), qj.Z(0), method="trajectories", num_trajectories=2000, key=key
            ).value

        keys = jax.random.split(jax.random.key(13), 40)
        found = jax.jit(jax.vmap(jax.grad(run), (None, 0)))(1.1, keys)
        expected = jax.grad(lambda t: qj.expectation(circuit(t), qj.Z(0)))(1.1)
        assert_gradients_agree([found], [expected])

    def test_kraus_operators(self):
        """With respect to an array of Kraus operators, through how they are parametrised."""

        def circuit(theta):
            c, s = jnp.cos(theta), jnp.sin(theta)
            operators = jnp.array([[[1, 0], [0, c]], [[0, s], [0, 0]]])
            return qj.Circuit(1, [qj.RY(1.0, 0), qj.Kraus(operators, 0)])

        def run(theta, key):
            return qj.expectation(
                circuit(theta), qj.X(0), method="trajectories", num_trajectories=500, key=key
            ).value

        keys = jax.random.split(jax.random.key(14), 40)
        found = jax.jit(jax.vmap(jax.grad(run), (None, 0)))(0.6, keys)
        assert_gradients_agree([found], [-np.sin(1.0) * np.sin(0.6)])

    def test_second_derivative(self):
        """Where every branch has a chance, derivatives of any order are unbiased."""

        def circuit(theta):
            return qj.Circuit(1, [qj.RY(theta, 0), qj.AmplitudeDamping(0.4, 0), qj.RY(theta, 0)])

        def run(theta, key):
            return qj.expectation(
                circuit(theta), qj.Z(0), method="trajectories", num_trajectories=500, key=key
            ).value

        keys = jax.random.split(jax.random.key(15), 40)
        found = jax.jit(jax.vmap(jax.grad(jax.grad(run)), (None, 0)))(0.8, keys)
        expected = jax.grad(jax.grad(lambda t: qj.expectation(circuit(t), qj.Z(0))))(0.8)
        assert_gradients_agree([found], [expected])

    def test_impossible_branches_give_no_nan(self):
        """Damping of |0>, a certain outcome, and a reset of |0>."""

        def run(theta):
            circuit = qj.Circuit(
                1, [qj.RX(theta, 0), qj.AmplitudeDamping(theta, 0), qj.Measure(0), qj.Reset(0)]
            )
            return estimated(circuit, qj.Z(0), number=20)

        value, slope = jax.jvp(run, (0.0,), (1.0,))
        assert value.value == 1 and np.isfinite(slope.value) and slope.standard_error == 0

    def test_reverse_mode_memory_is_that_of_a_chunk(self):
        """Four times the trajectories need about the same memory."""
        n = 12
        together = chunk_size(n, 10**6)

        def needed(number):
            def run(theta):
                layers = [qj.RY(theta, q) for q in range(n)] * 3
                noise = [qj.AmplitudeDamping(0.1, 0), qj.BitFlip(0.1, 1)]
                return estimated(qj.Circuit(n, [*layers, *noise]), qj.Z(0), number=number).value

            compiled = jax.jit(jax.grad(run)).lower(0.3).compile()
            memory = compiled.memory_analysis()
            assert memory is not None
            return memory.temp_size_in_bytes

        assert needed(8 * together) < 1.2 * needed(2 * together)


CHANNEL_ROWS = {
    "AmplitudeDamping": lambda s: qj.AmplitudeDamping(s[0], 0),
    "PhaseDamping": lambda s: qj.PhaseDamping(s[0], 0),
    "GeneralizedAmplitudeDamping": lambda s: qj.GeneralizedAmplitudeDamping(s[0], s[1], 0),
    "ThermalRelaxation": lambda s: qj.ThermalRelaxation(1.0, 1.5, 3 * s[0], 0, s[1]),
    "BitFlip": lambda s: qj.BitFlip(s[0], 0),
    "PhaseFlip": lambda s: qj.PhaseFlip(s[0], 0),
    "Depolarizing": lambda s: qj.Depolarizing(s[0], (0, 1)),
    "PauliChannel": lambda s: qj.PauliChannel(0.3 * s[0], 0.2 * s[1], 0.1, 0),
    "PauliChannel with the identity": lambda s: qj.PauliChannel(
        {"II": 0.5 * s[0], "ZY": 0.5 * s[1]}, (0, 1)
    ),
    "Reset": lambda s: qj.Reset(0),
}


@pytest.mark.parametrize("strengths", [(0.3, 0.4), (0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("name", CHANNEL_ROWS)
def test_branches_sum_to_the_channel(name, strengths, x64):
    """sum_j w_j L_j (x) conj(L_j) is the superoperator, in its derivatives as well."""
    strengths = jnp.asarray(strengths)

    def circuit(s):
        return qj.Circuit(2, [CHANNEL_ROWS[name](s)])

    def summed(s):
        c = circuit(s)
        (branches,) = channel_branches(c.structure.steps, c.params, c.data)
        size = branches.operators.shape[-1] // 2
        operators = branches.operators[:, :size, :size] + 1j * branches.operators[:, size:, :size]
        table = jnp.einsum("m,mij,mkl->ikjl", branches.weights, operators, operators.conj())
        return table.reshape(size**2, size**2)

    def direct(s):
        (operation,) = circuit(s).operations
        kind = operation.kind
        arguments = channel_arguments(kind, operation.params, None, operation.detail)  # pyright: ignore[reportArgumentType]
        return jnp.asarray(kind.superoperator(*arguments), complex)  # pyright: ignore[reportAttributeAccessIssue]

    np.testing.assert_allclose(summed(strengths), direct(strengths), atol=1e-12)
    slopes = [jax.jacfwd(function)(strengths) for function in (summed, direct)]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-12)


class TestInterface:
    """Shapes, transformations, keys and errors."""

    CIRCUIT = qj.Circuit(2, [qj.RY(0.8, 0), qj.CX(0, 1), qj.AmplitudeDamping(0.3, 1)])

    def test_shapes(self):
        """Those of `expectation`."""
        one = estimated(self.CIRCUIT, qj.Z(0), number=3)
        two = estimated(self.CIRCUIT, [qj.Z(0), qj.X(1)], number=3)
        assert isinstance(one, qj.Estimate)
        assert one.value.shape == one.standard_error.shape == ()
        assert two.value.shape == two.standard_error.shape == (2,)

    def test_batches(self):
        """Batch axes of the circuit and of the coefficients; each element has its own paths."""
        thetas = jnp.array([[0.8, 0.8, 0.8], [0.1, 0.2, 0.3]])
        circuit = qj.Circuit(2, [qj.RY(thetas, 0), qj.BitFlip(0.3, 0)])
        estimate = estimated(circuit, [qj.Z(0), qj.Z(1)])
        expected = qj.expectation(circuit, [qj.Z(0), qj.Z(1)])
        assert_close(estimate, expected)
        assert len(set(np.asarray(estimate.value)[0, :, 0].tolist())) == 3
        weighted = jnp.array([1.0, -2.0])[:, None] * jnp.ones((2, 3)) * jnp.ones((5, 1, 1))
        observable = qj.PauliSum((((0, "Z"),),), weighted[..., None])
        assert_close(estimated(circuit, observable), qj.expectation(circuit, observable))

    def test_same_key_same_result(self):
        """Randomness comes from the key alone."""
        first, second, other = (
            estimated(self.CIRCUIT, qj.Z(1), number=50, seed=s) for s in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, second)
        assert first.value != other.value

    def test_old_style_keys(self):
        """Keys of the old style are keys, too."""
        estimate = qj.expectation(
            self.CIRCUIT,
            qj.Z(1),
            method="trajectories",
            num_trajectories=200,
            key=jax.random.PRNGKey(0),
        )
        assert_close(estimate, qj.expectation(self.CIRCUIT, qj.Z(1)))

    def test_jit_vmap_and_derivatives_agree_with_plain_calls(self):
        """One function, five ways."""

        def run(theta, key):
            circuit = qj.Circuit(2, [qj.RY(theta, 0), qj.CX(0, 1), qj.AmplitudeDamping(0.3, 1)])
            return qj.expectation(
                circuit, qj.Z(1), method="trajectories", num_trajectories=30, key=key
            )

        keys = jax.random.split(jax.random.key(0), 2)
        plain = [run(0.8, key) for key in keys]
        close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        close(jax.jit(run)(0.8, keys[0]), plain[0])
        mapped = jax.vmap(run, (None, 0))(0.8, keys)
        close(mapped.value, [p.value for p in plain])
        _, slope = jax.jvp(lambda t: run(t, keys[0]).value, (0.8,), (1.0,))
        gradient = jax.grad(lambda t: run(t, keys[0]).value)(0.8)
        close(slope, gradient)
        assert jax.grad(lambda t: run(t, keys[0]).standard_error)(0.8) == 0

    def test_number_that_does_not_divide(self):
        """Chunks of equal size, the last one cut."""
        n = 11
        limit = LARGEST_CHUNK >> n
        assert chunk_size(n, limit) == limit
        assert chunk_size(n, limit + 1) == limit // 2 + 1
        assert chunk_size(40, 7) == 1
        circuit = qj.Circuit(n, [qj.RY(0.5, 0), qj.BitFlip(0.2, 0)])
        assert_close(estimated(circuit, qj.Z(0), number=limit + 1), 0.6 * np.cos(0.5))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"method": "trajectory"},
                "`method` must be one of 'exact', 'trajectories', 'shots', but is",
            ),
            (
                {"method": "trajectories", "key": jax.random.key(0)},
                "`num_trajectories` must be given with method='trajectories'",
            ),
            (
                {"method": "trajectories", "num_trajectories": 1, "key": jax.random.key(0)},
                "must be at least 2, so that there is a standard error, but is 1",
            ),
            (
                {"method": "trajectories", "num_trajectories": 0, "key": jax.random.key(0)},
                "`num_trajectories` must be at least 1, but is 0",
            ),
            (
                {"method": "trajectories", "num_trajectories": 2.5, "key": jax.random.key(0)},
                "`num_trajectories` must be an integer, but is 2.5",
            ),
            (
                {"method": "trajectories", "num_trajectories": 10},
                r"`key` must be a random key such as jax.random.key\(0\), but is None",
            ),
            (
                {"key": jax.random.key(0)},
                "`key` must not be given with method='exact', which does not use it",
            ),
            (
                {"method": "exact", "num_trajectories": 10},
                "`num_trajectories` must not be given with method='exact'",
            ),
        ],
    )
    def test_arguments_must_fit_together(self, arguments, message):
        """Each mistake by name."""
        with pytest.raises(CircuitError, match=message):
            qj.expectation(self.CIRCUIT, qj.Z(0), **arguments)

    def test_mixed_initial_state(self):
        """A trajectory starts from a ket."""
        with pytest.raises(StateError, match="must be a ket here, but is a density matrix"):
            estimated(self.CIRCUIT, qj.Z(0), initial_state=np.eye(4) / 4)

    def test_impossible_post_selection(self):
        """No path arrives."""
        circuit = qj.Circuit(1, [qj.BitFlip(0.0, 0), qj.Measure(0, postselect=1)])
        with pytest.raises(StateError, match="post-selected outcome has probability zero"):
            estimated(circuit, qj.Z(0), number=4)
