"""A small model; run as a module, the command `qjax` with that model under the name "tiny".

With ``KILL_BEFORE_STEP`` in its environment, the process kills itself without warning when that
step is about to be recorded; it then saves every second epoch.
"""

import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

from flax import nnx

from qjax.cli import _run_directory, main
from qjax.nn import DecodingLayer, QuantumFeatureExtractor, models
from qjax.storage import AsyncMetricsLogger, CheckpointManager


def tiny(*, num_features: int, num_classes: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """A linear map to 4 amplitudes, a circuit on 2 qubits, and a linear readout."""
    return nnx.Sequential(
        nnx.Linear(num_features, 4, rngs=rngs),
        QuantumFeatureExtractor(2, depth=1, rngs=rngs),
        DecodingLayer(6, num_classes, rngs=rngs),
    )


def kill_before(step: int) -> None:
    """Prepares the end of this process."""
    write = AsyncMetricsLogger.write

    def write_or_die(self: AsyncMetricsLogger, row: Mapping[str, Any]) -> None:
        if row["step"] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, row)

    AsyncMetricsLogger.write = write_or_die
    _run_directory.CheckpointManager = partial(CheckpointManager, every_epochs=2)


if __name__ == "__main__":
    models.MODELS["tiny"] = tiny
    if point := os.environ.get("KILL_BEFORE_STEP"):
        kill_before(int(point))
    main()
