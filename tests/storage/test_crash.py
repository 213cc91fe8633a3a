"""A process is killed at each step of writing; nothing that it committed may be lost."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qjax.storage import list_checkpoints, load_checkpoint, read_metrics, save_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

POINTS = 40

# Forks children that write step after step, report each commit, and kill themselves without
# warning before the n-th call that touches the disk. The first one is let live, to count them.
WRITER = """
import os, pathlib, shutil, signal, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from qjax.storage import MetricsWriter, prune_checkpoints, save_checkpoint
root, points = pathlib.Path(sys.argv[1]), int(sys.argv[2])

left = [10**9]

def kill_before(calls):
    left[0] = calls
    def counted(function):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return call
    os.fsync, os.rename, os.replace = map(counted, (os.fsync, os.rename, os.replace))
    os.mkdir, shutil.rmtree, os.unlink = map(counted, (os.mkdir, shutil.rmtree, os.unlink))

def write(folder):
    (folder / "committed").touch()
    with open(folder / "committed", "w") as committed:
        with MetricsWriter(folder, flush_seconds=0) as metrics:
            for step in range(1, 5):
                metrics.write({"epoch": 1, "step": step})
                print("metrics", step, file=committed, flush=True)
                tree = {"a": np.full(5, step), "large": np.full((100, 100), float(step))}
                save_checkpoint(folder / "checkpoints", step, tree)
                print("checkpoint", step, file=committed, flush=True)
                prune_checkpoints(folder / "checkpoints", 2)

def write_in_child(folder, calls):
    folder.mkdir()
    if os.fork() == 0:
        kill_before(calls)
        write(folder)
        (folder / "calls").write_text(str(calls - left[0]))
        os._exit(0)
    os.wait()

write_in_child(root / "whole", 10**9)
total = int((root / "whole" / "calls").read_text())
for point in range(points):
    write_in_child(root / str(point), point * total // points)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", WRITER, str(root), str(POINTS)], check=True, timeout=300)
    return root


def committed(folder: Path, what: str) -> list[int]:
    lines = (line.split() for line in (folder / "committed").read_text().splitlines())
    return [int(step) for kind, step in lines if kind == what]


@pytest.mark.parametrize("point", range(POINTS))
def test_everything_committed_is_there(killed: Path, point: int) -> None:
    folder = killed / str(point)
    metrics, checkpoints = (committed(folder, what) for what in ("metrics", "checkpoint"))
    if metrics:
        steps = read_metrics(folder)["step"].to_pylist()
        assert steps == list(range(1, len(steps) + 1))
        assert len(metrics) <= len(steps) <= len(metrics) + 1
    if checkpoints:
        assert set(checkpoints[-1:]) <= set(list_checkpoints(folder / "checkpoints"))


@pytest.mark.parametrize("point", range(POINTS))
def test_every_checkpoint_listed_is_whole(killed: Path, point: int) -> None:
    folder = killed / str(point) / "checkpoints"
    for step in list_checkpoints(folder):
        tree = load_checkpoint(folder, step).tree
        np.testing.assert_array_equal(tree["['a']"], np.full(5, step))
        np.testing.assert_array_equal(tree["['large']"], np.full((100, 100), step))
    save_checkpoint(folder, 99, {"a": np.zeros(1)})  # and writing goes on


def test_kills_are_spread_over_the_run(killed: Path) -> None:
    counts = [len(committed(killed / str(point), "checkpoint")) for point in range(POINTS)]
    assert counts == sorted(counts)
    assert set(counts) >= {0, 1, 2, 3}
    assert committed(killed / "whole", "checkpoint") == [1, 2, 3, 4]
