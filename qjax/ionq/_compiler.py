"""The compiler: any circuit of gates to native gates, as a list of passes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from qjax._checks import check_choice, check_real
from qjax._typing import is_concrete
from qjax.circuit import Circuit, Structure
from qjax.errors import CircuitError
from qjax.ionq._emit import NativeGate
from qjax.ionq._emit_ms import emit_ms
from qjax.ionq._emit_zz import emit_zz
from qjax.ionq._frames import written_frames
from qjax.ionq._machines import GATESETS, MACHINES, Machine, find_machine
from qjax.ionq._native_circuit import NativeCircuit
from qjax.ionq._native_rules import NATIVE_RULES
from qjax.ionq._program import Program
from qjax.ionq._verify import verify_program
from qjax.ionq._wires import Wires, as_wires, slide
from qjax.transforms._blocks import count_ising, gather, resynthesise
from qjax.transforms._cancel_inverses import cancel_inverses
from qjax.transforms._elements import Element, Ising, Turn, inverted
from qjax.transforms._expand import expand, expand_relative
from qjax.transforms._linear import Linear, Number, number_reader
from qjax.transforms._pair_toffolis import pair_toffolis

__all__ = ["Draft", "IonQNativeCompiler", "Pass"]


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
    """

    circuit: Circuit
    relabel: bool
    cutoff: float
    elements: tuple[Element, ...] = ()
    places: tuple[int, ...] = ()
    gates: tuple[NativeGate, ...] = ()
    frames: tuple[Number, ...] = ()
    couplings: tuple[tuple[int, Linear], ...] = ()


class Pass(NamedTuple):
    """One step of the compiler.

    Attributes:
        name: what it does.
        run: function from draft to draft.
    """

    name: str
    run: Callable[[Draft], Draft]


def _cancel(draft: Draft) -> Draft:
    return replace(draft, circuit=cancel_inverses(draft.circuit))


def _expand(draft: Draft) -> Draft:
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


def _rewrite_pairs(draft: Draft) -> Draft:
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


def _cut(draft: Draft) -> Draft:
    def is_small(element: Element) -> bool:
        if not isinstance(element, Ising) or isinstance(element.angle, Linear):
            return False
        turns = element.angle / (2 * np.pi)
        return abs(turns - round(2 * turns) / 2) <= draft.cutoff

    kept: list[Element] = []
    for element in draft.elements:
        kept += _half_turns(element) if is_small(element) else [element]
    return replace(draft, elements=tuple(kept))


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


def _emit_zz(draft: Draft) -> Draft:
    wires = as_wires(draft.circuit.num_qubits, draft.elements)
    done = emit_zz(draft.circuit.num_qubits, wires)
    return replace(
        draft,
        gates=tuple(done.gates),
        frames=tuple(done.frames),
        couplings=_unknown_couplings(wires),
    )


def _emit_ms(draft: Draft) -> Draft:
    """Unknown turns next to a coupling may stand on either side of it; the best choice is taken."""
    n = draft.circuit.num_qubits
    wires = as_wires(n, draft.elements)
    choices = [wires]
    if any(isinstance(s, Linear) for separators in wires.separators for s in separators):
        choices += [slide(wires, forward=True), slide(wires, forward=False)]
    done = min((emit_ms(n, choice) for choice in choices), key=lambda e: len(e.gates))
    return replace(
        draft,
        gates=tuple(done.gates),
        frames=tuple(done.frames),
        couplings=_unknown_couplings(wires),
    )


def _write_frames(draft: Draft) -> Draft:
    gates = written_frames(draft.gates, draft.frames)
    return replace(draft, gates=tuple(gates), frames=(0.0,) * len(draft.frames))


