"""IonQ's native compiler beside those of qiskit-ionq and cirq-ionq: gates, time, price.

Every compiler gets the same circuits. Qiskit's row is the best of optimisation levels 1 to 3, with
and without qiskit-ionq's own passes. What each returns is checked against the exact probabilities
of the circuit. `--toy` runs qjax alone.
"""

import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import qjax as qj
from bench._install import ROOT, prepare_environment
from bench._native_circuits import Row, amplitude_rows, rows
from bench._registry import Peer
from bench._timing import arguments, machine
from qjax.ionq import GATESETS, IonQNativeCompiler, Machine
from qjax.ionq._compiler._compiler import _compiled

COMMAND = "python bench/bench_compiler.py"
OUTPUT = ROOT / "bench" / "results" / "compiler.md"
SHOTS = 10_000
FIXED = "The fixed set"
AIM = 0.3  # of the fixed set: how much shorter than each gate alone, on average
PEERS = {
    "qiskit-ionq": ("_compile_qiskit.py", ("qiskit", "qiskit-ionq")),
    "cirq-ionq": ("_compile_cirq.py", ("cirq-ionq",)),
}
BUILD = {
    "h": qj.H, "cp": qj.CP, "swap": qj.SWAP, "cx": qj.CX, "ry": qj.RY, "rz": qj.RZ, "rx": qj.RX,
    "rzz": qj.RZZ, "ccx": qj.CCX,
}  # fmt: skip


class Result(NamedTuple):
    """What one compiler made of one circuit."""

    one: int
    two: int
    seconds: float
    error: float  # largest difference of probabilities
    how: str = ""


def build(row: Row) -> qj.Circuit:
    operations = []
    for name, numbers, qubits in row.ops:
        if name == "prepare":
            amplitudes = np.array([complex(*pair) for pair in numbers])
            operations.append(qj.StatePreparation(amplitudes, qubits))
        else:
            operations.append(BUILD[name](*numbers, *qubits))
    return qj.Circuit(row.num_qubits, operations)


def apply(state: np.ndarray, matrix: np.ndarray, qubits: list[int]) -> np.ndarray:
    """A matrix on some axes of a state of shape (2, ..., 2)."""
    k = len(qubits)
    product = np.tensordot(matrix.reshape((2,) * (2 * k)), state, (range(k, 2 * k), qubits))
    return np.moveaxis(product, range(k), qubits)


def axis(p: float) -> np.ndarray:
    return np.array([[0, np.exp(-2j * np.pi * p)], [np.exp(2j * np.pi * p), 0]])


def native_matrix(name: str, numbers: list[float]) -> np.ndarray:
    if name == "zz":
        return np.diag(np.exp(-1j * np.pi * numbers[0] * np.array([1, -1, -1, 1])))
    if name == "gpi":
        return axis(numbers[0])
    if name == "gpi2":
        return (np.eye(2) - 1j * axis(numbers[0])) * np.sqrt(0.5)
    angle = np.pi * numbers[2]
    both = np.kron(axis(numbers[0]), axis(numbers[1]))
    return np.cos(angle) * np.eye(4) - 1j * np.sin(angle) * both


def probabilities(n: int, gates: list, positions: list[int]) -> np.ndarray:
    """Of native gates on |0...0>, with qubit q read from ion positions[q]."""
    state = np.zeros((2,) * n, complex)
    state[(0,) * n] = 1
    for name, numbers, qubits in gates:
        state = apply(state, native_matrix(name, numbers), qubits)
    return abs(state.transpose(positions).ravel()) ** 2


def native_gates(circuit: qj.Circuit) -> list:
    return [
        [o.name.lower(), [float(p) for p in o.params], list(o.qubits)] for o in circuit.operations
    ]


def compile_here(
    row: Row, gateset: str, exact: np.ndarray, repeats: int, optimize: str = "fewest"
) -> Result:
    """Median time of compilations from nothing."""
    compiler = IonQNativeCompiler(gateset, optimize=optimize)
    circuit = build(row)
    times = []
    for _ in range(repeats):
        _compiled.cache_clear()
        start = time.perf_counter()
        native = compiler.compile(circuit)
        times.append(time.perf_counter() - start)
    found = probabilities(row.num_qubits, native_gates(native.circuit), list(native.positions))
    error = float(abs(found - exact).max())
    counts = native.num_one_qubit_gates, native.num_two_qubit_gates
    return Result(*counts, statistics.median(times), error)


