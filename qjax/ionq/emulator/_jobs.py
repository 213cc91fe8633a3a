"""The endpoints of jobs and their results."""

from collections.abc import Callable
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from qjax.ionq.emulator._emulator import Emulator
from qjax.ionq.emulator._errors import HttpError
from qjax.ionq.emulator._formats import AGGREGATE, aggregate, payload
from qjax.ionq.emulator._ids import artifact_id
from qjax.ionq.emulator._job import Job
from qjax.ionq.emulator._qasm_text import native_program
from qjax.ionq.emulator._requests import (
    decimal,
    emulator_of,
    integer_of,
    json_body,
    reply,
)
from qjax.ionq.emulator._views import BASE

__all__ = ["ROUTES"]

_PAGE, _LARGEST_PAGE = 25, 1000
_MODES = ("average", "voting", "dnl")


async def create(request: Request) -> Response:
    """POST /jobs."""
    emulator = emulator_of(request)
    body = await json_body(request)
    hidden, failed = (request.scope.get(f"qjax.{kind}") for kind in ("unlisted", "failed"))
    job = emulator.submit(
        body,
        unlisted=0.0 if hidden is None else hidden.seconds,
        failure=None if failed is None else failed.code,
    )
    return reply(_created(job), 201)


def _created(job: Job) -> dict[str, Any]:
    return {"id": job.id, "status": "submitted", "session_id": job.body["session_id"]}


async def show(request: Request) -> Response:
    """GET /jobs/{id}."""
    emulator = emulator_of(request)
    return reply(emulator.view(emulator.find(request.path_params["id"])))


async def list_jobs(request: Request) -> Response:
    """GET /jobs; cirq-ionq sends its limit in a body."""
    emulator, query = emulator_of(request), request.query_params
    body = await json_body(request, default={})
    limit = query.get("limit")
    if limit is None and isinstance(body, dict) and body.get("limit") is not None:
        limit = str(body["limit"])
    size = integer_of(limit, "limit", _PAGE, _LARGEST_PAGE)
    wanted = _filter(emulator, query)
    jobs = (job for job in emulator.listing() if wanted(job))
    start = query.get("next")
    page: list[Job] = []
    for job in jobs:
        if start is not None and job.order > _cursor(start):
            continue
        page.append(job)
        if len(page) > size:
            break
    found: dict[str, Any] = {"jobs": [emulator.view(job) for job in page[:size]]}
    more = str(page[size].order) if len(page) > size else None
    # cirq-ionq takes `"next": null` for one more page, and asks for it for ever.
    if more is not None or not request.headers.get("user-agent", "").startswith("cirq/"):
        found["next"] = more
    return reply(found)


def _cursor(text: str) -> int:
    number = decimal(text)
    if number is None:
        raise HttpError(400, '"next" is not a cursor of this list', ("next",))
    return number


def _filter(emulator: Emulator, query: QueryParams) -> Callable[[Job], bool]:
    """A test of jobs by the query; without one, children are left out."""
    chosen = {part for item in query.getlist("ids") for part in item.split(",")}
    targets = set(query["target"].split(",")) if query.get("target") else set()
    parent, status, session = (query.get(k) for k in ("parent_job_id", "status", "session_id"))

    def wanted(job: Job) -> bool:
        if chosen and job.id not in chosen:
            return False
        if parent is None and job.parent is not None and not chosen:
            return False
        return (
            parent in (None, job.parent)
            and (not targets or job.body["backend"] in targets)
            and session in (None, job.body["session_id"])
            and (status is None or status == emulator.status(job))
        )

    return wanted


async def cancel(request: Request) -> Response:
    """PUT /jobs/{id}/status/cancel."""
    emulator = emulator_of(request)
    job = emulator.find(request.path_params["id"])
    emulator.cancel(job)
    return reply({"id": job.id, "status": "canceled"})


async def delete(request: Request) -> Response:
    """DELETE /jobs/{id}."""
    emulator = emulator_of(request)
    job = emulator.find(request.path_params["id"])
    emulator.delete(job)
    return reply({"id": job.id, "status": "deleted"})


