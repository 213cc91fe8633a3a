"""What must hold for every circuit, on random ones."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qjax as qj
from tests.support.oracle import GATES, Op
from tests.support.strategies import (
    as_circuit,
    as_observable,
    noisy_circuits,
    pauli_terms,
    random_density_matrix,
    random_ket,
    unitary_circuits,
)

pytestmark = pytest.mark.usefixtures("x64")

FEW = settings(max_examples=4)
small = unitary_circuits(max_qubits=4, max_ops=8)


def shifted(ops: list[Op], amount) -> list[Op]:
    """The same operations with all gate angles moved, strengths left alone."""
    moving = {*GATES, "PauliRotation"}
    return [
        replace(op, params=tuple(p + amount for p in op.params)) if op.name in moving else op
        for op in ops
    ]


@given(unitary_circuits())
@FEW
def test_norm_is_kept(drawn):
    """From any ket, so that no column of the unitary escapes."""
    n, ops = drawn
    start = random_ket(n, seed=n)
    found = qj.statevector(as_circuit(n, ops), initial_state=start)
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-12)


@given(small)
@FEW
def test_inverse_undoes(drawn):
    """C + inverse(C) = 1, and twice inverted is itself."""
    n, ops = drawn
    circuit, start = as_circuit(n, ops), random_ket(n, seed=n)
    found = qj.statevector(circuit + circuit.inverse(), initial_state=start)
    np.testing.assert_allclose(found, start, atol=1e-12)
    assert circuit.inverse().inverse() == circuit


@given(small, st.integers(0, 8))
@FEW
def test_composition_is_sequence(drawn, position):
    """Running a + b is running b on what a leaves."""
    n, ops = drawn
    first, second = as_circuit(n, ops[:position]), as_circuit(n, ops[position:])

    @jax.jit
    def both(first, second):
        middle = qj.statevector(first)
        return qj.statevector(first + second), qj.statevector(second, initial_state=middle)

    at_once, in_turn = both(first, second)
    np.testing.assert_allclose(at_once, in_turn, atol=1e-12)


@given(small, st.data())
@FEW
def test_ket_equals_density_matrix(drawn, data):
    """Without channels both engines agree, on states, means and probabilities."""
    n, ops = drawn
    observable = as_observable(data.draw(pauli_terms(n)))

    @jax.jit
    def evaluate(circuit):
        ket, rho = qj.statevector(circuit), qj.density_matrix(circuit)
        return ket, rho, qj.expectation(circuit, observable), qj.probabilities(circuit)

    ket, rho, mean, weights = map(np.asarray, evaluate(as_circuit(n, ops)))
    np.testing.assert_allclose(rho, np.outer(ket, ket.conj()), atol=1e-12)
    expected = np.real(np.trace(rho @ np.asarray(observable.matrix(n))))
    np.testing.assert_allclose(mean, expected, atol=1e-12)
    np.testing.assert_allclose(weights, np.real(np.diag(rho)), atol=1e-12)


@given(noisy_circuits())
@FEW
def test_noise_keeps_states_states(drawn):
    """Trace one, Hermitian, positive; linear in the input."""
    n, ops = drawn
    circuit = as_circuit(n, ops)
    one, two = (random_density_matrix(n, seed) for seed in (1, 2))
    run = jax.vmap(lambda rho: qj.density_matrix(circuit, initial_state=rho))
    out = np.asarray(run(np.stack([one, two, 0.3 * one + 0.7 * two])))
    np.testing.assert_allclose(np.trace(out, axis1=1, axis2=2), 1, atol=1e-12)
    np.testing.assert_allclose(out, out.conj().swapaxes(1, 2), atol=1e-12)
    assert np.linalg.eigvalsh(out).min() > -1e-12
    np.testing.assert_allclose(out[2], 0.3 * out[0] + 0.7 * out[1], atol=1e-12)


@given(small | noisy_circuits())
@FEW
def test_jit_equals_eager(drawn):
    """The circuit built outside, and as the argument of a jitted function."""
    n, ops = drawn
    circuit = as_circuit(n, ops)
    observables = [qj.Z(0), qj.X(n - 1)]
    eager = qj.expectation(circuit, observables)
    jitted = jax.jit(lambda c: qj.expectation(c, observables))(circuit)
    np.testing.assert_allclose(jitted, eager, atol=1e-12)


@given(small | noisy_circuits())
@FEW
def test_vmap_equals_loop(drawn):
    """Over the numbers in the circuit and the kets to start from, both at once."""
    n, ops = drawn
    circuits = [as_circuit(n, shifted(ops, 0.1 * i)) for i in range(3)]
    starts = [random_ket(n, seed) for seed in range(3)]

    def run(circuit, start):
        return qj.expectation(circuit, [qj.Z(n - 1), qj.X(0)], initial_state=start)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *circuits)
    loop = [run(circuit, start) for circuit, start in zip(circuits, starts, strict=True)]
    found = jax.jit(jax.vmap(run))(stacked, jnp.stack(starts))
    np.testing.assert_allclose(found, loop, atol=1e-12)


@given(unitary_circuits(max_qubits=3, max_ops=6) | noisy_circuits(max_ops=4))
@FEW
def test_derivatives_agree(drawn):
    """Forward mode, reverse mode and a finite difference, in all gate angles at once."""
    n, ops = drawn
    ops = [Op("H", (0,)), *ops, Op("RX", (0,), (0.3,))]

    def mean(shift):
        return qj.expectation(as_circuit(n, shifted(ops, shift)), qj.Z(0))

    @jax.jit
    def evaluate(shift):
        return mean(shift), jax.grad(mean)(shift), jax.jacfwd(mean)(shift)

    values, reverse, forward = jax.vmap(evaluate)(jnp.array([-1e-5, 0.0, 1e-5]))
    np.testing.assert_allclose(forward, reverse, atol=1e-12)
    np.testing.assert_allclose(reverse[1], (values[2] - values[0]) / 2e-5, atol=1e-7)
