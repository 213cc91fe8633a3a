"""The passes of the native compiler, each a function from draft to draft."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from qjax.circuit import Circuit
from qjax.errors import CircuitError
from qjax.ionq._compiler._emit import Emitter, NativeGate
from qjax.ionq._compiler._emit_ms import emit_ms
from qjax.ionq._compiler._emit_zz import emit_zz
from qjax.ionq._compiler._frames import written_frames
from qjax.ionq._compiler._native_rules import NATIVE_RULES
from qjax.ionq._compiler._wires import Wires, as_wires, slide
from qjax.transforms._blocks import count_ising, gather, resynthesise
from qjax.transforms._cancel_inverses import cancel_inverses as cancel_circuit_inverses
from qjax.transforms._elements import Element, Ising, Turn, inverted
from qjax.transforms._expand import expand, expand_relative
from qjax.transforms._linear import Linear, Number, number_reader
from qjax.transforms._pair_toffolis import pair_toffolis

__all__ = [
    "Draft",
    "Pass",
    "cancel_inverses",
    "cut_off",
    "emit_ms_gates",
    "emit_zz_gates",
    "expand_gates",
    "rewrite_pairs",
    "write_frames",
]


@dataclass(frozen=True, eq=False)
class Draft:
    """A circuit on its way to native gates; every pass returns a new one.

    Attributes:
        circuit: as written.
        relabel: whether qubits may change places.
        cutoff: couplings of at most so many turns are left out.
        elements: known matrices, turns and Ising gates, once expanded.
        places: for each qubit of the circuit the ion where it ends.
        gates: native gates, at the end.
        frames: per ion the turn that is left to do, at the end.
        couplings: number of a coupling -> its angle in turns, where that is not known.
        loss: by how much at most what was cut off changes a state, in norm.
    """

    circuit: Circuit
    relabel: bool
    cutoff: float
    elements: tuple[Element, ...] = ()
    places: tuple[int, ...] = ()
    gates: tuple[NativeGate, ...] = ()
    frames: tuple[Number, ...] = ()
    couplings: tuple[tuple[int, Linear], ...] = ()
    loss: float = 0.0

    @property
    def num_two_qubit_gates(self) -> int:
        """How many gates on two qubits there are after the passes so far."""
        latest = self.circuit.structure.steps
        if self.frames:  # one a qubit from the emission on, as are places from the expansion on
            latest = self.gates
        elif self.places:
            latest = self.elements
        return sum(len(gate.qubits) == 2 for gate in latest)


class Pass(NamedTuple):
    """One step of the compiler.

    Attributes:
        name: what it does.
        run: function from draft to draft.
    """

    name: str
    run: Callable[[Draft], Draft]


def cancel_inverses(draft: Draft) -> Draft:
    """Removes gates that undo one another while they are still gates."""
    return replace(draft, circuit=cancel_circuit_inverses(draft.circuit))


def expand_gates(draft: Draft) -> Draft:
    """Writes gates as elements; Toffolis in pairs up to diagonals that undo one another."""
    circuit = draft.circuit
    read = number_reader(circuit)
    partners = pair_toffolis(circuit.structure)
    elements: list[Element] = []
    for place, step in enumerate(circuit.structure.steps):
        if step.conditions:
            raise CircuitError(
                f"{step.name} depends on a measurement, which native circuits cannot. "
                "Use qjax.transforms.dilate first."
            )
        if place in partners:
            flip = expand_relative(step)
            elements += flip if partners[place] else inverted(flip)
        else:
            data = None if step.data is None else circuit.data[step.data]
            elements += expand(step, read(step), data, NATIVE_RULES)
    return replace(draft, elements=tuple(elements), places=tuple(range(circuit.num_qubits)))


def rewrite_pairs(draft: Draft) -> Draft:
    """Gathers and resynthesises until there are no fewer two-qubit gates."""
    elements, places = list(draft.elements), draft.places
    best = np.inf
    while True:
        gathered = gather(elements)
        if count_ising(gathered) == best:  # nothing came together
            return replace(draft, elements=tuple(elements), places=places)
        elements, moved = resynthesise(gathered, draft.relabel)
        places = tuple(moved.get(place, place) for place in places)
        if count_ising(elements) >= best:
            return replace(draft, elements=tuple(elements), places=places)
        best = count_ising(elements)


def cut_off(draft: Draft) -> Draft:
    """Leaves out couplings of known angles that are small."""
    kept: list[Element] = []
    loss = draft.loss
    for element in draft.elements:
        rest = _rest(element)
        if rest <= draft.cutoff:
            kept += _half_turns(element)
            loss += 2 * np.sin(np.pi * rest / 2)
        else:
            kept.append(element)
    return replace(draft, elements=tuple(kept), loss=float(loss))


def _rest(element: Element) -> float:
    """Turns of a known coupling but for half turns; infinite for anything else."""
    if not isinstance(element, Ising) or isinstance(element.angle, Linear):
        return np.inf
    turns = element.angle / (2 * np.pi)
    return abs(turns - round(2 * turns) / 2)


def _half_turns(element: Element) -> list[Element]:
    """What is left of an Ising gate whose angle is close to a multiple of pi."""
    assert isinstance(element, Ising) and isinstance(element.angle, float)
    odd = round(element.angle / np.pi) % 2
    return [Turn((q,), np.pi) for q in element.qubits] if odd else []


def _unknown_couplings(wires: Wires) -> tuple[tuple[int, Linear], ...]:
    return tuple(
        (number, coupling.turns)
        for number, coupling in enumerate(wires.couplings)
        if isinstance(coupling.turns, Linear)
    )


def emit_zz_gates(draft: Draft) -> Draft:
    """Pulses and ZZ gates."""
    wires = as_wires(draft.circuit.num_qubits, draft.elements)
    return _emitted(draft, emit_zz(draft.circuit.num_qubits, wires), wires)


def _emitted(draft: Draft, done: Emitter, wires: Wires) -> Draft:
    return replace(
        draft,
        gates=tuple(done.gates),
        frames=tuple(done.frames),
        couplings=_unknown_couplings(wires),
    )


def emit_ms_gates(draft: Draft) -> Draft:
    """Unknown turns next to a coupling may stand on either side of it; the best choice is taken."""
    n = draft.circuit.num_qubits
    wires = as_wires(n, draft.elements)
    choices = [wires]
    if any(isinstance(s, Linear) for separators in wires.separators for s in separators):
        choices += [slide(wires, forward=True), slide(wires, forward=False)]
    done = min((emit_ms(n, choice) for choice in choices), key=lambda e: len(e.gates))
    return _emitted(draft, done, wires)


def write_frames(draft: Draft) -> Draft:
    """Writes the frames as pulses."""
    gates = written_frames(draft.gates, draft.frames)
    return replace(draft, gates=tuple(gates), frames=(0.0,) * len(draft.frames))
