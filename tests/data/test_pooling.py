import numpy as np
import pytest

from qjax.data import mean_pool
from qjax.errors import DataError


@pytest.mark.parametrize("size", [1, 2, 4, 7, 14, 28])
def test_is_the_mean_of_each_block(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    blocks = images.reshape(3, 28 // size, size, 28 // size, size)
    pooled = mean_pool(images, size)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, blocks.mean((2, 4)), rtol=1e-6)


def test_takes_any_batch_axes() -> None:
    images = np.random.default_rng(0).random((2, 3, 4, 6))
    np.testing.assert_allclose(mean_pool(images)[1, 2], mean_pool(images[1, 2]), rtol=1e-6)
    assert mean_pool(images).shape == (2, 3, 2, 3)


@pytest.mark.parametrize("size", [0, 3])
def test_refuses_a_size_that_does_not_divide(size: int) -> None:
    with pytest.raises(
        DataError, match=f"must divide both sides of the images, 4 and 6, but is {size}"
    ):
        mean_pool(np.zeros((1, 4, 6)), size)
