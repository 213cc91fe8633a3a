"""What a run leaves on disk: metrics as a Parquet dataset, checkpoints as Zarr 3 groups.

Everything is committed by one atomic rename, so that a process killed at any moment leaves
either the whole of a file or folder, or nothing. What the numbers mean is decided elsewhere.
"""

from qjax.storage._checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    remove_unfinished,
    save_checkpoint,
)
from qjax.storage._files import disk_errors, write_atomic
from qjax.storage._metrics import MetricsWriter, read_metrics, truncate_metrics
from qjax.storage._schema import METRICS_SCHEMA, METRICS_VERSION

__all__ = [
    "METRICS_SCHEMA",
    "METRICS_VERSION",
    "Checkpoint",
    "MetricsWriter",
    "disk_errors",
    "list_checkpoints",
    "load_checkpoint",
    "prune_checkpoints",
    "read_metrics",
    "remove_unfinished",
    "save_checkpoint",
    "truncate_metrics",
    "write_atomic",
]
