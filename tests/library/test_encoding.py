"""Encodings against the states and gates that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import EncodingError, QjaxError
from tests.support import oracle
from tests.support.oracle import Op

pytestmark = pytest.mark.usefixtures("x64")

X = np.array([0.3, -1.2, 0.8])
PAIRS = {
    "full": [(0, 1), (0, 2), (1, 2)],
    "linear": [(0, 1), (1, 2)],
    "circular": [(0, 1), (1, 2), (2, 0)],
}


class TestAmplitude:
    """Normalised amplitudes, padded with zeros."""

    @pytest.mark.parametrize(
        ("x", "num_qubits", "expected"),
        [
            ([3.0, 4.0], None, [0.6, 0.8]),
            ([1.0, -2.0, 2.0], None, [1 / 3, -2 / 3, 2 / 3, 0]),
            ([3.0, 4.0], 2, [0.6, 0.8, 0, 0]),
            ([0.0, 0.0, 5.0, 0.0], 2, [0, 0, 1, 0]),
            ([0.0, 0.0, 0.0], 2, [1, 0, 0, 0]),
        ],
    )
    def test_state(self, x, num_qubits, expected):
        """Zero vectors encode as |0...0> inside jit."""
        run = jax.jit(lambda v: qj.statevector(qj.amplitude_encoding(v, num_qubits)))
        np.testing.assert_allclose(run(jnp.array(x)), expected, atol=1e-14)

    def test_scale_is_lost(self):
        """Only the direction counts."""
        one, two = (qj.statevector(qj.amplitude_encoding(s * X)) for s in (1.0, 7.0))
        np.testing.assert_allclose(one, two, atol=1e-14)

    def test_composes_with_gates(self):
        """Gates after the encoding act on its state."""
        circuit = qj.amplitude_encoding(X) + qj.Circuit(2, [qj.RX(0.4, 1), qj.CX(1, 0)])
        start = np.append(X, 0) / np.linalg.norm(X)
        ops = [Op("RX", (1,), (0.4,)), Op("CX", (1, 0))]
        np.testing.assert_allclose(
            qj.statevector(circuit), oracle.statevector(2, ops, start), atol=1e-14
        )

    def test_batched(self):
        """Leading axes come out in front, one zero row among them."""
        rows = jnp.array([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
        found = jax.jit(lambda x: qj.statevector(qj.amplitude_encoding(x)))(rows)
        np.testing.assert_allclose(found, [[0.6, 0.8], [1, 0], [1, 0]], atol=1e-14)

    def test_gradient(self):
        """Of <Z> = (a^2 - b^2) / (a^2 + b^2)."""

        def mean(x):
            return qj.expectation(qj.amplitude_encoding(x), qj.Z(0))

        a, b = 3.0, 4.0
        expected = np.array([4 * a * b**2, -4 * b * a**2]) / (a**2 + b**2) ** 2
        np.testing.assert_allclose(jax.grad(mean)(jnp.array([a, b])), expected, atol=1e-13)

    @pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
    def test_zero_vector_has_zero_gradient(self, transform):
        """The documented value, never NaN."""

        def mean(x):
            return qj.expectation(qj.amplitude_encoding(x), qj.Z(0) + qj.X(1))

        np.testing.assert_array_equal(jax.jit(transform(mean))(jnp.zeros(4)), np.zeros(4))

    @pytest.mark.parametrize("scale", [1e-30, 1e30])
    def test_extreme_scales(self, scale):
        """Squares that under- or overflow float32 do not spoil the state."""
        with jax.enable_x64(False):
            x = jnp.array([3.0, 4.0], dtype=jnp.float32) * jnp.float32(scale)
            run = jax.jit(lambda v: qj.statevector(qj.amplitude_encoding(v)))
            np.testing.assert_allclose(run(x), [0.6, 0.8], atol=1e-5)

    @pytest.mark.parametrize(
        ("x", "num_qubits"),
        [([1.0, 2.0, 3.0], 1), ([np.nan, 1.0], None), ([0.0, 0.0], None), ([], None)],
    )
    def test_bad_data_raises(self, x, num_qubits):
        """Too few amplitudes, NaN, concrete zero vectors, nothing at all."""
        with pytest.raises(EncodingError, match="Argument `"):
            qj.amplitude_encoding(np.array(x), num_qubits)


class TestAngle:
    """One rotation a qubit."""

    @pytest.mark.parametrize("rotation", ["RX", "RY", "RZ"])
    def test_state(self, rotation):
        """The gate named."""
        ops = [Op(rotation, (q,), (v,)) for q, v in enumerate(X)]
        found = qj.statevector(qj.angle_encoding(X, rotation))
        np.testing.assert_allclose(found, oracle.statevector(3, ops), atol=1e-14)

    def test_default_is_ry(self):
        """Real amplitudes."""
        assert qj.angle_encoding(X) == qj.angle_encoding(X, rotation="RY")

    def test_batched(self):
        """Leading axes come out in front."""
        rows = np.stack([X, 2 * X])
        found = qj.expectation(qj.angle_encoding(rows), [qj.Z(q) for q in range(3)])
        np.testing.assert_allclose(found, np.cos(rows), atol=1e-14)

    def test_unknown_rotation_raises(self):
        """The choices are listed."""
        with pytest.raises(QjaxError, match="RX"):
            qj.angle_encoding(X, rotation="RQ")


class TestBasis:
    """Bits as a basis state."""

    @pytest.mark.parametrize("bits", [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)])
    def test_state(self, bits):
        """The first bit is the most significant."""
        found = qj.statevector(qj.basis_encoding(np.array(bits)))
        index = int("".join(map(str, bits)), 2)
        np.testing.assert_allclose(np.abs(found), np.eye(8)[index], atol=1e-14)

    def test_phase_is_one(self):
        """|101> itself, not -|101> or i|101>."""
        found = qj.statevector(qj.basis_encoding(np.array([1, 0, 1])))
        np.testing.assert_allclose(found, np.eye(8)[5], atol=1e-14)

    def test_traced_and_batched(self):
        """Bits may be known only inside jit."""
        bits = jnp.array([[0, 1], [1, 0]])
        found = jax.jit(lambda b: qj.probabilities(qj.basis_encoding(b)))(bits)
        np.testing.assert_allclose(found, np.eye(4)[[1, 2]], atol=1e-14)

    @pytest.mark.parametrize("bits", [[0, 2], [0.5, 1.0], [-1, 0]])
    def test_bad_bits_raise(self, bits):
        """Only zeros and ones."""
        with pytest.raises(EncodingError, match="bits"):
            qj.basis_encoding(np.array(bits))


class TestIQP:
    """Hadamards, phases and products of phases."""

    @staticmethod
    def ops(x, pairs, repeats: int) -> list[Op]:
        """Gate by gate."""
        layer = [
            *(Op("H", (q,)) for q in range(len(x))),
            *(Op("RZ", (q,), (v,)) for q, v in enumerate(x)),
            *(Op("RZZ", pair, (x[pair[0]] * x[pair[1]],)) for pair in pairs),
        ]
        return layer * repeats

    @pytest.mark.parametrize("repeats", [1, 2])
    def test_state(self, repeats):
        """All pairs by default."""
        found = qj.statevector(qj.iqp_encoding(X, repeats=repeats))
        expected = oracle.statevector(3, self.ops(X, PAIRS["full"], repeats))
        np.testing.assert_allclose(found, expected, atol=1e-13)

    @pytest.mark.parametrize("entanglement", PAIRS)
    def test_entanglement(self, entanglement):
        """Which pairs."""
        found = qj.statevector(qj.iqp_encoding(X, repeats=2, entanglement=entanglement))
        expected = oracle.statevector(3, self.ops(X, PAIRS[entanglement], 2))
        np.testing.assert_allclose(found, expected, atol=1e-13)

    def test_batched_gradient(self):
        """Inputs are differentiable row by row."""
        rows = np.stack([X, 0.5 * X])

        def mean(x):
            return qj.expectation(qj.iqp_encoding(x, repeats=2), qj.Z(0)).sum()

        def reference(x):
            ket = oracle.statevector(3, self.ops(x, PAIRS["full"], 2))
            return oracle.expectation(ket, {"ZII": 1})

        found = jax.jit(jax.grad(mean))(rows)
        for row, x in zip(found, rows, strict=True):
            steps = 1e-6 * np.eye(3)
            numeric = [(reference(x + s) - reference(x - s)) / 2e-6 for s in steps]
            np.testing.assert_allclose(row, numeric, atol=1e-8)
