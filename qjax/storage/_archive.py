"""A checkpoint without large leaves as one file: a ZIP archive of what would lie in its folder.

To make four folders and four files costs more than to write them. Nothing is compressed, so that
`zarr.storage.ZipStore` reads the archive as it is. Where it lies is decided elsewhere.
"""

import errno
import struct
import zlib
from typing import IO
from zipfile import ZipFile

from qjax.errors import RunError
from qjax.storage._store import CHECKSUM, FileEntry, damage

__all__ = ["MAX_BYTES", "ArchiveWriter", "read_members"]

MAX_BYTES = 1 << 30  # of its files; the format's own limit is 4 GiB

# Records of the ZIP format, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.
_ABOUT = struct.Struct("<5H3L2H")  # what the header of a file and its entry in the directory share
_PLACE = struct.Struct("<3H2L")  # the rest of the entry: where the header is
_END = struct.Struct("<4s4H2LH")
VERSION = 20
_MADE_BY = struct.pack("<H", 3 << 8 | VERSION)  # on Unix
STORED = 0
FIRST_DAY = (0, 1 << 5 | 1)  # 1980-01-01; when it was saved is in the manifest
OWNER_READS_AND_WRITES = 0o600 << 16


class ArchiveWriter:
    """Builds an archive in memory; what its files hold is not copied.

    Attributes:
        entries: name to size and checksum of each file so far.
    """

    def __init__(self) -> None:
        self.entries: dict[str, FileEntry] = {}
        self._pieces: list[bytes] = []
        self._directory: list[bytes] = []
        self._size = 0

    def add(self, name: str, content: bytes) -> None:
        """Adds a file. All of them together have at most `MAX_BYTES`."""
        label, size, crc = name.encode("ascii"), len(content), zlib.crc32(content)
        about = _ABOUT.pack(VERSION, 0, STORED, *FIRST_DAY, crc, size, size, len(label), 0)
        place = _PLACE.pack(0, 0, 0, OWNER_READS_AND_WRITES, self._size)
        header = b"PK\3\4" + about + label
        self._pieces += (header, content)
        self._directory += (b"PK\1\2", _MADE_BY, about, place, label)
        self._size += len(header) + size
        self.entries[name] = {"bytes": size, CHECKSUM: f"{crc:08x}"}

    def close(self) -> list[bytes]:
        """Ends the archive and returns it in pieces."""
        directory = b"".join(self._directory)
        count = len(self.entries)
        end = _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), self._size, 0)
        return [*self._pieces, directory + end]


def read_members(file: IO[bytes], checkpoint: str, only: str | None = None) -> dict[str, bytes]:
    """Reads the files in an archive, and verifies the checksums that it has of them.

    Args:
        file: the archive.
        checkpoint: its name, for messages.
        only: name of the one file that is wanted; by default, all.

    Raises:
        RunError: if the archive is damaged.
        OSError: if it cannot be read.
    """
    name = None
    try:
        with ZipFile(file) as archive:
            members = {}
            for name in archive.namelist():
                if only in (None, name):
                    members[name] = archive.read(name)
            return members
    except Exception as error:  # damage makes zipfile raise many kinds
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the file
            raise
        what = "it is no whole ZIP file" if name is None else f"its file `{name}` cannot be read"
        raise RunError(damage(checkpoint, f"{what} ({error})")) from error
