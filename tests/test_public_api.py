"""The public names, exactly: a name that comes, goes or moves shows up here and in the docs."""

import importlib
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import typer

import qjax as qj
from qjax.circuit import GateConstructor
from qjax.cli._app import app

API_PAGES = Path(__file__).resolve().parents[1] / "docs" / "api"

NAMESPACES = {
    "qjax": """
        AmplitudeDamping BitFlip CCX CH CP CRX CRY CRZ CSWAP CX CY CZ Circuit Depolarizing
        Estimate Evolution GeneralizedAmplitudeDamping H I ISWAP Kraus Measure NoiseModel
        Operation P Parameter PauliChannel PauliRotation PauliSum PhaseDamping PhaseFlip
        QjaxError RX RXX RY RYY RZ RZZ ReadoutError Reset S SWAP SX StatePreparation T
        ThermalRelaxation U Unitary X Y Z amplitude_encoding angle_encoding basis_encoding
        batch_map checked counts data_reuploading density_matrix expectation fidelity
        hardware_efficient insert_noise iqp_encoding partial_trace probabilities purity
        renyi_entropy sample statevector strongly_entangling trace_distance
        use_compilation_cache variance von_neumann_entropy
    """,
    "qjax.circuit": """
        AmplitudeDamping BitFlip CCX CH CP CRX CRY CRZ CSWAP CX CY CZ Channel Circuit
        Depolarizing Evolution Gate GateConstructor GeneralizedAmplitudeDamping H I ISWAP
        Instruction Kind Kraus Leaf Measure Operation P Parameter PauliChannel PauliRotation
        PhaseDamping PhaseFlip RX RXX RY RYY RZ RZZ ReadoutError Reference Reset S SWAP SX Slot
        StatePreparation Step Structure T ThermalRelaxation U Unitary X Y Z channel_arguments
        is_gate_name is_noisy kind_matrix pauli_probabilities
    """,
    "qjax.data": """
        DATASETS Dataset DatasetInfo dataset_info fashion_mnist_folder linearly_separable load
        load_digits load_fashion_mnist mean_pool read_idx stratified_split two_curves
    """,
    "qjax.errors": """
        CacheError CircuitError DataError EncodingError MemoryLimitError ModelError
        ObservableError QjaxError RunError StateError
    """,
    "qjax.ionq": """
        ApiError AsyncIonQClient AuthenticationError Backend Backoff BadRequestError
        Characterization CharacterizationPage Clock ConfigurationError ConflictError
        ConnectionFailedError Cost CostEstimate CreatedJob DeadlineError Draft Failure
        ForbiddenError GATESETS GPI GPI2 InvalidJobError IonQClient IonQError IonQNativeCompiler
        Job JobCanceledError JobCost JobEstimate JobFailedError JobPage JobStats MACHINES MS
        Machine MeasuredValue MeasurementPlan NOISE_MODELS NativeCircuit NotFoundError Outcomes
        Pass PayloadError PollSchedule RateLimitError ResponseError ResultLink ServerError
        Session SessionSettings ShotTable Submission SubmissionUnknownError Timeouts
        TwinComparison TwinError Usage WhoAmI ZZ circuit_from_payload circuit_to_payload
        compare_with_twin find_machine find_noise_model measurement_circuits
    """,
    "qjax.ionq.emulator": """
        Clock Emulator Fault SystemClock Timing VirtualClock emulator_app read_faults serve
        serving
    """,
    "qjax.library": """
        ANGLES_PER_BLOCK ANGLES_PER_NODE ENTANGLEMENTS amplitude_encoding angle_encoding
        basis_encoding convolutional data_reuploading entangled_pairs hardware_efficient
        iqp_encoding normalise strongly_entangling tree_pairs tree_tensor
    """,
    "qjax.linalg": """
        KakFactors apply_matrix as_state diagonal_phases fidelity is_density_matrix kak_factors
        merge_axes num_qubits_of partial_trace purity renyi_entropy safe_sqrt split_kronecker
        trace_distance von_neumann_entropy zyz_angles
    """,
    "qjax.measure": """
        confuse index_bits marginal planar planar_expectations sample_indices
        state_probabilities word_expectations
    """,
    "qjax.nn": """
        AdaptiveChoice AdaptiveLayer AmplitudeEncoding Angle ChoiceRecord ComputeSplit
        DecodingLayer DilationExecutor EncodingLayer GaussianAngles IdentityBlockAngles
        LayerShare LayerSummary NarrowUniformAngles NoisyExecutor QuantumAwareNormalization
        QuantumConv2D QuantumFeatureExtractor QuantumLayer QuantumNonlinearity QuantumParam
        QuantumPooling QuantumReadout QuantumSequential ShotExecutor Strength Summary
        compute_split config from_config models summary uniform_angles
    """,
    "qjax.nn.models": """
        DEFAULT MODELS ReuploadingLayer create qcnn quantum_conv quantum_features quantum_first
        reuploading tree_tensor
    """,
    "qjax.observables": """
        MeasurementGroup PAULI_MATRICES PauliSum PauliWord SupportsPauliSum as_pauli_sum
        group_words word_matrix
    """,
    "qjax.qasm": "Program parse parse_program write",
    "qjax.sim": """
        Block Estimate Plan batch_map counts density_matrix expectation make_plan partial_trace
        probabilities sample statevector use_compilation_cache variance
    """,
    "qjax.storage": """
        AsyncBuffer AsyncMetricsLogger AsyncMetricsWriter Checkpoint CheckpointInfo
        CheckpointManager HardwareMeter LeafRecord METRICS_SCHEMA METRICS_VERSION MetricColumns
        MetricParts Restored TensorBoardSink TrainingMetrics WriterLock disk_errors dropped_rows
        inspect_checkpoints list_checkpoints load_checkpoint read_metrics save_checkpoint
        truncate_metrics write_atomic
    """,
    "qjax.train": """
        AsyncQuantumTrainer Batch Callback CheckpointStore EVALUATION_BATCH_SIZE EarlyStopping
        EpochResult Evaluation FitResult Gradient Learner MetricSink Patience ProgressSink
        STAGES Snapshot Span Stage StepMetrics Timeline Totals TrainState batches count_batches
        epoch_order evaluate fit
    """,
    "qjax.transforms": """
        NoiseModel cancel_inverses decompose dilate insert_noise merge_one_qubit_gates
        merge_rotations
    """,
}


