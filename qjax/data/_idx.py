"""Reader of the IDX files in which MNIST and its relatives are published."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from qjax.errors import DataError

__all__ = ["read_idx"]

REMEDY = "Get a fresh copy of the file, or name another folder by --data-dir or QJAX_DATA_DIR."
UNSIGNED_BYTES = 8


def read_idx(path: str | Path) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, plain or gzipped (name ending in ``.gz``).

    The header is two zero bytes, the element type (8), the number of axes, then each axis as a
    big-endian 32-bit integer; the elements follow in row-major order.

    Args:
        path: the file.

    Returns:
        uint8 array of the shape in the header, read-only.

    Raises:
        DataError: if the file is missing, unreadable, damaged, cut short or not IDX.
    """
    path = Path(path)
    content = _read_bytes(path)
    if len(content) < 4 or content[0] or content[1] or content[2] != UNSIGNED_BYTES:
        raise DataError(
            f"File `{path}` must be an IDX file of unsigned bytes, but begins with "
            f"{content[:4].hex(' ') or 'nothing'}. {REMEDY}"
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(f"File `{path}` must hold its IDX header, but is cut short. {REMEDY}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", content[3], offset=4))
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise DataError(
            f"File `{path}` must hold {expected} bytes for shape {shape}, but holds "
            f"{len(content)}. {REMEDY}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except FileNotFoundError:
        raise DataError(f"File `{path}` must exist, but does not. {REMEDY}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"File `{path}` is damaged or cut short ({error}). {REMEDY}") from error
    except OSError as error:
        raise DataError(f"File `{path}` cannot be read ({error.strerror}). {REMEDY}") from error
