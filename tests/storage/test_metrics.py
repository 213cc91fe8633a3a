import dataclasses
import errno
import os
import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from qjax.errors import RunError
from qjax.storage import (
    METRICS_SCHEMA,
    METRICS_VERSION,
    AsyncMetricsLogger,
    _files,
    _metrics,
    read_metrics,
    truncate_metrics,
)
from qjax.storage._metrics import MetricParts, dropped_rows
from qjax.storage._schema import MetricColumns, TrainingMetrics

GOLDEN = Path(__file__).parents[1] / "golden"


def row(epoch: int, step: int) -> dict[str, float]:
    return {"epoch": epoch, "step": step, "train_loss": epoch + step / 8}


def open_logger(folder: Path | str) -> AsyncMetricsLogger:
    """One that commits when it is told to and at its end."""
    return AsyncMetricsLogger(folder, flush_seconds=1e9, hardware=False)


def write(folder: Path | str, *parts: list[tuple[int, int]]) -> None:
    with open_logger(folder) as metrics:
        for part in parts:
            for epoch, step in part:
                metrics.write(row(epoch, step))
            metrics.flush()


def write_parts(folder: Path | str, *parts: list[tuple[int, int]]) -> None:
    """Commits each part to a file of its own."""
    for rows in parts:
        writer = MetricParts(folder, part_rows=1)
        writer.commit(writer.columns.as_table([row(*indices) for indices in rows]))
        writer.close()


def steps(folder: Path | str) -> list[int]:
    return read_metrics(folder)["step"].to_pylist()


def part(folder: Path, number: int) -> Path:
    return folder / "metrics" / f"part-{number:06d}.parquet"


def part_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "metrics").glob("*.parquet"))


class TestRoundTrip:
    def test_all_columns(self, tmp_path: Path) -> None:
        full = {
            "epoch": 3,
            "step": 2**40,
            "timestamp": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
            "train_loss": 0.1,
            "val_loss": float("inf"),
            "train_accuracy": 0.25,
            "val_accuracy": 1.0,
            "grad_norm": 1e-300,
            "grad_max": 2.0,
            "grad_min": -2.0,
            "circuits_executed": 32,
            "batch_time_ms": 1.5,
            "throughput_samples_per_sec": 1e5,
            "circuit_execution_time_ms": 0.5,
            "qubits_used": 8,
            "shots_per_circuit": 1024,
            "backend": "simulator",
            "queue_time_ms": 0.25,
            "cost_usd": 0.01,
            "credits_used": 2.5,
            "cpu_percent": 99.5,
            "memory_mb": 300.0,
            "device_memory_mb": 1e4,
        }
        with open_logger(tmp_path) as metrics:
            metrics.write(full)
        assert read_metrics(tmp_path).schema == METRICS_SCHEMA
        assert read_metrics(tmp_path).to_pylist() == [full]

    def test_missing_columns_are_null_and_time_is_now(self, tmp_path: Path) -> None:
        before = datetime.now(UTC)
        write(tmp_path, [(1, 1)])
        (read,) = read_metrics(tmp_path).to_pylist()
        assert read["val_loss"] is None
        assert before <= read["timestamp"] <= datetime.now(UTC)

    def test_rows_keep_their_order_over_parts(self, tmp_path: Path) -> None:
        write_parts(tmp_path, [(1, 1), (1, 2)], [(1, -1)], [(2, 3)])
        assert steps(tmp_path) == [1, 2, -1, 3]
        assert part_names(tmp_path) == [f"part-{number:06d}.parquet" for number in range(3)]

    def test_a_second_writer_goes_on(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)], [(1, 2)])
        write(tmp_path, [(2, 3)])
        assert steps(tmp_path) == [1, 2, 3]
        assert part_names(tmp_path) == ["part-000000.parquet"]

    def test_two_writers_at_once_are_refused(self, tmp_path: Path) -> None:
        with open_logger(tmp_path), pytest.raises(RunError, match="must have one writer"):
            open_logger(tmp_path)
        open_logger(tmp_path).close()

    def test_more_than_a_million_parts_stay_in_order(self, tmp_path: Path) -> None:
        write_parts(tmp_path, [(1, 1)])
        part(tmp_path, 0).rename(part(tmp_path, 999_999))
        write_parts(tmp_path, [(1, 2)])
        assert steps(tmp_path) == [1, 2]
        assert part(tmp_path, 1_000_000).exists()

    def test_parquet_readers_see_the_same(self, tmp_path: Path) -> None:
        write_parts(tmp_path, [(1, 1)], [(1, 2)])
        (tmp_path / "metrics" / ".part-000002.parquet.tmp").write_bytes(b"half")
        assert pyarrow.dataset.dataset(tmp_path / "metrics").to_table() == read_metrics(tmp_path)


