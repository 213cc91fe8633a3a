"""What is sent to create a job, and every check that can be made before anything is sent."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from operator import index
from typing import Any

from qjax.circuit import Circuit
from qjax.ionq._client._backends import Backend
from qjax.ionq._client._models import Job
from qjax.ionq._errors import InvalidJobError
from qjax.ionq._machines import MACHINES
from qjax.ionq._payload import circuit_to_payload

__all__ = [
    "GateCounts",
    "JobRequest",
    "check_backend",
    "check_shots",
    "clone_metadata",
    "count_gates",
    "job_request",
    "new_tag",
]

TAG = "qjax_tag"
QUBITS = "qjax_qubits"
DEBIASING_FROM = 500  # shots from which the service debiases what it compiles unless told not to

_LARGEST_SHOTS = 1_000_000
_LARGEST_SEED = 2**31 - 1
_MOST_CIRCUITS, _MOST_GATES = 5_000, 150_000
_LARGEST_BODY = 10 * 1000 * 1000
_METADATA_KEYS, _KEY_LENGTH, _VALUE_LENGTH = 10, 40, 40_000
_NOISE_QUBITS = {
    "harmony": 11, "harmony-1": 11, "harmony-2": 11, "aria-1": 25, "aria-2": 25, "forte-1": 29,
    "forte-enterprise-1": 29,
}  # fmt: skip

Circuits = Circuit | str | Sequence[Circuit]


@dataclass(frozen=True)
class GateCounts:
    """Gates of one circuit as a price needs them.

    Attributes:
        one_qubit: gates on one qubit.
        two_qubit: gates on two; one on n > 2 qubits counts as 6 (n - 2).
    """

    one_qubit: int
    two_qubit: int


@dataclass(frozen=True)
class JobRequest:
    """A job ready to be sent.

    Attributes:
        body: the JSON.
        tag: the mark in its metadata.
        num_qubits: of each circuit; empty for OpenQASM.
        gates: of each circuit; empty for OpenQASM.
    """

    body: dict[str, Any]
    tag: str
    num_qubits: tuple[int, ...]
    gates: tuple[GateCounts, ...]


def new_tag() -> str:
    """A mark that no other job has."""
    return f"qjax-{uuid.uuid4().hex}"


def job_request(
    circuits: Circuits,
    *,
    backend: str,
    shots: int = 100,
    gateset: str = "qis",
    name: str | None = None,
    metadata: Mapping[str, str] | None = None,
    session_id: str | None = None,
    dry_run: bool = False,
    noise: str | None = None,
    seed: int | None = None,
    debiasing: bool | None = None,
    symmetry_verification: bool | None = None,
    compilation: Mapping[str, Any] | None = None,
    tag: str | None = None,
) -> JobRequest:
    """Builds a job and checks all that does not depend on the backend.

    Args:
        circuits: one circuit, a list of them (a multi-circuit job), or an OpenQASM 3 program.
        backend: such as "simulator" or "qpu.forte-1".
        shots: per circuit.
        gateset: "qis" or "native".
        name: to find the job by.
        metadata: up to 8 texts of your own.
        session_id: to join.
        dry_run: only check, compile and price it.
        noise: noise model of the simulator.
        seed: of the noise.
        debiasing: error mitigation by symmetrisation.
        symmetry_verification: error mitigation by discarding shots.
        compilation: settings of the service's compiler, such as {"opt": 0}.
        tag: the mark to use, a new one if not given.

    Raises:
        InvalidJobError: if the job breaks a limit.
        PayloadError: if a circuit cannot be written in the gateset.
    """
    mark = new_tag() if tag is None else tag
    texts = {
        "backend": backend, "gateset": gateset, "name": name, "session_id": session_id,
        "noise": noise, "tag": mark,
    }  # fmt: skip
    _check_texts(texts)
    kind, content, sizes, gates = _input(circuits, gateset)
    number = check_shots(shots)
    _check_debiasing(debiasing, backend, number, gateset, kind)
    body: dict[str, Any] = {"type": kind, "backend": backend, "shots": number}
    body["input"] = content
    body["metadata"] = _metadata(metadata, mark, sizes)
    if noise is not None:
        body["noise"] = _noise(noise, seed, backend)
    elif seed is not None:
        raise InvalidJobError("Argument `seed` needs a noise model, but `noise` is None.")
    mitigation = {"debiasing": debiasing, "symmetry_verification": symmetry_verification}
    mitigation = {key: value for key, value in mitigation.items() if value is not None}
    settings: dict[str, Any] = {"error_mitigation": mitigation} if mitigation else {}
    if compilation is not None and not isinstance(compilation, Mapping):
        raise InvalidJobError(f"Argument `compilation` must be a mapping, but is {compilation!r}.")
    settings |= {"compilation": dict(compilation)} if compilation else {}
    options = {"name": name, "session_id": session_id, "settings": settings or None}
    body |= {key: value for key, value in options.items() if value is not None}
    body |= {"dry_run": True} if dry_run else {}
    _check_size(body)
    return JobRequest(body, mark, sizes, gates)


def _check_texts(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if value is None and name in ("name", "session_id", "noise"):
            continue
        if not isinstance(value, str) or not value:
            raise InvalidJobError(
                f"Argument `{name}` must be a text that is not empty, but is {value!r}."
            )


def check_shots(shots: Any) -> int:
    """The number of shots, from 1 to a million.

    Raises:
        InvalidJobError: if it is anything else.
    """
    return _whole(shots, "shots", _LARGEST_SHOTS)


def _input(circuits: Circuits, gateset: str) -> tuple[str, dict, tuple, tuple]:
    """Type and input of the job, and the qubits and gates of its circuits."""
    if isinstance(circuits, str):
        if re.match(r"\s*OPENQASM\s+3(\.\d+)?\s*;", circuits) is None:
            raise InvalidJobError(
                "Argument `circuits` must be circuits or an OpenQASM 3 program that begins with "
                f"its version, but begins with {circuits[:20]!r}. Read OpenQASM 2 with "
                "qjax.qasm.parse and pass the circuit."
            )
        return "ionq.qasm3.v1", {"data": circuits}, (), ()
    if isinstance(circuits, Circuit):
        payload = circuit_to_payload(circuits, gateset)
        return "ionq.circuit.v1", payload, (circuits.num_qubits,), (count_gates(payload),)
    if not isinstance(circuits, Sequence) or not all(isinstance(c, Circuit) for c in circuits):
        raise InvalidJobError(
            "Argument `circuits` must be a circuit, a list of circuits or an OpenQASM 3 program, "
            f"but is {circuits!r:.80}."
        )
    payloads = [circuit_to_payload(circuit, gateset) for circuit in circuits]
    if not 1 <= len(payloads) <= _MOST_CIRCUITS:
        raise InvalidJobError(
            f"A job takes 1 to {_MOST_CIRCUITS} circuits, but `circuits` holds {len(payloads)}."
        )
    total = sum(len(payload["circuit"]) for payload in payloads)
    if total > _MOST_GATES:
        raise InvalidJobError(
            f"A job takes {_MOST_GATES} gates in all, but `circuits` holds {total}. Send several "
            "jobs."
        )
    sizes = tuple(payload["qubits"] for payload in payloads)
    entries = [{"qubits": p["qubits"], "circuit": p["circuit"]} for p in payloads]
    content = {"gateset": gateset, "qubits": max(sizes), "circuits": entries}
    return "ionq.multi-circuit.v1", content, sizes, tuple(map(count_gates, payloads))


def count_gates(payload: Mapping[str, Any]) -> GateCounts:
    """Gates of a circuit's JSON, as the price list counts them."""
    one = two = 0
    for gate in payload["circuit"]:
        qubits = sum(
            len(gate[field]) if field.endswith("s") else 1
            for field in ("target", "targets", "control", "controls")
            if field in gate
        )
        one += qubits == 1
        two += 0 if qubits == 1 else max(1, 6 * (qubits - 2))
    return GateCounts(one, two)


