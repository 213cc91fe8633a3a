"""Rows of metrics as TensorBoard event files."""

import time
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qjax.errors import RunError
from qjax.storage._closing import Closing

__all__ = ["TensorBoardSink"]

INDICES = {"epoch", "step", "timestamp"}


class TensorBoardSink(Closing):
    """Writes the numbers of each row as scalars; fits `qjax.train.MetricSink`.

    A step's columns keep their names and stand at that step; those of an epoch are called
    ``epoch/<column>`` and stand at the epoch. Strings are left out. Give it to
    `AsyncMetricsLogger` as a sink, so that it runs in the background.

    Args:
        folder: where to, such as ``run_dir / "tensorboard"``.
        flush_seconds: how often the file is brought up to date.

    Raises:
        RunError: if the package tensorboardX, which qjax's extra `tensorboard` brings, is missing.

    Example:
        >>> import os, tempfile
        >>> from qjax.storage import AsyncMetricsLogger, TensorBoardSink
        >>> folder = tempfile.mkdtemp()
        >>> with (
        ...     TensorBoardSink(f"{folder}/tensorboard") as board,
        ...     AsyncMetricsLogger(folder, sinks=[board]) as metrics,
        ... ):
        ...     metrics.log({"epoch": 1, "step": 1, "train_loss": 2.3})
        >>> sorted(os.listdir(folder))
        ['metrics', 'tensorboard']
    """

    def __init__(self, folder: str | Path, *, flush_seconds: float = 10.0) -> None:
        if find_spec("tensorboardX") is None:
            raise RunError(
                "The TensorBoard sink needs tensorboardX; install it with "
                '`pip install "qjax-qml[tensorboard]"`.'
            )
        tensorboard = import_module("tensorboardX")
        self._writer = tensorboard.SummaryWriter(str(folder), flush_secs=flush_seconds)

    def write(self, row: Mapping[str, Any]) -> None:
        """Takes one row."""
        is_epoch = row["step"] == -1
        prefix, place = ("epoch/", row["epoch"]) if is_epoch else ("", row["step"])
        when = row.get("timestamp")
        seconds = when.timestamp() if isinstance(when, datetime) else time.time()
        for name, value in row.items():
            if name in INDICES or value is None or isinstance(value, str):
                continue
            self._writer.add_scalar(f"{prefix}{name}", float(value), int(place), seconds)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
