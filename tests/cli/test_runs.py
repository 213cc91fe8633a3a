import json
import os
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from qjax.cli import _history, _history_plot, _record
from qjax.cli._config import RunConfig
from qjax.cli._record import read_run
from qjax.storage._logger import AsyncMetricsLogger
from tests.cli.conftest import Command, Run

TIMED: dict[str, Any] = {
    "circuit_execution_time_ms": 300.0,
    "queue_time_ms": 500.0,
    "batch_time_ms": 1000.0,
}

GROUPS: dict[str, Any] = {"grad_norm/angles": 0.25}


def make_run(folder: Path, epochs: int = 3, done: int = 2, **more: Any) -> Path:
    """Makes a run of 4 steps an epoch that has done some of its epochs and a step more."""
    folder.mkdir(parents=True)
    RunConfig(model="tiny", epochs=epochs, seed=7).write(folder)
    with AsyncMetricsLogger(folder, hardware=False) as metrics:
        for step in range(1, 4 * done + 2):
            epoch = 1 + (step - 1) // 4
            metrics.log({"epoch": epoch, "step": step, "train_loss": 4 / step, "grad_norm": 0.5,
                         **more})  # fmt: skip
            if step % 4 == 0:
                metrics.log({"epoch": epoch, "step": -1, "train_loss": 1 / epoch,
                             "val_accuracy": epoch / 10, "val_loss": 0.25})  # fmt: skip
    return folder


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


