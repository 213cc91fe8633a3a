"""What is compared with other simulators, as plain operations: one row a gate or channel."""

import numpy as np

from tests.support.oracle import GATES, Op
from tests.support.strategies import CHANNEL_PARAMS, random_kraus, random_unitary

NUM_QUBITS = 3
ATOL = 1e-10
ANGLES = (0.7, -1.3, 2.1)
HAMILTONIAN = {"ZZI": 0.7, "IXY": -0.4, "YII": 0.3, "III": 0.2}
OBSERVABLES = [
    {"XII": 1.0},
    {"IYI": 1.0},
    {"IIZ": 1.0},
    {"XYZ": 0.5, "ZIX": -1.5, "IYY": 0.25, "III": 2.0},
]

UNITARIES = {
    **{
        name: Op(name, (2, 0, 1)[: gate.num_qubits], ANGLES[: gate.num_params])
        for name, gate in GATES.items()
    },
    "PauliRotation one": Op("PauliRotation", (1,), (0.8,), "Y"),
    "PauliRotation three": Op("PauliRotation", (2, 0, 1), (0.8,), "XYZ"),
    "Unitary one": Op("Unitary", (1,), data=random_unitary(1, seed=1)),
    "Unitary two": Op("Unitary", (2, 0), data=random_unitary(2, seed=2)),
    "Evolution": Op("Evolution", (0, 1, 2), (0.9,), HAMILTONIAN),
}
"""On qubits out of order, beside others, so that the order of bits shows."""

CHANNELS = {
    "AmplitudeDamping": Op("AmplitudeDamping", (1,), (0.3,)),
    "PhaseDamping": Op("PhaseDamping", (1,), (0.3,)),
    "BitFlip": Op("BitFlip", (1,), (0.2,)),
    "PhaseFlip": Op("PhaseFlip", (1,), (0.2,)),
    "Depolarizing": Op("Depolarizing", (1,), (0.3,)),
    "Depolarizing two": Op("Depolarizing", (2, 0), (0.3,)),
    "PauliChannel": Op("PauliChannel", (1,), (0.1, 0.05, 0.2)),
    "PauliChannel words": Op("PauliChannel", (2, 0), data={"XY": 0.2, "IZ": 0.1}),
    "GeneralizedAmplitudeDamping": Op("GeneralizedAmplitudeDamping", (1,), (0.3, 0.2)),
    "ThermalRelaxation": Op("ThermalRelaxation", (1,), (50.0, 40.0, 20.0)),
    "ThermalRelaxation excited": Op("ThermalRelaxation", (1,), (50.0, 40.0, 20.0, 0.1)),
    "ThermalRelaxation beyond T1": Op("ThermalRelaxation", (1,), (50.0, 70.0, 20.0)),
    "Kraus": Op("Kraus", (1,), data=random_kraus(1, seed=1)),
    "Kraus two": Op("Kraus", (2, 0), data=random_kraus(2, seed=2)),
    "Reset": Op("Reset", (1,)),
}


def exponential(hamiltonian, t: float) -> np.ndarray:
    """exp(-i t H) of a Hermitian matrix that a peer has built."""
    values, vectors = np.linalg.eigh(np.asarray(hamiltonian))
    return (vectors * np.exp(-1j * t * values)) @ vectors.conj().T


def variants(op: Op) -> list[Op]:
    """A unitary as it is, inverted, and controlled by a qubit that it leaves free, if any."""
    found = [op, Op(op.name, op.qubits, op.params, op.data, inverse=True)]
    free = sorted(set(range(NUM_QUBITS)) - set(op.qubits))
    if free:
        found.append(Op(op.name, (free[0], *op.qubits), op.params, op.data, controls=1))
    return found


def random_gates(rng: np.random.Generator, num_ops: int) -> list[Op]:
    """Gates of the table at random places and angles, some inverted or controlled."""
    ops = []
    for name in rng.choice(list(GATES), num_ops):
        gate = GATES[str(name)]
        controls = int(gate.num_qubits < NUM_QUBITS and rng.random() < 0.2)
        qubits = tuple(int(q) for q in rng.permutation(NUM_QUBITS)[: gate.num_qubits + controls])
        params = tuple(float(a) for a in rng.uniform(-7, 7, gate.num_params))
        inverse = bool(rng.random() < 0.3)
        ops.append(Op(str(name), qubits, params, controls=controls, inverse=inverse))
    return ops


def random_circuit(seed: int, num_ops: int, *, noisy: bool = False) -> list[Op]:
    """A fixed random circuit; with a channel behind every second gate if noisy."""
    rng = np.random.default_rng(seed)
    ops = []
    for number, op in enumerate(random_gates(rng, num_ops)):
        ops.append(op)
        if noisy and number % 2:
            name = str(rng.choice(list(CHANNEL_PARAMS)))
            strengths = tuple(float(p) for p in rng.uniform(0, 1 / 3, CHANNEL_PARAMS[name]))
            ops.append(Op(name, (int(rng.integers(NUM_QUBITS)),), strengths))
    return ops
