"""What the operations of a plan cost: a model of the machine with a handful of constants.

The constants of the CPU were fitted to 729 plans of 51 circuits, measured with XLA on two AVX-512
cores; docs/design/engine.md shows predictions beside measurements.
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["MACHINES", "Machine"]

FAR = 256  # numbers


class Machine(NamedTuple):
    """Seconds per unit of work.

    Attributes:
        start: of a run, however small.
        call: of any operation, however small.
        dense: per number of the state, of a product with a small matrix.
        phase: per number of the state, of one pass of phases.
        move: per number of the state, of a transposition that keeps rows together.
        short: factor on `move` if rows are shorter than `row` numbers.
        row: length of a row in numbers that still moves well.
        far: factor on `move` if many numbers lie behind the axes of a block.
        read: per number of the state, of one pass that reads them in another order.
        flop: of one multiplication and addition, in one large matrix product.
        batched: the same in many small ones.
        build: of the matrices of one form, however few and small.
        product: per entry of such a matrix and product of functions of angles that it is a sum of.
        entry: per entry of such a matrix.
    """

    start: float
    call: float
    dense: float
    phase: float
    move: float
    short: float
    row: int
    far: float
    read: float
    flop: float
    batched: float
    build: float
    product: float
    entry: float

    def matrix(self, size: int, numbers: int, *, outer: int = 1) -> float:
        """A (size, size) matrix applied to `numbers` numbers, `outer` of them before its axes."""
        inside = 1 < outer < numbers // size
        flop = self.batched if inside else self.flop
        copies = self.call + 2 * self.move * outer * size**2 if inside else 0.0  # of the matrix
        return self.call + max(self.dense * numbers, size * flop * numbers) + copies

    def transposition(self, row: int, numbers: int, *, inner: int) -> float:
        """Numbers moved in rows of `row`, with `inner` numbers behind the block's axes then.

        XLA writes the result in the shape that the product wants, and finds the place of every
        number anew where its last axis holds more than a row.
        """
        slow = self.short if row < self.row else self.far if inner > FAR else 1.0
        return self.call / 2 + self.move * slow * numbers

    def permutation(self, numbers: int) -> float:
        """One pass that reads the numbers in another order."""
        return self.call + self.read * numbers

    def phases(self, numbers: int) -> float:
        """One pass of phases, their cosines and sines included."""
        return 4.5 * self.call + self.phase * numbers

    def matrices(self, size: int, parts: int, pieces: Sequence[int], count: int) -> float:
        """`count` matrices (size, size), each a product of pieces.

        Args:
            size: of a matrix.
            parts: 2 if it has an imaginary part, else 1.
            pieces: per piece the products of functions of angles that it is a sum of.
            count: how many are built together.
        """
        entries = parts * size**2
        sums = sum(self.product * products + self.entry for products in pieces)
        constants = self.flop * entries * sum(pieces)  # read once, however many are built
        joined = self.flop * parts**2 * size**3 * count * (len(pieces) - 1)
        return self.build * len(pieces) + entries * count * sums + constants + joined


MACHINES = {
    "cpu": Machine(
        start=1.9e-5, call=7e-7, dense=2.7e-10, phase=2.6e-10, move=9e-10, short=2.5, row=16,
        far=1.9, read=1.1e-9, flop=9.4e-12, batched=1.65e-11, build=6.4e-6, product=1.3e-10,
        entry=7.2e-10,
    ),
    # A data-centre GPU at 2 TB/s, from its data sheet: not measured.
    "gpu": Machine(
        start=1e-5, call=5e-6, dense=4e-12, phase=4e-12, move=5e-12, short=2.0, row=32, far=1.0,
        read=8e-12, flop=1e-13, batched=2e-13, build=2e-5, product=1e-12, entry=1e-11,
    ),
}  # fmt: skip
