"""What the compiler returns: native gates, what is left to do, and what running them takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from qjax._checks import check_positive_int
from qjax._typing import is_concrete
from qjax.circuit import Circuit
from qjax.errors import CircuitError
from qjax.ionq._compiler._program import Program
from qjax.ionq._machines import Machine
from qjax.transforms._amplitudes import amplitude_angles

__all__ = ["NativeCircuit"]


@dataclass(frozen=True, eq=False, repr=False)
class NativeCircuit:
    """A compiled circuit: native gates, then a turn about Z of every qubit, which is not done.

    Qubit q of the compiled circuit is read from ion `positions[q]`. Turns about Z do not change
    what is measured. A function under jit cannot return a NativeCircuit, but its `circuit` and
    `frames`.

    Attributes:
        source: the circuit that was compiled.
        machine: whose times, rates and prices are meant.
        positions: for each qubit of the source the ion where it ends; the identity unless qubits
            were allowed to change places.
        program: the native gates before the source's angles are put in.
        report: for every pass of the compiler its name and the number of gates on two qubits after
            it.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import IonQNativeCompiler
        >>> bell = IonQNativeCompiler("zz").compile(qj.Circuit(2, [qj.H(0), qj.CX(0, 1)]))
        >>> bell.num_one_qubit_gates, bell.num_two_qubit_gates
        (3, 1)
        >>> bell.circuit.count_operations()
        {'GPI2': 3, 'ZZ': 1}
        >>> qj.probabilities(bell.circuit).round(4).tolist()
        [0.5, 0.0, 0.0, 0.5]
    """

    source: Circuit
    machine: Machine
    positions: tuple[int, ...]
    program: Program
    report: tuple[tuple[str, int], ...]
    _numbers: Any = field(default=None)

    def __post_init__(self):
        if not self.source.unbound:
            values: dict[Any, Any] = dict(enumerate(self.source.params))
            for place in {key[0][1] for key in self.program.unknowns if isinstance(key[0], tuple)}:
                values["amplitudes", place] = amplitude_angles(self.source.data[place])
            leaves = {key[0] for key in self.program.unknowns}
            on_host = all(is_concrete(values[leaf]) for leaf in leaves)
            numbers = self.program.evaluate(values, np if on_host else jnp, self.source.batch_shape)
            object.__setattr__(self, "_numbers", numbers)

    @property
    def circuit(self) -> Circuit:
        """The native gates, on ions.

        Raises:
            CircuitError: if the source has parameters without values.
        """
        return self._evaluated[0]

    @property
    def frames(self) -> Any:
        """(..., num_qubits): per qubit of the source RZ(2 pi f) is left to do, f in [-1/2, 1/2]."""
        return self._evaluated[1][..., np.array(self.positions)]

    @property
    def _evaluated(self) -> Any:
        if self._numbers is None:
            raise CircuitError(
                f"The circuit has parameters without values: {', '.join(self.source.unbound)}. "
                "Use `bind` first."
            )
        return self._numbers

    @property
    def unbound(self) -> tuple[str, ...]:
        """Names of the parameters that have no values yet."""
        return self.source.unbound

    def bind(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> "NativeCircuit":
        """Gives values to named parameters; nothing is compiled again.

        Args:
            values: name -> array of the parameter's shape, with leading batch axes if wanted.
            **named: the same, as keywords.

        Raises:
            CircuitError: on an unknown name, a shape that does not fit, or a parameter whose value
                was known when the circuit was compiled.
        """
        given = {**(values or {}), **named}
        compiled = sorted(set(given) & set(self.source.parameters) - set(self.source.unbound))
        if compiled:
            raise CircuitError(
                f"The parameters {compiled!r} had values when the circuit was compiled. Compile a "
                "circuit in which they have none."
            )
        return replace(self, source=self.source.bind(given))

    @property
    def num_qubits(self) -> int:
        """Size of the register."""
        return self.program.num_qubits

    @property
    def num_one_qubit_gates(self) -> int:
        """How many pulses GPI and GPI2 there are."""
        return sum(len(gate.qubits) == 1 for gate in self.program.gates)

    @property
    def num_two_qubit_gates(self) -> int:
        """How many gates MS or ZZ there are."""
        return sum(len(gate.qubits) == 2 for gate in self.program.gates)

    @property
    def _counts(self) -> tuple[int, int]:
        return self.num_one_qubit_gates, self.num_two_qubit_gates

    @property
    def fidelity(self) -> float | None:
        """Estimated probability that no gate errs; None if the machine's rates are unknown."""
        return self.machine.fidelity(*self._counts)

    @property
    def shot_time(self) -> float:
        """Seconds of one shot."""
        return self.machine.shot_time(*self._counts)

    def duration(self, shots: int) -> float:
        """Predicted seconds of a job.

        Raises:
            CircuitError: if `shots` is no positive integer.
        """
        check_positive_int(shots, name="shots")
        return self.machine.duration(*self._counts, shots)

    def price(self, shots: int, *, mitigated: bool = False) -> float:
        """Dollars of a job, see `Machine.price`.

        Raises:
            CircuitError: if `shots` is no positive integer.
        """
        check_positive_int(shots, name="shots")
        return self.machine.price(*self._counts, shots, mitigated=mitigated)

    def __repr__(self) -> str:
        return (
            f"NativeCircuit({self.num_qubits} qubits, {self.num_one_qubit_gates} pulses, "
            f"{self.num_two_qubit_gates} two-qubit gates, {self.machine.name})"
        )
