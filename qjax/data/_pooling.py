"""Mean pooling of images, in NumPy."""

import numpy as np

from qjax.errors import DataError

__all__ = ["mean_pool"]


def mean_pool(images: np.ndarray, size: int = 2) -> np.ndarray:
    """Averages each square block of `size` x `size` pixels.

    Args:
        images: of shape (..., rows, columns), both divisible by `size`.
        size: rows and columns of a block, 1 or more.

    Returns:
        float32 of shape (..., rows / size, columns / size).

    Raises:
        DataError: if `size` does not divide both sides.

    Example:
        >>> import numpy as np
        >>> from qjax.data import mean_pool
        >>> mean_pool(np.arange(4.0).reshape(1, 2, 2))
        array([[[1.5]]], dtype=float32)
    """
    images = np.asarray(images)
    rows, columns = images.shape[-2:]
    if size < 1 or rows % size or columns % size:
        raise DataError(
            f"Argument `size` must divide both sides of the images, {rows} and {columns}, "
            f"but is {size}."
        )
    total = np.zeros((*images.shape[:-2], rows // size, columns // size), np.float32)
    for i in range(size):
        for j in range(size):
            total += images[..., i::size, j::size]
    return total / np.float32(size * size)
