"""Fashion-MNIST: found on this machine, or downloaded from its authors with checksums.

Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv:1708.07747.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qjax.data._dataset import Dataset
from qjax.data._idx import read_idx
from qjax.data._pooling import mean_pool
from qjax.errors import DataError

__all__ = ["fashion_mnist_folder", "load_fashion_mnist"]

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SUBFOLDER = "fashion-mnist"
NUM_CLASSES = 10
SIDE = 28

# File names with the MD5 sums that the authors publish.
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def load_fashion_mnist(
    data_dir: str | Path | None = None, *, samples: int | None = None, pool: int = 2
) -> Dataset:
    """Loads Fashion-MNIST, 70,000 images of clothing in ten classes.

    The four files are looked for, in this order, in `data_dir`, in ``$QJAX_DATA_DIR``, in
    ``/usr/share/datasets/fashion-mnist`` (Debian's package) and in the user's cache; each may
    hold them itself or in a subfolder ``fashion-mnist``, gzipped or not. Otherwise they are
    downloaded into the cache. A `data_dir` without the files is an error.

    Args:
        data_dir: folder with the files.
        samples: keep only the first images of the training part; all by default.
        pool: side of the blocks of pixels that are averaged: 2 gives 14 x 14 = 196 features,
            1 leaves 28 x 28 = 784.

    Returns:
        60,000 training (or `samples`) and 10,000 test images, pixels in [0, 1].

    Raises:
        DataError: if a file is missing, damaged or not what it should be, or if the download
            fails.

    Example:
        >>> from qjax.data import load_fashion_mnist
        >>> load_fashion_mnist(samples=500).train_x.shape  # doctest: +SKIP
        (500, 196)
    """
    folder = fashion_mnist_folder(data_dir)
    train_x, train_y = _read_part(folder, "train", samples, pool)
    test_x, test_y = _read_part(folder, "t10k", None, pool)
    side = SIDE // pool
    return Dataset("fashion-mnist", train_x, train_y, test_x, test_y, NUM_CLASSES, (side, side))


def fashion_mnist_folder(data_dir: str | Path | None = None, *, download: bool = True) -> Path:
    """Returns the folder that holds the files, after downloading them if they are nowhere.

    Args:
        data_dir: the only folder to look in; by default, those named in `load_fashion_mnist`.
        download: whether to download them if they are not found.

    Raises:
        DataError: if they are not found.
    """
    candidates = [Path(data_dir)] if data_dir is not None else list(_search_folders())
    for candidate in candidates:
        for folder in (candidate, candidate / SUBFOLDER):
            if any(_file_in(folder, name) for name in CHECKSUMS):
                return folder
    places = ", ".join(f"`{folder}`" for folder in candidates)
    if data_dir is not None or not download:
        raise DataError(
            f"The files of Fashion-MNIST must lie in one of {places} or a subfolder "
            f"`{SUBFOLDER}`, but `{next(iter(CHECKSUMS))}` does not. Get the four files from "
            f"{ADDRESS} or name their folder by --data-dir or QJAX_DATA_DIR."
        )
    return _download(_cache_folder())


def _search_folders() -> Iterator[Path]:
    if named := os.environ.get("QJAX_DATA_DIR"):
        yield Path(named)
    yield SYSTEM_FOLDER
    yield _cache_folder()


def _cache_folder() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        base = Path(named)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "qjax" / SUBFOLDER


def _file_in(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name, folder / name.removesuffix(".gz")):
        if candidate.is_file():
            return candidate
    return None


def _read_part(
    folder: Path, part: str, samples: int | None, pool: int
) -> tuple[np.ndarray, np.ndarray]:
    images_path = folder / f"{part}-images-idx3-ubyte.gz"
    labels_path = folder / f"{part}-labels-idx1-ubyte.gz"
    images = read_idx(_file_in(folder, images_path.name) or images_path)
    labels = read_idx(_file_in(folder, labels_path.name) or labels_path)
    _check_part(images, labels, images_path, labels_path)
    samples = len(images) if samples is None else samples
    if not 1 <= samples <= len(images):
        raise DataError(
            f"Argument `samples` must be between 1 and {len(images)}, the number of training "
            f"images of fashion-mnist, but is {samples}."
        )
    pooled = mean_pool(images[:samples], pool) / np.float32(255)
    return pooled.reshape(samples, -1), labels[:samples].astype(np.int32)


def _check_part(
    images: np.ndarray, labels: np.ndarray, images_path: Path, labels_path: Path
) -> None:
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"File `{images_path}` must hold images of {SIDE} x {SIDE} pixels, but has shape "
            f"{images.shape}."
        )
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"File `{labels_path}` must hold one label for each of the {len(images)} images, "
            f"but has shape {labels.shape}."
        )
    if labels.size and labels.max() >= NUM_CLASSES:
        raise DataError(
            f"File `{labels_path}` must hold labels from 0 to {NUM_CLASSES - 1}, but holds "
            f"{labels.max()}."
        )


def _download(folder: Path) -> Path:
    # Imported on use: pooch is an extra, and most machines have the files already.
    try:
        import pooch
    except ImportError as error:
        raise DataError(
            "Fashion-MNIST is not on this machine, and its download needs pooch; install it "
            'with `pip install "qjax-qml[data]"`, or name a folder that holds the files by '
            "--data-dir or QJAX_DATA_DIR."
        ) from error
    for name, checksum in CHECKSUMS.items():
        try:
            pooch.retrieve(ADDRESS + name, f"md5:{checksum}", fname=name, path=folder)
        except (OSError, ValueError) as error:
            raise DataError(
                f"Fashion-MNIST could not be downloaded from {ADDRESS}{name} to `{folder}` "
                f"({_reason(error)}). Try again, or name a folder that holds the files by "
                "--data-dir or QJAX_DATA_DIR."
            ) from error
    return folder


def _reason(error: Exception) -> str:
    # Network libraries put their whole history into the message; what went wrong is the type.
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return (str(error).splitlines() or [type(error).__name__])[0]
