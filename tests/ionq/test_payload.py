"""IonQ's JSON for circuits against an interpreter of that JSON in NumPy."""

import json
import re

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qjax as qj
from qjax.ionq import (
    IonQNativeCompiler,
    PayloadError,
    circuit_from_payload,
    circuit_to_payload,
)
from qjax.ionq._native import GPI, GPI2, MS, ZZ
from tests.support import oracle

FIXED = {
    "x": oracle.PAULIS["X"], "not": oracle.PAULIS["X"], "cnot": oracle.PAULIS["X"],
    "y": oracle.PAULIS["Y"], "z": oracle.PAULIS["Z"],
    "h": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "s": np.diag([1, 1j]), "si": np.diag([1, -1j]),
    "t": np.diag([1, np.exp(0.25j * np.pi)]), "ti": np.diag([1, np.exp(-0.25j * np.pi)]),
    "v": np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2,
    "vi": np.array([[1 - 1j, 1 + 1j], [1 + 1j, 1 - 1j]]) / 2,
    "swap": np.eye(4)[[0, 2, 1, 3]],
}  # fmt: skip


def gpi(phase):
    z = np.exp(2j * np.pi * phase)
    return np.array([[0, z.conjugate()], [z, 0]])


def gpi2(phase):
    return (np.eye(2) - 1j * gpi(phase)) / np.sqrt(2)


def ising(a, b, angle):
    """exp(-i pi angle A (x) B)."""
    return np.cos(np.pi * angle) * np.eye(4) - 1j * np.sin(np.pi * angle) * np.kron(a, b)


def native_matrix(gate):
    if gate["gate"] in ("gpi", "gpi2"):
        return (gpi if gate["gate"] == "gpi" else gpi2)(gate["phase"])
    if gate["gate"] == "ms":
        return ising(gpi(gate["phases"][0]), gpi(gate["phases"][1]), gate["angle"])
    Z = oracle.PAULIS["Z"]
    return ising(Z, Z, gate["angle"])


def qis_matrix(gate):
    name = gate["gate"]
    if name in ("rx", "ry", "rz", "xx", "yy", "zz"):
        word = name[-1].upper() * (2 if name[0] != "r" else 1)
        return oracle.evolution(oracle.word_matrix(word), gate["rotation"] / 2)
    if name == "z" and "rotation" in gate:
        return np.diag([1, np.exp(1j * gate["rotation"])])
    if name == "pauliexp":
        pairs = zip(gate["terms"], gate["coefficients"], strict=True)
        return oracle.evolution(
            sum(c * oracle.word_matrix(term[::-1]) for term, c in pairs), gate["time"]
        )
    return FIXED[name]


def matrix_of(payload):
    """The unitary that IonQ documents for the JSON, qubit 0 leftmost."""
    n = payload["qubits"]
    total = np.eye(2**n, dtype=complex)
    native = payload["gateset"] == "native"
    for gate in payload["circuit"]:
        targets = gate.get("targets", [gate.get("target")])
        controls = gate.get("controls", [gate["control"]] if "control" in gate else [])
        matrix = native_matrix(gate) if native else qis_matrix(gate)
        total = oracle.embed(
            oracle.controlled(matrix, len(controls)), (*controls, *targets), n
        ) @ total  # fmt: skip
    return total


def assert_equal_up_to_phase(a, b, atol=2e-6):
    overlap = np.vdot(a, b)
    np.testing.assert_allclose(a * overlap / abs(overlap), b, atol=atol)


def written(operations, num_qubits=4, gateset="qis"):
    payload = circuit_to_payload(qj.Circuit(num_qubits, operations), gateset)
    return json.loads(json.dumps(payload))


ising_model = 0.4 * qj.Z(0) @ qj.Z(1) + 0.3 * qj.X(0) + 0.2 * qj.Y(1) @ qj.Z(2)

