"""When a run saves, what is kept, and what happens when saving goes wrong."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from qjax.errors import RunError
from qjax.storage import _arrays, _files, _manager, _place, list_checkpoints
from qjax.storage._checkpoint import CheckpointInfo, load_checkpoint
from qjax.storage._manager import CheckpointManager
from qjax.storage._retention import Retention

TREE = {
    "params": jnp.linspace(0, 1, 7),
    "half": np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3),
    "key": jax.random.key(5),
    "step": np.int32(3),
}


class Gate:
    """Holds the writing thread before each write until it is let through."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Semaphore(0)
        self.may_go = threading.Semaphore(0)
        self.write: Callable[..., CheckpointInfo] = _manager.write_checkpoint
        patch.setattr(_manager, "write_checkpoint", self)

    def __call__(self, *arguments: Any) -> CheckpointInfo:
        self.entered.release()
        assert self.may_go.acquire(timeout=30)
        return self.write(*arguments)

    def open(self) -> None:
        for _ in range(100):
            self.may_go.release()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_of(manager: CheckpointManager) -> list[int]:
    return [info.step for info in manager.list()]


class TestSaving:
    @pytest.mark.parametrize("asynchronous", [True, False])
    def test_restores_what_was_saved(self, tmp_path: Path, asynchronous: bool) -> None:
        with CheckpointManager(tmp_path, asynchronous=asynchronous) as manager:
            manager.save(
                7, TREE, epoch=2, metrics={"val_loss": jnp.float32(0.5)}, metadata={"a": 1}
            )
            manager.wait()
            info, tree = manager.restore(like=TREE)
        assert (info.step, info.epoch, info.metrics, info.metadata, info.keep) == (
            *(7, 2, {"val_loss": 0.5}, {"a": 1}, False),
        )
        assert jax.tree.structure(tree) == jax.tree.structure(TREE)
        for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(TREE), strict=True):
            if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
                one, other = jax.random.key_data(one), jax.random.key_data(other)
            assert np.asarray(one).tobytes() == np.asarray(other).tobytes()

    def test_what_happens_to_the_arrays_later_is_not_seen(self, tmp_path: Path, gate: Gate) -> None:
        array, packed = np.arange(400_000.0), np.arange(3)
        donated, deleted = jnp.arange(400_000.0) + 1, jnp.arange(400_000.0) + 2
        with CheckpointManager(tmp_path) as manager:
            manager.save(1, {"a": array, "b": packed, "c": donated, "d": deleted})
            assert gate.entered.acquire(timeout=30)
            array[:], packed[:] = -1, -1
            deleted.delete()
            jax.jit(lambda x: x * 0, donate_argnums=0)(donated).block_until_ready()
            gate.open()
            manager.wait()
            tree = manager.restore().tree
        np.testing.assert_array_equal(tree["['a']"], np.arange(400_000.0))
        np.testing.assert_array_equal(tree["['b']"], np.arange(3))
        np.testing.assert_array_equal(tree["['c']"], np.arange(400_000.0) + 1)
        np.testing.assert_array_equal(tree["['d']"], np.arange(400_000.0) + 2)

    def test_does_not_wait_for_the_disk(self, tmp_path: Path, gate: Gate) -> None:
        with CheckpointManager(tmp_path) as manager:
            manager.save(1, TREE)
            assert steps_of(manager) == []
            gate.open()
            manager.wait()
            assert steps_of(manager) == [1]

    def test_close_writes_what_waits(self, tmp_path: Path) -> None:
        manager = CheckpointManager(tmp_path)
        manager.save(1, TREE)
        manager.save(2, TREE, keep=True)
        manager.close()
        manager.close()
        assert list_checkpoints(tmp_path)[-1] == 2
        with pytest.raises(RunError, match="before the manager is closed. Open a new one"):
            manager.save(3, TREE)

    def test_is_due(self, tmp_path: Path) -> None:
        with CheckpointManager(tmp_path) as by_default:
            assert [epoch for epoch in range(31) if by_default.is_due(epoch)] == [10, 20, 30]
        with CheckpointManager(tmp_path, every_epochs=4) as manager:
            assert [epoch for epoch in range(13) if manager.is_due(epoch)] == [4, 8, 12]

    def test_is_due_when_the_last_save_is_long_ago(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [0.0]
        monkeypatch.setattr(_manager.time, "monotonic", lambda: now[0])
        with CheckpointManager(tmp_path, every_seconds=60, asynchronous=False) as manager:
            now[0] = 59.0
            assert [manager.is_due(epoch) for epoch in (9, 10)] == [False, True]
            now[0] = 60.0
            assert manager.is_due(9)
            manager.save(1, TREE)
            assert not manager.is_due(9)

    def test_what_must_come_first_comes_before_each_write(self, tmp_path: Path) -> None:
        seen: list[list[int]] = []
        manager = CheckpointManager(tmp_path, before_commit=lambda: seen.append(steps_of(manager)))
        with manager:
            for step in (1, 2):
                manager.save(step, TREE)
                manager.wait()
        assert seen == [[], [1]]

    def test_if_that_fails_nothing_is_written(self, tmp_path: Path) -> None:
        def refuse() -> None:
            raise RunError("no room for metrics")

        with CheckpointManager(tmp_path, before_commit=refuse) as manager:
            manager.save(1, TREE)
            with pytest.raises(RunError, match="no room for metrics"):
                manager.wait()
            assert manager.steps() == []

    def test_on_a_store_in_memory(self) -> None:
        store = MemoryStore()
        with CheckpointManager(store, keep_last=2, keep_best=0) as manager:
            for step in range(5):
                manager.save(step, TREE)
                manager.wait()
        with CheckpointManager(store) as manager:
            assert steps_of(manager) == [3, 4]
            assert manager.restore(3, like=TREE).tree["step"] == 3

    def test_leftovers_are_removed_at_the_start(self, tmp_path: Path) -> None:
        (tmp_path / ".step-000000007.0123abcd.tmp" / "arrays.zarr").mkdir(parents=True)
        (tmp_path / ".step-000000008.zip.tmp").touch()
        with CheckpointManager(tmp_path):
            assert os.listdir(tmp_path) == [".lock"]


class TestQueue:
    def test_a_newer_save_replaces_the_one_that_waits(self, tmp_path: Path, gate: Gate) -> None:
        with CheckpointManager(tmp_path, keep_last=10) as manager:
            manager.save(1, TREE)
            assert gate.entered.acquire(timeout=30)
            for step in range(2, 10):
                manager.save(step, TREE)
            assert manager.replaced == 7
            gate.open()
            manager.wait()
            assert steps_of(manager) == [1, 9]
            manager.save(5, TREE)  # never written, so it is a new one

    def test_one_marked_keep_is_never_replaced(self, tmp_path: Path, gate: Gate) -> None:
        with CheckpointManager(tmp_path, keep_last=10) as manager:
            manager.save(1, TREE)
            assert gate.entered.acquire(timeout=30)
            manager.save(2, TREE)
            manager.save(3, TREE, keep=True)  # replaces 2
            later = threading.Thread(target=lambda: manager.save(4, TREE))
            later.start()
            later.join(0.2)
            assert later.is_alive()  # it waits, so nothing queues without bound
            gate.may_go.release()
            later.join(30)
            assert not later.is_alive()
            gate.open()
            manager.wait()
            assert steps_of(manager) == [1, 3, 4]
            assert manager.replaced == 1

    def test_memory_is_bounded(self, tmp_path: Path, gate: Gate) -> None:
        alive: list[int] = []
        copies = 0
        copy = _manager.copy_to_host

        class Counted(_arrays.HostTree):
            def __del__(self) -> None:
                nonlocal copies
                copies -= 1

        def counting(tree: Any) -> Any:
            nonlocal copies
            copies += 1
            return Counted(*copy(tree))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_manager, "copy_to_host", counting)
            with CheckpointManager(tmp_path) as manager:
                manager.save(0, TREE)
                assert gate.entered.acquire(timeout=30)
                for step in range(1, 50):
                    manager.save(step, TREE)
                    alive.append(copies)
                assert max(alive) == 2  # one is written, one waits
                gate.open()
                manager.wait()
                until(lambda: copies == 0)  # the thread lives on and holds nothing

    @pytest.mark.parametrize("asynchronous", [True, False])
    def test_a_step_is_saved_once(self, tmp_path: Path, asynchronous: bool) -> None:
        with CheckpointManager(tmp_path) as manager:
            manager.save(1, TREE)
        with CheckpointManager(tmp_path, asynchronous=asynchronous) as manager:
            with pytest.raises(RunError, match=r"000001\.zip` must be a new one, but exists"):
                manager.save(1, TREE)
            manager.save(2, TREE)
            with pytest.raises(RunError, match=r"2(\.zip)?` must be a new one, but exists"):
                manager.save(2, TREE)


