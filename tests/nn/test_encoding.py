"""EncodingLayer: unit vectors of a fixed length, with nothing lost in silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import EncodingLayer
from tests.nn.checks import checked_jacobians

X = np.array([3.0, -4.0, 12.0])


def tile_means(image: np.ndarray, size: int) -> np.ndarray:
    """Means over square tiles, one after another."""
    corners = [
        (i, j) for i in range(0, image.shape[0], size) for j in range(0, image.shape[1], size)
    ]
    return np.array([image[i : i + size, j : j + size].mean() for i, j in corners])


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector over its norm."""
    return vector / np.linalg.norm(vector)


def test_pads_and_normalises(x64):
    """Zeros go behind the features."""
    np.testing.assert_allclose(EncodingLayer(4)(X), np.array([3, -4, 12, 0]) / 13, atol=1e-15)
    np.testing.assert_allclose(EncodingLayer(3)(X), X / 13, atol=1e-15)


def test_keeps_the_norm_in_one_more_feature(x64):
    """A one goes behind the features, so that x, 2x and -x are three different rays."""
    layer = EncodingLayer(4, keep_norm=True)
    np.testing.assert_allclose(layer(X), unit(np.array([3, -4, 12, 1.0])), atol=1e-15)
    states = [np.asarray(layer(v)) for v in (X / 9, X, -X)]
    overlaps = [abs(a @ b) for a, b in zip(states, states[1:] + states[:1], strict=True)]
    assert max(overlaps) < 0.99
    plain = EncodingLayer(4)
    np.testing.assert_allclose(plain(2 * X), plain(X), atol=1e-15)


POOLED = [
    ((4, 4), 4, False, 2),
    ((6, 6), 8, False, 3),
    ((4, 6), 6, False, 2),
    ((4, 4), 5, True, 2),
    ((4, 4), 4, True, 4),
    ((2, 2), 4, False, 1),
]


@pytest.mark.parametrize(("shape", "target", "keep_norm", "tile"), POOLED)
def test_mean_pooling(shape, target, keep_norm, tile, x64):
    """Over the smallest square tiles that divide the image and make it fit."""
    image = np.random.default_rng(0).normal(size=shape)
    layer = EncodingLayer(target, reduction="mean_pool", image_shape=shape, keep_norm=keep_norm)
    pooled = np.append(tile_means(image, tile), [1.0] * keep_norm)
    expected = unit(np.pad(pooled, (0, target - len(pooled))))
    np.testing.assert_allclose(layer(image.ravel()), expected, atol=1e-14)


@pytest.mark.parametrize(
    "options", [{}, {"keep_norm": True}, {"reduction": "mean_pool", "image_shape": (2, 4)}], ids=str
)
def test_gradients(options, x64):
    """In all inputs."""
    x = np.resize(X, 8) + 0.1 * np.arange(8) if "image_shape" in options else X
    _, in_x = checked_jacobians(EncodingLayer(4, **options), x)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def test_zero_vector():
    """The first unit vector, with a zero gradient; with a kept norm it is the last feature."""
    value, slope = jax.value_and_grad(lambda x: EncodingLayer(4)(x).sum())(jnp.zeros(3))
    np.testing.assert_array_equal(EncodingLayer(4)(np.zeros(3)), [1, 0, 0, 0])
    np.testing.assert_array_equal(slope, np.zeros(3))
    assert value == 1
    np.testing.assert_array_equal(EncodingLayer(4, keep_norm=True)(np.zeros(3)), [0, 0, 0, 1])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_scales(scale):
    """No square under- or overflows in single precision."""
    np.testing.assert_allclose(EncodingLayer(4)(X * scale)[:3], X / 13, rtol=1e-6)


def test_batch_axes():
    """Any number of them in front; images of zeros among them."""
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype(np.float32)
    x[0, 1] = 0
    for layer in (
        EncodingLayer(32, keep_norm=True),
        EncodingLayer(4, reduction="mean_pool", image_shape=(4, 4)),
    ):
        found = layer(x)
        assert found.shape == (2, 3, layer.target_dim)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.ones((2, 3)), rtol=1e-6)
        np.testing.assert_allclose(found[1, 2], layer(x[1, 2]), atol=1e-7)


