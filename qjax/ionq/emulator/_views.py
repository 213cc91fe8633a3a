"""Jobs as the service shows them."""

from collections import Counter
from typing import Any

from qjax.ionq._machines import MACHINES
from qjax.ionq.emulator._clock import timestamp
from qjax.ionq.emulator._formats import descriptors
from qjax.ionq.emulator._ids import artifact_id
from qjax.ionq.emulator._job import FINAL, Job

__all__ = ["ACCOUNT", "BASE", "Quirks", "job_view", "status_of"]

BASE = "/v0.4"
ACCOUNT = {
    "user": "64b03577072d45001c85e9c4",
    "project": "944904d6-2e30-4cfb-8bc4-04afaabcdd42",
    "organization": "71d164e6-6ebe-4126-8839-f1529bb01a00",
    "key": "e060759f-4348-4767-a645-8c0301265791",
}
DEFAULT_SHOTS = 100
_KILOWATTS = 4.61


class Quirks:
    """Ways in which the service differs from its documents.

    Attributes:
        live: show children as type "ionq.ore.v1" and leave the statistics and settings of
            multi-circuit jobs empty.
    """

    def __init__(self, live: bool = False):
        self.live = live


def status_of(job: Job, children: list[Job], now: float) -> str:
    """The state of a job; that of a parent follows from its children."""
    if job.children is None or job.canceled is not None:
        return job.status(now)
    states = Counter(child.status(now) for child in children)
    if all(state in FINAL for state in states):
        if states["completed"]:
            return "completed"
        return "failed" if states["failed"] else "canceled"
    if states["started"] or any(states[state] for state in FINAL):
        return "started"
    return "submitted" if states["submitted"] else "ready"


def job_view(job: Job, children: list[Job], now: float, quirks: Quirks) -> dict[str, Any]:
    """The JSON of a job.

    Args:
        job: any.
        children: its children, if it is a parent.
        now: by the emulator's clock.
        quirks: of the service.
    """
    status = status_of(job, children, now)
    parts = children if job.children is not None else [job]
    machine = job.body["backend"] != "simulator"
    view: dict[str, Any] = {
        "id": job.id,
        "type": "ionq.ore.v1" if quirks.live and job.parent else _type(job),
        "status": status,
        "name": job.body["name"],
        "metadata": job.body["metadata"],
        "backend": job.body["backend"],
        "submitter_id": ACCOUNT["user"],
        "project_id": ACCOUNT["project"],
        "parent_job_id": job.parent,
        "child_job_ids": job.children,
        "session_id": job.body["session_id"],
        "dry_run": job.dry_run,
        "failure": _failure(parts) if status == "failed" else None,
        "cost_model": "2QGE_operations",
        "submitted_at": timestamp(job.submitted),
        **_times(job, parts, status, now),
        "predicted_execution_duration_ms": _predicted(parts),
        "predicted_wait_time_ms": None if status in FINAL else 0,
        "settings": {} if quirks.live else job.body["settings"],
        "stats": _stats(parts, machine, status == "completed"),
        "output": _output(job) if status == "completed" else {},
        "results": None,
    }
    if quirks.live and job.children is not None:
        view["stats"] = {}
    if job.body["shots"] is not None or machine:
        view["shots"] = job.body["shots"] or DEFAULT_SHOTS
    if not machine:
        view["noise"] = job.body["noise"] or {"model": "ideal"}
    if status == "completed" and not job.dry_run:
        view["results"] = descriptors(job, BASE)
    return view


def _type(job: Job) -> str:
    return "ionq.circuit.v1" if job.parent else job.body["type"]


def _failure(parts: list[Job]) -> dict[str, str] | None:
    for part in parts:
        if part.result is not None and part.result.failure is not None:
            failure = part.result.failure
            return {**failure, "error": failure["message"]}
    return None


def _times(job: Job, parts: list[Job], status: str, now: float) -> dict[str, Any]:
    starts = [part.start for part in parts if part.start is not None and part.start <= now]
    ends = [part.end for part in parts if part.end is not None and part.end <= now]
    starts = ends[:1] if job.dry_run else starts
    done = status in ("completed", "failed")
    ran = sum(part.plan.duration for part in parts if part.plan and not part.dry_run)
    ran = 0 if job.body["backend"] == "simulator" else ran
    return {
        "started_at": timestamp(min(starts)) if starts else None,
        "completed_at": timestamp(max(ends)) if done and ends else None,
        "execution_duration_ms": round(1000 * ran) if done else None,
    }


def _predicted(parts: list[Job]) -> int | None:
    plans = [part.plan for part in parts if part.plan is not None]
    return round(1000 * sum(plan.predicted for plan in plans)) if plans else None


def _stats(parts: list[Job], machine: bool, done: bool) -> dict[str, Any]:
    plans = [part.plan for part in parts if part.plan is not None]
    counts: Counter[str] = Counter()
    for plan in plans:
        counts += Counter(plan.gate_counts)
    sizes = [plan.qubits for plan in plans] or [part.input.get("qubits") or 1 for part in parts]
    stats: dict[str, Any] = {
        "qubits": max(sizes),
        "circuits": len(parts),
        "gate_counts": {"1q": 0, "2q": 0, **counts},
    }
    if machine and done:
        stats["kwh"] = round(sum(plan.predicted for plan in plans) * _KILOWATTS / 3600, 5)
        stats["predicted_quantum_compute_time_us"] = 0
        stats["billed_quantum_compute_time_us"] = 0
    return stats


def _output(job: Job) -> dict[str, Any]:
    """What was done to a job: how it was compiled, and whether its errors were mitigated."""
    plan = job.plan
    if plan is None or plan.native is None or job.children is not None:
        return {}
    asked = job.body["settings"].get("compilation") or {}
    gatesets = MACHINES[job.body["backend"]].gatesets
    basis = gatesets[0] if len(gatesets) == 1 else _basis(plan.native)
    output: dict[str, Any] = {
        "compilation": {
            "precision": asked.get("precision", "1E-3"),
            "gate_basis": basis.upper(),
            "service_version": asked.get("service_version", "v0.4"),
            "compiled_circuits": {
                form: {"id": artifact_id(job.id, form), "format": form, "media_type": media}
                for form, media in (
                    ("ionq.native.v1", "application/json"),
                    ("ionq.qasm3.v1", "text/plain"),
                )
            },
        }
    }
    if job.body["backend"] != "simulator":
        symmetry = {"applied": False, "num_allowed_states": None}
        output["error_mitigation"] = {
            "debiasing": plan.debiasing,
            "symmetry_verification": symmetry,
        }
    return output


def _basis(native: dict[str, Any]) -> str:
    return "zz" if any(gate["gate"] == "zz" for gate in native["circuit"]) else "ms"
