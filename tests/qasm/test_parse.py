"""Programs against matrices and probabilities written by hand, with the NumPy oracle."""

import numpy as np
import pytest

import qjax as qj
from qjax import qasm
from qjax.errors import CircuitError
from tests.support import oracle
from tests.support.oracle import GATES, Op

pytestmark = pytest.mark.usefixtures("x64")
pytest.importorskip("openqasm3")

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
OLD = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


def matrix(text: str) -> np.ndarray:
    circuit = qasm.parse(text)
    return oracle.unitary(circuit.num_qubits, oracle.from_circuit(circuit))


def same(found: np.ndarray, wanted: np.ndarray, phase: bool = False) -> None:
    """Equality, up to a global phase if `phase`."""
    if phase:
        at = np.unravel_index(np.argmax(abs(wanted)), wanted.shape)
        found = found * (wanted[at] / found[at])
    np.testing.assert_allclose(found, wanted, atol=1e-12)


U = GATES["U"].matrix
ONE = {
    "id": np.eye(2), "x": oracle.PAULIS["X"], "y": oracle.PAULIS["Y"], "z": oracle.PAULIS["Z"],
    "h": U(np.pi / 2, 0, np.pi), "s": np.diag([1, 1j]), "sdg": np.diag([1, -1j]),
    "t": np.diag([1, np.exp(0.25j * np.pi)]), "tdg": np.diag([1, np.exp(-0.25j * np.pi)]),
    "sx": GATES["SX"].matrix(), "sxdg": GATES["SX"].matrix().conj().T,
    "rx(0.3)": GATES["RX"].matrix(0.3), "ry(0.3)": GATES["RY"].matrix(0.3),
    "rz(0.3)": GATES["RZ"].matrix(0.3), "p(0.3)": GATES["P"].matrix(0.3),
    "u1(0.3)": GATES["P"].matrix(0.3), "u2(0.3, 0.4)": U(np.pi / 2, 0.3, 0.4),
    "u3(0.3, 0.4, 0.5)": U(0.3, 0.4, 0.5), "U(0.3, 0.4, 0.5)": U(0.3, 0.4, 0.5),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_one_qubit_gates(name):
    same(matrix(f"{HEAD}qubit[1] q; {name} q[0];"), ONE[name])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cx", oracle.controlled(ONE["x"])),
        ("CX", oracle.controlled(ONE["x"])),
        ("cy", oracle.controlled(ONE["y"])),
        ("cz", oracle.controlled(ONE["z"])),
        ("ch", oracle.controlled(ONE["h"])),
        ("csx", oracle.controlled(ONE["sx"])),
        ("cp(0.3)", oracle.controlled(ONE["p(0.3)"])),
        ("cu1(0.3)", oracle.controlled(ONE["p(0.3)"])),
        ("cu3(0.3, 0.4, 0.5)", oracle.controlled(U(0.3, 0.4, 0.5))),
        ("cu(0.3, 0.4, 0.5, 0.6)", oracle.controlled(np.exp(0.6j) * U(0.3, 0.4, 0.5))),
        ("crx(0.3)", oracle.controlled(ONE["rx(0.3)"])),
        ("swap", GATES["SWAP"].matrix()),
        ("rzz(0.3)", GATES["RZZ"].matrix(0.3)),
        ("rxx(0.3)", GATES["RXX"].matrix(0.3)),
        ("ctrl @ u2(0.3, 0.4)", oracle.controlled(np.exp(-0.35j) * ONE["u2(0.3, 0.4)"])),
        ("ctrl @ u3(0.3, 0.4, 0.5)", oracle.controlled(np.exp(-0.45j) * U(0.3, 0.4, 0.5))),
        ("ctrl @ inv @ u3(0.3, 0.4, 0.5)",
         oracle.controlled(np.exp(0.45j) * U(0.3, 0.4, 0.5).conj().T)),
        ("ctrl @ U(0.3, 0.4, 0.5)", oracle.controlled(np.exp(0.15j) * U(0.3, 0.4, 0.5))),
        ("negctrl @ x", oracle.kron(ONE["x"], ONE["id"]) @ oracle.controlled(ONE["x"])
         @ oracle.kron(ONE["x"], ONE["id"])),
        ("inv @ ctrl @ s", oracle.controlled(ONE["sdg"])),
        ("pow(3) @ ctrl @ t", oracle.controlled(np.diag([1, np.exp(0.75j * np.pi)]))),
        ("pow(-2) @ cp(0.3)", oracle.controlled(GATES["P"].matrix(-0.6))),
    ],
)  # fmt: skip
def test_two_qubit_gates(text, wanted):
    same(matrix(f"{HEAD}qubit[2] q; {text} q[0], q[1];"), wanted)


