"""QuantumPooling against an explicit sum over the qubits that are traced out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import QuantumFeatureExtractor, QuantumPooling, QuantumReadout, QuantumSequential
from tests.nn.checks import (
    FULL,
    checked_jacobians,
    iqp,
    largest_slopes,
    layered,
    log_scores,
    prepared,
    readings,
    rotations,
)
from tests.support import oracle
from tests.support.oracle import Op

X = np.array([0.4, -0.9, 1.3])
IMAGE = np.array([0.3, -0.8, 0.1, 0.5, 0.2, 0.7])


def reduced(ket: np.ndarray, keep: tuple[int, ...]) -> np.ndarray:
    """rho[a, b] = sum over c of psi[a, c] conj(psi[b, c]), c being the other qubits' values."""
    n = int(np.log2(len(ket)))
    rest = [q for q in range(n) if q not in keep]
    table = np.transpose(ket.reshape((2,) * n), [*keep, *rest]).reshape(2 ** len(keep), -1)
    return np.sum([np.outer(column, column.conj()) for column in table.T], axis=0)


@pytest.mark.parametrize("keep", [(1,), (2, 0)])
def test_alone(keep, x64):
    """Expectation values of the kept qubits, in the order given, of an entangled state."""
    pooling = QuantumPooling(3, keep=keep, measurement_bases=("Z", "X", "Y"), encoding="iqp")
    ket = oracle.statevector(3, iqp(X))
    rho = reduced(ket, keep)
    np.testing.assert_allclose(rho, oracle.partial_trace(ket, keep), atol=1e-14)
    assert oracle.purity(rho) < 0.99
    np.testing.assert_allclose(pooling(X), readings(rho, "ZXY"), atol=1e-12)


@pytest.mark.parametrize("keep", [(0, 2), (2, 0)])
def test_between_layers(keep, x64):
    """The next layer acts on the reduced density matrix, its first qubit being the first kept."""
    rngs = nnx.Rngs(0)
    first = QuantumFeatureExtractor(3, depth=1, rngs=rngs)
    second = QuantumFeatureExtractor(2, depth=1, rngs=rngs)
    readout = QuantumReadout(2, 3, rngs=rngs)
    stack = QuantumSequential(first, QuantumPooling(3, keep=keep), second, readout)
    rho = reduced(
        oracle.statevector(3, [*prepared(IMAGE, 3), *layered(first.theta[...], FULL[3])]), keep
    )
    assert oracle.purity(rho) < 0.99
    after = [*layered(second.theta[...], FULL[2]), *rotations(readout.theta[...])]
    chances = oracle.probabilities(oracle.density_matrix(2, after, rho))
    np.testing.assert_allclose(stack(IMAGE), log_scores(chances, 3), atol=1e-12)


def test_as_the_last_layer(x64):
    """Reads the kept qubits of what came before."""
    first = QuantumFeatureExtractor(3, depth=1, rngs=nnx.Rngs(1))
    stack = QuantumSequential(first, QuantumPooling(3, keep=(2, 1)))
    ket = oracle.statevector(3, [*prepared(IMAGE, 3), *layered(first.theta[...], FULL[3])])
    assert stack.kept_qubits == (2, 1)
    np.testing.assert_allclose(stack(IMAGE), readings(reduced(ket, (2, 1)), "Z"), atol=1e-12)


