"""Compiled circuits against their sources: unitary, ranges, counts, gradients, errors."""

import os
from dataclasses import replace
from itertools import permutations
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from qjax.ionq import GPI, GPI2, MS, ZZ, IonQNativeCompiler, find_machine
from qjax.ionq._compiler import _passes as passes
from qjax.ionq._compiler._compiler import _compiled
from qjax.ionq._compiler._passes import Draft, Pass
from qjax.ionq._compiler._program import Program
from qjax.ionq._compiler._verify import verify_program
from qjax.transforms import dilate
from tests.support import oracle
from tests.support.oracle import GATES, Op
from tests.support.strategies import as_circuit, as_operation, random_unitary

pytestmark = pytest.mark.usefixtures("x64")

# All 2,000 of them with QJAX_COMPILER_CIRCUITS=2000.
NUM_CIRCUITS = int(os.environ.get("QJAX_COMPILER_CIRCUITS", "120"))
GATESETS = ("ms", "zz")
NATIVE = {"ms": {"GPI", "GPI2", "MS"}, "zz": {"GPI", "GPI2", "ZZ"}}
SPECIAL = (0.0, np.pi / 2, np.pi, -np.pi / 2, 2 * np.pi, 1e-9, np.pi - 1e-8)


# --- independent evaluation -----------------------------------------------------------------------


def apply(states, matrix, qubits, n):
    """A matrix on some qubits of (2**n, columns)."""
    k = len(qubits)
    tensor = states.reshape((2,) * n + (-1,))
    product = np.tensordot(np.reshape(matrix, (2,) * (2 * k)), tensor, (range(k, 2 * k), qubits))
    return np.moveaxis(product, range(k), qubits).reshape(states.shape)


def axis(p):
    return np.array([[0, np.exp(-2j * np.pi * p)], [np.exp(2j * np.pi * p), 0]])


def native_matrix(operation):
    numbers = [float(p) for p in operation.params]
    if operation.name == "ZZ":
        return np.diag(np.exp(-1j * np.pi * numbers[0] * np.array([1, -1, -1, 1])))
    if operation.name == "MS":
        both = np.kron(axis(numbers[0]), axis(numbers[1]))
        angle = np.pi * numbers[2]
        return np.cos(angle) * np.eye(4) - 1j * np.sin(angle) * both
    return axis(*numbers) if operation.name == "GPI" else (np.eye(2) - 1j * axis(*numbers)) / 2**0.5


def native_states(native, states):
    """What native gates and frames make of states, read from the ions where qubits end."""
    n = native.num_qubits
    for operation in native.circuit.operations:
        states = apply(states, native_matrix(operation), operation.qubits, n)
    order = [*native.positions, n]
    states = states.reshape((2,) * n + (-1,)).transpose(order).reshape(states.shape)
    for qubit, frame in enumerate(np.asarray(native.frames)):
        turn = np.diag(np.exp(np.array([-1j, 1j]) * np.pi * frame))
        states = apply(states, turn, (qubit,), n)
    return states


def source_states(num_qubits, ops, states):
    for op in ops:
        states = apply(states, oracle.kraus_of(op)[0], op.qubits, num_qubits)
    return states


def start(num_qubits, rng):
    """All basis states of few qubits, random states of more."""
    if num_qubits <= 5:
        return np.eye(2**num_qubits, dtype=complex)
    states = rng.normal(size=(2, 2**num_qubits, 4))
    states = states[0] + 1j * states[1]
    return states / np.linalg.norm(states, axis=0)


def assert_equal_but_for_phase(found, expected, message="", tolerance=1e-9):
    phase = np.vdot(found, expected)
    np.testing.assert_allclose(
        found * (phase / abs(phase)), expected, atol=tolerance, rtol=0, err_msg=message
    )


def assert_native(native, gateset):
    """Only native gates, every phase in [-1, 1], every angle in [0, 1/4]."""
    for operation in native.circuit.operations:
        assert operation.name in NATIVE[gateset]
        assert not operation.adjoint and not operation.controls
        *phases, last = [float(p) for p in operation.params]
        is_pair = operation.name in ("MS", "ZZ")
        phases = phases if is_pair else [last]
        assert all(-1 <= p <= 1 for p in phases)
        assert not is_pair or 0 <= last <= 0.25


def check(native, num_qubits, ops, gateset, rng=None):
    assert_native(native, gateset)
    states = start(num_qubits, rng or np.random.default_rng(0))
    expected = source_states(num_qubits, ops, states)
    assert_equal_but_for_phase(native_states(native, states), expected, repr(ops))


# --- random circuits ------------------------------------------------------------------------------


def random_angle(rng):
    return float(rng.choice(SPECIAL)) if rng.random() < 0.3 else float(rng.uniform(-7, 7))