class TestErrors:
    @pytest.fixture
    def full_disk(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(_files, "write_and_sync", refuse)
        return monkeypatch

    MESSAGE = "step-000000001` could not be written: No space left on device. Free some space"

    def test_surface_at_the_next_save_once(self, tmp_path: Path, full_disk: Any) -> None:
        with CheckpointManager(tmp_path) as manager:
            manager.save(1, TREE)
            until(lambda: manager._error is not None)
            with pytest.raises(RunError, match=self.MESSAGE) as caught:
                manager.save(2, TREE)
            assert caught.value.errno == errno.ENOSPC
            full_disk.undo()
            manager.save(2, TREE)
            manager.wait()
            assert steps_of(manager) == [2]
            assert sorted(os.listdir(tmp_path)) == [".lock", "step-000000002.zip"]

    @pytest.mark.parametrize("call", ["wait", "close"])
    def test_surface_at_wait_and_at_close(self, tmp_path: Path, full_disk: Any, call: str) -> None:
        manager = CheckpointManager(tmp_path)
        manager.save(1, TREE)
        with pytest.raises(RunError, match=self.MESSAGE):
            getattr(manager, call)()
        manager.close()
        CheckpointManager(tmp_path).close()  # the lock is free

    def test_do_not_hide_an_error_in_the_loop(self, tmp_path: Path, full_disk: Any) -> None:
        def loop() -> None:
            with CheckpointManager(tmp_path) as manager:
                manager.save(1, TREE)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            loop()
        assert "No space left on device" in caught.value.__notes__[0]

    def test_leave_the_state_and_the_earlier_checkpoints(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state = {"a": np.arange(3.0), "b": jnp.ones(2)}
        with CheckpointManager(tmp_path) as manager:
            manager.save(1, state)
            manager.wait()
            monkeypatch.setattr(os, "replace", self.refuse)
            manager.save(2, state)
            with pytest.raises(RunError, match="Read-only file system. The file system is read-"):
                manager.wait()
            monkeypatch.undo()
            assert steps_of(manager) == [1]
            np.testing.assert_array_equal(state["a"], np.arange(3.0))
            np.testing.assert_array_equal(state["b"], np.ones(2))
            manager.save(2, state)
            manager.wait()
            assert steps_of(manager) == [1, 2]

    def test_in_the_calling_thread_without_a_thread(self, tmp_path: Path, full_disk: Any) -> None:
        with (
            CheckpointManager(tmp_path, asynchronous=False) as manager,
            pytest.raises(RunError, match=self.MESSAGE),
        ):
            manager.save(1, TREE)

    def test_of_deleting(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with CheckpointManager(tmp_path, keep_last=1, asynchronous=False) as manager:
            manager.save(1, TREE)
            monkeypatch.setattr(_place._Folder, "remove", self.refuse)
            with pytest.raises(RunError, match=r"step-000000001\.zip` could not be deleted: Read"):
                manager.save(2, TREE)
            assert steps_of(manager) == [1, 2]
            monkeypatch.undo()
            manager.save(3, TREE)
            assert steps_of(manager) == [3]

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(RunError, match=r"Lock file `.*\.lock` could not be written"):
            CheckpointManager(tmp_path / "file")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"every_epochs": 0}, "`every_epochs` must be at least 1, but is 0"),
            ({"keep_last": 0}, "`keep_last` must be at least 1, but is 0"),
            ({"keep_every": 0}, "`keep_every` must be at least 1, but is 0"),
            ({"keep_best": -1}, "`keep_best` must be at least 1, but is -1"),
            ({"best_mode": "low"}, "`best_mode` must be one of 'min', 'max', but is 'low'"),
            ({"compression": "zip"}, "`compression` must be 'zstd' or None, but is 'zip'"),
        ],
    )
    def test_bad_settings(self, tmp_path: Path, options: Any, message: str) -> None:
        with pytest.raises(RunError, match=message):
            CheckpointManager(tmp_path, **options)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"epoch": -1}, "`epoch` must not be negative, but is -1"),
            ({"epoch": 1.5}, "`epoch` must be an integer, but is 1.5"),
            ({"metrics": {"a": "b"}}, "`metrics` must hold numbers, but is {'a': 'b'}"),
            ({"metadata": {"a": {1}}}, "`metadata` must hold JSON values, but Object of type set"),
        ],
    )
    def test_bad_saves(self, tmp_path: Path, options: Any, message: str) -> None:
        with CheckpointManager(tmp_path) as manager, pytest.raises(RunError, match=message):
            manager.save(1, TREE, **options)

    @staticmethod
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def info(step: int, epoch: int | None = None, keep: bool = False, **more: Any) -> CheckpointInfo:
    loss = more.pop("loss", None)
    metrics = {} if loss is None else {"val_loss": loss}
    return CheckpointInfo(step, epoch, metrics, keep, **more)


