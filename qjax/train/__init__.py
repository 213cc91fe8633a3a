"""Training: a pure step, evaluation in batches and a loop that resumes exactly.

What is trained comes from the caller as a Flax NNX module; where metrics and checkpoints go, as
objects that fit small protocols. Nothing here knows quantum layers, files or terminals.
"""

from qjax.train._batches import Batch, batches, count_batches, epoch_order
from qjax.train._evaluate import EVALUATION_BATCH_SIZE, Evaluation, evaluate
from qjax.train._fit import fit
from qjax.train._learner import Gradient, Learner, StepMetrics, Totals, TrainState
from qjax.train._protocols import (
    Callback,
    CheckpointStore,
    MetricSink,
    ProgressSink,
)
from qjax.train._results import EpochResult, FitResult, Snapshot
from qjax.train._stopping import EarlyStopping, Patience
from qjax.train._timeline import STAGES, Span, Stage, Timeline
from qjax.train._trainer import AsyncQuantumTrainer

__all__ = [
    "EVALUATION_BATCH_SIZE",
    "STAGES",
    "AsyncQuantumTrainer",
    "Batch",
    "Callback",
    "CheckpointStore",
    "EarlyStopping",
    "EpochResult",
    "Evaluation",
    "FitResult",
    "Gradient",
    "Learner",
    "MetricSink",
    "Patience",
    "ProgressSink",
    "Snapshot",
    "Span",
    "Stage",
    "StepMetrics",
    "Timeline",
    "Totals",
    "TrainState",
    "batches",
    "count_batches",
    "epoch_order",
    "evaluate",
    "fit",
]
