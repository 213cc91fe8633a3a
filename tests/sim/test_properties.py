"""What must hold for every circuit, on random ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qjax as qj
from tests.support.oracle import Op
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

FEW = settings(max_examples=8)
small = unitary_circuits(max_qubits=4, max_ops=8)


def shifted(ops: list[Op], amount: float) -> list[Op]:
    """The same operations with all angles moved."""
    return [Op(**{**vars(op), "params": tuple(p + amount for p in op.params)}) for op in ops]


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
    middle = qj.statevector(first)
    np.testing.assert_allclose(
        qj.statevector(first + second),
        qj.statevector(second, initial_state=middle),
        atol=1e-12,
    )


@given(small, st.data())
@FEW
def test_ket_equals_density_matrix(drawn, data):
    """Without channels both engines agree, on states, means and probabilities."""
    n, ops = drawn
    circuit = as_circuit(n, ops)
    observable = as_observable(data.draw(pauli_terms(n)))
    ket = qj.statevector(circuit)
    rho = qj.density_matrix(circuit)
    np.testing.assert_allclose(rho, jnp.outer(ket, ket.conj()), atol=1e-12)
    np.testing.assert_allclose(
        qj.expectation(circuit, observable),
        np.trace(np.asarray(rho) @ np.asarray(observable.matrix(n))).real,
        atol=1e-12,
    )
    np.testing.assert_allclose(qj.probabilities(circuit), np.real(np.diag(rho)), atol=1e-12)


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
    """Over kets to start from."""
    n, ops = drawn
    circuit = as_circuit(n, ops)
    starts = np.stack([random_ket(n, seed) for seed in range(3)])

    def run(start):
        return qj.expectation(circuit, qj.Z(n - 1), initial_state=start)

    loop = [run(start) for start in starts]
    np.testing.assert_allclose(jax.vmap(run)(starts), loop, atol=1e-12)


@given(small.filter(lambda drawn: any(op.params for op in drawn[1])))
@FEW
def test_batched_leaves_equal_loop(drawn):
    """vmap over the leaves of the circuit itself."""
    n, ops = drawn
    circuits = [as_circuit(n, shifted(ops, 0.1 * i)) for i in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *circuits)
    loop = [qj.statevector(circuit) for circuit in circuits]
    np.testing.assert_allclose(jax.vmap(qj.statevector)(stacked), loop, atol=1e-12)


@given(small)
@FEW
def test_forward_and_reverse_mode_agree(drawn):
    """The gradient of a mean in all leaves, both ways, and against a finite difference."""
    n, ops = drawn
    circuit = as_circuit(n, [op for op in ops if op.name != "Unitary"] + [Op("RX", (0,), (0.3,))])

    def mean(leaves):
        return qj.expectation(jax.tree.unflatten(jax.tree.structure(circuit), leaves), qj.Z(0))

    leaves = jax.tree.leaves(circuit)
    direction = [np.cos(np.arange(np.size(leaf))).reshape(np.shape(leaf)) for leaf in leaves]
    gradient = jax.grad(mean)(leaves)
    reverse = sum(np.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    _, forward = jax.jvp(mean, (leaves,), (direction,))
    np.testing.assert_allclose(forward, reverse, atol=1e-12)
    plus, minus = (
        mean([leaf + s * d for leaf, d in zip(leaves, direction, strict=True)])
        for s in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(reverse, (plus - minus) / 2e-5, atol=1e-7)