def _whole(value: Any, name: str, largest: int) -> int:
    """A whole number from 1."""
    try:
        number = 0 if isinstance(value, bool) else index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= largest:
        raise InvalidJobError(
            f"Argument `{name}` must be a whole number between 1 and {largest}, but is {value!r}."
        )
    return number


def _check_debiasing(
    debiasing: bool | None, backend: str, shots: int, gateset: str, kind: str
) -> None:
    """Nobody pays for debiasing without having asked for it."""
    qpu = backend.startswith("qpu")
    if debiasing and not qpu:
        raise InvalidJobError("Argument `debiasing` must not be True on the simulator.")
    if debiasing and shots < DEBIASING_FROM:
        raise InvalidJobError(
            f"Argument `debiasing` needs {DEBIASING_FROM} shots or more, but `shots` is {shots}."
        )
    by_default = qpu and (gateset == "qis" or kind == "ionq.qasm3.v1")
    if by_default and debiasing is None and shots >= DEBIASING_FROM:
        raise InvalidJobError(
            f"From {DEBIASING_FROM} shots the service debiases jobs that it compiles for a QPU "
            f"unless told not to{_minimum_prices(backend)}. Say which you want: debiasing=True or "
            "debiasing=False."
        )


def _minimum_prices(backend: str) -> str:
    machine = MACHINES.get(backend)
    if machine is None:
        return ", which raises the minimum price several-fold"
    prices = machine.minimum_price, machine.minimum_price_mitigated
    plain, mitigated = (ceil(100 * price - 1e-6) / 100 for price in prices)  # billed in cents
    return f", which raises the minimum price of a circuit from ${plain:.2f} to ${mitigated:.2f}"


