"""What all JAX peers share, so that they are jitted, batched, compiled and timed in one way."""
# pyright: reportMissingImports=false

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench._program import Program, Unsupported, z_means
from bench._workloads import LEARNING_RATE, Problem

__all__ = ["Evaluate", "compiled", "prepare"]

Evaluate = Callable[[Any, Any], Any]
"""theta (angles,), input (features,) or amplitudes (2**n,) -> expectation values (words,)."""

jax.devices()  # starting the backend counts as an import


def prepare(
    problem: Problem,
    evaluate: Evaluate,
    *,
    loss: Evaluate | None = None,
    sample: Callable[[Any, Any], Any] | None = None,
    read_sample: Callable[[Any], np.ndarray] = z_means,
    dtype: Any = jnp.float32,
) -> Program:
    """Compiles a cell: `jit` of `vmap` over the inputs, and `value_and_grad` of the mean loss.

    Args:
        problem: what is computed.
        evaluate: the library's expectation values of one input.
        loss: the library's weighted sum of them, where it has one; else a dot product.
        sample: theta, key -> samples.
        read_sample: samples -> <Z_i> of each qubit.
        dtype: of angles and inputs, for a library that computes in double precision.
    """
    theta = jnp.asarray(problem.theta, dtype)
    inputs = jnp.asarray(problem.xs if problem.amplitudes is None else problem.amplitudes, dtype)
    if problem.task == "sample":
        if sample is None:
            raise Unsupported("no sampling of its own")
        key = jax.random.key(0)
        return compiled(sample, (theta, key), lambda raw: {"means": read_sample(raw)})
    if problem.task == "forward":
        return compiled(_batched(problem, evaluate), (theta, inputs), _read_forward(problem))
    slope = jax.value_and_grad(_mean_loss(problem, evaluate, loss))
    if problem.task == "gradient":
        return compiled(slope, (theta, inputs), _read("loss", "gradient"))
    return compiled(_training(problem, slope), (theta, inputs), _read("theta", "losses"))


def compiled(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    read: Callable[[Any], dict[str, np.ndarray]],
) -> Program:
    """Traces, then compiles, each timed; running waits for the result."""
    start = time.perf_counter()
    lowered = jax.jit(function).lower(*arguments)
    middle = time.perf_counter()
    program = lowered.compile()
    end = time.perf_counter()
    facts = {"trace_s": middle - start, "compile_s": end - middle}
    memory = program.memory_analysis()
    if memory is not None:
        facts["xla_bytes"] = float(memory.temp_size_in_bytes + memory.output_size_in_bytes)
    return Program(lambda: jax.block_until_ready(program(*arguments)), read, facts)


def _batched(problem: Problem, evaluate: Evaluate) -> Callable[..., Any]:
    """One state stays one state: no batch axis of length 1."""
    if problem.cell.batch == 1:
        return lambda theta, inputs: evaluate(theta, inputs[0])
    return jax.vmap(evaluate, (None, 0))


def _mean_loss(problem: Problem, evaluate: Evaluate, loss: Evaluate | None) -> Callable[..., Any]:
    weights = np.asarray(problem.weights, np.float32)

    def one(theta: Any, x: Any) -> Any:
        return loss(theta, x) if loss is not None else weights @ evaluate(theta, x)

    batched = _batched(problem, one)
    return lambda theta, inputs: jnp.mean(batched(theta, inputs))


def _training(problem: Problem, slope: Callable[..., Any]) -> Callable[..., Any]:
    """All steps as one `scan`."""

    def train(theta: Any, inputs: Any) -> Any:
        def step(theta: Any, _: None) -> tuple[Any, Any]:
            value, gradient = slope(theta, inputs)
            return theta - LEARNING_RATE * gradient, value

        return jax.lax.scan(step, theta, None, length=problem.cell.steps)

    return train


def _read_forward(problem: Problem) -> Callable[[Any], dict[str, np.ndarray]]:
    shape = (problem.cell.batch, len(problem.words))
    return lambda raw: {"values": np.asarray(raw).reshape(shape)}


def _read(first: str, second: str) -> Callable[[Any], dict[str, np.ndarray]]:
    return lambda raw: {first: np.asarray(raw[0]), second: np.asarray(raw[1])}
