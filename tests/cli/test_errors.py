"""Every error of the command: one line on stderr, exit code 2, no traceback."""

import errno
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from qjax.cli import _config, _plot, _run_directory
from qjax.errors import RunError
from qjax.storage import list_checkpoints
from tests.cli.conftest import SETTINGS, Command, Outcome, Run
from tests.support.idx import write_fashion_mnist


def assert_one_line(done: Outcome, *parts: str) -> None:
    assert done.code == 2
    assert done.err.startswith("qjax: ")
    assert done.err.count("\n") == 1
    for part in parts:
        assert part in done.err


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--model", "nope"], "must be one of 'quantum-features', 'quantum-first', "),
            (
                ["--dataset", "nope"],
                "`dataset` must be one of digits, fashion-mnist, but is 'nope'",
            ),
            (["--samples", "0"], "`samples` must be at least 1, but is 0"),
            (["--samples", "5000"], "`samples` must be between 1 and 1347"),
            (["--epochs", "0"], "`epochs` must be at least 1, but is 0"),
            (["--batch-size", "-3"], "`batch_size` must be at least 1, but is -3"),
            (["--learning-rate", "0"], "`learning_rate` must be positive, but is 0.0"),
            (["--learning-rate", "nan"], "`learning_rate` must be positive, but is nan"),
            (["--validation", "1"], "`validation` must be at least 0 and below 1, but is 1.0"),
            (["--seed", "-1"], "`seed` must be from 0 to 2**32 - 1, but is -1"),
        ],
    )
    def test_refused(self, qjax: Command, tmp_path: Path, options: list[str], message: str) -> None:
        assert_one_line(qjax("train", "--run-dir", tmp_path / "run", *options), message)
        assert not (tmp_path / "run").exists()

    def test_unknown_option(self, qjax: Command) -> None:
        done = qjax("train", "--nope")
        assert done.code == 2
        assert "No such option" in done.err

    def test_new_and_resumed_at_once(self, qjax: Command, tmp_path: Path) -> None:
        done = qjax("train", "--run-dir", tmp_path / "a", "--resume", tmp_path / "b")
        assert done.code == 2
        assert "exclude each other" in done.err


