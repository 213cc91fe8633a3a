"""DecodingLayer: a scale, and a projection if asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import Angle, DecodingLayer
from tests.nn.checks import checked_jacobians, largest_slopes

X = np.array([-1.0, 0.2, 1.0])


def test_scales_to_the_unit_interval(x64):
    """From [-1, 1] to [0, 1], element by element, with slope one half."""
    layer = DecodingLayer()
    np.testing.assert_allclose(layer(X), [0, 0.6, 1], atol=1e-15)
    assert jax.tree.leaves(nnx.state(layer)) == []
    leaves, in_x = checked_jacobians(layer, X)
    assert leaves == []
    np.testing.assert_allclose(in_x, np.eye(3) / 2, atol=1e-15)


def test_projects(x64):
    """The scaled values times a kernel, no bias."""
    layer = DecodingLayer(3, 2, rngs=nnx.Rngs(0))
    kernel = np.asarray(layer.kernel[...])
    assert kernel.shape == (3, 2) and kernel.dtype == np.float64
    np.testing.assert_allclose(layer(X), np.array([0, 0.6, 1]) @ kernel, atol=1e-15)
    np.testing.assert_allclose(layer(-np.ones(3)), np.zeros(2), atol=1e-15)


def test_gradients(x64):
    """In the kernel and the inputs; a feature at -1 has no weight, so its row has no slope."""
    layer = DecodingLayer(3, 2, rngs=nnx.Rngs(0))
    (in_kernel,), in_x = checked_jacobians(layer, X)
    dead = largest_slopes(in_kernel, 2) < 1e-10
    np.testing.assert_array_equal(dead, [[True, True], [False, False], [False, False]])
    assert np.all(np.abs(in_x).max(axis=0) > 1e-3)


def test_kernel_is_a_parameter_but_no_angle():
    """Filters tell the two kinds apart."""
    layer = DecodingLayer(3, 2, rngs=nnx.Rngs(0))
    assert isinstance(layer.kernel, nnx.Param) and not isinstance(layer.kernel, Angle)


def test_batch_axes():
    """Any number of them in front."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 4, 3)).astype(np.float32)
    layer = DecodingLayer(3, 2, rngs=nnx.Rngs(0))
    found = layer(x)
    assert found.shape == (2, 4, 2) and DecodingLayer()(x).shape == x.shape
    np.testing.assert_allclose(found[1, 2], layer(x[1, 2]), atol=1e-6)


BAD_ARGUMENTS = [
    ((3, 0), "`output_dim` must be at least 1, but is 0"),
    ((3, 1.5), "`output_dim` must be an integer, but is 1.5"),
    ((0, 2), "`num_features` must be at least 1, but is 0"),
    ((None, 2), "`num_features` and `rngs` must be given for a projection to output_dim=2"),
]


@pytest.mark.parametrize(("args", "text"), BAD_ARGUMENTS)
def test_bad_arguments(args, text):
    """Each is refused when the layer is built."""
    with pytest.raises(ModelError, match=text):
        DecodingLayer(*args, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("value_range", "text"),
    [
        (None, r"`value_range` must be \(low, high\), but is None"),
        ((0, 1, 2), r"`value_range` must be \(low, high\), but is \(0, 1, 2\)"),
        ((0, np.inf), "`value_range` must be a finite number, but is inf"),
        (("a", "b"), "`value_range` must be a finite number, but is 'a'"),
    ],
)
def test_bad_ranges(value_range, text):
    """Two finite numbers."""
    with pytest.raises(ModelError, match=text):
        DecodingLayer(value_range=value_range)


def test_length_without_a_projection():
    """Is checked if it is given: DecodingLayer(10) is no projection to 10."""
    with pytest.raises(ModelError, match=r"`x` must have 10 features, but has shape \(2, 3\)"):
        DecodingLayer(10)(np.ones((2, 3)))


def test_projection_without_random_streams():
    """The kernel has to be drawn from somewhere."""
    with pytest.raises(ModelError, match="`num_features` and `rngs` must be given"):
        DecodingLayer(3, 2)


@pytest.mark.parametrize(("shape", "text"), [((4,), r"3 features, .* \(4,\)"), ((), "3 features")])
def test_inputs_that_do_not_fit(shape, text):
    """Shapes are static: the error comes inside jit as well."""
    layer = DecodingLayer(3, 2, rngs=nnx.Rngs(0))
    for call in (layer, jax.jit(layer)):
        with pytest.raises(ModelError, match=text):
            call(jnp.ones(shape))