class TestRetention:
    def test_newest_best_marked_and_at_intervals(self, tmp_path: Path) -> None:
        losses = [9, 1, 8, 7, 3, 6, 5, 4]
        with CheckpointManager(tmp_path, keep_last=2, keep_every=4, keep_best=2) as manager:
            for epoch, loss in enumerate(losses, start=1):
                manager.save(
                    10 * epoch, TREE, epoch=epoch, metrics={"val_loss": loss}, keep=epoch == 3
                )
                manager.wait()
            assert steps_of(manager) == [20, 30, 40, 50, 70, 80]
            assert manager.restore("best").info.step == 20
            assert manager.restore(epoch=4).info.step == 40
            assert manager.restore("latest").info.step == 80

    def test_best_of_the_largest(self, tmp_path: Path) -> None:
        options: Any = {"best_metric": "accuracy", "best_mode": "max", "keep_last": 1}
        with CheckpointManager(tmp_path, **options) as manager:
            for step, accuracy in enumerate([0.3, 0.9, 0.9, float("nan"), 0.5]):
                manager.save(step, TREE, metrics={"accuracy": accuracy})
                manager.wait()
            assert steps_of(manager) == [1, 4]
            assert manager.restore("best").info.metrics == {"accuracy": 0.9}
        by_hand = load_checkpoint(tmp_path, "best", best_metric="accuracy", best_mode="max")
        assert by_hand.step == 1

    def test_goes_on_with_the_checkpoints_of_an_earlier_process(self, tmp_path: Path) -> None:
        with CheckpointManager(tmp_path) as manager:
            for step, loss in ((1, 0.1), (2, 0.5)):
                manager.save(step, TREE, metrics={"val_loss": loss}, keep=step == 2)
                manager.wait()
        with CheckpointManager(tmp_path, keep_last=1) as manager:
            for step in (3, 4):
                manager.save(step, TREE, metrics={"val_loss": 0.3})
                manager.wait()
            assert steps_of(manager) == [1, 2, 4]

    def test_damaged_ones_are_kept_and_do_not_count(self, tmp_path: Path) -> None:
        with CheckpointManager(tmp_path, keep_last=2) as manager:
            for step in (1, 2, 3):
                manager.save(step, TREE)
                manager.wait()
            os.truncate(tmp_path / "step-000000003.zip", 9)
            manager.save(4, TREE)
        with CheckpointManager(tmp_path, keep_last=2) as manager:
            manager.save(5, TREE)
            manager.wait()
            manager.save(6, TREE)
            manager.wait()
            assert steps_of(manager) == [3, 5, 6]
            with pytest.raises(RunError, match=r"step-000000003\.zip` is damaged"):
                manager.restore(3)

    @given(
        rows=st.lists(
            st.tuples(st.booleans(), st.none() | st.floats(), st.none() | st.integers(0, 9)),
            max_size=12,
        ),
        last=st.integers(1, 4),
        every=st.none() | st.integers(1, 4),
        best=st.integers(0, 3),
        mode=st.sampled_from(["min", "max"]),
    )
    def test_against_the_plain_rules(
        self, rows: Any, last: int, every: int | None, best: int, mode: Any
    ) -> None:
        infos = [
            info(step, epoch, keep, loss=loss) for step, (keep, loss, epoch) in enumerate(rows)
        ]
        doomed = Retention(last, every, best, "val_loss", mode).doomed(infos)
        sign = -1 if mode == "max" else 1

        def better_than(one: CheckpointInfo) -> int:
            value = sign * one.metrics["val_loss"]
            finite = [
                other for other in infos if np.isfinite(other.metrics.get("val_loss", np.nan))
            ]
            return sum((sign * o.metrics["val_loss"], o.step) < (value, one.step) for o in finite)

        for one in infos:
            is_best = np.isfinite(one.metrics.get("val_loss", np.nan)) and better_than(one) < best
            is_new = one.step >= len(infos) - last
            at_interval = every is not None and one.epoch is not None and one.epoch % every == 0
            stays = one.keep or is_best or is_new or at_interval
            assert (one.step in doomed) == (not stays)

    @pytest.mark.parametrize("size", [2, 200_000])
    def test_one_that_somebody_else_deleted_is_no_error(self, tmp_path: Path, size: int) -> None:
        with CheckpointManager(tmp_path, keep_last=1, asynchronous=False) as manager:
            manager.save(1, {"a": np.zeros(size)})
            manager._place.remove(1)
            manager.save(2, {"a": np.zeros(size)})
            assert steps_of(manager) == [2]

    def test_one_with_a_problem_is_never_deleted(self) -> None:
        infos = [info(1, problem="damaged"), info(2), info(3), info(4, problem="damaged")]
        assert Retention(1, None, 0, "val_loss", "min").doomed(infos) == [2]


