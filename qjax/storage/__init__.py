"""What a run leaves on disk: metrics as a Parquet dataset, checkpoints as Zarr 3 groups.

Everything is committed by one atomic rename, so that a process killed at any moment leaves
either the whole of a file or folder, or nothing; only the journal of the metrics is appended to.
What the numbers mean is decided elsewhere.
"""

from qjax.storage._arrays import LeafRecord
from qjax.storage._buffer import AsyncBuffer
from qjax.storage._checkpoint import (
    Checkpoint,
    CheckpointInfo,
    inspect_checkpoints,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from qjax.storage._files import disk_errors, write_atomic
from qjax.storage._hardware import HardwareMeter
from qjax.storage._lock import WriterLock
from qjax.storage._logger import AsyncMetricsLogger, AsyncMetricsWriter
from qjax.storage._manager import CheckpointManager, Restored
from qjax.storage._metrics import (
    MetricParts,
    dropped_rows,
    read_metrics,
    truncate_metrics,
)
from qjax.storage._schema import (
    METRICS_SCHEMA,
    METRICS_VERSION,
    MetricColumns,
    TrainingMetrics,
)
from qjax.storage._tensorboard import TensorBoardSink

__all__ = [
    "METRICS_SCHEMA",
    "METRICS_VERSION",
    "AsyncBuffer",
    "AsyncMetricsLogger",
    "AsyncMetricsWriter",
    "Checkpoint",
    "CheckpointInfo",
    "CheckpointManager",
    "HardwareMeter",
    "LeafRecord",
    "MetricColumns",
    "MetricParts",
    "Restored",
    "TensorBoardSink",
    "TrainingMetrics",
    "WriterLock",
    "disk_errors",
    "dropped_rows",
    "inspect_checkpoints",
    "list_checkpoints",
    "load_checkpoint",
    "read_metrics",
    "save_checkpoint",
    "truncate_metrics",
    "write_atomic",
]
