"""The endpoints of machines, sessions and the account."""

from datetime import date
from typing import Any, Literal

from qjax.ionq._client._account import Session, Usage, WhoAmI
from qjax.ionq._client._backends import Backend, Characterization, CharacterizationPage
from qjax.ionq._client._endpoints import Endpoints, given, part
from qjax.ionq._client._fields import Fields
from qjax.ionq._client._models import JobPage
from qjax.ionq._errors import NotFoundError, ResponseError

__all__ = ["AccountEndpoints"]


class AccountEndpoints(Endpoints):
    """Machines, sessions and the account."""

    async def list_backends(self) -> tuple[Backend, ...]:
        """All machines and the simulator."""
        answer = await self._get("/backends")
        if not isinstance(answer, list):
            raise ResponseError("The service's list of backends is not a list.")
        return tuple(Backend.from_json(entry) for entry in answer)

    async def get_backend(self, name: str) -> Backend:
        """One machine.

        Raises:
            NotFoundError: if there is none of that name.
        """
        return Backend.from_json(await self._get(f"/backends/{part(name)}"))

    async def list_characterizations(
        self,
        backend: str,
        *,
        start: date | None = None,
        end: date | None = None,
        limit: int | None = None,
        page: int | None = None,
    ) -> CharacterizationPage:
        """Measurements of a machine.

        Args:
            backend: which.
            start: first day.
            end: last day.
            limit: records per page, up to 10.
            page: which, from 1.
        """
        query = {
            "start": None if start is None else start.isoformat(),
            "end": None if end is None else end.isoformat(),
            "limit": limit,
            "page": page,
        }
        path = f"/backends/{part(backend)}/characterizations"
        return CharacterizationPage.from_json(await self._get(path, given(query)))

    async def get_characterization(self, backend: str, record_id: str) -> Characterization:
        """One measurement of a machine."""
        path = f"/backends/{part(backend)}/characterizations/{part(record_id)}"
        return Characterization.from_json(await self._get(path))

    async def create_session(
        self,
        backend: str,
        *,
        job_count_limit: int | None = None,
        duration_limit_min: float | None = None,
        cost_limit_usd: float | None = None,
    ) -> Session:
        """Opens a session. It is sent once: after a lost answer look with `list_sessions`.

        Args:
            backend: which machine.
            job_count_limit: jobs.
            duration_limit_min: minutes.
            cost_limit_usd: dollars.

        Raises:
            NotFoundError: if the account has no sessions.
        """
        cost = None if cost_limit_usd is None else {"unit": "usd", "value": cost_limit_usd}
        limits = {
            "job_count_limit": job_count_limit, "duration_limit_min": duration_limit_min,
            "cost_limit": cost,
        }  # fmt: skip
        body: dict[str, Any] = {"backend": backend}
        settings = {key: value for key, value in limits.items() if value is not None}
        body |= {"settings": settings} if settings else {}
        until, told = self._until(), ("", None)
        try:
            answer = await self._caller.call(
                "POST", "/sessions", until, body=body, repeat="if_unsent"
            )
            return Session.from_json(answer)
        except NotFoundError as error:
            told = (str(error), error.request_id)
        raise NotFoundError(
            f"{told[0]} The account does not have sessions, or there is no backend {backend!r}.",
            status=404,
            request_id=told[1],
        )

    async def get_session(self, session_id: str) -> Session:
        """One session."""
        return Session.from_json(await self._get(f"/sessions/{part(session_id)}"))

    async def list_sessions(self, *, active: bool | None = None) -> tuple[Session, ...]:
        """All sessions, or only those that jobs can join.

        Raises:
            NotFoundError: if the account has no sessions.
        """
        answer = await self._get("/sessions", given({"active": active}))
        return Fields(answer, "list of sessions").each("sessions", Session.from_json)

    async def end_session(self, session_id: str) -> Session:
        """Ends a session."""
        return Session.from_json(await self._change("POST", f"/sessions/{part(session_id)}/end"))

    async def list_session_jobs(self, session_id: str) -> JobPage:
        """Jobs of a session."""
        return JobPage.from_json(await self._get(f"/sessions/{part(session_id)}/jobs"))

    async def whoami(self) -> WhoAmI:
        """Whose key this is."""
        return WhoAmI.from_json(await self._get("/whoami"))

    async def get_usage(
        self,
        start: date,
        end: date,
        *,
        organization: str = "self",
        group_by: Literal["job", "project", "user"] = "project",
        modality: Literal["daily", "weekly", "monthly"] = "monthly",
    ) -> Usage:
        """What an organisation used.

        Args:
            start: first day.
            end: last day.
            organization: whose; "self" for that of the key.
            group_by: what the shares are of.
            modality: what the periods are.

        Raises:
            ForbiddenError: if the key lacks the scope.
        """
        query = {
            "start_date": start.isoformat(), "end_date": end.isoformat(), "group_by": group_by,
            "modality": modality,
        }  # fmt: skip
        path = f"/organizations/{part(organization)}/usage"
        return Usage.from_json(await self._get(path, given(query)))
