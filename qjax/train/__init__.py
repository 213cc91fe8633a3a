"""Training: a pure step, evaluation in batches and a loop that resumes exactly.

What is trained comes from the caller as a Flax NNX module; where metrics and checkpoints go, as
objects that fit small protocols. Nothing here knows quantum layers, files or terminals.
"""

from qjax.train._batches import Batch, batches, count_batches, epoch_order
from qjax.train._evaluate import EVALUATION_BATCH_SIZE, Evaluation, evaluate
from qjax.train._learner import Learner, StepMetrics, Totals, TrainState
from qjax.train._loop import EpochResult, FitResult, fit
from qjax.train._protocols import CheckpointSink, MetricSink, ProgressSink

__all__ = [
    "EVALUATION_BATCH_SIZE",
    "Batch",
    "CheckpointSink",
    "EpochResult",
    "Evaluation",
    "FitResult",
    "Learner",
    "MetricSink",
    "ProgressSink",
    "StepMetrics",
    "Totals",
    "TrainState",
    "batches",
    "count_batches",
    "epoch_order",
    "evaluate",
    "fit",
]
