"""Measures a cell: workers are started one after the other, then take turns, round by round."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench._install import Environment
from bench._process import Failed, Refused, WorkerProcess
from bench._registry import Peer
from bench._worker import decode
from bench._workloads import Cell, cell_to_json

__all__ = ["CellResult", "Limits", "Row", "compare_cell", "largest_difference"]

ABSOLUTE = 5e-5  # single precision: some hundred gates, sums of up to 2**26 numbers
RELATIVE = 1e-4  # of the largest entry of the reference
SIGMAS = 6.0  # samples against samples

PAUSE = 0.05  # seconds between two workers, in which threads that spin fall asleep

Arrays = Mapping[str, np.ndarray]
Start = Callable[[Peer, Any], WorkerProcess]


@dataclass(frozen=True)
class Limits:
    """How long to measure.

    Args:
        rounds: turns of every worker.
        turn: seconds of calls in one turn.
        calls: most calls in one turn.
        first: seconds after which a first step, or a call, is given up.
        in_all: seconds of calls of one worker; a slow one gets fewer rounds.
        starts: processes in which the first step of a peer is timed.
    """

    rounds: int = 5
    turn: float = 0.3
    calls: int = 200
    first: float = 600.0
    in_all: float = 60.0
    starts: int = 1


@dataclass
class Row:
    """One peer at one cell.

    Its status is "ok", "reference", "unsupported", "not installed", "failed" or "MISMATCH". Of
    several first steps, all are in `starts`, and the one of median time is `first`, of two in the
    middle the faster one.
    """

    peer: str
    status: str = "ok"
    reason: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    difference: float | None = None

    @property
    def steady(self) -> float | None:
        """Median over the rounds, in seconds."""
        return float(np.median([r["median_s"] for r in self.rounds])) if self.rounds else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; a difference that is no number is null."""
        found = self.difference
        finite = found if found is not None and np.isfinite(found) else None
        return {**asdict(self), "difference": finite, "steady_s": self.steady}

    @property
    def has_failed(self) -> bool:
        """Whether the comparison as a whole is to fail."""
        return self.status in ("failed", "MISMATCH")


@dataclass
class CellResult:
    """All rows of a cell."""

    cell: Cell
    rows: list[Row]
    reference: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [row.to_json() for row in self.rows]
        return {"cell": cell_to_json(self.cell), "reference": self.reference, "rows": rows}


def compare_cell(
    cell: Cell,
    peers: Mapping[str, tuple[Peer, Environment]],
    limits: Limits,
    *,
    start: Start = WorkerProcess,
) -> CellResult:
    """Runs one cell on all peers and compares their values.

    Args:
        cell: what.
        peers: name -> peer and its environment.
        limits: how long.
        start: makes the process of a peer.
    """
    rows = {name: Row(name) for name in peers}
    workers: dict[str, WorkerProcess] = {}
    values: dict[str, Arrays] = {}
    try:
        for name, (peer, environment) in peers.items():
            if environment.python is None:
                rows[name].status, rows[name].reason = "not installed", environment.problem
                continue
            workers[name] = start(peer, environment.python)
            arrays = _begin(cell, rows[name], workers, limits)
            if arrays is not None:
                values[name] = arrays
            if peer.is_oracle and name in workers:
                rows[name].status = "reference"
                workers.pop(name).stop()
        _start_again(cell, rows, workers, peers, limits, start)
        _take_turns(rows, workers, limits)
    finally:
        for worker in workers.values():
            worker.stop()
    result = CellResult(cell, list(rows.values()), _choose_reference(peers, rows, values))
    _check_values(cell, rows, values, result.reference)
    return result


def _begin(
    cell: Cell, row: Row, workers: dict[str, WorkerProcess], limits: Limits
) -> Arrays | None:
    """Times the first step of a worker and takes its values; the worker waits after that."""
    worker = workers[row.peer]
    try:
        row.about = worker.hello()
        row.first = worker.ask("first", limits.first, cell=cell_to_json(cell))
        row.starts.append(row.first)
        arrays = worker.ask("result", limits.first)["arrays"]
    except (Failed, Refused) as problem:
        _give_up(row, workers, problem)
        return None
    return {name: decode(data) for name, data in arrays.items()}


