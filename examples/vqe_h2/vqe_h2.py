"""The ground-state energy of H2 by a variational circuit, in both precisions."""

import argparse

import jax
import optax

import qjax as qj

# STO-3G at a bond length of 0.735 angstrom, parity mapping reduced to two qubits, in hartree.
ELECTRONIC = {
    "II": -1.052373245772859,
    "IZ": 0.39793742484318045,
    "ZI": -0.39793742484318045,
    "ZZ": -0.01128010425623538,
    "XX": 0.18093119978423156,
}
NUCLEAR_REPULSION = 0.719968994449
EXACT = -1.1373060358


def ground_state_energy(steps: int, depth: int = 2) -> tuple[str, float]:
    """Minimises the energy of a hardware-efficient circuit.

    Args:
        steps: number of Adam steps.
        depth: layers of the ansatz.

    Returns:
        The dtype that the state had, and the total energy in hartree.
    """
    hamiltonian = qj.PauliSum.from_strings(ELECTRONIC)

    def energy(theta):
        return qj.expectation(qj.hardware_efficient(theta), hamiltonian)

    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps))

    def step(carry, _):
        theta, state = carry
        value, gradient = jax.value_and_grad(energy)(theta)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(theta, updates), state), value

    @jax.jit
    def minimise(theta):
        (theta, _), _ = jax.lax.scan(step, (theta, optimizer.init(theta)), length=steps)
        return energy(theta)

    theta = 0.3 * jax.random.normal(jax.random.key(0), (depth, 2, 2))
    dtype = qj.statevector(qj.hardware_efficient(theta)).dtype
    return str(dtype), float(minimise(theta)) + NUCLEAR_REPULSION


def main(steps: int) -> None:
    """Prints the energy in complex64 and in complex128, beside the exact one."""
    for x64 in (False, True):
        with jax.enable_x64(x64):
            dtype, energy = ground_state_energy(steps)
        print(f"{dtype:<11} {energy:.10f} Ha   off by {abs(energy - EXACT):.1e}")
    print(f"{'exact':<11} {EXACT:.10f} Ha")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--smoke", action="store_true", help="the small size that the tests run")
    options = parser.parse_args()
    main(steps=20 if options.smoke else options.steps)