def each_gate_alone(row: Row, gateset: str, frames: str) -> tuple[int, int]:
    """Pulses and two-qubit gates when every gate is compiled by itself.

    With frames="return" these count as free, as if the next gate took them over.
    """
    compiler = IonQNativeCompiler(gateset, frames=frames)
    one = two = 0
    for operation in build(row).operations:
        native = compiler.compile(qj.Circuit(row.num_qubits, [operation]))
        one += native.num_one_qubit_gates
        two += native.num_two_qubit_gates
    return one, two


def compile_there(
    name: str, table: list[Row], gateset: str, exact: dict[str, np.ndarray]
) -> tuple[dict[str, Result], dict[str, str]]:
    """A peer's results, in its own environment and process."""
    script, requirements = PEERS[name]
    environment = prepare_environment(Peer(name, requirements, requirements))
    if environment.python is None:
        raise SystemExit(f"bench: {name} {environment.problem}")
    run = subprocess.run(
        [str(environment.python), str(ROOT / "bench" / script)],
        input=json.dumps({"gateset": gateset, "rows": table}),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(f"bench: {name} failed: {run.stderr[-2000:]}")
    answer = json.loads(run.stdout)
    sizes = {row.name: row.num_qubits for row in table}
    results = {}
    for row, found in answer["rows"].items():
        values = probabilities(sizes[row], found["gates"], found["positions"])
        error = float(abs(values - exact[row]).max())
        counts = found["one"], found["two"]
        results[row] = Result(counts[0], counts[1], found["seconds"], error, found["how"])
    return results, answer["versions"]


def measure(table: list[Row], gateset: str, with_peers: bool) -> dict[str, Any]:
    """All compilers on all rows of one gate set."""
    exact = {row.name: np.asarray(qj.probabilities(build(row)), float) for row in table}
    repeats = 5 if with_peers else 1
    found: dict[str, Any] = {
        "qjax": {r.name: compile_here(r, gateset, exact[r.name], repeats) for r in table},
        "exact": {r.name: compile_here(r, gateset, exact[r.name], 1, "exact") for r in table},
        "alone": {r.name: each_gate_alone(r, gateset, "emit") for r in table},
        "alone, free frames": {r.name: each_gate_alone(r, gateset, "return") for r in table},
        "versions": {},
    }
    for name in PEERS if with_peers else ():
        found[name], versions = compile_there(name, table, gateset, exact)
        found["versions"] |= versions
    return found


def cell(result: Result | None, what: str) -> str:
    if result is None:
        return "-"
    return f"{1e3 * result.seconds:.0f}" if what == "seconds" else str(getattr(result, what))


def gate_table(table: list[Row], found: dict[str, Any], ions: Machine) -> str:
    """One line a circuit."""
    peers = [name for name in PEERS if name in found]
    columns = ["qjax", *peers]
    head = ["circuit", *(f"two-qubit, {c}" for c in columns), *(f"pulses, {c}" for c in columns)]
    head += ["shot alone, ms", "shot, ms", "shorter, %", "price alone, $", "price, $"]
    head += [f"compile, ms, {c}" for c in columns]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    for row in table:
        results = [found[c].get(row.name) for c in columns]
        mine, alone = found["qjax"][row.name], found["alone"][row.name]
        before, after = ions.shot_time(alone[0], alone[1]), ions.shot_time(mine.one, mine.two)
        prices = ions.price(alone[0], alone[1], SHOTS), ions.price(mine.one, mine.two, SHOTS)
        cells = [row.name, *(cell(r, "two") for r in results), *(cell(r, "one") for r in results)]
        cells += [f"{1e3 * before:.1f}", f"{1e3 * after:.1f}", f"{100 * (1 - after / before):.0f}"]
        cells += [f"{price:.0f}" for price in prices]
        cells += [cell(r, "seconds") for r in results]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shortening(table: list[Row], found: dict[str, Any], ions: Machine, alone: str) -> float:
    """By what share a shot is shorter than with each gate alone, on average."""
    shares = []
    for row in table:
        mine = found["qjax"][row.name]
        before = ions.shot_time(*found[alone][row.name])
        shares.append(1 - ions.shot_time(mine.one, mine.two) / before)
    return statistics.mean(shares)


def more_than_the_better(mine: dict[str, Result], found: dict[str, Any]) -> list[str]:
    """The circuits that take more gates on two qubits than with the better of the peers."""
    more = []
    for row, result in mine.items():
        theirs = [found[name][row].two for name in PEERS if row in found.get(name, {})]
        if theirs and result.two > min(theirs):
            more.append(row)
    return more


def verdicts(
    table: list[Row], found: dict[str, Any], ions: Machine, aim: float
) -> tuple[list[str], list[str]]:
    """What holds, and which aims are missed."""
    mine = found["qjax"]
    mean = shortening(table, found, ions, "alone")
    free = shortening(table, found, ions, "alone, free frames")
    said = [
        f"A shot is {100 * mean:.0f} % shorter on average than with each gate compiled alone and "
        f"its frames written as pulses; {100 * free:.0f} % where frames between gates are free."
    ]
    missed = [] if mean >= aim else [f"only {100 * mean:.0f} % shorter than each gate alone"]
    more = more_than_the_better(found["exact"], found)
    if peers := [name for name in PEERS if found.get(name)]:
        held = f"more on {', '.join(more)}" if more else "no more on any circuit"
        best = f"the better of {' and '.join(peers)}" if len(peers) > 1 else peers[0]
        said.append(f'With optimize="exact", two-qubit gates beside {best}: {held}.')
    missed += [f"{r}: more two-qubit gates than a peer with optimize='exact'" for r in more]
    worst = max(r.error for name in ("qjax", "exact") for r in found[name].values())
    errors = [f"qjax {worst:.1g}"]
    missed += [f"qjax is wrong by {worst:.2g}"] if worst > 1e-9 else []
    for name in PEERS:
        if not found.get(name):  # not asked, or it compiles none of them
            continue
        theirs = found[name]
        more = [r for r in theirs if mine[r].two > theirs[r].two]
        missed += [f"{r}: more two-qubit gates than {name}" for r in more]
        sums = [sum(x[r].one for r in theirs) for x in (mine, theirs)]
        twos = [sum(x[r].two for r in theirs) for x in (mine, theirs)]
        times = [sum(x[r].seconds for r in theirs) for x in (mine, theirs)]
        missed += [f"more pulses than {name}"] if sums[0] >= sums[1] else []
        off = max(r.error for r in theirs.values())
        errors.append(f"{name} {off:.1g}")
        said.append(
            f"On the {len(theirs)} circuits that {name} compiles: two-qubit gates {twos[0]} to its "
            f"{twos[1]}, pulses {sums[0]} to {sums[1]}, compile time {times[0]:.2f} s to "
            f"{times[1]:.2f} s."
        )
    return [*said, f"Largest error of a probability: {', '.join(errors)}."], missed


def main() -> int:
    """Prints the tables; returns 1 if an aim is missed."""
    jax.config.update("jax_enable_x64", True)
    options = arguments(__doc__ or "")
    groups = {
        FIXED: rows(options.toy),
        "Amplitude encodings": amplitude_rows(options.toy),
    }
    parts, missed, content = [], [], {}
    for gateset in GATESETS:
        ions = IonQNativeCompiler(gateset).machine
        for title, table in groups.items():
            found = measure(table, gateset, not options.toy)
            said, wrong = verdicts(table, found, ions, AIM if table is groups[FIXED] else 0.0)
            parts += [f"## {title}, {gateset} ({ions.name})", gate_table(table, found, ions), *said]
            missed += [f"{gateset}: {text}" for text in wrong]
            content[f"{gateset}, {title}"] = jsonable(found)
    parts.append("Missed: " + "; ".join(missed) if missed else "All aims are met.")
    print(machine(), *parts, sep="\n\n")
    if not options.toy:
        write(parts, content)
    return int(bool(missed) and not options.toy)


def jsonable(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {k: v._asdict() if isinstance(v, Result) else v for k, v in values.items()}
        for name, values in found.items()
    }


def write(parts: list[str], content: dict[str, Any]) -> None:
    """Writes the tables, and every number beside them as JSON."""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    versions = next(iter(content.values()))["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    head = (
        f"# Native compilers\n\n`{COMMAND}`, {when}.\n\n{machine()}; {named}.\n\n"
        f"Prices are those of {SHOTS:,} shots without error mitigation. Alone means that each gate "
        "is compiled by itself, in the tables with its frames written as pulses. qjax ran with "
        '`optimize="fewest"`: like Qiskit from level 2 on, it may relabel qubits instead of '
        "swapping them. Compile times are medians of 5 for qjax, single runs for the others."
    )
    OUTPUT.write_text("\n\n".join([head, *parts]) + "\n")
    numbers = {"command": COMMAND, "when": when, "machine": machine(), "results": content}
    OUTPUT.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