CHILD = """
import sys, time
from qjax.storage._manager import CheckpointManager
manager = CheckpointManager(sys.argv[1])
print("open", flush=True)
time.sleep(60)
"""


FORKING = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
from qjax.storage._manager import CheckpointManager
manager = CheckpointManager(sys.argv[1])
if os.fork() == 0:
    print(os.getpid(), flush=True)
signal.pause()
"""


class TestRemoveAfter:
    def test_later_ones_go_whatever_keeps_them(self, tmp_path: Path) -> None:
        with CheckpointManager(tmp_path, keep_last=9) as manager:
            for step in range(1, 6):
                manager.save(step, TREE, metrics={"val_loss": 1 / step}, keep=step == 4)
                manager.wait()
            manager.save(6, TREE)  # perhaps not written yet
            manager.remove_after(3)
            assert manager.steps() == [1, 2, 3]
            assert manager.restore("best").info.step == 3
            manager.save(4, {**TREE, "step": np.int32(9)})
            manager.wait()
            assert manager.restore(like=TREE).tree["step"] == 9
            manager.save(5, {"large": np.zeros(200_000)})
            manager.remove_after(0)
            assert manager.steps() == []

    def test_the_last_goes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        order = []
        remove = _place._Folder.remove

        def recorded(place: Any, step: int) -> None:
            order.append(step)
            remove(place, step)

        monkeypatch.setattr(_place._Folder, "remove", recorded)
        with CheckpointManager(tmp_path, keep_last=9, asynchronous=False) as manager:
            for step in range(1, 6):
                manager.save(step, TREE)
            manager.remove_after(2)
        assert order == [5, 4, 3]


class TestOneWriter:
    def test_the_second_gets_an_error_that_names_the_first(self, tmp_path: Path) -> None:
        with (
            CheckpointManager(tmp_path),
            pytest.raises(RunError, match=rf"process {os.getpid()} on \S+ holds the lock on `.*"),
        ):
            CheckpointManager(tmp_path)
        CheckpointManager(tmp_path).close()

    def test_also_between_processes_and_until_a_kill(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout is not None and child.stdout.readline() == "open\n"
                with pytest.raises(RunError, match=f"process {child.pid} on .*Wait until it ends"):
                    CheckpointManager(tmp_path)
                assert list_checkpoints(tmp_path) == []  # readers need no lock
            finally:
                child.kill()
        CheckpointManager(tmp_path).close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_fork_does_not_hold_it(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", FORKING, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            try:
                with pytest.raises(RunError, match=f"process {parent.pid} on"):
                    CheckpointManager(tmp_path)
                parent.kill()
                parent.wait()
                CheckpointManager(tmp_path).close()
            finally:
                os.kill(child, signal.SIGKILL)

    def test_without_a_name_in_the_file(self, tmp_path: Path) -> None:
        with CheckpointManager(tmp_path):
            os.truncate(tmp_path / ".lock", 0)
            with pytest.raises(RunError, match="one writer, but another one holds the lock on"):
                CheckpointManager(tmp_path)
