"""A Zarr store whose contents are a manifest: what is written is recorded, what is read is checked.

Zarr reads a chunk that is missing as zeros and has no checksum of its own metadata; here each file
is known by its size and checksum, computed while it is in memory, so that nothing is read twice.
"""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.buffer import cpu
from zarr.core.sync import sync

from qjax.errors import RunError

__all__ = ["CHECKSUM", "GROUP", "INLINE_BYTES", "FileEntry", "ManifestStore", "damage"]

GROUP = "arrays.zarr"

# To check or write less than this takes no longer than handing it to another thread.
INLINE_BYTES = 1 << 16

# Finds damage, not forgery. Format 1 had SHA-256, which takes more than twice as long.
CHECKSUM = "crc32"
CHECKSUMS: dict[str, Callable[[memoryview], str]] = {
    CHECKSUM: lambda data: f"{zlib.crc32(data):08x}",
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
}

FileEntry: TypeAlias = dict[str, Any]  # "bytes", and the name of one of the checksums


class ManifestStore(Store):
    """The group `GROUP` of one checkpoint, below a prefix of another store.

    Args:
        inner: where the files lie.
        prefix: what their names begin with there.
        checkpoint: its name, for messages.
        entries: the files to read; by default the store is empty and is written.
        put: writes a file into `inner` at once; by default, by its asynchronous method.

    Attributes:
        entries: name to size and checksum of each file.

    Raises:
        RunError: on reading a file that is missing, cut or changed.
    """

    supports_writes = True  # pyright: ignore[reportAssignmentType]
    supports_deletes = False  # pyright: ignore[reportAssignmentType]
    supports_listing = True  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        inner: Store,
        prefix: str,
        checkpoint: str,
        entries: dict[str, FileEntry] | None = None,
        put: Callable[[str, bytes], None] | None = None,
    ) -> None:
        super().__init__(read_only=entries is not None)
        self._inner = inner
        self._put = put or self._put_by_zarr
        self.prefix = prefix
        self._checkpoint = checkpoint
        self._writing = 0
        self._stopped = False
        self.entries: dict[str, FileEntry] = {} if entries is None else entries

    def __eq__(self, value: object) -> bool:
        return self is value

    async def set(self, key: str, value: Buffer) -> None:
        """Writes a file and records it."""
        if self._stopped:
            raise RuntimeError("the checkpoint was given up")
        self._writing += 1
        try:
            entry = await _entry(value)
            await self._inner.set(self.prefix + _name(key), value)
            self.entries[_name(key)] = entry
        finally:
            self._writing -= 1

    def write(self, files: Mapping[str, bytes]) -> None:
        """Writes files and records them in the caller's thread, which Zarr never does."""
        for key, content in files.items():
            self._put(self.prefix + _name(key), content)
            self.entries[_name(key)] = _entry_now(memoryview(content), CHECKSUM)

    def _put_by_zarr(self, name: str, content: bytes) -> None:
        sync(self._inner.set(name, cpu.Buffer.from_bytes(content)))

    async def stop(self) -> None:
        """Lets no further write begin, and waits for those under way."""
        self._stopped = True
        while self._writing:
            await asyncio.sleep(0.001)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Reads a whole file and checks it; one that is not in the manifest does not exist."""
        if byte_range is not None:
            raise NotImplementedError("a part of a file has no checksum")
        name = _name(key)
        if name not in self.entries:
            return None
        value = await self._inner.get(self.prefix + name, prototype)
        if value is None:
            raise RunError(damage(self._checkpoint, f"its file `{name}` is missing"))
        wanted = self.entries[name]
        found = await _entry(value, next(kind for kind in CHECKSUMS if kind in wanted))
        if found["bytes"] != wanted["bytes"]:
            reason = f"`{name}` has {found['bytes']} bytes and not {wanted['bytes']}"
            raise RunError(damage(self._checkpoint, reason))
        if found != wanted:
            raise RunError(
                damage(self._checkpoint, f"its file `{name}` does not have its checksum")
            )
        return value

    async def exists(self, key: str) -> bool:
        """Whether the manifest has the file."""
        return _name(key) in self.entries

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yields the files whose names begin with `prefix`."""
        for name in list(self.entries):
            if name.startswith(_name(prefix)):
                yield name.removeprefix(_name(""))

    async def list(self) -> AsyncIterator[str]:
        """Yields all files."""
        async for key in self.list_prefix(""):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yields files and folders directly below `prefix`."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        keys = [key.removeprefix(start) async for key in self.list_prefix(start)]
        for child in sorted({key.split("/")[0] for key in keys}):
            yield child

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> Any:
        """Not to be had."""
        raise NotImplementedError("a part of a file has no checksum")

    async def delete(self, key: str) -> None:
        """Not to be had: a checkpoint is written once."""
        raise NotImplementedError("a checkpoint is written once")


def _name(key: str) -> str:
    return f"{GROUP}/{key}"


def damage(checkpoint: str, reason: str) -> str:
    """The message for a checkpoint that is not as it was written."""
    return (
        f"Checkpoint `{checkpoint}` is damaged: {reason}. Move it away to go on from an earlier "
        "checkpoint."
    )


async def _entry(value: Buffer, kind: str = CHECKSUM) -> FileEntry:
    data = value.as_numpy_array().data
    if len(value) < INLINE_BYTES:
        return _entry_now(data, kind)
    return await asyncio.to_thread(_entry_now, data, kind)


def _entry_now(data: memoryview, kind: str) -> FileEntry:
    return {"bytes": data.nbytes, kind: CHECKSUMS[kind](data)}
