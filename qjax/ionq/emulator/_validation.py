"""The checks that a posted job must pass to be accepted, with messages in the service's style."""

from collections.abc import Mapping
from math import inf
from typing import Any

from qjax.ionq._machines import MACHINES
from qjax.ionq.emulator._errors import HttpError

__all__ = ["NOISE_NAMES", "TYPES", "check_job", "circuits_of", "warnings_of"]

TYPES = (
    "ionq.circuit.v1",
    "ionq.multi-circuit.v1",
    "ionq.qasm3.v1",
    "quantum-function",
    "qctrl.qaoa.v1",
)
NOISE_NAMES = (
    "ideal", "harmony", "harmony-1", "harmony-2", "aria-1", "aria-2", "forte-1",
    "forte-enterprise-1",
)  # fmt: skip

_MOST_SHOTS = 1_000_000
_MOST_CIRCUITS, _MOST_GATES = 5000, 150_000
_LARGEST_SEED = 2**31 - 1
_METADATA_KEYS, _KEY_LENGTH, _VALUE_LENGTH = 10, 40, 40_000


def _refuse(key: str, rule: str) -> HttpError:
    return HttpError(400, f'"{key}" {rule}', (key,))


def check_job(body: Any) -> dict[str, Any]:
    """The fields of a job with their defaults, the circuits left out.

    Unknown fields are dropped, as the service does.

    Args:
        body: what was posted.

    Raises:
        HttpError: of status 400, if a field is missing or has a wrong shape.
    """
    if not isinstance(body, dict):
        raise HttpError(400, '"value" must be of type object', ("value",))
    if body.get("type") not in TYPES:
        known = f"must be one of [{', '.join(TYPES)}]"
        raise _refuse("type", "is required" if body.get("type") is None else known)
    backend = body.get("backend", "simulator")
    if not isinstance(backend, str) or backend not in MACHINES:
        raise _refuse("backend", f"must be one of [{', '.join(MACHINES)}]")
    if not isinstance(body.get("input"), dict):
        raise _refuse("input", "is required" if "input" not in body else "must be of type object")
    for key in ("name", "session_id"):
        if body.get(key) is not None and not isinstance(body[key], str):
            raise _refuse(key, "must be a string")
    if not isinstance(body.get("dry_run", False), bool | None):
        raise _refuse("dry_run", "must be a boolean")
    circuits_of(body)
    return {
        "type": body["type"],
        "backend": backend,
        "name": body.get("name"),
        "metadata": _metadata(body.get("metadata")),
        "shots": _shots(body.get("shots")),
        "session_id": body.get("session_id"),
        "dry_run": bool(body.get("dry_run")),
        "noise": _noise(body.get("noise")),
        "settings": _settings(body.get("settings")),
    }


def _shots(value: Any) -> int | None:
    """The number of shots, or None if none was given; numeric strings count as numbers."""
    if value is None:
        return None
    if isinstance(value, str) and value.strip().isdecimal():
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value in (inf, -inf):
        raise _refuse("shots", "must be a number")
    if value != int(value):
        raise _refuse("shots", "must be an integer")
    if value < 1:
        raise _refuse("shots", "must be greater than or equal to 1")
    if value > _MOST_SHOTS:
        raise _refuse("shots", f"must be less than or equal to {_MOST_SHOTS}")
    return int(value)


def _metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _refuse("metadata", "must be of type object")
    if len(value) > _METADATA_KEYS:
        raise _refuse("metadata", f"must have less than or equal to {_METADATA_KEYS} keys")
    for key, text in value.items():
        if len(key) > _KEY_LENGTH:
            raise _refuse(f"metadata.{key}", "is not allowed: its name exceeds 40 characters")
        if not isinstance(text, str):
            raise _refuse(f"metadata.{key}", "must be a string")
        if len(text) > _VALUE_LENGTH:
            limit = f"length must be less than or equal to {_VALUE_LENGTH} characters long"
            raise _refuse(f"metadata.{key}", limit)
    return value