def public_objects() -> list[tuple[str, Any]]:
    """Every public name with its namespace, and what it stands for."""
    return [
        (f"{namespace}.{name}", getattr(importlib.import_module(namespace), name))
        for namespace, names in NAMESPACES.items()
        for name in names.split()
    ]


def page_of(namespace: str) -> str:
    name = "index" if namespace == "qjax" else namespace.split(".")[1]
    return (API_PAGES / f"{name}.md").read_text("utf-8")


def test_every_namespace_is_listed() -> None:
    root = Path(qj.__path__[0])
    folders = {path.parent.relative_to(root.parent) for path in root.rglob("__init__.py")}
    public = [f for f in folders if not any(part.startswith("_") for part in f.parts)]
    listed = {".".join(folder.parts) for folder in public}
    assert listed - {"qjax.cli"} == set(NAMESPACES) - {"qjax.errors"}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_public_names(namespace: str) -> None:
    names = importlib.import_module(namespace).__all__
    assert sorted(names) == NAMESPACES[namespace].split()


@pytest.mark.parametrize("name", sorted(set(qj.__all__) - {"checked"}))
def test_core_name_is_that_of_its_namespace(name: str) -> None:
    public = [(path, value) for path, value in public_objects() if path.count(".") == 2]
    homes = [value for path, value in public if path.endswith(f".{name}")]
    assert getattr(qj, name) in homes


@pytest.mark.parametrize(
    ("path", "value"), public_objects(), ids=[path for path, _ in public_objects()]
)
def test_name_is_in_the_docs(path: str, value: Any) -> None:
    """By a mkdocstrings directive and a docstring; a core name and a constant also by name."""
    namespace, _, name = path.rpartition(".")
    page = page_of(namespace)
    if inspect.ismodule(value):
        assert f"::: {path}\n" in page
    elif namespace == "qjax":
        assert re.search(rf"[` ]{name}[` ]", page), f"docs/api/index.md does not name {name}"
    elif isinstance(value, GateConstructor):
        row = f"| `{name}{inspect.signature(value)}` | {value.formula} |"
        assert row.replace("|0", r"\|0").replace("|1", r"\|1") in page
    elif callable(value) and typing.get_origin(value) is None:
        assert f"::: {namespace}\n" in page
        assert inspect.getdoc(value)
    else:
        assert f"`{name}`" in page


def test_command_line_is_in_the_docs() -> None:
    """Each command has a section, and each option a row in it, on the page of the command."""
    sections = re.split(r"^## qjax ", page_of("qjax.cli"), flags=re.MULTILINE)[1:]
    described = {
        section.split()[0]: set(re.findall(r"^\| `(--[a-z-]+)` \|", section, re.MULTILINE))
        for section in sections
    }
    group: Any = typer.main.get_command(app)
    actual = {
        name: {option for p in command.params for option in p.opts if option.startswith("--")}
        for name, command in group.commands.items()
    }
    assert described == actual
