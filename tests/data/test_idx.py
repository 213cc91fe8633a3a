import gzip
from pathlib import Path

import numpy as np
import pytest

from qjax.data import read_idx
from qjax.errors import DataError
from tests.support.idx import idx_bytes

VALUES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("values", [VALUES, VALUES[:, 0, 0], np.zeros((0, 3), np.uint8)])
def test_reads_what_was_written(tmp_path: Path, name: str, values: np.ndarray) -> None:
    read = read_idx(write(tmp_path / name, idx_bytes(values)))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be an IDX file of unsigned bytes, but begins with nothing"),
        (b"GIF89a", "must be an IDX file of unsigned bytes, but begins with 47 49 46 38"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "of unsigned bytes, but begins with 00 00 0d 01"),
        (idx_bytes(VALUES)[:10], "must hold its IDX header, but is cut short"),
        (idx_bytes(VALUES)[:-1], r"must hold 40 bytes for shape \(2, 3, 4\), but holds 39"),
        (idx_bytes(VALUES) + b"x", r"must hold 40 bytes for shape \(2, 3, 4\), but holds 41"),
    ],
)
def test_refuses_what_is_not_idx(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "images.gz", content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    assert "Get a fresh copy" in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.gz` must exist, but does not\. Get a fresh"):
        read_idx(tmp_path / "nowhere.gz")


def test_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


@pytest.mark.parametrize("where", ["cut", "flipped", "no gzip"])
def test_refuses_a_damaged_archive(tmp_path: Path, where: str) -> None:
    path = write(tmp_path / "images.gz", idx_bytes(np.arange(200)))
    content = bytearray(path.read_bytes())
    if where == "cut":
        content = content[: len(content) // 2]
    elif where == "flipped":
        content[-6] ^= 1  # in the checksum
    else:
        content[:2] = b"PK"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"images\.gz` is damaged or cut short"):
        read_idx(path)
