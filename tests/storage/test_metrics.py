import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from qjax.errors import RunError
from qjax.storage import (
    METRICS_SCHEMA,
    METRICS_VERSION,
    MetricsWriter,
    _files,
    read_metrics,
    truncate_metrics,
)


def row(epoch: int, step: int) -> dict[str, float]:
    return {"epoch": epoch, "step": step, "train_loss": epoch + step / 8}


def write(folder: Path, *parts: list[tuple[int, int]]) -> None:
    with MetricsWriter(folder) as metrics:
        for part in parts:
            for epoch, step in part:
                metrics.write(row(epoch, step))
            metrics.flush()


def steps(folder: Path) -> list[int]:
    return read_metrics(folder)["step"].to_pylist()


def part(folder: Path, number: int) -> Path:
    return folder / "metrics" / f"part-{number:06d}.parquet"


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
        }
        with MetricsWriter(tmp_path) as metrics:
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
        write(tmp_path, [(1, 1), (1, 2)], [(1, -1)], [(2, 3)])
        assert steps(tmp_path) == [1, 2, -1, 3]
        assert len(os.listdir(tmp_path / "metrics")) == 3

    def test_a_second_writer_goes_on(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)], [(1, 2)])
        write(tmp_path, [(2, 3)])
        assert part(tmp_path, 2).exists()
        assert steps(tmp_path) == [1, 2, 3]

    def test_more_than_a_million_parts_stay_in_order(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)])
        part(tmp_path, 0).rename(part(tmp_path, 999_999))
        write(tmp_path, [(1, 2)])
        assert steps(tmp_path) == [1, 2]

    def test_unknown_column(self, tmp_path: Path) -> None:
        with (
            MetricsWriter(tmp_path) as metrics,
            pytest.raises(RunError, match="but has loss. Known"),
        ):
            metrics.write({"loss": 1.0})

    def test_parquet_readers_see_the_same(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)], [(1, 2)])
        (tmp_path / "metrics" / ".part-000002.parquet.tmp").write_bytes(b"half")
        assert pyarrow.dataset.dataset(tmp_path / "metrics").to_table() == read_metrics(tmp_path)


class TestFlush:
    def test_after_so_many_rows(self, tmp_path: Path) -> None:
        metrics = MetricsWriter(tmp_path, flush_seconds=1e9, max_rows=3)
        for step in range(1, 8):
            metrics.write(row(1, step))
        assert steps(tmp_path) == [1, 2, 3, 4, 5, 6]
        metrics.close()
        assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7]

    def test_after_so_long(self, tmp_path: Path) -> None:
        metrics = MetricsWriter(tmp_path, flush_seconds=0)
        metrics.write(row(1, 1))
        assert steps(tmp_path) == [1]

    def test_without_rows(self, tmp_path: Path) -> None:
        MetricsWriter(tmp_path).close()
        assert read_metrics(tmp_path).num_rows == 0

    def test_on_the_way_out_of_an_exception(self, tmp_path: Path) -> None:
        def write_and_fail() -> None:
            with MetricsWriter(tmp_path) as metrics:
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
    def test_keeps_up_to_an_epoch(self, tmp_path: Path, last_epoch: int, left: list[int]) -> None:
        write(tmp_path, *self.PARTS)
        truncate_metrics(tmp_path, last_epoch)
        assert steps(tmp_path) == left
        write(tmp_path, [(9, 9)])
        assert steps(tmp_path) == [*left, 9]

    def test_without_metrics(self, tmp_path: Path) -> None:
        truncate_metrics(tmp_path, 1)
        assert os.listdir(tmp_path) == []


class TestDamage:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="must hold metrics, but has no `metrics`"):
            read_metrics(tmp_path)

    @pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
    def test_part_is_named(self, tmp_path: Path, harm: str) -> None:
        write(tmp_path, [(1, step) for step in range(100)], [(2, 1)])
        content = bytearray(part(tmp_path, 0).read_bytes())
        content[40] ^= 0x10
        keep = {"flip": len(content), "cut": len(content) // 2, "empty": 0}[harm]
        part(tmp_path, 0).write_bytes(content[:keep])
        with pytest.raises(RunError, match=r"part-000000\.parquet` is damaged .*Move it away"):
            read_metrics(tmp_path)

    def test_newer_format(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)])
        schema = METRICS_SCHEMA.with_metadata({b"qjax.metrics.version": b"99"})
        pq.write_table(schema.empty_table(), part(tmp_path, 1))
        with pytest.raises(
            RunError, match=r"has format 99, but this qjax reads up to \d+\. Update"
        ):
            read_metrics(tmp_path)

    def test_older_format_has_nulls(self, tmp_path: Path) -> None:
        write(tmp_path, [(1, 1)])
        old = pa.table({"epoch": [7], "step": [8]})
        pq.write_table(old, part(tmp_path, 1))
        table = read_metrics(tmp_path)
        assert table["epoch"].to_pylist() == [1, 7]
        assert table["train_loss"].to_pylist()[1] is None
        assert METRICS_VERSION == 1

    @pytest.mark.parametrize("function", ["fsync", "replace"])
    def test_full_disk_keeps_the_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        metrics = MetricsWriter(tmp_path)
        metrics.write(row(1, 1))
        metrics.flush()
        metrics.write(row(1, 2))

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(_files.os, function, refuse)
        message = r"part-000001\.parquet` could not be written: No space left on device\. Free some"
        with pytest.raises(RunError, match=message):
            metrics.flush()
        assert os.listdir(tmp_path / "metrics") == ["part-000000.parquet"]
        monkeypatch.undo()
        metrics.close()
        assert steps(tmp_path) == [1, 2]

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="Metrics folder .*Not a directory"):
            MetricsWriter(tmp_path / "file")
