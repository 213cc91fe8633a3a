"""Synthetic data: the properties that define them."""

import numpy as np
import pytest

from qjax.data import linearly_separable, two_curves
from qjax.errors import DataError


class TestLinearlySeparable:
    """Two sides of a slab in a cube."""

    @pytest.mark.parametrize("num_features", [1, 2, 10])
    def test_classes_are_the_sides_of_a_slab(self, num_features: int) -> None:
        x, y = linearly_separable(500, num_features, seed=0)
        sums = x.sum(axis=1, dtype=float)
        assert x.shape == (500, num_features) and x.dtype == np.float32
        assert y.shape == (500,) and y.dtype == np.int32
        np.testing.assert_array_equal(y, sums > 0)
        assert np.abs(sums).min() > 0.02 * num_features
        assert np.abs(x).max() <= 1
        assert 200 < y.sum() < 300

    @pytest.mark.parametrize("margin", [0.0, 0.5, 1.5])
    def test_margin(self, margin: float) -> None:
        x, _ = linearly_separable(2000, 2, margin, seed=0)
        closest = np.abs(x.sum(axis=1, dtype=float)).min()
        assert margin < closest < margin + 0.02

    def test_points_outside_the_slab_are_uniform(self) -> None:
        """A share of 1/4 of the points with s > 1/2 has s > 5/4, by areas of triangles."""
        x, y = linearly_separable(20_000, 2, 0.5, seed=0)
        sums = x[y == 1].sum(axis=1, dtype=float)
        np.testing.assert_allclose(np.mean(sums > 1.25), 0.25, atol=0.02)
        np.testing.assert_allclose(y.mean(), 0.5, atol=0.02)

    def test_seed_decides(self) -> None:
        one, same, other = (linearly_separable(seed=seed)[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).all()

    def test_a_margin_that_leaves_hardly_anything(self) -> None:
        text = r"`margin` is 1.999 and leaves \d+ of 2000 points, fewer than num_samples=10. Choose"
        with pytest.raises(DataError, match=text):
            linearly_separable(10, 2, 1.999, seed=0)


def trigonometric_basis(t: np.ndarray, degree: int) -> np.ndarray:
    """Columns 1, cos(pi k t) and sin(pi k t)."""
    k = np.pi * np.arange(1, degree + 1)
    return np.concatenate([np.ones((len(t), 1)), np.cos(t[:, None] * k), np.sin(t[:, None] * k)], 1)


class TestTwoCurves:
    """Two copies of a random curve."""

    def test_shapes_and_standardised_coordinates(self) -> None:
        x, y = two_curves(300, 10, seed=0)
        assert x.shape == (300, 10) and x.dtype == np.float32
        assert y.shape == (300,) and y.dtype == np.int32
        assert np.bincount(y).tolist() == [150, 150]
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-6)

    @pytest.mark.parametrize("degree", [1, 3])
    def test_points_lie_on_two_curves_of_the_degree(self, degree: int) -> None:
        """Without noise: a Fourier series in the drawn t, the constant apart in the classes."""
        x, y = two_curves(200, 4, degree, noise=0.0, seed=3)
        generator = np.random.Generator(np.random.Philox(3))
        generator.random((2, degree + 1, 4))
        basis = trigonometric_basis(generator.random(200), degree)
        basis = np.concatenate([basis, y[:, None]], axis=1)
        coefficients, *_ = np.linalg.lstsq(basis, x, rcond=None)
        np.testing.assert_allclose(basis @ coefficients, x, atol=1e-5)
        assert np.abs(coefficients[degree]).min() > 1e-3  # the highest cosine is there
        without = np.delete(basis, [degree, 2 * degree], axis=1)  # highest frequency left out
        lacking, *_ = np.linalg.lstsq(without, x, rcond=None)
        assert np.abs(without @ lacking - x).max() > 0.1

    def test_offset_is_the_same_in_all_coordinates(self) -> None:
        """Before the scaling, whose factors are those of the same data without offset."""
        offset, seed = 0.1, 5
        x, y = two_curves(4000, 3, offset=offset, noise=0.0, seed=seed)
        generator = np.random.Generator(np.random.Philox(seed))
        cosines, sines = generator.random((2, 6, 3))
        norm = np.sqrt(np.sum(cosines**2) + np.sum(sines**2))
        t = generator.random(4000)
        k = np.pi * np.arange(1, 6)
        raw = cosines[0] + sines[0] + np.zeros((4000, 3))
        raw += np.cos(t[:, None] * k) @ cosines[1:] + np.sin(t[:, None] * k) @ sines[1:]
        raw = raw / norm + offset * (y == 1)[:, None]
        np.testing.assert_allclose(x, (raw - raw.mean(0)) / raw.std(0), atol=1e-5)

    def test_without_offset_the_classes_are_alike(self) -> None:
        x, y = two_curves(20_000, 2, offset=0.0, seed=0)
        np.testing.assert_allclose(x[y == 1].mean(axis=0), 0, atol=0.03)

    def test_noise_has_the_given_deviation(self) -> None:
        """Relative to the offset, both in the units before the scaling."""
        kwargs = {"num_samples": 2000, "num_features": 3, "seed": 1}
        clean, y = two_curves(noise=0.0, **kwargs)
        noisy, _ = two_curves(noise=0.02, **kwargs)
        basis = np.stack([np.ones(2000), *clean.T.astype(float)], axis=1)
        fit, *_ = np.linalg.lstsq(basis, noisy, rcond=None)
        generator = np.random.Generator(np.random.Philox(1))
        coefficients = generator.random((2, 6, 3))
        coefficients /= np.linalg.norm(coefficients)
        phases = np.pi * np.outer(generator.random(2000), np.arange(6))
        curve = np.cos(phases) @ coefficients[0] + np.sin(phases) @ coefficients[1]
        scale = (curve + 0.1 * y[:, None]).std(axis=0)
        residual = (noisy - basis @ fit).std(axis=0)
        np.testing.assert_allclose(residual * scale, 0.02, rtol=0.05)

    def test_seed_decides(self) -> None:
        one, same, other = (two_curves(seed=seed)[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).all()


BAD = [
    (linearly_separable, {"num_samples": 0}, "`num_samples` must be at least 1, but is 0"),
    (linearly_separable, {"num_features": 0}, "`num_features` must be at least 1, but is 0"),
    (linearly_separable, {"margin": 2.0}, "`margin` must be at least 0 and below num_features=2"),
    (linearly_separable, {"margin": -0.1}, "but is -0.1"),
    (linearly_separable, {"margin": float("nan")}, "but is nan"),
    (two_curves, {"num_samples": 1}, "`num_samples` must be at least 2, but is 1"),
    (two_curves, {"num_features": 0}, "`num_features` must be at least 1, but is 0"),
    (two_curves, {"degree": 0}, "`degree` must be at least 1, but is 0"),
    (two_curves, {"noise": -1.0}, "`noise` must be finite and not negative, but is -1.0"),
    (two_curves, {"noise": float("inf")}, "but is inf"),
    (two_curves, {"offset": float("nan")}, "`offset` must be finite, but is nan"),
]


@pytest.mark.parametrize(("make", "arguments", "text"), BAD)
def test_refuses_numbers_out_of_range(make, arguments, text: str) -> None:
    with pytest.raises(DataError, match=text):
        make(**arguments, seed=0)
