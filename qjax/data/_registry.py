"""The datasets by name: one row each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qjax.data._dataset import Dataset
from qjax.data._digits import load_digits
from qjax.data._fashion_mnist import load_fashion_mnist
from qjax.errors import DataError

__all__ = ["DATASETS", "DatasetInfo", "dataset_info", "load"]


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is read.

    Attributes:
        name: its name on the command line.
        num_features: numbers per image.
        num_classes: number of classes.
        image_shape: rows and columns of an image.
        read: function (data_dir, samples) -> Dataset.
    """

    name: str
    num_features: int
    num_classes: int
    image_shape: tuple[int, int]
    read: Callable[[str | Path | None, int | None], Dataset]


def _read_digits(data_dir: str | Path | None, samples: int | None) -> Dataset:
    digits = load_digits()
    return digits if samples is None else digits.take(samples)


def _read_fashion_mnist(data_dir: str | Path | None, samples: int | None) -> Dataset:
    return load_fashion_mnist(data_dir, samples=samples)


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("digits", 64, 10, (8, 8), _read_digits),
        DatasetInfo("fashion-mnist", 196, 10, (14, 14), _read_fashion_mnist),
    )
}


def dataset_info(name: str) -> DatasetInfo:
    """Returns the row of the dataset called `name`.

    Raises:
        DataError: if there is no such dataset; the message lists those that exist.
    """
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise DataError(f"Argument `dataset` must be one of {known}, but is {name!r}.")
    return DATASETS[name]


def load(name: str, *, data_dir: str | Path | None = None, samples: int | None = None) -> Dataset:
    """Loads a dataset by name.

    Args:
        name: a key of `DATASETS`.
        data_dir: folder with its files, for datasets that live in files.
        samples: keep only the first images of the training part; all by default.

    Raises:
        DataError: if the name is unknown or the data cannot be read.

    Example:
        >>> import qjax.data
        >>> qjax.data.load("digits", samples=100).train_x.shape
        (100, 64)
    """
    return dataset_info(name).read(data_dir, samples)
