from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qjax.cli import _run_directory
from qjax.cli._run_directory import RunCheckpoints
from qjax.storage import AsyncMetricsLogger, list_checkpoints, load_checkpoint, read_metrics
from qjax.train import TrainState


def state(step: int) -> TrainState:
    return TrainState(np.int32(step), {"a": np.full(3, step)}, {}, ())


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_run_directory, "time", clock)
    return clock


def saved(tmp_path: Path, clock: Clock, seconds: float, epochs: int, **options: Any) -> list[int]:
    """Steps of the checkpoints seen after each epoch, one step an epoch."""
    seen: set[int] = set()
    with AsyncMetricsLogger(tmp_path) as metrics:
        sink = RunCheckpoints(tmp_path, metrics, **options)
        for epoch in range(1, epochs + 1):
            clock.now += seconds
            sink.save(epoch, state(epoch), final=epoch == epochs)
            seen |= set(list_checkpoints(tmp_path / "checkpoints"))
    return sorted(seen)


class TestRunCheckpoints:
    def test_every_few_epochs_and_at_the_end(self, tmp_path: Path, clock: Clock) -> None:
        assert saved(tmp_path, clock, seconds=2, epochs=25) == [10, 20, 25]

    def test_not_too_often(self, tmp_path: Path, clock: Clock) -> None:
        assert saved(tmp_path, clock, seconds=0.04, epochs=65) == [30, 60, 65]

    def test_not_too_seldom(self, tmp_path: Path, clock: Clock) -> None:
        assert saved(tmp_path, clock, seconds=40, epochs=5) == [2, 4, 5]

    def test_keeps_three(self, tmp_path: Path, clock: Clock) -> None:
        saved(tmp_path, clock, seconds=2, epochs=50)
        assert list_checkpoints(tmp_path / "checkpoints") == [30, 40, 50]

    def test_metrics_are_committed_before(self, tmp_path: Path) -> None:
        metrics = AsyncMetricsLogger(tmp_path, flush_seconds=1e9)
        metrics.write({"epoch": 1, "step": 1})
        RunCheckpoints(tmp_path, metrics).save(1, state(1), final=True)
        assert read_metrics(tmp_path).num_rows == 1

    def test_a_step_that_is_saved_already(self, tmp_path: Path) -> None:
        with AsyncMetricsLogger(tmp_path) as metrics:
            sink = RunCheckpoints(tmp_path, metrics)
            sink.save(1, state(1), final=True)
            sink.save(1, state(1), final=True)
        assert load_checkpoint(tmp_path / "checkpoints").step == 1
