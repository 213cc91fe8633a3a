"""The endpoints of the account: estimates, usage, sessions, projects, and who asks."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qjax.ionq._machines import MACHINES
from qjax.ionq.emulator._clock import timestamp
from qjax.ionq.emulator._errors import HttpError
from qjax.ionq.emulator._requests import decimal, emulator_of, json_body, reply
from qjax.ionq.emulator._validation import TYPES
from qjax.ionq.emulator._views import ACCOUNT, BASE

__all__ = ["ROUTES"]

_QUERY_DEFAULTS = {"qubits": 25, "shots": 1000, "1q_gates": 0, "2q_gates": 0}
_PERIODS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda day: day.strftime("%Y-%m-%d"),
    "weekly": lambda day: day.strftime("%G-W%V"),
    "monthly": lambda day: day.strftime("%Y-%m-01"),
}


async def whoami(request: Request) -> Response:
    """GET /whoami."""
    key = {"key_id": ACCOUNT["key"], "key_name": "Emulator", "project_id": ACCOUNT["project"]}
    return reply(key)


async def projects(request: Request) -> Response:
    """GET /projects."""
    spent = sum(entry["amount"] for entry in emulator_of(request).bill())
    project = {
        "id": ACCOUNT["project"],
        "name": "Emulator",
        "quotaUsage": round(spent, 6),
        "quotaLimit": None,
        "unit": "USD",
        "allowedTargets": list(MACHINES),
    }
    return reply([project])


def _number(query: Any, key: str) -> int:
    text = query.get(key)
    if text is None:
        return _QUERY_DEFAULTS[key]
    number = decimal(text)
    if number is None:
        raise HttpError(400, f'"{key}" must be a number', (key,))
    return number


async def estimate(request: Request) -> Response:
    """GET /jobs/estimate; the answer has the fields of both generations."""
    query = request.query_params
    machine = MACHINES.get(query.get("backend", ""))
    if machine is None:
        raise HttpError(400, f'"backend" must be one of [{", ".join(MACHINES)}]', ("backend",))
    kind = query.get("type", TYPES[0])
    mitigated = query.get("error_mitigation", "false").lower() in ("true", "1")
    numbers = {key: _number(query, key) for key in _QUERY_DEFAULTS}
    gates = numbers["1q_gates"], numbers["2q_gates"]
    price = machine.price(*gates, numbers["shots"], mitigated=mitigated)
    least = machine.minimum_price_mitigated if mitigated else machine.minimum_price
    rates = {
        "cost_1q_gate": machine.gate_prices[0],
        "cost_2q_gate": machine.gate_prices[1],
        "job_cost_minimum": least,
    }
    context = {"backend": machine.name, "type": kind, **numbers, "error_mitigation": mitigated}
    context |= {"organization": None, "project": None}
    return reply(
        {
            "input_values": context,
            "estimate_context": context,
            "estimated_at": timestamp(emulator_of(request).clock.now()),
            "cost_unit": "usd",
            "estimated_unit": "usd",
            "estimated_cost": round(price, 6),
            "estimated_total_cost": round(price, 6),
            "rate_information": {"organization": "emulator", **rates},
            "rate_card": {
                "id": "default",
                "rates": [{"sku": machine.name, "unit": "gates", **rates}],
            },
            "estimated_execution_time": round(1000 * machine.duration(*gates, numbers["shots"])),
            "estimated_quantum_compute_time_us": 0,
            "current_predicted_queue_time": 0,
        }
    )


def _group(entry: dict[str, Any], by: str) -> tuple[str, str]:
    """Identifier and name of the group that an entry of the bill belongs to."""
    if by == "job":
        job = entry["parent_job_id"] or entry["job_id"]
        return job, entry["name"] or job
    return (ACCOUNT["user"], "user") if by == "user" else (ACCOUNT["project"], "Emulator")


async def usage(request: Request) -> Response:
    """GET /organizations/{organization}/usage."""
    if request.path_params["organization"] not in ("self", ACCOUNT["organization"]):
        raise HttpError(403)
    query = request.query_params
    by, modality = query.get("group_by", "project"), query.get("modality", "monthly")
    if by not in ("job", "project", "user") or modality not in _PERIODS:
        raise HttpError(400, '"group_by" or "modality" is not known', ("group_by", "modality"))
    first, last = query.get("start_date", ""), query.get("end_date", "9999")
    periods: dict[str, list[dict[str, Any]]] = {}
    for entry in emulator_of(request).bill():
        day = datetime.fromtimestamp(entry["started"], UTC)
        if first <= day.strftime("%Y-%m-%d") <= last:
            periods.setdefault(_PERIODS[modality](day), []).append(entry)
    data = [_period(name, entries, by) for name, entries in sorted(periods.items())]
    total = round(sum(period["amount"] for period in data), 6)
    return reply(
        {
            "organization": ACCOUNT["organization"],
            "group_type": by,
            "modality": modality,
            "usage_from": query.get("start_date"),
            "usage_to": query.get("end_date"),
            "usage_unit": "usd",
            "amount_total": total,
            "amount_totals": [{"unit": "usd", "amount": total}],
            "job_count": sum(period["job_count"] for period in data),
            "time_us_total": 0,
            "usage_data": data,
        }
    )


def _period(name: str, entries: list[dict[str, Any]], by: str) -> dict[str, Any]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(_group(entry, by), []).append(entry)
    return {
        "from": name,
        **_totals(entries),
        "amount_unit": "usd",
        "group_usages": [
            {"group_id": group, "group_name": text, **_totals(members)}
            for (group, text), members in groups.items()
        ],
    }


def _totals(entries: list[dict[str, Any]]) -> dict[str, Any]:
    jobs = {entry["parent_job_id"] or entry["job_id"] for entry in entries}
    amount = round(sum(entry["amount"] for entry in entries), 6)
    return {"amount": amount, "job_count": len(jobs), "time_us": 0}


async def create_session(request: Request) -> Response:
    """POST /sessions."""
    emulator = emulator_of(request)
    body = await json_body(request)
    return reply(emulator.sessions.create(body, emulator.make_id()), 201)


async def list_sessions(request: Request) -> Response:
    """GET /sessions."""
    active = {"true": True, "false": False}.get(request.query_params.get("active", "").lower())
    found = emulator_of(request).sessions.all(active)
    return reply({"organization_id": ACCOUNT["organization"], "sessions": found})


async def show_session(request: Request) -> Response:
    """GET /sessions/{id}."""
    return reply(emulator_of(request).sessions.view(request.path_params["id"]))


async def end_session(request: Request) -> Response:
    """POST /sessions/{id}/end."""
    return reply(emulator_of(request).sessions.end(request.path_params["id"]))


ROUTES = [
    Route(f"{BASE}/whoami", whoami, methods=["GET"]),
    Route(f"{BASE}/projects", projects, methods=["GET"]),
    Route(f"{BASE}/jobs/estimate", estimate, methods=["GET"]),
    Route(f"{BASE}/organizations/{{organization}}/usage", usage, methods=["GET"]),
    Route(f"{BASE}/sessions", create_session, methods=["POST"]),
    Route(f"{BASE}/sessions", list_sessions, methods=["GET"]),
    Route(f"{BASE}/sessions/{{id}}", show_session, methods=["GET"]),
    Route(f"{BASE}/sessions/{{id}}/end", end_session, methods=["POST"]),
]
