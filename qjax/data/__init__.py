"""Datasets as plain NumPy arrays, found on this machine or downloaded once with checksums.

What lives here ends at the arrays: batches and shuffling belong to `qjax.train`.
"""

from qjax.data._dataset import Dataset, stratified_split
from qjax.data._digits import load_digits
from qjax.data._fashion_mnist import fashion_mnist_folder, load_fashion_mnist
from qjax.data._idx import read_idx
from qjax.data._pooling import mean_pool
from qjax.data._registry import DATASETS, DatasetInfo, dataset_info, load
from qjax.data._synthetic import linearly_separable, two_curves

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "dataset_info",
    "fashion_mnist_folder",
    "linearly_separable",
    "load",
    "load_digits",
    "load_fashion_mnist",
    "mean_pool",
    "read_idx",
    "stratified_split",
    "two_curves",
]
