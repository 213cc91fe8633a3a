"""Elements as gates of a chosen basis: one set of one-qubit gates and one gate on two qubits."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from qjax.circuit import CX, CZ, RX, RXX, RY, RYY, RZ, RZZ, SX, GateConstructor, U
from qjax.errors import CircuitError
from qjax.linalg import kak_factors, zyz_angles
from qjax.transforms._elements import Element, Local, Pair, Turn
from qjax.transforms._linear import Linear, Number
from qjax.transforms._matrices import EYE, TO_Z, H, rotation

__all__ = ["Basis", "Placed", "as_basis"]

_ZERO = 1e-12


class Placed(NamedTuple):
    """A gate of the table on given qubits."""

    gate: GateConstructor
    qubits: tuple[int, ...]
    numbers: tuple[Number, ...] = ()


_Locals = Callable[[int, float, float, float], list[Placed]]


def _u(qubit: int, theta: float, phi: float, lam: float) -> list[Placed]:
    return [Placed(U, (qubit,), (theta, phi, lam))]


def _euler(middle: GateConstructor, quarter: float) -> _Locals:
    """RZ, a rotation about Y or X, RZ; those by zero are left out."""

    def rule(qubit: int, theta: float, phi: float, lam: float) -> list[Placed]:
        if abs(theta) < _ZERO:
            return _turns(qubit, phi + lam)
        return [
            *_turns(qubit, lam - quarter),
            Placed(middle, (qubit,), (theta,)),
            *_turns(qubit, phi + quarter),
        ]

    return rule


def _with_sx(qubit: int, theta: float, phi: float, lam: float) -> list[Placed]:
    if abs(theta) < _ZERO:
        return _turns(qubit, phi + lam)
    root = Placed(SX, (qubit,))
    return [
        *_turns(qubit, lam),
        root,
        *_turns(qubit, theta + np.pi),
        root,
        *_turns(qubit, phi + np.pi),
    ]


def _turns(qubit: int, angle: float) -> list[Placed]:
    rest = (angle + np.pi) % (2 * np.pi) - np.pi
    return [Placed(RZ, (qubit,), (rest,))] if abs(rest) > _ZERO else []


_ONE_QUBIT: dict[frozenset[str], _Locals] = {
    frozenset({"U"}): _u,
    frozenset({"RZ", "RY"}): _euler(RY, 0.0),
    frozenset({"RZ", "RX"}): _euler(RX, np.pi / 2),
    frozenset({"RZ", "SX"}): _with_sx,
}
_TWO_QUBIT = {gate.__name__: gate for gate in (RZZ, RXX, RYY, CX, CZ)}


class Basis(NamedTuple):
    """How to write elements.

    Attributes:
        names: of all gates.
        locals: writes U(theta, phi, lam).
        pair: the gate on two qubits.
    """

    names: frozenset[str]
    locals: _Locals
    pair: GateConstructor

    def write(self, elements: Iterable[Element]) -> list[Placed]:
        """The gates that a product of elements becomes, up to a global phase."""
        writer = _Writer(self)
        for element in elements:
            if isinstance(element, Pair):
                writer.pair(element)
            elif isinstance(element, Local):
                writer.local(element.qubits[0], element.matrix)
            elif isinstance(element, Turn):
                for part in _parts(element.angle):
                    writer.turn(element.qubits[0], part)
            else:
                for part in _parts(element.angle):
                    writer.ising(element.qubits, part)
        return writer.finish()


class _Writer:
    """The gates so far, and per qubit the known matrix that has not been written yet."""

    def __init__(self, basis: Basis):
        self.basis = basis
        self.gates: list[Placed] = []
        self.waiting: dict[int, np.ndarray] = {}

    def local(self, qubit: int, matrix: np.ndarray) -> None:
        self.waiting[qubit] = matrix @ self.waiting.get(qubit, EYE)

    def _place(self, gate: GateConstructor, qubits: tuple[int, ...], *numbers: Number) -> None:
        for qubit in qubits:
            self._flush(qubit)
        self.gates.append(Placed(gate, qubits, numbers))

    def _flush(self, qubit: int) -> None:
        matrix = self.waiting.pop(qubit, None)
        if matrix is None:
            return
        theta, phi, lam, _ = zyz_angles(matrix)
        if abs(theta) > _ZERO or _turns(qubit, phi + lam):
            self.gates += self.basis.locals(qubit, theta, phi, lam)

    def finish(self) -> list[Placed]:
        for qubit in list(self.waiting):
            self._flush(qubit)
        return self.gates

    def turn(self, qubit: int, angle: Number) -> None:
        if not isinstance(angle, Linear):
            self.local(qubit, rotation("Z", angle))
        elif "RZ" in self.basis.names:
            self._place(RZ, (qubit,), angle)
        else:
            self._place(U, (qubit,), 0.0, 0.0, angle)

    def both(self, qubits: tuple[int, int], matrix: np.ndarray) -> None:
        """A known matrix on two qubits each."""
        for qubit in qubits:
            self.local(qubit, matrix)

    def ising(self, qubits: tuple[int, int], angle: Number, letter: str = "Z") -> None:
        """exp(-i angle/2 PP)."""
        pair = self.basis.pair
        if pair in (RZZ, RXX, RYY):
            # From the letter to Z, and from there to the gate's own.
            change = TO_Z[pair.__name__[1]].conj().T @ TO_Z[letter]
            self.both(qubits, change)
            self._place(pair, qubits, angle)
            self.both(qubits, change.conj().T)
            return
        self.both(qubits, TO_Z[letter])
        if isinstance(angle, Linear):
            self.cx(*qubits)
            self.turn(qubits[1], angle)
            self.cx(*qubits)
        elif abs(abs(angle) - np.pi / 2) < _ZERO:  # RZZ(-pi/2) = CZ RZ(-pi/2) RZ(-pi/2)
            self.cz(*qubits)
            self.both(qubits, rotation("Z", angle))
        else:
            self.two_coordinates(qubits, 0.0, -angle / 2)
        self.both(qubits, TO_Z[letter].conj().T)

    def cz(self, control: int, target: int) -> None:
        if self.basis.pair is CZ:
            self._place(CZ, (control, target))
        else:
            self.local(target, H)
            self._place(CX, (control, target))
            self.local(target, H)

    def cx(self, control: int, target: int) -> None:
        self.local(target, H)
        self.cz(control, target)
        self.local(target, H)

    def two_coordinates(self, qubits: tuple[int, int], x: float, z: float) -> None:
        """exp(i (x XX + z ZZ)): CX turns XX and ZZ into X and Z."""
        a, b = qubits
        self.cx(a, b)
        self.local(a, rotation("X", -2 * x))
        self.local(b, rotation("Z", -2 * z))
        self.cx(a, b)

    def three_coordinates(self, qubits: tuple[int, int], x: float, y: float, z: float) -> None:
        """exp(i (x XX + y YY + z ZZ)) with three CX.

        References:
            Vatan and Williams, Phys. Rev. A 69, 032315 (2004).
        """
        a, b = qubits
        self.local(b, rotation("Z", -np.pi / 2))
        self.cx(b, a)
        self.local(a, rotation("Z", np.pi / 2 - 2 * z))
        self.local(b, rotation("Y", 2 * x - np.pi / 2))
        self.cx(a, b)
        self.local(b, rotation("Y", np.pi / 2 - 2 * y))
        self.cx(b, a)
        self.local(a, rotation("Z", np.pi / 2))

    def pair(self, element: Pair) -> None:
        """A known gate on two qubits, by its interaction."""
        factors, qubits = kak_factors(element.matrix), element.qubits
        for qubit, matrix in zip(qubits, factors.right, strict=True):
            self.local(qubit, matrix)
        x, y, z = factors.coordinates
        letters = [p for p, c in zip("XYZ", (x, y, z), strict=True) if abs(c) > _ZERO]
        if len(letters) <= 1 or self.basis.pair not in (CX, CZ):
            for letter in letters:
                self.ising(qubits, -2 * factors.coordinates["XYZ".index(letter)], letter)
        elif len(letters) == 3:
            self.three_coordinates(qubits, x, y, z)
        elif "Y" not in letters:
            self.two_coordinates(qubits, x, z)
        else:  # YY takes the place of XX, or of ZZ, whichever is not there
            change = np.diag([1, 1j]) if "X" not in letters else rotation("X", np.pi / 2)
            self.both(qubits, change.conj().T)
            self.two_coordinates(qubits, *((y, z) if "X" not in letters else (x, y)))
            self.both(qubits, change)
        for qubit, matrix in zip(qubits, factors.left, strict=True):
            self.local(qubit, matrix)


def _parts(angle: Number) -> list[Number]:
    """An angle as a sum of forms in one unknown each, which a circuit can name."""
    if not isinstance(angle, Linear):
        return [angle]
    parts: list[Number] = [Linear(0.0, {key: factor}) for key, factor in angle.terms.items()]
    parts[0] = parts[0] + angle.constant
    return parts


def as_basis(names: Sequence[str]) -> Basis:
    """The basis of some gate names.

    Raises:
        CircuitError: if they are not one of the known sets.
    """
    given = frozenset(names)
    pairs = sorted(given & set(_TWO_QUBIT))
    rule = _ONE_QUBIT.get(given - set(_TWO_QUBIT))
    if len(pairs) != 1 or rule is None:
        ones = ", ".join("+".join(sorted(names)) for names in _ONE_QUBIT)
        raise CircuitError(
            f"Argument `basis` must name a set of one-qubit gates ({ones}) and one of "
            f"{', '.join(_TWO_QUBIT)}, but is {tuple(names)!r}."
        )
    return Basis(given, rule, _TWO_QUBIT[pairs[0]])
