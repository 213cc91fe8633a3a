"""The endpoints of jobs: create, look up, list, cancel, delete, price."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NamedTuple

from qjax.ionq._client._account import CostEstimate, JobCost
from qjax.ionq._client._backends import Backend
from qjax.ionq._client._endpoints import Endpoints, given, part
from qjax.ionq._client._fields import Fields
from qjax.ionq._client._job import (
    DEBIASING_FROM,
    Circuits,
    GateCounts,
    JobRequest,
    check_backend,
    check_shots,
    clone_metadata,
    job_request,
    new_tag,
)
from qjax.ionq._client._models import CreatedJob, Job, JobPage
from qjax.ionq._client._pace import Deadline
from qjax.ionq._client._submission import Submitter
from qjax.ionq._errors import BadRequestError, ConflictError, InvalidJobError, NotFoundError

__all__ = ["JobEndpoints", "JobEstimate"]

_BACKEND_AGE = 60.0  # seconds after which a machine's description is asked for again


class JobEstimate(NamedTuple):
    """What a job would cost with debiasing and without.

    Attributes:
        plain: dollars or credits without error mitigation.
        debiased: with it; None on the simulator and below 500 shots.
        unit: "usd" or "credit".
        debiased_by_default: whether the service would debias unless told not to.
    """

    plain: float
    debiased: float | None
    unit: str
    debiased_by_default: bool


class JobEndpoints(Endpoints):
    """Jobs."""

    _submitter: Submitter
    _machines: dict[str, tuple[float, Backend]]

    async def create_job(
        self,
        circuits: Circuits,
        *,
        backend: str,
        shots: int = 100,
        gateset: str = "qis",
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
        session_id: str | None = None,
        dry_run: bool = False,
        noise: str | None = None,
        seed: int | None = None,
        debiasing: bool | None = None,
        symmetry_verification: bool | None = None,
        compilation: Mapping[str, Any] | None = None,
        tag: str | None = None,
        deadline: float | None = None,
    ) -> CreatedJob:
        """Submits a job, once, after checking all that can be checked.

        Args:
            circuits: one circuit, a list of them (a multi-circuit job), or an OpenQASM 3 program.
            backend: "simulator", "qpu.forte-1", ...
            shots: per circuit, up to a million.
            gateset: "qis", which the service compiles, or "native", which runs as written.
            name: to find the job by.
            metadata: up to 8 texts of your own.
            session_id: to join.
            dry_run: only check, compile and price it.
            noise: noise model of the simulator, such as "aria-1".
            seed: of the noise.
            debiasing: must be said from 500 shots of a qis job on a QPU, where the service
                debiases by default and charges a higher minimum.
            symmetry_verification: error mitigation by discarding shots.
            compilation: settings of the service's compiler, such as {"opt": 0}.
            tag: unique mark by which the job is found again; a new one if not given.
            deadline: seconds for all of it; the client's if not given.

        Raises:
            InvalidJobError: if the job breaks a limit; nothing was sent.
            PayloadError: if a circuit cannot be written in the gateset; nothing was sent.
            ApiError: if the service refused the job.
            SubmissionUnknownError: if it cannot be known whether the job was taken.
        """
        request = job_request(
            circuits,
            backend=backend,
            shots=shots,
            gateset=gateset,
            name=name,
            metadata=metadata,
            session_id=session_id,
            dry_run=dry_run,
            noise=noise,
            seed=seed,
            debiasing=debiasing,
            symmetry_verification=symmetry_verification,
            compilation=compilation,
            tag=tag,
        )
        return await self._submit(request, self._until(deadline))

    async def _submit(self, request: JobRequest, until: Deadline) -> CreatedJob:
        check_backend(request, await self._machine(request.body["backend"], until))
        return await self._submitter.submit("/jobs", request.body, request.tag, until)

    async def _machine(self, name: str, until: Deadline) -> Backend:
        """A machine as the service describes it, asked for once a minute at most."""
        now = self._caller.clock.monotonic()
        known = self._machines.get(name)
        if known is not None and now - known[0] < _BACKEND_AGE:
            return known[1]
        missing = False
        try:
            path = f"/backends/{part(name)}"
            backend = Backend.from_json(await self._get(path, deadline=until))
        except NotFoundError:
            missing = True
        if missing:
            raise InvalidJobError(f"The service has no backend {name!r}.")
        self._machines[name] = (now, backend)
        return backend

    async def find_job(
        self, tag: str, *, since: float = 0.0, deadline: float | None = None
    ) -> CreatedJob | None:
        """Looks once for the job with a tag in the list of jobs.

        Args:
            tag: of the submission, as `SubmissionUnknownError` names it.
            since: seconds since 1970 before which the search may stop.
            deadline: seconds; the client's if not given.

        Returns:
            The job, or None if the list does not have it now.
        """
        return await self._submitter.find(tag, since, self._until(deadline))

    async def get_job(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFoundError: if there is none, or it was deleted.
        """
        return Job.from_json(await self._get(f"/jobs/{part(job_id)}"))

    async def list_jobs(
        self,
        *,
        ids: Iterable[str] | None = None,
        parent_job_id: str | None = None,
        status: str | None = None,
        backend: str | None = None,
        session_id: str | None = None,
        submitter_id: str | None = None,
        limit: int | None = None,
        next: str | None = None,  # noqa: A002  the service's word
    ) -> JobPage:
        """One page of jobs.

        Args:
            ids: of the jobs wanted.
            parent_job_id: whose circuits are wanted.
            status: that the jobs must have.
            backend: that they must be for, or several with commas between.
            session_id: that they must belong to.
            submitter_id: whose they must be.
            limit: jobs per page; the service's choice if not given.
            next: of the page before.
        """
        query = {
            "ids": None if ids is None else list(ids), "parent_job_id": parent_job_id,
            "status": status, "target": backend, "session_id": session_id,
            "submitter_id": submitter_id, "limit": limit, "next": next,
        }  # fmt: skip
        return JobPage.from_json(await self._get("/jobs", given(query)))

    async def iterate_jobs(self, **filters: Any) -> AsyncIterator[Job]:
        """All jobs, page by page.

        Args:
            **filters: as of `list_jobs`, without `next`.
        """
        cursor: str | None = None
        while True:
            page = await self.list_jobs(**filters, next=cursor)
            for job in page.jobs:
                yield job
            if not page.jobs or page.next in (None, cursor):
                return
            cursor = page.next

    async def cancel_job(self, job_id: str, *, deadline: float | None = None) -> None:
        """Cancels a job; that it is cancelled already is no error.

        Raises:
            ApiError: if it is finished and cannot be cancelled.
        """
        until = self._until(deadline)
        try:
            await self._change("PUT", f"/jobs/{part(job_id)}/status/cancel", deadline=until)
        except (BadRequestError, ConflictError):
            job = Job.from_json(await self._get(f"/jobs/{part(job_id)}", deadline=until))
            if job.status != "canceled":
                raise

    async def cancel_jobs(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Cancels several jobs; returns the ids that the service confirms."""
        answer = await self._change("PUT", "/jobs/status/cancel", {"ids": list(ids)})
        return Fields(answer, "confirmation").texts("ids")

    async def delete_job(self, job_id: str) -> None:
        """Deletes a job and its results.

        Raises:
            NotFoundError: if there is none.
        """
        try:
            await self._change("DELETE", f"/jobs/{part(job_id)}")
        except NotFoundError as error:
            if error.tries == 1:  # otherwise an earlier try, whose answer was lost, deleted it
                raise

    async def delete_jobs(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Deletes several jobs; returns the ids that the service confirms.

        Raises:
            NotFoundError: if one of them does not exist.
        """
        named, until = list(ids), self._until()
        try:
            answer = await self._change("DELETE", "/jobs", {"ids": named}, until)
            return Fields(answer, "confirmation").texts("ids")
        except NotFoundError as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have deleted them.
            query = given({"ids": named})
            if JobPage.from_json(await self._get("/jobs", query, until)).jobs:
                raise
        return tuple(named)

    async def clone_job(
        self,
        job_id: str,
        *,
        backend: str | None = None,
        shots: int | None = None,
        name: str | None = None,
        debiasing: bool | None = None,
        dry_run: bool | None = None,
        deadline: float | None = None,
    ) -> CreatedJob:
        """Runs a job again, with some options changed.

        Args:
            job_id: which.
            backend: another one.
            shots: another number.
            name: another one.
            debiasing: must be said from 500 shots on a QPU.
            dry_run: only price it.
            deadline: seconds; the client's if not given.

        Raises:
            InvalidJobError: if debiasing must be said and is not, or the job has so many metadata
                that no tag fits in.
            SubmissionUnknownError: if it cannot be known whether the job was taken.
        """
        until = self._until(deadline)
        old = Job.from_json(await self._get(f"/jobs/{part(job_id)}", deadline=until))
        number = old.shots if shots is None else check_shots(shots)
        many = number is None or number >= DEBIASING_FROM
        if debiasing is None and many and (backend or old.backend).startswith("qpu"):
            raise InvalidJobError(
                f"From {DEBIASING_FROM} shots the service debiases on a QPU unless told not to, at "
                "a higher price. Say which you want: debiasing=True or debiasing=False."
            )
        tag = new_tag()
        body = {
            "backend": backend, "shots": shots, "name": name, "dry_run": dry_run,
            "settings": None if debiasing is None else _debiased(old.settings, debiasing),
            "metadata": clone_metadata(old, tag),
        }  # fmt: skip
        changed = {key: value for key, value in body.items() if value is not None}
        return await self._submitter.submit(f"/jobs/{part(job_id)}/clone", changed, tag, until)

    async def get_cost(self, job_id: str) -> JobCost:
        """What a job costs.

        Raises:
            NotFoundError: while it is not computed yet.
        """
        return JobCost.from_json(await self._get(f"/jobs/{part(job_id)}/cost"))

    async def estimate(
        self,
        backend: str,
        *,
        qubits: int,
        shots: int,
        one_qubit_gates: int,
        two_qubit_gates: int,
        error_mitigation: bool = False,
    ) -> CostEstimate:
        """The price of one circuit of a given size.

        Args:
            backend: which.
            qubits: of the circuit.
            shots: how many.
            one_qubit_gates: how many.
            two_qubit_gates: how many.
            error_mitigation: whether debiasing is on.

        Raises:
            AuthenticationError: if the key's role may not ask; a dry run tells the price then.
        """
        gates = GateCounts(one_qubit_gates, two_qubit_gates)
        return await self._estimate(backend, qubits, shots, gates, error_mitigation, self._until())

    async def _estimate(
        self, backend: str, qubits: int, shots: int, gates: GateCounts, mitigated: bool,
        until: Deadline,
    ) -> CostEstimate:  # fmt: skip
        query = {
            "backend": backend, "type": "ionq.circuit.v1", "qubits": qubits, "shots": shots,
            "1q_gates": gates.one_qubit, "2q_gates": gates.two_qubit,
            "error_mitigation": mitigated,
        }  # fmt: skip
        return CostEstimate.from_json(await self._get("/jobs/estimate", given(query), until))

    async def estimate_job(
        self, circuits: Circuits, *, backend: str, shots: int = 100, gateset: str = "qis"
    ) -> JobEstimate:
        """What a job would cost with debiasing and without.

        Gates are counted as they are sent; the service bills what it compiles them to, which a
        dry run tells.

        Args:
            circuits: one circuit or a list of them.
            backend: which.
            shots: per circuit.
            gateset: "qis" or "native".

        Raises:
            InvalidJobError: for an OpenQASM program, whose gates are not counted here.
        """
        request = job_request(
            circuits, backend=backend, shots=shots, gateset=gateset,
            debiasing=False if backend.startswith("qpu") else None,
        )  # fmt: skip
        if not request.gates:
            raise InvalidJobError("A program in OpenQASM is priced by a dry run, not estimated.")
        may = backend.startswith("qpu") and shots >= DEBIASING_FROM
        totals, unit, until = {False: 0.0, True: 0.0}, "usd", self._until()
        kinds = Counter(zip(request.num_qubits, request.gates, strict=True))
        for (size, gates), number in kinds.items():
            for mitigated in (False, True) if may else (False,):
                one = await self._estimate(backend, size, shots, gates, mitigated, until)
                totals[mitigated] += number * one.total
                unit = one.unit
        debiased = totals[True] if may else None
        return JobEstimate(totals[False], debiased, unit, may and gateset == "qis")


def _debiased(settings: Mapping[str, Any], debiasing: bool) -> dict[str, Any]:
    """Settings of a job with debiasing on or off, the others as they were."""
    mitigation = settings.get("error_mitigation")
    before = mitigation if isinstance(mitigation, Mapping) else {}
    return {**settings, "error_mitigation": {**before, "debiasing": debiasing}}
