"""The noise models against channels written out from IonQ's definition."""

import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from qjax.ionq import GPI, GPI2, MS, NOISE_MODELS, ZZ, find_noise_model
from tests.support import oracle

pytestmark = pytest.mark.usefixtures("x64")

RATES = {
    "aria-1": (0.0005, 0.0133),
    "aria-2": (0.00065733, 0.01856),
    "forte-1": (0.00026667, 0.00494933),
}


def mixed(rho: np.ndarray, qubits: tuple[int, ...], r: float) -> np.ndarray:
    """rho -> (1 - r) rho + r I/d on some qubits, from all Pauli words."""
    n = int(np.log2(len(rho)))
    words = [a + b for a in "IXYZ" for b in "IXYZ"] if len(qubits) == 2 else list("IXYZ")
    paulis = [oracle.embed(oracle.word_matrix(word), qubits, n) for word in words]
    return (1 - r) * rho + r * np.mean([p @ rho @ p.conj().T for p in paulis], axis=0)


@pytest.mark.parametrize("name", RATES)
def test_models_are_the_published_channels(name):
    one, two = RATES[name]
    entangler = MS(0.1, 0.3, 0.2, 2, 0) if name.startswith("aria") else ZZ(0.2, 2, 0)
    gates = [GPI2(0.1, 0), GPI(0.2, 2), entangler, GPI2(0.7, 1)]
    found = qj.density_matrix(qj.insert_noise(qj.Circuit(3, gates), NOISE_MODELS[name]))
    rho = np.zeros((8, 8), complex)
    rho[0, 0] = 1
    for gate in gates:
        matrix = oracle.embed(np.asarray(gate.matrix), gate.targets, 3)
        rate = one if len(gate.targets) == 1 else two
        rho = mixed(matrix @ rho @ matrix.conj().T, gate.targets, rate)
    np.testing.assert_allclose(found, rho, atol=1e-12)


def test_names():
    assert set(NOISE_MODELS) == set(RATES)
    assert find_noise_model("qpu.aria-1") is NOISE_MODELS["aria-1"]
    with pytest.raises(CircuitError, match="'aria-1', 'aria-2', 'forte-1', but is 'harmony'"):
        find_noise_model("harmony")
