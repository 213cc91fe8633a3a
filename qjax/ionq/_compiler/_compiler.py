"""The compiler: any circuit of gates to native gates, as a list of passes."""

from dataclasses import dataclass
from functools import lru_cache

from qjax._checks import check_choice, check_real
from qjax.circuit import Circuit
from qjax.errors import CircuitError
from qjax.ionq._compiler._known import Source
from qjax.ionq._compiler._native_circuit import NativeCircuit
from qjax.ionq._compiler._passes import (
    Draft,
    Pass,
    cancel_inverses,
    cut_off,
    emit_ms_gates,
    emit_zz_gates,
    expand_gates,
    rewrite_pairs,
    write_frames,
)
from qjax.ionq._compiler._program import Program
from qjax.ionq._compiler._verify import check_verifiable, verify_program
from qjax.ionq._machines import GATESETS, MACHINES, Machine, find_machine
from qjax.transforms._check import check_circuit

__all__ = ["IonQNativeCompiler"]

_SHORT = tuple(name.removeprefix("qpu.") for name in MACHINES if name.startswith("qpu."))


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
        verify: whether every result is compared with its circuit, of at most 20 qubits, but for
            what the cut-off leaves out.

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
        if not isinstance(self.verify, bool):
            raise CircuitError(f"Argument `verify` must be True or False, but is {self.verify!r}.")
        self.machine  # noqa: B018  raises on an unknown name

    @property
    def machine(self) -> Machine:
        """The machine that is compiled for; aria-1 for "ms" and forte-1 for "zz"."""
        check_choice(self.gateset, (*GATESETS, *MACHINES, *_SHORT), name="gateset")
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
            Pass("cancel inverse gates", cancel_inverses),
            Pass("expand gates", expand_gates),
            Pass("rewrite pairs of qubits", rewrite_pairs),
            *([Pass("cut off small angles", cut_off)] if self.cutoff else []),
            Pass("emit pulses", emit_zz_gates if zz else emit_ms_gates),
            *([Pass("write frames", write_frames)] if self.frames == "emit" else []),
        ]
        return tuple(passes)

    def compile(self, circuit: Circuit) -> NativeCircuit:
        """Compiles a circuit.

        Args:
            circuit: of gates and state preparations; its angles may be unbound, traced or batched,
                and so may amplitudes, but matrices must be known.

        Raises:
            CircuitError: if it holds anything else, has more qubits than the machine or than can be
                verified, or fails the verification.
        """
        check_circuit(circuit)
        if self.gateset not in GATESETS and circuit.num_qubits > self.machine.num_qubits:
            raise CircuitError(
                f"{self.machine.name} has {self.machine.num_qubits} qubits, but the circuit has "
                f"{circuit.num_qubits}."
            )
        if self.verify:
            check_verifiable(circuit)
        program, places, report = _compiled(self, Source.of(circuit))
        return NativeCircuit(circuit, self.machine, places, program, report)


Report = tuple[tuple[str, int], ...]


@lru_cache(maxsize=256)
def _compiled(
    compiler: IonQNativeCompiler, source: Source
) -> tuple[Program, tuple[int, ...], Report]:
    circuit = source.circuit
    draft = Draft(circuit, compiler.optimize == "fewest", compiler.cutoff)
    report = []
    for name, run in compiler.passes:
        draft = run(draft)
        report.append((name, draft.num_two_qubit_gates))
    program = Program(circuit.num_qubits, draft.gates, draft.frames, dict(draft.couplings))
    if compiler.verify:
        verify_program(circuit, program, draft.places, draft.loss)
    return program, draft.places, tuple(report)
