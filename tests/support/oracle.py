"""A second, independent quantum simulator: dense matrices and Kronecker products in NumPy float64.

Nothing here comes from qjax. Every matrix is written from its textbook definition; qubit 0 is the
leftmost and most significant bit. The adapter at the end is the one place that reads a `Circuit`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, NamedTuple

import numpy as np

PAULIS = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], complex),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]], complex),
}


# --- linear algebra -------------------------------------------------------------------------------


def kron(*factors) -> np.ndarray:
    """The Kronecker product of all factors, leftmost most significant."""
    return reduce(np.kron, factors, np.eye(1, dtype=complex))


def word_matrix(word: str) -> np.ndarray:
    """The matrix of a Pauli word such as `XZI`."""
    return kron(*(PAULIS[letter] for letter in word))


def sum_matrix(terms: Mapping[str, complex]) -> np.ndarray:
    """The matrix of a sum of Pauli words, {word: coefficient}."""
    return np.sum([c * word_matrix(word) for word, c in terms.items()], axis=0)


def hermitian_function(matrix, function: Callable) -> np.ndarray:
    """A scalar function of a Hermitian matrix, through its eigenvectors."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * function(values)) @ vectors.conj().T


def evolution(hamiltonian, t: float) -> np.ndarray:
    """exp(-i t H)."""
    return hermitian_function(hamiltonian, lambda w: np.exp(-1j * t * w))


def controlled(matrix, num_controls: int = 1) -> np.ndarray:
    """The block matrix diag(1, U), once for each control."""
    for _ in range(num_controls):
        size = len(matrix)
        zero = np.zeros((size, size))
        matrix = np.block([[np.eye(size), zero], [zero, matrix]])
    return matrix


def embed(matrix, qubits: Sequence[int], num_qubits: int) -> np.ndarray:
    """The matrix on all qubits: sum of M[a, b] |a><b| as Kronecker products, identity elsewhere."""
    total = np.zeros((2**num_qubits, 2**num_qubits), complex)
    bits = list(product((0, 1), repeat=len(qubits)))
    for (row, a), (column, b) in product(enumerate(bits), repeat=2):
        if matrix[row, column] == 0:
            continue
        factors = [PAULIS["I"]] * num_qubits
        for qubit, bra, ket in zip(qubits, a, b, strict=True):
            factors[qubit] = np.outer(np.eye(2)[bra], np.eye(2)[ket])
        total += matrix[row, column] * kron(*factors)
    return total


# --- gates ----------------------------------------------------------------------------------------


def _rx(t):
    c, s = np.cos(t / 2), np.sin(t / 2)
    return np.array([[c, -1j * s], [-1j * s, c]])


def _ry(t):
    c, s = np.cos(t / 2), np.sin(t / 2)
    return np.array([[c, -s], [s, c]], complex)


def _rz(t):
    return np.diag([np.exp(-0.5j * t), np.exp(0.5j * t)])


def _p(angle):
    return np.diag([1, np.exp(1j * angle)])


def _u(t, phi, lam):
    c, s = np.cos(t / 2), np.sin(t / 2)
    return np.array(
        [[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]]
    )


_H = np.array([[1, 1], [1, -1]], complex) / np.sqrt(2)
_SWAP = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], complex)
_ISWAP = np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]], complex)
_SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2


class Gate(NamedTuple):
    """One row of the oracle's gate table."""

    num_params: int
    num_qubits: int
    matrix: Callable[..., np.ndarray]


def _pair(word):
    return Gate(1, 2, lambda t: evolution(word_matrix(word), t / 2))


