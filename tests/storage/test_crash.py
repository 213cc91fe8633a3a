"""A process that saves checkpoints is killed; what it committed must be there, bit for bit.

Each kill is a SIGKILL of a real process: at points spread over each phase of a save, or at random
moments. The environment variable `QJAX_KILLS` says how many kills each phase gets; 40 is the full
test, which takes some minutes.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from qjax.errors import RunError
from qjax.storage._checkpoint import inspect_checkpoints, load_checkpoint
from qjax.storage._manager import CheckpointManager
from tests.storage.checkpoint_writer import KEPT, PHASES, loss_of, tree_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KILLS = int(os.environ.get("QJAX_KILLS", "4"))
RANDOM_KILLS = KILLS * 5 // 2
ROOT = Path(__file__).resolve().parents[2]


def left(root: Path) -> list[Path]:
    """The folders that killed writers left."""
    return sorted(path for path in root.iterdir() if path.name != "whole")


def promised(folder: Path) -> list[int]:
    """The steps that the killed process was told are on disk."""
    log = folder / "log"
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []


def check(folder: Path) -> None:
    """What was promised is there, all that is listed is whole, and the next writer goes on."""
    path, steps = folder / "checkpoints", promised(folder)
    infos = inspect_checkpoints(path)
    listed = {info.step for info in infos}
    assert [info.problem for info in infos if info.problem] == []
    for step in listed:
        check_bits(path, step)
    assert set(steps[-1:]) <= listed
    assert set(steps) & KEPT <= listed
    if steps:
        assert min(map(loss_of, listed)) <= min(map(loss_of, steps))
    with CheckpointManager(path) as manager:
        names = {name for name in os.listdir(path) if name != ".lock"}
        assert names == {f"step-{step:09d}{'' if step % 3 == 0 else '.zip'}" for step in listed}
        manager.save(99, tree_of(99))
    check_bits(path, 99)


def check_bits(path: Path, step: int) -> None:
    tree = tree_of(step)
    restored = load_checkpoint(path, step, like=tree).tree
    for name, leaf in tree.items():
        assert restored[name].dtype == leaf.dtype
        assert restored[name].tobytes() == leaf.tobytes()


def check_all(folders: list[Path]) -> None:
    for folder in folders:
        try:
            check(folder)
        except Exception as error:
            error.add_note(f"after the kill `{folder.name}`")
            raise


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where writers were killed, a folder for each order of a commit."""
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.storage.checkpoint_writer"]
    arguments = [str(root), str(KILLS), str(RANDOM_KILLS)]
    subprocess.run([*command, *arguments], cwd=ROOT, check=True, timeout=3000)
    return root


@pytest.fixture(scope="module")
def killed(root: Path) -> list[Path]:
    return left(root / "arrays first")


def test_nothing_committed_is_lost(killed: list[Path]) -> None:
    check_all(killed)


def test_all_kills_were_done_and_are_spread_over_the_run(killed: list[Path]) -> None:
    kinds = Counter(folder.name.rsplit(maxsplit=1)[0] for folder in killed)
    assert kinds == {**dict.fromkeys(PHASES, KILLS), "random": RANDOM_KILLS}
    for kind in kinds:
        reached = {len(promised(folder)) for folder in killed if folder.name.startswith(kind)}
        assert len(reached) > 1, kind


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("commit first", r"step-\d+` is damaged: "),
        ("archive in place", r"step-\d+\.zip` is damaged: it is no whole ZIP file"),
    ],
)
def test_the_other_order_is_caught(root: Path, order: str, message: str) -> None:
    folders = left(root / order)
    with pytest.raises((RunError, AssertionError), match=message):
        check_all(folders)
