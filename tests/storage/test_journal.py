"""Rows that are safe on disk before they are in a part."""

import base64
import errno
import json
import math
import os
import shutil
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from qjax.errors import RunError
from qjax.storage import _journal, dropped_rows, read_metrics, truncate_metrics
from qjax.storage._folder import _LocalFolder
from qjax.storage._journal import JOURNAL
from qjax.storage._metrics import MetricParts
from tests.storage.test_buffer import open_logger, row, steps, wait_for
from tests.storage.test_metrics import GOLDEN, READERS

EXACT = {
    "epoch": 3,
    "step": 2**40,
    "timestamp": datetime(2026, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=5.5))),
    "train_loss": 0.1 + 0.2,
    "val_loss": float("inf"),
    "grad_norm": float("-inf"),
    "grad_max": 5e-324,
    "grad_min": -0.0,
    "circuits_executed": np.int64(32),
    "batch_time_ms": None,
    "qubits_used": 2**62 + 1,
    "backend": 'Ünïcode\n"\u2028\0',
    "cost_usd": jnp.float32(0.1),
    "credits_used": True,
    "rate": jnp.bfloat16(0.1),
    "half": np.float16(0.1),
    "whole": 2**53,
    "note": "nan",
    "grad_norm/ä": np.array(0.1),
}


def journal(folder: Path) -> Path:
    return folder / "metrics" / JOURNAL


def committed(folder: Path) -> list[int]:
    """The rows in the parts alone."""
    names = sorted((folder / "metrics").glob("*.parquet"))
    return [step for name in names for step in pq.read_table(name)["step"].to_pylist()]


def crashed(folder: Path) -> Path:
    """What is left of a run if its process is killed now."""
    copy = folder.with_name(f"{folder.name} {time.monotonic_ns()}")
    return shutil.copytree(folder, copy)


def line(step: int = 5, **changes: Any) -> bytes:
    """A line of a journal with one row, or what is left of it."""
    packed = base64.b64encode(struct.pack("<qq", 1, step)).decode()
    rows = [[["epoch", "step", "note"], 1]]
    content = {"rows": rows, "kinds": "qqs", "numbers": packed, "texts": ["a"]} | changes
    content = {name: each for name, each in content.items() if each is not None}
    return f"{json.dumps(content)}\n".encode()