def random_op(n, rng):
    """A gate of the table, a Pauli rotation, a unitary or an evolution; at times controlled."""
    order = [int(q) for q in rng.permutation(n)]
    kind = rng.random()
    inverse = bool(rng.random() < 0.3)
    if kind < 0.1:
        size = int(rng.integers(1, min(n, 4) + 1))
        word = "".join(rng.choice(list("IXYZ"), size))
        return Op("PauliRotation", tuple(order[:size]), (random_angle(rng),), word)
    if kind < 0.2:
        size = int(rng.integers(1, 3))
        matrix = random_unitary(size, int(rng.integers(1000)))
        return Op("Unitary", tuple(order[:size]), data=matrix, inverse=inverse)
    if kind < 0.25:
        terms = {"ZX": 0.4, "XI": -0.7, "YY": 0.3}
        where = tuple(sorted(order[:2]))
        return Op("Evolution", where, (random_angle(rng),), terms, inverse=inverse)
    names = [name for name, gate in GATES.items() if gate.num_qubits <= n]
    name = str(rng.choice(names))
    gate = GATES[name]
    more = n - gate.num_qubits
    controls = int(rng.integers(1, min(more, 3) + 1)) if more and rng.random() < 0.15 else 0
    params = tuple(random_angle(rng) for _ in range(gate.num_params))
    qubits = tuple(order[: gate.num_qubits + controls])
    return Op(name, qubits, params, controls=controls, inverse=inverse)


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = 2 + seed % 7  # 2 to 8 qubits
    return n, [random_op(n, rng) for _ in range(int(rng.integers(1, 16)))], rng


def build(n, ops):
    """Evolutions act on the sorted qubits of their observable."""
    operations = []
    for op in ops:
        if op.name != "Evolution":
            operations.append(as_operation(op))
            continue
        word = {
            "".join(dict(zip(op.qubits, w, strict=True)).get(q, "I") for q in range(n)): c
            for w, c in op.data.items()
        }
        evolution = qj.Evolution(qj.PauliSum.from_strings(word), op.params[0], method="exact")
        operations.append(evolution.inverse() if op.inverse else evolution)
    return qj.Circuit(n, operations)


@pytest.mark.parametrize("gateset", GATESETS)
def test_random_circuits(gateset):
    """Equal up to global phase and the returned frames within 1e-9, in all four ways to compile."""
    for seed in range(NUM_CIRCUITS):
        n, ops, rng = random_case(seed)
        optimize = "exact" if seed % 3 else "fewest"
        frames = "return" if seed % 4 else "emit"
        compiler = IonQNativeCompiler(gateset, optimize=optimize, frames=frames)
        native = compiler.compile(build(n, ops))
        check(native, n, ops, gateset, rng)
        assert optimize == "fewest" or native.positions == tuple(range(n))
        assert frames == "return" or not np.any(native.frames)
        _compiled.cache_clear()


