"""The process of one peer and one cell: answers requests as JSON, one line each.

Run by the harness as `python -m bench._worker MODULE DISTRIBUTION...` with the peer's Python.
"""

import base64
import importlib
import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

import numpy as np

from bench import _memory
from bench._program import Program, Unsupported
from bench._workloads import cell_from_json, make_problem

__all__ = ["Worker", "decode", "encode", "main"]

SLOW = 0.5  # seconds; a call that takes longer counts even right after a pause


class Worker:
    """Holds one prepared program.

    Args:
        module: the file of the peer.
        distributions: whose versions to tell.
    """

    def __init__(self, module: str, distributions: list[str]):
        self._peer = importlib.import_module(module)
        self._distributions = distributions
        _memory.give_back()
        self._idle = _memory.resident()
        self._program: Program | None = None
        self._raw: Any = None

    def hello(self) -> dict[str, Any]:
        """Who this is."""
        return {
            "engine": self._peer.ENGINE,
            "precision": self._peer.PRECISION,
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in self._distributions},
        }

    def first(self, cell: dict[str, Any]) -> dict[str, Any]:
        """The first step: from plain gates and numbers to the first result, all included."""
        problem = make_problem(cell_from_json(cell))
        start = time.perf_counter()
        program: Program = self._peer.prepare(problem)
        prepare_s = time.perf_counter() - start
        highest, before = _memory.peak(), _memory.settle()
        start = time.perf_counter()
        self._raw = program.run()
        run_s = time.perf_counter() - start
        at_run = _memory.peak()
        self._program = program
        _memory.give_back()  # others run while this process waits
        return {
            "first_s": prepare_s + run_s,
            "peak_bytes": _above(_larger(highest, at_run), self._idle),
            "run_bytes": _above(at_run, before),
            **program.facts,
        }

    def measure(self, seconds: float, most: int) -> dict[str, Any]:
        """Calls for a while; the median, and how many there were."""
        run = self._ready().run
        awake = _seconds(run)  # the first call after a pause
        times = [awake] if awake > SLOW else []
        while not times or (len(times) < most and sum(times) < seconds):
            times.append(_seconds(run))
        return {"median_s": statistics.median(times), "best_s": min(times), "calls": len(times)}

    def result(self) -> dict[str, Any]:
        """What the first step returned."""
        arrays = self._ready().read(self._raw)
        return {"arrays": {name: encode(array) for name, array in arrays.items()}}

    def _ready(self) -> Program:
        if self._program is None:
            raise RuntimeError("Request `first` must come before the others.")
        return self._program


def _above(highest: int | None, base: int | None) -> int | None:
    return None if highest is None or base is None else max(0, highest - base)


def _larger(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def encode(array: np.ndarray) -> dict[str, Any]:
    """An array for JSON, exactly."""
    values = np.asarray(array, dtype="<f8")
    return {"shape": values.shape, "data": base64.b64encode(values.tobytes()).decode()}


def decode(data: dict[str, Any]) -> np.ndarray:
    """The inverse of `encode`."""
    return np.frombuffer(base64.b64decode(data["data"]), "<f8").reshape(data["shape"])


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "checkout" if distribution == "qjax-qml" else "?"


def answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """Does what a request says; a failure is an answer too."""
    name = request.pop("do")
    try:
        return {"ok": getattr(worker, name)(**request)}
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {_first_line(error)}"}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def private_stdout() -> TextIO:
    """The real standard output; what libraries print goes to standard error instead."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own


def main() -> None:
    """Answers until the input ends."""
    _memory.offer_to_die()
    out = private_stdout()

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    module, *distributions = sys.argv[1:]
    try:
        worker = Worker(module, distributions)
    except Exception as error:
        traceback.print_exc()
        say({"error": f"import failed: {type(error).__name__}: {_first_line(error)}"})
        return
    say({"ok": worker.hello()})
    for line in sys.stdin:
        say(answer(worker, json.loads(line)))


if __name__ == "__main__":
    main()