GATES = {
    **{name: Gate(0, 1, lambda m=matrix: m) for name, matrix in PAULIS.items()},
    "H": Gate(0, 1, lambda: _H),
    "S": Gate(0, 1, lambda: np.diag([1, 1j])),
    "T": Gate(0, 1, lambda: np.diag([1, (1 + 1j) / np.sqrt(2)])),
    "SX": Gate(0, 1, lambda: _SX),
    "RX": Gate(1, 1, _rx),
    "RY": Gate(1, 1, _ry),
    "RZ": Gate(1, 1, _rz),
    "P": Gate(1, 1, _p),
    "U": Gate(3, 1, _u),
    "CX": Gate(0, 2, lambda: controlled(PAULIS["X"])),
    "CY": Gate(0, 2, lambda: controlled(PAULIS["Y"])),
    "CZ": Gate(0, 2, lambda: controlled(PAULIS["Z"])),
    "CH": Gate(0, 2, lambda: controlled(_H)),
    "SWAP": Gate(0, 2, lambda: _SWAP),
    "ISWAP": Gate(0, 2, lambda: _ISWAP),
    "CRX": Gate(1, 2, lambda t: controlled(_rx(t))),
    "CRY": Gate(1, 2, lambda t: controlled(_ry(t))),
    "CRZ": Gate(1, 2, lambda t: controlled(_rz(t))),
    "CP": Gate(1, 2, lambda angle: np.diag([1, 1, 1, np.exp(1j * angle)])),
    "RXX": _pair("XX"),
    "RYY": _pair("YY"),
    "RZZ": _pair("ZZ"),
    "CCX": Gate(0, 3, lambda: controlled(PAULIS["X"], 2)),
    "CSWAP": Gate(0, 3, lambda: controlled(_SWAP)),
}


# --- channels -------------------------------------------------------------------------------------


def _amplitude_damping(g, excited=0.0):
    decay = [np.diag([1, np.sqrt(1 - g)]), np.array([[0, np.sqrt(g)], [0, 0]])]
    rise = [np.diag([np.sqrt(1 - g), 1]), np.array([[0, 0], [np.sqrt(g), 0]])]
    return [np.sqrt(1 - excited) * K for K in decay] + [np.sqrt(excited) * K for K in rise]


def _phase_damping(strength):
    return [np.diag([1, np.sqrt(1 - strength)]), np.diag([0, np.sqrt(strength)])]


def _pauli_channel(terms):
    rest = 1 - sum(terms.values())
    identity = "I" * len(next(iter(terms)))
    return [np.sqrt(max(p, 0)) * word_matrix(word) for word, p in {identity: rest, **terms}.items()]


def _depolarizing(p, num_qubits):
    words = ["".join(letters) for letters in product("IXYZ", repeat=num_qubits)][1:]
    return _pauli_channel({word: p / len(words) for word in words})


def _thermal_relaxation(t1, t2, time, excited=0.0):
    relax = _amplitude_damping(1 - np.exp(-time / t1), excited)
    dephase = _phase_damping(1 - np.exp(-2 * (time / t2 - time / (2 * t1))))
    return [A @ B for A, B in product(dephase, relax)]


CHANNELS: dict[str, Callable[..., list]] = {
    "AmplitudeDamping": _amplitude_damping,
    "PhaseDamping": _phase_damping,
    "BitFlip": lambda p: _pauli_channel({"X": p}),
    "PhaseFlip": lambda p: _pauli_channel({"Z": p}),
    "PauliChannel": lambda px, py, pz: _pauli_channel({"X": px, "Y": py, "Z": pz}),
    "GeneralizedAmplitudeDamping": _amplitude_damping,
    "ThermalRelaxation": _thermal_relaxation,
    "Reset": lambda: [np.array([[1, 0], [0, 0]]), np.array([[0, 1], [0, 0]])],
}


# --- circuits -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """One operation: `data` is a word, matrix, Kraus list, amplitudes, {word: p} or record name."""

    name: str
    qubits: tuple[int, ...]
    params: tuple = ()
    data: Any = None
    controls: int = 0
    inverse: bool = False
    conditions: tuple[tuple[str, int], ...] = ()
    postselect: int | None = None


