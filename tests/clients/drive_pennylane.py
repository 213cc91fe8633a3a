"""pennylane-ionq; its wires are in our order. It has no call to cancel a job."""

# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
from driver import ANGLE, FEW, KEY, NATIVE, SEED, SHOTS, Emulator, main
from pennylane_ionq import api_client
from pennylane_ionq.ops import GPI2, MS


def bell() -> None:
    qml.Hadamard(wires=0)
    qml.CNOT(wires=[0, 1])


def asymmetric() -> None:
    qml.PauliX(wires=0)
    qml.RY(ANGLE, wires=1)
    qml.CNOT(wires=[1, 2])


def native() -> None:
    first, (p0, p1, angle), last = NATIVE
    GPI2(first, wires=[0])
    MS(p0, p1, angle, wires=[0, 1])
    GPI2(last, wires=[1])


def texts(vector: Any) -> dict[str, float]:
    size = int(np.log2(len(vector)))
    return {format(k, f"0{size}b"): float(v) for k, v in enumerate(vector) if v > 1e-9}


def device(emulator: Emulator, wires: int, **options: Any) -> Any:
    api_client.APIClient.BASE_URL = emulator.url
    return qml.device("ionq.simulator", wires=wires, api_key=KEY, **options)


def run(
    emulator: Emulator, gates: Callable[[], None], wires: int, shots: int = FEW, **options: Any
):
    @qml.set_shots(shots)
    @qml.qnode(device(emulator, wires, **options))
    def circuit() -> Any:
        gates()
        return qml.probs(wires=range(wires))

    return texts(circuit())


def simulated(emulator: Emulator, gates: Callable[[], None], wires: int) -> dict[str, Any]:
    @qml.qnode(qml.device("default.qubit", wires=wires))
    def own() -> Any:
        gates()
        return qml.probs(wires=range(wires))

    return {"found": run(emulator, gates, wires), "own": texts(own())}


def noisy(emulator: Emulator) -> Any:
    options = {"noise_model": "aria-1", "noise_seed": SEED}
    return {"found": run(emulator, bell, 2, SHOTS, **options), "own": None}


def several(emulator: Emulator) -> Any:
    tapes = []
    for gates in (bell, asymmetric):
        with qml.queuing.AnnotatedQueue() as queue:
            gates()
            qml.probs(wires=range(3))
        tapes.append(qml.tape.QuantumScript.from_queue(queue, shots=FEW))
    found = device(emulator, 3).batch_execute(tapes)
    vectors = [np.asarray(vector).reshape(-1) for vector in found]
    return [texts(vectors[0]), texts(vectors[1])]


def failed(emulator: Emulator) -> Any:
    emulator.fail_next()
    return run(emulator, bell, 2)


def retry_429(emulator: Emulator) -> Any:
    emulator.refuse_creation()
    return {"found": run(emulator, bell, 2), "own": None}


def retry_503(emulator: Emulator) -> Any:
    emulator.refuse_look()
    return {"found": run(emulator, bell, 2), "own": None}


if __name__ == "__main__":
    main(
        {
            "bell": lambda emulator: simulated(emulator, bell, 2),
            "asymmetric": lambda emulator: simulated(emulator, asymmetric, 3),
            "native": lambda e: {"found": run(e, native, 2, gateset="native"), "own": None},
            "noisy": noisy,
            "several": several,
            "failed": failed,
            "retry_429": retry_429,
            "retry_503": retry_503,
        }
    )
