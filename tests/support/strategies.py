"""Hypothesis strategies for circuits, observables and states, as the oracle's plain values.

`as_circuit` and `as_observable` turn those values into qjax objects, so that one drawn example
feeds both simulators. `unitary_of` reads the matrix of a circuit out of qjax.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import qjax as qj
from tests.support.oracle import GATES, Op

CHANNEL_PARAMS = {
    "AmplitudeDamping": 1,
    "PhaseDamping": 1,
    "BitFlip": 1,
    "PhaseFlip": 1,
    "Depolarizing": 1,
    "PauliChannel": 3,
    "GeneralizedAmplitudeDamping": 2,
}


# --- from plain values to qjax --------------------------------------------------------------------


def as_operation(op: Op):
    """The qjax operation that an oracle operation describes."""
    targets = op.qubits[op.controls :]
    if op.name == "PauliRotation":
        operation = qj.PauliRotation(op.params[0], op.data, targets)
    elif op.name in ("Unitary", "Kraus", "StatePreparation"):
        operation = getattr(qj, op.name)(op.data, targets)
    elif op.name == "Evolution":
        operation = qj.Evolution(as_observable(op.data), *op.params)
    elif op.name == "PauliChannel" and op.data is not None:
        operation = qj.PauliChannel(op.data, targets)
    elif op.name == "Measure":
        operation = qj.Measure(*targets, name=op.data, postselect=op.postselect)
    elif op.name == "Depolarizing":
        operation = qj.Depolarizing(op.params[0], targets)
    elif op.name == "ThermalRelaxation":
        operation = qj.ThermalRelaxation(*op.params[:3], *targets, *op.params[3:])
    else:
        operation = getattr(qj, op.name)(*op.params, *targets)
    if op.inverse:
        operation = operation.inverse()
    if op.controls:
        operation = operation.controlled(*op.qubits[: op.controls])
    for name, value in op.conditions:
        operation = operation.conditioned(name, value)
    return operation


def as_circuit(num_qubits: int, ops: Sequence[Op]) -> qj.Circuit:
    """The qjax circuit that a list of oracle operations describes."""
    return qj.Circuit(num_qubits, [as_operation(op) for op in ops])


def as_observable(terms: Mapping[str, float]):
    """The qjax observable of {word: coefficient}."""
    return qj.PauliSum.from_strings(dict(terms))


def unitary_of(circuit: qj.Circuit) -> np.ndarray:
    """The matrix of a qjax circuit: its columns are what it makes of the basis states."""
    basis = jnp.eye(2**circuit.num_qubits, dtype=complex)
    run = jax.vmap(lambda ket: qj.statevector(circuit, initial_state=ket), out_axes=1)
    return np.asarray(run(basis))


# --- random states (from NumPy, for use outside Hypothesis too) -----------------------------------


def random_ket(num_qubits: int, seed: int) -> np.ndarray:
    """A normalised complex Gaussian vector."""
    rng = np.random.default_rng(seed)
    ket = rng.normal(size=2**num_qubits) + 1j * rng.normal(size=2**num_qubits)
    return ket / np.linalg.norm(ket)


def random_density_matrix(num_qubits: int, seed: int, rank: int | None = None) -> np.ndarray:
    """A A^dagger / tr, with A complex Gaussian of the given rank."""
    rng = np.random.default_rng(seed)
    shape = (2**num_qubits, rank or 2**num_qubits)
    factor = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    rho = factor @ factor.conj().T
    return rho / np.trace(rho)


def random_unitary(num_qubits: int, seed: int) -> np.ndarray:
    """The unitary factor of a complex Gaussian matrix."""
    rng = np.random.default_rng(seed)
    shape = (2**num_qubits, 2**num_qubits)
    return np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))[0]


def random_kraus(num_qubits: int, seed: int, count: int = 3) -> list[np.ndarray]:
    """Kraus operators cut from the columns of a random isometry."""
    rng = np.random.default_rng(seed)
    size = 2**num_qubits
    shape = (count * size, size)
    isometry = np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))[0]
    return list(isometry.reshape(count, size, size))


# --- strategies -----------------------------------------------------------------------------------

seeds = st.integers(0, 2**16)


def angles() -> st.SearchStrategy[float]:
    """Angles over two turns, zero and the quarter turns among them."""
    special = st.sampled_from([0.0, np.pi / 2, np.pi, -np.pi / 2])
    return special | st.floats(-2 * np.pi, 2 * np.pi).filter(lambda t: t == 0 or abs(t) > 1e-9)


def strengths() -> st.SearchStrategy[float]:
    """Channel strengths, both ends among them."""
    return st.sampled_from([0.0, 1.0]) | st.floats(0.01, 0.99)


@st.composite
def gates(draw, num_qubits: int, max_arity: int = 3) -> Op:
    """One gate of the table, at times inverted or with one control more."""
    names = [n for n, gate in GATES.items() if gate.num_qubits <= min(num_qubits, max_arity)]
    name = draw(st.sampled_from(names))
    gate = GATES[name]
    control = gate.num_qubits < min(num_qubits, max_arity) and draw(st.integers(0, 3)) == 0
    order = draw(st.permutations(range(num_qubits)))
    params = tuple(draw(angles()) for _ in range(gate.num_params))
    return Op(
        name,
        tuple(order[: gate.num_qubits + control]),
        params,
        controls=int(control),
        inverse=draw(st.booleans()),
    )


@st.composite
def pauli_rotations(draw, num_qubits: int) -> Op:
    """A rotation about a Pauli word on some of the qubits, in any order."""
    order = draw(st.permutations(range(num_qubits)))
    size = draw(st.integers(1, num_qubits))
    word = draw(st.text("XYZ", min_size=size, max_size=size))
    return Op("PauliRotation", tuple(order[:size]), (draw(angles()),), word)


@st.composite
def unitary_circuits(draw, min_qubits: int = 1, max_qubits: int = 5, max_ops: int = 10):
    """Pairs (num_qubits, operations) of gates, Pauli rotations and random unitaries."""
    n = draw(st.integers(min_qubits, max_qubits))
    qubit = st.integers(0, n - 1)
    unitaries = st.builds(lambda q, s: Op("Unitary", (q,), data=random_unitary(1, s)), qubit, seeds)
    one = gates(n) | gates(n) | gates(n) | pauli_rotations(n) | unitaries
    return n, draw(st.lists(one, min_size=1, max_size=max_ops))


@st.composite
def channels(draw, num_qubits: int) -> Op:
    """One channel at a random strength, depolarizing on up to two qubits."""
    order = draw(st.permutations(range(num_qubits)))
    name = draw(st.sampled_from([*CHANNEL_PARAMS, "Kraus", "Reset", "ThermalRelaxation"]))
    if name == "Kraus":
        return Op(name, (order[0],), data=random_kraus(1, draw(seeds)))
    if name == "Reset":
        return Op(name, (order[0],))
    if name == "ThermalRelaxation":
        return Op(name, (order[0],), (40.0, 60.0, draw(st.floats(0.0, 99.0)), draw(strengths())))
    if name == "Depolarizing":
        size = draw(st.integers(1, min(2, num_qubits)))
        return Op(name, tuple(order[:size]), (draw(strengths()),))
    count = CHANNEL_PARAMS[name]
    share = 1 if name == "GeneralizedAmplitudeDamping" else count
    return Op(name, (order[0],), tuple(draw(strengths()) / share for _ in range(count)))


@st.composite
def noisy_circuits(draw, max_qubits: int = 3, max_ops: int = 8):
    """Pairs (num_qubits, operations) of gates and at least one channel."""
    n = draw(st.integers(1, max_qubits))
    ops = draw(st.lists(gates(n) | channels(n), max_size=max_ops))
    return n, [*ops, draw(channels(n))]


def pauli_words(num_qubits: int) -> st.SearchStrategy[str]:
    """Words over I, X, Y, Z."""
    return st.text("IXYZ", min_size=num_qubits, max_size=num_qubits)


def pauli_terms(num_qubits: int, max_terms: int = 5) -> st.SearchStrategy[dict[str, float]]:
    """Sums of Pauli words, {word: coefficient}."""
    coefficients = st.floats(-2, 2).filter(lambda c: abs(c) > 1e-6)
    return st.dictionaries(pauli_words(num_qubits), coefficients, min_size=1, max_size=max_terms)


def kets(num_qubits: int) -> st.SearchStrategy[np.ndarray]:
    """Random normalised kets."""
    return seeds.map(lambda seed: random_ket(num_qubits, seed))


def density_matrices(num_qubits: int) -> st.SearchStrategy[np.ndarray]:
    """Random density matrices of every rank."""
    ranks = st.integers(1, 2**num_qubits)
    return st.builds(lambda s, r: random_density_matrix(num_qubits, s, r), seeds, ranks)
