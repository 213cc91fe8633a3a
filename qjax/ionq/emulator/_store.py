"""Where jobs and sessions are kept: in memory, and on disk if asked."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qjax.errors import RunError
from qjax.ionq.emulator._job import Job

__all__ = ["Store"]


class Store:
    """Jobs by identifier, newest last, and sessions.

    With a folder every change is written at once, to a file of its own that takes the place of
    the old one, so that a crash leaves either state and never half of one.

    Args:
        folder: where to keep them; only in memory if not given.
    """

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()
        if folder is not None:
            self._load(folder)

    def _load(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = sorted(folder.glob("job-*.json"))
            jobs = [Job.from_json(json.loads(file.read_text("utf-8"))) for file in files]
            sessions = folder / "sessions.json"
            if sessions.exists():
                self.sessions = json.loads(sessions.read_text("utf-8"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"The jobs in {folder} cannot be read: {error}. Give another folder, or remove "
                "the broken file."
            ) from None
        known = {job.id for job in jobs}
        jobs = [job for job in jobs if job.parent is None or job.parent in known]
        self._jobs = {job.id: job for job in sorted(jobs, key=lambda job: job.order)}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, name: str) -> bool:
        """Whether a job, a deleted one too, or a session has this identifier."""
        return name in self._jobs or name in self.sessions

    def add(self, jobs: list[Job]) -> None:
        """Takes over new jobs and writes them; children before their parent.

        A parent whose file exists thus has all its children on disk, and children without one
        were never accepted.
        """
        with self._lock:
            for job in reversed(jobs):
                self._write(f"job-{job.id}.json", job.as_json)
            self._jobs |= {job.id: job for job in jobs}

    def save(self, job: Job) -> None:
        """Writes a job that has changed."""
        with self._lock:
            self._write(f"job-{job.id}.json", job.as_json)

    def save_sessions(self) -> None:
        """Writes the sessions."""
        with self._lock:
            self._write("sessions.json", lambda: self.sessions)

    def get(self, job_id: str) -> Job | None:
        """A job that is there and not deleted."""
        job = self._jobs.get(job_id)
        return None if job is None or job.deleted else job

    def all(self) -> list[Job]:
        """All jobs, deleted ones too, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def children(self, job: Job) -> list[Job]:
        """The children of a job, deleted ones too, in order."""
        return [self._jobs[child] for child in job.children or ()]

    def newest_first(self) -> Iterator[Job]:
        """Jobs that are not deleted."""
        return (job for job in reversed(self.all()) if not job.deleted)

    def _write(self, name: str, make_data: Callable[[], Any]) -> None:
        if self._folder is None:
            return
        path = self._folder / name
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(make_data(), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
