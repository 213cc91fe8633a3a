"""Jobs as the service tells of them, as frozen values. Unknown fields are kept in `raw`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qjax.ionq._client._fields import Fields, Raw

__all__ = [
    "CreatedJob",
    "Failure",
    "Job",
    "JobPage",
    "JobStats",
    "ResultLink",
]

FINISHED = ("completed", "failed", "canceled")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job failed."""

    code: str | None
    message: str | None

    @classmethod
    def from_json(cls, data: Any) -> "Failure":
        """Reads both generations: `message`, formerly `error`."""
        fields = Fields(data, "failure")
        message = fields.text_or_none("message") or fields.text_or_none("error")
        return cls(code=fields.text_or_none("code"), message=message)


@dataclass(frozen=True, kw_only=True)
class JobStats:
    """Sizes of a job; None or empty where the service leaves them out.

    Attributes:
        qubits: of the circuit.
        circuits: how many.
        gate_counts: by name. "1q" and "2q" are sums over the other entries.
        kwh: energy.
    """

    qubits: int | None = None
    circuits: int | None = None
    gate_counts: Mapping[str, int] = field(default_factory=dict)
    kwh: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "JobStats":
        """Reads the JSON."""
        fields = Fields(data, "stats")
        counts = Fields(fields.mapping("gate_counts"), "gate counts")
        return cls(
            qubits=fields.integer_or_none("qubits"),
            circuits=fields.integer_or_none("circuits"),
            gate_counts={name: counts.integer(name) for name in counts.data},
            kwh=fields.real_or_none("kwh"),
            raw=fields.data,
        )


@dataclass(frozen=True, kw_only=True)
class ResultLink:
    """Where one form of a job's results lies: an address, an artifact, or both.

    Attributes:
        url: address relative to the origin (the older generation).
        id: of the artifact (the newer one).
        format: such as "ionq.result.probabilities.json.v2".
        media_type: such as "application/json".
    """

    url: str | None = None
    id: str | None = None
    format: str | None = None
    media_type: str | None = None

    @classmethod
    def from_json(cls, data: Any) -> "ResultLink":
        """Reads the JSON."""
        fields = Fields(data, "result link")
        names = ("url", "id", "format", "media_type")
        return cls(**{name: fields.text_or_none(name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        id: its name with the service.
        status: "submitted", "ready", "started", "completed", "failed" or "canceled".
        type: such as "ionq.circuit.v1".
        backend: where it runs.
        name: that the user gave.
        metadata: that the user gave.
        shots: how many, None where the service does not say.
        dry_run: whether it was only priced.
        noise: noise model and seed of the simulator.
        parent_job_id: of the multi-circuit job that it belongs to.
        child_job_ids: its circuits, in order, if it has several.
        session_id: that it belongs to.
        submitted_at: when.
        started_at: when.
        completed_at: when.
        execution_duration_ms: milliseconds.
        predicted_execution_duration_ms: milliseconds.
        predicted_wait_time_ms: milliseconds.
        failure: why it failed.
        settings: that were asked for.
        output: what was done, such as compilation and error mitigation.
        stats: sizes.
        results: by name, where they lie; empty until there are any.
        cost_model: how it is billed.
        raw: the whole JSON.
    """

    id: str
    status: str
    type: str
    backend: str
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    shots: int | None = None
    dry_run: bool = False
    noise: Raw = field(default_factory=dict)
    parent_job_id: str | None = None
    child_job_ids: tuple[str, ...] = ()
    session_id: str | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    execution_duration_ms: float | None = None
    predicted_execution_duration_ms: float | None = None
    predicted_wait_time_ms: float | None = None
    failure: Failure | None = None
    settings: Raw = field(default_factory=dict)
    output: Raw = field(default_factory=dict)
    stats: JobStats = JobStats()
    results: Mapping[str, ResultLink] = field(default_factory=dict)
    cost_model: str | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "Job":
        """Reads the JSON."""
        fields = Fields(data, "job")
        links = fields.mapping("results")
        return cls(
            id=fields.text("id"),
            status=fields.text("status"),
            type=fields.text("type"),
            backend=fields.text("backend"),
            name=fields.text_or_none("name"),
            metadata=fields.mapping("metadata"),
            shots=fields.integer_or_none("shots"),
            dry_run=fields.flag("dry_run"),
            noise=fields.mapping("noise"),
            parent_job_id=fields.text_or_none("parent_job_id"),
            child_job_ids=fields.texts("child_job_ids"),
            session_id=fields.text_or_none("session_id"),
            submitted_at=fields.time_or_none("submitted_at"),
            started_at=fields.time_or_none("started_at"),
            completed_at=fields.time_or_none("completed_at"),
            execution_duration_ms=fields.real_or_none("execution_duration_ms"),
            predicted_execution_duration_ms=fields.real_or_none("predicted_execution_duration_ms"),
            predicted_wait_time_ms=fields.real_or_none("predicted_wait_time_ms"),
            failure=fields.optional("failure", Failure.from_json),
            settings=fields.mapping("settings"),
            output=fields.mapping("output"),
            stats=fields.optional("stats", JobStats.from_json) or JobStats(),
            results={name: ResultLink.from_json(link) for name, link in links.items()},
            cost_model=fields.text_or_none("cost_model"),
            raw=fields.data,
        )

    @property
    def is_finished(self) -> bool:
        """Whether its status will not change any more."""
        return self.status in FINISHED

    @property
    def is_sampled(self) -> bool:
        """Whether its results are frequencies of shots rather than exact probabilities."""
        exact = self.backend == "simulator" and (self.noise.get("model") or "ideal") == "ideal"
        return not exact or any("histogram" in name for name in self.results)

    @property
    def debiased(self) -> bool:
        """Whether the service says that it applied debiasing."""
        mitigation = self.output.get("error_mitigation")
        return isinstance(mitigation, Mapping) and mitigation.get("debiasing") is True


@dataclass(frozen=True, kw_only=True)
class CreatedJob:
    """The answer to a submission."""

    id: str
    status: str
    session_id: str | None = None

    @classmethod
    def from_json(cls, data: Any) -> "CreatedJob":
        """Reads the JSON."""
        fields = Fields(data, "created job")
        session = fields.text_or_none("session_id")
        return cls(id=fields.text("id"), status=fields.text("status"), session_id=session)


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """Some jobs, and where the next ones are.

    Attributes:
        jobs: of this page.
        next: to be passed for the next page; None at the end.
    """

    jobs: tuple[Job, ...]
    next: str | None = None

    @classmethod
    def from_json(cls, data: Any) -> "JobPage":
        """Reads the JSON."""
        fields = Fields(data, "list of jobs")
        return cls(jobs=fields.each("jobs", Job.from_json), next=fields.text_or_none("next"))
