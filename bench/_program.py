"""What a peer hands to its worker: something to run, and how to read what came out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench._workloads import LEARNING_RATE, Problem, make_problem

__all__ = ["Program", "Unsupported", "plain_program", "z_means"]

Results = dict[str, np.ndarray]


class Unsupported(Exception):
    """The library cannot do this; the message is the reason that the table shows."""


@dataclass(frozen=True)
class Program:
    """A prepared cell.

    Args:
        run: computes, waits for the result and returns it; this is what is timed.
        read: turns what `run` returned into arrays to compare.
        facts: what was learnt while preparing: "trace_s", "compile_s", "xla_bytes".
    """

    run: Callable[[], Any]
    read: Callable[[Any], Results]
    facts: dict[str, float] = field(default_factory=dict)


def plain_program(
    problem: Problem,
    *,
    forward: Callable[[], Any] | None = None,
    gradient: Callable[[np.ndarray], tuple[Any, Any]] | None = None,
    sample: Callable[[], Any] | None = None,
    read_sample: Callable[[Any], np.ndarray] | None = None,
) -> Program:
    """A program of a library without a compiler of whole programs.

    Args:
        problem: what is computed.
        forward: returns (batch, words) expectation values.
        gradient: theta -> loss and its gradient; training is a Python loop around it.
        sample: draws the shots.
        read_sample: what `sample` returned -> <Z_i> of each qubit.

    Raises:
        Unsupported: if what the problem asks for was not given.
    """
    if problem.task == "sample" and sample is not None and read_sample is not None:
        return Program(sample, lambda raw: {"means": read_sample(raw)})
    if problem.task == "forward" and forward is not None:
        return Program(forward, lambda raw: {"values": np.asarray(raw)})
    if problem.task == "gradient" and gradient is not None:
        return Program(lambda: gradient(problem.theta), _read_gradient)
    if problem.task == "train" and gradient is not None:
        return Program(lambda: _train(problem, gradient), _read_training)
    raise Unsupported(_REASONS[problem.task])


_REASONS = {
    "forward": "no expectation values of this kind",
    "gradient": "no gradients of its own",
    "train": "no gradients of its own",
    "sample": "no sampling of its own",
}


def _train(problem: Problem, gradient: Callable[[np.ndarray], tuple[Any, Any]]) -> Any:
    theta, losses = problem.theta, []
    for _ in range(problem.cell.steps):
        loss, slope = gradient(theta)
        losses.append(float(loss))
        theta = theta - LEARNING_RATE * np.asarray(slope)
    return theta, np.array(losses)


def _read_gradient(raw: Any) -> Results:
    return {"loss": np.asarray(raw[0]), "gradient": np.asarray(raw[1]).reshape(-1)}


def _read_training(raw: Any) -> Results:
    return {"theta": np.asarray(raw[0]).reshape(-1), "losses": np.asarray(raw[1])}


def z_means(bits: Any) -> np.ndarray:
    """<Z_i> from samples of shape (shots, n)."""
    return 1 - 2 * np.asarray(bits, dtype=np.float64).mean(axis=0)


def z_means_of_integers(outcomes: Any, counts: Any, qubits: int, *, reverse: bool) -> np.ndarray:
    """<Z_i> from outcomes as integers.

    Args:
        outcomes: (m,) integers.
        counts: (m,) how often each came up.
        qubits: n.
        reverse: whether qubit 0 is the least significant bit.
    """
    shifts = np.arange(qubits) if reverse else np.arange(qubits)[::-1]
    bits = (np.asarray(outcomes)[:, None] >> shifts) & 1
    weights = np.asarray(counts, dtype=np.float64)
    return 1 - 2 * (bits * weights[:, None]).sum(axis=0) / weights.sum()


__all__ += ["make_problem", "z_means_of_integers"]
