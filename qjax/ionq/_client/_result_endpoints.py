"""The endpoints of results, and the choice between the forms in which they lie."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from qjax.circuit import Circuit
from qjax.ionq._client._endpoints import Endpoints, given, part
from qjax.ionq._client._fields import Fields
from qjax.ionq._client._http import Answer
from qjax.ionq._client._job import QUBITS
from qjax.ionq._client._models import Job, ResultLink
from qjax.ionq._client._pace import Deadline
from qjax.ionq._client._results import is_outcomes, read_outcomes, read_shots
from qjax.ionq._errors import (
    InvalidJobError,
    JobCanceledError,
    JobFailedError,
    NotFoundError,
    ResponseError,
)
from qjax.ionq._outcomes import Outcomes, ShotTable
from qjax.ionq._payload import circuit_from_payload

__all__ = ["Aggregation", "ResultEndpoints", "check_finished"]

Aggregation = Literal["average", "voting", "dnl"]


class ResultEndpoints(Endpoints):
    """Results."""

    async def get_probabilities(
        self,
        job_id: str,
        *,
        num_qubits: int | None = None,
        shots: int | None = None,
        aggregation: Aggregation | None = None,
        sharpen: bool | None = None,
    ) -> Outcomes:
        """Probabilities of a job of one circuit.

        Args:
            job_id: which.
            num_qubits: of the circuit.
            shots: behind the probabilities; None if they are exact.
            aggregation: how the variants of a debiased job are joined.
            sharpen: the older name of voting.

        Raises:
            NotFoundError: if there are none, or not yet.
        """
        query = given({"aggregation": aggregation, "sharpen": sharpen})
        payload = await self._get(f"/jobs/{part(job_id)}/results/probabilities", query)
        return read_outcomes(payload, num_qubits=num_qubits, shots=shots)

    async def get_histogram(self, job_id: str, *, num_qubits: int | None = None) -> Outcomes:
        """Counts of a sampled job of one circuit.

        Raises:
            NotFoundError: if the job is exact, or not finished.
        """
        payload = await self._get(f"/jobs/{part(job_id)}/results/histogram")
        return read_outcomes(payload, num_qubits=num_qubits, counted=True)

    async def get_shots(self, job_id: str, *, num_qubits: int | None = None) -> ShotTable:
        """Every shot of a sampled job of one circuit.

        Raises:
            NotFoundError: if the job is exact, or not finished.
        """
        payload = await self._get(f"/jobs/{part(job_id)}/results/shots")
        return read_shots(payload, num_qubits=num_qubits)

    async def get_aggregated(
        self, job_id: str, *, aggregation: Aggregation | None = None
    ) -> Mapping[str, Any]:
        """Probabilities of all circuits of a multi-circuit job, as the service writes them.

        Returns:
            Id of each circuit's job -> outcomes in the service's order of bits. `results` turns
            them into outcomes.
        """
        path = f"/jobs/{part(job_id)}/results/probabilities/aggregated"
        return _aggregate(await self._get(path, given({"aggregation": aggregation})))

    async def get_artifact(self, job_id: str, artifact_id: str) -> Any:
        """Something that a job produced: JSON, or text for other media types."""
        path = f"/jobs/{part(job_id)}/artifacts/{part(artifact_id)}"
        return await self._caller.call("GET", path, self._until(), read=_json_or_text)

    async def get_compiled(self, job: Job) -> Circuit:
        """The native circuit that the service made of a job's circuit.

        Raises:
            NotFoundError: if the job does not say where it is.
        """
        compilation = Fields(Fields(job.output, "output").mapping("compilation"), "compilation")
        described = compilation.mapping("compiled_circuits").get("ionq.native.v1")
        if described is None:
            raise NotFoundError(f"Job {job.id} names no compiled circuit.", status=404)
        link = ResultLink.from_json(described)
        payload = await self.get_artifact(job.id, link.id or "ionq.native.v1")
        return circuit_from_payload({**Fields(payload, "circuit").data, "gateset": "native"})

    async def results(
        self,
        job: Job,
        *,
        num_qubits: int | Sequence[int] | None = None,
        aggregation: Aggregation | None = None,
        return_exceptions: bool = False,
        deadline: float | None = None,
    ) -> Any:
        """Outcomes of a finished job.

        Args:
            job: completed, as `wait_for_job` returns it.
            num_qubits: of the circuit, or of each circuit; known for jobs that this client sent.
            aggregation: how the variants of a debiased job are joined.
            return_exceptions: whether circuits that failed give their errors, in their places,
                rather than raise the first.
            deadline: seconds for all of it; the client's if not given.

        Returns:
            `Outcomes`, or for a multi-circuit job a list of them in the order of its circuits.

        Raises:
            JobFailedError: if the job, or one of its circuits, failed.
            JobCanceledError: if it was cancelled.
            InvalidJobError: if it is not finished, or was only priced.
        """
        until = self._until(deadline)
        return await self._results(job, until, num_qubits, aggregation, return_exceptions)

    async def _results(
        self,
        job: Job,
        until: Deadline,
        num_qubits: int | Sequence[int] | None,
        aggregation: Aggregation | None,
        return_exceptions: bool,
    ) -> Any:
        check_finished(job)
        sizes = _sizes(job, num_qubits)
        if job.child_job_ids:
            return await self._many(job, until, sizes, aggregation, return_exceptions)
        counted = next((n for n in _HISTOGRAMS if n in job.results), None)
        size = sizes[0] if sizes else None
        if counted is not None and aggregation is None:
            payload = await self._follow(job, counted, until)
            return read_outcomes(payload, num_qubits=size, counted=True)
        shots = job.shots if job.is_sampled else None
        name = next((n for n in _PROBABILITIES if n in job.results), None)
        if name is None:
            raise ResponseError(f"Job {job.id} is completed, but names no probabilities.")
        payload = await self._follow(job, name, until, given({"aggregation": aggregation}))
        return read_outcomes(payload, num_qubits=size, shots=shots)

    async def memory(
        self,
        job: Job,
        *,
        num_qubits: int | Sequence[int] | None = None,
        deadline: float | None = None,
    ) -> Any:
        """Every shot of a finished job, with its classical registers if any.

        Args:
            job: completed, as `wait_for_job` returns it.
            num_qubits: of the circuit, or of each circuit; known for jobs that this client sent.
            deadline: seconds for all of it; the client's if not given.

        Returns:
            `ShotTable`, or for a multi-circuit job a list of them in the order of its circuits.

        Raises:
            JobFailedError: if the job, or one of its circuits, failed.
            NotFoundError: if the job kept no shots, as the ideal simulator.
        """
        check_finished(job)
        until, sizes = self._until(deadline), _sizes(job, num_qubits)
        if not job.child_job_ids:
            return await self._memory(job, until, sizes[0] if sizes else None)
        tables = []
        for place, child_id in enumerate(job.child_job_ids):
            path = f"/jobs/{part(child_id)}"
            child = Job.from_json(await self._get(path, deadline=until))
            check_finished(child)
            tables.append(await self._memory(child, until, sizes[place] if sizes else None))
        return tables

    async def _memory(self, job: Job, until: Deadline, size: int | None) -> ShotTable:
        name = next((n for n in _SHOTS if n in job.results), None)
        if name is None:
            raise NotFoundError(f"Job {job.id} kept no shots; its results are exact.", status=404)
        return read_shots(await self._follow(job, name, until), num_qubits=size)

    async def _follow(self, job: Job, name: str, until: Deadline, query: Any = None) -> Any:
        """What a result link points to."""
        link = job.results[name]
        if link.url is not None:
            return await self._caller.call("GET", link.url, until, params=query, link=True)
        artifact = link.id or link.format or name
        path = f"/jobs/{part(job.id)}/artifacts/{part(artifact)}"
        return await self._get(path, query, until)

    async def _many(
        self,
        job: Job,
        until: Deadline,
        sizes: Sequence[int | None],
        aggregation: Aggregation | None,
        return_exceptions: bool,
    ) -> list[Any]:
        """Outcomes of each circuit; the aggregate does not tell why a circuit has none."""
        name = next((n for n in (*_AGGREGATES, "probabilities") if n in job.results), None)
        if name is None:
            raise ResponseError(f"Job {job.id} is completed, but names no probabilities.")
        query = given({"aggregation": aggregation})
        table = _aggregate(await self._follow(job, name, until, query))
        shots = job.shots if job.is_sampled else None
        found: list[Any] = []
        for place, child in enumerate(job.child_job_ids):
            size = sizes[place] if sizes else None
            entry = table.get(child)
            if is_outcomes(entry):
                found.append(read_outcomes(entry, num_qubits=size, shots=shots))
                continue
            error = await self._why(child, until)
            if not return_exceptions:
                raise error
            found.append(error)
        return found

    async def _why(self, child_id: str, until: Deadline) -> Exception:
        child = Job.from_json(await self._get(f"/jobs/{part(child_id)}", deadline=until))
        error: Exception | None = None
        try:
            check_finished(child)
        except (JobFailedError, JobCanceledError, InvalidJobError) as reason:
            error = reason
        return error or ResponseError(f"Circuit {child_id} is completed, but has no outcomes.")


_HISTOGRAMS = (
    "histogram", "ionq.result.histogram.json.v1", "ionq.result.histogram.json.v2",
)  # fmt: skip
_PROBABILITIES = (
    "probabilities", "ionq.result.probabilities.json.v1", "ionq.result.probabilities.json.v2",
)  # fmt: skip
# The newer form of shots names the registers of an OpenQASM program.
_SHOTS = ("ionq.result.shots.json.v2", "shots", "ionq.result.shots.json.v1")
_AGGREGATES = ("ionq.result.probabilities-aggregate.json.v1",)


def check_finished(job: Job) -> None:
    """Raises unless a job has results."""
    if job.status == "failed":
        failure = job.failure
        code, reason = (failure.code, failure.message) if failure else (None, None)
        raise JobFailedError(job.id, code, reason)
    if job.status == "canceled":
        raise JobCanceledError(job.id)
    if job.status != "completed":
        raise InvalidJobError(f"Job {job.id} is {job.status}. Wait for it with wait_for_job.")
    if job.dry_run:
        raise InvalidJobError(
            f"Job {job.id} was a dry run and has no results. Ask get_cost for its price and "
            "get_compiled for its circuit."
        )


def _sizes(job: Job, num_qubits: int | Sequence[int] | None) -> Sequence[int]:
    """Qubits of each circuit, as given, as noted at submission, or as the service counted them."""
    number = len(job.child_job_ids) or 1
    if num_qubits is not None:
        sizes = [num_qubits] * number if isinstance(num_qubits, int) else list(num_qubits)
    elif QUBITS in job.metadata and job.parent_job_id is None:
        noted = str(job.metadata[QUBITS])
        if re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", noted) is None:
            raise ResponseError(
                f"The metadata `{QUBITS}` of job {job.id} must be numbers with commas between, but "
                f"are {noted[:40]!r}. Pass `num_qubits`."
            )
        sizes = [int(text) for text in noted.split(",")]
    else:
        sizes = [] if job.stats.qubits is None else [job.stats.qubits] * number
    if sizes and len(sizes) != number:
        raise InvalidJobError(
            f"Argument `num_qubits` must be one number per circuit, {number}, but has {len(sizes)}."
        )
    return sizes


def _json_or_text(answer: Answer) -> Any:
    return answer.json() if "json" in answer.content_type else answer.text()


def _aggregate(payload: Any) -> Mapping[str, Any]:
    if not isinstance(payload, Mapping):
        raise ResponseError("The aggregated results are not an object.")
    return payload
