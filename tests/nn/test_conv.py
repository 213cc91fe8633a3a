"""QuantumConv2D against the oracle, patch by patch, and against plain loops over the pixels."""

import copy
import json
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import qjax as qj
from qjax.errors import EncodingError, ModelError
from qjax.nn import (
    Angle,
    QuantumConv2D,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    config,
    from_config,
)
from qjax.nn.models import quantum_conv
from tests.nn.checks import (
    FULL,
    LINEAR,
    as_function,
    checked_jacobians,
    compilations,
    iqp,
    largest_slopes,
    layered,
    log_scores,
    prepared,
    readings,
    rotations,
)
from tests.support import oracle


def images(*shape: int, seed: int = 0) -> np.ndarray:
    """Pixels between -1 and 1."""
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def cut(image: np.ndarray, kernel: tuple[int, int], strides: tuple[int, int]) -> np.ndarray:
    """Patches (rows, columns, features) of one image by loops, one pixel after another."""
    height, width, _ = image.shape
    rows = [
        [
            [
                value
                for i in range(kernel[0])
                for j in range(kernel[1])
                for value in image[top + i, left + j]
            ]
            for left in range(0, width - kernel[1] + 1, strides[1])
        ]
        for top in range(0, height - kernel[0] + 1, strides[0])
    ]
    return np.array(rows)