class TestRunDirectory:
    def test_holds_files(self, qjax: Command, tmp_path: Path) -> None:
        (tmp_path / "note").write_text("mine")
        done = qjax("train", *SETTINGS, "--run-dir", tmp_path)
        assert_one_line(done, "must be a new or empty folder", f"--resume {tmp_path}")
        assert os.listdir(tmp_path) == ["note"]

    def test_is_a_file(self, qjax: Command, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = qjax("train", *SETTINGS, "--run-dir", tmp_path / "file")
        assert_one_line(done, "must be a folder, but", "is a file")

    def test_cannot_be_made(self, qjax: Command, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = qjax("train", *SETTINGS, "--run-dir", tmp_path / "file" / "run")
        assert_one_line(done, "file/run` could not be written: Not a directory")


class TestFullDisk:
    @pytest.fixture(autouse=True)
    def full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        for module in (_config, _plot, _run_directory):
            monkeypatch.setattr(module, "write_atomic", refuse)

    def test_at_the_start(self, qjax: Command, tmp_path: Path) -> None:
        done = qjax("train", *SETTINGS, "--run-dir", tmp_path / "run")
        assert_one_line(done, f"{tmp_path / 'run' / 'config.json'}` could not be", "Free some")

    def test_at_the_end(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"training\.png` could not be written: No space left"):
            _plot.write_plot(tmp_path, "title", [], {"test": 0.5})
        with pytest.raises(RunError, match=r"summary\.json` could not be written: No space left"):
            _run_directory.write_summary(tmp_path, {})


class TestNotFinite:
    def test_stops_and_keeps_the_last_good_state(self, qjax: Command, tmp_path: Path) -> None:
        options = ("--learning-rate", "1e38", "--epochs", "3", "--run-dir", tmp_path)
        done = qjax("train", *SETTINGS, *options)
        assert_one_line(
            done, "Training stopped: the", "in epoch 1, step", "Lower the learning rate"
        )
        (step,) = list_checkpoints(tmp_path / "checkpoints")
        assert f"in epoch 1, step {step + 1}." in done.err or f"step {step + 1};" in done.err


class TestData:
    def test_missing(self, qjax: Command, tmp_path: Path) -> None:
        done = qjax("train", "--dataset", "fashion-mnist", "--data-dir", tmp_path)
        assert_one_line(done, "The files of Fashion-MNIST must lie in", str(tmp_path), "--data-dir")

    def test_corrupt(self, qjax: Command, tmp_path: Path) -> None:
        write_fashion_mnist(tmp_path / "data")
        path = tmp_path / "data" / "train-images-idx3-ubyte.gz"
        path.write_bytes(path.read_bytes()[:1000])
        options = ("--data-dir", tmp_path / "data", "--run-dir", tmp_path / "run")
        done = qjax("train", "--dataset", "fashion-mnist", *options)
        assert_one_line(done, f"File `{path}` is damaged or cut short", "Get a fresh copy")
        assert not (tmp_path / "run").exists()


class TestExtras:
    @pytest.mark.parametrize(("package", "extra"), [("sklearn", "data"), ("matplotlib", "plot")])
    def test_are_named_before_the_work(
        self,
        qjax: Command,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        package: str,
        extra: str,
    ) -> None:
        find_spec = importlib.util.find_spec

        def without(name: str, *more: Any) -> Any:
            return None if name == package else find_spec(name, *more)

        monkeypatch.setattr("qjax.cli._extras.find_spec", without)
        done = qjax("train", "--run-dir", tmp_path / "run")
        assert_one_line(done, f'needs {package}; install it with `pip install "qjax-qml[{extra}]"`')
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("package", ["typer", "rich"])
    def test_command_line(
        self, qjax: Command, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        for name in [name for name in sys.modules if name.startswith("qjax.cli._app")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr("qjax.cli._app", raising=False)
        monkeypatch.setitem(sys.modules, package, None)
        if package == "rich":
            monkeypatch.setitem(sys.modules, "rich.console", None)
        assert_one_line(qjax("version"), 'install it with `pip install "qjax-qml[cli]"`')


class TestDamagedRun:
    @pytest.fixture
    def folder(self, finished: Run, tmp_path: Path) -> Path:
        shutil.copytree(finished.folder, tmp_path / "run")
        return tmp_path / "run"

    @pytest.mark.parametrize("command", [("train", "--resume"), ("predict",)])
    def test_no_run_directory(self, qjax: Command, tmp_path: Path, command: list[str]) -> None:
        done = qjax(*command, tmp_path)
        assert_one_line(done, f"`{tmp_path}` must be a run directory, but has no `config.json`")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is damaged and cannot be read"),
            ("[]", "is damaged and cannot be read"),
            ('{"version": 1}', "its entries are not those of a run"),
            ('{"version": 2}', "has format 2, but this qjax reads up to 1. Update qjax"),
        ],
    )
    def test_config(self, qjax: Command, folder: Path, text: str, message: str) -> None:
        (folder / "config.json").write_text(text)
        assert_one_line(qjax("predict", folder), str(folder / "config.json"), message)

    @pytest.mark.parametrize("entry", [{"epochs": "many"}, {"epochs": 2.5}, {"model": None}])
    def test_config_with_a_wrong_type(
        self, qjax: Command, folder: Path, entry: dict[str, Any]
    ) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entry}))
        assert_one_line(qjax("predict", folder), "its entries are not those of a run")

    def test_no_checkpoint(self, qjax: Command, folder: Path) -> None:
        shutil.rmtree(folder / "checkpoints")
        assert_one_line(qjax("predict", folder), "must hold a checkpoint, but holds none")

    def test_checkpoint_with_a_flipped_byte(self, qjax: Command, folder: Path) -> None:
        (archive,) = folder.glob("checkpoints/step-*.zip")
        content = bytearray(archive.read_bytes())
        content[content.index(b"packed/c/0") + 100] ^= 1
        archive.write_bytes(content)
        for command in (("train", "--resume"), ("predict",)):
            done = qjax(*command, folder)
            assert_one_line(done, "`arrays.zarr/packed/c/0` cannot be read (Bad CRC-32")

    def test_checkpoint_of_another_model(self, qjax: Command, folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(path.read_text().replace("tiny", "quantum-first"))
        assert_one_line(qjax("predict", folder), "does not fit: it has no leaf")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--model", "quantum-first"], "`model` must stay 'tiny' as in"),
            (["--seed", "3"], "`seed` must stay 7 as in"),
            (["--batch-size", "3", "--epochs", "9"], "`batch_size` must stay 20 as in"),
        ],
    )
    def test_other_options_on_resumption(
        self, qjax: Command, folder: Path, options: list[str], message: str
    ) -> None:
        before = (folder / "config.json").read_text()
        assert_one_line(qjax("train", "--resume", folder, *options), message, str(folder))
        assert (folder / "config.json").read_text() == before
