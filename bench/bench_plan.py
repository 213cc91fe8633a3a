"""The plan's choice against all of its strategies: predicted and measured time of a run.

The circuits are those of `bench_layer`: an angle encoding and layers of RY, RZ and a ring of CX. A
strategy is a bound on the size of a block's matrix, with phases apart from matrices or within.
"""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from _timing import arguments, machine, median_call

import qjax as qj
from qjax.sim._engine import evolve
from qjax.sim._lowering import lower_pure
from qjax.sim._plan import LARGEST_BLOCKS, Plan, Task, default_device, plan_factors, plan_with


def strategies(circuit: qj.Circuit, task: Task) -> tuple[Plan, list[Plan]]:
    """The plan that is chosen, and one plan per strategy."""
    factors = lower_pure(circuit.structure, task.leaves, task.data)
    dims = (2,) * circuit.num_qubits
    plans = [
        plan_with(factors, dims, task, largest=largest, split=split)
        for split, largest in itertools.product((True, False), LARGEST_BLOCKS)
        if largest <= max(math.prod(dims), 8)
    ]
    return plan_factors(factors, dims, task), plans


def seconds(plan: Plan, params: list[jax.Array], repeats: int) -> float:
    """Median time of a run."""
    run = jax.jit(lambda p: evolve(plan, p, [], None, jnp.dtype("float32")))
    return median_call(partial(run, params), repeats=repeats)


def main() -> None:
    """Prints a line per circuit, and in how many the choice is within 1.3 times the best."""
    options = arguments(__doc__ or "")
    grid = list(itertools.product((4, 6, 8, 10, 12, 14), (1, 32, 256), (2, 4, 8)))
    grid = [(n, b, d) for n, b, d in grid if 2**n * b <= 2**20]
    grid = [(3, 4, 2)] if options.toy else grid
    rng = np.random.default_rng(0)
    print(machine())
    print("  n batch depth  chosen (size, phases)   predicted us  measured us  best us  ratio")
    close = 0
    for n, batch, depth in grid:
        theta = jnp.asarray(rng.uniform(-np.pi, np.pi, (depth, n, 2)))
        x = jnp.asarray(rng.uniform(-np.pi, np.pi, (batch, n)))
        circuit = qj.angle_encoding(x[0]) + qj.hardware_efficient(theta, "circular")
        batched = batch > 1
        task = Task(batch=batch, leaves=frozenset([0] if batched else []), device=default_device())
        params = [x.T if batched else x[0], theta.reshape(-1)]
        chosen, plans = strategies(circuit, task)
        repeats = 3 if options.toy else 15
        times = [seconds(plan, params, repeats) for plan in plans]
        best = min(times)
        mine = next(
            t
            for t, p in zip(times, plans, strict=True)
            if (p.largest, p.split) == (chosen.largest, chosen.split)
        )
        close += mine <= 1.3 * best
        where = "apart" if chosen.split else "within"
        print(
            f"{n:3d} {batch:5d} {depth:5d}  {chosen.largest:4d} {where:>7s} "
            f"{1e6 * chosen.seconds:22.1f} {1e6 * mine:12.1f} {1e6 * best:8.1f} {mine / best:6.2f}",
            flush=True,
        )
    print(f"within 1.3 times the best: {close} of {len(grid)}")


if __name__ == "__main__":
    main()
