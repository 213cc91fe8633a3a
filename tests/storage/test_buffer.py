import errno
import gc
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from qjax.errors import RunError
from qjax.storage import _logger, read_metrics
from qjax.storage._buffer import AsyncBuffer
from qjax.storage._logger import AsyncMetricsLogger, AsyncMetricsWriter
from qjax.storage._metrics import MetricParts, dropped_rows
from qjax.storage._schema import TrainingMetrics
from qjax.storage._tensorboard import TensorBoardSink

FOREVER = 1e9
AT_ONCE = 1e-3
PATIENCE = 60.0  # for what happens in a moment on an idle machine


def row(step: int, **more: Any) -> dict[str, Any]:
    return {"epoch": 1, "step": step, **more}


def steps(folder: Path | str) -> list[int]:
    return read_metrics(folder)["step"].to_pylist()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def open_logger(folder: Path | str, **options: Any) -> AsyncMetricsLogger:
    return AsyncMetricsLogger(folder, **{"flush_seconds": FOREVER, "hardware": False, **options})


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Fills the disk until it is called."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("qjax.storage._files.os.replace", refuse)
    return monkeypatch.undo


class TestBuffer:
    def test_first_in_first_out(self) -> None:
        buffer: AsyncBuffer[int] = AsyncBuffer(10)
        assert all(buffer.put(item) for item in range(5))
        assert buffer.take() == [0, 1, 2, 3, 4]
        buffer.done()
        assert buffer.take() == []

    def test_room_is_held_until_done(self) -> None:
        buffer: AsyncBuffer[int] = AsyncBuffer(3)
        for item in range(3):
            buffer.put(item)
        assert buffer.take() == [0, 1, 2]
        assert not buffer.put(3)
        assert (len(buffer), buffer.dropped) == (3, 1)
        buffer.done()
        assert buffer.put(4)
        assert (len(buffer), buffer.dropped) == (1, 1)

    def test_what_is_not_done_comes_again_and_first(self) -> None:
        buffer: AsyncBuffer[int] = AsyncBuffer(10)
        buffer.put(1)
        buffer.take()
        buffer.put(2)
        assert buffer.take() == [1, 2]

    def test_what_comes_after_take_is_not_done(self) -> None:
        buffer: AsyncBuffer[int] = AsyncBuffer(10)
        buffer.put(1)
        buffer.take()
        buffer.put(2)
        buffer.done()
        assert buffer.take() == [2]

    def test_wait_ends_when_enough_wait(self) -> None:
        buffer: AsyncBuffer[int] = AsyncBuffer(10, wake_at=2)
        waiter = threading.Thread(target=buffer.wait, args=(FOREVER,), daemon=True)
        waiter.start()
        buffer.put(1)
        assert waiter.is_alive()
        buffer.put(2)
        waiter.join(PATIENCE)
        assert not waiter.is_alive()

    def test_wait_ends_on_wake_also_when_it_comes_first(self) -> None:
        buffer: AsyncBuffer[int] = AsyncBuffer(10)
        buffer.wake()
        buffer.wait(FOREVER)

    def test_many_threads_lose_nothing(self) -> None:
        buffer: AsyncBuffer[tuple[int, int]] = AsyncBuffer(50, wake_at=10)
        taken: list[tuple[int, int]] = []
        refused = [0] * 4

        def produce(number: int) -> None:
            for item in range(2000):
                refused[number] += not buffer.put((number, item))

        producers = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
        for producer in producers:
            producer.start()
        while any(producer.is_alive() for producer in producers):
            buffer.wait(AT_ONCE)
            taken += buffer.take()
            buffer.done()
        taken += buffer.take()
        assert len(taken) + buffer.dropped == 8000
        assert buffer.dropped == sum(refused)
        for number in range(4):
            mine = [item for thread, item in taken if thread == number]
            assert mine == sorted(set(mine))

    def test_never_holds_more_than_its_capacity(self) -> None:
        class Item:
            pass

        buffer: AsyncBuffer[Item] = AsyncBuffer(10)
        for _ in range(1000):
            buffer.put(Item())
        gc.collect()
        assert sum(isinstance(thing, Item) for thing in gc.get_objects()) == 10

    @pytest.mark.parametrize("capacity", [0, -1, 1.5])
    def test_capacity(self, capacity: Any) -> None:
        with pytest.raises(RunError, match="Argument `capacity` must be (at least 1|an integer), "):
            AsyncBuffer(capacity)


