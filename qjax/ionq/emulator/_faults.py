"""Faults: which answers go wrong, and how, reproducibly from a seed."""

import hashlib
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from qjax._checks import check_choice, check_positive_int, check_real
from qjax.errors import QjaxError

__all__ = ["KINDS", "Fault", "FaultPlan", "read_faults"]

KINDS = ("status", "slow", "reset", "truncated", "html", "unlisted", "failed")
_OF_JOBS = ("unlisted", "failed")  # kinds that happen to new jobs and not to answers


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One rule of what goes wrong.

    A rule looks at the requests of its method and path, and fires on a share of them (`rate`) or
    on those of certain numbers (`script`). The first rule that fires decides.

    Attributes:
        kind: "status" answers with an error; "slow" answers late; "reset" breaks the connection;
            "truncated" breaks it in the middle of the body; "html" answers 200 with a page
            instead of JSON; "unlisted" hides a new job from the list of jobs for a while;
            "failed" makes a new job fail.
        rate: share of requests, from 0 to 1.
        script: numbers of the requests, counted from 1, instead of a rate.
        method: such as "POST"; any if not given.
        path: pattern that the whole path must match, such as "/v0.4/jobs"; any if not given.
        status: of the error.
        retry_after: seconds in the header Retry-After; none if not given.
        seconds: that a slow answer takes longer, or that a job stays hidden.
        after: whether the request is done before the fault. A reset after acceptance is a job
            that exists and whose creator was not told. Slow answers are always done before.
        code: of the service, with which a job fails.
        page: whether the error comes as a page, as from a proxy.
        times: how often it may fire; any number if not given.

    Raises:
        QjaxError: if a field does not fit.

    Example:
        >>> from qjax.ionq.emulator import Fault
        >>> Fault(kind="status", status=429, retry_after=2, rate=0.1).kind
        'status'
    """

    kind: str
    rate: float = 0.0
    script: tuple[int, ...] = ()
    method: str | None = None
    path: str | None = None
    status: int = 503
    retry_after: float | None = None
    seconds: float = 1.0
    after: bool = False
    code: str = "QuantumComputerError"
    page: bool = False
    times: int | None = None

    def __post_init__(self):
        check_choice(self.kind, KINDS, name="kind", error=QjaxError)
        object.__setattr__(self, "script", tuple(self.script))
        for number in self.script:
            check_positive_int(number, name="script", error=QjaxError)
        if self.times is not None:
            check_positive_int(self.times, name="times", error=QjaxError)
        for name in ("method", "path", "code"):
            value = getattr(self, name)
            if not isinstance(value, str if name == "code" else str | None):
                raise QjaxError(f"Argument `{name}` must be a string, but is {value!r}.")
        if not 0 <= check_real(self.rate, name="rate", error=QjaxError) <= 1:
            raise QjaxError(f"Argument `rate` must be between 0 and 1, but is {self.rate!r}.")
        if not self.rate and not self.script:
            raise QjaxError("A fault needs a `rate` or a `script`, or it would never occur.")
        if not 400 <= check_positive_int(self.status, name="status", error=QjaxError) <= 599:
            raise QjaxError(f"Argument `status` must be from 400 to 599, but is {self.status!r}.")
        for name in ("seconds", "retry_after"):
            value = getattr(self, name)
            if value is not None and check_real(value, name=name, error=QjaxError) < 0:
                raise QjaxError(f"Argument `{name}` must not be negative, but is {value!r}.")
        try:
            re.compile(self.path or "")
        except re.error as error:
            raise QjaxError(f"Argument `path` must be a pattern, but {error}.") from None

    def matches(self, method: str, path: str) -> bool:
        """Whether it looks at such a request."""
        if self.kind in _OF_JOBS and (method, path.rsplit("/", 1)[-1]) != ("POST", "jobs"):
            return False
        right = self.method is None or self.method.upper() == method
        return right and (self.path is None or re.fullmatch(self.path, path) is not None)


_SHORT = {
    "slow": {"kind": "slow"},
    "reset": {"kind": "reset"},
    "lost": {"kind": "reset", "after": True, "method": "POST", "path": "/v0.4/jobs"},
    "truncated": {"kind": "truncated"},
    "html": {"kind": "html"},
    "unlisted": {"kind": "unlisted"},
    "failed": {"kind": "failed"},
}


def read_faults(text: str) -> list[Fault]:
    """Reads faults from a command line: short, as JSON, or from a file of JSON.

    Args:
        text: such as "429=0.1,lost=0.05,slow=0.1:2" (share, and seconds after a colon; a number
            is a status, for which the seconds are those of Retry-After); or a list of objects
            with the fields of `Fault`; or the path of a file with such a list.

    Raises:
        QjaxError: if it cannot be read.

    Example:
        >>> [(f.kind, f.rate, f.seconds) for f in read_faults("slow=0.1:2")]
        [('slow', 0.1, 2.0)]
    """
    stripped = text.strip()
    if stripped.startswith("["):
        return _from_json(stripped)
    if "=" not in stripped:
        try:
            return _from_json(Path(stripped).read_text("utf-8"))
        except OSError as error:
            raise QjaxError(f"The file of faults {stripped} cannot be read: {error}.") from None
    return [_short(part.strip()) for part in stripped.split(",")]


def _from_json(text: str) -> list[Fault]:
    known = {field.name for field in fields(Fault)}
    try:
        entries = json.loads(text)
        if not isinstance(entries, list) or any(set(entry) - known for entry in entries):
            raise QjaxError(f"Faults must be a list of objects with the fields {sorted(known)}.")
        return [Fault(**entry) for entry in entries]
    except (ValueError, TypeError) as error:
        raise QjaxError(f"The faults cannot be read: {error}.") from None


def _short(part: str) -> Fault:
    name, _, amount = part.partition("=")
    share, _, seconds = amount.partition(":")
    try:
        given: dict[str, Any] = {"rate": float(share)}
        if name.isdecimal():
            given |= {"kind": "status", "status": int(name)}
            given |= {"retry_after": float(seconds)} if seconds else {}
            return Fault(**given)
        given |= {"seconds": float(seconds)} if seconds else {}
    except ValueError:
        raise QjaxError(
            f"The fault {part!r} must look like name=share or name=share:seconds."
        ) from None
    if name not in _SHORT:
        raise QjaxError(f"The fault {name!r} must be a status or one of {sorted(_SHORT)}.")
    return Fault(**_SHORT[name], **given)


class FaultPlan:
    """The rules in force, and what they did.

    Attributes:
        rules: in order.
        log: every fault that was injected, in order.
    """

    def __init__(self, rules: Iterable[Fault], seed: int):
        self._seed = seed
        self._lock = threading.Lock()
        self.replace(rules)

    def replace(self, rules: Iterable[Fault]) -> None:
        """Puts other rules in force, and starts counting anew."""
        with self._lock:
            self.rules = list(rules)
            self.log: list[dict[str, Any]] = []
            self._seen = [0] * len(self.rules)
            self._fired = [0] * len(self.rules)

    def choose(self, method: str, path: str) -> tuple[Fault | None, list[Fault]]:
        """The fault of the next answer, and those of the job that it may create."""
        chosen: Fault | None = None
        of_job: list[Fault] = []
        with self._lock:
            for place, rule in enumerate(self.rules):
                if not rule.matches(method, path):
                    continue
                self._seen[place] += 1
                if not self._fires(place, rule):
                    continue
                if rule.kind in _OF_JOBS:
                    of_job.append(rule)
                elif chosen is None:
                    chosen = rule
                else:
                    continue
                self._fired[place] += 1
                self._record(rule, method, path)
        return chosen, of_job

    def _fires(self, place: int, rule: Fault) -> bool:
        if rule.times is not None and self._fired[place] >= rule.times:
            return False
        if rule.script:
            return self._seen[place] in rule.script
        text = f"{self._seed}/{place}/{self._seen[place]}".encode()
        return int.from_bytes(hashlib.blake2b(text).digest()[:6]) / 2**48 < rule.rate

    def _record(self, rule: Fault, method: str, path: str) -> None:
        entry = {"number": len(self.log) + 1, "kind": rule.kind, "method": method, "path": path}
        if rule.kind == "status":
            entry |= {"status": rule.status, "retry_after": rule.retry_after}
        entry |= {"after": rule.after or rule.kind in ("slow", *_OF_JOBS)}
        self.log.append(entry)

    def report(self) -> dict[str, Any]:
        """The rules, what they did, and how often."""
        with self._lock:
            counts: dict[str, int] = {}
            for entry in self.log:
                key = str(entry["status"]) if entry["kind"] == "status" else entry["kind"]
                counts[key] = counts.get(key, 0) + 1
            rules = [asdict(rule) for rule in self.rules]
            return {"rules": rules, "counts": counts, "injected": list(self.log)}
