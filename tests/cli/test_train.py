import json
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.cli import main
from qjax.cli._run_directory import make_run_directory
from qjax.data import load_digits
from qjax.nn import QuantumFeatureExtractor, QuantumReadout, QuantumSequential, models
from qjax.storage import (
    AsyncMetricsLogger,
    inspect_checkpoints,
    list_checkpoints,
    load_checkpoint,
    read_metrics,
)
from qjax.train import Learner
from tests.cli.conftest import SETTINGS, Command, Run

KEYS = {
    "test_accuracy",
    "train_accuracy",
    "frozen_test_accuracy",
    "linear_test_accuracy",
    "first_step_seconds",
    "wall_seconds",
    "circuits_per_second",
    "quantum_flops_share",
    "quantum_parameter_share",
    "seed",
    "versions",
}


MEASURED = [
    *("timestamp", "batch_time_ms", "throughput_samples_per_sec"),
    *("cpu_percent", "memory_mb", "device_memory_mb"),
]


def leaves(run_dir: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(run_dir / "checkpoints").tree


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    def words(leaf: Any) -> np.ndarray:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    assert one.keys() == other.keys()
    for name, leaf in one.items():
        assert words(leaf).tobytes() == words(other[name]).tobytes(), name


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of a run without the columns that are measured in seconds or bytes."""
    table = read_metrics(run_dir).drop_columns(MEASURED)
    return table.to_pylist()


class TestRunDirectory:
    def test_holds_these_files_and_no_pickle(self, finished: Run) -> None:
        assert sorted(os.listdir(finished.folder)) == [
            "checkpoints",
            "config.json",
            "metrics",
            "summary.json",
            "training.png",
        ]
        files = [path for path in finished.folder.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {"", ".json", ".parquet", ".png", ".zip"}
        assert {path.name for path in files if not path.suffix} == {".lock"}
        for archive in finished.folder.glob("checkpoints/*.zip"):
            members = [Path(name) for name in zipfile.ZipFile(archive).namelist()]
            assert {path.name for path in members if path.suffix != ".json"} == {"0"}

    def test_summary(self, finished: Run) -> None:
        assert finished.summary.keys() >= KEYS
        for name in ("test", "train", "frozen_test", "linear_test"):
            assert 0 <= finished.summary[f"{name}_accuracy"] <= 1
        assert 0 < finished.summary["quantum_flops_share"] < 1
        assert 0 < finished.summary["quantum_parameter_share"] <= 1
        assert finished.summary["circuits_per_second"] > 0
        assert 0 < finished.summary["first_step_seconds"] < finished.summary["wall_seconds"]
        assert finished.summary["seed"] == 7
        assert set(finished.summary["versions"]) == {"python", "jax", "flax", "qjax"}
        assert finished.summary["train_samples"] == 72
        assert finished.summary["test_samples"] == 450

    def test_linear_model_is_that_of_scikit_learn(self, finished: Run) -> None:
        linear_model = pytest.importorskip("sklearn.linear_model")
        data = load_digits().take(96).with_validation(0.25)
        model = linear_model.LogisticRegression(max_iter=300).fit(data.train_x, data.train_y)
        expected = model.score(data.test_x, data.test_y)
        assert finished.summary["linear_test_accuracy"] == pytest.approx(expected)

    def test_config(self, finished: Run) -> None:
        config = json.loads((finished.folder / "config.json").read_text())
        assert config == {
            "version": 1,
            "model": "tiny",
            "dataset": "digits",
            "data_dir": None,
            "samples": 96,
            "validation": 0.25,
            "epochs": 3,
            "batch_size": 20,
            "learning_rate": 0.05,
            "seed": 7,
        }

    def test_metrics(self, finished: Run) -> None:
        rows = read_metrics(finished.folder).to_pylist()
        assert [row["step"] for row in rows] == [1, 2, 3, 4, -1, 5, 6, 7, 8, -1, 9, 10, 11, 12, -1]
        assert all(row["val_accuracy"] is not None for row in rows if row["step"] == -1)

    def test_plot(self, finished: Run) -> None:
        content = (finished.folder / "training.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) > 10_000

    def test_checkpoint(self, finished: Run) -> None:
        assert list_checkpoints(finished.folder / "checkpoints") == [12]
        checkpoint = load_checkpoint(finished.folder / "checkpoints")
        assert (checkpoint.metadata["epoch"], checkpoint.metadata["sums"]["steps"]) == (3, 0)


def only_circuits(*, num_features: int, num_classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """Circuits on 6 qubits: no parameter has as many numbers as a state has amplitudes."""
    assert num_features == 2**6
    return QuantumSequential(
        QuantumFeatureExtractor(6, depth=1, rngs=rngs),
        QuantumReadout(6, num_classes=num_classes, rngs=rngs),
    )


@pytest.fixture(scope="module")
def circuits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `only_circuits`."""
    folder = tmp_path_factory.mktemp("runs") / "circuits"
    options = ("--samples", "40", "--batch-size", "20", "--epochs", "2", "--profile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "only-circuits", only_circuits)
        with pytest.raises(SystemExit) as stopped:
            main(["train", "--model", "only-circuits", *options, "--run-dir", str(folder)])
    assert not stopped.value.code
    return folder


class TestNoAmplitudes:
    """Neither states nor anything of their size is ever written to a run directory."""

    def test_checkpoints_hold_the_training_state_alone(self, circuits_run: Path) -> None:
        model = only_circuits(num_features=64, num_classes=10, rngs=nnx.Rngs(0))
        state = Learner(model, optax.adam(optax.constant_schedule(0.1))).abstract_state
        expected = {
            (jax.tree_util.keystr(path), leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        }
        for info in inspect_checkpoints(circuits_run / "checkpoints"):
            assert {(leaf.name, tuple(leaf.shape)) for leaf in info.leaves} == expected
            assert all(np.prod(leaf.shape) < 2**6 for leaf in info.leaves)

    def test_arrays_on_disk_are_those_of_the_checkpoints(self, circuits_run: Path) -> None:
        for info in inspect_checkpoints(circuits_run / "checkpoints"):
            archive = zipfile.Path(circuits_run / "checkpoints" / f"step-{info.step:09d}.zip")
            kinds = [folder / "zarr.json" for folder in (archive / "arrays.zarr").iterdir()]
            arrays = [json.loads(kind.read_text()) for kind in kinds if kind.exists()]
            assert arrays
            stored = [(array["shape"], array["data_type"]) for array in arrays]
            expected = [(leaf.shape, leaf.dtype) for leaf in info.leaves]
            sizes = [
                sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in some)
                for some in (stored, expected)
            ]
            assert sizes[0] == sizes[1]

    def test_rows_hold_single_numbers(self, circuits_run: Path) -> None:
        kinds = {str(field.type) for field in read_metrics(circuits_run).schema}
        assert kinds <= {"int32", "int64", "double", "string", "timestamp[us, tz=UTC]"}

    def test_nothing_else_holds_numbers_but_text_and_pictures(self, circuits_run: Path) -> None:
        others = [
            path.relative_to(circuits_run)
            for path in circuits_run.rglob("*")
            if path.is_file() and path.suffix != ".zip"
        ]
        names = {path.name for path in others if path.suffix not in (".json", ".png")}
        assert names == {".lock", "part-000000.parquet"}

        def longest(value: Any) -> int:
            if isinstance(value, dict):
                return max(map(longest, value.values()), default=0)
            return len(value) if isinstance(value, list) else 0

        texts = [path for path in others if path.suffix == ".json" and path.stem != "timeline"]
        assert all(longest(json.loads((circuits_run / path).read_text())) < 2**6 for path in texts)


class TestOutput:
    def test_one_line_for_each_epoch(self, finished: Run) -> None:
        lines = [line for line in finished.out.splitlines() if line.startswith("epoch")]
        assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
        assert all("validation loss" in line for line in lines)

    def test_table_and_run_directory(self, finished: Run) -> None:
        for name, key in (("of tiny", ""), ("the same with", "frozen_"), ("a linear", "linear_")):
            (line,) = (line for line in finished.out.splitlines() if name in line)
            numbers = [finished.summary[f"{key}{part}_accuracy"] for part in ("train", "test")]
            assert line.split()[-2:] == [f"{number:.4f}" for number in numbers]
        for name in ("seconds to the first step", "seconds in all", "circuits per second"):
            assert name in finished.out
        assert finished.out.splitlines()[-1] == f"run directory: {finished.folder}"

    def test_no_escape_codes(self, finished: Run) -> None:
        assert "\x1b" not in finished.out

    def test_default_run_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        before = date.today().isoformat()
        made = [make_run_directory(None, "tiny") for _ in range(3)]
        assert made[0].parent == Path("runs")
        assert made[0].name in (f"{before}-tiny", f"{date.today().isoformat()}-tiny")
        assert [path.name for path in made[1:]] == [f"{made[0].name}-{n}" for n in (2, 3)]
        assert all(path.is_dir() for path in made)


class TestFrozen:
    def test_angles_stay_and_the_rest_moves(self, finished: Run) -> None:
        (start, trained), (frozen_start, frozen) = finished.states
        jax.tree.map(np.testing.assert_array_equal, start, frozen_start)
        before, after, kept = (
            {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pairs}
            for pairs in (
                jax.tree_util.tree_leaves_with_path(state.params)
                for state in (start, trained, frozen)
            )
        )
        for name in before:
            assert (before[name] != after[name]).any(), name
            assert (before[name] == kept[name]).all() == ("theta" in name), name


@pytest.fixture(scope="module")
def five_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five epochs that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.raises(SystemExit) as stopped:
        main(["train", *SETTINGS, "--epochs", "5", "--run-dir", str(folder)])
    assert not stopped.value.code
    return folder


DRAW = random.Random(0)

# Where a run of five epochs of five steps is killed, each time after the one before; see `tiny`.
PLACES = [
    "journal 2",
    "metrics 1",
    f"moment {DRAW.randrange(40)}",
    "checkpoint 1",
    f"row {DRAW.randrange(16, 25)}",
]


class TestResume:
    """A run that was cut short gives the same bits as one that never stopped."""

    def test_with_more_epochs(self, qjax: Command, finished: Run, tmp_path: Path) -> None:
        folder = tmp_path / "longer"
        shutil.copytree(finished.folder, folder)
        done = qjax("train", "--resume", folder, "--epochs", "4")
        assert not done.code
        assert "resuming after epoch 3 of 4" in done.out
        assert json.loads((folder / "config.json").read_text())["epochs"] == 4
        assert load_checkpoint(folder / "checkpoints").metadata["epoch"] == 4
        rows = read_metrics(folder).to_pylist()
        assert [row["step"] for row in rows if row["step"] > 0] == list(range(1, 17))

    def test_of_a_finished_run_trains_no_more(
        self, qjax: Command, finished: Run, tmp_path: Path
    ) -> None:
        folder = tmp_path / "again"
        shutil.copytree(finished.folder, folder)
        done = qjax("train", "--resume", folder)
        assert "resuming after epoch 3 of 3" in done.out
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["test_accuracy"] == finished.summary["test_accuracy"]
        assert summary["first_step_seconds"] is None

    def test_without_a_checkpoint_begins_anew(
        self, qjax: Command, finished: Run, tmp_path: Path
    ) -> None:
        folder = tmp_path / "again"
        shutil.copytree(finished.folder, folder)
        shutil.rmtree(folder / "checkpoints")
        assert "resuming after epoch 0 of 3" in qjax("train", "--resume", folder).out
        assert_same_bits(leaves(folder), leaves(finished.folder))
        assert read_metrics(folder).num_rows == read_metrics(finished.folder).num_rows

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_killed_again_and_again(self, five_epochs: Path, tmp_path: Path) -> None:
        folder = tmp_path / "killed"
        start = ["train", *SETTINGS, "--epochs", "5", "--run-dir", str(folder)]
        resume = ["train", "--resume", str(folder)]
        jobs = [(start, PLACES[0]), *((resume, place) for place in PLACES[1:]), (resume, None)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.cli.tiny", str(tmp_path / "compiled")],
            input="\n".join(json.dumps({"arguments": a, "place": place}) for a, place in jobs),
            capture_output=True,
            text=True,
            timeout=600,
        )
        codes = [int(line) for line in done.stdout.split()]
        assert codes == [-signal.SIGKILL] * len(PLACES) + [0], done.stderr
        assert_same_bits(leaves(folder), leaves(five_epochs))
        assert rows(folder) == rows(five_epochs)


class TestInterrupt:
    def test_saves_and_says_how_to_go_on(
        self, qjax: Command, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "run"
        write = AsyncMetricsLogger.write

        def interrupted(self: Any, row: Any) -> None:
            write(self, row)
            if row["step"] == 7:
                raise KeyboardInterrupt

        more = ("--validation", "0.25", "--seed", "7", "--epochs", "3", "--run-dir", folder)
        with monkeypatch.context() as patch:
            patch.setattr(AsyncMetricsLogger, "write", interrupted)
            done = qjax("train", *SETTINGS, *more)
        assert done.code == 130
        (step,) = list_checkpoints(folder / "checkpoints")
        assert step >= 7
        assert f"The state after step {step} (epoch" in done.out
        assert f"interrupted; go on with: qjax train --resume {folder}" in done.out
        again = qjax("train", "--resume", folder)
        assert not again.code
        assert f"resuming after epoch {(step - 1) // 4} of 3, step {step}" in again.out
        assert_same_bits(leaves(folder), leaves(finished.folder))
        assert rows(folder) == rows(finished.folder)
        summary = json.loads((folder / "summary.json").read_text())
        for key in ("test_accuracy", "train_accuracy", "frozen_test_accuracy", "epochs"):
            assert summary[key] == finished.summary[key]
        config, expected = ((run / "config.json").read_text() for run in (folder, finished.folder))
        assert config == expected


class TestPredict:
    def test_gives_the_accuracy_of_the_summary(self, qjax: Command, finished: Run) -> None:
        done = qjax("predict", finished.folder)
        accuracy = finished.summary["test_accuracy"]
        assert not done.code
        assert done.out == (
            f"test accuracy {accuracy:.4f} ({round(450 * accuracy)} of 450 images of digits), "
            "tiny after step 12\n"
        )

    def test_needs_checkpoint_and_config_only(
        self, qjax: Command, finished: Run, tmp_path: Path
    ) -> None:
        shutil.copytree(finished.folder / "checkpoints", tmp_path / "checkpoints")
        shutil.copy(finished.folder / "config.json", tmp_path)
        assert qjax("predict", tmp_path).out == qjax("predict", finished.folder).out