@dataclass(frozen=True)
class IonQNativeCompiler:
    """Compiles circuits of gates and state preparations to IonQ's native gates.

    The result equals the circuit up to a global phase and a turn about Z of each qubit, which no
    measurement in the computational basis sees. Those turns, the frames, are returned, or written
    as pulses. Every phase is in [-1/2, 1/2], every angle in [0, 1/4].

    Angles that are not known, because a parameter is unbound, the circuit is traced by jit or grad,
    or has batch axes, stay variables: the circuit is compiled once per structure, and the native
    phases follow from the angles by a matrix product that can be differentiated.

    Args:
        gateset: "ms" (Aria) or "zz" (Forte), or the name of a backend, which also bounds the
            number of qubits.
        optimize: "exact" leaves every qubit on its ion; with "fewest" qubits may change places
            where that saves two-qubit gates, see `NativeCircuit.positions`.
        frames: "return", or "emit" to write frames as pulses at the end.
        cutoff: interactions of at most so many turns are left out, each of which changes the state
            by at most 2 sin(pi cutoff / 2) in norm.
        verify: whether every result is compared with its circuit.

    Raises:
        CircuitError: if an option is another.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import IonQNativeCompiler
        >>> compiler = IonQNativeCompiler("forte-1", verify=True)
        >>> toffoli = compiler.compile(qj.Circuit(3, [qj.CCX(0, 1, 2)]))
        >>> toffoli.num_two_qubit_gates
        5
        >>> theta = qj.Parameter("theta")
        >>> ising = compiler.compile(qj.Circuit(2, [qj.RZZ(theta, 0, 1)]))
        >>> ising.bind(theta=0.3).num_two_qubit_gates
        1
    """

    gateset: str = "zz"
    optimize: str = "exact"
    frames: str = "return"
    cutoff: float = 0.0
    verify: bool = False

    def __post_init__(self):
        check_choice(self.optimize, ("exact", "fewest"), name="optimize")
        check_choice(self.frames, ("return", "emit"), name="frames")
        if not 0 <= check_real(self.cutoff, name="cutoff") < 0.25:
            raise CircuitError(
                f"Argument `cutoff` must be in [0, 0.25) turns, but is {self.cutoff}."
            )
        self.machine  # noqa: B018  raises on an unknown name

    @property
    def machine(self) -> Machine:
        """The machine that is compiled for; aria-1 for "ms" and forte-1 for "zz"."""
        if self.gateset in GATESETS:
            return MACHINES["qpu.aria-1" if self.gateset == "ms" else "qpu.forte-1"]
        machine = find_machine(self.gateset)
        if len(machine.gatesets) > 1:
            raise CircuitError(
                f"Argument `gateset` must be 'ms' or 'zz' for {machine.name}, which runs both."
            )
        return machine

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes, in order."""
        zz = self.machine.gatesets == ("zz",)
        passes = [
            Pass("cancel inverse gates", _cancel),
            Pass("expand gates", _expand),
            Pass("rewrite pairs of qubits", _rewrite_pairs),
            *([Pass("cut off small angles", _cut)] if self.cutoff else []),
            Pass("emit pulses", _emit_zz if zz else _emit_ms),
            *([Pass("write frames", _write_frames)] if self.frames == "emit" else []),
        ]
        return tuple(passes)

    def compile(self, circuit: Circuit) -> NativeCircuit:
        """Compiles a circuit.

        Args:
            circuit: of gates and state preparations; its angles may be unbound, traced or batched,
                and so may amplitudes, but matrices must be known.

        Raises:
            CircuitError: if it holds anything else, has more qubits than the machine, or fails the
                verification.
        """
        if self.gateset not in GATESETS and circuit.num_qubits > self.machine.num_qubits:
            raise CircuitError(
                f"{self.machine.name} has {self.machine.num_qubits} qubits, but the circuit has "
                f"{circuit.num_qubits}."
            )
        program, places, report = _compiled(self, _Source.of(circuit))
        return NativeCircuit(circuit, self.machine, places, program, report)


class _Source(NamedTuple):
    """What of a circuit decides how it is compiled: its structure and the known numbers."""

    structure: Structure
    params: tuple[Any, ...]
    data: tuple[Any, ...]

    @classmethod
    def of(cls, circuit: Circuit) -> "_Source":
        ranks = circuit.structure.data_ranks
        params = tuple(_angles(values) for values in circuit.params)
        data = tuple(_array(array, rank) for array, rank in zip(circuit.data, ranks, strict=True))
        return cls(circuit.structure, params, data)

    @property
    def circuit(self) -> Circuit:
        """The circuit; unknown angles are None, unknown arrays are zeros with a batch axis."""
        arrays = [None if p is None else p.array for p in self.params]
        return Circuit.from_structure(
            self.structure, tuple(arrays), tuple(known.array for known in self.data)
        )


class _Known(NamedTuple):
    """A known array by its bytes; of an unknown one the type and shape."""

    content: bytes | None
    dtype: str
    shape: tuple[int, ...]

    @property
    def array(self) -> np.ndarray:
        if self.content is None:
            return np.zeros((1, *self.shape), self.dtype)
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


def _array(array: Any, rank: int) -> _Known:
    shape = tuple(np.shape(array))
    dtype = np.dtype(array.dtype).str
    if is_concrete(array) and len(shape) == rank:
        return _Known(np.asarray(array).tobytes(), dtype, shape)
    return _Known(None, dtype, shape[len(shape) - rank :])


def _angles(values: Any) -> _Known | None:
    known = None if values is None else _array(values, 1)
    return known if known is not None and known.content is not None else None


Report = tuple[tuple[str, int], ...]


@lru_cache(maxsize=256)
def _compiled(
    compiler: IonQNativeCompiler, source: _Source
) -> tuple[Program, tuple[int, ...], Report]:
    circuit = source.circuit
    draft = Draft(circuit, compiler.optimize == "fewest", compiler.cutoff)
    report = []
    for name, run in compiler.passes:
        draft = run(draft)
        pairs = draft.gates or draft.elements or draft.circuit.structure.steps
        report.append((name, sum(len(gate.qubits) == 2 for gate in pairs)))
    program = Program(circuit.num_qubits, draft.gates, draft.frames, dict(draft.couplings))
    if compiler.verify:
        verify_program(circuit, program, draft.places)
    return program, draft.places, tuple(report)