def toffoli_case(seed):
    """Toffolis repeated with permuted controls, and gates in between that tell diagonals apart."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    places = []
    for _ in range(int(rng.integers(1, 3))):
        size = int(rng.integers(3, min(n, 5) + 1))
        places.append([int(q) for q in rng.permutation(n)[:size]])
    ops = [Op("H", (q,)) for q in range(n)]
    for _ in range(int(rng.integers(3, 7))):
        *controls, target = places[int(rng.integers(len(places)))]
        order = tuple(int(q) for q in rng.permutation(controls))
        ops.append(Op("X", (*order, target), controls=len(order)))
        for _ in range(int(rng.integers(0, 3))):
            first, second = (int(q) for q in rng.permutation(n)[:2])
            kind = int(rng.integers(6))
            ops.append(
                [
                    Op("RZ", (first,), (0.3,)),
                    Op("P", (first, second), (0.7,), controls=1),
                    Op("X", (first, second), controls=1),
                    Op("RZZ", (first, second), (-1.1,)),
                    Op("T", (first,)),
                    Op("RY", (first,), (0.4,)),
                ][kind]
            )
    return n, ops


@pytest.mark.parametrize("gateset", GATESETS)
def test_toffolis_with_permuted_controls(gateset):
    """Pairs that are written up to a diagonal: the diagonal must not depend on the order."""
    for seed in range(NUM_CIRCUITS // 2):
        n, ops = toffoli_case(seed)
        check(IonQNativeCompiler(gateset).compile(as_circuit(n, ops)), n, ops, gateset)


@pytest.mark.parametrize("controls", [2, 3, 4])
def test_every_order_of_controls_in_a_pair(controls):
    """A gate in between on the target, so that the pair does not cancel; the pair stays cheap."""
    first = tuple(range(controls))
    counts = set()
    for order in permutations(first):
        ops = [
            Op("X", (*first, controls), controls=controls),
            Op("X", (controls, controls + 1), controls=1),
            Op("X", (*order, controls), controls=controls),
        ]
        native = IonQNativeCompiler("zz").compile(as_circuit(controls + 2, ops))
        check(native, controls + 2, ops, "zz")
        counts.add(native.num_two_qubit_gates)
    assert len(counts) == 1


@pytest.mark.parametrize("gateset", GATESETS)
@pytest.mark.parametrize("name", GATES)
def test_every_gate_alone(gateset, name):
    """On descending qubits: plain, inverted, with one and with two controls."""
    gate = GATES[name]
    angles = (0.7, -1.3, 2.1)[: gate.num_params]
    for controls in (0, 1, 2):
        n = gate.num_qubits + controls
        for inverse in (False, True):
            op = Op(name, tuple(range(n))[::-1], angles, controls=controls, inverse=inverse)
            check(IonQNativeCompiler(gateset).compile(as_circuit(n, [op])), n, [op], gateset)


@pytest.mark.parametrize("gateset", GATESETS)
def test_large_unitaries_and_preparations(gateset):
    """Three qubits by cosine-sine decomposition; amplitudes from |0...0>."""
    op = Op("Unitary", (2, 0, 1), data=random_unitary(3, 1))
    check(IonQNativeCompiler(gateset).compile(as_circuit(3, [op])), 3, [op], gateset)
    for real in (True, False):
        rng = np.random.default_rng(2)
        ket = rng.normal(size=16) + (0 if real else 1j) * rng.normal(size=16)
        ket[3:6] = 0
        op = Op("StatePreparation", (3, 0, 2, 1), data=ket / np.linalg.norm(ket))
        native = IonQNativeCompiler(gateset, verify=True).compile(as_circuit(4, [op]))
        assert_native(native, gateset)
        zero = np.eye(16, 1, dtype=complex)
        assert_equal_but_for_phase(native_states(native, zero), source_states(4, [op], zero))
        assert native.num_two_qubit_gates <= 2**4 - 4 - 1


# --- counts ---------------------------------------------------------------------------------------

PAIR_COUNTS = {  # name: (circuit, gates on two qubits when exact, and with the fewest)
    "cx": (lambda: qj.Circuit(2, [qj.CX(0, 1)]), 1, 1),
    "cp": (lambda: qj.Circuit(2, [qj.CP(0.3, 0, 1)]), 1, 1),
    "cu": (lambda: qj.Circuit(2, [qj.U(0.3, 0.4, 0.5, 1).controlled(0)]), 1, 1),
    "rxx": (lambda: qj.Circuit(2, [qj.RXX(0.3, 0, 1)]), 1, 1),
    "swap": (lambda: qj.Circuit(2, [qj.SWAP(0, 1)]), 3, 0),
    "iswap": (lambda: qj.Circuit(2, [qj.ISWAP(0, 1)]), 2, 1),
    "cp then swap": (lambda: qj.Circuit(2, [qj.CP(0.3, 0, 1), qj.SWAP(0, 1)]), 3, 1),
    "ccx": (lambda: qj.Circuit(3, [qj.CCX(0, 1, 2)]), 5, 5),
    "ccrz": (lambda: qj.Circuit(3, [qj.CRZ(0.3, 1, 2).controlled(0)]), 4, 4),
    "cccx": (lambda: qj.Circuit(4, [qj.X(3).controlled(0, 1, 2)]), 13, 13),
    "word of three": (lambda: qj.Circuit(3, [qj.PauliRotation(0.3, "XYZ", (0, 1, 2))]), 3, 3),
    "long block": (
        lambda: qj.Circuit(
            2,
            [
                g
                for t in range(5)
                for g in (qj.CX(0, 1), qj.Unitary(random_unitary(1, t), 0), qj.RY(0.3 + t, 1))
            ],
        ),
        3,
        3,
    ),
    "commuting": (
        lambda: qj.Circuit(3, [qj.RZZ(0.3, 0, 1), qj.CP(0.2, 1, 2), qj.T(1), qj.RZZ(0.4, 0, 1)]),
        2,
        2,
    ),
    "undone": (lambda: qj.Circuit(3, [qj.CCX(0, 1, 2), qj.CCX(1, 0, 2)]), 0, 0),
    "toffolis in a pair": (
        lambda: qj.Circuit(4, [qj.CCX(0, 1, 2), qj.CX(2, 3), qj.CCX(0, 1, 2)]),
        7,
        7,
    ),
    "no gates": (lambda: qj.Circuit(2, []), 0, 0),
}


@pytest.mark.parametrize("gateset", GATESETS)
@pytest.mark.parametrize("name", PAIR_COUNTS)
def test_number_of_two_qubit_gates(gateset, name):
    make, exact, fewest = PAIR_COUNTS[name]
    for optimize, count in (("exact", exact), ("fewest", fewest)):
        native = IonQNativeCompiler(gateset, optimize=optimize, verify=True).compile(make())
        assert native.num_two_qubit_gates == count


@pytest.mark.parametrize(
    ("operations", "count"),
    [
        ([qj.RZ(0.3, 0), qj.T(0)], 0),
        ([qj.H(0)], 1),
        ([qj.X(0)], 1),
        ([qj.H(0), qj.S(0), qj.H(0)], 1),
        ([qj.RX(0.3, 0)], 2),
        ([qj.U(0.3, 0.4, 0.5, 0), qj.RY(0.7, 0), qj.SX(0)], 2),
    ],
)
@pytest.mark.parametrize("gateset", GATESETS)
def test_number_of_pulses(gateset, operations, count):
    """Turns are free, and no gate on one qubit takes more than two pulses."""
    native = IonQNativeCompiler(gateset, verify=True).compile(qj.Circuit(1, operations))
    assert native.num_one_qubit_gates == count


def test_turns_that_commute_with_ms_save_pulses():
    """m gates MS on a qubit between arbitrary matrices: m + 2 pulses, not 2 (m + 1)."""
    ops = []
    for k in range(6):
        ops += [Op("Unitary", (q,), data=random_unitary(1, 10 * k + q)) for q in (0, 1, 2)]
        ops.append(Op("RXX", ((0, 1), (0, 2))[k % 2], (0.7,)))
    ops += [Op("Unitary", (q,), data=random_unitary(1, 100 + q)) for q in (0, 1, 2)]
    native = IonQNativeCompiler("ms").compile(as_circuit(3, ops))
    assert native.num_two_qubit_gates == 6
    assert native.num_one_qubit_gates == (6 + 2) + 2 * (3 + 2)
    check(native, 3, ops, "ms")


def test_positions_say_where_qubits_end():
    native = IonQNativeCompiler("zz", optimize="fewest").compile(
        qj.Circuit(3, [qj.X(0), qj.SWAP(0, 1), qj.SWAP(1, 2)])
    )
    assert (native.num_two_qubit_gates, native.positions) == (0, (1, 2, 0))
    outcome = int(jnp.argmax(jnp.abs(qj.statevector(native.circuit))))
    bits = f"{outcome:03b}"
    assert "".join(bits[ion] for ion in native.positions) == "001"


def test_emitted_frames_cost_few_pulses():
    """A turn after GPI is free, after two pulses it costs one, else two."""
    for operations, returned, emitted in (
        ([qj.X(0), qj.T(0)], 1, 1),
        ([qj.RX(0.3, 0), qj.T(0)], 2, 3),
        ([qj.T(0)], 0, 2),
        ([qj.H(0), qj.T(0)], 1, 3),
    ):
        circuit = qj.Circuit(1, operations)
        for frames, count in (("return", returned), ("emit", emitted)):
            native = IonQNativeCompiler("zz", frames=frames, verify=True).compile(circuit)
            assert native.num_one_qubit_gates == count


# --- angles that are known later ------------------------------------------------------------------


def ansatz(theta, n=3):
    """Rotations about all axes, one-qubit and Ising gates and controls with six angles."""
    a, b, c, d, e, f = (theta[..., i] if hasattr(theta, "ndim") else theta[i] for i in range(6))
    return qj.Circuit(
        n,
        [
            qj.H(0), qj.RX(a, 1), qj.RZZ(b, 0, 1), qj.RZ(c, 0), qj.RZZ(2 * b, 1, 2),
            qj.RY(d, 2), qj.CX(2, 0), qj.RXX(e, 0, 1), qj.CRY(f, 1, 2), qj.X(1), qj.RZZ(-a, 1, 2),
            qj.U(a, b, c, 0), qj.CP(d, 0, 2), qj.H(2), qj.RZ(e, 2), qj.CRZ(0.3, 0, 1),
        ],
    )  # fmt: skip


THETA = np.array(
    [
        [0.3, -0.7, 1.9, 2.6, -2.2, 0.4],
        [0.0] * 6,
        [np.pi, -np.pi / 2, np.pi / 2, -np.pi, 2 * np.pi, 5.0],
        [-4.0, 3.6, -6.1, 0.2, 4.4, -0.1],
    ]
)


@pytest.mark.parametrize("frames", ["return", "emit"])
@pytest.mark.parametrize("gateset", GATESETS)
def test_bound_parameters(gateset, frames):
    """One compilation, many angles, one at a time and as a batch."""
    circuit = ansatz(qj.Parameter("theta", (6,)))
    template = IonQNativeCompiler(gateset, frames=frames, verify=True).compile(circuit)
    assert template.unbound == ("theta",)
    known = IonQNativeCompiler(gateset).compile(ansatz(THETA[0]))
    assert template.num_two_qubit_gates <= known.num_two_qubit_gates + 2
    batch = template.bind(theta=THETA)
    assert batch.circuit.batch_shape == (4,)
    for row, frames_of_row in zip(THETA, np.asarray(batch.frames), strict=True):
        native = template.bind({"theta": row})
        check(native, 3, oracle.from_circuit(ansatz(row)), gateset)
        np.testing.assert_allclose(native.frames, frames_of_row, atol=1e-12)


@pytest.mark.parametrize("gateset", GATESETS)
def test_random_parameterised_circuits(gateset):
    """Every angle of random circuits a parameter."""
    for seed in range(NUM_CIRCUITS // 4):
        n, ops, rng = random_case(seed)
        n = min(n, 5)
        ops = [op for op in ops if max(op.qubits) < n and op.name != "Evolution"]
        count = sum(len(op.params) for op in ops)
        if not count:
            continue
        slots = iter(qj.Parameter("theta", (count,)))
        symbolic = [replace(op, params=tuple(next(slots) for _ in op.params)) for op in ops]
        native = IonQNativeCompiler(gateset).compile(as_circuit(n, symbolic))
        values = [p for op in ops for p in op.params]
        check(native.bind(theta=values), n, ops, gateset, rng)


OBSERVABLE = 0.7 * qj.Z(0) + 0.4 * qj.Z(0) @ qj.Z(1) - 0.3 * qj.Z(1)


def short_ansatz(theta):
    a, b, c, d = theta
    return qj.Circuit(
        2,
        [
            qj.RX(a, 0), qj.RZZ(b, 0, 1), qj.RZ(c, 1), qj.RY(d, 1),
            qj.CRY(a + c, 0, 1), qj.RX(d, 0), qj.RZZ(-2 * b, 1, 0), qj.RX(c, 1),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("gateset", GATESETS)
def test_gradients_equal_those_before_compiling(gateset):
    """Under jit, vmap and grad, also at zero and at the ends of ranges, where bits change.

    Observables in Z do not see the frames.
    """
    compiler = IonQNativeCompiler(gateset)

    def compiled(theta):
        return qj.expectation(compiler.compile(short_ansatz(theta)).circuit, OBSERVABLE)

    def plain(theta):
        return qj.expectation(short_ansatz(theta), OBSERVABLE)

    @jax.jit
    def both(batch):
        return [jax.vmap(jax.value_and_grad(f))(batch) for f in (compiled, plain)]

    (value, gradient), (expected, slope) = both(jnp.asarray(THETA[:, :4]))
    np.testing.assert_allclose(value, expected, atol=1e-12)
    np.testing.assert_allclose(gradient, slope, atol=1e-11)
    assert np.abs(slope).max() > 0.1


@pytest.mark.parametrize("frames", ["return", "emit"])
def test_batch_axes_that_no_gate_needs(frames):
    """Turns become frames, and zeros nothing; results keep the axes of the source."""
    batch = np.array([0.1, 0.2, 0.3])
    slot = qj.Parameter("t")
    sources = [
        qj.Circuit(1, [qj.RZ(batch, 0)]),
        qj.Circuit(1, [qj.RZ(batch, 0), qj.H(0)]),
        qj.Circuit(1, [qj.RX(0 * slot + 0.4, 0)]).bind(t=batch),
        qj.Circuit(1, [qj.RX(0 * slot, 0)]).bind(t=np.ones((2, 1))),
    ]
    for source in sources:
        native = IonQNativeCompiler("zz", frames=frames).compile(source)
        assert native.circuit.batch_shape == source.batch_shape
        assert native.frames.shape == (*source.batch_shape, 1)
        found = qj.expectation(native.circuit, qj.Z(0))
        expected = qj.expectation(source, qj.Z(0))
        assert found.shape == expected.shape == source.batch_shape
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_structure_is_compiled_once():
    _compiled.cache_clear()
    compiler = IonQNativeCompiler("zz")
    for row in THETA:
        jax.make_jaxpr(lambda t: compiler.compile(ansatz(t)).circuit)(jnp.asarray(row))
    assert _compiled.cache_info().misses == 1
    assert _compiled.cache_info().hits == len(THETA) - 1


def amplitude_circuit(x, is_complex):
    amplitudes = x * jnp.exp(1j * jnp.arange(x.shape[-1])) if is_complex else x
    unit = amplitudes / jnp.linalg.norm(x, axis=-1, keepdims=True)
    return qj.Circuit(3, [qj.StatePreparation(unit, (2, 0, 1)), qj.RY(0.3, 1), qj.CX(1, 0)])


@pytest.mark.parametrize("is_complex", [False, True])
def test_batched_amplitudes(is_complex):
    """Compiled once for all vectors, zeros among them."""
    batch = np.array([[0.5, 0, 0, -0.3, 0.7, 0.2, 0, 0], np.arange(8) - 3.5, np.eye(8)[5]])
    compiler = IonQNativeCompiler("zz", verify=True)
    native = compiler.compile(amplitude_circuit(jnp.asarray(batch), is_complex))
    states = qj.probabilities(native.circuit)
    np.testing.assert_allclose(
        states, qj.probabilities(amplitude_circuit(jnp.asarray(batch), is_complex)), atol=1e-12
    )


def test_gradients_in_amplitudes():
    """Equal where they exist; zeros give no NaN."""
    observable = qj.Z(0) + 0.5 * qj.Z(1) @ qj.Z(2)
    compiler = IonQNativeCompiler("ms")

    def mean(x, compiled):
        source = amplitude_circuit(x, False)
        return qj.expectation(compiler.compile(source).circuit if compiled else source, observable)

    both = jax.jit(lambda x: [jax.value_and_grad(mean)(x, c) for c in (True, False)])
    x = jnp.array([0.5, 0.0, 0.0, -0.3, 0.7, 0.2, 0.0, 0.0])
    (value, gradient), (expected, slope) = both(x)
    np.testing.assert_allclose(value, expected, atol=1e-12)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient[x != 0], slope[x != 0], atol=1e-11)


def test_native_gates_compile_too():
    """With known phases and with parameters."""
    phase = qj.Parameter("phase")
    operations = [GPI2(0.3, 0), MS(phase, 0.2, 0.1, 0, 1), GPI(phase, 1), ZZ(phase, 1, 0)]
    circuit = qj.Circuit(2, [*operations, GPI2(phase, 0).inverse(), MS(0.1, 0.2, 0.6, 1, 0)])
    for gateset in GATESETS:
        compiler = IonQNativeCompiler(gateset, verify=True)
        native = compiler.compile(circuit).bind(phase=-0.37)
        states = np.eye(4, dtype=complex)
        expected = states
        for operation in circuit.bind(phase=-0.37).operations:
            matrix = native_matrix(operation)
            matrix = matrix.conj().T if operation.adjoint else matrix
            expected = apply(expected, matrix, operation.qubits, 2)
        assert_equal_but_for_phase(native_states(native, states), expected)
        compiler.compile(circuit.bind(phase=0.2))


def test_single_precision():
    """Quarter turns stay quarter turns, and the verification allows for rounded arrays."""
    with jax.enable_x64(False):
        ket = jnp.ones(4, dtype=jnp.complex64) / 2
        unitary = jnp.asarray(random_unitary(2, 3), dtype=jnp.complex64)
        turns = qj.Circuit(2, [qj.RX(jnp.float32(np.pi / 2), 0), qj.CRY(jnp.float32(np.pi), 0, 1)])
        native = IonQNativeCompiler("zz", verify=True).compile(turns)
        assert (native.num_one_qubit_gates, native.num_two_qubit_gates) == (3, 1)
        operations = [qj.StatePreparation(ket, (0, 1)), qj.Unitary(unitary, (1, 0)), qj.RX(0.3, 1)]
        IonQNativeCompiler("ms", verify=True).compile(qj.Circuit(2, operations))


# --- estimates, options, errors -------------------------------------------------------------------


def test_estimates():
    """Counts times the machine's figures."""
    circuit = qj.Circuit(3, [qj.CCX(0, 1, 2)])
    native = IonQNativeCompiler("forte-1").compile(circuit)
    one, two = native.num_one_qubit_gates, native.num_two_qubit_gates
    assert native.machine is find_machine("qpu.forte-1")
    assert native.shot_time == pytest.approx(130e-6 * one + 945e-6 * two)
    assert native.duration(1000) == pytest.approx(0.597 + 0.130 * one + 0.945 * two)
    assert native.price(100) == 25.7899
    assert native.price(10, mitigated=True) == 168.195
    assert native.price(10**6) == pytest.approx(164 * one + 1121 * two)
    r1, r2 = 0.00026667, 0.00494933
    expected = (1 - 0.75 * r1) ** one * (1 - 15 / 16 * r2) ** two
    assert native.fidelity == pytest.approx(expected)
    assert IonQNativeCompiler("forte-enterprise-1").compile(circuit).fidelity is None
    assert (
        repr(native) == f"NativeCircuit(3 qubits, {one} pulses, {two} two-qubit gates, qpu.forte-1)"
    )