def points(samples: int) -> np.ndarray:
    """Samples of five features with two strong directions, off the origin."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, 5))
    return rng.normal(size=(samples, 2)) @ mixing + 0.01 * rng.normal(size=(samples, 5)) + 3.0


def test_principal_components(x64):
    """Those of scikit-learn up to a sign, with the share of the variance that they keep."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = points(40)
    layer = EncodingLayer(4, reduction="pca", num_features=5, keep_norm=True)
    share = layer.fit(x)
    theirs = decomposition.PCA(3).fit(x)
    np.testing.assert_allclose(share, theirs.explained_variance_ratio_.sum(), atol=1e-12)
    assert share > 0.999
    projected = theirs.transform(x)
    expected = np.stack([unit(np.append(row, 1)) for row in projected])
    signs = np.append(np.sign(np.sum(layer(x) * expected, axis=0))[:3], 1)
    np.testing.assert_allclose(layer(x), expected * signs, atol=1e-10)
    checked_jacobians(layer, x[0])


def test_components_are_part_of_the_state_and_not_trained():
    """Saved with the layer, and no `nnx.Param`."""
    layer = EncodingLayer(2, reduction="pca", num_features=5)
    layer.fit(points(10))
    graph, state = nnx.split(layer)
    again = nnx.merge(graph, state)
    np.testing.assert_array_equal(again(points(3)), layer(points(3)))
    assert jax.tree.leaves(nnx.state(layer, nnx.Param)) == []


def test_pca_before_fit():
    """Known outside of jit, and inside of `qjax.checked`."""
    layer = EncodingLayer(2, reduction="pca", num_features=5)
    text = r"needs its components. Call `fit\(training_inputs\)` first"
    with pytest.raises(ModelError, match=text):
        layer(np.ones(5))


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (EncodingLayer(4), (9, 5), "Only reduction='pca' is fitted, but `reduction` is 'error'"),
        (EncodingLayer(2, reduction="pca", num_features=5), (9, 4), r"\(samples, 5\) .*\(9, 4\)"),
        (EncodingLayer(2, reduction="pca", num_features=5), (1, 5), "with at least 2 samples"),
    ],
)
def test_fit_on_what_does_not_fit(layer, shape, text):
    """Another reduction, another length, too few samples."""
    with pytest.raises(ModelError, match=text):
        layer.fit(np.ones(shape))


BAD_ARGUMENTS = [
    ((0,), {}, "`target_dim` must be at least 1, but is 0"),
    ((4.0,), {}, "`target_dim` must be an integer, but is 4.0"),
    ((4,), {"reduction": "crop"}, "`reduction` must be one of 'error', .*, but is 'crop'"),
    ((4,), {"reduction": "pca"}, "`num_features` must be the length of the inputs .*, but is None"),
    ((4,), {"reduction": "pca", "num_features": 0}, "`num_features` must be at least 1, but is 0"),
    ((4,), {"reduction": "mean_pool"}, r"`image_shape` must be \(height, width\) .* but is None"),
    ((4,), {"reduction": "mean_pool", "image_shape": (4,)}, r"`image_shape` must be .* is \(4,\)"),
    ((4,), {"reduction": "mean_pool", "image_shape": 4}, "`image_shape` must be .* is 4"),
    ((1,), {"keep_norm": True}, "`target_dim` must be at least 2 with keep_norm=True, but is 1"),
]


@pytest.mark.parametrize(("args", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(args, options, text):
    """Each is refused when the layer is built."""
    with pytest.raises(ModelError, match=text):
        EncodingLayer(*args, **options)


POOL = {"reduction": "mean_pool"}
BAD_INPUTS = [
    ({}, (5,), r"between 1 and 4 features for target_dim=4, .* \(5,\). Choose a reduction"),
    ({}, (2, 0), "between 1 and 4 features"),
    ({}, (), r"between 1 and 4 features .*, but has shape \(\)"),
    ({"keep_norm": True}, (4,), "between 1 and 3 features"),
    ({"reduction": "pca", "num_features": 5}, (4,), "must have 5 features for reduction='pca'"),
    (POOL | {"image_shape": (4, 4)}, (15,), r"16 features for image_shape=\(4, 4\), .*\(15,\)"),
    (POOL | {"image_shape": (4, 4)}, (), "`x` must have 16 features"),
    (POOL | {"image_shape": (3, 5)}, (15,), "`image_shape` cannot be pooled to 4 features: no"),
]


@pytest.mark.parametrize(("options", "shape", "text"), BAD_INPUTS)
def test_inputs_that_do_not_fit(options, shape, text):
    """Features are never cut off."""
    layer = EncodingLayer(4, **options)
    for call in (layer, jax.jit(layer)):
        with pytest.raises(ModelError, match=text):
            call(jnp.ones(shape))


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.array([np.nan, 1]), "`x` must be finite, but holds NaN or infinity"),
        (np.array([1j, 1]), "`x` must be real, but has dtype complex128"),
    ],
)
def test_values_that_are_not_numbers_to_encode(x, text):
    """Refused by name rather than handed on or cut."""
    with pytest.raises(ModelError, match=text):
        EncodingLayer(2)(x)
