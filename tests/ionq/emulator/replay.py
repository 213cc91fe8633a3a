"""Replays recorded exchanges: every request is sent to an emulator, every answer compared.

Answers need the same class of status, all keys that were recorded, and the same types under them;
the emulator may say more. Errors that the recorded server injected are injected again, and jobs
are taken to the state that was recorded.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from qjax.ionq.emulator import Emulator, Fault, Timing, VirtualClock
from tests.ionq.emulator.conftest import Caller

__all__ = ["Difference", "replay"]

INJECTED = (400, 409, 429, 500, 502, 503, 504, 520)
OUTCOMES = re.compile(r"/results/|/artifacts/")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# The recorded server said less: what it left out may be there now.
MAY_BE_FILLED = ("predicted_wait_time_ms", "stderr", "metadata", "next", "started_at")
# Of a job whose state is another than the recorded one, which may be on its way.
OF_STATE = ("started_at", "completed_at", "execution_duration_ms", "results", "failure")


class Difference(NamedTuple):
    """Where an answer differs: number of the exchange, the place in the body, and how."""

    exchange: int
    place: str
    how: str


def replay(file: Path) -> tuple[int, list[Difference]]:
    """Replays one file.

    Returns:
        How many requests it held, and the differences.
    """
    record = json.loads(file.read_text())
    timing = Timing(latency=10, per_circuit=5)
    with Emulator(clock=VirtualClock(), seed=1, timing=timing) as emulator:
        player = _Player(Caller(emulator), record)
        for exchange in record["exchanges"]:
            player.play(exchange)
    return len(record["exchanges"]), player.differences


class _Player:
    def __init__(self, call: Caller, record: dict[str, Any]):
        self.call, self.names, self.differences = call, {}, []
        self.fail = (record.get("stub_config") or {}).get("fail")

    def play(self, exchange: dict[str, Any]) -> None:
        asked, wanted = exchange["request"], exchange["response"]
        self.prepare(asked, wanted)
        headers = {
            key: value
            for key, value in asked["headers"].items()
            if key.lower() in ("authorization", "user-agent", "content-type")
        }
        headers = {"Authorization": "", **headers}
        path = self.renamed(asked["path"])
        query = f"?{self.renamed(asked['query'])}" if asked["query"] else ""
        content = self.renamed(asked["body_raw"] or "").encode()
        answer = self.call(
            asked["method"], path + query, own=True, headers=headers, content=content
        )
        number = exchange["seq"]
        if answer.status_code != wanted["status"]:
            how = f"status {answer.status_code} instead of {wanted['status']}: {answer.text[:200]}"
            self.differences.append(Difference(number, "", how))
            return
        found = answer.json()
        self.learn(wanted["body"], found)
        if wanted["status"] in INJECTED:
            return
        body = json.loads(self.renamed(json.dumps(wanted["body"])))
        outcomes = OUTCOMES.search(asked["path"]) is not None
        if headers.get("User-Agent", "").startswith("cirq/") and body.get("next", "") is None:
            del body["next"]  # cirq-ionq is spared the null that it would follow for ever
        for place, how in _compare(body, found, "", outcomes):
            self.differences.append(Difference(number, place, how))

    def prepare(self, asked: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Puts the fault in force that was recorded, and lets the jobs get where they were."""
        rules: list[Fault] = []
        has_key = "apiKey " in asked["headers"].get("Authorization", "")
        creates = (asked["method"], asked["path"]) == ("POST", "/v0.4/jobs")
        if wanted["status"] in INJECTED or (wanted["status"] == 401 and has_key):
            rules.append(Fault(kind="status", status=wanted["status"], rate=1))
        elif creates and self.fail:
            rules.append(Fault(kind="failed", code=self.fail["code"], rate=1))
        self.call.emulator.faults.replace(rules)
        if asked["method"] == "GET":
            self.call.emulator.settle()
            body = wanted["body"] if isinstance(wanted["body"], dict) else {}
            for job in [body, *body.get("jobs", ())]:
                self.reach(job.get("status"), self.names.get(job.get("id")))

    def reach(self, status: Any, job_id: str | None) -> None:
        """Moves the clock until a job is as far as was recorded."""
        order = ("submitted", "ready", "started", "completed")
        job = None if job_id is None else self.call.emulator.store.get(job_id)
        if job is None or (status not in order and status != "failed"):
            return
        target = order.index("completed" if status == "failed" else status)
        for step in (10, 100):
            now = self.call.emulator.status(job)
            if now in order and order.index(now) < target:
                self.call.clock.advance(step)

    def renamed(self, text: str) -> str:
        for old, new in self.names.items():
            text = text.replace(old, new)
        return text

    def learn(self, wanted: Any, found: Any) -> None:
        """Notes which identifier stands for which recorded one."""
        if isinstance(wanted, dict) and isinstance(found, dict):
            for key in ("id", "characterization_id", "next"):
                old, new = wanted.get(key), found.get(key)
                if isinstance(old, str) and isinstance(new, str):
                    self.names.setdefault(old, new)
            for key, value in wanted.items():
                if key in found:
                    self.learn(value, found[key])
        elif isinstance(wanted, list) and isinstance(found, list):
            for old, new in zip(wanted, found, strict=False):
                if isinstance(old, str) and isinstance(new, str) and UUID.fullmatch(old):
                    self.names.setdefault(old, new)
                self.learn(old, new)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(type(value).__name__)
    return "number" if isinstance(value, int | float) else type(value).__name__


def _compare(wanted: Any, found: Any, place: str, outcomes: bool):
    """Pairs of a place and how it differs."""
    if _kind(wanted) != _kind(found):
        filled = wanted is None and place.rsplit(".", 1)[-1] in MAY_BE_FILLED
        if not filled:
            yield place, f"{_kind(found)} instead of {_kind(wanted)}"
        return
    if isinstance(wanted, dict):
        skipped = () if wanted.get("status") == found.get("status") else OF_STATE
        if "gate" in wanted:
            return  # which gates a compiler chooses is its own affair
        if outcomes and wanted and found and not any(map(str.isalpha, "".join(wanted))):
            pairs = zip(wanted.values(), found.values(), strict=False)  # outcomes may differ
            for old, new in pairs:
                yield from _compare(old, new, f"{place}.*", outcomes)
            return
        for key, value in wanted.items():
            if key in skipped:
                continue
            if key not in found:
                yield f"{place}.{key}", "missing"
            else:
                yield from _compare(value, found[key], f"{place}.{key}", outcomes)
    elif isinstance(wanted, list):
        for old, new in zip(wanted, found, strict=False):
            yield from _compare(old, new, f"{place}[]", outcomes)