def _noise(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _refuse("noise", "must be of type object")
    model, seed = value.get("model", "ideal"), value.get("seed")
    if model not in NOISE_NAMES:
        raise _refuse("noise.model", f"must be one of [{', '.join(NOISE_NAMES)}]")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise _refuse("noise.seed", "must be a number")
    if seed is not None and not 1 <= seed <= _LARGEST_SEED:
        raise _refuse("noise.seed", f"must be between 1 and {_LARGEST_SEED}")
    return value


def _settings(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refuse("settings", "must be of type object")
    for key in ("error_mitigation", "compilation"):
        if not isinstance(value.get(key, {}), dict | None):
            raise _refuse(f"settings.{key}", "must be of type object")
    mitigation = value.get("error_mitigation") or {}
    if not isinstance(mitigation.get("debiasing", False), bool | None):
        raise _refuse("settings.error_mitigation.debiasing", "must be a boolean")
    return value


def circuits_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The circuits of a posted job, each with its own gateset, size and name.

    Args:
        body: what was posted, with a type and an input.

    Raises:
        HttpError: of status 400, if the input does not fit the type.
    """
    kind, given = body["type"], body["input"]
    if kind == "ionq.multi-circuit.v1":
        return _many(given)
    if kind == "ionq.circuit.v1":
        _check_gates(given, "input.circuit", given.get("circuit"))
        return [{key: given.get(key) for key in ("gateset", "qubits", "circuit")}]
    if kind == "ionq.qasm3.v1":
        if not isinstance(given.get("data"), str):
            rule = "is required" if given.get("data") is None else "must be a string"
            raise _refuse("input.data", rule)
        _check_size(given.get("qubits"))
        return [{"data": given["data"], "qubits": given.get("qubits")}]
    return [dict(given)]


def _many(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    circuits = given.get("circuits")
    if given.get("circuit") is not None:
        raise _refuse("input.circuit", "is not allowed")
    if not isinstance(circuits, list):
        rule = "is required" if circuits is None else "must be an array"
        raise _refuse("input.circuits", rule)
    if not 1 <= len(circuits) <= _MOST_CIRCUITS:
        raise _refuse("input.circuits", f"must contain between 1 and {_MOST_CIRCUITS} items")
    found: list[dict[str, Any]] = []
    for place, entry in enumerate(circuits):
        where = f"input.circuits[{place}]"
        if not isinstance(entry, dict):
            raise _refuse(where, "must be of type object")
        _check_gates(entry, f"{where}.circuit", entry.get("circuit"))
        both = {key: entry.get(key, given.get(key)) for key in ("gateset", "qubits")}
        found.append({**both, "circuit": entry["circuit"], "name": entry.get("name")})
    if sum(len(entry["circuit"]) for entry in found) > _MOST_GATES:
        raise _refuse("input.circuits", f"must contain at most {_MOST_GATES} gates")
    return found


def _check_gates(entry: Mapping[str, Any], where: str, gates: Any) -> None:
    if gates is None:
        raise HttpError(400, f"{where} is required", (where,))
    if not isinstance(gates, list):
        raise _refuse(where, "must be an array")
    if not gates:
        raise _refuse(where, "must contain at least 1 items")
    for place, gate in enumerate(gates):
        if not isinstance(gate, dict) or not isinstance(gate.get("gate"), str):
            raise _refuse(f"{where}[{place}].gate", "is required")
    gateset = entry.get("gateset")
    if gateset not in (None, "qis", "native"):
        raise _refuse("input.gateset", "must be one of [qis, native]")
    _check_size(entry.get("qubits"))


def _check_size(qubits: Any) -> None:
    if qubits is not None and (isinstance(qubits, bool) or not isinstance(qubits, int)):
        raise _refuse("input.qubits", "must be a number")
    if qubits is not None and qubits < 1:
        raise _refuse("input.qubits", "must be greater than or equal to 1")


def warnings_of(body: Mapping[str, Any]) -> list[str]:
    """Fields of older versions that the service drops in silence."""
    found = []
    for key, instead in (
        ("target", "`backend`; the job runs on the simulator without it"),
        ("error_mitigation", "`settings.error_mitigation`"),
        ("lang", "`type`"),
    ):
        if key in body:
            found.append(f"`{key}` is ignored in v0.4; use {instead}.")
    if isinstance(body.get("input"), dict) and "format" in body["input"]:
        found.append("`input.format` is ignored in v0.4; use `type`.")
    return found
