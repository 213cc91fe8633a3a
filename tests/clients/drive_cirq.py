"""cirq-ionq; its integers have qubit 0 as the most significant bit."""

# pyright: reportMissingImports=false

from typing import Any

import cirq
import cirq_ionq
from driver import ANGLE, FEW, KEY, NATIVE, SEED, SHOTS, Emulator, main

Q = cirq.LineQubit.range(3)
BELL = cirq.Circuit(cirq.H(Q[0]), cirq.CNOT(Q[0], Q[1]))
ASYMMETRIC = cirq.Circuit(cirq.X(Q[0]), cirq.ry(ANGLE)(Q[1]), cirq.CNOT(Q[1], Q[2]))


def service(host: str) -> cirq_ionq.Service:
    return cirq_ionq.Service(remote_host=host, api_key=KEY, default_target="simulator")


def measured(circuit: cirq.Circuit) -> cirq.Circuit:
    return circuit + cirq.measure(*sorted(circuit.all_qubits()), key="m")


def texts(weights: dict[int, float], num_qubits: int) -> dict[str, float]:
    return {format(k, f"0{num_qubits}b"): float(v) for k, v in weights.items() if v}


def outcomes(result: Any) -> dict[str, float]:
    return texts(result.probabilities(), result.num_qubits())


def run(emulator: Emulator, circuit: cirq.Circuit, **options: Any) -> dict[str, float]:
    options = {"repetitions": FEW, **options}
    job = service(emulator.host).create_job(measured(circuit), **options)
    result = job.results(polling_seconds=0.1)
    return outcomes(result[0] if isinstance(result, list) else result)


def simulated(emulator: Emulator, circuit: cirq.Circuit) -> dict[str, Any]:
    state = cirq.Simulator(dtype=complex).simulate(circuit).final_state_vector
    size = len(circuit.all_qubits())
    own = texts({k: abs(a) ** 2 for k, a in enumerate(state) if abs(a) > 1e-9}, size)
    return {"found": run(emulator, circuit), "own": own}


def native() -> cirq.Circuit:
    first, (p0, p1, angle), last = NATIVE
    return cirq.Circuit(
        cirq_ionq.GPI2Gate(phi=first).on(Q[0]),
        cirq_ionq.MSGate(phi0=p0, phi1=p1, theta=angle).on(Q[0], Q[1]),
        cirq_ionq.GPI2Gate(phi=last).on(Q[1]),
    )


def noisy(emulator: Emulator) -> Any:
    more = {"noise": {"model": "aria-1", "seed": SEED}}
    return {
        "found": run(emulator, BELL, repetitions=SHOTS, extra_query_params=more),
        "own": None,
    }


def several(emulator: Emulator) -> Any:
    circuits = [measured(BELL), measured(ASYMMETRIC)]
    job = service(emulator.host).create_batch_job(circuits, repetitions=FEW)
    return [outcomes(result) for result in job.results(polling_seconds=0.1)]


def cancel(emulator: Emulator) -> Any:
    job = service(emulator.waiting_host).create_job(measured(BELL), repetitions=FEW)
    job.cancel()
    return job.status()


def failed(emulator: Emulator) -> Any:
    emulator.fail_next()
    return run(emulator, BELL)


def retry_429(emulator: Emulator) -> Any:
    emulator.refuse_creation()
    return {"found": run(emulator, BELL), "own": None}


def retry_503(emulator: Emulator) -> Any:
    emulator.refuse_look()
    return {"found": run(emulator, BELL), "own": None}


if __name__ == "__main__":
    main(
        {
            "bell": lambda emulator: simulated(emulator, BELL),
            "asymmetric": lambda emulator: simulated(emulator, ASYMMETRIC),
            "native": lambda emulator: simulated(emulator, native()),
            "noisy": noisy,
            "several": several,
            "cancel": cancel,
            "failed": failed,
            "retry_429": retry_429,
            "retry_503": retry_503,
        }
    )
