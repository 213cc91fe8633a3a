"""What is compared: each workload as plain gates, angles and observables, the same for every peer.

NumPy only, because this file is imported in the environment of every peer.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

__all__ = ["SAVING", "WORKLOADS", "Cell", "Gate", "Problem", "Workload", "make_problem", "select"]

GAMMA = 0.05  # amplitude damping of the noisy workload
FIELD = 1.0  # transverse field of the Ising chain, in units of the coupling
TRAIN_STEPS = 100
LEARNING_RATE = 0.1
SHOTS = 1_000_000
SAVING = "state-saving"

Word = tuple[tuple[int, str], ...]


class Gate(NamedTuple):
    """One operation; its angle, if any, is `theta[index]` or `x[index]`, as `source` says."""

    name: str
    qubits: tuple[int, ...]
    source: str = ""
    index: int = -1
    strength: float = 0.0


@dataclass(frozen=True)
class Cell:
    """A workload at one size."""

    workload: str
    qubits: int
    batch: int = 1
    layers: int = 4
    shots: int = 0
    steps: int = 0

    def label(self) -> str:
        """The size in words; what is not a choice of this workload is left out."""
        parts = [f"n = {self.qubits}", f"{self.layers} layers"]
        if self.batch > 1:
            parts.insert(1, f"batch {self.batch}")
        parts += [f"{self.steps} steps"] if self.steps else []
        parts += [f"{self.shots:,} shots"] if self.shots else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Problem:
    """Everything a peer needs to compute a cell.

    The loss is sum_{b,i} weights_i <words_i>_b / batch. Numbers are float64 that float32 holds
    exactly, so every precision starts from the same ones.
    """

    cell: Cell
    task: str  # "forward", "gradient", "train" or "sample"
    gates: tuple[Gate, ...]
    words: tuple[Word, ...]
    weights: np.ndarray  # (words,)
    theta: np.ndarray  # (angles,)
    xs: np.ndarray  # (batch, features), features = 0 where there are none
    amplitudes: np.ndarray | None = None  # (batch, 2**n), unit vectors

    @property
    def qubits(self) -> int:
        """How many there are."""
        return self.cell.qubits

    @property
    def family(self) -> str:
        """The workload without what is asked of it: "w1" of "w1-grad"."""
        return self.cell.workload.partition("-")[0]

    @property
    def is_noisy(self) -> bool:
        """Whether there are channels among the gates."""
        return any(gate.name == "AmplitudeDamping" for gate in self.gates)

    @property
    def only_z(self) -> bool:
        """Whether the observables are Z on qubit 0, 1, ... in order."""
        return self.words == z_words(self.qubits)


@dataclass(frozen=True)
class Workload:
    """A row of the table of workloads."""

    name: str
    summary: str
    task: str
    build: Callable[[Cell], Problem]
    cells: tuple[Cell, ...]
    toy: tuple[Cell, ...]


def z_words(qubits: int) -> tuple[Word, ...]:
    """Z on each qubit."""
    return tuple(((q, "Z"),) for q in range(qubits))


def xyz_words(qubits: int) -> tuple[Word, ...]:
    """X, Y and Z on each qubit: all X first, then all Y, then all Z."""
    return tuple(((q, letter),) for letter in "XYZ" for q in range(qubits))


def ring(qubits: int) -> list[Gate]:
    """CX between neighbours and, with three qubits or more, from the last to the first."""
    pairs = [(q, q + 1) for q in range(qubits - 1)]
    pairs += [(qubits - 1, 0)] if qubits > 2 else []
    return [Gate("CX", pair) for pair in pairs]


def layer(qubits: int, number: int) -> list[Gate]:
    """RY and RZ on each qubit, then the ring; theta is numbered layer, qubit, RY before RZ."""
    gates = []
    for q in range(qubits):
        first = 2 * (number * qubits + q)
        gates += [Gate("RY", (q,), "theta", first), Gate("RZ", (q,), "theta", first + 1)]
    return gates + ring(qubits)


def encoding(qubits: int, name: str) -> list[Gate]:
    """One rotation by a feature on each qubit."""
    return [Gate(name, (q,), "x", q) for q in range(qubits)]


def _numbers(cell: Cell, *shape: int, scale: float = 1.0, salt: int = 0) -> np.ndarray:
    """Fixed random numbers, rounded to float32."""
    rng = np.random.default_rng([cell.qubits, cell.batch, cell.layers, salt])
    return rng.uniform(-scale, scale, shape).astype(np.float32).astype(np.float64)


def _layered(cell: Cell, before: list[Gate], *, damped: bool = False) -> tuple[Gate, ...]:
    gates = list(before)
    for number in range(cell.layers):
        gates += layer(cell.qubits, number)
        if damped:
            damping = [Gate("AmplitudeDamping", (q,), strength=GAMMA) for q in range(cell.qubits)]
            gates += damping
    return tuple(gates)


def _problem(cell: Cell, gates: tuple[Gate, ...], words: tuple[Word, ...], **more: Any) -> Problem:
    angles = 1 + max(gate.index for gate in gates if gate.source == "theta")
    features = cell.qubits if any(gate.source == "x" for gate in gates) else 0
    values = {
        "theta": _numbers(cell, angles, salt=1),
        "xs": _numbers(cell, cell.batch, features, scale=2.0, salt=2),
        "weights": _numbers(cell, len(words), salt=3),
        **more,
    }
    return Problem(cell, WORKLOADS[cell.workload].task, gates, words, **values)


def _w1(cell: Cell) -> Problem:
    return _problem(cell, _layered(cell, encoding(cell.qubits, "RY")), z_words(cell.qubits))


def _state(cell: Cell) -> Problem:
    return _problem(cell, _layered(cell, []), z_words(cell.qubits))


def _noisy(cell: Cell) -> Problem:
    gates = _layered(cell, encoding(cell.qubits, "RY"), damped=True)
    return _problem(cell, gates, z_words(cell.qubits))


def _amplitude(cell: Cell) -> Problem:
    raw = _numbers(cell, cell.batch, 2**cell.qubits, salt=4)
    amplitudes = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return _problem(cell, _layered(cell, []), xyz_words(cell.qubits), amplitudes=amplitudes)


def _reuploading(cell: Cell) -> Problem:
    gates: list[Gate] = []
    for number in range(cell.layers):
        gates += encoding(cell.qubits, "RX") + layer(cell.qubits, number)
    return _problem(cell, tuple(gates), z_words(cell.qubits))


def _vqe(cell: Cell) -> Problem:
    """H = -sum Z Z - field sum X on an open chain, from |+...+>; theta: per layer RZZ, then RX."""
    n = cell.qubits
    gates = [Gate("H", (q,)) for q in range(n)]
    for number in range(cell.layers):
        first = number * (2 * n - 1)
        gates += [Gate("RZZ", (q, q + 1), "theta", first + q) for q in range(n - 1)]
        gates += [Gate("RX", (q,), "theta", first + n - 1 + q) for q in range(n)]
    words: tuple[Word, ...] = tuple(((q, "Z"), (q + 1, "Z")) for q in range(n - 1))
    words += tuple(((q, "X"),) for q in range(n))
    weights = np.array([-1.0] * (n - 1) + [-FIELD] * n)
    return _problem(cell, tuple(gates), words, weights=weights)


def _row(
    name: str,
    summary: str,
    task: str,
    build: Callable[[Cell], Problem],
    cells: list[tuple[int, int, int]],
    toy: tuple[int, int, int],
    **more: int,
) -> Workload:
    """A workload; sizes are (qubits, batch, layers), and `more` holds for its full size."""
    small = {"shots": 20_000, "steps": 5}
    return Workload(
        name,
        summary,
        task,
        build,
        tuple(Cell(name, *size, **more) for size in cells),
        (Cell(name, *toy, **{key: small[key] for key in more}),),
    )


_W1_SIZES = [(n, batch, 4) for n in (4, 8, 12) for batch in (32, 256)]

_ROWS = (
    _row("w1-forward", "Angle-encoded layer, every Z_i", "forward", _w1, _W1_SIZES, (3, 2, 2)),
    _row(
        "w1-grad", "Angle-encoded layer, loss and gradient", "gradient", _w1, _W1_SIZES, (3, 2, 2)
    ),
    _row(
        "w1-train",
        "Steps of gradient descent on an angle-encoded layer, in one program where a peer can",
        "train",
        _w1,
        [(4, 32, 4)],
        (2, 2, 1),
        steps=TRAIN_STEPS,
    ),
    _row(
        "cold",
        "First gradient of one state in a cold process (look at the first step)",
        "gradient",
        _w1,
        [(16, 1, 4), (16, 1, 64)],
        (3, 1, 3),
    ),
    _row("state-forward", "One large state, every Z_i", "forward", _state, [(20, 1, 8)], (4, 1, 2)),
    _row(
        "state-grad",
        "One large state, loss and gradient",
        "gradient",
        _state,
        [(20, 1, 8)],
        (4, 1, 2),
    ),
    _row(
        SAVING,
        "One large state, loss and gradient, asked to save memory where a peer can",
        "gradient",
        _state,
        [(24, 1, 8)],
        (4, 1, 2),
    ),
    _row(
        "amplitude-forward",
        "Amplitude-encoded inputs, every X_i, Y_i and Z_i",
        "forward",
        _amplitude,
        [(8, 256, 4), (10, 256, 4)],
        (3, 2, 2),
    ),
    _row(
        "amplitude-grad",
        "Amplitude-encoded inputs, loss and gradient",
        "gradient",
        _amplitude,
        [(8, 256, 4), (10, 256, 4)],
        (3, 2, 2),
    ),
    _row(
        "reuploading",
        "Inputs encoded again before each layer, loss and gradient",
        "gradient",
        _reuploading,
        [(4, 32, 4), (8, 32, 4)],
        (3, 2, 2),
    ),
    _row(
        "noisy-forward",
        "Density matrices with amplitude damping after each layer, every Z_i",
        "forward",
        _noisy,
        [(6, 32, 4)],
        (2, 2, 2),
    ),
    _row(
        "noisy-grad",
        "Density matrices with amplitude damping after each layer, loss and gradient",
        "gradient",
        _noisy,
        [(6, 32, 4)],
        (2, 2, 2),
    ),
    _row(
        "vqe",
        "Energy and gradient of a transverse-field Ising chain",
        "gradient",
        _vqe,
        [(20, 1, 10)],
        (4, 1, 2),
    ),
    _row(
        "sampling",
        "One state, then shots of all qubits (the peer's own kind of result)",
        "sample",
        _state,
        [(20, 1, 8)],
        (4, 1, 2),
        shots=SHOTS,
    ),
)

WORKLOADS: dict[str, Workload] = {row.name: row for row in _ROWS}


def make_problem(cell: Cell) -> Problem:
    """Builds what a peer computes; the same numbers in every process."""
    return WORKLOADS[cell.workload].build(cell)


def select(names: list[str], sizes: list[str], *, toy: bool = False) -> list[Cell]:
    """The cells of a command line.

    Args:
        names: workloads; "w1" stands for all that begin with "w1-". All of them if empty.
        sizes: "n", "nxBATCH" or "nxBATCHxLAYERS", instead of each workload's own sizes.
        toy: the smallest sizes.

    Raises:
        ValueError: on an unknown workload or a size that does not parse.
    """
    unknown = [name for name in names if not any(_is_meant(name, row) for row in WORKLOADS)]
    if unknown:
        raise ValueError(
            f"Argument `workloads` has {unknown[0]!r}; choose from {', '.join(WORKLOADS)}, or give "
            "the part before the hyphen for all of a kind."
        )
    rows = [row for row in _ROWS if not names or any(_is_meant(name, row.name) for name in names)]
    cells = []
    for row in rows:
        own = row.toy if toy else row.cells
        cells += [_resized(own[0], size) for size in sizes] if sizes else own
    return cells


def _is_meant(name: str, workload: str) -> bool:
    return workload == name or workload.startswith(f"{name}-")


def _resized(cell: Cell, size: str) -> Cell:
    try:
        numbers = [int(part) for part in size.split("x")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or min(numbers) < 1 or numbers[0] < 2:
        raise ValueError(
            f"Argument `sizes` must hold n, nxBATCH or nxBATCHxLAYERS with n of 2 or more, such as "
            f"8x32, but has {size!r}."
        )
    return replace(cell, **dict(zip(("qubits", "batch", "layers"), numbers, strict=False)))


def cell_from_json(data: dict[str, Any]) -> Cell:
    """The inverse of `cell_to_json`."""
    return Cell(**data)


def cell_to_json(cell: Cell) -> dict[str, Any]:
    """A cell as plain values."""
    return asdict(cell)
