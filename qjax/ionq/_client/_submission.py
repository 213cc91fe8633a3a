"""Creating a job exactly once over a network that loses answers.

The service has no idempotency keys. Each job carries a unique tag in its metadata, and where it is
not known whether a request was carried out, the list of jobs is searched for the tag.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from qjax._checks import check_positive_int
from qjax.ionq._client._job import TAG
from qjax.ionq._client._models import CreatedJob, Job, JobPage
from qjax.ionq._client._pace import Deadline, check_seconds
from qjax.ionq._client._retry import Caller
from qjax.ionq._errors import (
    ApiError,
    ConfigurationError,
    ConnectionFailedError,
    IonQError,
    ResponseError,
    ServerError,
    SubmissionUnknownError,
)

__all__ = ["Submission", "Submitter"]

logger = logging.getLogger("qjax.ionq")

_CLOCK_SKEW = 300.0  # seconds by which the clocks of client and service may differ
_MOST_PAGES = 1000


@dataclass(frozen=True)
class Submission:
    """What to do when it is not known whether a job was taken.

    Attributes:
        window: seconds for which the list of jobs is searched. It must be longer than a request
            can be under way after its connection broke, plus the time that a job needs to appear
            in the list.
        resubmit: whether a job that was not found throughout the window is sent again. That is
            safe only as far as the window is as long as said; if not, the error
            `SubmissionUnknownError` leaves the decision to the caller.
        first_look: seconds between the first two looks; later ones are twice as far apart.
        page_size: jobs per page of the list; the service's choice if None.
    """

    window: float = 30.0
    resubmit: bool = False
    first_look: float = 0.5
    page_size: int | None = None

    def __post_init__(self):
        check_seconds(self.window, "window", zero=True)
        check_seconds(self.first_look, "first_look")
        if self.page_size is not None:
            check_positive_int(self.page_size, name="page_size", error=ConfigurationError)

    def looks(self) -> list[float]:
        """Seconds after the failure at which to look: at once, ever less often, at the end."""
        times, gap = [0.0], self.first_look
        while times[-1] + gap < self.window:
            times.append(times[-1] + gap)
            gap *= 2
        return [*times, self.window]


class Submitter:
    """Creates jobs, and finds them again by their tags.

    Args:
        caller: sends requests.
        policy: for doubtful cases.
    """

    def __init__(self, caller: Caller, policy: Submission):
        self._caller, self._clock, self._policy = caller, caller.clock, policy
        self._search = _Search(caller, policy.page_size)

    async def submit(
        self, path: str, body: dict[str, Any], tag: str, deadline: Deadline
    ) -> CreatedJob:
        """Creates one job.

        Args:
            path: of the endpoint.
            body: with the tag in its metadata.
            tag: unique.
            deadline: for all of it.

        Raises:
            ApiError: if the service refused the job.
            DeadlineError: if the deadline passed before the job was sent.
            SubmissionUnknownError: if it cannot be known whether the job was taken.
        """
        intended = self._clock.wall()
        try:
            return await self._submit(path, body, tag, intended, deadline)
        except asyncio.CancelledError:
            logger.warning(
                "Cancelled while job %s was sent; it may have been taken. Look for it with "
                "client.find_job(%r, since=%.0f).", tag, tag, intended,
            )  # fmt: skip
            raise

    async def _submit(
        self, path: str, body: dict[str, Any], tag: str, intended: float, deadline: Deadline
    ) -> CreatedJob:
        doubt = ""
        for _ in range(self._caller.backoff.tries):
            created, doubt = await self._send_again(path, body, tag, intended, deadline, doubt)
            if created is not None:
                return created
            found = await self._settle(tag, intended, doubt, deadline)
            if found is not None:
                return found
            if not self._policy.resubmit:
                waited = f"No job with it showed up for {self._policy.window:g} s."
                raise SubmissionUnknownError(
                    tag, intended, f"{doubt} {waited} It was not sent again."
                )
            logger.warning("Job %s did not show up; sending it again.", tag)
        raise SubmissionUnknownError(tag, intended, f"It was sent too often; last: {doubt}")

    async def _send_again(
        self, path: str, body: dict[str, Any], tag: str, intended: float, deadline: Deadline,
        before: str,
    ) -> tuple[CreatedJob | None, str]:  # fmt: skip
        """The job, or why it is not known whether it was taken.

        A clear refusal says nothing of an earlier try that was in doubt, `before`.
        """
        try:
            return await self._send(path, body, deadline), ""
        except _Doubt as error:
            return None, str(error)
        except IonQError as error:
            if not before:
                raise
            last = str(error)
        raise SubmissionUnknownError(tag, intended, f"{before} It was sent again; then: {last}")

    async def _send(self, path: str, body: dict[str, Any], deadline: Deadline) -> CreatedJob:
        """Sends the job; a doubt is whatever leaves open whether it was taken."""
        doubt = ""
        try:
            answer = await self._caller.call("POST", path, deadline, body=body, repeat="if_unsent")
            return CreatedJob.from_json(answer)
        except (ServerError, ConnectionFailedError, ResponseError) as error:
            if isinstance(error, ConnectionFailedError) and not error.sent:
                raise
            doubt = str(error)
        except ApiError as error:
            if error.status != 408:  # the server stopped waiting, for what is not known
                raise
            doubt = str(error)
        raise _Doubt(doubt)

    async def _settle(
        self, tag: str, intended: float, doubt: str, deadline: Deadline
    ) -> CreatedJob | None:
        """The job if it shows up in the list within the window."""
        logger.info("%s Looking for job %s in the list.", doubt, tag)
        start, trouble = self._clock.monotonic(), ""
        try:
            for moment in self._policy.looks():
                ahead = start + moment - self._clock.monotonic()
                if ahead > 0:
                    await deadline.sleep(ahead, f"job {tag} to show up in the list")
                found = await self._search.find(tag, intended, deadline)
                if found is not None:
                    return found
            return None
        except IonQError as error:
            trouble = str(error)
        raise SubmissionUnknownError(tag, intended, f"{doubt} The search ended early: {trouble}")

    async def find(self, tag: str, since: float, deadline: Deadline) -> CreatedJob | None:
        """One look for a job."""
        return await self._search.find(tag, since, deadline)

    def reset(self) -> None:
        """Makes ready for another event loop."""
        self._search = _Search(self._caller, self._policy.page_size)


class _Doubt(Exception):
    """It is open whether a request was carried out."""


class _Search:
    """Searches of the list of jobs, shared by all who wait for one.

    A search answers those who asked before it began; one that is already under way may have
    passed the place where a new job appears.
    """

    def __init__(self, caller: Caller, page_size: int | None):
        self._caller, self._page_size = caller, page_size
        self._turn = asyncio.Lock()
        self._wanted: dict[str, float] = {}
        self._begun = self._answered = 0  # numbers of the newest search, and of that in `_found`
        self._found: dict[str, CreatedJob] = {}

    async def find(self, tag: str, since: float, deadline: Deadline) -> CreatedJob | None:
        """The job with a tag, if the list has it.

        Args:
            tag: in its metadata.
            since: seconds since 1970 when it was first sent.
            deadline: for the search.
        """
        self._wanted[tag] = since
        asked = self._begun
        try:
            async with deadline.hold(self._turn, "a search of the list of jobs to end"):
                if self._answered <= asked:
                    self._begun += 1
                    self._found = await self._scan(dict(self._wanted), deadline)
                    self._answered = self._begun
                return self._found.get(tag)
        finally:
            self._wanted.pop(tag, None)

    async def _scan(self, wanted: dict[str, float], deadline: Deadline) -> dict[str, CreatedJob]:
        """Pages back until all are found or the jobs are older than any that is wanted."""
        oldest = min(wanted.values()) - _CLOCK_SKEW
        found: dict[str, CreatedJob] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            params = {"limit": self._page_size, "next": cursor}
            given = {key: value for key, value in params.items() if value is not None}
            answer = await self._caller.call("GET", "/jobs", deadline, params=given)
            page = JobPage.from_json(answer)
            for job in page.jobs:
                tag = job.metadata.get(TAG)
                if isinstance(tag, str) and tag in wanted:
                    found[tag] = _parent(job)
            seen_all = len(found) == len(wanted)
            if seen_all or page.next in (None, cursor) or _goes_back_before(page, oldest):
                return found
            cursor = page.next
        raise ResponseError(f"The list of jobs did not end after {_MOST_PAGES} pages.")


def _parent(job: Job) -> CreatedJob:
    """The job that was created; its circuits carry a copy of its metadata."""
    return CreatedJob(id=job.parent_job_id or job.id, status=job.status, session_id=job.session_id)


def _goes_back_before(page: JobPage, moment: float) -> bool:
    """Whether a list that runs from new to old has passed a moment; others are read to the end."""
    times = [job.submitted_at.timestamp() for job in page.jobs if job.submitted_at is not None]
    falling = len(times) > 1 and times == sorted(times, reverse=True) and times[0] > times[-1]
    return falling and times[-1] < moment