def matrix_of(op: Op) -> np.ndarray | None:
    """The matrix on the operation's own qubits, controls first; None if it is not unitary."""
    if op.name in GATES:
        gate: Gate = GATES[op.name]
        matrix = gate.matrix(*op.params)
    elif op.name == "Unitary":
        matrix = np.asarray(op.data, complex)
    elif op.name == "PauliRotation":
        matrix = evolution(word_matrix(op.data), op.params[0] / 2)
    elif op.name == "Evolution":
        matrix = evolution(sum_matrix(op.data), op.params[0])
    else:
        return None
    return controlled(matrix.conj().T if op.inverse else matrix, op.controls)


def kraus_of(op: Op) -> list[np.ndarray]:
    """The Kraus operators on the operation's own qubits (one, if it is unitary)."""
    matrix = matrix_of(op)
    if matrix is not None:
        return [matrix]
    if op.name == "StatePreparation":
        return [np.outer(op.data, np.eye(len(op.data))[0])]
    if op.name == "Kraus":
        return [np.asarray(K, complex) for K in op.data]
    if op.name == "Depolarizing":
        return _depolarizing(op.params[0], len(op.qubits))
    if op.name == "PauliChannel" and op.data is not None:
        return _pauli_channel(op.data)
    return CHANNELS[op.name](*op.params)


def as_density_matrix(state) -> np.ndarray:
    """A ket as |psi><psi|; a density matrix as it is."""
    state = np.asarray(state, complex)
    return np.outer(state, state.conj()) if state.ndim == 1 else state


def _zero(num_qubits: int) -> np.ndarray:
    return np.eye(2**num_qubits, dtype=complex)[0]


def unitary(num_qubits: int, ops: Sequence[Op]) -> np.ndarray:
    """The matrix of a circuit of gates."""
    matrices = [embed(kraus_of(op)[0], op.qubits, num_qubits) for op in ops]
    return reduce(lambda total, m: m @ total, matrices, np.eye(2**num_qubits, dtype=complex))


def statevector(num_qubits: int, ops: Sequence[Op], initial_state=None) -> np.ndarray:
    """The ket after a circuit of gates and state preparations."""
    ket = _zero(num_qubits) if initial_state is None else np.asarray(initial_state, complex)
    return unitary(num_qubits, ops) @ ket


def branches(num_qubits: int, ops: Sequence[Op], initial_state=None) -> list[tuple]:
    """Every measurement record: pairs (density matrix weighted by its probability, record)."""
    start = _zero(num_qubits) if initial_state is None else initial_state
    found = [(as_density_matrix(start), {})]
    for op in ops:
        found = [new for rho, record in found for new in _step(op, rho, record, num_qubits)]
    return found


def _step(op: Op, rho, record: dict, num_qubits: int) -> list[tuple]:
    if any(record[name] != value for name, value in op.conditions) or op.name == "ReadoutError":
        return [(rho, record)]
    if op.name != "Measure":
        full = [embed(K, op.qubits, num_qubits) for K in kraus_of(op)]
        return [(sum(K @ rho @ K.conj().T for K in full), record)]
    outcomes = (0, 1) if op.postselect is None else (op.postselect,)
    split = []
    for bit in outcomes:
        projector = embed(np.diag(np.eye(2)[bit]), op.qubits, num_qubits)
        split.append((projector @ rho @ projector, {**record, op.data: bit}))
    return split


def density_matrix(num_qubits: int, ops: Sequence[Op], initial_state=None) -> np.ndarray:
    """The state averaged over all records, normalised (which matters under post-selection)."""
    total = sum(rho for rho, _ in branches(num_qubits, ops, initial_state))
    return total / np.trace(total)


# --- functions of a state -------------------------------------------------------------------------


def expectation(state, observable) -> float:
    """tr(rho O), with O a matrix or {word: coefficient}."""
    matrix = sum_matrix(observable) if isinstance(observable, Mapping) else observable
    return float(np.real(np.trace(as_density_matrix(state) @ matrix)))


def variance(state, observable) -> float:
    """tr(rho O^2) - tr(rho O)^2."""
    matrix = sum_matrix(observable) if isinstance(observable, Mapping) else observable
    return expectation(state, matrix @ matrix) - expectation(state, matrix) ** 2


