"""What happens to a circuit after it was accepted: it is planned, then run."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from qjax.circuit import Circuit, Gate
from qjax.errors import QjaxError
from qjax.ionq._noise import find_noise_model
from qjax.ionq.emulator._clock import Clock, Timing
from qjax.ionq.emulator._compile import compile_native
from qjax.ionq.emulator._errors import JobError
from qjax.ionq.emulator._job import Job, Plan, Result
from qjax.ionq.emulator._read import Target, Task, read_task, target_of
from qjax.ionq.emulator._simulate import (
    exact_outcomes,
    has_exact_outcomes,
    precision,
    sample_shots,
)
from qjax.ionq.emulator._views import DEFAULT_SHOTS

__all__ = ["Work", "is_debiased", "plan_work"]

_DEBIASED_FROM = 500
_MOST_OUTCOMES = 2**22


class Work:
    """A circuit that is ready to run.

    Attributes:
        plan: sizes, times and price.
    """

    def __init__(self, job: Job, task: Task, target: Target, plan: Plan, circuit: Circuit):
        self.job, self.task, self.target, self.plan, self.circuit = job, task, target, plan, circuit

    def run(self, clock: Clock) -> Result:
        """Simulates the circuit.

        Raises:
            JobError: if it does not fit into memory, or cannot be simulated for another reason.
        """
        job, task = self.job, self.task
        if job.dry_run:
            return Result(clock.now())
        try:
            with precision(self.circuit.num_qubits):
                result = Result(clock.now())
                shots = job.body["shots"] or DEFAULT_SHOTS
                if self.target.noise is None and has_exact_outcomes(self.circuit, shots):
                    result.probabilities = exact_outcomes(self.circuit)
                if self.target.noise is not None or task.registers is not None:
                    self._sample(result)
        except QjaxError as error:
            raise JobError("SimulationError", str(error)) from None
        if result.probabilities is not None and len(result.probabilities) > _MOST_OUTCOMES:
            raise JobError(
                "SimulationError", f"The result has more than {_MOST_OUTCOMES} outcomes."
            )
        result.at = clock.now()
        return result

    def _sample(self, result: Result) -> None:
        noise = self.target.noise
        drawn = sample_shots(
            self.circuit,
            self.job.body["shots"] or DEFAULT_SHOTS,
            self.job.seed,
            noise=None if noise is None else find_noise_model(noise),
            registers=self.task.registers,
        )
        result.shots, result.registers = drawn.all, drawn.registers
        result.widths = {name: len(bits) for name, bits in (self.task.registers or {}).items()}


def is_debiased(body: Mapping[str, Any], *, native: bool) -> bool:
    """Whether a job's errors are mitigated: from 500 shots on, unless asked otherwise.

    Raises:
        JobError: if it is asked for with fewer shots.
    """
    asked = (body["settings"].get("error_mitigation") or {}).get("debiasing")
    shots = body["shots"] or DEFAULT_SHOTS
    if body["backend"] == "simulator" or asked is False:
        return False
    if asked and shots < _DEBIASED_FROM:
        raise JobError(
            "DebiasingError", f"Debiasing needs at least {_DEBIASED_FROM} shots, but has {shots}."
        )
    return bool(asked) or (shots >= _DEBIASED_FROM and not native)


def plan_work(job: Job, timing: Timing, clock: Clock) -> Work:
    """Reads, checks, compiles and prices a circuit.

    Raises:
        JobError: if it cannot be run.
    """
    target = target_of(job.body)
    task = read_task(job.body, job.input, target)
    debiasing = is_debiased(job.body, native=task.native)
    circuit, native = task.circuit, None
    if target.compiled_for is not None:
        with precision(0):
            circuit, native = compile_native(task.circuit, target.compiled_for, task.native)
    counts = _count(circuit, compiled=target.compiled_for is not None)
    gates = counts["1q"], counts["2q"]
    shots = job.body["shots"] or DEFAULT_SHOTS
    plan = Plan(
        at=clock.now(),
        qubits=task.circuit.num_qubits,
        gates=gates,
        gate_counts=dict(counts),
        duration=timing.duration(target.machine, gates, shots),
        predicted=target.machine.duration(*gates, shots),
        price=target.machine.price(*gates, shots, mitigated=debiasing),
        debiasing=debiasing,
        native=native,
    )
    return Work(job, task, target, plan, circuit)


def _count(circuit: Circuit, *, compiled: bool) -> Counter[str]:
    """Gates by number of qubits, and native ones by name; larger gates as the service bills them.

    A gate on n > 2 qubits counts as 6 (n - 2) gates on two. In a compiled circuit RZ is a turn of
    the frame and no pulse.
    """
    counts: Counter[str] = Counter({"1q": 0, "2q": 0})
    for step in circuit.structure.steps:
        if not isinstance(step.kind, Gate) or (compiled and step.name == "RZ"):
            continue
        size = len(step.qubits)
        counts["1q" if size == 1 else "2q"] += 1 if size <= 2 else 6 * (size - 2)
        if step.name in ("GPI", "GPI2", "MS", "ZZ"):
            counts[f"{step.name}q"] += 1
    return counts
