"""Checkpoints: 1 GiB saved and restored beside Orbax, and what a save costs the training thread.

The state is four arrays of Gaussian float32. Each library saves it in a process of its own, by
turns; the clock of a save stops when all files are synced to disk, that of a restore when JAX
arrays are ready, from files in the page cache. Both restore bit for bit, or the program ends with
an error, as it does if qjax takes more than 1.5 times what Orbax takes. Writes
`bench/results/checkpoint.md` and `checkpoint.json`. With --toy it does neither.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _timing import arguments, machine
from flax import nnx

from qjax.nn import models
from qjax.storage._checkpoint import load_checkpoint, save_checkpoint
from qjax.storage._manager import CheckpointManager
from qjax.train import Learner

OUTPUT = Path(__file__).parent / "results" / "checkpoint.md"
COMMAND = "python bench/bench_checkpoint.py"
WORKER = "--worker"
AIM = 1.5
STEP_MS, EVERY = 20.0, 10  # of the training step that the shares are of, and steps between saves


class Turn(NamedTuple):
    """Seconds of one process, and the size on disk."""

    save: float
    restore: float
    mebibytes: float


def qjax_turn(folder: str, state: Any) -> tuple[Callable[[], object], Callable[[], Any]]:
    """How qjax saves and restores."""
    return (
        lambda: save_checkpoint(folder, 1, state),
        lambda: jax.tree.map(jnp.asarray, load_checkpoint(folder, like=state).tree),
    )


def orbax_turn(folder: str, state: Any) -> tuple[Callable[[], object], Callable[[], Any]]:
    """How Orbax does, with its defaults."""
    import orbax.checkpoint as ocp

    checkpointer = ocp.StandardCheckpointer()
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)

    def save() -> None:
        checkpointer.save(f"{folder}/state", state)
        checkpointer.wait_until_finished()

    return save, lambda: checkpointer.restore(f"{folder}/state", abstract)


PEERS = {"qjax": qjax_turn, "orbax": orbax_turn}


def work(peer: str, mebibytes: int) -> None:
    """Takes one turn and prints it as JSON."""
    draw = np.random.default_rng(0)
    shape = (4, mebibytes << 16)  # four arrays of a quarter each
    host = [draw.standard_normal(shape[1], dtype=np.float32) for _ in range(shape[0])]
    state = jax.block_until_ready({f"array{i}": jnp.asarray(a) for i, a in enumerate(host)})
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        save, restore = PEERS[peer](folder, state)
        begin = time.perf_counter()
        save()
        sync_files(Path(folder))
        saved = time.perf_counter()
        restored = jax.block_until_ready(restore())
        end = time.perf_counter()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    for number, array in enumerate(host):
        assert np.asarray(restored[f"array{number}"]).tobytes() == array.tobytes(), peer
    print(json.dumps(Turn(saved - begin, end - saved, size / 2**20)))


def sync_files(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def take_turns(mebibytes: int, rounds: int, folder: str) -> dict[str, list[Turn]]:
    """Alternates the peers, each turn in a fresh process."""
    turns: dict[str, list[Turn]] = {peer: [] for peer in PEERS}
    for number in range(rounds):
        for peer in list(PEERS) if number % 2 == 0 else list(PEERS)[::-1]:
            command = [sys.executable, __file__, WORKER, peer, str(mebibytes)]
            output = subprocess.run(
                command, cwd=folder, check=True, capture_output=True, text=True
            ).stdout
            turns[peer].append(Turn(*json.loads(output.splitlines()[-1])))
    return turns


def ratios(turns: dict[str, list[Turn]]) -> dict[str, float]:
    """The median over rounds of the time of qjax by that of Orbax."""
    pairs = list(zip(turns["qjax"], turns["orbax"], strict=True))
    return {
        what: statistics.median(
            getattr(mine, what) / getattr(theirs, what) for mine, theirs in pairs
        )
        for what in ("save", "restore")
    }


def size_table(turns: dict[str, list[Turn]]) -> str:
    lines = ["| | save, s | restore, s | MiB on disk |", "| --- | --- | --- | --- |"]
    for peer, rows in turns.items():
        save, restore = (
            f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
            for times in ([row.save for row in rows], [row.restore for row in rows])
        )
        lines.append(f"| {peer} | {save} | {restore} | {rows[0].mebibytes:.0f} |")
    cells = " | ".join(f"{ratio:.2f}" for ratio in ratios(turns).values())
    return "\n".join([*lines, f"| **qjax / orbax**, median over rounds | {cells} | |"])


def small_states() -> dict[str, Any]:
    """The training state of quantum-first for 28 x 28 images, and 36 small leaves."""
    model = models.create("quantum-first", num_features=784, num_classes=10, rngs=nnx.Rngs(0))
    return {
        "quantum-first with Adam": Learner(model, optax.adam(0.01)).start(),
        "36 arrays of 8 x 3": {f"array{i}": jnp.full((8, 3), i * 1.0) for i in range(36)},
    }


class Cost(NamedTuple):
    """Of one save of a small state: in the calling thread, and until it is on disk; medians."""

    leaves: int
    in_thread: float
    on_disk: float


def cost(state: Any, saves: int, folder: str) -> Cost:
    """Saves again and again, each when the last one is on disk."""
    again = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 0, tree))
    in_thread, on_disk = [], []
    with CheckpointManager(tempfile.mkdtemp(dir=folder)) as manager:
        for step in range(saves):
            state = jax.block_until_ready(again(state))
            begin = time.perf_counter()
            manager.save(step, state)
            in_thread.append(time.perf_counter() - begin)
            manager.wait()
            on_disk.append(time.perf_counter() - begin)
    leaves = len(jax.tree.leaves(state))
    return Cost(leaves, statistics.median(in_thread), statistics.median(on_disk))


def cost_table(costs: dict[str, Cost]) -> str:
    lines = [
        f"| state | leaves | in the training thread, ms | of a step of {STEP_MS:.0f} ms, % | "
        f"of a step, saving every {EVERY} steps, % | on disk after, ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in costs.items():
        ms = 1e3 * row.in_thread
        share = 100 * ms / STEP_MS
        cells = f"{ms:.3f} | {share:.2f} | {share / EVERY:.3f} | {1e3 * row.on_disk:.1f}"
        lines.append(f"| {name} | {row.leaves} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    """Prints both tables; returns 1 if an aim is missed."""
    options = arguments(__doc__ or "")
    mebibytes, rounds, saves = (8, 1, 5) if options.toy else (1024, 5, 100)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-checkpoint-") as folder:
        costs = {name: cost(state, saves, folder) for name, state in small_states().items()}
        turns = take_turns(mebibytes, rounds, folder)
    missed = [
        f"{what}: {ratio:.2f} times Orbax" for what, ratio in ratios(turns).items() if ratio > AIM
    ]
    missed += [
        f"{name}: {100 * row.in_thread / STEP_MS * 1e3 / EVERY:.2f} % of a step"
        for name, row in costs.items()
        if 1e3 * row.in_thread > 0.01 * STEP_MS * EVERY
    ]
    verdict = "; ".join(missed) or f"At most {AIM} times Orbax, and below 1 % of a step."
    title = f"{mebibytes} MiB of float32, medians of {rounds} turns (and range):"
    second = f"`CheckpointManager.save` of a small state, medians of {saves}:"
    parts = [title, size_table(turns), second, cost_table(costs)]
    print(machine(), *parts, verdict, sep="\n\n")
    if not options.toy:
        write(parts, turns, costs, verdict)
    return int(bool(missed) and not options.toy)


def write(
    parts: list[str], turns: dict[str, list[Turn]], costs: dict[str, Cost], verdict: str
) -> None:
    """Writes the tables, and every number beside them as JSON."""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    versions = {name: version(name) for name in ("zarr", "orbax-checkpoint", "tensorstore")}
    load = f"load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    head = f"# Checkpoints\n\n`{COMMAND}`, {when}.\n\n{machine()}; {named}; {load}."
    OUTPUT.write_text("\n\n".join([head, *parts, verdict]) + "\n")
    content = {
        "command": COMMAND,
        "when": when,
        "machine": machine(),
        "versions": versions,
        "load": load,
        "turns": {peer: [turn._asdict() for turn in rows] for peer, rows in turns.items()},
        "ratios": ratios(turns),
        "costs": {name: row._asdict() for name, row in costs.items()},
    }
    OUTPUT.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        work(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main())