def test_passes_and_their_report():
    compiler = IonQNativeCompiler("ms", frames="emit", cutoff=0.001)
    names = [p.name for p in compiler.passes]
    native = compiler.compile(qj.Circuit(2, [qj.CX(0, 1), qj.CX(0, 1), qj.SWAP(0, 1)]))
    assert [name for name, _ in native.report] == names
    assert [count for _, count in native.report] == [1, 1, 3, 3, 3, 3]


@pytest.mark.parametrize("gateset", GATESETS)
def test_report_when_nothing_is_left(gateset):
    """A gate that is the identity is gone once it is expanded."""
    native = IonQNativeCompiler(gateset).compile(qj.Circuit(2, [qj.I(1).controlled(0)]))
    assert [count for _, count in native.report] == [1, 0, 0, 0]


def test_cutoff_leaves_out_small_interactions():
    small = qj.RZZ(np.pi + 0.002, 0, 1)
    circuit = qj.Circuit(2, [small, qj.H(0), qj.H(1), qj.RZZ(0.5, 0, 1)])
    native = IonQNativeCompiler("zz", cutoff=0.0005).compile(circuit)
    assert native.num_two_qubit_gates == 1
    states = np.eye(4, dtype=complex)
    expected = source_states(2, oracle.from_circuit(circuit), states)
    found = native_states(native, states)
    difference = 1 - abs(np.vdot(found, expected)) / 4
    assert 1e-8 < difference < 1e-6


