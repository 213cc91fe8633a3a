"""Results in the formats of the service, and the list of the formats that a job has."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from qjax.ionq.emulator._errors import HttpError
from qjax.ionq.emulator._ids import artifact_id
from qjax.ionq.emulator._job import Job, Result

__all__ = ["AGGREGATE", "aggregate", "descriptors", "payload"]

AGGREGATE = "probabilities-aggregate"
_VARIANTS = 32  # of a debiased job, over which its shots are spread
_VERSIONS = ("v1", "v2")

Weights = Mapping[int, float]


def descriptors(job: Job, base: str) -> dict[str, Any]:
    """The `results` of a finished job: addresses and artifacts, side by side.

    Args:
        job: that completed.
        base: address of the API, such as "/v0.4".
    """
    if job.children is not None:
        form = _descriptor(AGGREGATE, AGGREGATE, "v1")
        url = f"{base}/jobs/{job.id}/results/probabilities/aggregated"
        return {"probabilities": {"url": url, **form}, form["format"]: form}
    found: dict[str, Any] = {}
    kinds = _kinds(job)
    for kind in kinds:
        form = _descriptor(kind, kind, "v1")
        url = f"{base}/jobs/{job.id}/results/{kind}"
        found[kind] = {"url": url, **form}
    found["ionq.result.probabilities.json.v1"] = _descriptor("probabilities", "probabilities", "v1")
    if len(kinds) > 1:
        for kind in kinds:
            form = _descriptor(artifact_id(job.id, f"{kind}-v2"), kind, "v2")
            found[form["format"]] = form
    return found


def _kinds(job: Job) -> tuple[str, ...]:
    sampled = job.result is not None and job.result.shots is not None
    return ("probabilities", "histogram", "shots") if sampled else ("probabilities",)


def _descriptor(name: str, kind: str, version: str) -> dict[str, str]:
    form = f"ionq.result.{kind}.json.{version}"
    return {"id": name, "format": form, "media_type": "application/json"}


def payload(job: Job, name: str, mode: str) -> Any:
    """One form of a job's results.

    Args:
        job: that completed.
        name: of the form, such as "probabilities" or "shots-v2", or the identifier of an artifact.
        mode: how the variants of a debiased job are joined, "average", "voting" or "dnl".

    Raises:
        HttpError: of status 404, if the job has no such form.
    """
    assert job.result is not None and job.plan is not None
    for kind in _kinds(job):
        aliases = {f"{kind}-v2": "v2", artifact_id(job.id, f"{kind}-v2"): "v2", kind: "v1"}
        if name in aliases and (aliases[name] == "v1" or job.result.shots is not None):
            writer = {"probabilities": _probabilities, "histogram": _histogram, "shots": _shots}
            return writer[kind](job, aliases[name], mode)
    raise HttpError(404)


def aggregate(children: list[Job], mode: str) -> dict[str, Any]:
    """Probabilities of all children; an empty object for those that did not complete."""
    return {
        child.id: _probabilities(child, "v1", mode) if child.result and not child.failed else {}
        for child in children
    }


def _text(value: int, num_bits: int) -> str:
    """Bits of an outcome, qubit 0 first."""
    return format(value, f"0{num_bits}b")[::-1]


def _weights(job: Job, mode: str) -> Weights:
    result, plan = job.result, job.plan
    assert result is not None and plan is not None
    if result.probabilities is not None:
        return {int(key): value for key, value in result.probabilities.items()}
    shots = result.shots or []
    counts = _voted(shots) if mode == "voting" and plan.debiasing else Counter(shots)
    return {key: counts[key] / len(shots) for key in sorted(counts)}


def _voted(shots: list[int]) -> Counter[int]:
    """Each variant's winner takes all its shots; a variant without one keeps its counts."""
    total: Counter[int] = Counter()
    for variant in range(_VARIANTS):
        counts = Counter(shots[variant::_VARIANTS])
        ranked = counts.most_common(2)
        clear = len(ranked) == 1 or (len(ranked) == 2 and ranked[0][1] > ranked[1][1])
        total += Counter({ranked[0][0]: counts.total()}) if clear else counts
    return total


def _probabilities(job: Job, version: str, mode: str) -> Any:
    weights = _weights(job, mode)
    assert job.plan is not None
    if version == "v1":
        return {str(key): value for key, value in weights.items()}
    bits = {_text(key, job.plan.qubits): value for key, value in weights.items()}
    return {"probabilities": {"registers": {"output_all": bits}}}


def _histogram(job: Job, version: str, mode: str) -> Any:
    result, plan = job.result, job.plan
    assert result is not None and plan is not None
    counts = Counter(result.shots or [])
    if version == "v1":
        return {str(key): counts[key] for key in sorted(counts)}
    registers = {"output_all": {_text(key, plan.qubits): counts[key] for key in sorted(counts)}}
    for name, width in result.widths.items():
        found = Counter(result.registers[name])
        registers[name] = {_text(key, width): found[key] for key in sorted(found)}
    return {"histogram": {"registers": registers}}


def _shots(job: Job, version: str, mode: str) -> Any:
    result, plan = job.result, job.plan
    assert result is not None and plan is not None
    shots = result.shots or []
    if version == "v1":
        return [str(value) for value in shots]
    return {
        "shots": [
            {"registers": _registers(result, place) | {"output_all": _bits(value, plan.qubits)}}
            for place, value in enumerate(shots)
        ]
    }


def _registers(result: Result, place: int) -> dict[str, list[int]]:
    return {
        name: _bits(result.registers[name][place], width) for name, width in result.widths.items()
    }


def _bits(value: int, num_bits: int) -> list[int]:
    return [value >> k & 1 for k in range(num_bits)]