def _metadata(
    metadata: Mapping[str, str] | None, tag: str, sizes: tuple[int, ...]
) -> dict[str, str]:
    """The user's texts, the tag, and the qubits of each circuit, which answers may leave out."""
    own = {TAG: tag} | ({QUBITS: ",".join(map(str, sizes))} if sizes else {})
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidJobError(f"Argument `metadata` must be a mapping, but is {metadata!r:.40}.")
    given = dict(metadata or {})
    taken = sorted(set(own) & set(given))
    if taken:
        raise InvalidJobError(f"Argument `metadata` must not use the keys {taken!r}.")
    if len(given) + 2 > _METADATA_KEYS:
        raise InvalidJobError(
            f"Argument `metadata` must have at most {_METADATA_KEYS - 2} keys, but has "
            f"{len(given)}; two are taken."
        )
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidJobError(
                f"Argument `metadata` must map texts to texts, but holds {key!r}: {value!r:.40}."
            )
        if len(key) > _KEY_LENGTH or len(value) > _VALUE_LENGTH:
            raise InvalidJobError(
                f"Argument `metadata` must have keys of at most {_KEY_LENGTH} characters and "
                f"values of at most {_VALUE_LENGTH}, but {key[:_KEY_LENGTH]!r} has {len(key)} and "
                f"{len(value)}."
            )
    return given | own


def clone_metadata(old: Job, tag: str) -> dict[str, Any]:
    """The metadata of a job for its clone, with a tag of its own.

    Raises:
        InvalidJobError: if there is no room for the tag.
    """
    texts = {**old.metadata, TAG: tag}
    if old.parent_job_id is not None:  # a circuit carries the sizes of all circuits of its job
        texts.pop(QUBITS, None)
        texts |= {} if old.stats.qubits is None else {QUBITS: str(old.stats.qubits)}
    if len(texts) > _METADATA_KEYS:
        raise InvalidJobError(
            f"Job {old.id} has {len(old.metadata)} keys of metadata, which leaves no room for the "
            "tag by which its clone is found again. Create a job with fewer instead."
        )
    return texts


def _noise(noise: str, seed: int | None, backend: str) -> dict[str, Any]:
    if backend != "simulator":
        raise InvalidJobError(
            f"Argument `noise` is for the simulator, but `backend` is {backend!r}."
        )
    if seed is None:
        return {"model": noise}
    return {"model": noise, "seed": _whole(seed, "seed", _LARGEST_SEED)}


def _check_size(body: dict[str, Any]) -> None:
    try:
        size = len(json.dumps(body, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidJobError(f"The job cannot be written as JSON: {error}.") from None
    if size > _LARGEST_BODY:
        raise InvalidJobError(
            f"A job takes {_LARGEST_BODY / 1e6:.0f} MB, but this one is {size / 1e6:.1f} MB. Send "
            "several jobs."
        )


def check_backend(request: JobRequest, backend: Backend) -> None:
    """Checks a job against the machine that it is for.

    Raises:
        InvalidJobError: if it cannot run there.
    """
    body = request.body
    if backend.status == "retired":
        raise InvalidJobError(f"Backend {backend.name!r} is retired and takes no jobs.")
    model = body.get("noise", {}).get("model")
    if model is not None and backend.noise_models and model not in backend.noise_models:
        known = ", ".join(backend.noise_models)
        raise InvalidJobError(f"Argument `noise` must be one of {known}, but is {model!r}.")
    most = min(backend.qubits, _NOISE_QUBITS.get(model or "", backend.qubits))
    where = backend.name if model in (None, "ideal") else f"{backend.name} with noise {model!r}"
    for place, size in enumerate(request.num_qubits):
        if size > most:
            raise InvalidJobError(f"Circuit {place} has {size} qubits, but {where} has {most}.")
    if body["input"].get("gateset") == "native":
        _check_native(body["input"], backend, model)


def _check_native(content: Mapping[str, Any], backend: Backend, model: str | None) -> None:
    """MS runs on Aria and ZZ on Forte, also on the simulator with the noise of either."""
    family = MACHINES.get(f"qpu.{model}") if model else None
    known = (*family.gatesets, "gpi", "gpi2") if family else backend.native_gates
    circuits = content.get("circuits") or [content]
    used = {gate["gate"] for circuit in circuits for gate in circuit["circuit"]}
    unknown = sorted(used - set(known))
    if known and unknown:
        raise InvalidJobError(
            f"The circuit uses {', '.join(unknown)}, but the native gates of "
            f"{backend.name if family is None else model} are {', '.join(known)}. Compile it for "
            "that machine with IonQNativeCompiler."
        )