def test_verification_finds_a_wrong_pass(monkeypatch):
    """Each kind of mistake that a compiler can make."""
    circuit = qj.Circuit(2, [qj.RX(0.3, 0), qj.CX(0, 1), qj.RX(0.2, 1)])
    emit = passes.emit_zz_gates

    def wrong_frame(draft):
        done = emit(draft)
        return replace(done, frames=(done.frames[0] + 0.01, *done.frames[1:]))

    def wrong_gate(draft):
        done = emit(draft)
        return replace(done, gates=done.gates[1:])

    def wrong_place(draft):
        return replace(emit(draft), places=(1, 0))

    for wrong in (wrong_frame, wrong_gate, wrong_place):
        monkeypatch.setattr(
            IonQNativeCompiler,
            "passes",
            property(
                lambda self, run=wrong: (
                    Pass("expand", passes.expand_gates),
                    Pass("rewrite", passes.rewrite_pairs),
                    Pass("emit", run),
                )
            ),
        )
        _compiled.cache_clear()
        with pytest.raises(CircuitError, match="The compiled circuit differs from its source by"):
            IonQNativeCompiler("zz", verify=True).compile(circuit)
    _compiled.cache_clear()


def test_verification_allows_for_the_cutoff():
    """By what was left out and no more."""
    couplings = [qj.RZZ(0.01, 0, 1), qj.RZZ(np.pi - 0.02, 1, 2), qj.RZZ(0.5, 0, 2)]
    circuit = qj.Circuit(3, [*(qj.RY(0.3, q) for q in range(3)), *couplings, qj.H(0)])
    compiler = IonQNativeCompiler("zz", cutoff=0.01, verify=True)
    assert compiler.compile(circuit).num_two_qubit_gates == 1
    draft = Draft(circuit, False, 0.01)
    for _, run in compiler.passes:
        draft = run(draft)
    assert draft.loss == pytest.approx(2 * np.sin(0.0025) + 2 * np.sin(0.005), rel=1e-9)
    more = replace(draft, frames=(draft.frames[0] + 0.02, *draft.frames[1:]))
    program = Program(3, more.gates, more.frames, {})
    with pytest.raises(CircuitError, match="differs from its source by"):
        verify_program(circuit, program, more.places, more.loss)


