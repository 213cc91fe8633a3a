"""The native gates: closed forms, identities, inverse, controls, derivatives, printing."""

import pickle
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from qjax.ionq import GPI, GPI2, MS, ZZ
from tests.support import oracle
from tests.support.oracle import PAULIS, kron
from tests.support.strategies import unitary_of

pytestmark = pytest.mark.usefixtures("x64")

I, X, Y, Z = (PAULIS[letter] for letter in "IXYZ")  # noqa: E741
H = (X + Z) / np.sqrt(2)


def axis(p):
    """cos(2 pi p) X + sin(2 pi p) Y."""
    return np.cos(2 * np.pi * p) * X + np.sin(2 * np.pi * p) * Y


def exponential(angle, generator):
    """exp(-i angle generator)."""
    return oracle.evolution(generator, angle)


ORACLE = {  # name: (constructor, number of numbers, number of qubits, matrix)
    "GPI": (GPI, 1, 1, axis),
    "GPI2": (GPI2, 1, 1, lambda p: exponential(np.pi / 4, axis(p))),
    "MS": (MS, 3, 2, lambda p, q, a: exponential(np.pi * a, kron(axis(p), axis(q)))),
    "ZZ": (ZZ, 1, 2, lambda a: exponential(np.pi * a, kron(Z, Z))),
}
NUMBERS = (0.17, -0.41, 0.13)


def run(num_qubits, *steps):
    """The unitary of steps in the order of time: gates, or pairs of a matrix and its qubits."""
    total = np.eye(2**num_qubits, dtype=complex)
    for step in steps:
        if isinstance(step, tuple):
            matrix, qubits = step
        else:
            matrix, qubits = np.asarray(step.matrix), step.qubits
        total = oracle.embed(matrix, qubits, num_qubits) @ total
    return total


def rotation(letter, angle):
    """exp(-i angle/2 P)."""
    return exponential(angle / 2, PAULIS[letter])


def one(*steps):
    return run(
        1, *(step if isinstance(step, qj.circuit.Operation) else (step, (0,)) for step in steps)
    )


def identities():
    """(name, native, expected, whether exact rather than up to a phase)."""
    for p in (0.0, 0.125, 0.37, -0.8):
        yield f"GPI({p})", one(GPI(p, 0)), axis(p), True
        yield f"GPI2({p})", one(GPI2(p, 0)), exponential(np.pi / 4, axis(p)), True
        yield f"GPI2({p})^2", one(GPI2(p, 0), GPI2(p, 0)), -1j * axis(p), True
        yield f"GPI2({p})^-1", one(GPI2(p + 0.5, 0)), one(GPI2(p, 0)).conj().T, True
        yield f"GPI({p})^-1", one(GPI(p, 0), GPI(p, 0)), I, True
        turn = 2 * np.pi * p
        for name, gate, inner in (("GPI", GPI, X), ("GPI2", GPI2, rotation("X", np.pi / 2))):
            expected = one(rotation("Z", -turn), inner, rotation("Z", turn))
            yield f"{name}({p}) by RZ", one(gate(p, 0)), expected, True
    for p, letter in ((0, "X"), (0.25, "Y")):
        yield letter, one(GPI(p, 0)), PAULIS[letter], True
    for p, letter, sign in ((0, "X", 1), (0.5, "X", -1), (0.25, "Y", 1), (0.75, "Y", -1)):
        yield f"R{letter}", one(GPI2(p, 0)), rotation(letter, sign * np.pi / 2), True
    yield from two_qubit_definitions()
    yield from one_qubit_decompositions()
    yield from virtual_z()
    yield from two_qubit_decompositions()


