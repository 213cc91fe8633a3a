import numpy as np
import pytest

from qjax.errors import RunError
from qjax.train import batches, count_batches, epoch_order

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


class TestOrder:
    def test_is_a_permutation(self) -> None:
        np.testing.assert_array_equal(np.sort(epoch_order(1000, 3, 4)), np.arange(1000))

    def test_depends_on_seed_and_epoch_only(self) -> None:
        first = epoch_order(100, 3, 4)
        np.testing.assert_array_equal(epoch_order(100, 3, 4), first)
        for other in ((3, 5), (4, 4), (4, 3)):
            assert (epoch_order(100, *other) != first).any()

    def test_is_fixed_for_good(self) -> None:
        # A changed order would break the resumption of runs begun before.
        assert epoch_order(8, 0, 1).tolist() == [5, 3, 7, 2, 4, 1, 0, 6]


class TestBatches:
    def test_all_samples_once_in_order(self) -> None:
        order = epoch_order(10, 0, 1)
        seen = [batch.y[: batch.size] for batch in batches(X, Y, 4, order)]
        np.testing.assert_array_equal(np.concatenate(seen), order)

    def test_shapes_never_change(self) -> None:
        found = list(batches(X, Y, 4))
        assert [batch.x.shape for batch in found] == [(4, 2)] * 3
        assert [batch.size for batch in found] == [4, 4, 2]
        assert [batch.weight.tolist() for batch in found] == [[1] * 4, [1] * 4, [1, 1, 0, 0]]
        assert all(batch.weight.dtype == np.float32 for batch in found)

    def test_batch_larger_than_the_set(self) -> None:
        (batch,) = batches(X, Y, 25)
        assert batch.x.shape == (25, 2)
        assert batch.weight.sum() == batch.size == 10

    @pytest.mark.parametrize(("samples", "size", "count"), [(10, 5, 2), (11, 5, 3), (1, 5, 1)])
    def test_count(self, samples: int, size: int, count: int) -> None:
        assert count_batches(samples, size) == count

    def test_refuses_nothing(self) -> None:
        with pytest.raises(RunError, match="`batch_size` must be at least 1, but is 0"):
            list(batches(X, Y, 0))
        with pytest.raises(RunError, match="`num_samples` must be at least 1, but is 0"):
            list(batches(X[:0], Y[:0], 4))
