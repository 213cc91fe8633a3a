"""Checkpoints of a run that goes on meanwhile: one writer, one thread, a bounded queue of one.

How a checkpoint is written is decided elsewhere; here, when, and which of them stay.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from qjax._checks import check_choice, check_positive_int
from qjax.errors import RunError
from qjax.storage._arrays import Compression, HostTree, check_compression, copy_to_host
from qjax.storage._background import let_others_run
from qjax.storage._checkpoint import (
    CheckpointInfo,
    Mode,
    Which,
    make_header,
    read_info,
    read_infos,
    restore,
    write_checkpoint,
)
from qjax.storage._closing import Closing
from qjax.storage._files import disk_errors
from qjax.storage._place import PlaceLike, as_place
from qjax.storage._retention import Retention

__all__ = ["CheckpointManager", "Restored"]


class Restored(NamedTuple):
    """A checkpoint that was restored.

    Attributes:
        info: its step, epoch, metrics and metadata.
        tree: the pytree, with NumPy arrays (typed random keys as JAX arrays) for leaves; without
            `like`, a dictionary from leaf name to array.
    """

    info: CheckpointInfo
    tree: Any


class _Save(NamedTuple):
    """A save to be done."""

    header: Mapping[str, Any]
    tree: HostTree

    @property
    def step(self) -> int:
        return self.header["step"]

    @property
    def keep(self) -> bool:
        return self.header["keep"]


class CheckpointManager(Closing):
    """Saves training states in the background and keeps some of them.

    `save` copies the arrays and returns; a thread writes. At most one save is being written and
    one waits. A newer one takes the place of the one that waits, which is then never written,
    unless that is marked `keep`. What is committed survives a kill at any moment.

    An error in the background is raised once, by the next `save`, `wait` or `close`; the state in
    memory and the checkpoints before it are untouched. Close the manager, or use it in a ``with``
    statement: a program that ends without leaves out what was not written yet.

    On a local folder it is the only writer, by a lock that ends with its process. Other stores
    cannot lock: there it is yours to let one process write at a time.

    Args:
        path: folder of the checkpoints, created if need be; an address such as
            ``s3://bucket/run``, if fsspec knows its kind; or a Zarr store.
        every_epochs: how many epochs lie between two times that `is_due`.
        every_seconds: it `is_due` as well when the last save is that long ago; by default, never.
        keep_last: how many of the newest checkpoints stay.
        keep_every: those whose epoch is a multiple of this stay as well.
        keep_best: how many with the best metric stay as well.
        best_metric: which metric that is.
        best_mode: whether ``"min"`` or ``"max"`` of it is best.
        compression: of large arrays: ``"zstd"``, or None for none.
        asynchronous: False to write in `save` itself.
        before_commit: called before each checkpoint is written, in the thread that writes, such
            as the `sync` of a metrics logger: what a checkpoint relies on is then on disk
            first. If it raises, the save fails.
        observe: called after each checkpoint is written, in the same thread, with the readings
            of `time.perf_counter` before and after.

    Raises:
        RunError: if an argument does not fit, another writer holds the folder, or the disk
            refuses.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from qjax.storage import CheckpointManager
        >>> state = {"theta": jnp.arange(3.0), "epoch": jnp.int32(0)}
        >>> with CheckpointManager(tempfile.mkdtemp(), every_epochs=2) as checkpoints:
        ...     for epoch in range(1, 7):
        ...         state = {"theta": state["theta"] / 2, "epoch": state["epoch"] + 1}
        ...         if checkpoints.is_due(epoch):
        ...             checkpoints.save(epoch, state, epoch=epoch, metrics={"val_loss": 1 / epoch})
        ...             checkpoints.wait()
        ...     [info.step for info in checkpoints.list()]
        ...     checkpoints.restore("best", like=state).tree["theta"]
        [2, 4, 6]
        array([0.      , 0.015625, 0.03125 ], dtype=float32)
    """

    def __init__(
        self,
        path: PlaceLike,
        *,
        every_epochs: int = 10,
        every_seconds: float = math.inf,
        keep_last: int = 3,
        keep_every: int | None = None,
        keep_best: int = 1,
        best_metric: str = "val_loss",
        best_mode: Mode = "min",
        compression: Compression = "zstd",
        asynchronous: bool = True,
        before_commit: Callable[[], object] = lambda: None,
        observe: Callable[[float, float], object] = lambda begin, end: None,
    ) -> None:
        check_positive_int(every_epochs, name="every_epochs", error=RunError)
        if not every_seconds > 0:
            raise RunError(f"Argument `every_seconds` must be positive, but is {every_seconds}.")
        check_positive_int(keep_last, name="keep_last", error=RunError)
        if keep_every is not None:
            check_positive_int(keep_every, name="keep_every", error=RunError)
        if keep_best != 0:
            check_positive_int(keep_best, name="keep_best", error=RunError)
        check_choice(best_mode, ("min", "max"), name="best_mode", error=RunError)
        check_compression(compression)
        self._every_epochs, self._every_seconds = every_epochs, every_seconds
        self._before_commit, self._observe = before_commit, observe
        self._retention = Retention(keep_last, keep_every, keep_best, best_metric, best_mode)
        self._compression: Compression = compression
        self._asynchronous = asynchronous
        self._place = as_place(path)
        self._lock = self._place.lock()
        self._place.remove_unfinished()
        self._known: dict[int, CheckpointInfo] = {}
        self._steps = set(self._place.steps())
        self._replaced = 0
        self._saved_at = time.monotonic()
        # All below is shared with the thread, under the condition.
        self._changed = threading.Condition()
        self._waiting: _Save | None = None
        self._writing: _Save | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def replaced(self) -> int:
        """How many saves were never written, since newer ones took their place."""
        return self._replaced

    def is_due(self, epoch: int) -> bool:
        """Whether a checkpoint should be saved after `epoch` epochs."""
        is_late = time.monotonic() - self._saved_at >= self._every_seconds
        return is_late or (epoch > 0 and epoch % self._every_epochs == 0)

    def save(
        self,
        step: int,
        tree: Any,
        *,
        epoch: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        keep: bool = False,
    ) -> None:
        """Copies a pytree of arrays and hands it to the thread that writes.

        It waits for arrays still being computed. It waits for the disk only if the save that
        waits already is marked `keep`, so that no more than three copies are ever held.

        Args:
            step: non-negative number of the checkpoint; must be a new one.
            tree: pytree of arrays, as for `save_checkpoint`.
            epoch: how many epochs are done.
            metrics: numbers by name, among which `best_metric` is looked up.
            metadata: JSON values to keep with it.
            keep: whether it is to be written and to stay in any case.

        Raises:
            RunError: if an argument does not fit, or an earlier save failed; this one is then not
                done.
        """
        header = make_header(step, epoch=epoch, metrics=metrics, metadata=metadata, keep=keep)
        with self._changed:
            self._check_open()
            self._changed.wait_for(lambda: self._waiting is None or not self._waiting.keep)
            self._raise_error()
            self._check_is_new(header["step"])
            save = _Save(header, copy_to_host(tree))
            self._saved_at = time.monotonic()
            if self._asynchronous:
                self._hand_over(save)
                return
        self._write(save)

    def wait(self) -> None:
        """Returns when all that was saved is on disk.

        Raises:
            RunError: if a save failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None and self._writing is None)
            self._raise_error()

    def steps(self) -> Sequence[int]:
        """Returns the steps of the committed checkpoints, in ascending order."""
        return self._place.steps()

    def remove_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, whatever keeps them otherwise.

        A run that is resumed from `step` takes those steps again. The last one goes first, so
        that a kill leaves a shorter history without a gap.

        Raises:
            RunError: if a save failed, or one cannot be deleted.
        """
        self.wait()
        for later in [found for found in reversed(self._place.steps()) if found > step]:
            self._remove(later)
            with disk_errors("Folder", self._place.name):
                self._place.sync()

    def list(self) -> list[CheckpointInfo]:
        """Reads what the committed checkpoints say of themselves, by step."""
        return read_infos(self._place)

    def restore(
        self, step: Which = "latest", *, epoch: int | None = None, like: Any = None
    ) -> Restored:
        """Loads a committed checkpoint after verifying every byte of it; arrays come on the host.

        Args:
            step: number of the checkpoint, ``"latest"`` or ``"best"``.
            epoch: instead of a step, the newest checkpoint after this many epochs.
            like: as for `load_checkpoint`.

        Raises:
            RunError: as `load_checkpoint` does.
        """
        best = self._retention
        return Restored(*restore(self._place, step, epoch, like, best.metric, best.mode))

    def close(self) -> None:
        """Writes what waits, ends the thread and lets the next writer in.

        Raises:
            RunError: if a save failed.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._lock is not None:
            self._lock.release()
        self._raise_error()

    def _hand_over(self, save: _Save) -> None:
        self._replaced += self._waiting is not None
        self._waiting = save
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="qjax-checkpoints", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        let_others_run()
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        # A function of its own, so that the thread holds no arrays while it has nothing to do.
        save = self._take()
        if save is None:
            return False
        error = None
        try:
            self._write(save)
        except BaseException as caught:
            error = caught
        with self._changed:
            self._writing = None
            self._error = self._error or error
            self._changed.notify_all()
        return True

    def _take(self) -> _Save | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closed)
            self._writing, self._waiting = self._waiting, None
            self._changed.notify_all()
            return self._writing

    def _write(self, save: _Save) -> None:
        self._before_commit()
        begin = time.perf_counter()
        info = write_checkpoint(self._place, save.header, save.tree, self._compression)
        self._known[info.step] = info
        self._steps = self._steps | {info.step}
        self._prune()
        self._observe(begin, time.perf_counter())

    def _prune(self) -> None:
        for step in self._steps - self._known.keys():  # of an earlier process
            self._known[step] = read_info(self._place, step)
        for step in self._retention.doomed([self._known[step] for step in sorted(self._known)]):
            self._remove(step)

    def _remove(self, step: int) -> None:
        with disk_errors("Checkpoint", lambda: self._place.name_of(step), "deleted"):
            self._place.remove(step)
        self._known.pop(step, None)
        self._steps = self._steps - {step}

    def _check_open(self) -> None:
        if self._closed:
            raise RunError(
                f"Checkpoints below `{self._place.name}` must be saved before the manager is "
                "closed. Open a new one."
            )

    def _check_is_new(self, step: int) -> None:
        queued = {save.step for save in (self._writing, self._waiting) if save is not None}
        if step in self._steps | queued:
            raise RunError(
                f"Checkpoint `{self._place.name_of(step)}` must be a new one, but exists."
            )

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
