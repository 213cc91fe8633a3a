"""Worker: compiles circuits with cirq-ionq, in its own environment.

Reads and writes as `_compile_qiskit.py` does; rows that prepare states are left out, because Cirq
has no gate for that.
"""

import json
import sys
import time

import cirq  # pyright: ignore[reportMissingImports]
import cirq_ionq  # pyright: ignore[reportMissingImports]
import numpy as np

VERSIONS = ("cirq-core", "cirq-ionq")


def build(ops, line):
    fixed = {"h": cirq.H, "swap": cirq.SWAP, "cx": cirq.CNOT, "ccx": cirq.TOFFOLI}
    turned = {
        "cp": lambda t: cirq.CZPowGate(exponent=t / np.pi),
        "rx": cirq.rx,
        "ry": cirq.ry,
        "rz": cirq.rz,
        "rzz": lambda t: cirq.ZZPowGate(exponent=t / np.pi, global_shift=-0.5),
    }
    circuit = cirq.Circuit()
    for name, numbers, qubits in ops:
        gate = turned[name](*numbers) if numbers else fixed[name]
        circuit.append(gate(*(line[q] for q in qubits)))
    return circuit


def gates_of(circuit, line):
    index = {qubit: i for i, qubit in enumerate(line)}
    found = []
    for operation in circuit.all_operations():
        gate = operation.gate
        qubits = [index[q] for q in operation.qubits]
        if isinstance(gate, cirq_ionq.GPIGate):
            found.append(["gpi", [float(gate.phi)], qubits])
        elif isinstance(gate, cirq_ionq.GPI2Gate):
            found.append(["gpi2", [float(gate.phi)], qubits])
        elif isinstance(gate, cirq_ionq.MSGate):
            numbers = [float(gate.phi0), float(gate.phi1), float(gate.theta)]
            found.append(["ms", numbers, qubits])
        elif isinstance(gate, cirq_ionq.ZZGate):
            found.append(["zz", [float(gate.theta)], qubits])
        elif qubits:
            raise ValueError(f"no native gate: {operation}")
    return found


def main():
    from importlib.metadata import version

    request = json.load(sys.stdin)
    gateset = (
        cirq_ionq.AriaNativeGateset()
        if request["gateset"] == "ms"
        else cirq_ionq.ForteNativeGateset()
    )
    answer = {}
    for name, num_qubits, ops in request["rows"]:
        if any(op[0] == "prepare" for op in ops):
            continue
        line = cirq.LineQubit.range(num_qubits)
        source = build(ops, line)
        start = time.perf_counter()
        done = cirq.optimize_for_target_gateset(source, gateset=gateset)
        seconds = time.perf_counter() - start
        gates = gates_of(done, line)
        two = sum(len(gate[2]) == 2 for gate in gates)
        answer[name] = {
            "two": two, "one": len(gates) - two, "seconds": seconds, "how": "",
            "gates": gates, "positions": list(range(num_qubits)),
        }  # fmt: skip
    print(json.dumps({"versions": {v: version(v) for v in VERSIONS}, "rows": answer}))


if __name__ == "__main__":
    main()
