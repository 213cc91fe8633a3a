"""The plan's choice against all of its strategies: predicted and measured time of a run.

The circuits are those of `bench_layer`: an angle encoding and layers of RY, RZ and a ring of CX. A
strategy is a bound on the size of a block's matrix, with phases, or phases and CX, apart from
matrices or within; strategies that come to the same blocks are one. All strategies of a circuit are
compiled first and then run by turns. Writes `bench/results/plan.md` and `plan.json`; with --toy, it
does neither.
"""

import itertools
import json
import statistics
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _timing import arguments, machine

import qjax as qj
from qjax.sim._engine import evolve
from qjax.sim._lowering import lower_pure
from qjax.sim._plan import (
    Plan,
    Strategy,
    Task,
    default_device,
    plan_factors,
    plan_with,
    strategies,
)

OUTPUT = Path(__file__).parent / "results" / "plan.md"
COMMAND = "python bench/bench_plan.py"

NEAR = 1.3  # times the best
WANTED = 0.9  # of all circuits
ROUND_SECONDS = 2e-3  # of one strategy in one round, unless a call takes longer
LARGEST_STATE = 2**20  # numbers of all samples


def all_plans(circuit: qj.Circuit, task: Task) -> tuple[Plan, dict[Strategy, Plan]]:
    """The plan that is chosen, and all that differ."""
    factors = lower_pure(circuit.structure, task.leaves, task.data)
    dims = (2,) * circuit.num_qubits
    chosen = plan_factors(factors, dims, task)
    plans = {chosen.way: chosen}
    for way in strategies(factors, dims, task):
        plan = plan_with(factors, dims, task, way)
        if all(_blocks(plan) != _blocks(other) for other in plans.values()):
            plans[way] = plan
    return chosen, plans


def _blocks(plan: Plan) -> Any:
    return [
        (segment.repeats, [(b.kind, b.sites, b.factors) for b in segment.blocks])
        for segment in plan.segments
    ]


def measure(plans: list[Plan], params: list[jax.Array], rounds: int) -> list[float]:
    """Median seconds of a run of each plan, measured by turns."""
    calls = []
    for plan in plans:
        run = jax.jit(partial(_evolve, plan))
        jax.block_until_ready(run(params))
        once = min(_clock(run, params, 1) for _ in range(3))
        calls.append((run, max(1, round(ROUND_SECONDS / once))))
    times: list[list[float]] = [[] for _ in plans]
    for turn in range(rounds):
        for i in range(len(plans)):
            place = (i + turn) % len(plans)
            times[place].append(_clock(calls[place][0], params, calls[place][1]))
    return [statistics.median(each) for each in times]


def _evolve(plan: Plan, params: list[jax.Array]) -> jax.Array:
    return evolve(plan, params, [], None, jnp.dtype("float32"))


def _clock(run: Any, params: list[jax.Array], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(run(params))
    return (time.perf_counter() - start) / repeats


def row(n: int, batch: int, depth: int, rounds: int) -> dict[str, Any]:
    """All strategies of one circuit, in microseconds."""
    rng = np.random.default_rng(0)
    theta = jnp.asarray(rng.uniform(-np.pi, np.pi, (depth, n, 2)), "float32")
    x = jnp.asarray(rng.uniform(-np.pi, np.pi, (batch, n)), "float32")
    circuit = qj.angle_encoding(x[0]) + qj.hardware_efficient(theta, "circular")
    batched = batch > 1
    task = Task(batch=batch, leaves=frozenset([0] if batched else []), device=default_device())
    chosen, plans = all_plans(circuit, task)
    times = measure(list(plans.values()), [x.T if batched else x[0], theta.reshape(-1)], rounds)
    mine = times[list(plans.values()).index(chosen)]
    return {
        "qubits": n,
        "batch": batch,
        "depth": depth,
        "largest": chosen.way.largest,
        "apart": _apart(chosen.way),
        "predicted_us": 1e6 * chosen.seconds,
        "measured_us": 1e6 * mine,
        "best_us": 1e6 * min(times),
        "strategies": [
            {
                **way._asdict(),
                "predicted_us": 1e6 * plan.seconds,
                "measured_us": 1e6 * seconds,
            }
            for (way, plan), seconds in zip(plans.items(), times, strict=True)
        ],
    }


def _apart(way: Strategy) -> str:
    names = [name for name, flag in (("phases", way.split), ("CX", way.permute)) if flag]
    return " and ".join(names) or "nothing"


HEAD = (
    "| qubits | batch | depth | blocks up to | apart | predicted, µs | measured, µs | best, µs "
    "| ratio |",
    "|" + " ---: |" * 4 + " --- |" + " ---: |" * 4,
)


def line(one: dict[str, Any]) -> str:
    """A line of the table."""
    ratio = one["measured_us"] / one["best_us"]
    cells = [one[name] for name in ("qubits", "batch", "depth", "largest", "apart")]
    times = [f"{one[name]:.0f}" for name in ("predicted_us", "measured_us", "best_us")]
    return "| " + " | ".join(map(str, [*cells, *times, f"{ratio:.2f}"])) + " |"


def main() -> None:
    """Prints a line per circuit, and in how many the choice is near the best."""
    options = arguments(__doc__ or "")
    grid = list(itertools.product((4, 6, 8, 10, 12, 14), (1, 32, 256), (2, 4, 8)))
    grid = [(n, b, d) for n, b, d in grid if 2**n * b <= LARGEST_STATE]
    grid = [(3, 4, 2)] if options.toy else grid
    print(machine(), "", *HEAD, sep="\n")
    rows = []
    for cell in grid:
        rows.append(row(*cell, rounds=3 if options.toy else 15))
        print(line(rows[-1]), flush=True)
    near = sum(one["measured_us"] <= NEAR * one["best_us"] for one in rows)
    share = f"{near} of {len(rows)} within {NEAR} times the best; wanted: {WANTED:.0%}."
    print("", share, sep="\n")
    if options.toy:
        return
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    parts = [
        f"# The choice of the plan\n\n`{COMMAND}`, {when}.\n\n{machine()}.",
        "\n".join([*HEAD, *map(line, rows)]),
        share,
    ]
    OUTPUT.write_text("\n\n".join(parts) + "\n")
    content = {"command": COMMAND, "when": when, "machine": machine(), "rows": rows}
    OUTPUT.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
