"""The harness's end of a worker: starts it, asks, and gives up after a while."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, TextIO

from bench._install import CACHE, ROOT
from bench._registry import Peer

__all__ = ["Failed", "Refused", "WorkerProcess"]

START_LIMIT = 180.0  # seconds for the imports


class Failed(Exception):
    """The worker broke, died or took too long."""


class Refused(Exception):
    """The library cannot do this cell."""


class WorkerProcess:
    """A worker in its own process and environment.

    Args:
        peer: what it runs.
        python: the interpreter of its environment.
    """

    def __init__(self, peer: Peer, python: Path):
        CACHE.mkdir(exist_ok=True)
        self._log = (CACHE / f"worker-{peer.name}.log").open("w")
        self._process = subprocess.Popen(
            [str(python), "-m", "bench._worker", peer.location, *peer.reports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env=_environment(),
        )
        self._answers: queue.Queue[str] = queue.Queue()
        assert self._process.stdout is not None
        reader = threading.Thread(
            target=_forward, args=(self._process.stdout, self._answers), daemon=True
        )
        reader.start()

    def hello(self) -> dict[str, Any]:
        """What the worker says of itself once its imports are done."""
        return self._read(START_LIMIT)

    def ask(self, name: str, limit: float, **arguments: Any) -> dict[str, Any]:
        """Sends a request and waits for the answer.

        Raises:
            Failed: if the worker raised, died, or needed more than `limit` seconds.
            Refused: if the library cannot do it.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": name, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed(self._epitaph()) from None
        return self._read(limit)

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()

    def _read(self, limit: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            raise Failed(f"not done after {limit:.0f} s") from None
        if not line:
            raise Failed(self._epitaph())
        message = json.loads(line)
        if "unsupported" in message:
            raise Refused(message["unsupported"])
        if "error" in message:
            raise Failed(message["error"])
        return message["ok"]

    def _epitaph(self) -> str:
        code = self._process.wait()
        return "killed, out of memory?" if code == -9 else f"the process ended with status {code}"


def _forward(stream: TextIO, answers: "queue.Queue[str]") -> None:
    try:
        for line in stream:
            answers.put(line)
    except ValueError:  # closed by `stop`
        return
    answers.put("")


def _environment() -> dict[str, str]:
    """That of the harness, without what would let a compiler remember earlier runs."""
    dropped = ("JAX_COMPILATION_CACHE_DIR", "PYTHONPATH", "PYTHONHOME")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "JAX_ENABLE_COMPILATION_CACHE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
