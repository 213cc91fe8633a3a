"""Third-party clients against the emulator: in each cell the right answer, or a known limit."""

import jax
import numpy as np
import pytest

import qjax as qj
from qjax.ionq import GPI2, MS, NOISE_MODELS, IonQNativeCompiler
from tests.clients.driver import ANGLE, FEW, NATIVE, SHOTS
from tests.support import oracle
from tests.support.oracle import Op

pytestmark = pytest.mark.clients

CLIENTS = ("qiskit", "cirq", "pennylane", "ionqcore", "qbraid")
# The simulators of these SDKs are right; ionq-core and qBraid have none of their own.
WITH_SIMULATOR = ("qiskit", "cirq", "pennylane")
BELL = [Op("H", (0,)), Op("CX", (0, 1))]
ASYMMETRIC = [Op("X", (0,)), Op("RY", (1,), (ANGLE,)), Op("CX", (1, 2))]
# What each client calls a cancelled job.
CANCELED = {
    "qiskit": "CANCELLED",
    "cirq": "canceled",
    "ionqcore": "canceled",
    "qbraid": "CANCELLED",
}
# How each client tells of a failed job; only some pass the code or the message on.
FAILED = {
    "qiskit": "NotEnoughQubits: The job failed",
    "cirq": "Job failed. Error message: The job failed",
    "pennylane": "JobExecutionError",
    "ionqcore": "JobFailedError",
    "qbraid": "Job failed with code NotEnoughQubits: The job failed",
}
# pennylane-ionq does not create a job again that was refused with 429; qBraid tries nothing twice.
GIVES_UP_AT_429 = ("pennylane", "qbraid")
GIVES_UP_AT_503 = ("qbraid",)


def distribution(vector: np.ndarray) -> dict[str, float]:
    size = int(np.log2(len(vector)))
    return {format(k, f"0{size}b"): float(p) for k, p in enumerate(vector) if p > 1e-12}


def exact(num_qubits: int, ops: list[Op]) -> dict[str, float]:
    return distribution(oracle.probabilities(oracle.statevector(num_qubits, ops)))


def native() -> dict[str, float]:
    first, (p0, p1, angle), last = NATIVE
    with jax.enable_x64(True):
        circuit = qj.Circuit(2, [GPI2(first, 0), MS(p0, p1, angle, 0, 1), GPI2(last, 1)])
        ops = [Op("Unitary", o.targets, data=np.asarray(o.matrix)) for o in circuit.operations]
    return exact(2, ops)


def noisy() -> dict[str, float]:
    """The Bell circuit, compiled for Aria and run by the oracle with aria-1's noise."""
    with jax.enable_x64(True):
        bell = qj.Circuit(2, [qj.H(0), qj.CX(0, 1)])
        compiled = IonQNativeCompiler("ms").compile(bell).circuit
        ops = []
        for operation in qj.insert_noise(compiled, NOISE_MODELS["aria-1"]).operations:
            if operation.name == "Depolarizing":
                ops.append(Op("Depolarizing", operation.targets, (float(operation.params[0]),)))
            else:
                ops.append(Op("Unitary", operation.targets, data=np.asarray(operation.matrix)))
    return distribution(oracle.probabilities(oracle.density_matrix(2, ops)))


def check_exact(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert found == pytest.approx(wanted, abs=1e-9)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cell(client, outcomes, request):
    """The outcome of the scenario that the test is named after."""
    return outcomes(client).get(request.node.originalname.removeprefix("test_"))


def test_bell(client, cell):
    check_exact(cell["value"]["found"], exact(2, BELL))
    if client in WITH_SIMULATOR:
        check_exact(cell["value"]["own"], exact(2, BELL))


def test_asymmetric(client, cell):
    """Qubit 0 is the first of each string, so a wrong order of bits shows."""
    check_exact(cell["value"]["found"], exact(3, ASYMMETRIC))
    if client in WITH_SIMULATOR:
        check_exact(cell["value"]["own"], exact(3, ASYMMETRIC))


def test_native(client, cell):
    """PennyLane's matrix of a partial MS is not unitary, so only two simulators can be asked."""
    check_exact(cell["value"]["found"], native())
    if client in ("qiskit", "cirq"):
        check_exact(cell["value"]["own"], native())


def test_noisy(cell):
    found, wanted = cell["value"]["found"], noisy()
    assert sum(found.values()) == pytest.approx(1)
    assert wanted["01"] > 0.003  # the noise shows
    for outcome, chance in wanted.items():
        error = (chance * (1 - chance) / SHOTS) ** 0.5
        assert abs(found.get(outcome, 0) - chance) < 5 * error


def test_several(client, cell):
    """PennyLane and qBraid write all circuits with the width of the widest."""
    first, second = cell["value"]
    accuracy = 1 / SHOTS if client == "qbraid" else 1e-9  # its counts are rounded
    wanted = exact(3 if client in ("pennylane", "qbraid") else 2, BELL)
    assert first == pytest.approx(wanted, abs=accuracy)
    assert second == pytest.approx(exact(3, ASYMMETRIC), abs=accuracy)


def test_mid_circuit(client, cell):
    """Only qiskit-ionq sends circuits with measurements in the middle."""
    if client != "qiskit":
        assert cell is None
        return
    assert set(cell["value"]) == {"00", "11"}
    assert sum(cell["value"].values()) == FEW


def test_cancel(client, cell):
    if client == "pennylane":
        assert cell is None  # it cannot cancel a job
    else:
        assert cell["value"] == CANCELED[client]


def test_failed(client, cell):
    assert cell["injected"] == ["failed"]
    assert FAILED[client] in cell["error"]


def test_retry_429(client, cell):
    assert cell["injected"] == ["429"]
    assert cell["created"] == (0 if client in GIVES_UP_AT_429 else 1)
    if client in GIVES_UP_AT_429:
        assert "Too Many Requests" in cell["error"]
    else:
        check_exact(cell["value"]["found"], exact(2, BELL))


def test_retry_503(client, cell):
    assert cell["injected"] == ["503"]
    assert cell["created"] == 1
    if client in GIVES_UP_AT_503:
        assert "Service Unavailable" in cell["error"]
    else:
        check_exact(cell["value"]["found"], exact(2, BELL))