class TestList:
    def test_finished_stopped_and_running(
        self, qjax: Command, finished: Run, tmp_path: Path
    ) -> None:
        make_run(tmp_path / "stopped")
        make_run(tmp_path / "running")
        lock = tmp_path / "running" / "metrics" / ".lock"
        lock.write_text(f"{os.getpid()} {socket.gethostname()}\n")
        done = qjax("runs", "list", tmp_path, finished.folder)
        assert not done.code
        head, *rows = lines(done.out)
        assert head == [
            "run",
            "model",
            "state",
            "epoch",
            "loss",
            "validation",
            "test",
            "last",
            "row",
        ]
        assert [row[:4] for row in rows] == [
            ["running", "tiny", "running", "2/3"],
            ["stopped", "tiny", "stopped", "2/3"],
            ["finished", "tiny", "finished", "3/3"],
        ]
        assert [row[4:7] for row in rows[:2]] == [["0.5", "0.2", "-"]] * 2
        assert rows[2][6] == f"{finished.summary['test_accuracy']:.4g}"
        assert all(row[-1] == "ago" for row in rows)

    def test_while_the_logger_is_open(self, qjax: Command, tmp_path: Path) -> None:
        RunConfig(model="tiny").write(tmp_path)
        with AsyncMetricsLogger(tmp_path, hardware=False) as metrics:
            metrics.log({"epoch": 1, "step": 1})
            metrics.flush()
            assert lines(qjax("runs", "list", tmp_path).out)[1][1:4] == ["tiny", "running", "0/60"]
        assert lines(qjax("runs", "list", tmp_path).out)[1][2] == "stopped"

    @pytest.mark.parametrize("holder", ["999999999 {host}", "{pid} elsewhere", "half", ""])
    def test_a_writer_that_is_gone(self, tmp_path: Path, holder: str) -> None:
        make_run(tmp_path / "run")
        text = holder.format(host=socket.gethostname(), pid=os.getpid())
        (tmp_path / "run" / "metrics" / ".lock").write_text(text)
        assert read_run(tmp_path / "run").state == "stopped"

    def test_resumed_with_more_epochs_it_is_not_finished(
        self, finished: Run, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(finished.folder, tmp_path / "run")
        assert read_run(folder).state == "finished"
        RunConfig.read(folder).updated({"epochs": 9}).write(folder)
        assert read_run(folder).state == "stopped"

    def test_metrics_of_a_script(self, qjax: Command, tmp_path: Path) -> None:
        with AsyncMetricsLogger(tmp_path / "mine", hardware=False) as metrics:
            metrics.log({"epoch": 1, "step": -1, "train_loss": 2.0})
        (tmp_path / "notes.txt").write_text("")
        assert lines(qjax("runs", "list", tmp_path).out)[1][:5] == [
            "mine",
            "-",
            "stopped",
            "1",
            "2",
        ]

    def test_a_run_that_has_logged_nothing(self, qjax: Command, tmp_path: Path) -> None:
        RunConfig(model="tiny").write(tmp_path)
        row = lines(qjax("runs", "list", tmp_path).out)[1]
        assert row[1:] == ["tiny", "stopped", "0/60", "-", "-", "-", "-"]

    def test_by_default_those_below_runs(
        self, qjax: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_run(tmp_path / "runs" / "one")
        monkeypatch.chdir(tmp_path)
        assert lines(qjax("runs", "list").out)[1][0] == "one"

    @pytest.mark.parametrize("command", ["list", "show", "compare", "plot"])
    def test_no_runs(self, qjax: Command, tmp_path: Path, command: str) -> None:
        done = qjax("runs", command, tmp_path)
        assert done.code == 2
        assert done.err.startswith(f"qjax: Folder `{tmp_path}` must be a run directory or hold")
        assert done.err.count("\n") == 1

    def test_names_tell_runs_apart(self, qjax: Command, tmp_path: Path) -> None:
        for name in ("a/run", "b/run", "b/other"):
            make_run(tmp_path / name)
        twice = (tmp_path / "b", tmp_path / "a", tmp_path / "b")
        rows = lines(qjax("runs", "list", *twice).out)[1:]
        assert [row[0] for row in rows] == ["b/other", "b/run", "a/run"]

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 s"), (119, "119 s"), (125, "2 min"), (7300, "2 h"), (200_000, "2 d"), (-9, "0 s")],
    )
    def test_age(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, text: str
    ) -> None:
        now = datetime(2026, 1, 2, tzinfo=UTC)

        class Clock:
            @staticmethod
            def now(_: Any) -> datetime:
                return now

        with AsyncMetricsLogger(tmp_path, hardware=False) as metrics:
            when = now - timedelta(seconds=seconds)
            metrics.log({"epoch": 1, "step": 1, "timestamp": when})
        monkeypatch.setattr(_history, "datetime", Clock)
        assert _history._age(read_run(tmp_path)) == f"{text} ago"


class TestBroken:
    """What can be read is shown, and the file that cannot is named."""

    DAMAGE = {
        "config.json": ("Configuration `{}` is damaged", "{"),
        "summary.json": ("Summary `{}` is damaged", "[]"),
        "metrics/part-000000.parquet": ("Metrics file `{}` is damaged", "PAR1"),
    }

    @pytest.mark.parametrize("command", ["list", "show", "compare", "plot"])
    @pytest.mark.parametrize("name", DAMAGE)
    def test_is_named(
        self, qjax: Command, finished: Run, tmp_path: Path, command: str, name: str
    ) -> None:
        folder = shutil.copytree(finished.folder, tmp_path / "run")
        message, content = self.DAMAGE[name]
        (folder / name).write_text(content)
        more = ("--output", tmp_path / "runs.png") if command == "plot" else ()
        done = qjax("runs", command, folder, finished.folder, *more)
        assert not done.code
        broken = [line for line in done.out.splitlines() if line.startswith("broken: ")]
        assert len(broken) == 1
        assert message.format(folder / name) in broken[0]
        if command == "list":
            assert [row[2] for row in lines(done.out)[1:3]] == ["broken", "finished"]

    def test_a_summary_that_is_not_json(self, tmp_path: Path) -> None:
        make_run(tmp_path / "run")
        (tmp_path / "run" / "summary.json").write_text("{")
        assert "summary.json` is damaged and cannot" in read_run(tmp_path / "run").faults[0]

    def test_nothing_in_a_run_directory_changes(self, qjax: Command, tmp_path: Path) -> None:
        folder = make_run(tmp_path / "run")

        def state() -> dict[Path, int]:
            return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

        before = state()
        for command in ("list", "show", "compare"):
            qjax("runs", command, folder)
        assert state() == before


class TestShow:
    def test_settings_epochs_and_outcome(self, qjax: Command, finished: Run) -> None:
        out = qjax("runs", "show", finished.folder).out
        assert out.splitlines()[0] == f"{finished.folder}: finished"
        rows = {row[0]: row[1:] for row in lines(out) if row}
        assert (rows["model"], rows["seed"], rows["data_dir"]) == (["tiny"], ["7"], ["-"])
        assert rows["checkpoints"] == ["at", "steps", "12"]
        assert rows["steps"] == ["12"]
        assert f"{finished.summary['frozen_test_accuracy']:.4g}" in rows["the"]
        assert [row[0] for row in lines(out)[-5:-1]] == ["epoch", "1", "2", "3"]

    def test_so_many_epochs(self, qjax: Command, tmp_path: Path) -> None:
        make_run(tmp_path / "run", done=3)
        out = qjax("runs", "show", tmp_path, "--epochs", "1").out
        assert [row[:2] for row in lines(out)[-3:-1]] == [["epoch", "loss"], ["3", "0.3333"]]

    def test_times_that_were_measured(self, qjax: Command, tmp_path: Path) -> None:
        make_run(tmp_path / "timed", done=2, **TIMED)
        make_run(tmp_path / "whole", done=2, batch_time_ms=1000.0)
        out = qjax("runs", "compare", tmp_path).out
        rows = {row[-3]: row[-2:] for row in lines(out) if row[:2] == ["seconds", "of"]}
        assert rows == {"circuits": ["2.7", "-"], "queue": ["4.5", "-"], "elsewhere": ["1.8", "9"]}


class TestCompare:
    def test_settings_that_differ_and_outcomes(
        self, qjax: Command, finished: Run, tmp_path: Path
    ) -> None:
        make_run(tmp_path / "other")
        out = qjax("runs", "compare", finished.folder, tmp_path).out
        rows = {" ".join(row[:-2]): row[-2:] for row in lines(out)}
        assert lines(out)[0] == ["finished", "other"]
        assert rows["samples"] == ["96", "-"]
        assert rows["batch_size"] == ["20", "64"]
        assert not {"model", "seed", "dataset"} & rows.keys()
        assert rows["epochs done"] == ["3/3", "2/3"]
        assert rows["steps"] == ["12", "9"]
        assert rows["rows dropped"] == ["0", "0"]
        assert rows["training loss"][1] == "0.5"
        assert rows["test accuracy"] == [f"{finished.summary['test_accuracy']:.4g}", "-"]


class Axes:
    """Takes note of what is drawn."""

    def __init__(self) -> None:
        self.curves: dict[str | None, tuple[Any, Any]] = {}

    def plot(self, x: Any, y: Any, *_: Any, label: str | None = None, **style: Any) -> None:
        self.curves[label] = (list(x), list(y))


class TestPlot:
    def test_several_runs(self, qjax: Command, finished: Run, tmp_path: Path) -> None:
        make_run(tmp_path / "runs" / "timed", **TIMED)
        make_run(tmp_path / "runs" / "empty", done=0)
        output = tmp_path / "all.png"
        done = qjax("runs", "plot", finished.folder, tmp_path / "runs", "--output", output)
        assert done.out == f"plot: {output}\n"
        content = output.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 20_000

    def test_by_default_beside_the_user(
        self, qjax: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_run(tmp_path / "run", **GROUPS)
        monkeypatch.chdir(tmp_path)
        qjax("runs", "plot", "run")
        assert (tmp_path / "runs.png").exists()

    def test_a_folder_that_is_not_there(self, qjax: Command, tmp_path: Path) -> None:
        make_run(tmp_path / "run")
        done = qjax("runs", "plot", tmp_path, "--output", tmp_path / "none" / "a.png")
        assert done.code == 2
        assert "a.png` could not be written: No such file" in done.err

    def test_without_matplotlib(
        self, qjax: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qjax.cli._extras.find_spec", lambda _: None)
        done = qjax("runs", "plot", tmp_path)
        assert "The plot of runs needs matplotlib; install it" in done.err

    def test_curves_of_epochs(self, tmp_path: Path) -> None:
        axes = Axes()
        record = read_run(make_run(tmp_path / "run"))
        _history_plot._draw_epochs(axes, record, "loss", "run", "C0")
        assert axes.curves == {
            "run": ([1, 2], [1.0, 0.5]),
            "run, validation": ([1, 2], [0.25, 0.25]),
        }
        _history_plot._draw_epochs(axes, record, "accuracy", "acc", "C0")
        assert axes.curves["acc, validation"] == ([1, 2], [0.1, 0.2])
        assert "acc" not in axes.curves

    def test_curves_of_steps_end_with_their_epoch(self, tmp_path: Path) -> None:
        axes = Axes()
        record = read_run(make_run(tmp_path / "run"))
        _history_plot._draw_steps(axes, record.steps, "train_loss", "run", "C0")
        _history_plot._draw_steps(axes, record.steps, "queue_time_ms", "null", "C0")
        assert axes.curves == {
            "run": ([n / 4 for n in range(1, 10)], [4 / step for step in range(1, 10)])
        }

    @pytest.mark.parametrize("count", [1, 499, 500, 501, 1234])
    def test_long_curves_are_means(self, count: int) -> None:
        values = np.random.default_rng(count).normal(size=count)
        thinned = _history_plot._thinned(values)
        assert len(thinned) <= 500
        length = -(-count // 500)
        expected = [values[at : at + length].mean() for at in range(0, count, length)]
        np.testing.assert_allclose(thinned, expected)


class TestRecord:
    def test_a_table_without_rows(self, tmp_path: Path) -> None:
        record = read_run(make_run(tmp_path / "run", done=0))
        empty = _record.RunRecord(tmp_path, None, record.metrics.slice(0, 0), {}, [], False, [])
        assert isinstance(empty.metrics, pa.Table)
        assert empty.last("epoch") is None
        assert empty.total("batch_time_ms") is None
        assert _history.time_split(empty) == {}
        assert json.dumps(empty.epochs) == "[]"
