"""The asynchronous client: connections, limits, and waiting for jobs."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any, NoReturn

from qjax.ionq._client._account_endpoints import AccountEndpoints
from qjax.ionq._client._backends import Backend
from qjax.ionq._client._endpoints import part
from qjax.ionq._client._http import Timeouts, Transport
from qjax.ionq._client._job import Circuits, job_request
from qjax.ionq._client._job_endpoints import JobEndpoints
from qjax.ionq._client._key import ApiKey
from qjax.ionq._client._models import CreatedJob, Job
from qjax.ionq._client._pace import Backoff, Clock, Deadline, PollSchedule
from qjax.ionq._client._result_endpoints import Aggregation, ResultEndpoints, check_finished
from qjax.ionq._client._retry import Caller
from qjax.ionq._client._submission import Submission, Submitter
from qjax.ionq._errors import ConfigurationError, DeadlineError, IonQError

__all__ = ["CANCEL_SECONDS", "AsyncIonQClient", "api_url"]

logger = logging.getLogger("qjax.ionq")

URL_VARIABLE = "IONQ_API_URL"
_DEFAULT_URL = "https://api.ionq.co/v0.4"
CANCEL_SECONDS = 30.0  # for which a cancelled task waits to cancel its job as well


def api_url(base_url: str | None) -> str:
    """The address given, that of the environment, or IonQ's own."""
    return base_url or os.environ.get(URL_VARIABLE) or _DEFAULT_URL


