"""Where checkpoints lie: a local folder, or any other Zarr store.

A checkpoint is one archive, or a folder if it has large leaves. On a disk either is written under a
temporary name, synced, and renamed. Other stores cannot rename: there an archive is put at once,
and the manifest of a folder is written last; a folder without one does not exist.
"""

import asyncio
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Protocol, TypeAlias

from zarr.abc.buffer import Buffer
from zarr.abc.store import Store
from zarr.buffer import cpu, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from qjax.errors import RunError
from qjax.storage._archive import read_members
from qjax.storage._files import sync_folder, sync_folders, write_atomic, write_synced
from qjax.storage._lock import WriterLock
from qjax.storage._store import GROUP, INLINE_BYTES, FileEntry, ManifestStore

__all__ = ["MANIFEST", "Place", "PlaceLike", "as_place"]

PlaceLike: TypeAlias = str | Path | Store

MANIFEST = "manifest.json"
ARCHIVE = ".zip"
STEP = re.compile(rf"step-(\d{{9,}})({re.escape(ARCHIVE)})?")
UNFINISHED = re.compile(r"\.step-\d{9,}\.([0-9a-f]{8}|zip)\.tmp")


class Place(Protocol):
    """Holds checkpoints by step; each is a `ManifestStore` and the bytes of its manifest."""

    name: str

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are committed, ascending."""
        ...

    def name_of(self, step: int) -> str:
        """What to call the checkpoint of a step."""
        ...

    def read_manifest(self, step: int) -> bytes | None:
        """Its manifest, or None if it has none."""
        ...

    def open(self, step: int, entries: dict[str, FileEntry]) -> ManifestStore:
        """Its files, to read."""
        ...

    def put(self, step: int, archive: Sequence[bytes]) -> None:
        """Makes an archive a checkpoint, all of it or nothing."""

    def begin(self, step: int) -> ManifestStore:
        """An empty store to write the files of a folder into."""
        ...

    def commit(self, step: int, draft: ManifestStore, manifest: bytes) -> None:
        """Makes of what was written a checkpoint."""
        ...

    def discard(self, draft: ManifestStore) -> None:
        """Deletes what was written."""
        ...

    def remove(self, step: int) -> None:
        """Deletes a checkpoint, if it is there; a kill leaves all of it or nothing."""
        ...

    def sync(self) -> None:
        """Makes sure that what was removed stays so after a power cut."""
        ...

    def remove_unfinished(self) -> None:
        """Deletes what killed writers left."""
        ...

    def lock(self) -> WriterLock | None:
        """Makes the caller the only writer, where the place can."""
        ...


def as_place(path: PlaceLike) -> Place:
    """Finds the place that a path, an address such as ``s3://bucket/run``, or a store means.

    Raises:
        RunError: if it is none of these, or a store that cannot hold checkpoints.
    """
    if isinstance(path, LocalStore):
        return _Folder(path.root)
    if isinstance(path, Store):
        return _StorePlace(path)
    if isinstance(path, str) and path.startswith("file://"):
        raise RunError(f"Argument `path` must be a plain path for a local folder, but is {path!r}.")
    if isinstance(path, str) and "://" in path:
        return _StorePlace(FsspecStore.from_url(path))
    if isinstance(path, str | Path):
        return _Folder(Path(path))
    raise RunError(f"Argument `path` must be a folder or a Zarr store, but is {path!r}.")


class _Folder:
    """Checkpoints in a local folder."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._store = _SyncedStore(path)

    def steps(self) -> list[int]:
        if not self._path.is_dir():
            return []
        return _steps(os.listdir(self._path))

    def name_of(self, step: int) -> str:
        archive = self._archive(step)
        return archive if os.path.exists(archive) else str(self._folder(step))

    def read_manifest(self, step: int) -> bytes | None:
        archive = self._archive(step)
        with suppress(FileNotFoundError), open(archive, "rb") as file:
            return read_members(file, archive, MANIFEST).get(MANIFEST)
        with suppress(FileNotFoundError):
            return (self._folder(step) / MANIFEST).read_bytes()
        return None

    def open(self, step: int, entries: dict[str, FileEntry]) -> ManifestStore:
        archive = self._archive(step)
        with suppress(FileNotFoundError), open(archive, "rb") as file:
            return _opened(read_members(file, archive), archive, entries)
        folder = self._folder(step)
        return ManifestStore(self._store, f"{folder.name}/", str(folder), entries)

    def put(self, step: int, archive: Sequence[bytes]) -> None:
        path = self._archive(step)
        if not os.path.isdir(self._path):
            os.makedirs(self._path)
        try:
            write_atomic(path, *archive)
        except BaseException:
            with suppress(OSError):  # it is there if its folder could not be synced
                os.unlink(path)
            raise

    def begin(self, step: int) -> ManifestStore:
        folder = self._hidden(step)
        folder.mkdir(parents=True)
        return ManifestStore(self._store, f"{folder.name}/", self.name_of(step), put=self._put)

    def _put(self, name: str, content: bytes) -> None:
        write_synced(self._path / name, content)

    def commit(self, step: int, draft: ManifestStore, manifest: bytes) -> None:
        folder = self._path / draft.prefix
        sync_folders(folder / GROUP)
        write_synced(folder / MANIFEST, manifest)
        sync_folder(folder)
        os.rename(folder, self._folder(step))
        sync_folder(self._path)

    def discard(self, draft: ManifestStore) -> None:
        sync(draft.stop())
        shutil.rmtree(self._path / draft.prefix, ignore_errors=True)

    def remove(self, step: int) -> None:
        try:
            os.unlink(self._archive(step))
        except FileNotFoundError:
            self._remove_folder(step)

    def _remove_folder(self, step: int) -> None:
        doomed = self._hidden(step)
        with suppress(FileNotFoundError):
            os.rename(self._folder(step), doomed)
            sync_folder(self._path)
            shutil.rmtree(doomed)

    def sync(self) -> None:
        sync_folder(self._path)

    def remove_unfinished(self) -> None:
        if not self._path.is_dir():
            return
        for child in self._path.iterdir():
            if UNFINISHED.fullmatch(child.name):
                with suppress(OSError):
                    shutil.rmtree(child) if child.is_dir() else child.unlink()

    def lock(self) -> WriterLock:
        return WriterLock(self._path)

    def _archive(self, step: int) -> str:
        return os.path.join(self._path, _archive_name(step))

    def _folder(self, step: int) -> Path:
        return self._path / _name(step)

    def _hidden(self, step: int) -> Path:
        return self._path / f".{_name(step)}.{uuid.uuid4().hex[:8]}.tmp"


