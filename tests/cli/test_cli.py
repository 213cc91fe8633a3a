import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from qjax.cli._background import Background
from qjax.cli._clock import process_start, read_clock
from qjax.cli._report import Reporter
from qjax.data import fashion_mnist_folder
from qjax.errors import DataError
from qjax.nn import models
from tests.cli.conftest import Command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qjax.cli", *arguments], capture_output=True, text=True
    )


class TestSmallCommands:
    def test_help(self, qjax: Command) -> None:
        done = qjax("--help")
        assert not done.code
        for name in ("train", "predict", "version", "info"):
            assert name in done.out

    def test_help_of_train_names_the_options(self, qjax: Command) -> None:
        out = qjax("train", "--help").out
        for name in ("dataset", "data-dir", "model", "samples", "epochs", "batch-size", "seed"):
            assert f"--{name}" in out
        for name in ("learning-rate", "run-dir", "resume"):
            assert f"--{name}" in out

    def test_version(self, qjax: Command) -> None:
        assert qjax("version").out.strip()

    def test_info(self, qjax: Command) -> None:
        out = qjax("info").out
        for name in (*models.MODELS, "digits", "fashion-mnist", "jax", "flax", "cpu"):
            assert name in out

    def test_help_loads_nothing_heavy(self) -> None:
        code = (
            "import sys\nfrom qjax.cli import main\n"
            "try: main(['--help'])\nexcept SystemExit: pass\n"
            "print(sorted({'flax', 'zarr', 'pyarrow', 'sklearn', 'matplotlib'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "[]"


class TestProcess:
    def test_error_is_one_line_and_code_2(self) -> None:
        done = command("train", "--dataset", "nope")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1

    def test_the_design_model_from_end_to_end(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        options = ("--model", "quantum-first", "--samples", "64", "--epochs", "2")
        begun = time.perf_counter()
        done = command("train", *options, "--run-dir", str(folder))
        seconds = time.perf_counter() - begun
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["model"] == "quantum-first"
        assert 0 < summary["first_step_seconds"] < summary["wall_seconds"] < seconds
        predicted = command("predict", str(folder))
        assert f"test accuracy {summary['test_accuracy']:.4f}" in predicted.stdout

    def test_fashion_mnist(self, tmp_path: Path) -> None:
        try:
            data_dir = str(fashion_mnist_folder(download=False))
        except DataError:
            pytest.skip("Fashion-MNIST is not on this machine (QJAX_DATA_DIR)")
        options = ("--model", "quantum-first", "--samples", "32", "--epochs", "1")
        where = ("--data-dir", data_dir, "--run-dir", str(tmp_path / "run"))
        done = command("train", "--dataset", "fashion-mnist", *options, *where)
        assert done.returncode == 0, done.stderr
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["test_samples"] == 10_000


class TestClock:
    def test_process_began_before_now(self) -> None:
        assert process_start() < read_clock()

    def test_process_start_is_a_moment(self) -> None:
        assert process_start() == pytest.approx(process_start(), abs=0.1)


class TestBackground:
    def test_runs_in_order_and_hands_on_results(self) -> None:
        background, seen = Background(), []
        futures = [background.submit(lambda i=i: seen.append(i) or i) for i in range(20)]
        assert [future.result() for future in futures] == list(range(20))
        assert seen == list(range(20))

    def test_an_exception_reaches_the_caller_and_the_rest_goes_on(self) -> None:
        background = Background()
        bad = background.submit(lambda: 1 / 0)
        good = background.submit(lambda: 7)
        with pytest.raises(ZeroDivisionError):
            bad.result()
        assert good.result() == 7


class TestReporter:
    ROW = {
        "epoch": 1,
        "train_loss": 0.5,
        "train_accuracy": 0.25,
        "val_loss": None,
        "val_accuracy": None,
        "throughput_samples_per_sec": 1234.0,
    }

    def test_bar_on_a_terminal(self) -> None:
        out = io.StringIO()
        reporter = Reporter(Console(file=out, force_terminal=True, width=120))
        with reporter.training(epochs=2, steps_per_epoch=5, steps_done=0):
            reporter.on_steps(1, 3, 0.7, 0.5, 999.0)
            reporter.on_epoch(self.ROW)
            reporter.on_steps(2, 5, 0.3, 0.75, 999.0)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
        assert "compiling the first step" in text
        assert "10/10" in text
        assert "loss 0.3000  accuracy 0.750  999 circuits/s" in text
        assert re.search(r"0:00:0\d 0:00:00", text)  # time that has passed, time that is left
        assert "accuracy 0.250" not in text  # the line of an epoch

    def test_lines_elsewhere(self) -> None:
        out = io.StringIO()
        reporter = Reporter(Console(file=out, force_terminal=False, width=40))
        with reporter.training(epochs=12, steps_per_epoch=5, steps_done=0):
            reporter.on_steps(1, 3, 0.7, 0.5, 999.0)
            reporter.on_epoch(self.ROW)
        assert out.getvalue() == "epoch  1/12  loss 0.5000  accuracy 0.250  1,234 circuits/s\n"

    def test_long_lines_and_brackets_stay_whole(self) -> None:
        out = io.StringIO()
        text = "/a/[bold]path" * 20
        Reporter(Console(file=out, width=40)).line(text)
        assert out.getvalue() == text + "\n"