def as_table(*rows: dict[str, Any]) -> pa.Table:
    columns = MetricColumns()
    for each in rows:
        columns.check(each)
    return columns.as_table(rows)


class TestColumns:
    def test_the_schema_is_that_of_the_dataclass(self) -> None:
        names = [field.name for field in dataclasses.fields(TrainingMetrics)]
        assert names == [*METRICS_SCHEMA.names, "gradient_norms", "free"]
        kinds = {str(field.type) for field in METRICS_SCHEMA}
        assert kinds == {"int32", "int64", "double", "string", "timestamp[us, tz=UTC]"}
        assert METRICS_SCHEMA.field("epoch").type == pa.int32()

    def test_the_design_is_covered(self) -> None:
        design = (
            "epoch step timestamp train_loss val_loss grad_norm grad_max grad_min "
            "circuit_execution_time_ms circuits_executed qubits_used shots_per_circuit backend "
            "queue_time_ms cost_usd credits_used batch_time_ms throughput_samples_per_sec"
        )
        assert set(design.split()) <= set(METRICS_SCHEMA.names)

    def test_free_columns_of_numbers_and_strings(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.write({"epoch": 1, "step": 1})
            metrics.write({"epoch": 1, "step": 2, "rate": 1, "note": "warm", "skipped": None})
            metrics.write({"epoch": 1, "step": 3, "rate": True})
        table = read_metrics(tmp_path)
        assert table.schema.names == [*METRICS_SCHEMA.names, "rate", "note"]
        assert table["rate"].to_pylist() == [None, 1.0, 1.0]
        assert table["note"].to_pylist() == [None, "warm", None]

    def test_free_columns_outlive_the_writer(self, tmp_path: Path) -> None:
        with open_logger(tmp_path) as metrics:
            metrics.write({"epoch": 1, "step": 1, "note": "a", "rate": 0.5})
        with (
            open_logger(tmp_path) as metrics,
            pytest.raises(RunError, match="Column `note` of `row` must hold a string, but holds 3"),
        ):
            metrics.write({"epoch": 1, "step": 2, "note": 3})

    def test_parts_with_other_free_columns(self, tmp_path: Path) -> None:
        write_parts(tmp_path, [(1, 1)])
        with open_logger(tmp_path) as metrics:
            metrics.write({"epoch": 1, "step": 2, "rate": 0.5})
        assert read_metrics(tmp_path)["rate"].to_pylist() == [None, 0.5]

    @pytest.mark.parametrize(
        "value", [2, 2.0, np.float32(2), np.int8(2), jnp.float32(2), jnp.bfloat16(2), np.array(2)]
    )
    def test_numbers_of_any_kind(self, value: Any) -> None:
        table = as_table(
            {"epoch": np.int64(1), "step": jnp.int32(4), "train_loss": value, "x": value}
        )
        assert table["train_loss"].to_pylist() == table["x"].to_pylist() == [2.0]
        assert table["step"].to_pylist() == [4]

    @pytest.mark.parametrize(
        ("name", "value", "kind"),
        [
            ("train_loss", "0.5", "a number"),
            ("train_loss", np.zeros(2), "a number"),
            ("train_loss", 1j, "a number"),
            ("train_loss", jnp.complex64(1), "a number"),
            ("free", [1], "a number"),
            ("free", 10**400, "a number"),
            ("circuits_executed", 1.5, "an integer of 64 bits"),
            ("circuits_executed", True, "an integer of 64 bits"),
            ("circuits_executed", 2**63, "an integer of 64 bits"),
            ("epoch", -(2**31) - 1, "an integer of 32 bits"),
            ("backend", "\ud800", "a string"),
            ("epoch", "1", "an integer of 32 bits"),
            ("backend", 3, "a string"),
            ("timestamp", datetime(2026, 1, 2), "a time with its zone"),
            ("timestamp", 5.0, "a time with its zone"),
        ],
    )
    def test_wrong_type(self, name: str, value: Any, kind: str) -> None:
        with pytest.raises(RunError, match=f"Column `{name}` of `row` must hold {kind}, but holds"):
            as_table({"epoch": 1, "step": 1, name: value})

    def test_a_refused_row_leaves_no_column(self) -> None:
        columns = MetricColumns()
        with pytest.raises(RunError, match="Column `backend`"):
            columns.check({"epoch": 1, "step": 1, "rate": 0.1, "backend": 3})
        columns.check({"epoch": 1, "step": 1, "rate": "slow"})

    @pytest.mark.parametrize("left_out", ["epoch", "step"])
    def test_epoch_and_step_are_needed(self, left_out: str) -> None:
        whole = {"epoch": 1, "step": 1, "train_loss": 0.5}
        for bad in ({**whole, left_out: None}, {k: v for k, v in whole.items() if k != left_out}):
            with pytest.raises(RunError, match="`row` must have `epoch` and `step`, but has"):
                as_table(bad)

    @pytest.mark.parametrize("name", ["", 3])
    def test_names_are_strings(self, name: Any) -> None:
        with pytest.raises(RunError, match=f"must have names for columns, but has {name!r}"):
            as_table({"epoch": 1, "step": 1, name: 1.0})


class TestParts:
    """The newest part grows until it is full."""

    def test_one_file_however_many_commits(self, tmp_path: Path) -> None:
        write(tmp_path, *([(1, step)] for step in range(1, 31)))
        assert part_names(tmp_path) == ["part-000000.parquet"]
        assert steps(tmp_path) == list(range(1, 31))

    def test_a_full_one_is_left_alone(self, tmp_path: Path) -> None:
        parts = MetricParts(tmp_path, part_rows=3)
        contents = []
        for step in range(1, 8):
            parts.commit(parts.columns.as_table([row(1, step)]))
            contents.append([path.read_bytes() for path in sorted(tmp_path.rglob("*.parquet"))])
        assert [len(files) for files in contents] == [1, 1, 1, 2, 2, 2, 3]
        assert len({files[0] for files in contents[2:]}) == 1
        assert steps(tmp_path) == list(range(1, 8))

    def test_a_failed_commit_changes_nothing_and_repeats(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = MetricParts(tmp_path)
        parts.commit(parts.columns.as_table([row(1, 1)]))
        sync = _files.sync_folder

        def refuse(folder: Path) -> None:  # after the rename
            sync(folder)
            raise OSError(errno.EIO, "Input/output error")

        more = parts.columns.as_table([row(1, 2)])
        with monkeypatch.context() as patch:
            patch.setattr(_files, "sync_folder", refuse)
            with pytest.raises(RunError, match="Input/output error"):
                parts.commit(more)
        parts.commit(more)
        assert steps(tmp_path) == [1, 2]

    def test_dropped_rows_are_told(self, tmp_path: Path) -> None:
        assert dropped_rows(METRICS_SCHEMA.empty_table()) == 0
        parts = MetricParts(tmp_path, part_rows=1)
        parts.commit(parts.columns.as_table([row(1, 1)]), dropped=2)
        parts.commit(parts.columns.as_table([]), dropped=3)
        assert dropped_rows(read_metrics(tmp_path)) == 3
        parts.close()
        again = MetricParts(tmp_path)
        again.commit(again.columns.as_table([row(1, 2)]), dropped=1)
        assert dropped_rows(read_metrics(tmp_path)) == 4
        assert steps(tmp_path) == [1, 2]

    def test_nothing_new_writes_nothing(self, tmp_path: Path) -> None:
        parts = MetricParts(tmp_path)
        parts.commit(parts.columns.as_table([]))
        assert part_names(tmp_path) == []


def count_by_pandas(folder: Path) -> list[int]:
    pandas = pytest.importorskip("pandas")
    return pandas.read_parquet(folder)["step"].tolist()


def count_by_polars(folder: Path) -> list[int]:
    polars = pytest.importorskip("polars")
    return polars.read_parquet(folder / "*.parquet")["step"].to_list()


def count_by_duckdb(folder: Path) -> list[int]:
    duckdb = pytest.importorskip("duckdb")
    return [step for (step,) in duckdb.sql(f"select step from '{folder}/*.parquet'").fetchall()]


def count_by_pyarrow(folder: Path) -> list[int]:
    return pyarrow.dataset.dataset(folder).to_table()["step"].to_pylist()


READERS = [count_by_pandas, count_by_polars, count_by_duckdb, count_by_pyarrow]


class TestOtherReaders:
    """Whoever reads the folder finds each row once, also in the middle of a commit."""

    @pytest.mark.parametrize("reader", READERS)
    def test_at_each_moment_of_a_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[Path], list[int]]
    ) -> None:
        parts = MetricParts(tmp_path, part_rows=4)
        committed = [1]
        parts.commit(parts.columns.as_table([row(1, 1)]))
        looks = []

        def look_before(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                looks.append(sorted(reader(tmp_path / "metrics")) == committed)
                return function(*arguments)

            return call

        for name in ("fsync", "replace"):
            monkeypatch.setattr(_files.os, name, look_before(getattr(os, name)))
        for step in range(2, 12):
            rows = parts.columns.as_table([{**row(1, step), "note": "free"}])
            parts.commit(rows)
            committed.append(step)
            # fsync of the file, rename; the new row is there when the folder is synced
            assert looks[-3:] == [True, True, False]
            assert sorted(reader(tmp_path / "metrics")) == committed

    def test_a_reader_with_the_old_file_open_reads_it_to_the_end(self, tmp_path: Path) -> None:
        parts = MetricParts(tmp_path)
        parts.commit(parts.columns.as_table([row(1, step) for step in range(1, 100)]))
        with pq.ParquetFile(part(tmp_path, 0)) as file:
            parts.commit(parts.columns.as_table([row(1, 100)]))
            assert file.read()["step"].to_pylist() == list(range(1, 100))


class TestRemote:
    """The same on a file system of fsspec."""

    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}/run"

    def test_round_trip(self, url: str) -> None:
        write(url, [(1, 1), (1, 2)], [(1, -1)])
        write_parts(url, [(2, 3)])
        assert steps(url) == [1, 2, -1, 3]
        truncate_metrics(url, 1)
        assert steps(url) == [1, 2, -1]

    def test_no_folder(self, url: str) -> None:
        with pytest.raises(RunError, match=f"Run directory `{url}` must hold metrics, but has no"):
            read_metrics(url)
        truncate_metrics(url, 1)

    def test_what_a_client_raises_becomes_an_error_of_ours(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory = pytest.importorskip("fsspec.implementations.memory")
        metrics = open_logger(url)
        metrics.write(row(1, 1))

        def refuse(*_: object) -> None:
            raise ValueError("token expired")

        monkeypatch.setattr(memory.MemoryFileSystem, "pipe_file", refuse)
        message = rf"{url}/metrics/part-000000\.parquet` could not be written: ValueError: token ex"
        with pytest.raises(RunError, match=message):
            metrics.flush()
        monkeypatch.undo()
        metrics.close()
        assert steps(url) == [1]

    def test_a_damaged_part_is_named(self, url: str) -> None:
        fsspec = pytest.importorskip("fsspec")
        write(url, [(1, 1)])
        system, folder = fsspec.core.url_to_fs(f"{url}/metrics")
        system.pipe_file(f"{folder}/part-000000.parquet", b"half")
        with pytest.raises(RunError, match=f"`{url}/metrics/part-000000.parquet` is damaged"):
            read_metrics(url)


class TestFlush:
    def test_without_rows(self, tmp_path: Path) -> None:
        open_logger(tmp_path).close()
        assert read_metrics(tmp_path).num_rows == 0

    def test_on_the_way_out_of_an_exception(self, tmp_path: Path) -> None:
        def write_and_fail() -> None:
            with open_logger(tmp_path) as metrics:
                metrics.write(row(1, 1))
                raise KeyError

        with pytest.raises(KeyError):
            write_and_fail()
        assert steps(tmp_path) == [1]


class TestTruncate:
    PARTS = ([(1, 1), (1, -1), (2, 2)], [(2, -1)], [(3, 3)])

    @pytest.mark.parametrize(
        ("last_epoch", "left"),
        [(0, []), (1, [1, -1]), (2, [1, -1, 2, -1]), (3, [1, -1, 2, -1, 3])],
    )
    @pytest.mark.parametrize("write", [write, write_parts])
    def test_keeps_up_to_an_epoch(
        self, tmp_path: Path, last_epoch: int, left: list[int], write: Callable[..., None]
    ) -> None:
        write(tmp_path, *self.PARTS)
        truncate_metrics(tmp_path, last_epoch)
        assert steps(tmp_path) == left
        write(tmp_path, [(9, 9)])
        assert steps(tmp_path) == [*left, 9]

    def test_keeps_up_to_a_step_in_mid_epoch(self, tmp_path: Path) -> None:
        write_parts(tmp_path, [(1, 1), (1, 2)], [(1, -1), (2, 3)], [(2, 4), (2, -1)])
        truncate_metrics(tmp_path, 1, last_step=3)
        assert steps(tmp_path) == [1, 2, -1, 3]

    def test_while_another_writes_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, *self.PARTS)
        with open_logger(tmp_path), pytest.raises(RunError, match="must have one writer"):
            truncate_metrics(tmp_path, 1)

    @pytest.mark.parametrize("write", [write, write_parts])
    def test_with_the_logger_open(self, tmp_path: Path, write: Callable[..., None]) -> None:
        write(tmp_path, [(1, 1), (1, 2)], [(1, -1), (2, 3)], [(2, 4), (2, -1)])
        with open_logger(tmp_path) as metrics:
            metrics.log(row(3, 5))  # not committed yet
            metrics.truncate(1, 3)
            assert steps(tmp_path) == [1, 2, -1, 3]
            metrics.log(row(2, 4))
            metrics.truncate(9)
            metrics.truncate(0)
            assert steps(tmp_path) == [] and part_names(tmp_path) == []
            metrics.log({**row(1, 1), "note": "again"})
        assert steps(tmp_path) == [1]

    def test_what_was_dropped_stays_told(self, tmp_path: Path) -> None:
        parts = MetricParts(tmp_path, part_rows=1)
        parts.commit(parts.columns.as_table([row(1, 1)]), dropped=2)
        parts.commit(parts.columns.as_table([row(2, 2)]), dropped=3)
        parts.truncate(1)
        parts.commit(parts.columns.as_table([row(2, 2)]), dropped=3)
        assert dropped_rows(read_metrics(tmp_path)) == 3
        assert steps(tmp_path) == [1, 2]

    def test_a_reader_meanwhile_reads_what_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_parts(tmp_path, *self.PARTS)
        read = _metrics._read_part

        def cut_and_read(*arguments: Any) -> pa.Table:
            monkeypatch.setattr(_metrics, "_read_part", read)
            truncate_metrics(tmp_path, 1)
            return read(*arguments)

        monkeypatch.setattr(_metrics, "_read_part", cut_and_read)
        assert steps(tmp_path) == [1, -1]

    def test_without_metrics(self, tmp_path: Path) -> None:
        truncate_metrics(tmp_path, 1)
        assert os.listdir(tmp_path) == []


