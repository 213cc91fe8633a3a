"""The 8 x 8 digits that scikit-learn ships, which need no network."""

from collections.abc import Callable
from typing import Any

import numpy as np

from qjax.data._dataset import Dataset, stratified_split
from qjax.errors import DataError

__all__ = ["load_digits"]

TEST_FRACTION = 0.25
SPLIT_SEED = 0


def load_digits() -> Dataset:
    """Loads the 1797 handwritten digits of scikit-learn, 8 x 8 pixels in ten classes.

    Pixels are scaled to [0, 1]. A quarter of each class is the test part; the split has a fixed
    seed, so that every run holds out the same images.

    Returns:
        1347 training and 450 test images with 64 features each.

    Raises:
        DataError: if scikit-learn is not installed.

    Example:
        >>> from qjax.data import load_digits
        >>> load_digits().train_x.shape
        (1347, 64)
    """
    pixels, labels = _sklearn_loader()(return_X_y=True)
    x = (np.asarray(pixels) / 16).astype(np.float32)  # (1797, 64)
    y = np.asarray(labels).astype(np.int32)
    train, test = stratified_split(y, TEST_FRACTION, SPLIT_SEED)
    return Dataset("digits", x[train], y[train], x[test], y[test], 10, (8, 8))


def _sklearn_loader() -> Callable[..., Any]:
    # Imported on use: scikit-learn is an extra and takes a second to import.
    try:
        from sklearn.datasets import load_digits as loader
    except ImportError as error:
        raise DataError(
            'The digits data need scikit-learn; install it with `pip install "qjax-qml[data]"`.'
        ) from error
    return loader
