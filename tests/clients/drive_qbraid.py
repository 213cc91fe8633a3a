"""qBraid; its strings have qubit 0 last."""

# pyright: reportMissingImports=false

from typing import Any

from driver import ANGLE, FEW, KEY, NATIVE, SEED, SHOTS, Emulator, main
from qbraid.programs.typer import IonQDict
from qbraid.runtime.ionq import IonQProvider

HEAD = 'OPENQASM 3.0; include "stdgates.inc";'
BELL = f"{HEAD} qubit[2] q; h q[0]; cx q[0], q[1];"
ASYMMETRIC = f"{HEAD} qubit[3] q; x q[0]; ry({ANGLE}) q[1]; cx q[1], q[2];"


def device(url: str) -> Any:
    provider = IonQProvider(KEY)
    provider.session.base_url = url
    return provider.get_device("simulator")


def turned(weights: dict[str, float]) -> dict[str, float]:
    return {key[::-1]: float(value) for key, value in weights.items() if value}


def finish(job: Any) -> Any:
    job.wait_for_final_state(poll_interval=0.1)
    return job.result().data


def run(emulator: Emulator, program: str, shots: int = FEW, **options: Any) -> dict[str, Any]:
    job = device(emulator.url).run(program, shots=shots, **options)
    return {"found": turned(finish(job).get_probabilities()), "own": None}


def native(emulator: Emulator) -> Any:
    first, (p0, p1, angle), last = NATIVE
    gates = [
        {"gate": "gpi2", "target": 0, "phase": first},
        {"gate": "ms", "targets": [0, 1], "phases": [p0, p1], "angle": angle},
        {"gate": "gpi2", "target": 1, "phase": last},
    ]
    program = {"format": "ionq.circuit.v0", "gateset": "native", "qubits": 2, "circuit": gates}
    assert isinstance(program, IonQDict)
    job = device(emulator.url).submit(program, shots=FEW)
    return {"found": turned(finish(job).get_probabilities()), "own": None}


def several(emulator: Emulator) -> Any:
    job = device(emulator.url).run([BELL, ASYMMETRIC], shots=SHOTS)
    # For several circuits qBraid makes counts of the probabilities, and gives only these out.
    counts = finish(job).get_counts()
    return [turned({k: n / SHOTS for k, n in each.items()}) for each in counts]


def cancel(emulator: Emulator) -> Any:
    job = device(emulator.waiting_url).run(BELL, shots=FEW)
    job.cancel()
    return job.status().name


def failed(emulator: Emulator) -> Any:
    emulator.fail_next()
    return run(emulator, BELL)


def retry_429(emulator: Emulator) -> Any:
    emulator.refuse_creation()
    return run(emulator, BELL)


def retry_503(emulator: Emulator) -> Any:
    emulator.refuse_look()
    return run(emulator, BELL)


if __name__ == "__main__":
    noise = {"model": "aria-1", "seed": SEED}
    main(
        {
            "bell": lambda emulator: run(emulator, BELL),
            "asymmetric": lambda emulator: run(emulator, ASYMMETRIC),
            "native": native,
            "noisy": lambda emulator: run(emulator, BELL, SHOTS, noise=noise),
            "several": several,
            "cancel": cancel,
            "failed": failed,
            "retry_429": retry_429,
            "retry_503": retry_503,
        }
    )