class TestDamage:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="must hold metrics, but has no `metrics`"):
            read_metrics(tmp_path)

    @pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
    def test_part_is_named(self, tmp_path: Path, harm: str) -> None:
        write_parts(tmp_path, [(1, step) for step in range(100)], [(2, 1)])
        content = bytearray(part(tmp_path, 0).read_bytes())
        content[40] ^= 0x10
        keep = {"flip": len(content), "cut": len(content) // 2, "empty": 0}[harm]
        part(tmp_path, 0).write_bytes(content[:keep])
        with pytest.raises(RunError, match=r"part-000000\.parquet` is damaged .*Move it away"):
            read_metrics(tmp_path)

    def test_a_writer_behind_a_damaged_part(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)])
        part(tmp_path, 0).write_bytes(b"half")
        for _ in range(2):  # the first one has let go of the lock
            with pytest.raises(RunError, match=r"part-000000\.parquet` is damaged"):
                open_logger(tmp_path)

    def test_newer_format(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)])
        schema = METRICS_SCHEMA.with_metadata({b"qjax.metrics.version": b"99"})
        pq.write_table(schema.empty_table(), part(tmp_path, 1))
        with pytest.raises(
            RunError, match=r"has format 99, but this qjax reads up to \d+\. Update"
        ):
            read_metrics(tmp_path)

    @pytest.mark.parametrize(
        ("function", "path"), [("names", "metrics/?"), ("read", "part-000000.parquet")]
    )
    def test_refused_by_the_system(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, path: str
    ) -> None:
        write(tmp_path, [(1, 1)])

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(f"qjax.storage._folder._LocalFolder.{function}", refuse)
        with pytest.raises(RunError, match=f"{path}` could not be read: Permission denied. Check"):
            read_metrics(tmp_path)

    @pytest.mark.parametrize("function", ["fsync", "replace"])
    def test_full_disk_keeps_the_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        metrics = open_logger(tmp_path)
        metrics.write(row(1, 1))
        metrics.flush()
        metrics.write(row(1, 2))

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(_files.os, function, refuse)
        message = r"part-000000\.parquet` could not be written: No space left on device\. Free some"
        with pytest.raises(RunError, match=message):
            metrics.flush()
        assert set(os.listdir(tmp_path / "metrics")) == {"part-000000.parquet", ".lock"}
        assert steps(tmp_path) == [1]
        monkeypatch.undo()
        metrics.close()
        assert steps(tmp_path) == [1, 2]

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="metrics.*` could not be written: Not a directory"):
            open_logger(tmp_path / "file")


