"""ionq-core, IonQ's own client: its outcomes are those of the service, bit i for qubit i."""

# pyright: reportMissingImports=false

import json
from typing import Any

import ionq_core
from driver import ANGLE, FEW, KEY, NATIVE, SEED, SHOTS, Emulator, first_qubit_first, main
from ionq_core.api.default import (
    cancel_job,
    create_job,
    get_job,
    get_job_artifact,
    get_job_probabilities,
)
from ionq_core.models.circuit_job_creation_payload import CircuitJobCreationPayload
from ionq_core.models.json_multi_circuit_job import JSONMultiCircuitJob

BELL = [{"gate": "h", "target": 0}, {"gate": "cnot", "control": 0, "target": 1}]
ASYMMETRIC = [
    {"gate": "x", "target": 0},
    {"gate": "ry", "target": 1, "rotation": ANGLE},
    {"gate": "cnot", "control": 1, "target": 2},
]


def client(url: str) -> Any:
    return ionq_core.IonQClient(api_key=KEY, base_url=url)


def single(gates: list[dict[str, Any]], gateset: str = "qis", **more: Any) -> Any:
    size = 1 + max(max(gate.get("targets", [gate.get("target")])) for gate in gates)
    given = {"gateset": gateset, "qubits": size, "circuit": gates}
    body = {"type": "ionq.circuit.v1", "backend": "simulator", "shots": FEW, "input": given, **more}
    return CircuitJobCreationPayload.from_dict(body)


def finish(emulator: Emulator, body: Any) -> tuple[Any, Any]:
    door = client(emulator.url)
    created = create_job.sync(client=door, body=body)
    job = ionq_core.wait_for_job(door, created.id, poll_interval=0.1)
    return door, job


def run(emulator: Emulator, body: Any, num_qubits: int) -> dict[str, Any]:
    door, job = finish(emulator, body)
    found = get_job_probabilities.sync(job.id, client=door)
    return {"found": first_qubit_first(found.to_dict(), num_qubits), "own": None}


def native(emulator: Emulator) -> Any:
    first, (p0, p1, angle), last = NATIVE
    gates = [
        {"gate": "gpi2", "target": 0, "phase": first},
        {"gate": "ms", "targets": [0, 1], "phases": [p0, p1], "angle": angle},
        {"gate": "gpi2", "target": 1, "phase": last},
    ]
    return run(emulator, single(gates, "native"), 2)


def several(emulator: Emulator) -> Any:
    circuits = [{"circuit": BELL}, {"circuit": ASYMMETRIC}]
    body = {
        "type": "ionq.multi-circuit.v1",
        "backend": "simulator",
        "shots": FEW,
        "input": {"gateset": "qis", "circuits": circuits},
    }
    door, job = finish(emulator, JSONMultiCircuitJob.from_dict(body))
    answer = get_job_artifact.sync_detailed(job.id, "probabilities-aggregate", client=door)
    found = json.loads(answer.content)
    sizes = (2, 3)
    return [first_qubit_first(w, n) for w, n in zip(found.values(), sizes, strict=True)]


def cancel(emulator: Emulator) -> Any:
    door = client(emulator.waiting_url)
    created = create_job.sync(client=door, body=single(BELL))
    cancel_job.sync(created.id, client=door)
    return str(get_job.sync(created.id, client=door).status)


def failed(emulator: Emulator) -> Any:
    emulator.fail_next()
    return run(emulator, single(BELL), 2)


def retry_429(emulator: Emulator) -> Any:
    emulator.refuse_creation()
    return run(emulator, single(BELL), 2)


def retry_503(emulator: Emulator) -> Any:
    emulator.refuse_look()
    return run(emulator, single(BELL), 2)


if __name__ == "__main__":
    noise = {"model": "aria-1", "seed": SEED}
    main(
        {
            "bell": lambda emulator: run(emulator, single(BELL), 2),
            "asymmetric": lambda emulator: run(emulator, single(ASYMMETRIC), 3),
            "native": native,
            "noisy": lambda emulator: run(emulator, single(BELL, shots=SHOTS, noise=noise), 2),
            "several": several,
            "cancel": cancel,
            "failed": failed,
            "retry_429": retry_429,
            "retry_503": retry_503,
        }
    )
