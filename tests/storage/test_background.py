"""How the threads that write are scheduled."""

import errno
import os
import threading
from pathlib import Path

import pytest

from qjax.storage import AsyncMetricsLogger, CheckpointManager, read_metrics
from qjax.storage._background import let_others_run
from tests.storage.test_buffer import wait_for


def policies() -> dict[str, int]:
    """The policy of each thread of this process."""
    threads = [thread for thread in threading.enumerate() if thread.native_id is not None]
    return {thread.name: os.sched_getscheduler(thread.native_id or 0) for thread in threads}


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="a policy of Linux")
class TestPolicy:
    def test_of_those_that_write_alone(self, tmp_path: Path) -> None:
        before = os.sched_getscheduler(0)
        with AsyncMetricsLogger(tmp_path) as metrics, CheckpointManager(tmp_path) as checkpoints:
            metrics.log({"epoch": 1, "step": 1})
            checkpoints.save(1, {"a": 1.0})
            for name in ("qjax-metrics", "qjax-checkpoints"):
                wait_for(lambda name=name: policies()[name] == os.SCHED_BATCH)
            assert os.sched_getscheduler(0) == before

    def test_one_of_the_whole_process_stays(self) -> None:
        found = []

        def choose() -> None:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            let_others_run()
            found.append(os.sched_getscheduler(0))

        thread = threading.Thread(target=choose)
        thread.start()
        thread.join()
        assert found == [os.SCHED_IDLE]

    def test_one_that_is_refused_does_no_harm(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "sched_setscheduler", refuse)
        with AsyncMetricsLogger(tmp_path) as metrics, CheckpointManager(tmp_path) as checkpoints:
            metrics.log({"epoch": 1, "step": 1})
            checkpoints.save(1, {"a": 1.0})
        assert read_metrics(tmp_path).num_rows == 1
        assert checkpoints.steps() == [1]
