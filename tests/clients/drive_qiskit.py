"""qiskit-ionq; its order of qubits in strings is the opposite of ours."""

# pyright: reportMissingImports=false

import os
import sys
from typing import Any

from driver import ANGLE, FEW, KEY, NATIVE, SEED, SHOTS, Emulator, main

# The look-up of a machine's qubits goes to the address in the environment, whatever url= says.
os.environ["IONQ_API_URL"] = sys.argv[1]

from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector
from qiskit_ionq import GPI2Gate, IonQProvider, MSGate


def backend(url: str, **options: Any) -> Any:
    return IonQProvider(KEY, url=url).get_backend("ionq_simulator", **options)


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    return circuit


def asymmetric() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.ry(ANGLE, 1)
    circuit.cx(1, 2)
    return circuit


def measured(circuit: QuantumCircuit) -> QuantumCircuit:
    whole = circuit.copy()
    whole.measure(range(whole.num_qubits), range(whole.num_qubits))
    return whole


def turned(weights: dict[str, float]) -> dict[str, float]:
    return {key[::-1]: float(value) for key, value in weights.items() if value}


def done(job: Any) -> Any:
    job.wait_for_final_state(wait=0.1)
    return job


def simulated(emulator: Emulator, circuit: QuantumCircuit, **options: Any) -> dict[str, Any]:
    job = done(backend(emulator.url, **options).run(measured(circuit), shots=FEW))
    own = Statevector(circuit.remove_final_measurements(inplace=False) or circuit)
    return {
        "found": turned(job.get_probabilities()),
        "own": turned(own.probabilities_dict()),
    }


def native() -> QuantumCircuit:
    first, (p0, p1, angle), last = NATIVE
    circuit = QuantumCircuit(2, 2)
    circuit.append(GPI2Gate(first), [0])
    circuit.append(MSGate(p0, p1, angle), [0, 1])
    circuit.append(GPI2Gate(last), [1])
    return circuit


def noisy(emulator: Emulator) -> Any:
    simulator = backend(emulator.url)
    simulator.set_options(noise_model="aria-1", sampler_seed=SEED)
    job = done(simulator.run(measured(bell()), shots=SHOTS))
    return {"found": turned(job.get_probabilities()), "own": None}


def several(emulator: Emulator) -> Any:
    circuits = [measured(bell()), measured(asymmetric())]
    job = done(backend(emulator.url).run(circuits, shots=FEW))
    return [turned(weights) for weights in job.get_probabilities()]


def mid_circuit(emulator: Emulator) -> Any:
    """A measured qubit that is used again: qiskit-ionq sends OpenQASM 3."""
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.cx(0, 1)
    circuit.measure(1, 1)
    job = done(backend(emulator.url).run(circuit, shots=FEW))
    return job.result().get_counts()


def cancel(emulator: Emulator) -> Any:
    job = backend(emulator.waiting_url).run(measured(bell()), shots=FEW)
    job.cancel()
    return job.status().name


def failed(emulator: Emulator) -> Any:
    emulator.fail_next()
    job = backend(emulator.url).run(measured(bell()), shots=FEW)
    return turned(done(job).get_probabilities())


def retry_429(emulator: Emulator) -> Any:
    simulator = backend(emulator.url)
    emulator.refuse_creation()
    job = done(simulator.run(measured(bell()), shots=FEW))
    return {"found": turned(job.get_probabilities()), "own": None}


def retry_503(emulator: Emulator) -> Any:
    simulator = backend(emulator.url)
    emulator.refuse_look()
    job = done(simulator.run(measured(bell()), shots=FEW))
    return {"found": turned(job.get_probabilities()), "own": None}


if __name__ == "__main__":
    main(
        {
            "bell": lambda emulator: simulated(emulator, bell()),
            "asymmetric": lambda emulator: simulated(emulator, asymmetric()),
            "native": lambda emulator: simulated(emulator, native(), gateset="native"),
            "noisy": noisy,
            "several": several,
            "mid_circuit": mid_circuit,
            "cancel": cancel,
            "failed": failed,
            "retry_429": retry_429,
            "retry_503": retry_503,
        }
    )
