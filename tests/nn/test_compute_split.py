"""How operations, time and parameters are spread over the layers of a model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import (
    DecodingLayer,
    EncodingLayer,
    QuantumFeatureExtractor,
    QuantumPooling,
    QuantumReadout,
    QuantumSequential,
    models,
)
from qjax.nn._compute_split import _flops, _Part, _Program, _spread, compute_split
from qjax.sim import _engine

X = jnp.ones((4, 4))
AIM = 0.60  # of operations, time and parameters in quantum layers


def split(model, x=X):
    """Without times."""
    return compute_split(model, x, timed=False)


def create(name: str, num_features: int = 64, num_classes: int = 10):
    """A ready-made model."""
    return models.create(name, num_features=num_features, num_classes=num_classes, rngs=nnx.Rngs(0))


def training_step(model):
    """Loss and gradient written out, and what they are called with."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(values, x, labels):
        scores = nnx.merge(graph, values, rest, copy=True)(x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    return jax.jit(jax.value_and_grad(loss)), params


def flops_of(program) -> float:
    """XLA's own count."""
    return program.cost_analysis()["flops"]


def lowered_step(model, x):
    """The program of a training step, before optimisation."""
    step, params = training_step(model)
    return step.lower(params, x, jnp.zeros(len(x), int))


# --- operations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quantum-first", "quantum-features"])
@pytest.mark.parametrize("num_features", [16, 32])
def test_operations_add_up_to_xlas(name, num_features):
    """Within 10 % of the cost analysis of the whole step, in which nothing is a loop."""
    model, x = create(name, num_features), jnp.ones((32, num_features))
    program = lowered_step(model, x)
    assert "stablehlo.while" not in program.as_text()
    assert split(model, x).flops == pytest.approx(flops_of(program), rel=0.1)


def test_loops_count_as_often_as_they_run(monkeypatch):
    """A circuit of ten equal layers runs as a loop; written out, it has as many operations."""
    model, x = create("quantum-features", 64), jnp.ones((32, 64))
    program = lowered_step(model, x)
    assert "stablehlo.while" in program.as_text()
    found = split(model, x).flops
    assert found > 3 * flops_of(program)
    monkeypatch.setattr(_engine.lax, "scan", partial(jax.lax.scan, unroll=True))
    unrolled = lowered_step(model, x)
    assert "stablehlo.while" not in unrolled.as_text()
    assert found == pytest.approx(flops_of(unrolled), rel=0.1)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint, jax.jit])
@pytest.mark.parametrize("unroll", [1, 2, 5])
def test_nested_loops(wrap, unroll):
    """Three times five products of 8 x 8 matrices, however many are written out."""

    def product(carry, _):
        return carry @ carry, None

    def outer(carry, _):
        return jax.lax.scan(product, carry, None, length=5, unroll=unroll)[0], None

    run = wrap(lambda a: jax.lax.scan(outer, a, None, length=3)[0])
    assert _flops(_Program(run, (jnp.ones((8, 8)),))) == pytest.approx(15 * 2 * 8**3, rel=0.01)


def test_a_layer_has_what_it_has_alone():
    """Behind a layer without parameters an extractor costs what it costs by itself."""
    extractor = QuantumFeatureExtractor(3, depth=2, rngs=nnx.Rngs(0))
    model = nnx.Sequential(EncodingLayer(8), extractor, DecodingLayer())
    graph, params = nnx.split(extractor)
    alone = jax.jit(jax.value_and_grad(lambda p, v: nnx.merge(graph, p)(v).sum()))
    expected = flops_of(alone.lower(params, jnp.ones((4, 8))))
    assert split(model, jnp.ones((4, 8))).layers[1].flops == pytest.approx(expected, rel=0.1)


def flops_share_beside(width: int) -> float:
    """Of a two-qubit extractor behind a linear layer of some width."""
    rngs = nnx.Rngs(0)
    before = [nnx.Linear(4, width, rngs=rngs), jax.nn.relu, nnx.Linear(width, 4, rngs=rngs)]
    extractor = QuantumFeatureExtractor(2, depth=1, rngs=rngs)
    return split(nnx.Sequential(*before, extractor)).quantum_flops_share


def test_falls_as_the_classical_part_grows():
    """Between 0 and 1, from mostly quantum to mostly classical."""
    small, large = flops_share_beside(1), flops_share_beside(1000)
    assert 0.5 < small < 1
    assert 0 < large < 0.1


