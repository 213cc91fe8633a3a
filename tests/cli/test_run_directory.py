import time
from pathlib import Path

import numpy as np
import pytest

from qjax.cli._run_directory import open_checkpoints
from qjax.storage import AsyncMetricsLogger, read_metrics


class TestCheckpoints:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    def test_every_ten_epochs_and_every_minute(self, tmp_path: Path, clock: list[float]) -> None:
        with AsyncMetricsLogger(tmp_path) as metrics:
            checkpoints = open_checkpoints(tmp_path, metrics)
            due = []
            for epoch in range(1, 25):
                clock[0] += 5.0 if epoch < 20 else 35.0
                if checkpoints.is_due(epoch):
                    due.append(epoch)
                    checkpoints.save(epoch, {"a": np.zeros(3)})
            checkpoints.close()
        assert due == [10, 20, 22, 24]

    def test_metrics_are_committed_before(self, tmp_path: Path) -> None:
        metrics = AsyncMetricsLogger(tmp_path, flush_seconds=1e9)
        with open_checkpoints(tmp_path, metrics) as checkpoints:
            metrics.write({"epoch": 1, "step": 1})
            checkpoints.save(1, {"a": np.zeros(3)})
            checkpoints.wait()
            assert read_metrics(tmp_path).num_rows == 1
        metrics.close()