class AsyncIonQClient(JobEndpoints, ResultEndpoints, AccountEndpoints):
    """A client of IonQ's cloud for asyncio.

    Reads, cancels and deletes are retried; a submission is retried only if it surely did not
    arrive, and otherwise looked up by a tag. One client serves many tasks of one event loop.

    Args:
        api_key: the environment variable IONQ_API_KEY if not given.
        base_url: of the API with its version; the environment variable IONQ_API_URL, else IonQ's
            own if not given. Plain http is allowed on this machine only.
        deadline: seconds that any one call may take in all, retries and waits included; None for
            no limit.
        timeouts: of one HTTP request.
        backoff: delays between tries.
        polling: delays between looks at a job.
        submission: what to do when an answer to a submission is lost.
        connections: size of the pool.
        concurrency: requests under way at once, those that wait for a connection included.
        requests_per_second: limit over all requests; None for none.
        clock: time, sleep and random numbers.

    Raises:
        ConfigurationError: without a key, or with an address that is not safe.

    Example:
        >>> import qjax as qj
        >>> from qjax.ionq import AsyncIonQClient
        >>> async def bell():
        ...     async with AsyncIonQClient() as client:
        ...         circuit = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        ...         return await client.run(circuit, backend="simulator")
    """

    def __init__(
        self,
        api_key: str | ApiKey | None = None,
        *,
        base_url: str | None = None,
        deadline: float | None = None,
        timeouts: Timeouts | None = None,
        backoff: Backoff | None = None,
        polling: PollSchedule | None = None,
        submission: Submission | None = None,
        connections: int = 5,
        concurrency: int = 100,
        requests_per_second: float | None = 20.0,
        clock: Clock | None = None,
    ):
        self._url = api_url(base_url)
        key = ApiKey(api_key)
        del api_key  # a traceback may show the locals of this frame
        key.check()
        if connections < 1 or concurrency < 1:
            raise ConfigurationError(
                "Arguments `connections` and `concurrency` must be at least 1, but are "
                f"{connections} and {concurrency}."
            )
        time = clock or Clock()
        self._transport = Transport(key, self._url, connections, timeouts or Timeouts())
        self._caller = Caller(
            self._transport, time, backoff or Backoff(), concurrency, requests_per_second
        )
        self._deadline = Deadline(deadline, time).seconds
        self._polling = polling or PollSchedule()
        self._submitter = Submitter(self._caller, submission or Submission())
        self._machines: dict[str, tuple[float, Backend]] = {}
        self._unfinished: set[asyncio.Task[None]] = set()  # what outlives a cancelled task

    @property
    def base_url(self) -> str:
        """Address of the API."""
        return self._transport.base_url

    async def wait_for_job(
        self, job_id: str, *, deadline: float | None = None, cancel_remote: bool = False
    ) -> Job:
        """Waits until a job is completed.

        Args:
            job_id: which.
            deadline: seconds; the client's if not given.
            cancel_remote: whether cancelling the task that waits cancels the job as well.

        Raises:
            JobFailedError: if the job failed.
            JobCanceledError: if it was cancelled.
            DeadlineError: if the deadline passed; the job goes on, and can be waited for again.
        """
        return await self._wait(job_id, self._until(deadline), cancel_remote)

    async def _wait(self, job_id: str, until: Deadline, cancel_remote: bool) -> Job:
        late = ""
        try:
            return await self._poll(job_id, until)
        except DeadlineError as error:
            late = str(error)
        except asyncio.CancelledError:
            if cancel_remote:
                await self._outlast(self._cancel_quietly(job_id))
            else:
                logger.warning("Nobody waits for job %s any more; it goes on.", job_id)
            raise
        raise DeadlineError(
            f"{late} Job {job_id} goes on; wait again with client.wait_for_job({job_id!r}), or "
            f"stop it with client.cancel_job({job_id!r}).",
            job_id=job_id,
        )

    async def _poll(self, job_id: str, until: Deadline) -> Job:
        looks = 0
        while True:
            job = Job.from_json(await self._get(f"/jobs/{part(job_id)}", deadline=until))
            if job.is_finished:
                if not (job.dry_run and job.status == "completed"):
                    check_finished(job)
                return job
            looks += 1
            delay = self._polling.delay(looks, self._caller.clock)
            await until.sleep(delay, f"job {job_id}, which is {job.status}")

    async def run(
        self,
        circuits: Circuits,
        *,
        backend: str,
        deadline: float | None = None,
        cancel_remote: bool = False,
        aggregation: Aggregation | None = None,
        return_exceptions: bool = False,
        **options: Any,
    ) -> Any:
        """Submits a job, waits for it and returns its outcomes.

        Args:
            circuits: one circuit, a list of them, or an OpenQASM 3 program.
            backend: which.
            deadline: seconds for all of it; the client's if not given.
            cancel_remote: whether cancelling the task that waits cancels the job as well, also
                when it comes while the job is being submitted.
            aggregation: as of `results`.
            return_exceptions: as of `results`.
            **options: as of `create_job`.

        Returns:
            `Outcomes`, or for a list of circuits a list of them.

        Raises:
            IonQError: as `create_job`, `wait_for_job` and `results`.
        """
        until = self._until(deadline)
        request = job_request(circuits, backend=backend, **options)
        submission = self._submit(request, until)
        if cancel_remote:
            created = await self._submit_or_cancel(submission, request.tag)
        else:
            created = await submission
        job = await self._wait(created.id, until, cancel_remote)
        late = ""
        try:
            return await self._results(job, until, None, aggregation, return_exceptions)
        except DeadlineError as error:
            late = str(error)
        except asyncio.CancelledError:
            logger.warning("Job %s is completed, but its results were not fetched.", job.id)
            raise
        raise DeadlineError(
            f"{late} Job {job.id} is completed; fetch it with client.get_job({job.id!r}) and pass "
            "it to client.results.",
            job_id=job.id,
        )

    async def _submit_or_cancel(
        self, submission: Coroutine[Any, Any, CreatedJob], tag: str
    ) -> CreatedJob:
        """The job; if cancelled meanwhile, the job is cancelled too as soon as it is known."""
        task = asyncio.ensure_future(submission)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await self._outlast(self._cancel_submitted(task, tag))
            raise

    async def _cancel_submitted(self, task: "asyncio.Task[CreatedJob]", tag: str) -> None:
        try:
            created = await task
        except IonQError as error:
            logger.warning("Job %s is not known, and so was not cancelled: %s", tag, error)
            return
        await self._cancel_quietly(created.id)

    async def _cancel_quietly(self, job_id: str) -> None:
        """Cancels a job for a task that is being cancelled; what prevents it is logged."""
        try:
            await self.cancel_job(job_id, deadline=CANCEL_SECONDS)
        except IonQError as error:
            logger.warning("Job %s was not cancelled: %s", job_id, error)
        except asyncio.CancelledError:
            logger.warning("Job %s was perhaps not cancelled; no answer was waited for.", job_id)
            raise

    async def _outlast(self, work: Coroutine[Any, Any, None]) -> None:
        """Waits for what must be done though the waiting task is being cancelled.

        If that task is cancelled again, or loses patience, the work goes on without it.
        """
        task = asyncio.ensure_future(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        await asyncio.wait([task], timeout=CANCEL_SECONDS)

    async def aclose(self) -> None:
        """Ends what cancelled tasks left to do, then closes the connections.

        The client can be used again, also in another event loop.
        """
        left = set(self._unfinished)
        if left:
            _, late = await asyncio.wait(left, timeout=CANCEL_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._submitter.reset()
        await self._caller.close()

    async def __aenter__(self) -> "AsyncIonQClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncIonQClient({self._url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A client is not pickled. Make a new one where it is needed.")
