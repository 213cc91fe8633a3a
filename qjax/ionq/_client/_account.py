"""Costs, sessions and accounts as the service tells of them, as frozen values."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qjax.ionq._client._fields import Fields, Raw

__all__ = [
    "Cost",
    "CostEstimate",
    "JobCost",
    "Session",
    "SessionSettings",
    "Usage",
    "WhoAmI",
]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """An amount.

    Attributes:
        value: how much.
        unit: "usd" or "credit".
    """

    value: float
    unit: str

    @classmethod
    def from_json(cls, data: Any) -> "Cost":
        """Reads the JSON."""
        fields = Fields(data, "cost")
        return cls(value=fields.real_or_none("value") or 0.0, unit=fields.text("unit"))


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """What a job costs.

    Attributes:
        dry_run: whether it was only priced.
        estimated: before it ran.
        actual: after, None until it is known.
    """

    dry_run: bool
    estimated: Cost | None
    actual: Cost | None

    @classmethod
    def from_json(cls, data: Any) -> "JobCost":
        """Reads both spellings of the actual cost."""
        fields = Fields(data, "cost of a job")
        actual = fields.optional("cost", Cost.from_json)
        return cls(
            dry_run=fields.flag("dry_run"),
            estimated=fields.optional("estimated_cost", Cost.from_json),
            actual=actual or fields.optional("actual_cost", Cost.from_json),
        )


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """A price before submission, from either generation of answers.

    Attributes:
        total: what the job would cost.
        unit: "usd" or "credit".
        minimum: that a job costs at least.
        rate_1q: per one-qubit gate and shot.
        rate_2q: per two-qubit gate and shot.
        rate_second: per second of quantum computing, for accounts billed so.
        execution_ms: estimated milliseconds of execution.
        queue_ms: predicted milliseconds in the queue; a poor guide.
        raw: the whole JSON.
    """

    total: float
    unit: str
    minimum: float | None = None
    rate_1q: float | None = None
    rate_2q: float | None = None
    rate_second: float | None = None
    execution_ms: float | None = None
    queue_ms: float | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "CostEstimate":
        """Reads the JSON."""
        fields = Fields(data, "estimate")
        card = Fields(fields.mapping("rate_card"), "rate card").sequence("rates")
        rate = Fields(card[0] if card else fields.mapping("rate_information"), "rate")
        total = fields.real_or_none("estimated_total_cost", "estimated_cost")
        return cls(
            total=fields.need("estimated_total_cost", total),
            unit=fields.text_or_none("estimated_unit") or fields.text("cost_unit"),
            minimum=rate.real_or_none("job_cost_minimum"),
            rate_1q=rate.real_or_none("cost_1q_gate"),
            rate_2q=rate.real_or_none("cost_2q_gate"),
            rate_second=rate.real_or_none("unit_cost"),
            execution_ms=fields.real_or_none("estimated_execution_time"),
            queue_ms=fields.real_or_none("current_predicted_queue_time"),
            raw=fields.data,
        )


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """Limits of a session; None where there is none.

    Attributes:
        job_count_limit: jobs.
        duration_limit_min: minutes.
        cost_limit: amount.
        expires_at: when it ends by itself.
    """

    job_count_limit: int | None = None
    duration_limit_min: float | None = None
    cost_limit: Cost | None = None
    expires_at: datetime | None = None

    @classmethod
    def from_json(cls, data: Any) -> "SessionSettings":
        """Reads the JSON."""
        fields = Fields(data, "session settings")
        return cls(
            job_count_limit=fields.integer_or_none("job_count_limit"),
            duration_limit_min=fields.real_or_none("duration_limit_min"),
            cost_limit=fields.optional("cost_limit", Cost.from_json),
            expires_at=fields.time_or_none("expires_at"),
        )


@dataclass(frozen=True, kw_only=True)
class Session:
    """A reservation of a machine for several jobs.

    Attributes:
        id: its name with the service.
        backend: which machine.
        status: "created", "started" or "ended".
        active: whether jobs can join.
        created_at: when.
        started_at: when.
        ended_at: when.
        settings: limits.
        raw: the whole JSON.
    """

    id: str
    backend: str
    status: str
    active: bool
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    settings: SessionSettings = SessionSettings()
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "Session":
        """Reads the JSON."""
        fields = Fields(data, "session")
        return cls(
            id=fields.text("id"),
            backend=fields.text("backend"),
            status=fields.text("status"),
            created_at=fields.time_or_none("created_at"),
            started_at=fields.time_or_none("started_at"),
            ended_at=fields.time_or_none("ended_at"),
            active=fields.flag("active"),
            settings=fields.optional("settings", SessionSettings.from_json) or SessionSettings(),
            raw=fields.data,
        )


@dataclass(frozen=True, kw_only=True)
class WhoAmI:
    """Who owns the key.

    Attributes:
        key_id: of the key; not the key itself.
        key_name: that its owner gave.
        project_id: that it belongs to.
    """

    key_id: str
    key_name: str | None
    project_id: str | None

    @classmethod
    def from_json(cls, data: Any) -> "WhoAmI":
        """Reads the JSON."""
        fields = Fields(data, "owner of the key")
        return cls(
            key_id=fields.text("key_id"),
            key_name=fields.text_or_none("key_name"),
            project_id=fields.text_or_none("project_id"),
        )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What an organisation used.

    Attributes:
        unit: of the amounts.
        amount: in all.
        jobs: how many.
        raw: the whole JSON, with the shares of each period and group.
    """

    unit: str | None
    amount: float | None
    jobs: int | None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "Usage":
        """Reads the JSON."""
        fields = Fields(data, "usage")
        return cls(
            unit=fields.text_or_none("usage_unit"),
            amount=fields.real_or_none("amount_total"),
            jobs=fields.integer_or_none("job_count"),
            raw=fields.data,
        )
