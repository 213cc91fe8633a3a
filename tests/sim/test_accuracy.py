"""Single precision on long circuits, against the float64 oracle."""

import jax
import numpy as np
import pytest

import qjax as qj
from tests.support import oracle
from tests.support.oracle import Op
from tests.support.strategies import as_circuit

NAMES = {"RX": 1, "RY": 1, "RZ": 1, "H": 1, "T": 1, "SX": 1, "CX": 2, "CZ": 2, "RZZ": 2, "RXX": 2}
ROTATIONS = {"RX", "RY", "RZ", "RZZ", "RXX"}


def random_operations(seed, num_qubits=6, count=1000):
    """A thousand gates with random angles on random qubits."""
    rng = np.random.default_rng(seed)
    operations = []
    for name in rng.choice(list(NAMES), size=count):
        qubits = tuple(int(q) for q in rng.permutation(num_qubits)[: NAMES[name]])
        angles = (float(rng.uniform(-np.pi, np.pi)),) if name in ROTATIONS else ()
        controls = 1 if name in ("CX", "CZ") else 0
        bare = name[1:] if controls else name
        operations.append(Op(bare, qubits, angles, controls=controls))
    return operations


@pytest.mark.parametrize("seed", range(2))
def test_random_circuits_of_a_thousand_gates(seed):
    """Amplitudes and norm in complex64."""
    operations = random_operations(seed)
    found = np.asarray(qj.statevector(as_circuit(6, operations)))
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, oracle.statevector(6, operations), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-5)


def test_large_states_of_a_thousand_gates():
    """Against complex128: from this size on cosines are taken of sums of angles."""
    circuit = as_circuit(15, random_operations(2, 15))
    with jax.enable_x64(True):
        expected = np.asarray(qj.statevector(circuit))
    found = np.asarray(qj.statevector(circuit))
    assert (found.dtype, expected.dtype) == (np.complex64, np.complex128)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-5)


def test_ghz_after_a_thousand_gates():
    """Chains of CX, up and down again, leave the GHZ state."""
    n = 12
    up = [qj.CX(q, q + 1) for q in range(n - 1)]
    circuit = qj.Circuit(n, [qj.H(0), *up, *(up[::-1] + up) * 45])
    assert len(circuit) > 1000
    ket = np.asarray(qj.statevector(circuit))
    expected = np.zeros(2**n)
    expected[[0, -1]] = np.sqrt(0.5)
    np.testing.assert_allclose(ket, expected, atol=1e-5)