OPERATIONS = [
    qj.X(0), qj.Y(1), qj.Z(2), qj.H(0), qj.S(1), qj.T(1), qj.SX(2), qj.S(0).inverse(),
    qj.T(0).inverse(), qj.SX(0).inverse(), qj.RX(0.3, 0), qj.RY(-1.2, 1), qj.RZ(7.0, 2),
    qj.P(0.7, 1), qj.U(0.3, 0.4, 0.5, 2), qj.U(0.3, 0.4, 0.5, 2).inverse(), qj.CX(1, 0),
    qj.CY(0, 2), qj.CZ(2, 1), qj.CH(0, 1), qj.SWAP(0, 2), qj.ISWAP(1, 2), qj.ISWAP(1, 2).inverse(),
    qj.CRX(0.3, 0, 1), qj.CRY(0.3, 2, 1), qj.CRZ(0.3, 0, 2), qj.CP(0.9, 2, 0), qj.RXX(0.3, 0, 2),
    qj.RYY(-0.3, 2, 1), qj.RZZ(0.8, 0, 1), qj.CCX(2, 0, 1), qj.CSWAP(1, 2, 0),
    qj.PauliRotation(0.3, "Y", 1), qj.PauliRotation(0.3, "XZ", (2, 0)),
    qj.PauliRotation(0.3, "YIX", (2, 0, 1)), qj.PauliRotation(-0.7, "XYZ", (0, 1, 2)),
    qj.PauliRotation(0.3, "II", (0, 1)).controlled(2), qj.SX(0).controlled(1, 2),
    qj.T(0).inverse().controlled(2, 1), qj.P(0.4, 0).controlled(1, 2, 3),
    qj.U(0.3, 0.4, 0.5, 2).controlled(0, 3), qj.ISWAP(0, 1).controlled(2),
    qj.RXX(0.3, 0, 1).controlled(3), qj.RYY(0.3, 0, 1).controlled(3, 2),
    qj.PauliRotation(0.5, "XYZ", (0, 1, 2)).controlled(3), qj.SWAP(0, 1).controlled(2, 3),
    qj.Evolution(ising_model, 0.5, method="trotter", steps=2, order=1),
    qj.Evolution(ising_model, 0.5, method="trotter", steps=2, order=2).inverse(),
    qj.Evolution(qj.Z(0) @ qj.Z(1) + 0.5 * qj.Z(1), 0.4).controlled(3),
]  # fmt: skip


class TestQis:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
    def test_written_gates_are_the_gate(self, operation):
        payload = written([operation])
        circuit = qj.Circuit(4, [operation])
        if operation.kind.name == "Evolution" and operation.detail[1] != (1, 1):
            expected = trotter_matrix(operation)
        else:
            expected = oracle.unitary(4, oracle.from_circuit(circuit))
        assert_equal_up_to_phase(matrix_of(payload), expected)

    @given(st.lists(st.sampled_from(OPERATIONS[:40]), min_size=1, max_size=6))
    def test_reading_inverts_writing(self, operations):
        payload = written(operations)
        back = circuit_from_payload(payload)
        assert back.num_qubits == 4
        np.testing.assert_allclose(
            oracle.unitary(4, oracle.from_circuit(back)), matrix_of(payload), atol=2e-6
        )

    @pytest.mark.parametrize(
        "gate",
        [
            {"gate": "z", "target": 1, "rotation": 0.3, "control": 0},
            {"gate": "not", "targets": [2], "controls": [0, 1]},
            {"gate": "yy", "targets": [0, 2], "rotation": 0.3, "controls": [1]},
            {"gate": "pauliexp", "targets": [0, 2], "terms": ["ZX"], "coefficients": [0.5],
             "time": 0.7},
            {"gate": "pauliexp", "targets": [0, 2], "terms": ["ZX", "XI", "II"],
             "coefficients": [0.5, -1, 0.3], "time": 0.7, "control": 1},
            {"gate": "pauliexp", "targets": [0, 1], "terms": ["II"], "coefficients": [1],
             "time": 0.7, "controls": [2]},
        ],
        ids=lambda gate: gate["gate"],
    )  # fmt: skip
    def test_forms_that_other_clients_send(self, gate):
        payload = {"gateset": "qis", "qubits": 3, "circuit": [gate]}
        back = circuit_from_payload(payload)
        ops = oracle.from_circuit(back)
        np.testing.assert_allclose(oracle.unitary(3, ops), matrix_of(payload), atol=2e-6)

    def test_gateset_and_qubits_may_be_left_out(self):
        circuit = circuit_from_payload({"circuit": [{"gate": "h", "target": 0, "extra": None}]})
        assert circuit == qj.Circuit(1, [qj.H(0)])

    def test_identities_are_left_out(self):
        assert written([qj.I(0), qj.X(1)])["circuit"] == [{"gate": "x", "target": 1}]

    def test_angles_may_come_from_jax_and_from_bound_parameters(self):
        theta = qj.Parameter("theta")
        circuit = qj.Circuit(1, [qj.RX(2 * theta + 0.5, 0)]).bind(theta=jax.numpy.asarray(0.25))
        assert circuit_to_payload(circuit)["circuit"] == [
            {"gate": "rx", "target": 0, "rotation": 1.0}
        ]