def test_u3_as_the_library_defines_it():
    """The row of the table against the definition in terms of U and a phase."""
    text = "gate v(t, p, l) a { gphase(-(t + p + l) / 2); U(t, p, l) a; }"
    found, wanted = (
        matrix(f"{HEAD}{text} qubit[2] q; ctrl @ {name}(0.3, 0.4, 0.5) q[0], q[1];")
        for name in ("u3", "v")
    )
    same(found, wanted)


def test_gates_on_more_qubits():
    toffoli = oracle.controlled(ONE["x"], 2)
    same(matrix(f"{HEAD}qubit[3] q; ccx q[0], q[1], q[2];"), toffoli)
    same(matrix(f"{HEAD}qubit[3] q; cswap q[0], q[1], q[2];"), GATES["CSWAP"].matrix())
    same(matrix(f"{OLD}qreg q[4]; c3x q[0], q[1], q[2], q[3];"), oracle.controlled(ONE["x"], 3))
    root = matrix(f"{OLD}qreg q[4]; c3sqrtx q[0], q[1], q[2], q[3];")
    same(root, oracle.controlled(ONE["sx"], 3))
    phases = matrix(f"{OLD}qreg q[3]; rccx q[0], q[1], q[2];")
    wanted = toffoli.astype(complex)  # a Toffoli gate but for the sign of |101> and i's at the end
    wanted[5, 5] = -1
    wanted[6, 7], wanted[7, 6] = -1j, 1j
    same(phases, wanted)


def test_a_controlled_global_phase_is_a_phase_gate():
    found = matrix(f"{HEAD}qubit[2] q; ctrl(2) @ gphase(0.7) q[0], q[1];")
    same(found, np.diag([1, 1, 1, np.exp(0.7j)]))
    assert len(qasm.parse(f"{HEAD}qubit q; gphase(0.7);")) == 0


def test_a_gate_of_the_program_under_modifiers():
    body = "gate w(a, b) x0, x1 { rx(a / 2) x0; cx x0, x1; gphase(b); U(b, a, -a) x1; }"
    inner = (
        np.exp(0.5j)
        * np.exp(0.25j)
        * oracle.kron(ONE["id"], U(0.5, 0.3, -0.3))
        @ oracle.controlled(ONE["x"])
        @ oracle.kron(GATES["RX"].matrix(0.15), ONE["id"])
    )
    same(
        matrix(f"{HEAD}{body} qubit[3] q; ctrl @ inv @ w(0.3, 0.5) q[0], q[1], q[2];"),
        oracle.controlled(inner.conj().T),
    )
    nested = f"{body} gate v y0, y1 {{ w(0.3, 0.5) y1, y0; }}"
    swap = GATES["SWAP"].matrix()
    same(matrix(f"{HEAD}{nested} qubit[2] q; v q[0], q[1];"), swap @ inner @ swap, phase=True)


def test_expressions_loops_aliases_and_broadcast():
    text = f"""{HEAD}
    const int n = 3;
    qubit[n] q;
    float step = 2 * pi / 2**2;
    let last = q[1:2];
    h q;
    for int i in [0:n - 1] {{ rx(step * (i + 1)) q[i]; }}
    for int i in {{0, 2}} {{ z q[i]; }}
    barrier q;
    cx q[0], last;
    rz(sqrt(4.0) * cos(0)) q[-1];
    if (n > 2) {{ x q[0]; }} else {{ y q[0]; }}
    """
    ops = [Op("H", (q,)) for q in range(3)]
    ops += [Op("RX", (q,), ((q + 1) * np.pi / 2,)) for q in range(3)]
    ops += [Op("Z", (0,)), Op("Z", (2,)), Op("CX", (0, 1)), Op("CX", (0, 2))]
    ops += [Op("RZ", (2,), (2.0,)), Op("X", (0,))]
    same(matrix(text), oracle.unitary(3, ops))


def test_subroutines_and_physical_qubits():
    text = f"{HEAD}def kick(qubit a, float t) {{ rx(t) a; }} qubit[2] q; kick(q[1], 0.4);"
    same(matrix(text), oracle.unitary(2, [Op("RX", (1,), (0.4,))]))
    same(matrix("OPENQASM 3; cx $1, $0;"), oracle.unitary(2, [Op("CX", (1, 0))]))


def test_blocks_have_names_of_their_own():
    text = f"""{HEAD}
    qubit[2] q; float a = 0.1;
    {{ float a = 0.2; rx(a) q[0]; {{ a = 0.3; }} rx(a) q[0]; }}
    rx(a) q[0];
    if (a < 1) {{ a = 0.4; int b = 1; rx(b) q[0]; }} else {{ int b = 2; }}
    for int a in [5:6] {{ int b = a; rx(b) q[0]; }}
    rx(a) q[0];
    int i = 0;
    while (i < 2) {{ int b = i; rx(b) q[0]; i = i + 1; }}
    """
    found = [float(o.params[0]) for o in qasm.parse(text).operations]
    assert found == [0.2, 0.3, 0.1, 1, 5, 6, 0.4, 0, 1]


