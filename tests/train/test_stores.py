"""Training with real stores: a timeline of its stages, and going back to the best state."""

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import optax
import pytest
from flax import nnx

from qjax.errors import RunError
from qjax.storage import AsyncMetricsLogger, CheckpointManager, list_checkpoints, read_metrics
from qjax.train import STAGES, AsyncQuantumTrainer, FitResult, Learner, Span, Timeline
from tests.train.models import Waves, clusters
from tests.train.support import assert_same_bits

X, Y = clusters(90)
STEPS = 6  # per epoch


@pytest.fixture(scope="module")
def learner() -> Learner:
    return Learner(Waves(nnx.Rngs(0)), optax.adam(0.02), grad_norms="group")


def train(learner: Learner, folder: Path, timeline: Timeline | None) -> FitResult:
    observe = timeline.background if timeline else lambda begin, end: None
    with (
        AsyncMetricsLogger(folder, observe=observe) as metrics,
        CheckpointManager(
            folder / "checkpoints", every_epochs=1, before_commit=metrics.sync, observe=observe
        ) as checkpoints,
    ):
        trainer = AsyncQuantumTrainer(
            Waves(nnx.Rngs(0)), optax.adam(0.02), epochs=3, batch_size=16,
            metrics=metrics, checkpoints=checkpoints, timeline=timeline,
        )  # fmt: skip
        trainer.learner = learner
        return trainer.fit((X, Y))


@pytest.fixture(scope="module")
def recorded(
    learner: Learner, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Span], float, float]:
    """The spans of a run, and when it began and ended."""
    timeline = Timeline()
    learner.compile_step(16, 4)
    begin = time.perf_counter()
    train(learner, tmp_path_factory.mktemp("run"), timeline)
    return timeline.spans, begin, time.perf_counter()


def of_stage(spans: list[Span], stage: str) -> list[Span]:
    return [span for span in spans if span.stage == stage]


class TestResumeFromBest:
    """With real stores: what came after the best state is superseded, on disk as well."""

    def test_later_checkpoints_and_rows_make_way(self, learner: Learner, tmp_path: Path) -> None:
        def opened() -> tuple[AsyncMetricsLogger, CheckpointManager]:
            metrics = AsyncMetricsLogger(tmp_path, hardware=False)
            path = tmp_path / "checkpoints"
            best: Any = {"best_metric": "train_loss", "best_mode": "max"}  # the first epoch
            return metrics, CheckpointManager(path, every_epochs=1, asynchronous=False, **best)

        def run(resume: Any, epochs: int) -> FitResult:
            metrics, checkpoints = opened()
            with metrics, checkpoints:
                trainer = AsyncQuantumTrainer(
                    Waves(nnx.Rngs(0)), optax.adam(0.02), epochs=epochs, batch_size=16,
                    metrics=metrics, checkpoints=checkpoints,
                )  # fmt: skip
                trainer.learner = learner
                return trainer.fit((X, Y), resume=resume)

        whole = run(None, 4)
        assert list_checkpoints(tmp_path / "checkpoints") == [6, 12, 18, 24]
        run("best", 2)
        assert list_checkpoints(tmp_path / "checkpoints") == [6, 12]
        assert read_metrics(tmp_path)["step"].to_pylist() == [*range(1, 7), -1, *range(7, 13), -1]
        again = run("latest", 4)
        assert_same_bits(again.state, whole.state)
        with pytest.raises(RunError, match="`resume` must be given where `checkpoints` hold a run"):
            run(None, 4)


class TestTimeline:
    def test_each_stage_is_there(self, recorded: tuple[list[Span], float, float]) -> None:
        spans, _, _ = recorded
        assert {span.stage for span in spans} == set(STAGES)
        assert len(of_stage(spans, "batch preparation")) == 3 * (STEPS + 1)  # with the end
        assert len(of_stage(spans, "submission")) == 3 * STEPS * 2
        assert len(of_stage(spans, "gradient and optimiser")) == 3 * STEPS
        writers = {span.lane for span in of_stage(spans, "background work")}
        assert {"qjax-checkpoints"} <= writers <= {"qjax-checkpoints", "qjax-metrics", "MainThread"}

    def test_they_are_in_order_and_within_the_run(
        self, recorded: tuple[list[Span], float, float]
    ) -> None:
        spans, begin, end = recorded
        assert all(begin <= span.begin <= span.end <= end for span in spans)
        assert spans == sorted(spans, key=lambda span: span.begin)

    def test_each_does_one_thing_at_a_time(self, recorded: tuple[list[Span], float, float]) -> None:
        spans, begin, end = recorded
        for lane in {span.lane for span in spans}:
            mine = [span for span in spans if span.lane == lane]
            assert all(one.end <= after.begin for one, after in itertools.pairwise(mine)), lane
            assert sum(span.end - span.begin for span in mine) <= end - begin

    def test_a_step_is_submitted_before_it_is_done(
        self, recorded: tuple[list[Span], float, float]
    ) -> None:
        spans, _, _ = recorded
        submitted = of_stage(spans, "submission")[1::2]
        computed = of_stage(spans, "gradient and optimiser")
        for one, other in zip(submitted, computed, strict=True):
            assert one.end <= other.end

    def test_without_one_nothing_is_recorded_and_no_thread_runs(
        self, learner: Learner, tmp_path: Path
    ) -> None:
        seen = set()
        start = threading.Thread.start

        def noted(thread: threading.Thread) -> None:
            seen.add(thread.name)
            start(thread)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", noted)
            train(learner, tmp_path, None)
        assert "qjax-checkpoints" in seen and "qjax-timeline" not in seen

    def test_what_there_is_no_room_for_is_counted(self) -> None:
        timeline = Timeline(limit=2)
        for second in range(5):
            timeline.background(second, second + 0.5)
        assert [span.begin for span in timeline.spans] == [0, 1]
        assert timeline.left_out == 3
        with pytest.raises(RunError, match="`limit` must be at least 1, but is 0"):
            Timeline(limit=0)
