"""Batches of arrays in memory, all of one shape, in an order that depends on seed and epoch only.

A run that is resumed at an epoch therefore sees the same batches as one that never stopped.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qjax.errors import RunError

__all__ = ["Batch", "batches", "count_batches", "epoch_order"]


class Batch(NamedTuple):
    """Inputs and classes of one step.

    Attributes:
        x: inputs of shape (batch, features).
        y: classes, integers of shape (batch,).
        weight: 1 for samples and 0 for the padding of the last batch, shape (batch,).
        size: number of samples without the padding.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    size: int


def count_batches(num_samples: int, batch_size: int) -> int:
    """Returns the number of batches of an epoch; the last one may be padded.

    Raises:
        RunError: if one of the arguments is below 1.
    """
    if batch_size < 1:
        raise RunError(f"Argument `batch_size` must be at least 1, but is {batch_size}.")
    if num_samples < 1:
        raise RunError(f"Argument `num_samples` must be at least 1, but is {num_samples}.")
    return -(-num_samples // batch_size)


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the shuffled indices 0 ... num_samples - 1 of an epoch.

    They are the order of the raw words of a Philox counter generator, whose stream is fixed for
    good, unlike that of NumPy's shuffles.

    Args:
        num_samples: how many.
        seed: seed of the run, a non-negative integer.
        epoch: number of the epoch.
    """
    words = np.random.Philox(key=[seed, epoch]).random_raw(num_samples)
    return np.argsort(words, kind="stable")


def batches(
    x: np.ndarray, y: np.ndarray, batch_size: int, order: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yields the samples in `order`, `batch_size` at a time, the last batch padded.

    Args:
        x: inputs of shape (n, features).
        y: classes of shape (n,).
        batch_size: samples per batch.
        order: indices of shape (n,); by default as they come.

    Raises:
        RunError: if there are no samples or `batch_size` is below 1.
    """
    order = np.arange(len(x)) if order is None else order
    full = np.ones(batch_size, np.float32)
    for number in range(count_batches(len(order), batch_size)):
        rows = order[number * batch_size : (number + 1) * batch_size]
        size = len(rows)
        if size == batch_size:
            yield Batch(x[rows], y[rows], full, size)
        else:
            rows = np.resize(rows, batch_size)
            weight = (np.arange(batch_size) < size).astype(np.float32)
            yield Batch(x[rows], y[rows], weight, size)
