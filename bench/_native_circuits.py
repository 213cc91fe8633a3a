"""The circuits that compilers are compared on, as plain gate lists that every library can build."""

import math
import random
from typing import NamedTuple

__all__ = ["Row", "amplitude_rows", "rows"]

Op = tuple[str, list, list[int]]  # name, angles or (real, imaginary) amplitudes, qubits


class Row(NamedTuple):
    """One circuit."""

    name: str
    num_qubits: int
    ops: list[Op]


def qft(n: int) -> Row:
    ops: list[Op] = []
    for i in range(n):
        ops.append(("h", [], [i]))
        ops += [("cp", [math.pi / 2 ** (j - i)], [j, i]) for j in range(i + 1, n)]
    ops += [("swap", [], [i, n - 1 - i]) for i in range(n // 2)]
    return Row(f"QFT {n}", n, ops)


def ghz(n: int) -> Row:
    ops: list[Op] = [("h", [], [0])]
    ops += [("cx", [], [i, i + 1]) for i in range(n - 1)]
    return Row(f"GHZ {n}", n, ops)


def hardware_efficient(n: int, depth: int, ring: bool) -> Row:
    rng = random.Random(n * 100 + depth)
    ops: list[Op] = []
    for _ in range(depth):
        for q in range(n):
            ops += [(name, [rng.uniform(-math.pi, math.pi)], [q]) for name in ("ry", "rz")]
        ops += [("cx", [], [q, q + 1]) for q in range(n - 1)]
        ops += [("cx", [], [n - 1, 0])] if ring else []
    return Row(f"HEA {'ring' if ring else 'line'} {n}x{depth}", n, ops)


def qaoa(name: str, n: int, edges: list[tuple[int, int]], layers: int) -> Row:
    rng = random.Random(n)
    ops: list[Op] = [("h", [], [q]) for q in range(n)]
    for _ in range(layers):
        gamma, beta = rng.uniform(0.1, 1.4), rng.uniform(0.1, 1.4)
        ops += [("rzz", [gamma], list(edge)) for edge in edges]
        ops += [("rx", [2 * beta], [q]) for q in range(n)]
    return Row(f"QAOA {name} {n}x{layers}", n, ops)


def ladder(controls: int) -> Row:
    """X with many controls: Toffolis onto clean ancillas, and the same in reverse order."""
    n = 2 * controls - 1
    up: list[Op] = [("ccx", [], [0, 1, controls])]
    for k in range(2, controls - 1):
        up.append(("ccx", [], [k, controls + k - 2, controls + k - 1]))
    top: Op = ("ccx", [], [controls - 1, n - 2, n - 1])
    return Row(f"Toffoli ladder {n}", n, [*up, top, *up[::-1]])


def staircase(n: int) -> Row:
    return Row(f"Toffoli stairs {n}", n, [("ccx", [], [i, i + 1, i + 2]) for i in range(n - 2)])


def amplitudes(n: int, real: bool) -> Row:
    rng = random.Random(n)
    values = [complex(rng.gauss(0, 1), 0 if real else rng.gauss(0, 1)) for _ in range(2**n)]
    norm = math.sqrt(sum(abs(v) ** 2 for v in values))
    pairs = [[v.real / norm, v.imag / norm] for v in values]
    kind = "real" if real else "complex"
    return Row(f"amplitudes, {kind}, {n}", n, [("prepare", pairs, list(range(n)))])


def rows(toy: bool = False) -> list[Row]:
    """The fixed set."""
    if toy:
        return [qft(4), ghz(4), staircase(3)]
    ring6 = [(q, (q + 1) % 6) for q in range(6)]
    cube = [(a, a ^ bit) for a in range(8) for bit in (1, 2, 4) if a < a ^ bit]
    full5 = [(a, b) for a in range(5) for b in range(a + 1, 5)]
    return [
        *(qft(n) for n in range(4, 9)),
        *(ghz(n) for n in (4, 8)),
        *(
            hardware_efficient(n, depth, ring)
            for n in (4, 6, 8)
            for depth, ring in ((3, False), (4, True))
        ),
        qaoa("ring", 6, ring6, 2),
        qaoa("cube", 8, cube, 2),
        qaoa("complete", 5, full5, 3),
        *(ladder(k) for k in (3, 4, 5)),
        *(staircase(n) for n in (3, 5, 8)),
    ]


def amplitude_rows(toy: bool = False) -> list[Row]:
    """Amplitude encodings."""
    sizes = (3,) if toy else range(4, 9)
    return [amplitudes(n, real) for n in sizes for real in (True, False)]
