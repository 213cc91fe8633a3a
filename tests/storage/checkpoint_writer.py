"""Forks children that save checkpoints until they are killed: `python -m` this, from `test_crash`.

A child saves step after step and logs what `wait` has promised. It counts the points of each phase
that it passes, and kills itself at the one it is told, just before a call that changes the disk or
in the middle of a file. The first child is let live, to count the points and to take the time.
"""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from zarr.storage import MemoryStore

from qjax.storage import _arrays, _checkpoint, _files, _manager, _place
from qjax.storage._store import ManifestStore

PHASES = ("writing", "before commit", "after commit", "pruning")
STEPS = range(1, 15)
KEPT = {3, 6}
AT_ONCE = 4  # children, which wait for the disk most of the time


def tree_of(step: int) -> dict[str, Any]:
    """What is saved as a step: an archive, or every third time a folder."""
    draw = np.random.default_rng(step)
    tree = {
        "params": draw.normal(size=(20, 3)).astype(np.float32),
        "half": draw.normal(size=5).astype(ml_dtypes.bfloat16),
        "step": np.int32(step),
    }
    if step % 3 == 0:
        tree["large"] = draw.normal(size=(3, 1000))  # with an array of its own, in three chunks
    return tree


def loss_of(step: int) -> float:
    return float((step * 7) % 5)


class Points:
    """Counts the points that are passed, by phase, and kills the process at one of them."""

    def __init__(self, target: tuple[str, int] | None) -> None:
        self.phase = ""
        self.passed: Counter[str] = Counter()
        self._target = target
        self._lock = threading.Lock()

    def here(self, before_the_end: Callable[[], object] = lambda: None) -> None:
        with self._lock:  # the files of a checkpoint are written by several threads
            self.passed[self.phase] += 1
            is_target = (self.phase, self.passed[self.phase]) == self._target
        if is_target:
            before_the_end()
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.here()
            return function(*arguments, **options)

        return call

    def within(self, phase: str, function: Callable[..., Any], then: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.phase = phase
            self.here()
            result = function(*arguments, **options)
            self.phase = then
            return result

        return call

    def install(self) -> None:
        """Puts points into every phase of a save and before every call that changes the disk."""
        folder, manager = _place._Folder, _manager.CheckpointManager
        _manager.write_checkpoint = self.within(
            "writing", _manager.write_checkpoint, "after commit"
        )
        folder.put = self.within("writing", folder.put, "after commit")
        folder.commit = self.within("before commit", folder.commit, "after commit")
        manager._prune = self.before(manager._prune)
        folder.remove = self.within("pruning", folder.remove, "pruning")
        os.fsync, os.unlink, os.rmdir = map(self.before, (os.fsync, os.unlink, os.rmdir))
        os.rename, os.replace = map(self._renaming, (os.rename, os.replace))
        _files.write_and_sync = self._writing(_files.write_and_sync)

    def _renaming(self, rename: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if self.phase == "writing":  # of an archive, which is written by now
                self.phase = "before commit"
            self.here()
            rename(*arguments)
            if self.phase == "before commit":
                self.phase = "after commit"
            self.here()

        return call

    def _writing(self, write: Callable[..., None]) -> Callable[..., None]:
        def call(file: Any, *content: Any) -> None:
            whole = b"".join(content)
            self.here(lambda: write(file, whole[: len(whole) // 2]))
            write(file, *content)
            self.here()

        return call


def write_in_place(path: str, *content: Any) -> None:
    """The mistake to be caught: the final name of an archive before its content."""
    with open(path, "xb", buffering=0) as file:
        _files.write_and_sync(file, *content)


def commit_first(place: Any, body: Any, tree: _arrays.HostTree, compression: Any) -> dict[str, Any]:
    """The mistake to be caught: the manifest and the final name before the arrays."""
    memory = MemoryStore()
    draft = ManifestStore(memory, "", "in memory")
    draft.write(tree.files)
    _arrays.write_arrays(draft, tree.large, compression)
    manifest = _checkpoint._manifest(body, tree.layout, draft.entries)
    folder = Path(place.name_of(body["step"]))
    folder.mkdir()
    _files.write_atomic(folder / "manifest.json", manifest)
    for name, content in memory._store_dict.items():
        _place.write_synced(folder / name, content.to_bytes())
    return draft.entries


def save_all(folder: Path) -> None:
    """Saves all steps, and logs each when it must be on disk."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    with _manager.CheckpointManager(folder / "checkpoints", keep_last=3, keep_best=1) as manager:
        for step in STEPS:
            metrics = {"val_loss": loss_of(step)}
            manager.save(step, tree_of(step), metrics=metrics, keep=step in KEPT)
            if step % 2 or step in KEPT:
                manager.wait()
                os.write(log, b"%d\n" % step)
            else:  # go on while the disk is busy; none is replaced, so all pass the same points
                while manager._waiting is not None:
                    time.sleep(0.001)


def start(folder: Path, target: tuple[str, int] | None = None) -> int:
    """Forks a child that saves all steps, or is killed at `target`."""
    folder.mkdir()
    child = os.fork()
    if child == 0:
        points = Points(target)
        points.install()
        try:
            save_all(folder)
            (folder / "passed").write_text(json.dumps(points.passed))
        finally:
            os._exit(0)
    return child


def end(child: int) -> int:
    """Waits for a child; returns its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_in_phases(root: Path, kills: int, passed: dict[str, int], phases: tuple[str, ...]) -> None:
    """Kills children in each of `kills` equal parts of a phase, at a random point of the part."""
    draw = random.Random(0)  # at equal distances, they would fall on the same points of each save
    targets = {
        root / f"{phase} {number}": (
            phase,
            1 + int((number + draw.random()) * passed[phase] / kills),
        )
        for phase in phases
        for number in range(kills)
    }
    waiting = list(targets.items())
    for first in range(0, len(waiting), AT_ONCE):
        some = waiting[first : first + AT_ONCE]
        children = [(start(folder, target), target) for folder, target in some]
        for child, target in children:
            assert end(child) == -signal.SIGKILL, target


def kill_at_random(root: Path, kills: int, seconds: float) -> None:
    """Kills children at random moments of their `seconds`."""
    draw, done = random.Random(0), 0
    while done < kills:
        folder = root / f"random {done}"
        child = start(folder)
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        if end(child) == -signal.SIGKILL:
            done += 1
        else:
            shutil.rmtree(folder)


def kill_all(root: Path, kills: int, randoms: int, phases: tuple[str, ...]) -> None:
    root.mkdir()
    begin = time.monotonic()
    end(start(root / "whole"))
    seconds = time.monotonic() - begin
    passed = json.loads((root / "whole" / "passed").read_text())
    kill_in_phases(root, kills, passed, phases)
    kill_at_random(root, randoms, seconds)


def main(root: Path, kills: int, randoms: int) -> None:
    _arrays.SMALL_BYTES, _arrays.CHUNK_BYTES = 1 << 13, 1 << 13
    kill_all(root / "arrays first", kills, randoms, PHASES)
    write_folder, _checkpoint._write_folder = _checkpoint._write_folder, commit_first
    kill_all(root / "commit first", max(kills, 5), 0, PHASES[:1])
    _checkpoint._write_folder, _place.write_atomic = write_folder, write_in_place
    kill_all(root / "archive in place", max(kills, 5), 0, PHASES[:1])


if __name__ == "__main__":
    warnings.simplefilter(
        "ignore"
    )  # of forking beside threads of JAX, which the child does not use
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