def test_of_a_quantum_layer_alone():
    """All of it but the cross-entropy."""
    found = split(QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0)))
    assert 0.9 < found.quantum_flops_share < 1
    assert found.quantum_parameter_share == 1


def test_of_classical_layers_alone():
    """Nothing."""
    found = split(nnx.Sequential(DecodingLayer(4, 3, rngs=nnx.Rngs(0))))
    assert found.quantum_flops_share == found.quantum_parameter_share == 0


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_of_the_models_for_digits(name):
    """Most operations of every ready-made model are quantum."""
    found = split(create(name), jnp.ones((32, 64)))
    assert AIM <= found.quantum_flops_share <= 1
    assert sum(row.flops for row in found.layers) == pytest.approx(found.flops)


# --- layers of one circuit ------------------------------------------------------------------------


def stack(kind: str):
    """Four qubits, then two."""
    rngs = nnx.Rngs(0)
    return QuantumSequential(
        QuantumFeatureExtractor(4, depth=2, rngs=rngs),
        QuantumPooling(4, kind=kind, rngs=rngs),
        QuantumReadout(2, 3, rngs=rngs),
    )


def test_layers_of_a_stack_are_told_apart():
    """Dropping qubits costs nothing; rotating the kept ones before that does."""
    x = jnp.ones((32, 4))  # few samples cost less than the matrices, which are planned together
    plain, turned = (split(stack(kind), x).layers for kind in ("partial_trace", "controlled"))
    assert [row.name for row in plain] == [
        "0.0 QuantumFeatureExtractor",
        "0.1 QuantumPooling",
        "0.2 QuantumReadout",
        "loss",
    ]
    assert plain[1].flops == 0 < turned[1].flops
    assert min(plain[0].flops, plain[2].flops, turned[0].flops, turned[2].flops) > 0
    assert [row.parameters for row in turned] == [16, 2, 2, 0]


def test_a_stack_among_other_layers():
    """Its layers together have what XLA counts more with the stack than without it."""
    first, last = stack("controlled"), nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    found = split(nnx.Sequential(nnx.Sequential(first), last))
    names = [row.name.split()[0] for row in found.layers]
    assert names == ["0.0.0", "0.0.1", "0.0.2", "1", "loss"]
    alone = split(first)
    together = sum(row.flops for row in found.layers[:3])
    assert together == pytest.approx(sum(row.flops for row in alone.layers[:3]))


def test_negative_differences_count_as_zero():
    """A longer circuit that costs less than a shorter one; the stack keeps its figure."""
    layer = DecodingLayer()
    groups = [[_Part("0", layer, 0)], [_Part("1.0", layer, 1, 1), _Part("1.1", layer, 1, 2),
              _Part("1.2", layer, 1)], [_Part("2", layer, 2)]]  # fmt: skip
    figures = [1.0, 3.0, 9.0, 7.0, 13.0, 12.0, 0.5]  # nothing, five parts, the loss
    found = _spread(figures, groups)
    # layers: 2, 10, -1 -> 0, scaled by 11 / 12; in the stack: 6, -2 -> 0, 6, scaled to its 10
    np.testing.assert_allclose(np.array(found) * 12 / 11, [2, 5, 0, 5, 0, 1.5 * 12 / 11])
    assert sum(found) == pytest.approx(12 + 0.5)


# --- parameters -----------------------------------------------------------------------------------


def test_parameters_of_the_designs_model():
    """All are angles: depth 4 on 8 qubits, depth 3 on 4, one for each qubit that is read."""
    found = split(create("quantum-first", 196), jnp.ones((2, 196)))
    assert [row.parameters for row in found.layers] == [4 * 8 * 2, 0, 3 * 4 * 2, 4, 0]
    assert found.parameters == 92
    assert found.quantum_parameter_share == 1 >= AIM


def test_a_dense_head_fails_the_parameter_share():
    """64 neurons on the design's model have eight times its angles."""
    head = nnx.Linear(10, 64, rngs=nnx.Rngs(0))
    found = split(nnx.Sequential(create("quantum-first", 196), head), jnp.ones((2, 196)))
    assert found.quantum_parameter_share == 92 / (92 + 10 * 64 + 64) < AIM
    assert found.quantum_flops_share >= AIM


def test_a_model_without_parameters():
    """There is nothing to share."""
    found = split(QuantumPooling(4))
    assert (found.parameters, found.quantum_parameter_share) == (0, 0)