HAMILTONIANS = {
    "trotter": (0.7 * qj.Z(0) @ qj.Z(1) - 0.4 * qj.X(0) + 0.3 * qj.Y(1) @ qj.X(2), 0.9),
    "commuting": (qj.Z(0) @ qj.Z(1) + 0.5 * qj.X(0) @ qj.X(1) + 0.1 * qj.I(2), 100.0),
}


@pytest.mark.parametrize("name", HAMILTONIANS)
@pytest.mark.parametrize("order", [1, 2])
def test_verification_of_product_formulas(name, order):
    """They are what is compiled, inverted and controlled too, whatever the exponential is."""
    hamiltonian, time = HAMILTONIANS[name]
    evolution = qj.Evolution(hamiltonian, time, method="trotter", steps=3, order=order)
    operations = [evolution, qj.T(0), evolution.inverse().controlled(3), qj.RX(0.2, 1)]
    IonQNativeCompiler("zz", verify=True).compile(qj.Circuit(4, operations))


def test_verification_of_unitaries_that_are_rounded():
    """The nearest unitary is compiled."""
    for size in (1, 2):
        noise = 1e-8 * np.random.default_rng(0).normal(size=(2**size, 2**size))
        operation = qj.Unitary(random_unitary(size, 1) + noise, tuple(range(size)))
        native = IonQNativeCompiler("ms", verify=True).compile(qj.Circuit(2, [operation]))
        found = native_states(native, np.eye(4, dtype=complex))
        expected = apply(np.eye(4, dtype=complex), operation.data, operation.qubits, 2)
        assert_equal_but_for_phase(found, expected, tolerance=1e-7)