def two_qubit_definitions():
    for p, q, a in ((0, 0, 0.25), (0.1, 0.37, 0.2), (-0.3, 0.6, 0.05)):
        gate = MS(p, q, a, 0, 1)
        found = run(2, gate)
        name = f"MS({p},{q},{a})"
        yield name, found, exponential(np.pi * a, kron(axis(p), axis(q))), True
        turned = kron(rotation("Z", 2 * np.pi * p), rotation("Z", 2 * np.pi * q))
        yield (
            f"{name} by RZ",
            found,
            turned @ exponential(np.pi * a, kron(X, X)) @ turned.conj().T,
            True,
        )
        yield f"{name}^-1", run(2, MS(p + 0.5, q, a, 0, 1)), found.conj().T, True
        yield f"{name} swapped", run(2, MS(p, q, a, 1, 0)), run(2, MS(q, p, a, 0, 1)), True
    for phases, word, sign in (((0, 0), "XX", 1), ((0.25, 0.25), "YY", 1), ((0, 0.5), "XX", -1)):
        expected = exponential(sign * np.pi / 4, oracle.word_matrix(word))
        yield f"MS{phases}", run(2, MS(*phases, 0.25, 0, 1)), expected, True
    yield "ZZ", run(2, ZZ(0.17, 0, 1)), exponential(0.17 * np.pi, kron(Z, Z)), True


def one_qubit_decompositions():
    yield "H, two pulses", one(GPI2(0.25, 0), GPI(0, 0)), H, False
    yield "H, after Z", one(Z, GPI2(0.25, 0)), H, False
    yield "H, three pulses", one(GPI2(0, 0), GPI(-0.125, 0), GPI2(0.5, 0)), H, False
    for t in (0.3, 1.1, 2.7, -2.0):
        turns = t / (2 * np.pi)
        Rx, Ry, Rz = (rotation(letter, t) for letter in "XYZ")
        yield f"RX({t})", one(GPI2(0.75, 0), Rz, GPI2(0.25, 0)), Rx, False
        yield f"RX({t}) emitted", one(GPI2(0.75, 0), GPI2(0.25 - turns, 0), Rz), Rx, False
        yield f"RY({t})", one(GPI2(0, 0), Rz, GPI2(0.5, 0)), Ry, False
        yield f"RY({t}) emitted", one(GPI2(0, 0), GPI2(0.5 - turns, 0), Rz), Ry, False
        yield f"RZ({t})", one(GPI(0, 0), GPI(turns / 2, 0)), Rz, False
        sandwich = one(GPI2(0.25, 0), GPI(turns / 2 - 0.25, 0), GPI2(0.25, 0))
        yield f"RX({t}), no frame", sandwich, Rx, False
        sandwich = one(GPI2(0.5, 0), GPI(turns / 2, 0), GPI2(0.5, 0))
        yield f"RY({t}), no frame", sandwich, Ry, False
        for phi, lam in ((0.4, -1.3), (2.0, 0.9)):
            first, last = 0.5 - lam / (2 * np.pi), 0.5 + phi / (2 * np.pi)
            found = one(GPI2(first, 0), GPI((t + phi - lam) / (4 * np.pi), 0), GPI2(last, 0))
            expected = one(rotation("Z", lam), Ry, rotation("Z", phi))
            yield f"U({t},{phi},{lam})", found, expected, False
    yield "S", one(GPI(0, 0), GPI(1 / 8, 0)), np.diag([1, 1j]), False
    yield "T", one(GPI(0, 0), GPI(1 / 16, 0)), np.diag([1, np.exp(0.25j * np.pi)]), False
    V = (1 + 1j) / 2 * (I - 1j * X)
    yield "V", one(GPI2(0, 0)), V, False
    yield "V^-1", one(GPI2(0.5, 0)), V.conj().T, False


def virtual_z():
    """RZ(t) first is the same gate at another phase, and RZ(t) after it."""
    for t, p in ((0.7, 0.2), (-1.9, 0.55)):
        Rz, turns = rotation("Z", t), t / (2 * np.pi)
        yield "through GPI2", one(Rz, GPI2(p, 0)), one(GPI2(p - turns, 0), Rz), True
        yield "through GPI", one(Rz, GPI(p, 0)), one(GPI(p - turns, 0), Rz), True
        yield "into GPI", one(Rz, GPI(p, 0)), one(GPI(p - turns / 2, 0)), True
        ms = run(2, (Rz, (0,)), MS(p, 0.3, 0.1, 0, 1))
        yield "through MS", ms, run(2, MS(p - turns, 0.3, 0.1, 0, 1), (Rz, (0,))), True
        zz = run(2, (Rz, (0,)), ZZ(0.1, 0, 1))
        yield "through ZZ", zz, run(2, ZZ(0.1, 0, 1), (Rz, (0,))), True