def golden_row(epoch: int, step: int) -> dict[str, Any]:
    seconds = step if step > 0 else 100 * epoch
    shared = {
        "epoch": epoch,
        "step": step,
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, 6, UTC).timestamp() + seconds,
        "train_loss": 1 / (epoch + max(step, 0)),
        "train_accuracy": 0.25,
        "circuits_executed": 32,
        "throughput_samples_per_sec": 1e5,
    }
    if step < 0:
        return {**shared, "val_loss": float("inf"), "val_accuracy": 1.0}
    gradient = {"grad_norm": step / 3, "grad_max": step / 4, "grad_min": -step / 4}
    return {**shared, **gradient, "batch_time_ms": 1.5}


def golden_free(step: int) -> dict[str, Any]:
    """What version 2 has besides."""
    if step < 0:
        return {}
    return {
        "circuit_execution_time_ms": step / 7,
        "qubits_used": 8,
        "shots_per_circuit": 1024,
        "backend": "simulator",
        "queue_time_ms": 0.5,
        "cost_usd": 0.01,
        "credits_used": 2.5,
        "cpu_percent": 99.5,
        "memory_mb": 300.0,
        "device_memory_mb": 1e4,
        "grad_norm/angles": step / 5,
        "rate": 0.1 / step,
        "phase": "warm-up",
    }


