"""One writer per folder: an exclusive lock that ends with its process, however that ends."""

import os
import socket
import sys
import weakref
from pathlib import Path

from qjax.errors import RunError
from qjax.storage._files import disk_errors

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["WriterLock"]

LOCK = ".lock"
LOCKED_BYTE = 1 << 30  # on Windows nobody else can read what is locked


class WriterLock:
    """Holds the file ``.lock`` of a folder until it is released or the process ends.

    The file stays behind; only the lock on it counts. A process that is forked does not hold it.

    Args:
        folder: where to write, created if need be.

    Raises:
        RunError: if another writer holds it, or the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        with disk_errors("Lock file", path):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _claim(descriptor, folder, path)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor: int | None = descriptor
        _HELD.add(self)

    def release(self) -> None:
        """Lets the next writer in."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            _unlock(self._descriptor)
            self.forget()

    def forget(self) -> None:
        """Closes the file; the lock goes with the last process that has it open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _claim(descriptor: int, folder: Path, path: Path) -> None:
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        holder = os.read(descriptor, 1000).decode(errors="replace").split()
        who = f"process {holder[0]} on {holder[1]}" if len(holder) == 2 else "another one"
        raise RunError(
            f"Folder `{folder}` must have one writer, but {who} holds the lock on `{path}`. Wait "
            "until it ends, or choose another folder."
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    # A child that outlives its parent would go on holding the lock.
    os.register_at_fork(after_in_child=_forget_all)
