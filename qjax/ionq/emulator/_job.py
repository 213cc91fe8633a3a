"""A job: what was asked for, what has become of it, and its state at a time."""

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["FINAL", "Job", "Plan", "Result"]

FINAL = ("completed", "failed", "canceled")


@dataclass
class Plan:
    """What is known of a circuit once it is read and compiled.

    Attributes:
        at: when that was.
        qubits: of the circuit.
        gates: one- and two-qubit gates.
        gate_counts: as reported.
        duration: seconds that it runs by the emulator's clock.
        predicted: seconds that the machine would take.
        price: dollars.
        debiasing: whether error mitigation is on.
        native: the compiled circuit as JSON, where it was compiled.
    """

    at: float
    qubits: int
    gates: tuple[int, int]
    gate_counts: dict[str, int]
    duration: float
    predicted: float
    price: float
    debiasing: bool
    native: dict[str, Any] | None = None


@dataclass
class Result:
    """What came out of a circuit.

    Attributes:
        at: when it was computed.
        failure: code and message, if it failed.
        probabilities: outcome -> exact probability, for the ideal simulator.
        shots: outcome of each shot, qubit 0 the least significant bit.
        registers: classical register -> its bits in each shot, bit 0 the least significant.
        widths: classical register -> its number of bits.
    """

    at: float
    failure: dict[str, str] | None = None
    probabilities: dict[str, float] | None = None
    shots: list[int] | None = None
    registers: dict[str, list[int]] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)


@dataclass
class Job:
    """A job of one circuit, or the parent of several.

    Attributes:
        id: its identifier.
        order: its number among all jobs of the emulator.
        body: what was posted, without the circuits.
        input: the circuit with its gateset; of a parent, nothing.
        seed: of its random numbers.
        submitted: when it was accepted.
        starts: when it may start at the earliest; children start one after the other.
        listed: when the list of jobs shows it.
        doom: code with which it is to fail, as a fault asks.
        parent: the identifier of its parent.
        children: identifiers of its children, in the order of the circuits.
        plan: once it is compiled.
        result: once it is computed.
        canceled: when it was cancelled.
        deleted: whether it was deleted.
    """

    id: str
    order: int
    body: dict[str, Any]
    input: dict[str, Any]
    seed: int
    submitted: float
    starts: float
    listed: float
    doom: str | None = None
    parent: str | None = None
    children: list[str] | None = None
    plan: Plan | None = None
    result: Result | None = None
    canceled: float | None = None
    deleted: bool = False

    @property
    def dry_run(self) -> bool:
        """Whether it is only compiled and priced."""
        return bool(self.body["dry_run"])

    @property
    def failed(self) -> bool:
        """Whether it is known to fail."""
        return self.result is not None and self.result.failure is not None

    @property
    def start(self) -> float | None:
        """When it started or will start, as far as that is known."""
        if self.plan is None or self.dry_run:
            return None
        return max(self.starts, self.plan.at)

    @property
    def end(self) -> float | None:
        """When it ended or will end, as far as that is known."""
        if self.result is None:
            return None
        if self.plan is None or self.dry_run:
            return max(self.result.at, self.submitted)
        return max(self.result.at, (self.start or 0.0) + self.plan.duration)

    def status(self, now: float) -> str:
        """Its state, which is final once it is one of `FINAL`."""
        end, start = self.end, self.start
        if self.canceled is not None:
            return "canceled"
        if end is not None and now >= end:
            return "failed" if self.failed else "completed"
        if start is not None and now >= start:
            return "started"
        return "submitted" if self.plan is None or self.dry_run else "ready"

    def billed(self, now: float) -> bool:
        """Whether it is to be paid for: it started, and was neither a dry run nor refused."""
        if self.children is not None or self.plan is None or self.dry_run or self.failed:
            return False
        start = self.start
        stopped = now if self.canceled is None else min(now, self.canceled)
        return start is not None and stopped >= start

    def as_json(self) -> dict[str, Any]:
        """All fields, for the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        """The inverse of `as_json`."""
        plan, result = data.pop("plan"), data.pop("result")
        if plan is not None:
            plan = Plan(**{**plan, "gates": tuple(plan["gates"])})
        return cls(**data, plan=plan, result=None if result is None else Result(**result))
