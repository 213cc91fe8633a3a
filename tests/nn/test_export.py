"""A trained layer as a file that runs without qjax: `jax.export`."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from qjax.nn import DecodingLayer, NoisyExecutor, QuantumFeatureExtractor, models
from qjax.transforms import NoiseModel

X = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)

RUN = """
import sys
sys.modules["qjax"] = None  # any import of it raises
import numpy as np
from jax import export

path, given, result = sys.argv[1:]
with open(path, "rb") as file:
    layer = export.deserialize(bytearray(file.read()))
np.save(result, layer.call(np.load(given)))
assert not any(name.split(".")[0] in ("qjax", "flax") for name in sys.modules if sys.modules[name])
"""


def function_of(model, x):
    """The model with its arrays as constants."""
    return nnx.merge(*nnx.split(model))(x)


def exported(function, *shape, **options) -> bytearray:
    """A function of one array as bytes."""
    given = jax.ShapeDtypeStruct(shape, jnp.float32)
    return export.export(jax.jit(function), **options)(given).serialize(vjp_order=1)


def hybrid():
    """A circuit and a projection."""
    rngs = nnx.Rngs(0)
    extractor = QuantumFeatureExtractor(3, depth=2, rngs=rngs)
    return nnx.Sequential(extractor, DecodingLayer(9, 3, rngs=rngs))


def noisy():
    """A circuit on a density matrix."""
    executor = NoisyExecutor(NoiseModel().readout(0.1, 0.1))
    return QuantumFeatureExtractor(3, depth=1, executor=executor, rngs=nnx.Rngs(0))


def designs():
    """The design's model."""
    return models.create("quantum-first", num_features=8, num_classes=3, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("make", [hybrid, noisy, designs])
def test_runs_in_a_process_without_qjax(make, tmp_path):
    """A fresh one, where importing qjax raises."""
    model = make()
    paths = [tmp_path / name for name in ("layer.bin", "x.npy", "y.npy")]
    paths[0].write_bytes(exported(partial(function_of, model), *X.shape))
    np.save(paths[1], X)
    subprocess.run([sys.executable, "-c", RUN, *map(str, paths)], check=True, timeout=300)
    np.testing.assert_allclose(np.load(paths[2]), model(X), atol=1e-6)


def test_process_without_qjax_is_one():
    """The block does block."""
    code = 'import sys; sys.modules["qjax"] = None; import qjax'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "ModuleNotFoundError: import of qjax halted" in done.stderr


def test_gradient():
    """That of the exported function is that of the layer."""
    model = hybrid()
    again = export.deserialize(exported(partial(function_of, model), *X.shape))
    found = jax.grad(lambda x: jnp.sin(again.call(x)).sum())(X)
    expected = jax.grad(lambda x: jnp.sin(model(x)).sum())(X)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_parameters_as_an_argument():
    """The arrays may stay outside, to be exchanged without another export."""
    first, second = hybrid(), hybrid()
    graph, state = nnx.split(first)
    leaves, tree = jax.tree.flatten(state)

    def run(leaves, x):
        return nnx.merge(graph, tree.unflatten(leaves))(x)

    shapes = jax.eval_shape(lambda: (leaves, jnp.asarray(X)))
    again = export.deserialize(export.export(jax.jit(run))(*shapes).serialize())
    nnx.update(second, jax.tree.map(lambda a: 2 * a, nnx.state(second)))
    other = jax.tree.leaves(nnx.state(second))
    np.testing.assert_allclose(again.call(other, X), second(X), atol=1e-6)


def test_for_other_devices():
    """One file for CPU and CUDA."""
    again = export.deserialize(
        exported(partial(function_of, hybrid()), *X.shape, platforms=["cpu", "cuda"])
    )
    assert again.platforms == ("cpu", "cuda")
    np.testing.assert_allclose(again.call(X), hybrid()(X), atol=1e-6)


def test_any_batch_size_one_sample_after_another():
    """A size left open until the call, by a loop over samples."""
    model = hybrid()
    (size,) = export.symbolic_shape("size")
    again = export.deserialize(
        exported(lambda x: jax.lax.map(partial(function_of, model), x), size, 8)
    )
    for count in (1, 2, 5):
        np.testing.assert_allclose(again.call(X[:count]), model(X[:count]), atol=1e-6)


def test_open_batch_size_is_refused():
    """Of a batch that runs as a whole: the engine's plan depends on its size."""
    (size,) = export.symbolic_shape("size")
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        exported(partial(function_of, hybrid()), size, 8)
