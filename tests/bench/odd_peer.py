"""A peer that misbehaves as the environment variable ODD_PEER says."""

import os
import time
from typing import Any

import numpy as np

from bench._program import Program, Unsupported
from bench._workloads import Problem
from bench.peers._numpy import prepare as right

ENGINE = "for tests"
PRECISION = "complex128"


def prepare(problem: Problem) -> Program:
    how = os.environ["ODD_PEER"]
    program = right(problem)
    if how == "prints":
        print("a library that greets you")  # noqa: T201
        os.write(1, b"and one that writes to the descriptor\n")
    elif how == "wrong":
        return Program(program.run, lambda raw: off(program.read(raw)))
    elif how == "nan":
        return Program(program.run, lambda raw: off(program.read(raw), np.nan))
    elif how == "refuses":
        raise Unsupported("no such thing")
    elif how == "raises":
        raise RuntimeError("a bug\nwith a long story")
    elif how == "dies":
        os._exit(3)
    elif how == "hangs":
        time.sleep(60)
    elif how == "dies-later":
        return Program(dying(program.run), program.read)
    return program


def off(arrays: dict[str, np.ndarray], by: float = 1e-3) -> dict[str, np.ndarray]:
    """One number wrong by a little."""
    name = max(arrays)
    changed = np.array(arrays[name], float)
    changed.flat[-1] += by
    return {**arrays, name: changed}


def dying(run: Any) -> Any:
    """The first call is fine."""
    calls = []

    def call() -> Any:
        calls.append(1)
        if len(calls) > 1:
            os._exit(3)
        return run()

    return call
