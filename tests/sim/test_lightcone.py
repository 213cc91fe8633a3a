"""Gates that observables do not need, and gates that they absorb."""

import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.sim._lightcone import pull_back
from qjax.sim._primitive import evolve_state
from qjax.sim._run import word_values
from qjax.sim._states import to_complex

RNG = np.random.default_rng(3)


def kept(circuit, *words):
    """Number of operations that are left for some words."""
    return len(pull_back(circuit.structure, words)[0].steps)


def z(*qubits):
    """A word of Z."""
    return tuple((q, "Z") for q in qubits)


def test_gates_outside_the_cone_are_dropped():
    """One qubit of a product circuit needs its own gates only."""
    circuit = qj.Circuit(4, [qj.RY(0.1 * q, q) for q in range(4)] + [qj.CRX(0.3, 0, 1)])
    assert kept(circuit, z(3)) == 1
    assert kept(circuit, z(1)) == 3
    assert kept(circuit, ((3, "X"),), z(2)) == 2


def test_last_layer_of_an_ansatz_is_absorbed():
    """The phases and the CX of the last layer cost nothing where only Z is read."""
    circuit = qj.hardware_efficient(RNG.normal(size=(2, 4, 2)), "circular")
    words = tuple(z(q) for q in range(4))
    shorter, moved, signs, longer = pull_back(circuit.structure, words)
    assert len(circuit) - len(shorter.steps) == 8  # four RZ and four CX
    assert len(longer.steps) - len(shorter.steps) == 4  # with the RZ
    assert set(signs) == {1}
    assert moved[3] == z(0, 1, 2, 3)  # Z3 -> Z2 Z3 -> Z1 Z2 Z3 -> Z0 Z1 Z2 Z3
    assert moved[0] == z(1, 2, 3)  # Z0 -> Z0 Z3, and Z3 as above
    assert kept(circuit, ((0, "X"),)) > len(shorter.steps)


def test_signs():
    """X turns Z into -Z."""
    circuit = qj.Circuit(2, [qj.RY(0.3, 0), qj.X(0), qj.CX(0, 1), qj.SWAP(0, 1), qj.X(1)])
    shorter, moved, signs, _ = pull_back(circuit.structure, (z(0), z(1)))
    assert len(shorter.steps) == 1
    assert (moved, signs) == ((z(0, 1), z(0)), (-1, 1))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", range(20))
def test_values_do_not_change(seed):
    """Random circuits of gates that are absorbed, dropped and kept."""
    rng = np.random.default_rng(seed)
    operations = []
    for _ in range(30):
        a, b, c = (int(q) for q in rng.permutation(4)[:3])
        operations.append(
            [
                qj.CX(a, b), qj.X(a), qj.SWAP(a, b), qj.RZ(rng.normal(), a), qj.CZ(a, b),
                qj.RY(rng.normal(), a), qj.H(b), qj.CCX(a, b, c), qj.CSWAP(a, b, c), qj.T(c),
            ][rng.integers(10)]
        )  # fmt: skip
    circuit = qj.Circuit(4, operations)
    words = [z(0), z(1, 3), z(0, 1, 2, 3)]
    words += [((2, "X"),), ((0, "Y"), (3, "Z"))] if seed % 2 else []
    params = [jnp.asarray(p) for p in circuit.params]
    found, _ = word_values(circuit.structure, params, (), None, words=tuple(words))
    ket = qj.statevector(circuit)
    for value, word in zip(found, words, strict=True):
        matrix = qj.PauliSum((word,), np.ones(1)).matrix(4)
        np.testing.assert_allclose(value, (ket.conj() @ matrix @ ket).real, atol=1e-12)
    pulled = pull_back(circuit.structure, tuple(words))
    for structure in (pulled.structure, pulled.longer):
        ket = to_complex(evolve_state(structure, params, ()).reshape(2, -1))
        for value, sign, word in zip(found, pulled.signs, pulled.words, strict=True):
            matrix = qj.PauliSum((word,), np.ones(1)).matrix(4)
            np.testing.assert_allclose(value, sign * (ket.conj() @ matrix @ ket).real, atol=1e-12)
