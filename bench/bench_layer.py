"""A batched circuit layer, value and gradient: fused blocks and loops against a block per gate.

RY(x_i) on each of n qubits, then four layers of RY and RZ on each qubit and a ring of CX; the sum
of all <Z_i> is differentiated in the angles, averaged over a batch of 32.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from _timing import arguments, machine, median_call

import qjax as qj
from qjax.measure import planar_expectations
from qjax.sim._primitive import evolve_state

LAYERS, BATCH = 4, 32


def mean_loss(theta: jax.Array, xs: jax.Array, *, fuse: bool) -> jax.Array:
    """Mean over the batch of the sum of all <Z_i>."""

    def one(x: jax.Array) -> jax.Array:
        circuit = qj.angle_encoding(x) + qj.hardware_efficient(theta, "circular")
        state = evolve_state(circuit.structure, circuit.params, circuit.data, fuse=fuse)
        words = [((q, "Z"),) for q in range(circuit.num_qubits)]
        return planar_expectations(state.reshape(2, -1), words).sum()

    return jax.vmap(one)(xs).mean()


def main() -> None:
    """Prints seconds to compile and milliseconds per call for both, and their ratios."""
    options = arguments(__doc__ or "")
    rng = np.random.default_rng(0)
    print(machine())
    print(
        " n   compile, s: gates  plan  ratio   call, ms: gates   plan  ratio   largest difference"
    )
    for n in (3,) if options.toy else (4, 8, 12):
        theta = jnp.asarray(rng.uniform(-np.pi, np.pi, (LAYERS, n, 2)))
        xs = jnp.asarray(rng.uniform(-np.pi, np.pi, (BATCH, n)))
        compile_s, call_ms, gradients = [], [], []
        for fuse in (False, True):
            program = jax.jit(jax.value_and_grad(partial(mean_loss, fuse=fuse))).lower(theta, xs)
            start = time.perf_counter()
            compiled = program.compile()
            compile_s.append(time.perf_counter() - start)
            call_ms.append(1e3 * median_call(compiled, theta, xs))
            gradients.append(compiled(theta, xs)[1])
        differs = float(jnp.abs(gradients[0] - gradients[1]).max())
        assert differs < 1e-4
        print(
            f"{n:2d} {compile_s[0]:18.2f} {compile_s[1]:5.2f} {compile_s[0] / compile_s[1]:6.1f} "
            f"{call_ms[0]:17.2f} {call_ms[1]:6.2f} {call_ms[0] / call_ms[1]:6.1f} {differs:20.1e}"
        )


if __name__ == "__main__":
    main()