def partial_trace(state, keep: Sequence[int]) -> np.ndarray:
    """The reduced state of the kept qubits, in the order given, summed element by element."""
    rho = as_density_matrix(state)
    n = int(np.log2(len(rho)))
    rest = [q for q in range(n) if q not in keep]
    reduced = np.zeros((2 ** len(keep), 2 ** len(keep)), complex)

    def index(kept, traced):
        bits = dict(zip([*keep, *rest], [*kept, *traced], strict=True))
        return sum(bits[q] << (n - 1 - q) for q in range(n))

    kept_bits = list(product((0, 1), repeat=len(keep)))
    for (row, a), (column, b) in product(enumerate(kept_bits), repeat=2):
        for c in product((0, 1), repeat=len(rest)):
            reduced[row, column] += rho[index(a, c), index(b, c)]
    return reduced


def probabilities(state, qubits=None, readout: Mapping[int, tuple] | None = None) -> np.ndarray:
    """Outcome probabilities of the qubits, through {qubit: (p01, p10)} readout errors if any."""
    n = int(np.log2(len(state)))
    p = np.real(np.diag(as_density_matrix(state)))
    for qubit, (p01, p10) in (readout or {}).items():
        p = np.real(embed(np.array([[1 - p01, p10], [p01, 1 - p10]]), (qubit,), n)) @ p
    return np.real(np.diag(partial_trace(np.diag(p), range(n) if qubits is None else qubits)))


def fidelity(a, b) -> float:
    """Uhlmann's (tr sqrt(sqrt(a) b sqrt(a)))^2."""
    root = hermitian_function(as_density_matrix(a), lambda w: np.sqrt(np.where(w > 1e-14, w, 0)))
    values = np.linalg.eigvalsh(root @ as_density_matrix(b) @ root)
    return float(np.sum(np.sqrt(values[values > 1e-14])) ** 2)


def purity(state) -> float:
    """tr(rho^2)."""
    rho = as_density_matrix(state)
    return float(np.trace(rho @ rho).real)


def trace_distance(a, b) -> float:
    """Half the sum of the absolute eigenvalues of a - b."""
    difference = as_density_matrix(a) - as_density_matrix(b)
    return float(np.abs(np.linalg.eigvalsh(difference)).sum() / 2)


def von_neumann_entropy(state) -> float:
    """-tr(rho log rho), in nats."""
    values = np.linalg.eigvalsh(as_density_matrix(state))
    values = values[values > 1e-14]
    return float(-np.sum(values * np.log(values)))


def renyi_entropy(state, alpha: float) -> float:
    """log(tr(rho^alpha)) / (1 - alpha), in nats."""
    values = np.linalg.eigvalsh(as_density_matrix(state))
    return float(np.log(np.sum(values[values > 1e-14] ** alpha)) / (1 - alpha))


# --- the adapter: the one place that knows qjax's attributes --------------------------------------


def from_circuit(circuit) -> list[Op]:
    """The operations of a `qjax.Circuit` with concrete angles, read through public attributes."""
    return [_from_operation(operation) for operation in circuit.operations]


def _from_operation(operation) -> Op:
    controls = len(operation.controls)
    whole = operation.name in GATES
    name = operation.name if whole else operation.name[controls:]
    params = tuple(float(p) for p in operation.params)
    data, postselect = operation.detail, None
    if name in ("Unitary", "Kraus", "StatePreparation"):
        data = np.asarray(operation.data)
    elif name == "Measure":
        data, postselect = operation.detail
    elif name == "Evolution":
        data, params = dict(zip(operation.detail[0], params, strict=True)), (1.0,)
    elif name == "PauliChannel":
        data = dict(zip(operation.detail, params, strict=True))
    return Op(
        name,
        tuple(operation.qubits),
        params,
        data,
        controls=0 if whole else controls,
        inverse=operation.adjoint,
        conditions=operation.conditions,
        postselect=postselect,
    )