def test_verification_of_wide_operations():
    """No matrix on all qubits is made."""
    n = 13
    preparation = qj.StatePreparation(np.arange(1, 5) / np.sqrt(30), (0, 5))
    rotation = qj.PauliRotation(0.3, "XYZ" * 4 + "X", range(n))
    operations = [preparation, rotation, qj.X(12).controlled(0, 3, 5, 7)]
    IonQNativeCompiler("zz", verify=True).compile(qj.Circuit(n, operations))
    IonQNativeCompiler("zz", verify=True).compile(qj.Circuit(n, operations[1:]))


def test_verification_has_a_largest_size():
    circuit = qj.Circuit(30, [qj.H(0)])
    with pytest.raises(CircuitError, match="`verify` must be False above 20 qubits.* has 30"):
        IonQNativeCompiler("zz", verify=True).compile(circuit)
    assert IonQNativeCompiler("zz").compile(circuit).num_one_qubit_gates == 1


def test_verification_while_tracing():
    """Compiling and verifying stay on the host inside jit, with matrices that JAX would trace."""
    known = [qj.Unitary(random_unitary(2, 0), (1, 0)), qj.Evolution(qj.X(0) + qj.Z(0), 0.3)]

    def compiled(t):
        circuit = qj.Circuit(2, [qj.RX(t, 0), *known, qj.RZZ(t, 0, 1), qj.RX(t, 0)])
        return IonQNativeCompiler("zz", verify=True).compile(circuit).circuit

    _compiled.cache_clear()
    shape = jax.eval_shape(compiled, jax.ShapeDtypeStruct((), float))
    assert shape.params[0].shape == (sum(len(s.references) for s in shape.structure.steps),)