class TestLogger:
    def test_close_drains_everything(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            for step in range(1, 101):
                metrics.log(row(step, train_loss=1 / step))
            assert steps(tmp_path) == []
        assert steps(tmp_path) == list(range(1, 101))
        assert metrics.dropped == dropped_rows(read_metrics(tmp_path)) == 0

    def test_rows_of_the_dataclass(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            norms = {"angles": 0.5, "linear": 0.25}
            metrics.log(
                TrainingMetrics(
                    epoch=1, step=2, backend="simulator", gradient_norms=norms, free={"rate": 0.1}
                )
            )
        (read,) = read_metrics(tmp_path).to_pylist()
        assert read["timestamp"] is not None
        assert (read["backend"], read["rate"]) == ("simulator", 0.1)
        assert (read["grad_norm/angles"], read["grad_norm/linear"]) == (0.5, 0.25)

    def test_it_is_a_sink(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.write(row(1))
        assert steps(tmp_path) == [1]

    def test_commits_after_so_long(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, flush_seconds=AT_ONCE) as metrics:
            metrics.log(row(1))
            wait_for(lambda: steps(tmp_path) == [1])

    def test_commits_when_a_part_is_full(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, part_rows=3) as metrics:
            for step in range(1, 4):
                metrics.log(row(step))
            wait_for(lambda: steps(tmp_path) == [1, 2, 3])

    def test_flush_waits_for_the_commit(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.log(row(1))
            metrics.flush()
            assert steps(tmp_path) == [1]
            metrics.flush()

    def test_flush_from_many_threads_commits_each_row_once(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, flush_seconds=AT_ONCE, part_rows=50) as metrics:

            def log_and_flush(first: int) -> None:
                for step in range(first, first + 100):
                    metrics.log(row(step))
                    if step % 20 == 0:
                        metrics.flush()

            threads = [threading.Thread(target=log_and_flush, args=(n,)) for n in (1, 101, 201)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
        assert sorted(steps(tmp_path)) == list(range(1, 301))

    def test_a_second_logger_goes_on(self, tmp_path: Path) -> None:
        for step in (1, 2):
            with open_logger(tmp_path) as metrics:
                metrics.log(row(step))
        assert steps(tmp_path) == [1, 2]

    def test_on_an_object_store(self) -> None:
        url = f"memory://{time.monotonic_ns()}/run"
        with open_logger(url) as metrics:
            metrics.log(row(1))
        assert steps(url) == [1]

    def test_after_close(self, tmp_path: Path) -> None:
        metrics = open_logger(tmp_path)
        metrics.close()
        metrics.close()
        with pytest.raises(RunError, match="cannot be logged after `close`. Open another"):
            metrics.log(row(1))

    def test_a_program_that_forgets_to_close(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_exit = []
        monkeypatch.setattr(_logger.atexit, "register", at_exit.append)
        metrics = open_logger(tmp_path)
        metrics.log(row(1))
        (close,) = at_exit
        close()
        assert steps(tmp_path) == [1]

    def test_a_row_that_does_not_fit_is_refused_at_once(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            with pytest.raises(RunError, match="Column `train_loss` of `row` must hold a number"):
                metrics.log(row(1, train_loss="low"))
            metrics.log(row(2))
        assert steps(tmp_path) == [2]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"flush_seconds": 0}, "`flush_seconds` must be positive, but is 0"),
            ({"flush_seconds": float("nan")}, "`flush_seconds` must be positive, but is nan"),
            ({"capacity": 0}, "`capacity` must be at least 1, but is 0"),
            ({"part_rows": 0}, "`part_rows` must be at least 1, but is 0"),
        ],
    )
    def test_settings(self, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(RunError, match=message):
            open_logger(tmp_path, **options)
        assert list(tmp_path.iterdir()) == []


class TestDevice:
    def test_arrays_are_fetched_in_the_background(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.log(row(1, train_loss=jnp.float32(0.5), rate=jnp.bfloat16(2)))
        (read,) = read_metrics(tmp_path).to_pylist()
        assert (read["train_loss"], read["rate"]) == (0.5, 2.0)

    def test_an_array_that_could_not_be_computed_costs_its_row_alone(self, tmp_path: Path) -> None:
        class Failed:
            dtype, shape = jnp.dtype("float32"), ()

            def __float__(self) -> float:
                raise ValueError("out of memory on the device")

        metrics = open_logger(tmp_path)
        for step in range(1, 4):
            metrics.log(row(step, train_loss=Failed() if step == 2 else 0.5))
        with pytest.raises(RunError, match="epoch 1, step 2 is lost: out of memory on the device"):
            metrics.close()
        assert steps(tmp_path) == [1, 3]
        assert dropped_rows(read_metrics(tmp_path)) == 1

    def test_hardware_stands_in_the_last_row_of_a_commit(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, hardware=True) as metrics:
            for step in (1, 2):
                metrics.log(row(step))
            metrics.flush()
            metrics.log(row(3, cpu_percent=12.5))
        first, second, third = read_metrics(tmp_path).to_pylist()
        assert first["memory_mb"] is first["cpu_percent"] is None
        assert second["memory_mb"] > 1 and second["cpu_percent"] >= 0
        assert third["memory_mb"] > 1 and third["cpu_percent"] == 12.5
        assert third["device_memory_mb"] is None  # a processor does not tell

    def test_device_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qjax.storage import _hardware

        class Device:
            def memory_stats(self) -> dict[str, int]:
                return {"bytes_in_use": 3_000_000}

        monkeypatch.setattr(_hardware.jax, "local_devices", lambda: [Device(), Device()])
        assert _hardware.HardwareMeter()()["device_memory_mb"] == 6.0


class TestDropped:
    def test_counted_told_once_and_kept(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, full_disk: Callable[[], None]
    ) -> None:
        metrics = open_logger(tmp_path, capacity=10)
        for step in range(1, 16):
            with_error(metrics.log, row(step))
        assert metrics.dropped == 5
        full_disk()
        with caplog.at_level(logging.WARNING, "qjax.storage"):
            metrics.flush()
            metrics.log(row(16))
            metrics.close()
        assert steps(tmp_path) == [*range(1, 11), 16]
        assert dropped_rows(read_metrics(tmp_path)) == 5
        (record,) = caplog.records
        assert "rows are dropped while 10 wait" in record.getMessage()

    def test_read_back_and_dropped_are_what_was_logged(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, capacity=7, part_rows=5, flush_seconds=AT_ONCE) as metrics:
            for step in range(1, 20_001):
                metrics.log(row(step))
        table = read_metrics(tmp_path)
        assert table.num_rows + dropped_rows(table) == 20_000
        assert metrics.dropped == dropped_rows(table)
        read = table["step"].to_pylist()
        assert read == sorted(set(read))


def with_error(function: Callable[..., Any], *arguments: Any) -> str | None:
    """Calls a function; returns the text of the `RunError` that it raises, if it does."""
    try:
        function(*arguments)
    except RunError as error:
        return str(error)
    return None


class TestFailure:
    """While rows cannot be written they stay in memory, and whoever logs is told."""

    def test_surfaces_at_the_next_log_which_keeps_its_row(
        self, tmp_path: Path, full_disk: Callable[[], None]
    ) -> None:
        metrics = open_logger(tmp_path, flush_seconds=AT_ONCE)
        told: list[str] = []
        step = 0

        def log() -> bool:
            nonlocal step
            step += 1
            message = with_error(metrics.log, row(step))
            told.extend([message] if message else [])
            return len(told) == 2  # commits are tried again, and again fail

        wait_for(log)
        for message in told:
            assert "part-000000.parquet` could not be written: No space left on device." in message
            assert "Free some space" in message
            assert message.endswith("rows of metrics wait in memory.")
        full_disk()
        wait_for(lambda: steps(tmp_path) == list(range(1, step + 1)))
        metrics.close()
        assert steps(tmp_path) == list(range(1, step + 1))

    def test_surfaces_at_close_which_can_be_called_again(
        self, tmp_path: Path, full_disk: Callable[[], None]
    ) -> None:
        metrics = open_logger(tmp_path)
        metrics.log(row(1))
        with pytest.raises(RunError, match="No space left on device") as raised:
            metrics.close()
        assert raised.value.errno == errno.ENOSPC
        full_disk()
        metrics.close()
        assert steps(tmp_path) == [1]

    def test_surfaces_at_flush(self, tmp_path: Path, full_disk: Callable[[], None]) -> None:
        metrics = open_logger(tmp_path)
        metrics.log(row(1))
        with pytest.raises(RunError, match="No space left on device"):
            metrics.flush()
        full_disk()
        metrics.close()

    def test_does_not_hide_why_a_block_ended(
        self, tmp_path: Path, full_disk: Callable[[], None]
    ) -> None:
        metrics = open_logger(tmp_path)

        def interrupted() -> None:
            with metrics:
                metrics.log(row(1))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as raised:
            interrupted()
        (note,) = raised.value.__notes__
        assert "No space left on device" in note
        full_disk()
        metrics.close()

    def test_is_raised_out_of_a_block_that_ended_well(
        self, tmp_path: Path, full_disk: Callable[[], None]
    ) -> None:
        metrics = open_logger(tmp_path)
        with pytest.raises(RunError, match="No space left"), metrics:
            metrics.log(row(1))
        full_disk()
        metrics.close()

    def test_is_forgotten_once_a_commit_succeeds(
        self, tmp_path: Path, full_disk: Callable[[], None]
    ) -> None:
        metrics = open_logger(tmp_path, part_rows=1)
        metrics.log(row(1))
        wait_for(lambda: metrics._writer._failure is not None)
        full_disk()
        metrics.flush()
        metrics.log(row(2))
        metrics.close()
        assert steps(tmp_path) == [1, 2]


class ListSink:
    def __init__(self, fails_at: int = 0) -> None:
        self.rows: list[Any] = []
        self.fails_at = fails_at

    def write(self, row: Any) -> None:
        if row["step"] == self.fails_at:
            raise ValueError("pipe closed")
        self.rows.append(row)


class TestSinks:
    def test_get_each_row_once_and_after_its_commit(self, tmp_path: Path) -> None:
        seen = []

        class Sink:
            def write(self, row: Any) -> None:
                seen.append((row["step"], row["train_loss"], row["step"] in steps(tmp_path)))

        with open_logger(tmp_path, sinks=[Sink()]) as metrics:
            metrics.log(row(1, train_loss=0.5))
            metrics.flush()
            metrics.log(row(2, train_loss=0.25))
        assert seen == [(1, 0.5, True), (2, 0.25, True)]

    def test_one_that_fails_is_told_of_and_harms_nobody(self, tmp_path: Path) -> None:
        broken, whole = ListSink(fails_at=1), ListSink()
        metrics = open_logger(tmp_path, sinks=[broken, whole])
        metrics.log(row(1))
        metrics.flush()
        with pytest.raises(RunError, match="Metrics sink ListSink failed, and missed rows: pipe"):
            metrics.log(row(2))
        metrics.close()
        assert [each["step"] for each in whole.rows] == steps(tmp_path) == [1, 2]

    def test_a_writer_of_ones_own(self, tmp_path: Path) -> None:
        buffer: AsyncBuffer[Any] = AsyncBuffer(10)
        sink = ListSink()
        writer = AsyncMetricsWriter(buffer, MetricParts(tmp_path), sinks=[sink])
        buffer.put(row(1))
        writer.close()
        assert steps(tmp_path) == [1]
        assert sink.rows == [row(1)]


class TestTensorBoard:
    def test_scalars_of_steps_and_epochs(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboardX")
        with (
            TensorBoardSink(tmp_path / "board") as board,
            open_logger(tmp_path, sinks=[board]) as metrics,
        ):
            metrics.log(row(7, train_loss=0.5, backend="simulator", rate=jnp.float32(0.25)))
            metrics.log({"epoch": 3, "step": -1, "train_loss": 0.125, "val_loss": None})
        assert read_scalars(tmp_path / "board") == [
            ("train_loss", 7, 0.5),
            ("rate", 7, 0.25),
            ("epoch/train_loss", 3, 0.125),
        ]

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qjax.storage._tensorboard.find_spec", lambda _: None)
        with pytest.raises(RunError, match=r"needs tensorboardX; install .*qjax-qml\[tensorboard"):
            TensorBoardSink(tmp_path)


def read_scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Reads an event file: records of length, checksum, event, checksum."""
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    (file,) = folder.iterdir()
    content, found, at = file.read_bytes(), [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 8], "little")
        event = events.Event.FromString(content[at + 12 : at + 12 + size])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + size
    return found
