"""Files and folders written so that they are whole or absent, and errors that say what to do."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from qjax.errors import QjaxError, RunError

__all__ = [
    "disk_errors",
    "sync_folder",
    "sync_folders",
    "write_and_sync",
    "write_atomic",
    "write_synced",
]

REMEDIES = {
    errno.ENOSPC: "Free some space on that disk, or choose another folder.",
    errno.EDQUOT: "Free some of the quota, or choose another folder.",
    errno.EACCES: "Check the permissions, or choose another folder.",
    errno.EPERM: "Check the permissions, or choose another folder.",
    errno.EROFS: "The file system is read-only: choose another folder.",
    errno.ENOTDIR: "A part of the path is a file: choose another folder.",
}


@contextmanager
def disk_errors(
    what: str, path: str | Path | Callable[[], str], action: str = "written"
) -> Iterator[None]:
    """Turns any `OSError` inside the block into a `RunError` that names `path` and a remedy.

    Args:
        what: the thing being written or read, first word in capitals, such as ``"Checkpoint"``.
        path: where, or a function that finds out.
        action: what could not be done to it: ``"written"``, ``"read"`` or ``"deleted"``.

    Raises:
        RunError: instead of the `OSError`, with its `errno`.
    """
    try:
        yield
    except QjaxError:
        raise
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number else str(error)
        path = path() if callable(path) else path
        remedy = REMEDIES.get(number, "Check the folder, or choose another one.")
        message = f"{what} `{path}` could not be {action}: {reason}. {remedy}"
        if action == "written":
            message += " What was committed before is intact."
        wrapped = RunError(message)
        wrapped.errno = error.errno
        raise wrapped from error


def write_atomic(path: str | Path, *content: Any) -> None:
    """Writes a file under a temporary name, syncs it to disk and renames it into place.

    Args:
        path: the file; one that exists is replaced.
        content: its bytes, or things with a buffer of them, one behind the other.

    Raises:
        OSError: if it cannot be written; the temporary file is removed and `path` is untouched.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.tmp")
    try:
        with open(temporary, "wb", buffering=0) as file:
            write_and_sync(file, *content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(folder or ".")


def sync_folder(folder: str | Path) -> None:
    """Syncs the names in a folder to disk, where the platform can."""
    if os.name == "nt":  # Windows cannot open a folder.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folders(root: Path) -> None:
    """Syncs the names in every folder below `root`, and in `root` itself, to disk."""
    for folder, _, _ in os.walk(root, topdown=False):
        sync_folder(Path(folder))


def write_synced(path: Path, content: Any) -> None:
    """Writes a new file, and the folders above it, and syncs the file to disk.

    Args:
        path: the file.
        content: anything with a buffer of bytes.

    Raises:
        OSError: if it cannot be written, or exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb", buffering=0) as file:
        write_and_sync(file, content)


def write_and_sync(file: BinaryIO, *content: Any) -> None:
    """Writes at the end of a file that has no buffer, and syncs it to disk.

    Args:
        file: an open file.
        content: bytes, or things with a buffer of them, one behind the other.

    Raises:
        OSError: if it cannot be written; a part of it may have been.
    """
    for piece in content:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
    os.fsync(file.fileno())
