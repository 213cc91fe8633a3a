"""How the variance of a derivative falls with the number of qubits, by initialiser of the angles.

The circuit is the hardware-efficient one on |0...0>, as deep as it is wide, the derivative that in
one RY of its middle layer, by the parameter-shift rule, over random starts. The local cost is Z of
the first qubit, the global one Z of all qubits. `bound` is the lower bound for Gaussian angles of
`docs/design/plateaus.md`. Identity blocks have an ansatz of their own: halves of two layers, n/2
blocks, read as X of the first qubit, and the derivative is that in the first RY of a middle block.
The last column is how many binary orders of magnitude are lost per qubit.
"""

import math
from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from _timing import arguments, machine

import qjax as qj
from qjax.nn import GaussianAngles, IdentityBlockAngles, NarrowUniformAngles, uniform_angles

CHUNK = 100

Draw = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def mean_squares(
    cost: Callable[[jax.Array], jax.Array],
    draw: Draw,
    shape: tuple[int, ...],
    place: tuple[int, ...],
    chunks: int,
) -> float:
    """The mean over starts of the square of the derivative of a cost in the angle at a place."""
    shift = jnp.zeros(shape).at[place].set(math.pi / 2)
    squares = []
    for key in jax.random.split(jax.random.key(0), chunks):
        theta = jax.vmap(lambda k: draw(k, shape))(jax.random.split(key, CHUNK))
        slopes = (cost(theta + shift) - cost(theta - shift)) / 2
        squares.append(np.mean(np.square(slopes)))
    return float(np.mean(squares))


def words_of_z(word: set[int], num_qubits: int, depth: int) -> list[set[int]]:
    """Where the word of Z has letters in front of the CX of each layer, first layer first."""
    found = []
    for _ in range(depth):
        for control in reversed(range(num_qubits - 1)):
            word = word ^ {control} if control + 1 in word else word
        found.append(word)
    return found[::-1]


def layered_row(n: int, word: set[int], chunks: int) -> dict[str, float]:
    """Variances in the hardware-efficient circuit, and the bound for Gaussian angles."""
    shape, met = (n, n, 2), words_of_z(word, n, n)
    place = (n // 2, min(met[n // 2]), 0)
    observable = reduce(lambda a, b: a @ b, map(qj.Z, sorted(word)))
    cost = jax.jit(lambda theta: qj.expectation(qj.hardware_efficient(theta), observable))
    draws: dict[str, Draw] = {
        "uniform": uniform_angles,
        "Gaussian": GaussianAngles(locality=len(word)),
        "narrow uniform": NarrowUniformAngles(locality=len(word)),
    }
    row = {name: mean_squares(cost, draw, shape, place, chunks) for name, draw in draws.items()}
    cos2 = (1 + math.exp(-2 / (len(word) * 2 * n))) / 2
    row["bound"] = (1 - cos2) * cos2 ** (sum(map(len, met)) - 1)
    return row


def identity_blocks(theta: jax.Array) -> qj.Circuit:
    """Halves, each followed by the inverse of another, of angles (..., blocks, 2, 2, n, 2)."""
    circuit = qj.Circuit(theta.shape[-2])
    for block in range(theta.shape[-5]):
        first, second = (theta[..., block, half, :, :, :] for half in (0, 1))
        circuit += qj.hardware_efficient(first) + qj.hardware_efficient(second).inverse()
    return circuit


def block_row(n: int, chunks: int) -> dict[str, float]:
    """Variances in the circuit of blocks."""
    shape, place = (n // 2, 2, 2, n, 2), (n // 4, 0, 0, 0, 0)
    cost = jax.jit(lambda theta: qj.expectation(identity_blocks(theta), qj.X(0)))
    draws: dict[str, Draw] = {"uniform": uniform_angles, "identity blocks": IdentityBlockAngles()}
    return {name: mean_squares(cost, draw, shape, place, chunks) for name, draw in draws.items()}


def print_table(title: str, sizes: tuple[int, ...], rows: list[dict[str, float]]) -> None:
    """A line per initialiser, with a fitted loss per qubit."""
    print(f"\n| {title} | " + " | ".join(f"n = {n}" for n in sizes) + " | per qubit |")
    print("| --- " * (len(sizes) + 2) + "|")
    for name in rows[0]:
        values = [row[name] for row in rows]
        loss = -np.polyfit(sizes, np.log2(values), 1)[0] + 0.0
        print(f"| {name} | " + " | ".join(f"{v:.5f}" for v in values) + f" | {loss:.2f} |")


def main() -> None:
    """Prints a table per cost."""
    options = arguments(__doc__ or "")
    sizes = (2, 3) if options.toy else (2, 4, 6, 8, 10, 12)
    chunks = 1 if options.toy else 10
    print(machine())
    print(f"{chunks * CHUNK} starts")
    print_table("local", sizes, [layered_row(n, {0}, chunks) for n in sizes])
    print_table("global", sizes, [layered_row(n, set(range(n)), chunks) for n in sizes])
    print_table("blocks", sizes, [block_row(n, chunks) for n in sizes])


if __name__ == "__main__":
    main()