def two_qubit_decompositions():
    cx, back = oracle.controlled(X), (rotation("Z", -np.pi / 2), (0,))
    after = [GPI2(0.5, 0), GPI2(0.5, 1), GPI2(-0.25, 0)]
    yield "CX on MS", run(2, GPI2(0.25, 0), MS(0, 0, 0.25, 0, 1), *after), cx, False
    turns = [(rotation("Y", np.pi / 2), (0,)), (exponential(np.pi / 4, kron(X, X)), (0, 1))]
    turns += [(rotation("X", -np.pi / 2), (q,)) for q in (0, 1)]
    yield "CX by XX", run(2, *turns, (rotation("Y", -np.pi / 2), (0,))), cx, False
    undo = [(np.diag([1, -1j]), (q,)) for q in (0, 1)]
    yield "CX on ZZ", run(2, (H, (1,)), ZZ(0.25, 0, 1), *undo, (H, (1,))), cx, False
    frames = [(rotation("Z", -np.pi / 2), (q,)) for q in (0, 1)]
    compact = run(2, GPI2(0.75, 1), ZZ(0.25, 0, 1), GPI2(0.5, 1), *frames)
    yield "CX on ZZ, compact", compact, cx, False
    compact = run(2, GPI2(0.25, 0), MS(0, 0, 0.25, 0, 1), GPI2(0.75, 0), GPI2(0.5, 1), back)
    yield "CX on MS, compact", compact, cx, False
    spread = [GPI(0, 0), GPI(-1 / 8, 0), GPI2(0.5, 1), GPI(0, 1), GPI(-1 / 8, 1)]
    written = run(2, GPI2(0.75, 1), ZZ(0.25, 0, 1), *spread[:2], GPI2(0.5, 1), *spread[3:])
    yield "CX on ZZ, frames as pulses", written, cx, False
    yield "CZ on ZZ", run(2, ZZ(0.25, 0, 1), *undo), np.diag([1, 1, 1, -1]), False
    around = [[(rotation("Y", s * np.pi / 2), (q,)) for q in (0, 1)] for s in (1, -1)]
    for t in (0.3, 1.2, 1.57):
        a = t / (2 * np.pi)
        yield f"XX({t})", run(2, MS(0, 0, a, 0, 1)), exponential(t / 2, kron(X, X)), True
        yield f"YY({t})", run(2, MS(0.25, 0.25, a, 0, 1)), exponential(t / 2, kron(Y, Y)), True
        yield f"ZZ({t})", run(2, ZZ(a, 0, 1)), exponential(t / 2, kron(Z, Z)), True
        on_ms = run(2, *around[0], MS(0, 0, a, 0, 1), *around[1])
        yield f"ZZ({t}) on MS", on_ms, exponential(t / 2, kron(Z, Z)), True


def test_identities():
    """All 122, to 1e-12."""
    rows = list(identities())
    for name, found, expected, exact in rows:
        overlap = np.trace(expected.conj().T @ found) / len(expected)
        assert abs(overlap - 1 if exact else abs(overlap) - 1) < 1e-12, name
        if exact:
            np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=name)
    assert len(rows) == 122


@pytest.mark.parametrize("name", ORACLE)
def test_gate_equals_its_closed_form(name):
    """Matrix, inverse and control, on descending qubits with a spectator."""
    make, count, n, matrix = ORACLE[name]
    expected = matrix(*NUMBERS[:count])
    gate = make(*NUMBERS[:count], *range(n)[::-1])
    for operation, closed in (
        (gate, expected),
        (gate.inverse(), expected.conj().T),
        (gate.inverse().inverse(), expected),
        (gate.controlled(n), oracle.controlled(expected)),
    ):
        found = unitary_of(qj.Circuit(n + 1, [operation]))
        np.testing.assert_allclose(found, oracle.embed(closed, operation.qubits, n + 1), atol=1e-13)


