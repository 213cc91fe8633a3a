import numpy as np
import pytest

from qjax.data import Dataset, load_digits, stratified_split
from qjax.errors import DataError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits()


class TestDigits:
    def test_shapes_and_range(self, digits: Dataset) -> None:
        assert digits.train_x.shape == (1347, 64)
        assert digits.test_x.shape == (450, 64)
        assert digits.train_x.dtype == np.float32
        assert digits.train_y.dtype == np.int32
        assert digits.train_x.min() == 0
        assert digits.train_x.max() == 1
        assert (digits.num_features, digits.num_classes, digits.image_shape) == (64, 10, (8, 8))

    def test_no_image_is_in_both_parts(self, digits: Dataset) -> None:
        train = {row.tobytes() for row in digits.train_x}
        assert not train & {row.tobytes() for row in digits.test_x}

    def test_split_is_the_same_every_time(self, digits: Dataset) -> None:
        np.testing.assert_array_equal(load_digits().test_x, digits.test_x)

    def test_parts_make_up_the_whole(self, digits: Dataset) -> None:
        datasets = pytest.importorskip("sklearn.datasets")
        whole = datasets.load_digits().data.astype(np.float32) / 16
        ours = np.concatenate([digits.train_x, digits.test_x])
        np.testing.assert_array_equal(np.sort(ours.sum(1)), np.sort(whole.sum(1)))

    def test_take_keeps_the_first(self, digits: Dataset) -> None:
        few = digits.take(100)
        np.testing.assert_array_equal(few.train_x, digits.train_x[:100])
        assert len(few.test_x) == 450

    @pytest.mark.parametrize("samples", [0, -1, 1348])
    def test_take_refuses_too_many(self, digits: Dataset, samples: int) -> None:
        message = f"`samples` must be between 1 and 1347.* of digits, but is {samples}"
        with pytest.raises(DataError, match=message):
            digits.take(samples)

    def test_validation_comes_out_of_the_training_part(self, digits: Dataset) -> None:
        split = digits.with_validation(0.2)
        assert split.validation is not None
        assert split.train_x.shape == (1077, 64)
        assert split.validation[0].shape == (270, 64)
        np.testing.assert_array_equal(split.test_x, digits.test_x)
        train = {row.tobytes() for row in digits.train_x}
        held = {row.tobytes() for row in split.validation[0]}
        assert held <= train
        assert not held & {row.tobytes() for row in split.train_x}

    def test_without_scikit_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
        with pytest.raises(DataError, match=r"need scikit-learn; install .*qjax-qml\[data\]"):
            load_digits()


class TestStratifiedSplit:
    LABELS = np.repeat([0, 1, 2], [40, 80, 21])

    def test_each_class_in_proportion(self) -> None:
        kept, held = stratified_split(self.LABELS, 0.25)
        np.testing.assert_array_equal(np.bincount(self.LABELS[held]), [10, 21, 5])
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(141))
        assert (np.diff(kept) > 0).all()
        assert (np.diff(held) > 0).all()

    def test_total_is_rounded_up(self) -> None:
        assert len(stratified_split(np.zeros(1797, int), 0.25)[1]) == 450

    def test_seed_decides(self) -> None:
        one, same, other = (stratified_split(self.LABELS, 0.25, seed)[1] for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
    def test_refuses_a_fraction_out_of_range(self, fraction: float) -> None:
        with pytest.raises(DataError, match="`fraction` must lie between 0 and 1, but is"):
            stratified_split(self.LABELS, fraction)

    def test_refuses_an_empty_part(self) -> None:
        with pytest.raises(DataError, match="must leave images in both parts, but 0.5 of 1"):
            stratified_split(np.array([3]), 0.5)
