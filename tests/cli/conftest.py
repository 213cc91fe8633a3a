"""A small model under the name "tiny", and a finished run of it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qjax.cli import _run, main
from qjax.nn import models
from qjax.train import AsyncQuantumTrainer, FitResult, Learner, TrainState, fit
from tests.cli.tiny import tiny

SETTINGS = ("--model", "tiny", "--samples", "96", "--batch-size", "20", "--learning-rate", "0.05")


@pytest.fixture(scope="package", autouse=True)
def tiny_model() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "tiny", tiny)
        yield


class Outcome(NamedTuple):
    """What a command line did."""

    code: Any
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def qjax(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process."""

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(stopped.value.code, str(out), str(err))

    return run


class Run(NamedTuple):
    """A finished run; `states` are those before and after each training, in order."""

    folder: Path
    out: str
    summary: dict[str, Any]
    states: list[tuple[TrainState, TrainState]]


@pytest.fixture(scope="package")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three epochs of the small model on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    text = tmp_path_factory.mktemp("out") / "out"
    arguments = ["train", *SETTINGS, "--validation", "0.25", "--epochs", "3", "--seed", "7"]
    states = []

    def recorded_fit(learner: Learner, state: TrainState, *more: Any, **options: Any) -> FitResult:
        result = fit(learner, state, *more, **options)
        states.append((state, result.state))
        return result

    train = AsyncQuantumTrainer.fit

    def recorded_train(self: AsyncQuantumTrainer, data: Any, *more: Any, resume: Any) -> FitResult:
        result = train(self, data, *more, resume=resume)
        states.append((resume, result.state))
        return result

    with text.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        patch.setattr(_run, "fit", recorded_fit)
        patch.setattr(AsyncQuantumTrainer, "fit", recorded_train)
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--run-dir", str(folder)])
    assert not stopped.value.code
    summary = json.loads((folder / "summary.json").read_text())
    return Run(folder, text.read_text(), summary, states)
