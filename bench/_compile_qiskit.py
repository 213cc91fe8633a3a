"""Worker: compiles circuits with qiskit and qiskit-ionq, in their own environment.

Reads {"gateset": "ms" or "zz", "rows": [[name, num_qubits, ops], ...]} as JSON and writes, for each
row, the best result of optimisation levels 1 to 3, with and without qiskit-ionq's own passes.
"""

import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

from qiskit import QuantumCircuit, transpile  # noqa: E402  # pyright: ignore[reportMissingImports]
from qiskit.circuit import Parameter  # noqa: E402  # pyright: ignore[reportMissingImports]
from qiskit.circuit.library import StatePreparation  # noqa: E402  # pyright: ignore[reportMissingImports]
from qiskit.transpiler import PassManagerConfig, Target  # noqa: E402  # pyright: ignore[reportMissingImports]
from qiskit_ionq import GPI2Gate, GPIGate, MSGate, ZZGate  # noqa: E402  # pyright: ignore[reportMissingImports]
from qiskit_ionq.ionq_equivalence_library import add_equivalences  # noqa: E402  # pyright: ignore[reportMissingImports]
from qiskit_ionq.ionq_optimizer_plugin import TrappedIonOptimizerPlugin  # noqa: E402  # pyright: ignore[reportMissingImports]

VERSIONS = ("qiskit", "qiskit-ionq")


def build(num_qubits, ops):
    circuit = QuantumCircuit(num_qubits)
    for name, numbers, qubits in ops:
        if name == "prepare":
            # Qiskit counts its qubits from the least significant one.
            amplitudes = [complex(*pair) for pair in numbers]
            circuit.append(StatePreparation(amplitudes), qubits[::-1])
        else:
            getattr(circuit, name)(*numbers, *qubits)
    return circuit


def target(num_qubits, gateset):
    found = Target(num_qubits=num_qubits)
    found.add_instruction(GPIGate(Parameter("a")))
    found.add_instruction(GPI2Gate(Parameter("b")))
    if gateset == "ms":
        found.add_instruction(MSGate(Parameter("c"), Parameter("d"), Parameter("e")))
    else:
        found.add_instruction(ZZGate(Parameter("c")))
    return found


def gates_of(circuit):
    index = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    found = []
    for instruction in circuit.data:
        name = instruction.operation.name
        if name in ("barrier", "global_phase"):
            continue
        qubits = [index[q] for q in instruction.qubits]
        found.append([name, [float(p) for p in instruction.operation.params], qubits])
    return found


def ends(circuit, num_qubits):
    """Where each qubit of the source ends."""
    if circuit.layout is None:
        return list(range(num_qubits))
    return list(circuit.layout.final_index_layout())


def compile_row(num_qubits, ops, gateset):
    results = []
    for level in (1, 2, 3):
        for own in (False, True):
            source = build(num_qubits, ops)
            goal = target(num_qubits, gateset)
            start = time.perf_counter()
            done = transpile(source, target=goal, optimization_level=level, seed_transpiler=0)
            if own:
                config = PassManagerConfig(target=goal, seed_transpiler=0)
                manager = TrappedIonOptimizerPlugin().pass_manager(config, level)
                layout = ends(done, num_qubits)
                again = manager.run(done)
                moved = ends(again, num_qubits)
                where = [moved[place] for place in layout]
            else:
                again, where = done, ends(done, num_qubits)
            seconds = time.perf_counter() - start
            gates = gates_of(again)
            two = sum(len(gate[2]) == 2 for gate in gates)
            how = f"level {level}{', own passes' if own else ''}"
            results.append((two, len(gates) - two, seconds, how, gates, where))
    return min(results)


def main():
    from importlib.metadata import version

    request = json.load(sys.stdin)
    add_equivalences()
    answer = {}
    for name, num_qubits, ops in request["rows"]:
        two, one, seconds, how, gates, where = compile_row(num_qubits, ops, request["gateset"])
        answer[name] = {
            "two": two, "one": one, "seconds": seconds, "how": how,
            "gates": gates, "positions": where,
        }  # fmt: skip
    print(json.dumps({"versions": {v: version(v) for v in VERSIONS}, "rows": answer}))


if __name__ == "__main__":
    main()
