"""Data re-uploading against the same circuit written gate by gate, and its Fourier series."""

import jax
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError, EncodingError
from qjax.library import data_reuploading, entangled_pairs
from tests.nn.checks import finite_differences
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import unitary_of

pytestmark = pytest.mark.usefixtures("x64")

X = np.array([0.4, -1.1, 0.7])
TRAINABLE = {2: ("RY", "RZ"), 3: ("RZ", "RY", "RZ")}
PAIRS = {"linear": [(0, 1), (1, 2)], "circular": [(0, 1), (1, 2), (2, 0)], "none": []}


def angles(*shape) -> np.ndarray:
    """Fixed angles that all differ."""
    return np.sin(1.0 + np.arange(np.prod(shape))).reshape(shape)


def gates(x, theta, entanglement="circular", scaling=None, rotation="RY") -> list[Op]:
    """The definition, layer by layer."""
    depth, n, k = np.shape(theta)
    factors = np.ones((depth, n)) if scaling is None else scaling
    pairs = PAIRS[entanglement] if n == 3 else entangled_pairs(n, entanglement)
    ops = []
    for layer in range(depth):
        for q in range(n):
            ops.append(Op(rotation, (q,), (float(factors[layer][q] * x[q]),)))
            ops += [Op(g, (q,), (float(theta[layer][q][i]),)) for i, g in enumerate(TRAINABLE[k])]
        ops += [Op("CX", pair) for pair in pairs]
    return ops


class TestCircuit:
    """What acts where, and with which angle."""

    @pytest.mark.parametrize("entanglement", PAIRS)
    @pytest.mark.parametrize("per_qubit", [2, 3])
    @pytest.mark.parametrize("is_scaled", [False, True])
    def test_matrix(self, entanglement, per_qubit, is_scaled):
        """Of two layers on three qubits."""
        theta = angles(2, 3, per_qubit)
        scaling = 1.5 + angles(2, 3) if is_scaled else None
        circuit = data_reuploading(X, theta, entanglement, scaling)
        expected = oracle.unitary(3, gates(X, theta, entanglement, scaling))
        np.testing.assert_allclose(unitary_of(circuit), expected, atol=1e-13)

    @pytest.mark.parametrize("rotation", ["RX", "RY", "RZ"])
    @pytest.mark.parametrize("num_qubits", [1, 2])
    def test_rotation(self, rotation, num_qubits):
        """By which the features enter."""
        theta, x = angles(3, num_qubits, 2), X[:num_qubits]
        circuit = data_reuploading(x, theta, rotation=rotation)
        expected = oracle.unitary(num_qubits, gates(x, theta, rotation=rotation))
        np.testing.assert_allclose(unitary_of(circuit), expected, atol=1e-13)

    def test_full_entanglement(self):
        """Every pair, once per layer."""
        circuit = data_reuploading(np.ones(4), angles(2, 4, 2), "full")
        pairs = [op.qubits for op in oracle.from_circuit(circuit) if op.name == "CX"]
        assert pairs == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] * 2

    def test_scaling_of_ones_changes_nothing(self):
        """The same state as without."""
        theta = angles(2, 3, 2)
        one, same = (
            qj.statevector(data_reuploading(X, theta, scaling=s)) for s in (None, np.ones((2, 3)))
        )
        np.testing.assert_allclose(one, same, atol=1e-14)

    def test_trainable_ry_is_a_bias_of_the_feature(self):
        """theta + x and x + theta are one rotation about Y."""
        theta, shift = angles(2, 3, 2), np.array([0.3, -0.6, 0.1])
        moved = theta.copy()
        moved[..., 0] += shift
        one, two = data_reuploading(X + shift, theta), data_reuploading(X, moved)
        np.testing.assert_allclose(unitary_of(one), unitary_of(two), atol=1e-13)

    @pytest.mark.parametrize("scaling", [None, angles(3, 2)])
    def test_each_array_is_handed_over_whole(self, scaling):
        """One leaf of data, one of angles, and one structure for all numbers."""
        circuit = data_reuploading(X[:2], angles(3, 2, 2), scaling=scaling)
        again = data_reuploading(X[1:], 2 * angles(3, 2, 2), scaling=scaling)
        assert [np.shape(leaf) for leaf in jax.tree.leaves(circuit)] == [
            (2,) if scaling is None else (6,),
            (12,),
        ]
        assert circuit.structure is again.structure


