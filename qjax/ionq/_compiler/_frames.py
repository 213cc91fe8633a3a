"""Writing frames that are left at the end of a circuit as pulses."""

from collections.abc import Sequence

from qjax.ionq._compiler._emit import NativeGate
from qjax.transforms._linear import Linear, Number

__all__ = ["written_frames"]

_TOLERANCE = 1e-12


def written_frames(gates: Sequence[NativeGate], frames: Sequence[Number]) -> list[NativeGate]:
    """The gates with frames as pulses.

    RZ of f turns after GPI(p) is GPI(p + f/2). After GPI2(p) and GPI2(q) it costs one pulse,
    GPI2(p + 1/2) GPI(p + f/2 - 1/2) GPI2(q + f), and else two, GPI(0) GPI(f/2). Frames commute
    with ZZ, so these pulses may stand before ZZ gates.
    """
    written = list(gates)
    for qubit, frame in enumerate(frames):
        if isinstance(frame, Linear) or abs(frame - round(frame)) > _TOLERANCE:
            written = _write(written, qubit, frame)
    return written


def _last_pulses(gates: list[NativeGate], qubit: int) -> list[int]:
    """Positions of the last pulses of a qubit, latest first, with nothing but ZZ after them."""
    found: list[int] = []
    for position in range(len(gates) - 1, -1, -1):
        gate = gates[position]
        if qubit not in gate.qubits:
            continue
        if gate.name == "MS" or (gate.name == "ZZ" and found):
            break
        if gate.name != "ZZ":
            found.append(position)
    return found


def _write(gates: list[NativeGate], qubit: int, frame: Number) -> list[NativeGate]:
    last = _last_pulses(gates, qubit)

    def pulse(name: str, phase: Number) -> NativeGate:
        return NativeGate(name, (qubit,), (phase,))

    if last and gates[last[0]].name == "GPI":
        (phase,) = gates[last[0]].numbers
        gates[last[0]] = pulse("GPI", phase + frame * 0.5)
    elif len(last) > 1 and gates[last[1]].name == "GPI2":
        (q,), (p,) = gates[last[0]].numbers, gates[last[1]].numbers
        gates[last[1]] = pulse("GPI2", p + 0.5)
        middle = pulse("GPI", p + frame * 0.5 - 0.5)
        gates[last[0] : last[0] + 1] = [middle, pulse("GPI2", q + frame)]
    else:
        gates += [pulse("GPI", 0.0), pulse("GPI", frame * 0.5)]
    return gates