async def _many(request: Request) -> list[Job]:
    """The jobs that a body lists."""
    body = await json_body(request)
    ids = body.get("ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise HttpError(400, '"ids" must be an array of strings', ("ids",))
    return [emulator_of(request).find(item) for item in ids]


async def cancel_many(request: Request) -> Response:
    """PUT /jobs/status/cancel."""
    jobs = await _many(request)
    for job in jobs:
        emulator_of(request).cancel(job)
    return reply({"ids": [job.id for job in jobs], "status": "canceled"})


async def delete_many(request: Request) -> Response:
    """DELETE /jobs."""
    jobs = await _many(request)
    for job in jobs:
        emulator_of(request).delete(job)
    return reply({"ids": [job.id for job in jobs], "status": "deleted"})


async def clone(request: Request) -> Response:
    """POST /jobs/{id}/clone."""
    emulator = emulator_of(request)
    job = emulator.find(request.path_params["id"])
    changes = await json_body(request, default={})
    if not isinstance(changes, dict):
        raise HttpError(400, '"value" must be of type object', ("value",))
    return reply(_created(emulator.clone(job, changes)), 201)


async def cost(request: Request) -> Response:
    """GET /jobs/{id}/cost."""
    emulator = emulator_of(request)
    job = emulator.find(request.path_params["id"])
    estimate, final = emulator.cost(job)
    if estimate is None:
        raise HttpError(404, "No cost has been computed for this job yet.")
    found: dict[str, Any] = {"dry_run": job.dry_run, "estimated_cost": _usd(estimate)}
    if final is not None:
        found |= {"cost": _usd(final), "actual_cost": _usd(final)}
    return reply(found)


def _usd(value: float) -> dict[str, Any]:
    return {"value": round(value, 6), "unit": "usd"}


def _finished(request: Request) -> Job:
    """The job, if it has results.

    Raises:
        HttpError: of status 404, if it is not completed or was a dry run.
    """
    emulator = emulator_of(request)
    job = emulator.find(request.path_params["id"])
    if emulator.status(job) != "completed" or job.dry_run:
        raise HttpError(404)
    return job


def _mode(request: Request) -> str:
    """How variants are joined: by `aggregation`, or formerly by `sharpen`."""
    query = request.query_params
    mode = query.get("aggregation")
    if mode is not None:
        if mode not in _MODES:
            raise HttpError(400, f'"aggregation" must be one of [{", ".join(_MODES)}]')
        return mode
    sharpen = query.get("sharpen", "false").lower()
    if sharpen not in ("true", "false", "1", "0"):
        raise HttpError(400, '"sharpen" must be a boolean', ("sharpen",))
    return "voting" if sharpen in ("true", "1") else "average"


async def results(request: Request) -> Response:
    """GET /jobs/{id}/results/{probabilities|histogram|shots}."""
    job = _finished(request)
    if job.children is not None:
        raise HttpError(404)
    return reply(payload(job, request.path_params["form"], _mode(request)))


async def aggregated(request: Request) -> Response:
    """GET /jobs/{id}/results/probabilities/aggregated."""
    job = _finished(request)
    if job.children is None:
        raise HttpError(404)
    return reply(aggregate(emulator_of(request).store.children(job), _mode(request)))


async def artifact(request: Request) -> Response:
    """GET /jobs/{id}/artifacts/{artifact}."""
    emulator = emulator_of(request)
    job = emulator.find(request.path_params["id"])
    name = request.path_params["artifact"]
    if emulator.status(job) != "completed":
        raise HttpError(404)
    if job.plan is not None and job.plan.native is not None:
        if name in ("compiled-native", artifact_id(job.id, "ionq.native.v1")):
            return reply(job.plan.native)
        if name in ("compiled-qasm3", artifact_id(job.id, "ionq.qasm3.v1")):
            return PlainTextResponse(native_program(job.plan.native))
    if name == AGGREGATE and job.children is not None:
        return await aggregated(request)
    job = _finished(request)
    if job.children is not None:
        raise HttpError(404)
    return reply(payload(job, name, _mode(request)))


async def compiled(request: Request) -> Response:
    """GET /jobs/{id}/circuits/{native|qasm3}, of the older documents."""
    request.path_params["artifact"] = f"compiled-{request.path_params['form']}"
    return await artifact(request)


async def variant(request: Request) -> Response:
    """GET /jobs/{id}/variants/{variant}/results/{form}: every job has one variant, its own."""
    job = _finished(request)
    if request.path_params["variant"] != job.id or job.children is not None:
        raise HttpError(404)
    return reply(payload(job, request.path_params["form"], "average"))


async def session_jobs(request: Request) -> Response:
    """GET /sessions/{id}/jobs."""
    emulator = emulator_of(request)
    session_id = request.path_params["id"]
    emulator.sessions.view(session_id)
    jobs = [j for j in emulator.listing() if j.body["session_id"] == session_id and not j.parent]
    return reply({"jobs": [emulator.view(job) for job in jobs], "next": None})


ROUTES = [
    Route(f"{BASE}/jobs", create, methods=["POST"]),
    Route(f"{BASE}/jobs", list_jobs, methods=["GET"]),
    Route(f"{BASE}/jobs", delete_many, methods=["DELETE"]),
    Route(f"{BASE}/jobs/status/cancel", cancel_many, methods=["PUT"]),
    Route(f"{BASE}/jobs/{{id}}", show, methods=["GET"]),
    Route(f"{BASE}/jobs/{{id}}", delete, methods=["DELETE"]),
    Route(f"{BASE}/jobs/{{id}}/status/cancel", cancel, methods=["PUT"]),
    Route(f"{BASE}/jobs/{{id}}/clone", clone, methods=["POST"]),
    Route(f"{BASE}/jobs/{{id}}/cost", cost, methods=["GET"]),
    Route(f"{BASE}/jobs/{{id}}/results/probabilities/aggregated", aggregated, methods=["GET"]),
    Route(f"{BASE}/jobs/{{id}}/results/{{form}}", results, methods=["GET"]),
    Route(f"{BASE}/jobs/{{id}}/artifacts/{{artifact}}", artifact, methods=["GET"]),
    Route(f"{BASE}/jobs/{{id}}/circuits/{{form}}", compiled, methods=["GET"]),
    Route(f"{BASE}/jobs/{{id}}/variants/{{variant}}/results/{{form}}", variant, methods=["GET"]),
    Route(f"{BASE}/sessions/{{id}}/jobs", session_jobs, methods=["GET"]),
]