class TestBatches:
    """Leading axes come out in front."""

    @pytest.mark.parametrize(
        ("x", "theta", "scaling"),
        [((4, 2), (3, 2, 2), None), ((2,), (4, 3, 2, 2), None), ((4, 2), (4, 3, 2, 2), (4, 3, 2)),
         ((4, 2), (3, 2, 2), (3, 2)), ((2,), (3, 2, 2), (4, 3, 2)), ((4, 2), (1, 3, 2, 2), None)],
    )  # fmt: skip
    def test_broadcast(self, x, theta, scaling):
        """Of data, angles and factors, in every combination."""
        arrays = [angles(*x), angles(*theta), None if scaling is None else 2 * angles(*scaling)]
        circuit = data_reuploading(arrays[0], arrays[1], scaling=arrays[2])
        assert circuit.batch_shape == (4,)
        found = qj.statevector(circuit)
        for i, ket in enumerate(found):
            one = [
                a if a is None or a.ndim == rank else a[i % len(a)]
                for a, rank in zip(arrays, (1, 3, 2), strict=True)
            ]
            expected = oracle.statevector(2, gates(one[0], one[1], scaling=one[2]))
            np.testing.assert_allclose(ket, expected, atol=1e-13)

    def test_grid(self):
        """Three inputs against two sets of angles."""
        x, theta = angles(3, 1, 2), angles(2, 2, 2, 2)
        found = qj.statevector(data_reuploading(x, theta))
        assert found.shape == (3, 2, 4)
        expected = oracle.statevector(2, gates(x[2, 0], theta[1]))
        np.testing.assert_allclose(found[2, 1], expected, atol=1e-13)

    def test_vmap_equals_batch_axes(self):
        """The same numbers, mapped by JAX."""
        x, theta, scaling = angles(4, 2), angles(3, 2, 3), angles(3, 2)

        def run(x):
            return qj.statevector(data_reuploading(x, theta, scaling=scaling))

        np.testing.assert_allclose(jax.jit(jax.vmap(run))(x), run(x), atol=1e-13)


class TestGradient:
    """Derivatives against finite differences of the oracle."""

    @pytest.mark.parametrize("per_qubit", [2, 3])
    def test_in_inputs_angles_and_scaling(self, per_qubit):
        """Every entry; an input gathers what all layers say."""
        values = [X[:2], angles(2, 2, per_qubit), 1.5 + angles(2, 2)]

        def value(x, theta, scaling):
            circuit = data_reuploading(x, theta, scaling=scaling)
            return qj.expectation(circuit, qj.X(0) @ qj.Z(1) + 0.5 * qj.Z(0))

        def reference(x, theta, scaling):
            ket = oracle.statevector(2, gates(x, theta, scaling=scaling))
            return oracle.expectation(ket, {"XZ": 1, "ZI": 0.5})

        found = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(*values)
        for i, gradient in enumerate(found):
            numeric = finite_differences(
                lambda v, i=i: reference(*[v if j == i else w for j, w in enumerate(values)]),
                values[i],
            )
            assert np.abs(gradient).max() > 0.1
            np.testing.assert_allclose(gradient, numeric, atol=1e-8)


def spectrum(theta, rotation: str, scaling=None) -> np.ndarray:
    """Sizes of the Fourier coefficients of <Z>(x) for frequencies 0 to 15."""
    xs = 2 * np.pi * np.arange(32) / 32
    values = qj.expectation(
        data_reuploading(xs[:, None], theta, scaling=scaling, rotation=rotation), qj.Z(0)
    )
    return np.abs(np.fft.rfft(values))[:16] / 32


