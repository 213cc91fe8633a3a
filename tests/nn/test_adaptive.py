"""AdaptiveLayer: always one, a trained mixture, or a choice that is recorded."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import AdaptiveChoice, AdaptiveLayer, QuantumPooling
from tests.nn.checks import checked_jacobians, compilations

X = np.array([[0.4, -0.9, 1.3, 0.2], [1.0, 0.1, -0.3, 0.5]], np.float32)


def adaptive(mode: str, **options) -> AdaptiveLayer:
    """Pooling of four qubits, or a linear layer."""
    return AdaptiveLayer(QuantumPooling(4), nnx.Linear(4, 2, rngs=nnx.Rngs(0)), mode, **options)


@pytest.mark.parametrize(("mode", "weight"), [("quantum", 1), ("classical", 0), ("auto", 1)])
def test_one_of_the_two(mode, weight):
    """By the mode; "auto" begins with the quantum one."""
    layer = adaptive(mode)
    expected = layer.quantum(X) if weight else layer.classical(X)
    np.testing.assert_array_equal(layer(X), expected)
    assert layer.weight == weight


def test_learned_mixture(x64):
    """w quantum + (1 - w) classical, with the derivative of w."""
    layer = AdaptiveLayer(
        QuantumPooling(4), nnx.Linear(4, 2, rngs=nnx.Rngs(0)), "learned", initial_weight=0.2
    )
    quantum, classical = np.asarray(layer.quantum(X)), np.asarray(layer.classical(X))
    np.testing.assert_allclose(layer(X), 0.2 * quantum + 0.8 * classical, atol=1e-12)
    gradient = nnx.grad(lambda m: jnp.sum(m(X)))(layer)
    expected = 0.2 * 0.8 * (quantum - classical).sum()
    np.testing.assert_allclose(gradient["logit"][...], expected, atol=1e-12)
    checked_jacobians(layer, X[0])


BOTH = {"max_standard_error": 0.05, "max_queue_seconds": 9}
LIMITS = [
    ({"max_queue_seconds": 60}, {"queue_seconds": 60.0}, True),
    ({"max_queue_seconds": 60}, {"queue_seconds": 61.0}, False),
    ({"max_standard_error": 0.05}, {"standard_error": 0.1}, False),
    (BOTH, {"standard_error": 0.01, "queue_seconds": 1}, True),
    (BOTH, {"standard_error": 0.01, "queue_seconds": 10}, False),
    ({"budget_usd": 1.0}, {"cost_usd": 1.5}, False),
    ({}, {"cost_usd": 1.5}, True),
]


@pytest.mark.parametrize(("limits", "readings", "quantum"), LIMITS)
def test_choice(limits, readings, quantum):
    """Quantum unless a limit is exceeded; calls follow, eager and compiled before the choice."""
    layer = adaptive("auto", **limits)
    run = nnx.jit(lambda m, x: m(x))
    run(layer, X)
    with compilations() as seen:
        choice = layer.choose(**readings)
        seen.clear()  # those of writing the record
        compiled = run(layer, X)
    assert not seen and choice.quantum == quantum
    expected = layer.quantum(X) if quantum else layer.classical(X)
    np.testing.assert_allclose(layer(X), expected, atol=1e-6)
    np.testing.assert_allclose(compiled, expected, atol=1e-6)


def test_budget_is_spent():
    """Costs of earlier quantum choices count, those of classical ones do not; all is recorded."""
    layer = adaptive("auto", budget_usd=1.0)
    chosen = [layer.choose(cost_usd=c).quantum for c in (0.5, 0.75, 0.5, 0.25)]
    assert chosen == [True, False, True, False]
    costs = [(c.quantum, c.cost_usd) for c in layer.choices()]
    assert costs == [(True, 0.5), (False, 0.75), (True, 0.5), (False, 0.25)]
    graph, state = nnx.split(layer)
    again = nnx.merge(graph, state)
    assert again.choices() == layer.choices()
    assert not again.choose(cost_usd=0.25).quantum


def test_record_keeps_the_last_64():
    """Oldest first."""
    layer = adaptive("auto", max_queue_seconds=50)
    for i in range(70):
        layer.choose(queue_seconds=float(i))
    assert layer.choices() == [AdaptiveChoice(i <= 50, None, float(i), None) for i in range(6, 70)]
    assert adaptive("learned").choices() == []


def test_gradient_goes_to_the_chosen_layer():
    """And not to the other."""
    layer = adaptive("auto", max_queue_seconds=1)
    gradients = []
    for seconds in (0.0, 5.0):
        layer.choose(queue_seconds=seconds)
        gradients.append(nnx.jit(nnx.grad(lambda m: jnp.sum(m(X))))(layer))
    norms = [np.abs(g["classical"]["kernel"][...]).max() for g in gradients]
    assert norms[0] == 0 and norms[1] > 0.1


BAD_ARGUMENTS = [
    (("fast",), {}, "`mode` must be one of 'quantum', .*, but is 'fast'"),
    (("learned",), {"initial_weight": 1.0}, "`initial_weight` must be strictly between 0 and 1"),
    (("learned",), {"budget_usd": 1.0}, "`budget_usd` must not be given with mode='learned'"),
    (("auto",), {"budget_usd": -1}, "`budget_usd` must be at least 0, but is -1"),
    (
        ("auto",),
        {"max_queue_seconds": "1"},
        "`max_queue_seconds` must be a finite number, but is '1'",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "text"), BAD_ARGUMENTS)
def test_bad_arguments(arguments, options, text):
    """By name."""
    with pytest.raises(ModelError, match=text):
        adaptive(*arguments, **options)


def test_bad_modules_and_shapes():
    """Functions have no state to keep; outputs must be of one shape."""
    linear = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ModelError, match="`quantum` must be an nnx.Module, but is function"):
        AdaptiveLayer(cast(Any, lambda x: x), linear)
    text = r"outputs of one shape, but give \(2, 2\) and \(2, 3\)"
    for mode in ("learned", "quantum", "auto"):
        layer = AdaptiveLayer(QuantumPooling(4), linear, mode)
        for run in (layer, jax.jit(layer)):
            with pytest.raises(ModelError, match=text):
                run(X)


def test_bad_choices():
    """Another mode, a limit without a reading, a reading that is none, inside of jit."""
    with pytest.raises(ModelError, match="Only mode='auto' chooses, but `mode` is 'learned'"):
        adaptive("learned").choose()
    layer = adaptive("auto", max_queue_seconds=1)
    with pytest.raises(ModelError, match="`queue_seconds` must be given, since .*max_queue_secon"):
        layer.choose(cost_usd=1.0)
    with pytest.raises(ModelError, match="`queue_seconds` must be a finite number, but is nan"):
        layer.choose(queue_seconds=float("nan"))
    with pytest.raises(ModelError, match="`choose` runs on the host and cannot be traced"):
        nnx.jit(lambda m: m.choose(queue_seconds=1.0))(layer)
