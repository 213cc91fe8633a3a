"""Data made by a recipe, to compare classifiers on; every draw comes from a given seed."""

import numpy as np

from qjax.errors import DataError

__all__ = ["linearly_separable", "two_curves"]

Labelled = tuple[np.ndarray, np.ndarray]


def linearly_separable(
    num_samples: int = 300, num_features: int = 2, margin: float | None = None, *, seed: int
) -> Labelled:
    """Points of the cube [-1, 1]^d, in two classes on the two sides of a slab around a plane.

    The class says whether the sum s of a point's coordinates is positive; points with |s| up to
    the margin are left out. A linear model can therefore classify all of them.

    Args:
        num_samples: n.
        num_features: d.
        margin: half the width of the slab in s; 0.02 d if not given, as in the benchmark.
        seed: seed of the draws, a non-negative integer.

    Returns:
        Inputs, float32 of shape (n, d), and classes 0 and 1, int32 of shape (n,).

    Raises:
        DataError: if a number is out of range, or the margin leaves too few points.

    Example:
        >>> from qjax.data import linearly_separable
        >>> x, y = linearly_separable(num_samples=300, num_features=10, seed=0)
        >>> x.shape, bool(((x.sum(axis=1) > 0) == y).all())
        ((300, 10), True)

    References:
        Bowles, Ahmed and Schuld, Better than classical? The subtle art of benchmarking quantum
        machine learning models, arXiv:2403.07059 (2024).
    """
    _check_sizes(num_samples, num_features)
    margin = 0.02 * num_features if margin is None else margin
    if not 0 <= margin < num_features:
        raise DataError(
            f"Argument `margin` must be at least 0 and below num_features={num_features}, the "
            f"largest sum of a point, but is {margin}."
        )
    x = _outside(_generator(seed), num_samples, num_features, margin)
    return x, (x.sum(axis=1, dtype=float) > 0).astype(np.int32)


def _outside(
    generator: np.random.Generator, num_samples: int, num_features: int, margin: float
) -> np.ndarray:
    """The first draws whose coordinates sum to more than the margin, or less than minus it."""
    rounds, kept = 100, np.empty((0, num_features), np.float32)
    for _ in range(rounds):
        drawn = generator.uniform(-1, 1, (2 * num_samples, num_features)).astype(np.float32)
        kept = np.concatenate([kept, drawn[np.abs(drawn.sum(axis=1, dtype=float)) > margin]])
        if len(kept) >= num_samples:
            return kept[:num_samples]
    raise DataError(
        f"Argument `margin` is {margin} and leaves {len(kept)} of {rounds * 2 * num_samples} "
        f"points, fewer than num_samples={num_samples}. Choose a smaller margin."
    )


def two_curves(
    num_samples: int = 300,
    num_features: int = 2,
    degree: int = 5,
    offset: float = 0.1,
    noise: float = 0.01,
    *,
    seed: int,
) -> Labelled:
    """Points near two copies of one random curve in d dimensions, shifted against each other.

    Coordinate i of the curve is a Fourier series of its parameter t in [0, 1],

        f_i(t) = a_i0 + b_i0 + sum over k = 1 ... degree of a_ik cos(pi k t) + b_ik sin(pi k t),

    whose coefficients are drawn from [0, 1) and divided by the norm of all of them. A point has a
    random t; class 1 is shifted by `offset` in every coordinate. In the end each coordinate of
    the whole set is brought to mean 0 and standard deviation 1.

    Args:
        num_samples: n; every second point is of class 1.
        num_features: d.
        degree: highest frequency, at least 1.
        offset: shift of class 1 in each coordinate, before the scaling.
        noise: standard deviation of Gaussian noise on each coordinate, before the scaling.
        seed: seed of the curve and of the points, a non-negative integer.

    Returns:
        Inputs, float32 of shape (n, d), and classes 0 and 1, int32 of shape (n,).

    Raises:
        DataError: if a number is out of range.

    Example:
        >>> from qjax.data import two_curves
        >>> x, y = two_curves(num_samples=300, num_features=10, seed=0)
        >>> x.shape, int(y.sum())
        ((300, 10), 150)

    References:
        Bowles, Ahmed and Schuld, Better than classical? The subtle art of benchmarking quantum
        machine learning models, arXiv:2403.07059 (2024).
    """
    _check_sizes(num_samples, num_features, smallest=2)
    if degree < 1:
        raise DataError(f"Argument `degree` must be at least 1, but is {degree}.")
    if not 0 <= noise < np.inf:
        raise DataError(f"Argument `noise` must be finite and not negative, but is {noise}.")
    if not np.isfinite(offset):
        raise DataError(f"Argument `offset` must be finite, but is {offset}.")
    generator = _generator(seed)
    coefficients = generator.random((2, degree + 1, num_features))
    coefficients /= np.linalg.norm(coefficients)
    t = generator.random(num_samples)
    y = np.arange(num_samples) % 2
    x = _fourier_series(t, *coefficients) + offset * y[:, None]
    x += generator.normal(0, noise, x.shape)
    return ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32), y.astype(np.int32)


def _fourier_series(t: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """The points (n, d) of a curve with coefficients (degree + 1, d) at parameters (n,)."""
    phases = np.pi * np.outer(t, np.arange(len(cosines)))  # (n, degree + 1)
    return np.cos(phases) @ cosines + np.sin(phases) @ sines + sines[0]


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _check_sizes(num_samples: int, num_features: int, smallest: int = 1) -> None:
    if num_samples < smallest:
        raise DataError(
            f"Argument `num_samples` must be at least {smallest}, but is {num_samples}."
        )
    if num_features < 1:
        raise DataError(f"Argument `num_features` must be at least 1, but is {num_features}.")