def test_gates_and_subroutines_see_nothing_of_the_blocks_that_use_them():
    text = f"""{HEAD}
    const float a = 0.1; qubit q;
    gate turn x {{ rx(a) x; }}
    def kick(qubit x) {{ rx(2 * a) x; bit b; b = measure x; if (b) {{ z x; }} }}
    for int a in [5:6] {{ turn q; kick(q); }}
    """
    assert [str(o) for o in qasm.parse(text).operations][:4] == [
        "RX(0.1, 0)", "RX(0.2, 0)", "Measure(0, 'b')", "Z(0).conditioned('b', 1)",
    ]  # fmt: skip
    assert qasm.parse_program(text).registers == {}


def test_numbers_of_a_fixed_width():
    text = "qubit q; uint[2] a = 3; a = a + 2; rx(a) q; rx(~a) q; int b = 1; rx(~b) q;"
    assert [float(o.params[0]) for o in qasm.parse(text).operations] == [1, 2, -2]


def test_physical_qubits_in_a_block():
    circuit = qasm.parse("bit c; c = measure $0; if (c) { x $2; }")
    assert circuit.num_qubits == 3


def test_inputs_become_parameters():
    inputs = "input float[64] t; input array[float[64], 2] w;"
    text = f"{HEAD}{inputs} qubit q; rx(2*t + pi) q; ry(-w[1]/2) q;"
    circuit = qasm.parse(text)
    assert circuit.parameters == {"t": (), "w": (2,)}
    bound = circuit.bind(t=0.1, w=[0.0, 0.6])
    wanted = GATES["RY"].matrix(-0.3) @ GATES["RX"].matrix(0.2 + np.pi)
    same(oracle.unitary(1, oracle.from_circuit(bound)), wanted)


def test_version_two():
    text = f"""{OLD}
    // a comment with ^ in it
    qreg a[1]; qreg b[2]; creg c[2];
    gate twist(t) x0, x1 {{ u3(t^2, 0, -t/2) x0; CX x0, x1; }}
    twist(0.5) a[0], b[1];
    u2(0, pi) b;
    measure b -> c;
    """
    program = qasm.parse_program(text)
    assert program.registers == {"c": ("c[0]", "c[1]")}
    gates = [o for o in oracle.from_circuit(program.circuit) if o.name != "Measure"]
    ops = [Op("U", (0,), (0.25, 0, -0.25)), Op("CX", (0, 2))]
    ops += [Op("U", (q,), (np.pi / 2, 0, np.pi)) for q in (1, 2)]
    same(oracle.unitary(3, gates), oracle.unitary(3, ops))


