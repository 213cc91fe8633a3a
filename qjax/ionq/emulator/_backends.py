"""The endpoints of machines and their characterisations.

A characterisation says what the emulator computes with, not how the real machine fares today.
"""

from itertools import combinations
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qjax.ionq._machines import MACHINES, Machine
from qjax.ionq.emulator._clock import timestamp
from qjax.ionq.emulator._errors import HttpError
from qjax.ionq.emulator._ids import new_id
from qjax.ionq.emulator._read import as_rated
from qjax.ionq.emulator._requests import emulator_of, integer_of, reply
from qjax.ionq.emulator._validation import NOISE_NAMES
from qjax.ionq.emulator._views import BASE

__all__ = ["ROUTES"]

_DAY = 86400.0
_HISTORY = 10  # days of characterisations that are kept
_MOST_PER_PAGE = 10
_QIS_GATES = (
    "x", "y", "z", "h", "s", "si", "t", "ti", "v", "vi", "rx", "ry", "rz", "cnot", "swap", "xx",
    "yy", "zz", "not", "pauliexp",
)  # fmt: skip
# The emulator's noise is that of the gates: preparation and readout have no error and take no time.
# It has no relaxation either; the times are those of the example in IonQ's API document.
_SPAM, _READOUT, _RESET, _T1, _T2 = 1.0, 0.0, 0.0, 10.0, 1.0


def _day(now: float) -> float:
    return now - now % _DAY


def _characterization_id(machine: Machine, day: float) -> str:
    return new_id(day, 0, 1 + list(MACHINES).index(machine.name))


def _backend(machine: Machine, now: float) -> dict[str, Any]:
    simulator = machine.name == "simulator"
    view: dict[str, Any] = {
        "backend": machine.name,
        "status": "available",
        "degraded": False,
        "qubits": machine.num_qubits,
        "average_queue_time": 0,
        "last_updated": timestamp(_day(now)),
        "supported_gates": list(_QIS_GATES),
        "supported_native_gates": ["gpi", "gpi2", *machine.gatesets],
        "supported_error_mitigations": [] if simulator else ["debiasing"],
    }
    if simulator:
        return {**view, "noise_models": list(NOISE_NAMES)}
    return {
        **view,
        "characterization_id": _characterization_id(machine, _day(now)),
        "location": "A local emulator of qjax",
    }


def _characterization(machine: Machine, day: float) -> dict[str, Any]:
    rates = as_rated(machine).depolarizing
    assert rates is not None
    one, two = rates
    return {
        "id": _characterization_id(machine, day),
        "backend": machine.name,
        "date": timestamp(day),
        "qubits": machine.num_qubits,
        "connectivity": [list(pair) for pair in combinations(range(machine.num_qubits), 2)],
        "fidelity": {
            "spam": {"median": _SPAM, "stderr": None},
            "1q": {"median": round(1 - one / 2, 6), "stderr": None},  # average over states
            "2q": {"median": round(1 - 3 * two / 4, 6), "stderr": None},
        },
        "timing": {
            "readout": _READOUT,
            "reset": _RESET,
            "1q": machine.gate_times[0],
            "2q": machine.gate_times[1],
            "t1": _T1,
            "t2": _T2,
        },
    }


def _find(request: Request) -> Machine:
    machine = MACHINES.get(request.path_params["backend"])
    if machine is None:
        raise HttpError(404)
    return machine


async def list_backends(request: Request) -> Response:
    """GET /backends."""
    now = emulator_of(request).clock.now()
    return reply([_backend(machine, now) for machine in MACHINES.values()])


async def show_backend(request: Request) -> Response:
    """GET /backends/{backend}."""
    return reply(_backend(_find(request), emulator_of(request).clock.now()))


def _records(request: Request, machine: Machine) -> list[dict[str, Any]]:
    """One record a day, newest first; none for the simulator."""
    if machine.name == "simulator":
        return []
    today = _day(emulator_of(request).clock.now())
    return [_characterization(machine, today - _DAY * k) for k in range(_HISTORY)]


async def list_characterizations(request: Request) -> Response:
    """GET /backends/{backend}/characterizations."""
    machine, query = _find(request), request.query_params
    size = integer_of(query.get("limit"), "limit", _MOST_PER_PAGE, _MOST_PER_PAGE)
    page = integer_of(query.get("page"), "page", 1, 10**6)
    start, end = query.get("start", ""), query.get("end", "9999")
    records = [r for r in _records(request, machine) if start <= r["date"] <= end]
    pages = -(-len(records) // size)
    found = records[size * (page - 1) : size * page]
    return reply({"characterizations": found, "pages": pages})


async def show_characterization(request: Request) -> Response:
    """GET /backends/{backend}/characterizations/{id}."""
    machine = _find(request)
    for record in _records(request, machine):
        if record["id"] == request.path_params["id"]:
            return reply(record)
    raise HttpError(404)


ROUTES = [
    Route(f"{BASE}/backends", list_backends, methods=["GET"]),
    Route(f"{BASE}/backends/{{backend}}", show_backend, methods=["GET"]),
    Route(
        f"{BASE}/backends/{{backend}}/characterizations", list_characterizations, methods=["GET"]
    ),
    Route(
        f"{BASE}/backends/{{backend}}/characterizations/{{id}}",
        show_characterization,
        methods=["GET"],
    ),
]