def test_gradient_in_the_inputs(x64):
    """Nonzero in what reaches the kept qubit; a qubit traced out and untouched has none."""
    pooling = QuantumPooling(2, measurement_bases=("Z", "X"), encoding="iqp")
    _, entangled = checked_jacobians(pooling, X[:2])
    assert np.all(np.abs(entangled).max(axis=0) > 1e-3)
    _, apart = checked_jacobians(QuantumPooling(2), X[:2])
    np.testing.assert_allclose(apart, [[-np.sin(X[0]), 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("pooling", "kept"),
    [
        (lambda: QuantumPooling(6), (0, 2, 4)),
        (lambda: QuantumPooling(6, pool_size=3), (0, 3)),
        (lambda: QuantumPooling(6, pool_size=1), (0, 1, 2, 3, 4, 5)),
        (lambda: QuantumPooling(6, pool_size=6), (0,)),
        (lambda: QuantumPooling(5, keep=[4, 1]), (4, 1)),
        (lambda: QuantumPooling(5, keep=range(3)), (0, 1, 2)),
    ],
)
def test_kept_qubits(pooling, kept):
    """The first of each group, or those given."""
    assert pooling().kept_qubits == kept


@pytest.mark.parametrize("pool_size", [2, 4])
def test_measurement_is_the_parity_of_each_group(pool_size, x64):
    """<Z...Z> over the group, of an entangled state; X of the kept qubit is its own."""
    pooling = QuantumPooling(4, pool_size, "measurement", ("Z", "X"), encoding="iqp")
    x = np.array([0.4, -0.9, 1.3, 0.2])
    ket = oracle.statevector(4, iqp(x))
    groups = ["ZZII", "IIZZ"] if pool_size == 2 else ["ZZZZ"]
    firsts = ["XIII", "IIXI"] if pool_size == 2 else ["XIII"]
    expected = [oracle.expectation(ket, {word: 1.0}) for word in (*groups, *firsts)]
    np.testing.assert_allclose(pooling(x), expected, atol=1e-12)


def test_amplitude_damping(x64):
    """Kraus operators on all qubits before the trace, on a register of three groups' states."""
    pooling = QuantumPooling(4, 2, "amplitude_damping", ("Z", "X", "Y"), strength=0.3)
    x = np.array([0.4, -0.9, 1.3, 0.2])
    damped = [Op("AmplitudeDamping", (q,), (0.3,)) for q in range(4)]
    rho = oracle.partial_trace(oracle.density_matrix(4, [*rotations(x), *damped]), (0, 2))
    np.testing.assert_allclose(pooling(x), readings(rho, "ZXY"), atol=1e-12)
    (in_strength,), _ = checked_jacobians(pooling, x)
    assert np.abs(in_strength).max() > 1e-3


def test_controlled(x64):
    """CRZ where the dropped qubit is 1 and CRX where it is 0, the angles shared by all groups."""
    pooling = QuantumPooling(6, 3, "controlled", ("Z", "X", "Y"), encoding="iqp", rngs=nnx.Rngs(3))
    x = np.array([0.4, -0.9, 1.3, 0.2, 0.7, -0.3])
    ops = list(iqp(x))
    for kept in (0, 3):
        for place, (a, b) in enumerate(np.asarray(pooling.theta[...])):
            dropped = kept + 1 + place
            ops += [Op("CRZ", (dropped, kept), (a,)), Op("X", (dropped,))]
            ops += [Op("CRX", (dropped, kept), (b,)), Op("X", (dropped,))]
    rho = oracle.partial_trace(oracle.statevector(6, ops), (0, 3))
    np.testing.assert_allclose(pooling(x), readings(rho, "ZXY"), atol=1e-12)
    (in_theta,), in_x = checked_jacobians(pooling, x)
    assert np.all(largest_slopes(in_theta, 6) > 1e-3)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def test_has_no_parameters():
    """Nothing to train: its circuit is empty."""
    pooling = QuantumPooling(4)
    assert jax.tree.leaves(nnx.state(pooling)) == []
    assert len(pooling.operations()) == 0


def test_executor():
    """Computes the expectation values in place of the simulator."""
    pooling = QuantumPooling(4, executor=lambda _, observables: jnp.ones(len(observables)))
    assert pooling(np.ones(4)).tolist() == [1, 1]


BAD_ARGUMENTS = [
    ((0,), {}, "`num_qubits` must be between 1 and 40, but is 0"),
    (("4",), {}, "`num_qubits` must be an integer, but is '4'"),
    ((5,), {}, "`num_qubits` must be divisible by pool_size=2, but is 5.*Give `keep`"),
    ((2, 3), {}, "`num_qubits` must be divisible by pool_size=3, but is 2"),
    ((4, 0), {}, "`pool_size` must be at least 1, but is 0"),
    ((4, 2, "max"), {}, "`kind` must be one of 'partial_trace', .*'controlled', but is 'max'"),
    ((4, 2, "controlled"), {}, "`rngs` must be given for kind='controlled'"),
    ((4, 2, "measurement"), {"keep": (0,)}, r"`keep` must not be given for kind='measurement'"),
    ((4, 2, "amplitude_damping"), {"strength": 0.0}, "`strength` must be strictly between 0 and 1"),
    (
        (4, 2, "amplitude_damping"),
        {"strength": 1.1, "learnable": False},
        "`strength` must be between 0 and 1, but is 1.1",
    ),
    ((4, 2, "partial_trace", "W"), {}, "`measurement_bases` must hold distinct letters"),
    ((4,), {"keep": (0, 0)}, r"`keep` must be distinct, but is \(0, 0\)"),
    ((4,), {"keep": (0, -1)}, r"`keep` must not be negative, but is \(0, -1\)"),
    ((4,), {"keep": (0, 4)}, r"`keep` must name qubits below 4, but is \(0, 4\)"),
    ((4,), {"keep": ()}, r"`keep` must name qubits below 4, but is \(\)"),
    ((4,), {"keep": (0.5,)}, "`keep` must hold integers"),
    ((4,), {"encoding": "basis"}, "`encoding` must be one of .*, but is 'basis'"),
]


@pytest.mark.parametrize(("args", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(args, options, text):
    """Each is refused when the layer is built."""
    with pytest.raises(ModelError, match=text):
        QuantumPooling(*args, **options)


def test_inputs_that_do_not_fit():
    """One angle per qubit, unless another encoding is chosen."""
    with pytest.raises(ModelError, match="`x` must have 4 features, one per qubit, for angle"):
        QuantumPooling(4)(np.ones(3))