# --- patches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "strides"), [((2, 2), (1, 1)), ((3, 2), (2, 3)), ((1, 4), (3, 1)), ((6, 7), (1, 1))]
)
def test_patches_equal_loops(kernel, strides):
    """Row by row, the channels of a pixel together, at every place where a patch fits."""
    x = images(6, 7, 2).astype(np.float32)
    layer = QuantumConv2D(2, kernel, strides=strides, depth=1, keep_norm=False, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(layer.patches(x), cut(x, kernel, strides))


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize(("kernel", "strides"), [(2, 1), (3, 1), (3, 2), ((2, 4), (3, 2)), (1, 2)])
def test_patches_lie_where_flax_puts_them(padding, kernel, strides):
    """A classical convolution with one filter per pixel of the patch picks the same numbers."""
    sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
    features = 2 * sizes[0] * sizes[1]
    conv = nnx.Conv(2, features, sizes, strides, padding=padding, use_bias=False, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.eye(features).reshape(*sizes, 2, features)
    layer = QuantumConv2D(
        2, kernel, strides=strides, padding=padding, depth=1, keep_norm=False, rngs=nnx.Rngs(0)
    )
    for height, width in ((5, 6), (6, 9), (4, 4)):
        x = images(3, height, width, 2).astype(np.float32)
        np.testing.assert_array_equal(layer.patches(x), conv(jnp.asarray(x)))
        assert layer.output_size(height, width) == layer.patches(x).shape[1:3]


def test_one_more_feature_keeps_the_norm():
    """It is one in every patch, and only amplitude encoding needs it."""
    x = images(4, 4, 1).astype(np.float32)
    patches = QuantumConv2D(1, 2, rngs=nnx.Rngs(0)).patches(x)
    np.testing.assert_array_equal(patches[..., :4], cut(x, (2, 2), (1, 1)))
    np.testing.assert_array_equal(patches[..., 4], np.ones((3, 3)))
    assert QuantumConv2D(1, 2, encoding="angle", rngs=nnx.Rngs(0)).patches(x).shape == (3, 3, 4)


# --- values ---------------------------------------------------------------------------------------

CASES = {
    "amplitude": (
        {},
        3,
        lambda p, t: [*prepared([*p, 1.0], 3), *layered(t, FULL[3])],
    ),
    "amplitude, norm lost": (
        {"keep_norm": False, "measurement_bases": ("Z",)},
        2,
        lambda p, t: [*prepared(p, 2), *layered(t, FULL[2])],
    ),
    "angle": (
        {"encoding": "angle", "entanglement": "linear", "measurement_bases": ("X", "Y")},
        4,
        lambda p, t: [*rotations(p), *layered(t, LINEAR[4])],
    ),
    "iqp, no entanglers": (
        {"encoding": "iqp", "entanglement": "none"},
        4,
        lambda p, t: [*iqp(p), *layered(t, ())],
    ),
    "reuploading": (
        {"encoding": "reuploading"},
        4,
        lambda p, t: [op for a in t for op in (*rotations(p), *layered([a], FULL[4]))],
    ),
    "function": (
        {"encoding": lambda p: qj.angle_encoding(p[..., :2] + p[..., 2:]), "num_qubits": 2},
        2,
        lambda p, t: [*rotations(p[:2] + p[2:]), *layered(t, FULL[2])],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_oracle_patch_by_patch(case, x64):
    """Every filter in every patch of every image: encoding, ansatz, order of the features."""
    options, n, ops = CASES[case]
    layer = QuantumConv2D(1, 2, strides=(2, 1), num_filters=2, depth=2, rngs=nnx.Rngs(0), **options)
    assert layer.num_qubits == n
    x = images(2, 4, 3, 1)
    bases = options.get("measurement_bases", ("Z", "X", "Y"))
    expected = [
        [
            [
                np.concatenate(
                    [
                        readings(oracle.statevector(n, ops(patch, np.asarray(f.theta[...]))), bases)
                        for f in layer.filters
                    ]
                )
                for patch in row
            ]
            for row in cut(image, (2, 2), (2, 1))
        ]
        for image in x
    ]
    np.testing.assert_allclose(layer(x), expected, atol=1e-12)


def test_one_pixel_closed_form(x64):
    """A 1 x 1 kernel turns one qubit by pixel and angle: <Z> = cos(x + a)."""
    layer = QuantumConv2D(
        1, 1, depth=1, encoding="angle", measurement_bases=("Z",), num_filters=2, rngs=nnx.Rngs(1)
    )
    x = images(3, 4, 5, 1)
    shifts = [float(f.theta[...][0, 0, 0]) for f in layer.filters]
    np.testing.assert_allclose(layer(x), np.cos(x + np.array(shifts)), atol=1e-12)


def test_brightness_matters_only_with_the_norm(x64):
    """x and 2x are one ray; with the feature of value one they are two."""
    x = images(3, 3, 1)
    kept, lost = (QuantumConv2D(1, 2, keep_norm=k, rngs=nnx.Rngs(0)) for k in (True, False))
    assert np.abs(kept(x) - kept(2 * x)).max() > 1e-2
    assert np.abs(lost(x) - lost(2 * x)).max() < 1e-12


def test_dark_patches():
    """Without its norm a patch of zeros has no direction; with it, all of them are alike."""
    dark = np.zeros((4, 4, 1))
    value = QuantumConv2D(1, 2, rngs=nnx.Rngs(0))(dark)
    assert np.isfinite(value).all() and np.ptp(value, axis=(0, 1)).max() < 1e-6
    with pytest.raises(EncodingError, match="`x` must not be the zero vector"):
        QuantumConv2D(1, 2, keep_norm=False, rngs=nnx.Rngs(0))(dark)


def test_moves_with_the_image():
    """All patches share their angles: a shifted image gives a shifted output."""
    x = images(9, 9, 1).astype(np.float32)
    layer = QuantumConv2D(1, 3, rngs=nnx.Rngs(0))
    whole = np.asarray(layer(x))
    np.testing.assert_allclose(layer(x[2:, 1:]), whole[2:, 1:], atol=1e-6)


# --- how it runs ----------------------------------------------------------------------------------


def test_all_patches_of_a_batch_are_one_batch_of_one_circuit_per_filter():
    """The executor is asked once per filter, for every patch of every image."""
    calls = []

    def executor(circuit, observables):
        calls.append((circuit.batch_shape, len(observables)))
        return qj.expectation(circuit, observables)

    layer = QuantumConv2D(
        1, 3, strides=2, num_filters=3, depth=1, executor=executor, rngs=nnx.Rngs(0)
    )
    assert layer(images(2, 5, 7, 9, 1)).shape == (2, 5, 3, 4, 36)
    assert calls == [((2 * 5 * 3 * 4,), 12)] * 3


def test_batch_vmap_jit_and_loop_agree():
    """Two batch axes, one mapped axis, nnx.jit, split and merged, copied, one after another."""
    layer = QuantumConv2D(1, 2, strides=2, num_filters=2, depth=1, rngs=nnx.Rngs(0))
    x = images(2, 3, 4, 4, 1).astype(np.float32)
    expected = layer(x)
    assert expected.shape == (2, 3, 2, 2, 18) and expected.dtype == np.float32
    for found in (
        jax.jit(jax.vmap(layer))(x),
        nnx.jit(lambda m, v: m(v))(layer, x),
        nnx.merge(*nnx.split(layer))(x),
        copy.deepcopy(layer)(x),
        pickle.loads(pickle.dumps(layer))(x),
        np.array([[layer(v) for v in row] for row in x]),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_new_angles_compile_nothing():
    """One program per shape, whatever the numbers."""
    layer = QuantumConv2D(1, 2, strides=2, num_filters=2, depth=1, rngs=nnx.Rngs(0))
    run, leaves = as_function(layer)
    compiled, x = jax.jit(run), jnp.ones((2, 4, 4, 1))
    first = compiled(leaves, x).block_until_ready()
    other = [leaf + 1 for leaf in leaves]
    with compilations() as seen:
        second = compiled(other, x).block_until_ready()
    assert not np.allclose(first, second)
    assert not seen


def test_gradients(x64):
    """Every angle of every filter and every pixel, which overlapping patches share."""
    layer = QuantumConv2D(
        1, 2, num_filters=2, depth=2, measurement_bases=("Z", "X"), rngs=nnx.Rngs(2)
    )
    x = images(3, 3, 1)
    in_leaves, in_x = checked_jacobians(layer, x)
    outputs = 2 * 2 * 2 * 2 * 3
    for j in in_leaves:
        assert np.all(largest_slopes(np.reshape(j, (outputs, 2, 3, 2)), outputs) > 1e-3)
    assert np.all(np.abs(in_x).reshape(outputs, 9).max(axis=0) > 1e-3)


@pytest.mark.parametrize("encoding", ["angle", "iqp", "reuploading"])
def test_gradients_of_the_other_encodings(encoding, x64):
    """Padded, with strides: the padding takes no gradient, the pixels do."""
    layer = QuantumConv2D(
        2, (1, 2), strides=(1, 2), padding="SAME", depth=1, encoding=encoding, rngs=nnx.Rngs(3)
    )
    (in_theta,), in_x = checked_jacobians(layer, images(1, 3, 2))
    assert in_theta.shape == (1, 2, 12, 1, 4, 2)
    assert np.all(np.abs(in_x).max(axis=(0, 1, 2)) > 1e-3)


def test_angles_of_the_filters_are_drawn_apart():
    """Each filter is an extractor with an `Angle` of its own, from the given initialiser."""
    layer = QuantumConv2D(1, 3, num_filters=2, depth=5, rngs=nnx.Rngs(0))
    leaves = jax.tree.leaves(nnx.state(layer, Angle))
    assert [leaf.shape for leaf in leaves] == [(5, 4, 2)] * 2
    assert np.abs(leaves[0] - leaves[1]).max() > 1
    zero = QuantumConv2D(1, 3, angle_init=lambda _, s: jnp.zeros(s), rngs=nnx.Rngs(0))
    assert not np.any(zero.filters[0].theta[...])


def test_ansatz_of_ones_own(x64):
    """Handed on to the filters with its shape."""
    layer = QuantumConv2D(
        1,
        (1, 2),
        encoding="angle",
        measurement_bases=("Z",),
        ansatz=lambda a: qj.Circuit(2, [qj.RY(a[..., 0], 0), qj.RY(a[..., 1], 1)]),
        angle_shape=(2,),
        rngs=nnx.Rngs(0),
    )
    x = images(2, 2, 1)
    angles = np.asarray(layer.filters[0].theta[...])
    np.testing.assert_allclose(layer(x)[:, 0], np.cos(x[..., 0] + angles), atol=1e-12)


# --- in a sequence --------------------------------------------------------------------------------


def test_one_filter_leads_a_coherent_sequence(x64):
    """The qubits of each patch are pooled and read out in one circuit: class scores per patch."""
    rngs = nnx.Rngs(0)
    stack = QuantumSequential(
        QuantumConv2D(1, 2, strides=2, depth=1, rngs=rngs),
        QuantumPooling(3, keep=(0, 2)),
        QuantumReadout(2, 4, rngs=rngs),
    )
    first, last = (np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(stack, Angle)))
    x = images(4, 4, 1)
    found = np.asarray(stack(x))
    assert found.shape == (2, 2, 4)
    for place, patch in zip(np.ndindex(2, 2), cut(x, (2, 2), (2, 2)).reshape(4, 4), strict=True):
        ops = [*prepared([*patch, 1.0], 3), *layered(first, FULL[3]), *rotations(last, (0, 2))]
        expected = log_scores(oracle.probabilities(oracle.statevector(3, ops), (0, 2)), 4)
        np.testing.assert_allclose(found[place], expected, atol=1e-10)


def test_encode_and_measure_of_one_filter_are_what_it_does():
    """The steps of the protocol, one by one."""
    layer = QuantumConv2D(1, 2, depth=1, rngs=nnx.Rngs(0))
    x = images(3, 3, 1).astype(np.float32)
    assert layer.encode(x).batch_shape == (2, 2)
    found = layer.measure(layer.encode(x) + layer.filters[0].operations(), (0, 1, 2))
    np.testing.assert_allclose(found, layer(x), atol=1e-6)
    np.testing.assert_allclose(layer.measure(layer.circuit(x), (0, 1, 2)), found, atol=1e-6)


def test_several_filters_are_no_single_circuit():
    """A sequence would lose all but one, so it is refused."""
    layer = QuantumConv2D(1, 2, num_filters=2, rngs=nnx.Rngs(0))
    stack = QuantumSequential(layer, QuantumPooling(3, pool_size=3))
    with pytest.raises(ModelError, match="A QuantumConv2D of 2 filters is no single circuit"):
        stack(images(3, 3, 1))
    with pytest.raises(ModelError, match="choose num_filters=1 in a QuantumSequential"):
        layer.measure(layer.encode(images(3, 3, 1)), (0, 1, 2))


def test_must_come_first():
    """It slides over images; there is no image in a state."""
    rngs = nnx.Rngs(0)
    stack = QuantumSequential(QuantumPooling(3, pool_size=1), QuantumConv2D(1, 2, rngs=rngs))
    with pytest.raises(ModelError, match="takes images, not a state, so it must come first"):
        stack(np.ones(3))


# --- saved, and in a model ------------------------------------------------------------------------


def test_rebuilds_from_its_arguments():
    """The attributes are what the constructor was given, so JSON is enough to build it again."""
    layer = QuantumConv2D(
        2,
        (3, 2),
        strides=(2, 1),
        num_filters=2,
        padding="SAME",
        depth=2,
        entanglement="linear",
        measurement_bases=("X",),
        keep_norm=False,
        rngs=nnx.Rngs(0),
    )
    again: Any = from_config(json.loads(json.dumps(config(layer))), nnx.Rngs(1))
    nnx.update(again, nnx.state(layer))
    x = images(2, 5, 4, 2).astype(np.float32)
    np.testing.assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize(("num_features", "rows"), [(64, 6), (196, 12), (784, 13)])
def test_model_slides_over_square_images(num_features, rows):
    """About a dozen patches along each side, four filters of four qubits, then a projection."""
    model: Any = quantum_conv(num_features=num_features, num_classes=3, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).random((2, num_features)).astype(np.float32)
    _, conv, _, head = model.layers
    side = int(num_features**0.5)
    features = conv(3 * x.reshape(2, side, side, 1))  # white pixels are three times the norm's one
    assert features.shape == (2, rows, rows, 16)
    expected = 2 * features.reshape(2, -1) @ head.kernel[...]  # values from -2 to 2
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_model_rebuilds_from_its_config():
    """Its steps between the layers are named, so it saves without pickle."""
    model: Any = quantum_conv(num_features=16, num_classes=3, kernel_size=2, rngs=nnx.Rngs(0))
    again: Any = from_config(json.loads(json.dumps(config(model))), nnx.Rngs(1))
    nnx.update(again, nnx.state(model))
    x = np.random.default_rng(0).random((2, 16)).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))


def test_model_gradients(x64):
    """Angles and projection of a small one, through the brightness and the patches."""
    model = quantum_conv(
        num_features=9, num_classes=2, kernel_size=2, num_filters=1, depth=2, rngs=nnx.Rngs(0)
    )
    in_leaves, in_x = checked_jacobians(model, np.random.default_rng(0).random(9))
    for leaf in in_leaves:
        assert np.any(largest_slopes(leaf, 2) > 1e-4)
    assert np.all(np.abs(in_x).max(axis=0) > 1e-4)


def test_model_refuses_what_is_no_square_image():
    """When it is built and when it is called."""
    with pytest.raises(ModelError, match="`num_features` must be a square, .* but is 3"):
        quantum_conv(num_features=3, num_classes=2, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="`kernel_size` must be at most the size of the images"):
        quantum_conv(num_features=4, num_classes=2, rngs=nnx.Rngs(0))
    model = quantum_conv(num_features=9, num_classes=2, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match=r"must have 9 features, .*, but has shape \(2, 8\)"):
        model(np.ones((2, 8)))


# --- what it refuses ------------------------------------------------------------------------------

BAD_ARGUMENTS = [
    ((0, 3), {}, "`in_features` must be at least 1, but is 0"),
    ((1, 0), {}, "`kernel_size` must be at least 1, but is 0"),
    ((1, (3, 3, 3)), {}, r"`kernel_size` must be one integer or two, but is \(3, 3, 3\)"),
    ((1, "33"), {}, "`kernel_size` must be one integer or two, but is '33'"),
    ((1, 2.5), {}, "`kernel_size` must be an integer, but is 2.5"),
    ((1, 3), {"strides": 0}, "`strides` must be at least 1, but is 0"),
    ((1, 3), {"num_filters": 0}, "`num_filters` must be at least 1, but is 0"),
    ((1, 3), {"padding": "CAUSAL"}, "`padding` must be one of 'VALID', 'SAME', but is 'CAUSAL'"),
    ((1, 3), {"depth": 0}, "`depth` must be at least 1, but is 0"),
    ((1, 3), {"encoding": "basis"}, "`encoding` must be one of .*, but is 'basis'"),
    ((1, 3), {"encoding": qj.angle_encoding}, "`num_qubits` must be given for an encoding of your"),
    ((1, 3), {"num_qubits": 3}, "must be at least 4 for the 10 features of a patch in amplitude"),
    ((1, 2), {"num_qubits": 3, "encoding": "angle"}, "must be 4 for the 4 features .* but is 3"),
    ((1, 2), {"num_qubits": 5, "encoding": "iqp"}, "must be 4 for the 4 features .* but is 5"),
    ((1, 2), {"num_qubits": 0}, "`num_qubits` must be between 1 and 40, but is 0"),
]


@pytest.mark.parametrize(("args", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(args, options, text):
    """Each is refused when the layer is built."""
    with pytest.raises(ModelError, match=text):
        QuantumConv2D(*args, rngs=nnx.Rngs(0), **options)


BAD_INPUTS = [
    ((3, 3), r"must have shape \(..., height, width, 1\), but has shape \(3, 3\)"),
    ((3, 3, 2), r"must have shape \(..., height, width, 1\), but has shape \(3, 3, 2\)"),
    ((5, 1, 3, 1), r"at least \(2, 2\) pixels, the kernel_size, but has shape \(5, 1, 3, 1\)"),
]


@pytest.mark.parametrize(("shape", "text"), BAD_INPUTS)
def test_images_that_do_not_fit(shape, text):
    """Shapes are static: the error comes inside jit as well."""
    layer = QuantumConv2D(1, 2, rngs=nnx.Rngs(0))
    for call in (layer, jax.jit(layer)):
        with pytest.raises(ModelError, match=text):
            call(jnp.ones(shape))


def test_images_that_are_not_finite():
    """Never a silent NaN."""
    layer = QuantumConv2D(1, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="`x` must be finite, but holds NaN or infinity"):
        layer(np.full((3, 3, 1), np.nan))
