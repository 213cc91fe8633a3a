"""Small IDX files, and a small Fashion-MNIST made of them."""

import gzip
from pathlib import Path

import numpy as np

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def idx_bytes(values: np.ndarray) -> bytes:
    """The IDX file of an array of unsigned bytes."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.astype(np.uint8).tobytes()


def write_fashion_mnist(folder: Path, train: int = 60, test: int = 20) -> dict[str, np.ndarray]:
    """Writes the four files, with random images whose class shows; returns what they hold."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    arrays = {}
    for images_name, labels_name, count in zip(NAMES[::2], NAMES[1::2], (train, test), strict=True):
        labels = np.arange(count) % 10
        images = generator.integers(0, 100, (count, 28, 28))
        images[np.arange(count), labels] += 150  # a bright row at the number of the class
        arrays |= {images_name: images.astype(np.uint8), labels_name: labels.astype(np.uint8)}
    for name, values in arrays.items():
        (folder / name).write_bytes(gzip.compress(idx_bytes(values), mtime=0))
    return arrays
