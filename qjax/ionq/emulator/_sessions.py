"""Sessions: a machine for oneself, within limits of jobs, time and cost."""

from collections.abc import Callable
from typing import Any

from qjax.ionq._machines import MACHINES
from qjax.ionq.emulator._clock import Clock, timestamp
from qjax.ionq.emulator._errors import HttpError, JobError
from qjax.ionq.emulator._job import Job
from qjax.ionq.emulator._store import Store
from qjax.ionq.emulator._views import ACCOUNT

__all__ = ["Sessions"]

_DEFAULT_MINUTES = 60
_LARGEST_LIMITS = {"job_count_limit": 1_000_000, "duration_limit_min": 366 * 24 * 60}


def _limits(settings: Any) -> tuple[dict[str, int | None], dict[str, Any] | None]:
    """The limits of jobs and minutes, and that of cost, of a new session.

    Raises:
        HttpError: if one is of a wrong type or out of range.
    """
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise HttpError(400, '"settings" must be of type object', ("settings",))
    limits = {key: settings.get(key) for key in _LARGEST_LIMITS}
    for key, value in limits.items():
        where, most = f"settings.{key}", _LARGEST_LIMITS[key]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise HttpError(400, f'"{where}" must be a number', (where,))
        if value is not None and not 1 <= value <= most:
            raise HttpError(400, f'"{where}" must be between 1 and {most}', (where,))
    cost = settings.get("cost_limit")
    if cost is not None and not isinstance(cost, dict):
        raise HttpError(400, '"settings.cost_limit" must be of type object', ("settings",))
    value = None if cost is None else cost.get("value")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        where = "settings.cost_limit.value"
        raise HttpError(400, f'"{where}" must be a number', (where,))
    return limits, cost


class Sessions:
    """The sessions of the account.

    Args:
        store: that keeps them.
        clock: that they go by.
        enabled: whether the account has them; if not, every call finds nothing.
    """

    def __init__(self, store: Store, clock: Clock, *, enabled: bool):
        self._store, self._clock, self._enabled = store, clock, enabled

    def create(self, body: Any, session_id: str) -> dict[str, Any]:
        """Opens a session.

        Raises:
            HttpError: if the body is wrong, or the account has no sessions.
        """
        self._check_enabled()
        backend = body.get("backend") if isinstance(body, dict) else None
        if not isinstance(backend, str) or backend not in MACHINES:
            raise HttpError(400, f'"backend" must be one of [{", ".join(MACHINES)}]', ("backend",))
        limits, cost = _limits(body.get("settings"))
        now = self._clock.now()
        minutes = limits["duration_limit_min"]
        expires = now + 60 * (_DEFAULT_MINUTES if minutes is None else minutes)
        record = {
            "backend": backend,
            "created": now,
            "expires": expires,
            "started": None,
            "ended": None,
            "jobs": 0,
            "settings": {**limits, "cost_limit": cost},
        }
        self._store.sessions[session_id] = record
        self._store.save_sessions()
        return self.view(session_id)

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise HttpError(404)

    def _find(self, session_id: str) -> dict[str, Any]:
        self._check_enabled()
        if session_id not in self._store.sessions:
            raise HttpError(404)
        return self._store.sessions[session_id]

    def _ended(self, record: dict[str, Any]) -> float | None:
        if record["ended"] is not None:
            return record["ended"]
        return record["expires"] if self._clock.now() >= record["expires"] else None

    def view(self, session_id: str) -> dict[str, Any]:
        """The JSON of a session.

        Raises:
            HttpError: of status 404, if there is none.
        """
        record = self._find(session_id)
        ended, started = self._ended(record), record["started"]
        status = "ended" if ended is not None else "created" if started is None else "started"
        return {
            "id": session_id,
            "created_at": timestamp(record["created"]),
            "organization_id": ACCOUNT["organization"],
            "backend": record["backend"],
            "project_id": ACCOUNT["project"],
            "creator_id": ACCOUNT["user"],
            "ended_at": None if ended is None else timestamp(ended),
            "ender_id": ACCOUNT["user"] if record["ended"] is not None else None,
            "settings": {**record["settings"], "expires_at": timestamp(record["expires"])},
            "active": ended is None,
            "status": status,
            "started_at": None if started is None else timestamp(started),
        }

    def all(self, active: bool | None) -> list[dict[str, Any]]:
        """All sessions, or those that are active or not, newest first."""
        self._check_enabled()
        views = [self.view(name) for name in reversed(self._store.sessions)]
        return [view for view in views if active is None or view["active"] == active]

    def end(self, session_id: str) -> dict[str, Any]:
        """Ends a session; one that ended stays as it is."""
        record = self._find(session_id)
        if self._ended(record) is None:
            record["ended"] = self._clock.now()
            self._store.save_sessions()
        return self.view(session_id)

    def check_open(self, session_id: str | None, backend: str) -> None:
        """Raises unless a job may join the session.

        Raises:
            HttpError: if there is no such session, it ended, is for another machine, or has had
                as many jobs as it may.
        """
        if session_id is None:
            return
        record = self._find(session_id)
        limit = record["settings"]["job_count_limit"]
        if self._ended(record) is not None:
            raise HttpError(400, "The session has ended.", ("session_id",))
        if record["backend"] != backend:
            raise HttpError(400, f"The session is for {record['backend']}.", ("session_id",))
        if limit is not None and record["jobs"] >= limit:
            raise HttpError(400, f"The session is limited to {limit} jobs.", ("session_id",))

    def count(self, session_id: str | None) -> None:
        """Counts a job that joined."""
        if session_id is not None:
            record = self._store.sessions[session_id]
            record["jobs"] += 1
            record["started"] = (
                self._clock.now() if record["started"] is None else record["started"]
            )
            self._store.save_sessions()

    def check_cost(self, job: Job, bill: Callable[[], list[dict[str, Any]]]) -> None:
        """Raises if the session's limit has been reached; a job may go beyond it, not start there.

        Raises:
            JobError: if it has.
        """
        session_id = job.body["session_id"]
        if session_id is None or job.dry_run:
            return
        limit = (self._store.sessions[session_id]["settings"]["cost_limit"] or {}).get("value")
        spent = sum(entry["amount"] for entry in bill() if entry["session_id"] == session_id)
        if limit is not None and spent >= limit:
            raise JobError(
                "QuotaExhaustedError",
                f"The session is limited to ${limit:.2f}, of which ${spent:.2f} are spent.",
            )
