"""The circuit as a value: composition, slots, batches, pytree, equality, pickling, drawing."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import CircuitError
from tests.support import oracle
from tests.support.oracle import GATES, Op
from tests.support.strategies import as_circuit, random_unitary, unitary_of

OPS = [
    Op("H", (0,)),
    Op("RX", (1,), (0.3,)),
    Op("CX", (0, 2)),
    Op("U", (2,), (0.1, 0.2, 0.3)),
    Op("CRY", (2, 1), (0.7,)),
]


def bound_circuit() -> qj.Circuit:
    """Two slots with values."""
    theta = qj.Parameter("theta", (2,))
    return qj.Circuit(1, [qj.RX(theta[0], 0), qj.RZ(theta[1], 0)]).bind(theta=[0.1, 0.2])


CIRCUITS = {
    "fixed gates": lambda: qj.Circuit(2, [qj.H(0), qj.CX(0, 1)]),
    "angles": lambda: as_circuit(3, OPS),
    "matrices": lambda: qj.Circuit(2, [qj.RX(0.1, 0), qj.Unitary(random_unitary(1, 0), 1)]),
    "channels": lambda: qj.Circuit(1, [qj.RX(0.1, 0), qj.AmplitudeDamping(0.2, 0)]),
    "kraus": lambda: qj.Circuit(1, [qj.Kraus(jnp.eye(2)[None], 0)]),
    "measured": lambda: qj.Circuit(1, [qj.Measure(0, "m"), qj.X(0).conditioned("m")]),
    "bound": bound_circuit,
    "batched": lambda: qj.Circuit(1, [qj.RX(jnp.array([0.1, 0.2]), 0)]),
    "ansatz": lambda: qj.hardware_efficient(jnp.ones((1, 2, 2))),
    "evolution": lambda: qj.Circuit(2, [qj.Evolution(0.5 * qj.Z(0) @ qj.X(1), 0.3)]),
    "prepared": lambda: qj.amplitude_encoding(jnp.array([0.6, 0.8])),
}


class TestComposition:
    """`+`, nesting, `on` and `inverse`."""

    def test_addition_runs_left_to_right(self, x64):
        """(a + b) applies a first."""
        whole = unitary_of(as_circuit(3, OPS[:2]) + as_circuit(3, OPS[2:]))
        np.testing.assert_allclose(whole, oracle.unitary(3, OPS), atol=1e-13)

    def test_nested_circuits_are_spliced_in(self):
        """A circuit among the operations stands for its operations."""
        flat = as_circuit(3, OPS)
        nested = qj.Circuit(3, [as_circuit(3, OPS[:2]), *as_circuit(3, OPS[2:]).operations])
        assert [repr(op) for op in nested.operations] == [repr(op) for op in flat.operations]
        np.testing.assert_allclose(qj.statevector(nested), qj.statevector(flat), atol=1e-6)
        assert nested.count_operations() == {"H": 1, "RX": 1, "CX": 1, "U": 1, "CRY": 1}

    def test_different_sizes_do_not_add(self):
        """The number of qubits must agree."""
        with pytest.raises(CircuitError, match="num_qubits"):
            sum([qj.Circuit(3)], start=qj.Circuit(2))

    @pytest.mark.parametrize(("qubits", "num_qubits"), [((2, 0, 3), 4), ((1, 2, 0), 3)])
    def test_on_relabels(self, x64, qubits, num_qubits):
        """Qubit i becomes qubits[i]."""
        moved = [Op(op.name, tuple(qubits[q] for q in op.qubits), op.params) for op in OPS]
        found = unitary_of(as_circuit(3, OPS).on(qubits, num_qubits))
        np.testing.assert_allclose(found, oracle.unitary(num_qubits, moved), atol=1e-13)

    def test_inverse_reverses(self, x64):
        """The conjugate transpose of the whole."""
        found = unitary_of(as_circuit(3, OPS).inverse())
        np.testing.assert_allclose(found, oracle.unitary(3, OPS).conj().T, atol=1e-13)

    @pytest.mark.parametrize(
        ("name", "build"),
        [
            ("Reset", lambda: qj.Reset(0)),
            ("Measure", lambda: qj.Measure(0)),
            ("BitFlip", lambda: qj.BitFlip(0.1, 0)),
        ],
    )
    def test_irreversible_operations_have_no_inverse(self, name, build):
        """Channels, resets and measurements are refused by name."""
        with pytest.raises(CircuitError, match=name):
            qj.Circuit(1, [build()]).inverse()

    def test_operations_can_be_read_back(self):
        """`operations` rebuilds the circuit."""
        circuit = as_circuit(3, OPS)
        again = qj.Circuit(3, circuit.operations)
        assert again == circuit
        assert [op.name for op in again.operations] == [op.name for op in OPS]
        assert [op.qubits for op in again.operations] == [op.qubits for op in OPS]
        np.testing.assert_allclose(qj.statevector(again), qj.statevector(circuit))


class TestCounts:
    """Depth and number of operations."""

    @pytest.mark.parametrize(
        ("ops", "depth"),
        [
            ([], 0),
            ([("H", (0,))], 1),
            ([("H", (0,)), ("H", (1,))], 1),
            ([("H", (0,)), ("H", (0,))], 2),
            ([("H", (0,)), ("CX", (0, 1)), ("X", (2,))], 2),
            ([("CX", (0, 1)), ("CX", (1, 2)), ("H", (0,))], 2),
            ([("CCX", (0, 1, 2)), ("H", (0,)), ("H", (2,)), ("CX", (0, 2))], 3),
        ],
    )
    def test_depth(self, ops, depth):
        """The longest chain of operations that share qubits."""
        assert as_circuit(3, [Op(*op) for op in ops]).depth == depth

    def test_count_operations(self):
        """A name to number table."""
        circuit = as_circuit(3, [*OPS, *OPS[:3]])
        assert circuit.count_operations() == {"H": 2, "RX": 2, "CX": 2, "U": 1, "CRY": 1}

    def test_empty_circuit(self):
        """Nothing at all is the identity."""
        circuit = qj.Circuit(2)
        assert (circuit.num_qubits, circuit.operations, circuit.depth) == (2, (), 0)
        np.testing.assert_allclose(qj.statevector(circuit), [1, 0, 0, 0])


class TestSlots:
    """Named parameters, bound later."""

    @staticmethod
    def circuit() -> qj.Circuit:
        theta, phi = qj.Parameter("theta", (2,)), qj.Parameter("phi")
        return qj.Circuit(
            2,
            [
                *(qj.RX(theta[0], 0), qj.RY(2 * theta[1] + 0.1, 1), qj.CRZ(-phi, 0, 1)),
                *(qj.U(phi, 0.2, theta[0] - 0.3, 0), qj.RY(phi / 2, 1)),
            ],
        )

    @staticmethod
    def expected(theta, phi) -> np.ndarray:
        ops = [
            *(Op("RX", (0,), (theta[0],)), Op("RY", (1,), (2 * theta[1] + 0.1,))),
            *(Op("CRZ", (0, 1), (-phi,)), Op("U", (0,), (phi, 0.2, theta[0] - 0.3))),
            Op("RY", (1,), (phi / 2,)),
        ]
        return oracle.statevector(2, ops)

    def test_parameters_lists_the_slots(self):
        """Names and shapes."""
        assert dict(self.circuit().parameters) == {"theta": (2,), "phi": ()}
        assert dict(qj.Circuit(1).parameters) == {}

    @pytest.mark.parametrize("as_mapping", [False, True])
    def test_bind_concrete(self, x64, as_mapping):
        """By keyword or by mapping."""
        values = {"theta": [0.4, 0.5], "phi": 0.9}
        bound = self.circuit().bind(values) if as_mapping else self.circuit().bind(**values)
        assert bound.batch_shape == ()
        np.testing.assert_allclose(
            qj.statevector(bound), self.expected([0.4, 0.5], 0.9), atol=1e-13
        )

    def test_bind_in_two_steps(self, x64):
        """One parameter now, the other later; a bound one can be bound anew."""
        half = self.circuit().bind(phi=0.9)
        bound = half.bind(theta=[0.4, 0.5])
        np.testing.assert_allclose(
            qj.statevector(bound), self.expected([0.4, 0.5], 0.9), atol=1e-13
        )

    def test_bind_batched(self, x64):
        """One batched parameter, one shared."""
        theta = np.array([[0.4, 0.5], [0.6, -0.7], [1.0, 2.0]])
        bound = self.circuit().bind(theta=theta, phi=0.9)
        assert bound.batch_shape == (3,)
        found = qj.statevector(bound)
        np.testing.assert_allclose(found, [self.expected(t, 0.9) for t in theta], atol=1e-13)

    def test_bind_traced(self, x64):
        """Inside jit and grad."""
        circuit = self.circuit()

        def mean(theta, phi):
            return qj.expectation(circuit.bind(theta=theta, phi=phi), qj.Z(0) @ qj.X(1))

        def reference(theta, phi):
            return oracle.expectation(self.expected(theta, phi), {"ZX": 1})

        theta, phi = np.array([0.4, 0.5]), 0.9
        by_theta, by_phi = jax.jit(jax.grad(mean, (0, 1)))(theta, phi)
        steps = 1e-6 * np.eye(2)
        numeric = [(reference(theta + s, phi) - reference(theta - s, phi)) / 2e-6 for s in steps]
        np.testing.assert_allclose(by_theta, numeric, atol=1e-8)
        difference = (reference(theta, phi + 1e-6) - reference(theta, phi - 1e-6)) / 2e-6
        np.testing.assert_allclose(by_phi, difference, atol=1e-8)

    def test_scalar_parameter_can_be_scaled(self, x64):
        """Affine arithmetic on the parameter itself."""
        phi = qj.Parameter("phi")
        circuit = qj.Circuit(1, [qj.RX(2 * phi + 0.1, 0)]).bind(phi=0.3)
        np.testing.assert_allclose(
            qj.statevector(circuit), oracle.statevector(1, [Op("RX", (0,), (0.7,))]), atol=1e-13
        )

    def test_slots_survive_inverse_and_addition(self, x64):
        """C + inverse(C) = 1 whatever is bound."""
        circuit = self.circuit()
        both = (circuit + circuit.inverse()).bind(theta=[0.4, 0.5], phi=0.9)
        np.testing.assert_allclose(unitary_of(both), np.eye(4), atol=1e-13)

    @pytest.mark.parametrize(
        ("values", "text"),
        [
            ({"theta": [0.1, 0.2], "phy": 1.0}, "phy"),
            ({"theta": [0.1, 0.2, 0.3]}, "theta"),
            ({"phi": np.ones((2, 1)), "theta": np.ones((3, 2, 2))}, "."),
        ],
    )
    def test_wrong_values_raise(self, values, text):
        """Unknown names, shapes and batches that do not fit are named."""
        with pytest.raises(CircuitError, match=text):
            self.circuit().bind(values)

    def test_running_unbound_raises(self):
        """The free parameter is named."""
        with pytest.raises(CircuitError, match="phi"):
            qj.statevector(self.circuit().bind(theta=[0.1, 0.2]))


class TestBatches:
    """Leading axes of inline angles."""

    def test_batch_shape(self):
        """Axes broadcast together and come out in front."""
        circuit = qj.Circuit(2, [qj.RX(jnp.zeros((3, 1)), 0), qj.RY(jnp.zeros((4,)), 1), qj.H(0)])
        assert circuit.batch_shape == (3, 4)
        assert qj.statevector(circuit).shape == (3, 4, 4)
        assert qj.expectation(circuit, [qj.Z(0), qj.Z(1), qj.X(0)]).shape == (3, 4, 3)
        assert qj.probabilities(circuit, 0).shape == (3, 4, 2)

    def test_batched_equals_one_by_one(self, x64):
        """Each row is its own circuit."""
        angles = np.array([0.1, 0.9, -2.0])
        found = qj.statevector(qj.Circuit(2, [qj.H(0), qj.CRX(angles, 0, 1), qj.P(0.3, 1)]))
        for row, angle in zip(found, angles, strict=True):
            ops = [Op("H", (0,)), Op("CRX", (0, 1), (angle,)), Op("P", (1,), (0.3,))]
            np.testing.assert_allclose(row, oracle.statevector(2, ops), atol=1e-13)

    def test_batch_composes_with_unbatched(self, x64):
        """(batched) + (single) keeps the batch."""
        angles = np.array([0.1, 0.9])
        circuit = qj.Circuit(1, [qj.RX(angles, 0)]) + qj.Circuit(1, [qj.RZ(0.5, 0)])
        assert circuit.batch_shape == (2,)
        np.testing.assert_allclose(qj.expectation(circuit, qj.Z(0)), np.cos(angles), atol=1e-13)


class TestPytree:
    """Circuits are pytrees whose leaves are numbers and whose structure is the circuit."""

    @pytest.mark.parametrize("kind", CIRCUITS)
    def test_flatten_unflatten(self, kind):
        """A round trip gives the same circuit."""
        circuit = CIRCUITS[kind]()
        leaves, structure = jax.tree.flatten(circuit)
        again = jax.tree.unflatten(structure, leaves)
        assert again == circuit
        assert hash(structure) == hash(jax.tree.structure(again))
        np.testing.assert_array_equal(qj.density_matrix(again), qj.density_matrix(circuit))

    @pytest.mark.parametrize("kind", CIRCUITS)
    def test_unflatten_accepts_anything(self, kind):
        """JAX puts placeholders into pytrees; building one must not look at them."""
        circuit = CIRCUITS[kind]()
        filled = jax.tree.map(lambda _: object(), circuit)
        assert isinstance(filled, qj.Circuit)
        assert filled == circuit

    @pytest.mark.parametrize("kind", CIRCUITS)
    def test_pickle(self, kind):
        """Through bytes and back."""
        circuit = CIRCUITS[kind]()
        again = pickle.loads(pickle.dumps(circuit))
        assert again == circuit
        assert hash(again) == hash(circuit)
        for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(circuit), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_all_angles_are_one_leaf(self):
        """However many gates there are."""
        circuit = qj.Circuit(2, [qj.RX(0.1 * i, i % 2) for i in range(20)])
        assert [np.shape(leaf) for leaf in jax.tree.leaves(circuit)] == [(20,)]

    def test_tree_map_changes_the_angles(self, x64):
        """Doubling the leaves doubles every angle."""
        circuit = jax.tree.map(lambda leaf: 2 * leaf, as_circuit(3, OPS))
        doubled = [Op(op.name, op.qubits, tuple(2 * p for p in op.params)) for op in OPS]
        np.testing.assert_allclose(
            qj.statevector(circuit), oracle.statevector(3, doubled), atol=1e-6
        )

    def test_circuit_crosses_jit(self):
        """As an argument and as a result."""
        circuit = as_circuit(3, OPS)
        double = jax.jit(lambda c: jax.tree.map(lambda leaf: 2 * leaf, c))(circuit)
        assert double == circuit
        found = jax.jit(qj.statevector)(double)
        np.testing.assert_allclose(
            found, qj.statevector(jax.tree.map(lambda leaf: 2 * leaf, circuit)), atol=1e-6
        )

    def test_gradient_with_respect_to_a_circuit(self, x64):
        """The gradient is a circuit of the same structure."""
        circuit = qj.Circuit(1, [qj.RX(0.3, 0), qj.RX(0.4, 0)])
        gradient = jax.grad(lambda c: qj.expectation(c, qj.Z(0)))(circuit)
        assert gradient == circuit
        np.testing.assert_allclose(jax.tree.leaves(gradient)[0], [-np.sin(0.7)] * 2, atol=1e-7)


class TestEquality:
    """Equality and hash are of the structure, never of numbers."""

    def test_angles_do_not_matter(self):
        """Two angles, one structure."""
        one, two = qj.Circuit(1, [qj.RX(0.1, 0)]), qj.Circuit(1, [qj.RX(0.2, 0)])
        assert one == two
        assert hash(one) == hash(two)

    @pytest.mark.parametrize(
        "other",
        [
            lambda: qj.Circuit(2, [qj.RX(0.1, 1)]),
            lambda: qj.Circuit(3, [qj.RX(0.1, 0)]),
            lambda: qj.Circuit(2, [qj.RY(0.1, 0)]),
            lambda: qj.Circuit(2, [qj.RX(0.1, 0), qj.H(0)]),
            lambda: qj.Circuit(2, [qj.RX(0.1, 0).controlled(1)]),
            lambda: qj.Circuit(2, [qj.RX(qj.Parameter("t"), 0)]),
            lambda: qj.Circuit(2),
        ],
    )
    def test_structure_matters(self, other):
        """Gate, qubit, size, control and slot all count."""
        assert qj.Circuit(2, [qj.RX(0.1, 0)]) != other()

    @pytest.mark.parametrize(
        "pair",
        [
            lambda: (qj.S(0), qj.S(0).inverse()),
            lambda: (qj.Measure(0, "a"), qj.Measure(0, "b")),
            lambda: (qj.Measure(0), qj.Measure(0, postselect=1)),
            lambda: (qj.PauliRotation(0.1, "XY", (0, 1)), qj.PauliRotation(0.1, "YX", (0, 1))),
            lambda: (qj.Evolution(qj.Z(0) @ qj.X(1), 0.1), qj.Evolution(qj.X(0) @ qj.Z(1), 0.1)),
        ],
    )
    def test_static_details_matter(self, pair):
        """Adjoint, measurement name, post-selection and words."""
        one, two = pair()
        assert qj.Circuit(2, [one]) == qj.Circuit(2, [one])
        assert qj.Circuit(2, [one]) != qj.Circuit(2, [two])

    def test_works_as_a_dictionary_key(self):
        """Equal structures find each other."""
        table = {qj.Circuit(1, [qj.RX(0.1, 0)]): "found"}
        assert table[qj.Circuit(1, [qj.RX(0.7, 0)])] == "found"


class TestDrawing:
    """`print(circuit)`."""

    @pytest.mark.parametrize("name", GATES)
    def test_every_gate_can_be_drawn(self, name):
        """One line a qubit at least, and something that tells the gate from its neighbours."""
        gate = GATES[name]
        params, qubits = (0.5,) * gate.num_params, range(gate.num_qubits)
        circuit = qj.Circuit(gate.num_qubits, [getattr(qj, name)(*params, *qubits)])
        text = str(circuit)
        assert len(text.splitlines()) >= gate.num_qubits
        assert text != str(qj.Circuit(gate.num_qubits))

    def test_bell_circuit(self):
        """The Hadamard stands on the first line, before the control."""
        first, *rest = str(qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])).splitlines()
        assert "H" in first
        assert "H" not in "".join(rest)
        assert len({len(line) for line in (first, rest[-1])}) == 1

    def test_angles_are_shown(self):
        """Numbers are short, traced values and slots have names or dots."""
        text = str(qj.Circuit(1, [qj.RX(0.123456, 0), qj.RZ(qj.Parameter("phi"), 0)]))
        assert "RX" in text
        assert "0.12" in text
        assert "phi" in text

    def test_inside_jit(self):
        """Drawing a traced circuit does not fail."""
        seen = []

        def draw(t):
            seen.append(str(qj.Circuit(1, [qj.RX(t, 0)])))
            return t

        jax.jit(draw)(0.1)
        assert "RX" in seen[0]

    @pytest.mark.parametrize("kind", CIRCUITS)
    def test_every_kind_can_be_drawn(self, kind):
        """Channels, measurements, matrices, batches; and repr is one readable text."""
        circuit = CIRCUITS[kind]()
        assert len(str(circuit).splitlines()) >= circuit.num_qubits
        assert len(repr(circuit).splitlines()) == 1


def test_equality_ignores_how_numbers_are_held():
    """Sums, traced angles and inverses twice equal the circuit written out; parameters count."""
    whole = qj.Circuit(1, [qj.RX(0.1, 0), qj.RY(0.2, 0)])
    joined = qj.Circuit(1, [qj.RX(0.3, 0)]) + qj.Circuit(1, [qj.RY(0.4, 0)])
    traced = []
    jax.jit(lambda t: traced.append(qj.Circuit(1, [qj.RX(t, 0), qj.RY(0.2, 0)])))(0.5)
    for other in (joined, traced[0], whole.inverse().inverse()):
        assert other == whole
        assert hash(other) == hash(whole)
    named = [qj.Circuit(1, [qj.RX(qj.Parameter(name), 0)]) for name in ("a", "b")]
    assert named[0] != named[1]
    assert whole != qj.Circuit(1, [qj.RY(0.1, 0), qj.RX(0.2, 0)])