CHANGES: tuple[dict[str, Any], ...] = (
    {"numbers": "AQAAAAAAAAA="},
    {"numbers": "AQAAAAAAAAA"},
    {"numbers": None},
    {"texts": []},
    {"texts": 7},
    {"more": 1},
    {"rows": 1},
    {"rows": [7]},
    {"rows": [[["epoch", "note"], 1]]},
    {"rows": [[["epoch", "step", "note"], "1"]]},
    {"rows": [[["epoch", "step", "note", "rate"], 1]]},
    {"rows": [[["epoch", "step", "\ud800"], 1]]},
    {"kinds": "qq"},
    {"kinds": "q?!"},
    {"kinds": "sqq"},
    {"kinds": 3},
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was killed with rows 1 and 2 in a part and 3 and 4 in the journal."""
    with open_logger(tmp_path / "run") as metrics:
        for step in (1, 2):
            metrics.log(row(step))
        metrics.flush()
        for step in (3, 4):
            metrics.log(row(step))
            metrics.sync()
        return crashed(tmp_path / "run")


class TestSync:
    def test_rows_are_read_at_once_and_in_a_part_after_the_next_commit(
        self, tmp_path: Path
    ) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.log(row(1))
            metrics.sync()
            metrics.sync()
            metrics.log(row(2))
            metrics.sync()
            assert (steps(tmp_path), committed(tmp_path)) == ([1, 2], [])
            metrics.flush()
            assert (steps(tmp_path), committed(tmp_path)) == ([1, 2], [1, 2])
            assert not journal(tmp_path).exists()
            metrics.log(row(3))
            metrics.sync()
            assert (steps(tmp_path), committed(tmp_path)) == ([1, 2, 3], [1, 2])
        assert committed(tmp_path) == [1, 2, 3]
        assert set(os.listdir(tmp_path / "metrics")) == {".lock", "part-000000.parquet"}

    def test_a_line_is_appended_and_no_part_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.log(row(1))
            metrics.flush()

            def refuse(*_: object) -> None:
                raise AssertionError

            with monkeypatch.context() as patch:
                patch.setattr(_LocalFolder, "write", refuse)
                for step in (2, 3):
                    before = journal(tmp_path).read_bytes() if step > 2 else b""
                    metrics.log(row(step))
                    metrics.sync()
                    assert journal(tmp_path).read_bytes().startswith(before)
        assert steps(tmp_path) == [1, 2, 3]

    def test_is_on_disk_before_it_returns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[str] = []
        sync = os.fsync

        def noted(descriptor: int) -> None:
            synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
            sync(descriptor)

        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("no names of open files")
        with open_logger(tmp_path) as metrics:
            monkeypatch.setattr(os, "fsync", noted)
            for step in (1, 2):
                metrics.log(row(step))
                metrics.sync()
            assert synced == [JOURNAL, "metrics", JOURNAL]

    def test_commits_come_as_without_it(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, part_rows=3) as metrics:
            for step in (1, 2):
                metrics.log(row(step))
                metrics.sync()
            metrics.log(row(3))
            wait_for(lambda: committed(tmp_path) == [1, 2, 3])

    def test_rows_hold_their_room_until_they_are_committed(self, tmp_path: Path) -> None:
        with open_logger(tmp_path, capacity=2, part_rows=9) as metrics:
            for step in (1, 2, 3):
                metrics.log(row(step))
                metrics.sync()
                if step == 2:
                    wait_for(lambda: committed(tmp_path) == [1, 2])
                    wait_for(lambda: not metrics._buffer.peek())  # a moment after the commit
        assert (steps(tmp_path), metrics.dropped) == ([1, 2, 3], 0)

    def test_sinks_get_each_row_once_with_its_commit(self, tmp_path: Path) -> None:
        seen = []

        class Sink:
            def write(self, row: Any) -> None:
                seen.append(row["step"])

        with open_logger(tmp_path, sinks=[Sink()]) as metrics:
            metrics.log(row(1))
            metrics.sync()
            metrics.log(row(2))
            assert seen == []
            metrics.flush()
            assert seen == [1, 2]

    def test_is_observed(self, tmp_path: Path) -> None:
        spans: list[tuple[float, float]] = []
        with open_logger(tmp_path, observe=lambda *span: spans.append(span)) as metrics:
            metrics.sync()
            assert spans == []
            metrics.log(row(1))
            metrics.sync()
            ((begin, end),) = spans
            assert begin < end

    def test_a_row_that_could_not_be_computed_is_left_out_and_told(self, tmp_path: Path) -> None:
        class Failed:
            dtype, shape = jnp.dtype("float32"), ()

            def __float__(self) -> float:
                raise ValueError("out of memory")

        metrics = open_logger(tmp_path)
        for step in (1, 2, 3):
            metrics.log(row(step, train_loss=Failed() if step == 2 else 0.5))
        metrics.sync()
        assert steps(tmp_path) == [1, 3]
        with pytest.raises(RunError, match="epoch 1, step 2 is lost: out of memory"):
            metrics.close()
        assert steps(tmp_path) == [1, 3]
        assert dropped_rows(read_metrics(tmp_path)) == 1

    def test_a_row_that_is_safe_stays_as_it_is(self, tmp_path: Path) -> None:
        scalar = jnp.float32(0.5) * 1
        with open_logger(tmp_path) as metrics:
            metrics.log(row(1, train_loss=scalar))
            metrics.sync()
            scalar.delete()
        assert read_metrics(tmp_path)["train_loss"].to_pylist() == [0.5]

    def test_on_an_object_store_it_commits(self) -> None:
        url = f"memory://{time.monotonic_ns()}/run"
        with open_logger(url) as metrics:
            for step in (1, 2):
                metrics.log(row(step))
                metrics.sync()
                assert steps(url) == list(range(1, step + 1))

    @pytest.mark.parametrize("reader", READERS)
    def test_other_readers_pass_over_it(
        self, run: Path, reader: Callable[[Path], list[int]]
    ) -> None:
        assert journal(run).exists()
        assert sorted(reader(run / "metrics")) == [1, 2]


class TestReplay:
    def test_the_next_writer_commits_it(self, run: Path) -> None:
        assert steps(run) == [1, 2, 3, 4]
        open_logger(run).close()
        assert committed(run) == steps(run) == [1, 2, 3, 4]
        assert not journal(run).exists()

    def test_values_are_those_without_a_journal(self, tmp_path: Path) -> None:
        folders = [tmp_path / name for name in ("synced", "flushed")]
        for folder in folders:
            with open_logger(folder) as metrics:
                metrics.log(EXACT)
                metrics.log({**row(2), "val_loss": float("nan"), "timestamp": EXACT["timestamp"]})
                if folder.name == "flushed":
                    continue
                metrics.sync()
                killed = crashed(folder)
                before = read_metrics(killed)
                open_logger(killed).close()
        after, expected = read_metrics(killed), read_metrics(folders[1])
        for table in (before, after):
            assert table.schema == expected.schema
            assert repr(table.to_pylist()) == repr(expected.to_pylist())
        values = expected.to_pylist()
        assert values[0]["train_loss"] == 0.1 + 0.2
        assert math.copysign(1, values[0]["grad_min"]) == -1
        assert math.isnan(values[1]["val_loss"])
        assert values[0]["timestamp"] == EXACT["timestamp"].astimezone(UTC)

    def test_behind_a_full_part(self, run: Path) -> None:
        parts = MetricParts(run, part_rows=2)
        parts.close()
        assert len(list((run / "metrics").glob("*.parquet"))) == 2
        assert committed(run) == [1, 2, 3, 4]

    def test_a_stale_one_is_in_a_part_already(self, run: Path) -> None:
        content = journal(run).read_bytes()
        open_logger(run).close()
        journal(run).write_bytes(content)  # as if killed before its removal
        assert steps(run) == [1, 2, 3, 4]
        open_logger(run).close()
        assert committed(run) == [1, 2, 3, 4]
        assert not journal(run).exists()

    def test_free_columns_keep_their_kind(self, tmp_path: Path) -> None:
        with open_logger(tmp_path / "run") as metrics:
            metrics.log(row(1, note="a", rate=1))
            metrics.sync()
            killed = crashed(tmp_path / "run")
        with (
            open_logger(killed) as metrics,
            pytest.raises(RunError, match="Column `note` of `row` must hold a string, but holds 3"),
        ):
            metrics.log(row(2, note=3))

    @pytest.mark.parametrize(
        "tail",
        [
            b'[{"epoch":1,"step":5}',
            b'[{"epoch":1,"step":5}]',
            b'[{"epoch":1,"step":5}\n[{"epoch":1,"step":6}]\n',
            b'\0\0\0\0\n[{"epoch":1,"step":6}]\n',
            b'\xff\xfe\n[{"epoch":1,"step":6}]\n',
            b'[1]\n[{"epoch":1,"step":6}]\n',
            b'7\n[{"epoch":1,"step":6}]\n',
            b'{"epoch":1,"step":5}\n[{"epoch":1,"step":6}]\n',
            b'[{"epoch":1,"step":"five"}]\n[{"epoch":1,"step":6}]\n',
            b'[{"epoch":1,"step":5,"timestamp":3}]\n[{"epoch":1,"step":6}]\n',
            b'[{"epoch":1}]\n[{"epoch":1,"step":6}]\n',
            *(line(**change) + line(6) for change in CHANGES),
            b"[" * 200_000 + b"\n" + line(6),
            b'{"rows":' * 50_000 + b"\n" + line(6),
        ],
    )
    def test_from_a_torn_line_on_nothing_is_read(self, run: Path, tail: bytes) -> None:
        with open(journal(run), "ab") as file:
            file.write(tail)
        assert steps(run) == [1, 2, 3, 4]
        open_logger(run).close()
        assert committed(run) == [1, 2, 3, 4]

    def test_a_line_is_read_as_it_is_written(self, run: Path) -> None:
        """What the changed lines above are made of."""
        with open(journal(run), "ab") as file:
            file.write(line(5) + line(6))
        assert steps(run) == [1, 2, 3, 4, 5, 6]
        assert read_metrics(run)["note"].to_pylist()[-2:] == ["a", "a"]

    @pytest.mark.parametrize("header", [b"[" * 200_000, b"7", b'{"version":"2"}', b"{}"])
    def test_with_another_first_line_there_is_nothing(self, run: Path, header: bytes) -> None:
        journal(run).write_bytes(header + b"\n" + line(5))
        assert steps(run) == [1, 2]

    def test_many_rows_in_one_line(self, tmp_path: Path) -> None:
        with open_logger(tmp_path / "run") as metrics:
            for step in range(1, 2_001):
                metrics.log(row(step))
            metrics.sync()
            killed = crashed(tmp_path / "run")
        assert steps(killed) == list(range(1, 2_001))

    @pytest.mark.parametrize("length", [0, 10])
    def test_without_a_whole_header_there_is_nothing(self, run: Path, length: int) -> None:
        os.truncate(journal(run), length)
        assert steps(run) == [1, 2]
        open_logger(run).close()
        assert committed(run) == [1, 2]

    def test_newer_format(self, run: Path) -> None:
        content = journal(run).read_bytes()
        journal(run).write_bytes(content.replace(b'"version":2', b'"version":9'))
        for call in (read_metrics, open_logger, open_logger):  # the lock is let go of
            with pytest.raises(RunError, match=rf"{JOURNAL}` has format 9, but .* up to 2. Update"):
                call(run)

    def test_one_that_may_not_be_read(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read = _LocalFolder.read

        def refuse(folder: Any, name: str) -> bytes:
            if name == JOURNAL:
                raise PermissionError(errno.EACCES, "Permission denied")
            return read(folder, name)

        monkeypatch.setattr(_LocalFolder, "read", refuse)
        with pytest.raises(RunError, match=f"{JOURNAL}` could not be read: Permission denied"):
            read_metrics(run)

    @pytest.mark.parametrize("version", [1, 2])
    def test_of_the_version_that_wrote_it_first(self, tmp_path: Path, version: int) -> None:
        folder = shutil.copytree(GOLDEN / f"metrics-journal-v{version}", tmp_path / "run")
        before = read_metrics(folder)
        assert before["step"].to_pylist() == [1, 2, -1]
        assert before["rate"].to_pylist() == [0.1, None, float("inf")]
        assert before["note"].to_pylist() == [None, "warm-up", None]
        assert before["timestamp"][1].as_py() == datetime(2026, 1, 2, 3, 4, 6, 5, UTC)
        open_logger(folder).close()
        assert repr(read_metrics(folder).to_pylist()) == repr(before.to_pylist())
        assert committed(folder) == [1, 2, -1]


class TestTruncate:
    def test_what_is_in_the_journal_is_cut_as_well(self, run: Path) -> None:
        truncate_metrics(run, 0, last_step=3)
        assert committed(run) == steps(run) == [1, 2, 3]
        assert not journal(run).exists()

    def test_before_there_is_a_part(self, tmp_path: Path) -> None:
        with open_logger(tmp_path / "run") as metrics:
            for step in (1, 2):
                metrics.log(row(step))
            metrics.sync()
            killed = crashed(tmp_path / "run")
        truncate_metrics(killed, 0, last_step=1)
        assert committed(killed) == steps(killed) == [1]

    def test_with_the_logger_open(self, run: Path) -> None:
        with open_logger(run) as metrics:
            metrics.log(row(5))
            metrics.sync()
            metrics.truncate(0, 2)
            assert steps(run) == committed(run) == [1, 2]
            metrics.log(row(3, train_loss=0.5))
            metrics.sync()
            assert steps(run) == [1, 2, 3]
        assert read_metrics(run)["train_loss"].to_pylist() == [None, None, 0.5]

    def test_a_stale_one_goes_before_the_parts_are_cut(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = journal(run).read_bytes()
        open_logger(run).close()
        journal(run).write_bytes(content)
        order: list[str] = []

        def noting(name: str) -> Callable[..., None]:
            call = getattr(_LocalFolder, name)

            def noted(folder: Any, file: str, *more: Any) -> None:
                order.append(f"{name} {file}")
                call(folder, file, *more)

            return noted

        for name in ("write", "remove"):
            monkeypatch.setattr(_LocalFolder, name, noting(name))
        truncate_metrics(run, 0, last_step=2)
        assert order == [f"remove {JOURNAL}", "write part-000000.parquet"]
        assert steps(run) == [1, 2]


class TestFailure:
    """While rows cannot be written they stay in memory; no later row stands behind half a line."""

    @staticmethod
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def test_is_an_error_and_the_next_one_commits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = _journal.write_and_sync

        def half(file: Any, content: bytes) -> None:
            write(file, content[: len(content) // 2])
            self.refuse()

        with open_logger(tmp_path) as metrics:
            metrics.log(row(1))
            metrics.sync()
            metrics.log(row(2))
            monkeypatch.setattr(_journal, "write_and_sync", half)
            message = rf"{JOURNAL}` could not be written: No space left on device\. Free some"
            with pytest.raises(RunError, match=message) as raised:
                metrics.sync()
            assert raised.value.errno == errno.ENOSPC
            assert steps(tmp_path) == [1]
            metrics.log(row(3))
            metrics.sync()
            assert committed(tmp_path) == [1, 2, 3]
            monkeypatch.undo()
            metrics.log(row(4))
            metrics.sync()
            assert (steps(tmp_path), committed(tmp_path)) == ([1, 2, 3, 4], [1, 2, 3])

    def test_after_a_commit_that_failed_nobody_knows_how_far_the_parts_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_logger(tmp_path / "run") as metrics:
            metrics.log(row(1))
            metrics.sync()
            with monkeypatch.context() as patch:  # after the rename
                patch.setattr("qjax.storage._files.sync_folder", self.refuse)
                with pytest.raises(RunError, match="No space left"):
                    metrics.flush()
            metrics.log(row(2))
            metrics.sync()
            killed = crashed(tmp_path / "run")
        assert steps(killed) == [1, 2]
        open_logger(killed).close()
        assert steps(killed) == [1, 2]

    def test_one_that_cannot_be_removed_is_stale(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_logger(tmp_path / "run") as metrics:
            metrics.log(row(1))
            metrics.sync()
            with monkeypatch.context() as patch:
                patch.setattr(_LocalFolder, "remove", self.refuse)
                metrics.flush()
            assert steps(tmp_path / "run") == [1]
            metrics.log(row(2))
            metrics.sync()
            killed = crashed(tmp_path / "run")
        assert steps(killed) == [1, 2]
