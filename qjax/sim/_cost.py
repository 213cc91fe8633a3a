"""What the operations of a plan cost: a model of the machine with a handful of constants.

The constants of the CPU were measured with XLA on two AVX-512 cores; docs/design/engine.md shows
predictions beside measurements.
"""

from typing import NamedTuple

__all__ = ["MACHINES", "Machine"]

FAR = 256  # numbers


class Machine(NamedTuple):
    """Seconds per unit of work.

    Attributes:
        call: of any operation, however small.
        dense: per number of the state, of a product with a small matrix.
        phase: per number of the state, of one pass of phases.
        move: per number of the state, of a transposition that keeps rows together.
        short: factor on `move` if rows are shorter than `row` numbers.
        row: length of a row in numbers that still moves well.
        far: factor on `move` if many numbers lie behind the axes of a block.
        flop: of one multiplication and addition, in one large matrix product.
        batched: the same in many small ones.
        build: per entry of a matrix built from angles, and of the constants it is built from.
    """

    call: float
    dense: float
    phase: float
    move: float
    short: float
    row: int
    far: float
    flop: float
    batched: float
    build: float

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

    def phases(self, numbers: int) -> float:
        """One pass of phases, their cosines and sines included."""
        return 4 * self.call + self.phase * numbers

    def matrices(self, size: int, products: int, count: int) -> float:
        """`count` matrices (size, size) as sums over so many products of functions of angles."""
        return 4 * self.call + self.build * size * size * (products + count)


MACHINES = {
    "cpu": Machine(
        call=2.5e-6, dense=2.1e-10, phase=1.6e-10, move=2.4e-10, short=4.0, row=16, far=3.0,
        flop=5.5e-12, batched=1.3e-11, build=3e-10,
    ),
    # A data-centre GPU at 2 TB/s, from its data sheet: not measured.
    "gpu": Machine(
        call=5e-6, dense=4e-12, phase=4e-12, move=5e-12, short=2.0, row=32, far=1.0,
        flop=1e-13, batched=2e-13, build=1e-11,
    ),
}  # fmt: skip
