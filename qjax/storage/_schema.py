"""The columns of a metrics dataset, as a versioned Arrow schema.

A column is only ever added, never renamed or given another meaning: files of every version are
read with the newest schema, with nulls where an old one has no such column.
"""

import pyarrow as pa

__all__ = ["METRICS_SCHEMA", "METRICS_VERSION"]

METRICS_VERSION = 1
VERSION_KEY = b"qjax.metrics.version"

METRICS_SCHEMA = pa.schema(
    [
        ("epoch", pa.int32()),  # counted from 1
        ("step", pa.int64()),  # counted from 1 over the whole run; -1 in the row of an epoch
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("train_loss", pa.float64()),  # cross-entropy in nats
        ("val_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("grad_norm", pa.float64()),  # Euclidean, over all parameters
        ("grad_max", pa.float64()),  # largest entry of the gradient
        ("grad_min", pa.float64()),  # smallest entry of the gradient
        ("circuits_executed", pa.int64()),  # one per sample
        ("batch_time_ms", pa.float64()),
        ("throughput_samples_per_sec", pa.float64()),
    ],
    metadata={VERSION_KEY: str(METRICS_VERSION).encode()},
)
