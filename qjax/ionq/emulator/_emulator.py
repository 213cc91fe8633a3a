"""The emulator itself: accepts jobs, works on them in threads, and says what became of them."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from qjax._checks import check_positive_int
from qjax.errors import QjaxError
from qjax.ionq.emulator._clock import Clock, SystemClock, Timing
from qjax.ionq.emulator._errors import HttpError, JobError
from qjax.ionq.emulator._faults import Fault, FaultPlan
from qjax.ionq.emulator._ids import new_id
from qjax.ionq.emulator._job import FINAL, Job, Result
from qjax.ionq.emulator._sessions import Sessions
from qjax.ionq.emulator._store import Store
from qjax.ionq.emulator._validation import check_job, circuits_of, warnings_of
from qjax.ionq.emulator._views import Quirks, job_view, status_of
from qjax.ionq.emulator._work import plan_work

__all__ = ["Emulator"]

_SEEDS = 2**31 - 1


class Emulator:
    """A local stand-in for IonQ's cloud.

    It computes with qjax's engine, in a few threads; the state of a job at a time follows from its
    times, so asking for it costs nothing. With the same seed, clock and order of requests it
    answers the same; the shots of a job follow from the seed and its number among the jobs.

    Args:
        clock: that jobs and limits go by; the time of the machine if not given.
        timing: how long jobs take.
        seed: of identifiers, shots and faults.
        faults: what goes wrong, see `Fault`.
        folder: where to keep jobs; only in memory if not given.
        workers: circuits that are computed at a time.
        with_sessions: whether the account has sessions.
        live_quirks: show children and multi-circuit jobs as the service was seen to do.

    Raises:
        RunError: if the jobs in the folder cannot be read.
        QjaxError: if an option does not fit.

    Example:
        >>> from qjax.ionq.emulator import Emulator
        >>> with Emulator(seed=1) as emulator:
        ...     circuit = [{"gate": "h", "target": 0}, {"gate": "cnot", "control": 0, "target": 1}]
        ...     job = emulator.submit({"type": "ionq.circuit.v1", "input": {"circuit": circuit}})
        ...     emulator.settle()
        ...     job.result.probabilities
        {'0': 0.5, '3': 0.5}
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        timing: Timing = Timing(),  # noqa: B008  frozen
        seed: int = 0,
        faults: list[Fault] | None = None,
        folder: Path | str | None = None,
        workers: int = 2,
        with_sessions: bool = True,
        live_quirks: bool = False,
    ):
        self.clock: Clock = SystemClock() if clock is None else clock
        self.timing = timing
        self.seed = seed
        self.faults = FaultPlan(faults or [], seed)
        self.quirks = Quirks(live_quirks)
        self.store = Store(None if folder is None else Path(folder))
        self.sessions = Sessions(self.store, self.clock, enabled=with_sessions)
        self.warnings: list[dict[str, Any]] = []
        self.requests: dict[str, int] = {}
        self._made = 0  # identifiers, those of requests among them
        self._last = max((job.order for job in self.store.all()), default=0)
        self._lock = threading.RLock()
        self._pending: set[Future[None]] = set()
        self._busy_until: dict[str, float] = {}  # parent -> when its circuits so far are done
        number = check_positive_int(workers, name="workers", error=QjaxError)
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="qjax-emulator")
        for job in self.store.all():
            if job.children is None and job.result is None and not self._stopped(job):
                self._start(job)

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the threads; circuits that wait are dropped, one that runs is finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def settle(self) -> None:
        """Returns when every accepted circuit is computed, or is known to fail.

        Raises:
            Exception: what a thread raised that is no failure of its job.
        """
        with self._lock:
            pending = set(self._pending)
        for done in wait(pending).done:
            done.result()

    # --- making jobs ------------------------------------------------------------------------------

    def make_id(self) -> str:
        """A new identifier."""
        with self._lock:
            while True:  # a store from before a restart may hold some of them
                self._made += 1
                found = new_id(self.clock.now(), self.seed, self._made)
                if found not in self.store:
                    return found

    def submit(self, body: Any, *, unlisted: float = 0.0, failure: str | None = None) -> Job:
        """Accepts a job.

        Args:
            body: as posted to `/jobs`.
            unlisted: seconds before the list of jobs shows it.
            failure: code with which it is to fail.

        Returns:
            The job, or the parent of several.

        Raises:
            HttpError: if the body does not have the shape of a job.
        """
        fields = check_job(body)
        circuits = circuits_of(body)
        self.sessions.check_open(fields["session_id"], fields["backend"])
        several = fields["type"] == "ionq.multi-circuit.v1"
        with self._lock:
            jobs = self._make(fields, circuits, several, listed=unlisted, failure=failure)
            self.sessions.count(fields["session_id"])
            for text in warnings_of(body):
                self.warnings.append({"job_id": jobs[0].id, "message": text})
            self.store.add(jobs)
            for job in jobs:
                if job.children is None:
                    self._start(job)
        return jobs[0]

    def _make(
        self,
        fields: dict[str, Any],
        circuits: list[dict[str, Any]],
        several: bool,
        *,
        listed: float,
        failure: str | None,
    ) -> list[Job]:
        now = self.clock.now()
        seed = (fields["noise"] or {}).get("seed")

        def make(number: int, given: dict[str, Any], **more: Any) -> Job:
            self._last += 1
            own = int.from_bytes(hashlib.blake2b(f"{self.seed}/{self._last}".encode()).digest()[:4])
            return Job(
                id=self.make_id(),
                order=self._last,
                body=more.pop("body", fields),
                input=given,
                seed=(own if seed is None else seed + number) % _SEEDS,
                submitted=now,
                starts=now + self.timing.latency,
                listed=now + listed,
                doom=failure,
                **more,
            )

        if not several:
            return [make(0, circuits[0])]
        parent = make(0, {})
        names = [given.pop("name", None) for given in circuits]
        children = [
            make(k, given, parent=parent.id, body={**fields, "name": name})
            for k, (given, name) in enumerate(zip(circuits, names, strict=True))
        ]
        parent.children = [child.id for child in children]
        return [parent, *children]

    def clone(self, job: Job, changes: Mapping[str, Any]) -> Job:
        """Submits the circuits of a job again, with some fields replaced."""
        allowed = (
            "shots", "backend", "name", "metadata", "settings", "dry_run", "noise", "session_id",
        )  # fmt: skip
        body = {**job.body, **{key: changes[key] for key in allowed if key in changes}}
        if job.children is None:
            kind = "ionq.circuit.v1" if job.parent else job.body["type"]
            return self.submit({**body, "type": kind, "input": job.input})
        circuits = [{**c.input, "name": c.body["name"]} for c in self.store.children(job)]
        return self.submit({**body, "input": {"circuits": circuits}})

    # --- working on jobs --------------------------------------------------------------------------

    def _stopped(self, job: Job) -> bool:
        return job.canceled is not None or job.deleted

    def _start(self, job: Job) -> None:
        future = self._pool.submit(self._work, job)
        with self._lock:
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)

    def _work(self, job: Job) -> None:
        if self._stopped(job):
            return
        try:
            work = plan_work(job, self.timing, self.clock)
            self.sessions.check_cost(job, self.bill)
            with self._lock:
                job.starts = self._after_siblings(job, work.plan.duration)
                job.plan = work.plan
            if job.doom is not None:
                raise JobError(job.doom, "The job failed, as the faults of the emulator ask.")
            result = work.run(self.clock)
        except JobError as error:
            failure = {"code": error.code, "message": error.message}
            result = Result(self.clock.now(), failure=failure)
        except Exception as error:
            failure = {"code": "InternalError", "message": f"The emulator failed: {error!r}."}
            job.result = Result(self.clock.now(), failure=failure)
            raise
        with self._lock:
            job.result = result
            self.store.save(job)

    def _after_siblings(self, job: Job, duration: float) -> float:
        """When a circuit may start, as siblings run one by one; reserves the time that it runs."""
        if job.parent is None:
            return job.starts
        start = max(job.starts, self._busy_until.get(job.parent, 0.0), self.clock.now())
        self._busy_until[job.parent] = start + duration
        return start

    # --- answering --------------------------------------------------------------------------------

    def find(self, job_id: str) -> Job:
        """A job by its identifier.

        Raises:
            HttpError: of status 404, if there is none.
        """
        job = self.store.get(job_id)
        if job is None:
            raise HttpError(404)
        return job

    def status(self, job: Job) -> str:
        """The state of a job now."""
        return status_of(job, self.store.children(job), self.clock.now())

    def view(self, job: Job) -> dict[str, Any]:
        """The JSON of a job now."""
        return job_view(job, self.store.children(job), self.clock.now(), self.quirks)

    def family(self, job: Job) -> list[Job]:
        """A job with its children."""
        return [job, *self.store.children(job)]

    def cancel(self, job: Job) -> None:
        """Cancels a job and its children, unless they are done; twice is as good as once.

        Raises:
            HttpError: of status 409, if the job completed or failed.
        """
        now = self.clock.now()
        with self._lock:
            status = self.status(job)
            if status in ("completed", "failed"):
                raise HttpError(409, f"The job cannot be canceled: it is {status}.")
            for member in self.family(job):
                if member.children is not None or member.status(now) not in FINAL:
                    member.canceled = now if member.canceled is None else member.canceled
                    self.store.save(member)

    def delete(self, job: Job) -> None:
        """Deletes a job and its children; those that are not done are cancelled."""
        now = self.clock.now()
        with self._lock:
            for member in self.family(job):
                if member.children is None and member.status(now) not in FINAL:
                    member.canceled = now
                member.deleted = True
                self.store.save(member)

    def cost(self, job: Job) -> tuple[float | None, float | None]:
        """What a job is estimated to cost, and what it did cost; None where not known yet."""
        now = self.clock.now()
        parts = self.store.children(job) if job.children is not None else [job]
        if any(part.plan is None for part in parts if not part.failed):
            return None, None
        estimate = sum(part.plan.price for part in parts if part.plan)
        if job.canceled is not None and not any(part.billed(now) for part in parts):
            return None, None
        if self.status(job) not in FINAL:
            return estimate, 0.0 if job.body["backend"] == "simulator" else None
        return estimate, sum(part.plan.price for part in parts if part.plan and part.billed(now))

    def bill(self) -> list[dict[str, Any]]:
        """One entry for each circuit that started, deleted ones too, in order of submission."""
        now = self.clock.now()
        return [
            {
                "job_id": job.id,
                "parent_job_id": job.parent,
                "session_id": job.body["session_id"],
                "name": job.body["name"],
                "metadata": job.body["metadata"],
                "backend": job.body["backend"],
                "shots": job.body["shots"],
                "started": job.start,
                "circuit": digest(job.input),
                "amount": job.plan.price,
            }
            for job in self.store.all()
            if job.billed(now) and job.plan is not None
        ]

    def listing(self) -> Iterator[Job]:
        """Jobs that the list shows, newest first."""
        now = self.clock.now()
        return (job for job in self.store.newest_first() if job.listed <= now)


def digest(given: Mapping[str, Any]) -> str:
    """A mark that equal circuits share."""
    text = json.dumps({k: v for k, v in given.items() if v is not None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