class TestMeasurements:
    def test_names_and_registers(self):
        text = (
            f"{HEAD}qubit[2] q; bit[2] c; bit d; c = measure q; x q[0]; "
            "c[0] = measure q[0]; d = measure q[1]; measure q[0];"
        )
        program = qasm.parse_program(text)
        names = [o.detail[0] for o in program.circuit.operations if o.name == "Measure"]
        assert names == ["c[0]", "c[1]", "c[0]'2", "d", None]
        assert program.registers == {"c": ("c[0]'2", "c[1]"), "d": ("d",)}

    @pytest.mark.parametrize(
        ("condition", "wanted"),
        [
            ("c[0]", {1, 3}),
            ("!c[0]", {0, 2}),
            ("c == 2", {2}),
            ("2 == c", {2}),
            ("c != 2", {0, 1, 3}),
            ("c > 1", {2, 3}),
            ("c[0] && !c[1]", {1}),
            ("c[0] ^ c[1]", {1, 2}),
            ('c == "10"', {2}),
            ("~c == 1", {2}),
            ("~c == 3", {0}),
            ("~c[0]", {0, 2}),
            ('~c == "10"', {1}),
            ('(c ^ "11") == ~c', {0, 1, 2, 3}),
            ("(c << 1) == 2", {1, 3}),
            ("c == 7", set()),
        ],
    )
    def test_conditions(self, condition, wanted):
        """X on the third qubit exactly where the condition holds, checked on all four outcomes."""
        for value in range(4):
            prepared = "".join(f"x q[{k}];" for k in range(2) if value >> k & 1)
            text = (
                f"{HEAD}qubit[3] q; bit[2] c; {prepared} c = measure q[0:1]; "
                f"if ({condition}) {{ x q[2]; }} else {{ id q[2]; }}"
            )
            flipped = float(qj.probabilities(qasm.parse(text), 2)[1])
            assert round(flipped) == (value in wanted)

    def test_old_conditions_and_wide_registers(self):
        text = f"{OLD}qreg q[1]; creg c[20]; measure q[0] -> c[3]; if (c == 8) x q[0]; reset q[0];"
        circuit = qasm.parse(text)
        assert [str(o) for o in circuit.operations] == [
            "Measure(0, 'c[3]')",
            "X(0).conditioned('c[3]', 1)",
            "Reset(0)",
        ]

    def test_nested_conditions(self):
        inner = "if (c == 3) { x q[1]; } else { y q[1]; }"
        text = f"{HEAD}qubit[2] q; bit[2] c; c = measure q; if (c[0]) {{ {inner} }}"
        assert [str(o) for o in qasm.parse(text).operations[2:]] == [
            "Y(1).conditioned('c[0]', 1).conditioned('c[1]', 0)",
            "X(1).conditioned('c[0]', 1).conditioned('c[1]', 1)",
        ]

    def test_a_bit_can_be_copied(self):
        text = f"{HEAD}qubit q; bit a = measure q; bool b = a; if (b) {{ x q; }}"
        assert str(qasm.parse(text).operations[1]) == "X(0).conditioned('a', 1)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qubit q; foo q;", "OpenQASM line 1: gate `foo` is not defined."),
        ("qubit[2] q; cx q[0];", "acts on 2 qubits, but is given 1"),
        ("qubit q; rx q;", "takes 1 angles, but is given 0"),
        ("qubit q; x q[1];", "out of range; the register has size 1"),
        ("qubit q; rx(a) q;", "`a` is not defined"),
        ("x q;", "`q` is not a register of qubits"),
        ("qubit[2] q; cx q[0], q[0];", "must be distinct"),
        ("qubit q; bit c; c = measure q; while (c) { x q; }", "no fixed circuit"),
        ("qubit q; bit c; c = measure q; if (c) { c = measure q; }", "a measurement under a"),
        ("qubit q; bit c; c = measure q; rx(c) q;", "outcome of the measurement 'c'"),
        ("qubit[2] q; bit c; c = measure q;", "2 qubits are measured into 1 bits"),
        ("qubit q;\n\nx q", "OpenQASM line 3: missing ';' at '<EOF>'."),
        ("qubit q;\nx # q;", "OpenQASM line 2: token recognition error at: '# '."),
        ("qubit q;\nrx(1 q;\nx q;", "OpenQASM line 2: no viable alternative at input 'rx(1q'."),
        ("OPENQASM 2.0;\nqreg q[1];\n/* \n */ x q[0]", "OpenQASM line 4: missing"),
        ("bit c; if (c) { qubit q; }", "OpenQASM line 1: qubit declarations must be global."),
        (f"qubit q; rx({'(' * 3000}1{')' * 3000}) q;", "it is nested too deeply"),
        ("qubit q;\nqubit q;", "OpenQASM line 2: `q` is declared twice."),
        ("qubit q; float q = 1;", "`q` is declared twice"),
        ("qubit q; bit c; { float c = 1; }", "`c` is of another kind outside of this block"),
        ("qubit q; { float a = 0.2; } rx(a) q;", "`a` is not defined"),
        ("qubit q; if (true) { float a = 0.2; } rx(a) q;", "`a` is not defined"),
        ("qubit q; for int i in [0:1] { bit b; } b = measure q;", "`b` is not a register"),
        ("qubit[2] q; x $0;", "registers and physical qubits cannot be used together"),
        ("x $0; qubit[2] q;", "registers and physical qubits cannot be used together"),
        ("x $10000;", "there are 10000 physical qubits at most"),
        ("qubit[1000000000] q;", "a size must be from 1 to 10000, but is 1000000000"),
        ("bit c;", "declares no qubits"),
        ("qubit q; rx(1/0) q;", "an expression has no value"),
        ("OPENQASM 4.0; qubit q;", "OpenQASM 4 is not supported"),
        ("OPENQASM 2.0; opaque g q; qreg q[1];", "opaque"),
        ("qubit q; extern f(int) -> int;", "ExternDeclaration cannot be expressed"),
        ("qubit q; int i = 0; while (i < 1) { x q; }", "unrolls to more than"),
    ],
)
def test_errors(text, message):
    with pytest.raises(CircuitError) as caught:
        qasm.parse(text)
    assert message in str(caught.value)


def test_errors_are_raised_and_not_printed(capfd):
    with pytest.raises(CircuitError):
        qasm.parse("qubit q; x q")
    assert capfd.readouterr() == ("", "")


def test_text_must_be_a_string():
    with pytest.raises(CircuitError, match="Argument `text` must be a string, but is int"):
        qasm.parse(3)  # pyright: ignore[reportArgumentType]
