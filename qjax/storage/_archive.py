"""A checkpoint without large leaves as one file: a ZIP archive of what would lie in its folder.

To make four folders and four files costs more than to write them. Nothing is compressed, so that
`zarr.storage.ZipStore` reads the archive as it is. Where it lies is decided elsewhere.
"""

import errno
from io import BytesIO
from typing import IO
from zipfile import ZipFile, ZipInfo

from qjax.errors import RunError
from qjax.storage._store import CHECKSUM, FileEntry, damage

__all__ = ["ArchiveWriter", "read_members"]


class ArchiveWriter:
    """Builds an archive in memory.

    Attributes:
        entries: name to size and checksum of each file so far.
    """

    def __init__(self) -> None:
        self.entries: dict[str, FileEntry] = {}
        self._content = BytesIO()
        self._archive = ZipFile(self._content, "w")

    def add(self, name: str, content: bytes) -> None:
        """Adds a file."""
        member = ZipInfo(name)
        self._archive.writestr(member, content)
        self.entries[name] = {"bytes": member.file_size, CHECKSUM: f"{member.CRC:08x}"}

    def close(self) -> bytes:
        """Ends the archive and returns its bytes."""
        self._archive.close()
        return self._content.getvalue()


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