class TestFourierSeries:
    """One qubit of depth L is a trigonometric polynomial of degree L in its input."""

    @pytest.mark.parametrize("rotation", ["RX", "RY"])
    @pytest.mark.parametrize("depth", [1, 2, 3, 5])
    def test_frequencies_up_to_the_depth_and_no_further(self, rotation, depth):
        """With generic angles every one of them is there."""
        theta = np.random.default_rng(depth).uniform(-np.pi, np.pi, (depth, 1, 3))
        found = spectrum(theta, rotation)
        np.testing.assert_allclose(found[depth + 1 :], 0, atol=1e-14)
        assert found[depth] > 1e-4

    @pytest.mark.parametrize("depth", [1, 3, 5])
    def test_highest_frequency_alone(self, depth):
        """Without trainable rotations the layers add up to cos(L x)."""
        expected = np.zeros(16)
        expected[depth] = 0.5
        found = spectrum(np.zeros((depth, 1, 2)), "RY")
        np.testing.assert_allclose(found, expected, atol=1e-14)

    def test_scaling_chooses_the_frequencies(self):
        """Factors 1 and 3: the first layer turns |0> at frequency 1, the second makes 1, 3 +- 1."""
        theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (2, 1, 3))
        found = spectrum(theta, "RY", scaling=np.array([[1.0], [3.0]]))
        assert np.flatnonzero(found > 1e-10).tolist() == [1, 2, 4]


BAD = [
    ((np.ones(3), np.ones((2, 3))), {}, CircuitError,
     r"`theta` must be real of shape \(..., depth, num_qubits, 3\), but .* shape \(2, 3\)"),
    ((np.ones(3), np.ones((2, 3, 4))), {}, CircuitError,
     r"`theta` must have shape \(..., depth, num_qubits, 2\) or .*, 3\), but has .* \(2, 3, 4\)"),
    ((np.ones(3), 1.0), {}, CircuitError, r"but has shape \(\)"),
    ((np.ones(3), np.ones((0, 3, 2))), {}, CircuitError, r"of shape \(0, 3, 2\)"),
    ((np.ones(3), np.full((1, 3, 2), np.nan)), {}, CircuitError, "`theta` must be finite"),
    ((np.ones(2), np.ones((1, 3, 2))), {}, EncodingError,
     r"`x` must have 3 features, one per qubit of `theta`, but has shape \(2,\)"),
    (([1.0, np.inf, 0.0], np.ones((1, 3, 2))), {}, EncodingError, "`x` must be finite"),
    ((np.ones(3), np.ones((1, 3, 2))), {"scaling": np.ones(3)}, CircuitError,
     r"`scaling` must be real of shape \(..., 1, 3\), depth and qubits of `theta`, but is"),
    ((np.ones(3), np.ones((2, 3, 2))), {"scaling": np.ones((3, 2))}, CircuitError,
     r"of shape \(3, 2\)"),
    ((np.ones(1), np.ones((1, 1, 2))), {"scaling": [[1j]]}, CircuitError, "but is complex"),
    ((np.ones(1), np.ones((1, 1, 2))), {"scaling": [[np.nan]]}, CircuitError,
     "`scaling` must be finite"),
    ((np.ones((4, 1)), np.ones((1, 1, 2))), {"scaling": np.ones((3, 1, 1))}, CircuitError,
     r"batch axes of `x` and `scaling` must broadcast, but .* \(4, 1\) and \(3, 1, 1\)"),
    ((np.ones((4, 1)), np.ones((3, 1, 1, 2))), {}, CircuitError, "batch axes of a circuit"),
    ((np.ones(1), np.ones((1, 1, 2))), {"entanglement": "ring"}, CircuitError,
     "`entanglement` must be one of .* but is 'ring'"),
    ((np.ones(1), np.ones((1, 1, 2))), {"rotation": "H"}, EncodingError,
     "`rotation` must be one of 'RX', 'RY', 'RZ', but is 'H'"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "options", "error", "text"), BAD)
def test_bad_arguments(args, options, error, text):
    """Shapes, values and choices, named with what was given."""
    with pytest.raises(error, match=text):
        data_reuploading(*args, **options)
