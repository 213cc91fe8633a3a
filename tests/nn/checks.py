"""What the tests of layers share: finite differences, and layers as oracle operations."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from itertools import combinations, pairwise
from typing import Any

import jax
import numpy as np
from flax import nnx

from tests.support import oracle
from tests.support.oracle import Op

STEP = 1e-5

FULL = {n: tuple(combinations(range(n), 2)) for n in range(1, 9)}
LINEAR = {n: tuple(pairwise(range(n))) for n in range(1, 9)}
CIRCULAR = {n: (*LINEAR[n], (n - 1, 0)) for n in range(3, 9)}


# --- gradients ------------------------------------------------------------------------------------


def finite_differences(function: Callable[[Any], Any], value: Any) -> np.ndarray:
    """Central differences in each element, shape (*outputs, *inputs)."""
    value = np.asarray(value, float)
    steps = STEP * np.eye(value.size).reshape(-1, *value.shape)
    columns = [np.subtract(function(value + s), function(value - s)) / (2 * STEP) for s in steps]
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *value.shape)


def as_function(module: nnx.Module) -> tuple[Callable[..., jax.Array], list[Any]]:
    """A pure function of (parameter arrays, inputs), and the arrays of the module."""
    graph, state = nnx.split(module)
    leaves, tree = jax.tree.flatten(state)

    def run(values: list[Any], x: Any) -> jax.Array:
        return nnx.merge(graph, tree.unflatten(values))(x)

    return run, leaves


def checked_jacobians(module: nnx.Module, x: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Jacobians in every parameter array and in the inputs, compared with finite differences."""
    run, leaves = as_function(module)
    x = np.asarray(x, float)
    in_leaves, in_x = jax.jit(jax.jacrev(run, argnums=(0, 1)))(leaves, x)
    value = jax.jit(run)
    np.testing.assert_allclose(in_x, finite_differences(lambda v: value(leaves, v), x), atol=1e-6)
    for i, (found, leaf) in enumerate(zip(in_leaves, leaves, strict=True)):

        def partial(v: Any, i: int = i) -> jax.Array:
            return value([*leaves[:i], v, *leaves[i + 1 :]], x)

        np.testing.assert_allclose(found, finite_differences(partial, leaf), atol=1e-6)
    return [np.asarray(j) for j in in_leaves], np.asarray(in_x)


def largest_slopes(jacobian: np.ndarray, num_outputs: int) -> np.ndarray:
    """The largest absolute derivative of each parameter over all outputs."""
    return np.abs(jacobian).reshape(num_outputs, *jacobian.shape[1:]).max(axis=0)


@contextmanager
def compilations():
    """Collects one entry for each program that XLA compiles."""
    seen: list[float] = []

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


# --- layers as operations of the oracle -----------------------------------------------------------


def amplitudes(x: Any, num_qubits: int) -> np.ndarray:
    """Inputs filled up with zeros and normalised."""
    x = np.asarray(x, float)
    return np.pad(x, (0, 2**num_qubits - len(x))) / np.linalg.norm(x)


def prepared(x: Any, num_qubits: int) -> list[Op]:
    """Amplitude encoding."""
    return [Op("StatePreparation", tuple(range(num_qubits)), data=amplitudes(x, num_qubits))]


def rotations(angles: Any, qubits: Iterable[int] | None = None) -> list[Op]:
    """One RY on each qubit."""
    places = range(len(angles)) if qubits is None else qubits
    return [Op("RY", (q,), (float(a),)) for q, a in zip(places, angles, strict=True)]


def iqp(x: Any) -> list[Op]:
    """Instantaneous quantum polynomial encoding: Hadamards, single and paired phases."""
    n = len(x)
    return [
        *(Op("H", (q,)) for q in range(n)),
        *(Op("RZ", (q,), (float(x[q]),)) for q in range(n)),
        *(Op("RZZ", (a, b), (float(x[a] * x[b]),)) for a, b in FULL[n]),
    ]


def layered(theta: Any, pairs: Any, qubits: Sequence[int] | None = None) -> list[Op]:
    """Layers of RY, RZ and CX by hand, on the given qubits of a register."""
    depth, n, _ = np.shape(theta)
    place = range(n) if qubits is None else qubits
    ops = []
    for layer in range(depth):
        for q in range(n):
            first, second = (float(a) for a in theta[layer][q])
            ops += [Op("RY", (place[q],), (first,)), Op("RZ", (place[q],), (second,))]
        ops += [Op("CX", (place[a], place[b])) for a, b in pairs]
    return ops


def readings(state: Any, bases: Iterable[str], qubits: Iterable[int] | None = None) -> np.ndarray:
    """Expectation values of single letters, basis-major."""
    n = int(np.log2(len(state)))
    places = range(n) if qubits is None else tuple(qubits)
    words = ["I" * q + letter + "I" * (n - 1 - q) for letter in bases for q in places]
    return np.array([oracle.expectation(state, {word: 1.0}) for word in words])


def log_scores(chances: np.ndarray, num_classes: int) -> np.ndarray:
    """Logarithms of the first probabilities, renormalised (none of them near zero)."""
    kept = chances[:num_classes]
    return np.log(kept / kept.sum())