# --- times ----------------------------------------------------------------------------------------


def test_times_add_up():
    """None below zero, and their shares make one."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(stack("partial_trace"), DecodingLayer(3, 2, rngs=rngs))
    found = compute_split(model, X, repeats=3)
    times = [row.seconds for row in found.layers]
    assert found.seconds is not None and found.seconds > 0
    assert all(t is not None and t >= 0 for t in times)
    assert sum(t / found.seconds for t in times if t is not None) == pytest.approx(1)
    quantum = [row.seconds or 0.0 for row in found.layers if row.is_quantum]
    assert found.quantum_time_share == pytest.approx(sum(quantum) / found.seconds)
    assert found.flops == split(model).flops


def test_untimed():
    """Says so, and compiles nothing."""
    found = split(QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0)))
    assert found.seconds is None and found.quantum_time_share is None
    assert all(row.seconds is None for row in found.layers)


def test_table():
    """One line per layer, and the shares."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(QuantumFeatureExtractor(2, rngs=rngs), DecodingLayer(6, 3, rngs=rngs))
    lines = str(split(model)).splitlines()
    assert lines[0].split() == ["layer", "quantum", "flops", "%", "ms", "%", "parameters", "%"]
    assert lines[1].split()[:3] == ["0", "QuantumFeatureExtractor", "yes"]
    assert lines[1].split()[-4:] == ["-", "-", "12", "40.0"]
    assert lines[2].split()[:3] == ["1", "DecodingLayer", "no"]
    assert [line.split()[0] for line in lines[3:]] == ["loss", "quantum"]
    assert lines[-1].split()[-1] == "40.0"


# --- inputs and models ----------------------------------------------------------------------------


def test_leaves_the_model_as_it_is():
    """The same figures again, and the same state."""
    model = nnx.Sequential(
        nnx.Dropout(0.1, rngs=nnx.Rngs(0)),
        nnx.BatchNorm(4, rngs=nnx.Rngs(0)),
        QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0)),
    )

    def leaves():
        state = nnx.state(model)
        return jax.tree.leaves(jax.tree.map(_numbers, state))

    before = leaves()
    assert split(model) == split(model)
    for old, new in zip(before, leaves(), strict=True):
        np.testing.assert_array_equal(new, old)


def _numbers(leaf):
    """Copies of a leaf's bits; random keys as their words."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(leaf) if is_key else leaf)


def test_of_nested_layers():
    """Nested sequences count as if written out."""
    rngs = nnx.Rngs(0)
    quantum = QuantumFeatureExtractor(2, depth=1, rngs=rngs)
    first, last = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
    flat = split(nnx.Sequential(first, quantum, last))
    nested = split(nnx.Sequential(nnx.Sequential(first, quantum), last))
    assert nested.quantum_flops_share == flat.quantum_flops_share > 0.5
    assert [row.name for row in nested.layers[:3]] == [
        "0.0 Linear",
        "0.1 QuantumFeatureExtractor",
        "1 Linear",
    ]


def test_outputs_with_further_axes():
    """Of (batch, 2, k), each row holds scores."""
    rngs = nnx.Rngs(0)
    layer = QuantumFeatureExtractor(2, depth=1, rngs=rngs)
    images = split(layer, jnp.ones((4, 2, 4)))
    assert images.flops == pytest.approx(split(layer, jnp.ones((8, 4))).flops, rel=0.01)


def test_hidden_quantum_layers():
    """A module that is not a sequence could do anything with the layers inside it."""

    class Wrapped(nnx.Module):
        def __init__(self):
            self.inner = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))

    with pytest.raises(ModelError, match="but Wrapped hides some"):
        split(nnx.Sequential(Wrapped()))


def test_inputs_without_a_batch():
    """There must be a batch axis."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match=r"must have shape \(batch, ...\), but has shape \(4,\)"):
        split(layer, X[0])


def test_number_of_repeats():
    """A positive one."""
    layer = QuantumFeatureExtractor(2, depth=1, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="`repeats` must be at least 1, but is 0"):
        compute_split(layer, X, repeats=0)


def test_model_whose_layers_cannot_be_told_apart():
    """Named by its type."""
    text = "`model` must be an nnx.Sequential or a quantum layer, but is Linear"
    with pytest.raises(ModelError, match=text):
        split(nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
