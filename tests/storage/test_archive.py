"""A checkpoint that is one file, and what becomes of it when its bytes change."""

import errno
import io
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qjax.errors import RunError
from qjax.storage import _place
from qjax.storage._archive import ArchiveWriter
from qjax.storage._checkpoint import load_checkpoint
from tests.storage.test_checkpoint import (
    manifest_of,
    members_of,
    same_bits,
    save_checkpoint,
    write_members,
)


def test_bytes_are_those_of_zipfile() -> None:
    files = {"a/zarr.json": b"{}", "a/c/0": bytes(range(256)) * 40, "empty": b"", "last.json": b"x"}
    writer, stream = ArchiveWriter(), io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.create_system = 3  # Unix, wherever this runs
            archive.writestr(member, content)
            writer.add(name, content)
    assert b"".join(writer.close()) == stream.getvalue()
    assert writer.entries["a/c/0"] == {
        "bytes": 10240,
        "crc32": f"{archive.getinfo('a/c/0').CRC:08x}",
    }


class TestDamage:
    TREE = {"a": np.arange(5.0), "n": np.int32(3)}
    MESSAGE = r"step-000000002\.zip` is damaged: .* Move it away to go on from an earlier checkp"

    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        save_checkpoint(tmp_path, 1, {"a": np.zeros(1)})
        return save_checkpoint(tmp_path, 2, self.TREE)

    def test_each_bit_counts(self, archive: Path) -> None:
        """What is read is what was written, or an error that says what to do."""
        content = archive.read_bytes()
        errors = 0
        for place in range(0, len(content), 3):
            changed = bytearray(content)
            changed[place] ^= 1 << place % 8
            archive.write_bytes(changed)
            message = self.load(archive.parent)
            assert message is None or re.search(self.MESSAGE, message)
            errors += message is not None
        assert errors > 0.8 * len(content) / 3  # the others are times, or of no meaning

    def load(self, folder: Path) -> str | None:
        """The message if it cannot be read; what can is as it was."""
        try:
            tree = load_checkpoint(folder, 2, like=self.TREE).tree
        except RunError as error:
            return str(error)
        assert all(same_bits(tree[name], leaf) for name, leaf in self.TREE.items())
        return None

    @pytest.mark.parametrize("length", [0, 1, 30, 500, -22, -1])
    def test_cut(self, archive: Path, length: int) -> None:
        content = archive.read_bytes()
        archive.write_bytes(content[:length])
        with pytest.raises(RunError, match=r"step-000000002\.zip` is damaged: it is no whole ZIP"):
            load_checkpoint(archive.parent)
        assert load_checkpoint(archive.parent, 1).step == 1

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("manifest.json", "it has no `manifest.json`"),
            ("arrays.zarr/packed/c/0", "its file `arrays.zarr/packed/c/0` is missing"),
            ("arrays.zarr/zarr.json", "its file `arrays.zarr/zarr.json` is missing"),
        ],
    )
    def test_a_member_is_missing(self, archive: Path, name: str, reason: str) -> None:
        members = members_of(archive)
        del members[name]
        write_members(archive, members)
        with pytest.raises(RunError, match=f"is damaged: {reason}. Move it away"):
            load_checkpoint(archive.parent)

    def test_a_member_that_was_replaced(self, archive: Path) -> None:
        name = "arrays.zarr/packed/c/0"
        members = members_of(archive)
        write_members(archive, {**members, name: members[name][::-1]})
        with pytest.raises(RunError, match=f"its file `{name}` does not have its checksum. Move"):
            load_checkpoint(archive.parent)

    def test_newer_format(self, archive: Path) -> None:
        members = members_of(archive)
        manifest = {**manifest_of(archive), "version": 5}
        write_members(archive, {**members, "manifest.json": json.dumps(manifest).encode()})
        with pytest.raises(RunError, match=r"zip` has format 5, but this qjax reads up to 4. Upda"):
            load_checkpoint(archive.parent)

    def test_one_that_may_not_be_read(self, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(_place, "read_members", refuse)
        with pytest.raises(RunError, match="could not be read: Permission denied. Check the perm"):
            load_checkpoint(archive.parent)