class _SyncedStore(LocalStore):
    """Syncs each file as it is written, while others are compressed."""

    async def set(self, key: str, value: Buffer) -> None:
        path, content = self.root / key, value.as_numpy_array().data
        if len(value) < INLINE_BYTES:  # as for its checksum
            write_synced(path, content)
        else:
            await asyncio.to_thread(write_synced, path, content)


class _StorePlace:
    """Checkpoints in a Zarr store."""

    def __init__(self, store: Store) -> None:
        able = store.supports_writes and store.supports_deletes and store.supports_listing
        if not able:
            raise RunError(
                f"Argument `path` must be a store that can write, delete and list, but is {store}. "
                "Save into a folder and copy that."
            )
        self.name = str(store)
        self._store = store

    def steps(self) -> list[int]:
        return sorted({step for step, is_committed in self._found() if is_committed})

    def name_of(self, step: int) -> str:
        return f"{self.name}/{_name(step)}"

    def read_manifest(self, step: int) -> bytes | None:
        archive = self._get(_archive_name(step))
        if archive is not None:
            return read_members(BytesIO(archive), self.name_of(step), MANIFEST).get(MANIFEST)
        return self._get(f"{_name(step)}/{MANIFEST}")

    def open(self, step: int, entries: dict[str, FileEntry]) -> ManifestStore:
        archive = self._get(_archive_name(step))
        if archive is not None:
            members = read_members(BytesIO(archive), self.name_of(step))
            return _opened(members, self.name_of(step), entries)
        return ManifestStore(self._store, f"{_name(step)}/", self.name_of(step), entries)

    def put(self, step: int, archive: Sequence[bytes]) -> None:
        self._set(_archive_name(step), b"".join(archive))

    def begin(self, step: int) -> ManifestStore:
        sync(self._store.delete_dir(_name(step)))
        return ManifestStore(self._store, f"{_name(step)}/", self.name_of(step))

    def commit(self, step: int, draft: ManifestStore, manifest: bytes) -> None:
        self._set(f"{draft.prefix}{MANIFEST}", manifest)

    def discard(self, draft: ManifestStore) -> None:
        sync(draft.stop())
        with suppress(Exception):  # without a manifest it does not exist, and the next writer tries
            sync(self._store.delete_dir(draft.prefix.rstrip("/")))

    def remove(self, step: int) -> None:
        sync(self._store.delete(_archive_name(step)))
        sync(self._store.delete(f"{_name(step)}/{MANIFEST}"))
        sync(self._store.delete_dir(_name(step)))

    def sync(self) -> None:
        pass  # a store answers when that is done

    def remove_unfinished(self) -> None:
        for step, is_committed in self._found():
            if not is_committed:
                sync(self._store.delete_dir(_name(step)))

    def lock(self) -> None:
        return None

    def _get(self, key: str) -> bytes | None:
        value = sync(self._store.get(key, default_buffer_prototype()))
        return None if value is None else value.to_bytes()

    def _set(self, key: str, content: bytes) -> None:
        sync(self._store.set(key, cpu.Buffer.from_bytes(content)))

    def _found(self) -> list[tuple[int, bool]]:
        return sync(_found(self._store))


async def _found(store: Store) -> list[tuple[int, bool]]:
    names = [name async for name in store.list_dir("")]
    archives = {name for name in names if name.endswith(ARCHIVE)}
    folders = _steps(set(names) - archives)
    manifests = await asyncio.gather(*(store.exists(f"{_name(n)}/{MANIFEST}") for n in folders))
    return [(step, True) for step in _steps(archives)] + list(zip(folders, manifests, strict=True))


def _opened(
    members: dict[str, bytes], checkpoint: str, entries: dict[str, FileEntry]
) -> ManifestStore:
    """The files of an archive, to read."""
    files: dict[str, Buffer] = {name: cpu.Buffer.from_bytes(m) for name, m in members.items()}
    return ManifestStore(MemoryStore(files), "", checkpoint, entries)


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _archive_name(step: int) -> str:
    return f"{_name(step)}{ARCHIVE}"


def _steps(names: Iterable[str]) -> list[int]:
    matches = (STEP.fullmatch(name) for name in names)
    return sorted({int(match[1]) for match in matches if match})
