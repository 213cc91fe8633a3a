"""A Bell pair: its circuit, its state, its correlations, and shots from it."""

import argparse

import jax

import qjax as qj


def main(shots: int) -> None:
    """Prints the circuit, its amplitudes, three correlations and the counts of `shots` shots."""
    bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
    print(bell)
    print("amplitudes  ", qj.statevector(bell).round(4))

    # XX and ZZ agree and YY disagrees, with certainty: no product state does all three.
    correlations = [P(0) @ P(1) for P in (qj.X, qj.Y, qj.Z)]
    print("XX YY ZZ    ", qj.expectation(bell, correlations).round(4))
    reduced = qj.partial_trace(bell, (0,))
    print("entropy     ", qj.von_neumann_entropy(reduced, base=2).round(4), "bit")

    counts = qj.counts(bell, shots, jax.random.key(0))
    print(f"{shots} shots  ", counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shots", type=int, default=1000)
    parser.add_argument("--smoke", action="store_true", help="the small size that the tests run")
    options = parser.parse_args()
    main(shots=100 if options.smoke else options.shots)