def test_verification_of_many_qubits():
    """Random states above eight qubits."""
    circuit = qj.Circuit(10, [qj.H(0), *(qj.CX(q, q + 1) for q in range(9)), qj.RX(0.3, 4)])
    native = IonQNativeCompiler("ms", verify=True).compile(circuit)
    assert native.num_two_qubit_gates == 9


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([qj.Measure(0)], "Measure is not a gate .* Use qjax.transforms.dilate first"),
        ([qj.H(0), qj.BitFlip(0.1, 0)], "BitFlip is not a gate .* Use qjax.transforms.dilate"),
        ([qj.Reset(0)], "Reset is not a gate .* Use qjax.transforms.dilate first"),
        ([qj.ReadoutError(0.1, 0.1, 0)], "ReadoutError is not a gate .* Leave it out"),
        ([qj.Measure(0, "m"), qj.X(1).conditioned("m")], "Measure is not a gate"),
    ],
)
def test_what_is_no_gate(operations, message):
    with pytest.raises(CircuitError, match=message):
        IonQNativeCompiler("zz").compile(qj.Circuit(2, operations))


def test_the_remedy_for_what_is_no_gate():
    """Dilated, a measurement that a gate depends on is compiled."""
    operations = [qj.H(0), qj.Measure(0, "m"), qj.X(1).conditioned("m"), qj.Reset(0)]
    dilated = dilate(qj.Circuit(2, operations))
    native = IonQNativeCompiler("zz", verify=True).compile(dilated)
    np.testing.assert_allclose(
        qj.probabilities(native.circuit, (0, 1)), [0.5, 0.5, 0, 0], atol=1e-12
    )


def test_matrices_must_be_known():
    def compile_traced(matrix):
        return IonQNativeCompiler("zz").compile(qj.Circuit(1, [qj.Unitary(matrix, 0)])).circuit

    with pytest.raises(CircuitError, match="can be decomposed only if its matrix is known"):
        jax.jit(compile_traced)(jnp.eye(2, dtype=complex))
    t = qj.Parameter("t")
    evolution = qj.Evolution(qj.X(0) + qj.Z(0), t, method="exact")
    with pytest.raises(CircuitError, match="only if its time is known"):
        IonQNativeCompiler("zz").compile(qj.Circuit(1, [evolution]))


def test_options_are_checked():
    wrong: Any
    for wrong in ("sycamore", "ZZ", ["zz"], None):
        with pytest.raises(CircuitError, match="Argument `gateset` must be one of 'ms', 'zz', 'si"):
            IonQNativeCompiler(wrong)
    for wrong in ("sycamore", ["forte-1"]):
        with pytest.raises(CircuitError, match="Argument `name` must be one of 'simulator', "):
            find_machine(wrong)
    with pytest.raises(CircuitError, match="Argument `verify` must be True or False, but is 'yes'"):
        IonQNativeCompiler("zz", verify=cast(Any, "yes"))
    with pytest.raises(CircuitError, match="Argument `circuit` must be a Circuit, but is 'x'"):
        IonQNativeCompiler("zz").compile(cast(Any, "x"))
    native = IonQNativeCompiler("zz").compile(qj.Circuit(1, [qj.H(0)]))
    for estimate in (native.price, native.duration):
        with pytest.raises(CircuitError, match="Argument `shots` must be at least 1, but is -5"):
            estimate(-5)
        with pytest.raises(CircuitError, match="Argument `shots` must be an integer, but is 1.5"):
            estimate(cast(Any, 1.5))
    with pytest.raises(CircuitError, match="must be 'ms' or 'zz' for simulator"):
        IonQNativeCompiler("simulator")
    with pytest.raises(CircuitError, match="Argument `optimize` must be one of"):
        IonQNativeCompiler("zz", optimize="most")
    with pytest.raises(CircuitError, match="Argument `frames` must be one of"):
        IonQNativeCompiler("zz", frames="drop")
    with pytest.raises(CircuitError, match="Argument `cutoff` must be in"):
        IonQNativeCompiler("zz", cutoff=0.3)
    with pytest.raises(CircuitError, match="qpu.aria-1 has 25 qubits, but the circuit has 26"):
        IonQNativeCompiler("aria-1").compile(qj.Circuit(26, [qj.H(0)]))


def test_unbound_circuits_have_no_numbers():
    theta, phi = qj.Parameter("theta"), qj.Parameter("phi")
    circuit = qj.Circuit(1, [qj.RX(theta, 0), qj.RY(phi, 0)])
    native = IonQNativeCompiler("zz").compile(circuit.bind(phi=0.2))
    with pytest.raises(CircuitError, match="parameters without values: theta. Use `bind`"):
        native.circuit  # noqa: B018
    with pytest.raises(CircuitError, match="had values when the circuit was compiled"):
        native.bind(phi=0.3)
    with pytest.raises(CircuitError, match="has no parameters"):
        native.bind(lam=0.3)
    assert native.bind(theta=0.1).unbound == ()
