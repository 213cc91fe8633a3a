"""The `Dataset` value and its splits; where the numbers come from is decided elsewhere."""

from dataclasses import dataclass, replace

import numpy as np

from qjax.errors import DataError

__all__ = ["Dataset", "stratified_split"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their classes, split into a training and a test part.

    Attributes:
        name: name of the dataset, such as ``"digits"``.
        train_x: training inputs in [0, 1], float32 of shape (train, features).
        train_y: their classes, int32 of shape (train,).
        test_x: test inputs, float32 of shape (test, features); never trained on.
        test_y: their classes, int32 of shape (test,).
        num_classes: number of classes; labels run from 0 to `num_classes` - 1.
        image_shape: rows and columns of an image; their product is `features`.
        validation: inputs and classes held out of the training part, or None.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    num_classes: int
    image_shape: tuple[int, int]
    validation: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def num_features(self) -> int:
        """Numbers per image."""
        return self.train_x.shape[1]

    def take(self, samples: int) -> "Dataset":
        """Returns the dataset with the first `samples` training images; the rest is kept.

        Raises:
            DataError: if `samples` is not between 1 and the size of the training part.
        """
        if not 1 <= samples <= len(self.train_x):
            raise DataError(
                f"Argument `samples` must be between 1 and {len(self.train_x)}, the number of "
                f"training images of {self.name}, but is {samples}."
            )
        return replace(self, train_x=self.train_x[:samples], train_y=self.train_y[:samples])

    def with_validation(self, fraction: float, seed: int = 0) -> "Dataset":
        """Returns the dataset with a stratified part of the training images held out.

        Args:
            fraction: share of the training images to hold out, above 0 and below 1.
            seed: seed of the choice.

        Raises:
            DataError: if `fraction` is out of range or leaves one of the parts empty.

        Example:
            >>> from qjax.data import load_digits
            >>> digits = load_digits().with_validation(0.2)
            >>> digits.train_x.shape, digits.validation[0].shape
            ((1077, 64), (270, 64))
        """
        kept, held = stratified_split(self.train_y, fraction, seed)
        return replace(
            self,
            train_x=self.train_x[kept],
            train_y=self.train_y[kept],
            validation=(self.train_x[held], self.train_y[held]),
        )


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Splits indices so that each class is held out in the same proportion.

    Args:
        labels: classes, integers of shape (n,).
        fraction: share of each class to hold out, above 0 and below 1.
        seed: seed of the choice; the same seed gives the same split.

    Returns:
        Kept and held-out indices, each in ascending order; together they are 0 ... n - 1.
        Held out are `fraction` * n of them, rounded up.

    Raises:
        DataError: if `fraction` is out of range or one of the parts would be empty.

    Example:
        >>> import numpy as np
        >>> from qjax.data import stratified_split
        >>> kept, held = stratified_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25)
        >>> len(kept), len(held)
        (6, 2)
    """
    if not 0 < fraction < 1:
        raise DataError(f"Argument `fraction` must lie between 0 and 1, but is {fraction}.")
    labels = np.asarray(labels)
    total = int(np.ceil(fraction * len(labels)))
    if not 0 < total < len(labels):
        raise DataError(
            f"Argument `fraction` must leave images in both parts, but {fraction} of "
            f"{len(labels)} images does not."
        )
    classes, sizes = np.unique(labels, return_counts=True)
    generator = np.random.Generator(np.random.Philox(seed))
    is_held = np.zeros(len(labels), bool)
    for label, count in zip(classes, _shares(sizes, total), strict=True):
        members = np.flatnonzero(labels == label)
        is_held[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _shares(sizes: np.ndarray, total: int) -> np.ndarray:
    # Largest remainders: whole numbers in proportion to `sizes` that sum to `total`.
    exact = sizes * (total / sizes.sum())
    shares = np.floor(exact).astype(np.int64)
    largest = np.argsort(shares - exact, kind="stable")[: total - shares.sum()]
    shares[largest] += 1
    return shares