def _start_again(
    cell: Cell,
    rows: dict[str, Row],
    workers: dict[str, WorkerProcess],
    peers: Mapping[str, tuple[Peer, Environment]],
    limits: Limits,
    start: Start,
) -> None:
    """Times further first steps, each in a process of its own, peer after peer."""
    for _ in range(1, limits.starts):
        for name in list(workers):
            peer, environment = peers[name]
            assert environment.python is not None  # or it would not be among the workers
            time.sleep(PAUSE)
            again = start(peer, environment.python)
            try:
                again.hello()
                first = again.ask("first", limits.first, cell=cell_to_json(cell))
            except (Failed, Refused) as problem:
                _give_up(rows[name], workers, problem)
                continue
            finally:
                again.stop()
            row = rows[name]
            row.starts.append(first)
            ranked = sorted(row.starts, key=lambda each: each["first_s"])
            row.first = ranked[(len(ranked) - 1) // 2]


def _give_up(row: Row, workers: dict[str, WorkerProcess], problem: Exception) -> None:
    row.status = "unsupported" if isinstance(problem, Refused) else "failed"
    row.reason = str(problem)
    workers.pop(row.peer).stop()


def _take_turns(rows: dict[str, Row], workers: dict[str, WorkerProcess], limits: Limits) -> None:
    for number in range(limits.rounds):
        for name in list(workers):
            spent = sum(r["median_s"] * r["calls"] for r in rows[name].rounds)
            if number and spent > limits.in_all:
                continue
            time.sleep(PAUSE)
            _one_turn(rows[name], workers, limits)


def _one_turn(row: Row, workers: dict[str, WorkerProcess], limits: Limits) -> None:
    options = {"seconds": limits.turn, "most": limits.calls}
    try:
        row.rounds.append(workers[row.peer].ask("measure", limits.first, **options))
    except Failed as problem:
        _give_up(row, workers, problem)


def _choose_reference(
    peers: Mapping[str, Any], rows: Mapping[str, Row], values: Mapping[str, Arrays]
) -> str:
    """The oracle if it has values, else a peer in double precision, else the first."""
    oracles = [name for name in values if peers[name][0].is_oracle]
    doubles = [name for name in values if rows[name].about["precision"] == "complex128"]
    return next(iter([*oracles, *doubles, *values]), "")


def _check_values(
    cell: Cell, rows: dict[str, Row], values: Mapping[str, Arrays], reference: str
) -> None:
    for name, arrays in values.items():
        if name == reference:
            continue
        row = rows[name]
        row.difference = largest_difference(arrays, values[reference])
        excess = _excess(cell, arrays, values[reference])
        if not excess <= 1 and row.status == "ok":
            row.status = "MISMATCH"
            row.reason = f"differs from {reference} by {row.difference:.1e}"


def largest_difference(found: Arrays, wanted: Arrays) -> float:
    """Largest absolute difference; infinite where names or shapes differ, or numbers are not."""
    if found.keys() != wanted.keys():
        return float("inf")
    return max(_difference(found[name], wanted[name]) for name in wanted)


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max(initial=0.0))


def _excess(cell: Cell, found: Arrays, wanted: Arrays) -> float:
    """Difference over tolerance, at its worst."""
    if found.keys() != wanted.keys():
        return float("inf")
    return max(
        _difference(found[name], wanted[name]) / tolerance(cell, wanted[name]) for name in wanted
    )


def tolerance(cell: Cell, wanted: np.ndarray) -> float:
    """What two right answers may differ by: rounding, or the scatter of samples."""
    if cell.shots:
        return SIGMAS * (2 / cell.shots) ** 0.5
    return ABSOLUTE + RELATIVE * float(np.abs(wanted).max(initial=0.0))