GOLDEN_ROWS = [golden_row(*at) for at in ((1, 1), (1, 2), (1, -1), (2, 3), (2, 4), (2, -1))]


def read_golden(version: int) -> list[dict[str, Any]]:
    rows = read_metrics(GOLDEN / f"metrics-v{version}").to_pylist()
    rows = [{name: value for name, value in each.items() if value is not None} for each in rows]
    return [{**each, "timestamp": each["timestamp"].timestamp()} for each in rows]


class TestGolden:
    """Datasets written by each version that was released still read the same."""

    def test_version_1(self) -> None:
        assert read_golden(1) == GOLDEN_ROWS

    def test_version_2(self) -> None:
        expected = [{**each, **golden_free(each["step"])} for each in GOLDEN_ROWS]
        assert read_golden(2) == expected
        assert dropped_rows(read_metrics(GOLDEN / "metrics-v2")) == 3

    def test_each_version_has_one(self) -> None:
        versions = {int(path.name.removeprefix("metrics-v")) for path in GOLDEN.glob("metrics-v*")}
        assert versions == set(range(1, METRICS_VERSION + 1))
        name = part(GOLDEN / f"metrics-v{METRICS_VERSION}", 0)
        assert pq.read_schema(name).metadata[b"qjax.metrics.version"] == b"2"

    def test_version_1_goes_on(self, tmp_path: Path) -> None:
        folder = shutil.copytree(GOLDEN / "metrics-v1", tmp_path / "run")
        with open_logger(folder) as metrics:
            metrics.write({**row(3, 5), "rate": 0.5})
        assert steps(folder) == [1, 2, -1, 3, 4, -1, 5]