def trotter_matrix(operation):
    """Product formula from the definition, on four qubits."""
    words, (steps, order) = operation.detail
    angles = [float(p) / (steps * order) for p in operation.params]
    factors = [
        oracle.embed(oracle.evolution(oracle.word_matrix(w), a), operation.targets, 4)
        for w, a in zip(words, angles, strict=True)
    ]
    total = np.eye(16)
    for factor in (factors + (factors[::-1] if order == 2 else [])) * steps:
        total = factor @ total
    return total.conj().T if operation.adjoint else total


NATIVE = [
    (GPI(0.3, 1), gpi(0.3), (1,)),
    (GPI2(-0.4, 0), gpi2(-0.4), (0,)),
    (GPI2(-0.4, 0).inverse(), gpi2(0.1), (0,)),
    (MS(0.1, 0.3, 0.2, 2, 0), ising(gpi(0.1), gpi(0.3), 0.2), (2, 0)),
    (ZZ(0.2, 0, 1), ising(oracle.PAULIS["Z"], oracle.PAULIS["Z"], 0.2), (0, 1)),
]


class TestNative:
    @pytest.mark.parametrize(("operation", "matrix", "qubits"), NATIVE, ids=lambda v: repr(v)[:20])
    def test_written_and_read(self, operation, matrix, qubits):
        payload = written([operation], 3, "native")
        np.testing.assert_allclose(matrix_of(payload), oracle.embed(matrix, qubits, 3), atol=1e-6)
        (back,) = circuit_from_payload(payload).operations
        assert back.targets == qubits
        np.testing.assert_allclose(np.asarray(back.matrix), matrix, atol=1e-6)

    @pytest.mark.parametrize("phase", [1.25, -1.75, 0.25])
    def test_phases_are_reduced_by_whole_turns(self, phase):
        (gate,) = written([GPI(phase, 0)], 1, "native")["circuit"]
        assert gate["phase"] == pytest.approx(0.25, abs=1e-6)

    def test_partial_angles_beyond_a_quarter_turn_are_refused(self):
        with pytest.raises(
            PayloadError, match=r"MS must be between 0 and 0.25 turns, but is 0.3;?"
        ):
            written([MS(0, 0, 0.3, 0, 1)], 2, "native")

    def test_defaults_of_angles(self):
        gates = [
            {"gate": "ms", "targets": [0, 1], "phases": [0, 0.5]},
            {"gate": "zz", "targets": [0, 1]},
            {"gate": "zz", "targets": [0, 1], "phase": 0.125},
            {"gate": "nop", "target": 2},
        ]
        circuit = circuit_from_payload({"gateset": "native", "circuit": gates})
        assert circuit.num_qubits == 3
        angles = [float(op.params[-1]) for op in circuit.operations]
        assert angles == [0.25, 0.25, 0.125]

    def test_gates_of_qis_are_refused(self):
        with pytest.raises(PayloadError, match="holds H. Compile it with IonQNativeCompiler") as e:
            written([qj.H(0)], 1, "native")
        assert e.value.code == "UnsupportedGate"


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize(
        ("operation", "text"),
        [
            (qj.Unitary(np.eye(2), 0), "has no gate for Unitary"),
            (qj.Measure(0, "m"), "has no gate for Measure: all qubits are measured at the end"),
            (qj.Depolarizing(0.1, 0), "has no gate for Depolarizing"),
            (qj.Reset(0), "has no gate for Reset"),
            (GPI(0.1, 0), "has no gate for GPI"),
            (qj.Evolution(qj.X(0) + qj.Z(0), 0.3), "has no gate for Evolution"),
        ],
        ids=lambda v: getattr(v, "name", ""),
    )
    def test_gates(self, operation, text):
        with pytest.raises(PayloadError, match=text) as caught:
            written([operation])
        assert caught.value.code == "UnsupportedGate"

    def test_conditions(self):
        operations = [qj.Measure(0, "m"), qj.X(1).conditioned("m")]
        with pytest.raises(PayloadError, match="no gate for Measure"):
            written(operations)

    def test_more_than_seven_controls(self):
        with pytest.raises(PayloadError, match="at most 7 controls") as caught:
            written([qj.X(8).controlled(*range(8))], 9)
        assert caught.value.code == "TooManyControls"

    def test_no_gates(self):
        with pytest.raises(PayloadError, match="at least one gate, but has none"):
            written([qj.I(0)])

    def test_unbound(self):
        with pytest.raises(PayloadError, match=r"parameters \['theta'\] have no values"):
            written([qj.RX(qj.Parameter("theta"), 0)])

    def test_batched(self):
        with pytest.raises(PayloadError, match=r"batch axes \(2,\) stands for many"):
            written([qj.RX(np.array([0.1, 0.2]), 0)])

    def test_traced(self):
        with pytest.raises(PayloadError, match="being traced"):
            jax.jit(lambda t: written([qj.RX(t, 0)]) and t)(0.1)

    def test_gateset(self):
        with pytest.raises(PayloadError, match="must be 'qis' or 'native', but is 'qasm'"):
            written([qj.X(0)], 1, "qasm")


