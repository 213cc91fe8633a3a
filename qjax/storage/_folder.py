"""The files of one folder, on a disk or on any file system that fsspec knows.

Each file is written whole or not at all. What the files mean is decided elsewhere.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from qjax.storage._files import sync_folder, write_atomic
from qjax.storage._lock import WriterLock

__all__ = ["Folder", "open_folder"]


class Folder(Protocol):
    """A flat folder of files."""

    def path(self, name: str = "") -> str:
        """Returns the path of a file, or of the folder, as messages show it."""
        ...

    def lock(self) -> WriterLock | None:
        """Makes the folder where there is none, and the caller its only writer, where it can.

        Raises:
            RunError: if another writer has it, or it cannot be made.
        """

    def names(self) -> list[str]:
        """Returns the names in the folder; raises `FileNotFoundError` if there is none."""
        ...

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Writes or replaces a file; a reader sees all of the old one or all of the new."""

    def create(self, name: str) -> BinaryIO | None:
        """Opens a new or emptied file to append to; None where that cannot be done."""
        ...

    def sync(self) -> None:
        """Makes sure that created files have their names after a power cut."""

    def remove(self, name: str) -> None:
        """Removes a file."""


def open_folder(parent: str | Path, name: str) -> Folder:
    """Returns the folder `name` below `parent`, which is a path or a URL of fsspec."""
    if "://" in str(parent):
        return _RemoteFolder(f"{str(parent).rstrip('/')}/{name}")
    return _LocalFolder(Path(parent) / name)


class _LocalFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str = "") -> str:
        return str(self._folder / name)

    def lock(self) -> WriterLock:
        return WriterLock(self._folder)

    def names(self) -> list[str]:
        return os.listdir(self._folder)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        write_atomic(self._folder / name, content)

    def create(self, name: str) -> BinaryIO:
        return open(self._folder / name, "wb", buffering=0)

    def sync(self) -> None:
        sync_folder(self._folder)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()
        sync_folder(self._folder)  # or a power cut could bring it back beside what came later


class _RemoteFolder:
    """A folder of an object store, where one object is put whole or not at all."""

    def __init__(self, url: str) -> None:
        import fsspec  # takes a third of a second

        self._url = url
        self._system: Any
        self._system, self._folder = fsspec.core.url_to_fs(url)

    def path(self, name: str = "") -> str:
        return f"{self._url}/{name}" if name else self._url

    def lock(self) -> None:
        with _os_errors():
            self._system.makedirs(self._folder, exist_ok=True)

    def names(self) -> list[str]:
        with _os_errors():
            self._system.invalidate_cache(self._folder)
            entries = self._system.ls(self._folder, detail=False)
        return [entry.rstrip("/").rpartition("/")[2] for entry in entries]

    def read(self, name: str) -> bytes:
        with _os_errors():
            return self._system.cat_file(f"{self._folder}/{name}")

    def write(self, name: str, content: bytes) -> None:
        with _os_errors():
            self._system.pipe_file(f"{self._folder}/{name}", content)

    def create(self, name: str) -> None:
        return None  # an object is put whole

    def sync(self) -> None:
        pass

    def remove(self, name: str) -> None:
        with _os_errors():
            self._system.rm_file(f"{self._folder}/{name}")


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turns what the clients of some stores raise into an `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
