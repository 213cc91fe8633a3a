"""Compiled circuits as OpenQASM 3, with the native gates defined in terms of the language."""

from typing import Any

__all__ = ["native_program"]

_DEFINITIONS = (
    "gate gpi(p) q { U(pi, 2*pi*p, pi - 2*pi*p) q; }",
    "gate gpi2(p) q { U(pi/2, 2*pi*p - pi/2, pi/2 - 2*pi*p) q; }",
    "gate zz(a) q, r { cx q, r; rz(2*pi*a) r; cx q, r; }",
    "gate ms(p, s, a) q, r { rz(-2*pi*p) q; rz(-2*pi*s) r; h q; h r; cx q, r; rz(2*pi*a) r; "
    "cx q, r; h q; h r; rz(2*pi*p) q; rz(2*pi*s) r; }",
)


def native_program(native: dict[str, Any]) -> str:
    """The text of a compiled circuit.

    Args:
        native: its JSON.
    """
    size = native["qubits"]
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', *_DEFINITIONS]
    lines += [f"bit[{size}] c;", f"qubit[{size}] q;"]
    for gate in native["circuit"]:
        name = gate["gate"]
        targets = gate["targets"] if "targets" in gate else [gate["target"]]
        angles = [gate["phase"]] if "phase" in gate else [*gate.get("phases", ()), gate["angle"]]
        places = ", ".join(f"q[{target}]" for target in targets)
        lines.append(f"{name}({', '.join(repr(float(a)) for a in angles)}) {places};")
    return "\n".join([*lines, "c = measure q;", ""])