BAD = [
    ({"gateset": "x", "circuit": []}, "gateset must be 'qis' or 'native', but is 'x'"),
    ({"circuit": []}, "circuit must be a list of at least one gate"),
    ({"circuit": "h"}, "circuit must be a list"),
    ({"circuit": ["h"]}, "circuit[0] must be an object with the field `gate`"),
    ({"circuit": [{"gate": "foo", "target": 0}]}, "circuit[0]: unknown gate 'foo'"),
    ({"circuit": [{"gate": "h"}]}, "circuit[0].target is required"),
    ({"circuit": [{"gate": "h", "target": -1}]}, "qubits must be whole numbers from 0, but one"),
    ({"circuit": [{"gate": "h", "target": True}]}, "qubits must be whole numbers"),
    ({"circuit": [{"gate": "h", "target": 0, "targets": [0]}]}, "`target` or `targets`, not both"),
    ({"circuit": [{"gate": "h", "targets": [0, 1]}]}, "must have 1 target, but has 2"),
    ({"circuit": [{"gate": "swap", "targets": [1, 1]}]}, "must be distinct"),
    ({"circuit": [{"gate": "cnot", "target": 1}]}, "circuit[0].control is required"),
    ({"circuit": [{"gate": "x", "target": 1, "control": 1}]}, "distinct targets and controls"),
    ({"circuit": [{"gate": "swap", "targets": [1, 2], "control": 0}]}, "takes no controls"),
    ({"circuit": [{"gate": "rx", "target": 1}]}, "circuit[0].rotation is required"),
    ({"circuit": [{"gate": "rx", "target": 1, "rotation": "a"}]}, "must be a finite number"),
    ({"circuit": [{"gate": "x", "target": 8, "controls": list(range(8))}]}, "at most 7 controls"),
    ({"circuit": [{"gate": "h", "target": 3}], "qubits": 2}, "qubits is 2, but a gate names"),
    ({"circuit": [{"gate": "h", "target": 0}], "qubits": 0}, "qubits must be a whole number"),
    ({"gateset": "native", "circuit": [{"gate": "h", "target": 0}]}, "unknown native gate 'h'"),
    ({"gateset": "native", "circuit": [{"gate": "gpi", "target": 0, "phase": 2}]}, "from -1 to 1"),
    ({"gateset": "native", "circuit": [{"gate": "ms", "targets": [0, 1], "phases": [0]}]},
     "phases must be a list of two"),
    ({"gateset": "native", "circuit": [{"gate": "ms", "targets": [0, 1], "phases": [0, 0],
      "angle": 0.5}]}, "angle must be from 0 to 0.25"),
    ({"gateset": "native", "circuit": [{"gate": "gpi", "target": 0, "phase": 0, "control": 1}]},
     "native gates take no controls"),
    ({"gateset": "native", "circuit": [{"gate": "zz", "target": 0}]}, "must have 2 targets"),
    ({"circuit": [{"gate": "pauliexp", "targets": [0], "terms": ["X"], "coefficients": [1],
      "time": 0}]}, "time must be positive"),
    ({"circuit": [{"gate": "pauliexp", "targets": [0], "terms": ["XX"], "coefficients": [1],
      "time": 1}]}, "one letter of IXYZ per target"),
    ({"circuit": [{"gate": "pauliexp", "targets": [0], "terms": ["X"], "coefficients": [],
      "time": 1}]}, "one number per term"),
    ({"circuit": [{"gate": "pauliexp", "targets": [0], "terms": "X", "coefficients": [1],
      "time": 1}]}, "the lists `terms` and `coefficients`"),
    ({"circuit": [{"gate": "pauliexp", "targets": list(range(7)), "coefficients": [1, 1],
      "terms": ["X" * 7, "Z" + "I" * 6], "time": 1}]}, "above 6 qubits"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "text"), BAD, ids=[text for _, text in BAD])
def test_bad_json(payload, text):
    with pytest.raises(PayloadError, match=re.escape(text)):
        circuit_from_payload(payload)


def test_only_circuits_are_written():
    native = IonQNativeCompiler("zz").compile(qj.Circuit(1, [qj.H(0)]))
    with pytest.raises(PayloadError, match=re.escape("Of a NativeCircuit, pass `.circuit`.")):
        circuit_to_payload(native)  # type: ignore[arg-type]