@pytest.mark.parametrize("name", ORACLE)
def test_matrix_derivative_equals_finite_differences(name):
    """The Jacobian in every phase and angle, also at zero."""
    make, count, n, matrix = ORACLE[name]

    @jax.jit
    @jax.jacfwd
    def jacobian(numbers):
        return make(*numbers, *range(n)).matrix

    for numbers in (np.array(NUMBERS[:count]), np.zeros(count)):
        found = jacobian(numbers)
        for i, step in enumerate(1e-6 * np.eye(count)):
            difference = (matrix(*(numbers + step)) - matrix(*(numbers - step))) / 2e-6
            np.testing.assert_allclose(found[..., i], difference, atol=1e-8)


@pytest.mark.parametrize("name", ORACLE)
def test_expectation_gradient_equals_finite_differences(name):
    """Through the simulator's own derivative, batched over two settings."""
    make, count, n, _ = ORACLE[name]
    before = [qj.RY(0.4 + q, q) for q in range(n)]
    after = [qj.RX(0.9 + q, q) for q in range(n)]

    def mean(numbers):
        circuit = qj.Circuit(n, [*before, make(*numbers, *range(n)), *after])
        return qj.expectation(circuit, qj.Z(0) + 0.5 * qj.Y(n - 1))

    settings = np.array([NUMBERS[:count], np.array(NUMBERS[:count])[::-1] * 0.7])
    shifts = 1e-5 * np.array([*np.eye(count), *-np.eye(count)])
    batch = jnp.asarray((settings[:, None] + shifts).reshape(-1, count))
    gradient, values = jax.jit(lambda s, b: (jax.vmap(jax.grad(mean))(s), jax.vmap(mean)(b)))(
        settings, batch
    )
    values = np.asarray(values).reshape(2, 2, count)
    np.testing.assert_allclose(gradient, (values[:, 0] - values[:, 1]) / 2e-5, atol=1e-8)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("name", ORACLE)
def test_repr_pickle_and_drawing(name):
    make, count, n, _ = ORACLE[name]
    gate = make(*NUMBERS[:count], *range(n))
    numbers = [f"{v:g}" for v in NUMBERS[:count]] + [str(q) for q in range(n)]
    assert repr(gate) == f"{name}({', '.join(numbers)})"
    assert pickle.loads(pickle.dumps(make)) is make
    assert f"{name}(" in str(qj.Circuit(n, [gate]))
    assert name in make.__doc__ and "radians" not in make.__doc__


def test_batched_and_named_numbers():
    """Batch axes and parameter slots work as in every other gate."""
    phase = qj.Parameter("phase")
    circuit = qj.Circuit(2, [GPI2(phase, 0), MS(phase / 2, 0.1, 0.2, 0, 1), ZZ(0.1, 1, 0)])
    bound = circuit.bind(phase=np.array([0.2, 0.6]))
    states = qj.statevector(bound)
    for p, state in zip((0.2, 0.6), states, strict=True):
        steps = (GPI2(p, 0), MS(p / 2, 0.1, 0.2, 0, 1), ZZ(0.1, 1, 0))
        np.testing.assert_allclose(state, run(2, *steps)[:, 0], atol=1e-13)


def test_angles_come_first():
    with pytest.raises(CircuitError, match="GPI2 takes the arguments"):
        GPI2(0)
    with pytest.raises(CircuitError, match="must be distinct"):
        ZZ(0.1, 1, 1)


def test_all_pairs_of_pulses_are_su2():
    """Any two pulses and a frame reach |00| amplitude |cos(pi (p - q))|, as the compiler uses."""
    for p, q in product((0.0, 0.2, 0.45), repeat=2):
        found = one(GPI2(p, 0), GPI2(q, 0))
        assert abs(found[0, 0]) == pytest.approx(abs(np.sin(np.pi * (p - q))), abs=1e-12)
