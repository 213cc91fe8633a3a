"""The gates that OpenQASM's two libraries define, as rows name -> operations.

Rows hold the gates of `qelib1.inc` and `stdgates.inc` that are more than a renaming of one
another; a program may define further gates itself.
"""

from collections.abc import Callable
from math import pi
from typing import Any, NamedTuple

import qjax.circuit as qc
from qjax.circuit import Operation

__all__ = ["GATES", "Row"]


class Row(NamedTuple):
    """A gate of the libraries.

    Attributes:
        num_angles: how many angles it takes.
        num_qubits: how many qubits it acts on.
        build: angles, then qubits -> the operations, in order.
        phase: angles -> global phase that the gate has in version 3 on top of its operations.
    """

    num_angles: int
    num_qubits: int
    build: Callable[..., list[Operation]]
    phase: Callable[..., Any] | None = None


def _plain(gate: Any) -> Row:
    angles = len(gate.kind.parameters or ())
    qubits = (gate.kind.num_targets or 0) + gate.num_controls
    return Row(angles, qubits, lambda *values: [gate(*values)])


def _inverse(gate: Any) -> Row:
    return _plain(gate)._replace(build=lambda *values: [gate(*values).inverse()])


def _u2(phi: Any, lam: Any, qubit: int) -> list[Operation]:
    return [qc.U(pi / 2, phi, lam, qubit)]


def _cu(theta: Any, phi: Any, lam: Any, gamma: Any, control: int, target: int) -> list[Operation]:
    return [qc.P(gamma, control), qc.U(theta, phi, lam, target).controlled(control)]


def _cu3(theta: Any, phi: Any, lam: Any, control: int, target: int) -> list[Operation]:
    return [qc.U(theta, phi, lam, target).controlled(control)]


def _rccx(a: int, b: int, c: int) -> list[Operation]:
    """A Toffoli gate up to phases, after Margolus."""
    t, back = qc.T(c), qc.T(c).inverse()
    return [qc.H(c), t, qc.CX(b, c), back, qc.CX(a, c), t, qc.CX(b, c), back, qc.H(c)]


def _x_under(num_controls: int) -> Row:
    return Row(0, num_controls + 1, lambda *q: [qc.X(q[-1]).controlled(*q[:-1])])


GATES: dict[str, Row] = {
    "id": _plain(qc.I),
    "x": _plain(qc.X),
    "y": _plain(qc.Y),
    "z": _plain(qc.Z),
    "h": _plain(qc.H),
    "s": _plain(qc.S),
    "sdg": _inverse(qc.S),
    "t": _plain(qc.T),
    "tdg": _inverse(qc.T),
    "sx": _plain(qc.SX),
    "sxdg": _inverse(qc.SX),
    "rx": _plain(qc.RX),
    "ry": _plain(qc.RY),
    "rz": _plain(qc.RZ),
    "p": _plain(qc.P),
    "phase": _plain(qc.P),
    "u1": _plain(qc.P),
    # stdgates.inc defines u2 and u3 such that their determinant is 1, as that of a rotation.
    "u2": Row(2, 1, _u2, phase=lambda phi, lam: (phi + lam) / -2),
    "u3": _plain(qc.U)._replace(phase=lambda theta, phi, lam: (phi + lam) / -2),
    "u": _plain(qc.U),
    # OpenQASM 3 defines U(theta, phi, lam) with the phase exp(i theta/2) in front.
    "U": _plain(qc.U)._replace(phase=lambda theta, phi, lam: theta / 2),
    "cx": _plain(qc.CX),
    "CX": _plain(qc.CX),
    "cy": _plain(qc.CY),
    "cz": _plain(qc.CZ),
    "ch": _plain(qc.CH),
    "csx": Row(0, 2, lambda c, t: [qc.SX(t).controlled(c)]),
    "cp": _plain(qc.CP),
    "cphase": _plain(qc.CP),
    "cu1": _plain(qc.CP),
    "crx": _plain(qc.CRX),
    "cry": _plain(qc.CRY),
    "crz": _plain(qc.CRZ),
    "cu3": Row(3, 2, _cu3),
    "cu": Row(4, 2, _cu),
    "swap": _plain(qc.SWAP),
    "iswap": _plain(qc.ISWAP),
    "rxx": _plain(qc.RXX),
    "ryy": _plain(qc.RYY),
    "rzz": _plain(qc.RZZ),
    "ccx": _plain(qc.CCX),
    "ccz": Row(0, 3, lambda a, b, t: [qc.Z(t).controlled(a, b)]),
    "cswap": _plain(qc.CSWAP),
    "rccx": Row(0, 3, _rccx),
    "c3x": _x_under(3),
    "c3sqrtx": Row(0, 4, lambda *q: [qc.SX(q[-1]).controlled(*q[:-1])]),
    "c4x": _x_under(4),
}
