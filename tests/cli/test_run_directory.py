import time
from pathlib import Path

import numpy as np
import pytest

from qjax.cli._run_directory import open_run
from qjax.storage import read_metrics


class TestCheckpoints:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    def test_every_ten_epochs_and_every_minute(self, tmp_path: Path, clock: list[float]) -> None:
        due = []
        with open_run(tmp_path, None) as (_, checkpoints):
            for epoch in range(1, 25):
                clock[0] += 5.0 if epoch < 20 else 35.0
                if checkpoints.is_due(epoch):
                    due.append(epoch)
                    checkpoints.save(epoch, {"a": np.zeros(3)})
        assert due == [10, 20, 22, 24]

    def test_metrics_are_committed_before(self, tmp_path: Path) -> None:
        with open_run(tmp_path, None) as (metrics, checkpoints):
            metrics.write({"epoch": 1, "step": 1})
            checkpoints.save(1, {"a": np.zeros(3)})
            checkpoints.wait()
            assert read_metrics(tmp_path).num_rows == 1
