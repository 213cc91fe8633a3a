"""Runs the drivers of third-party clients against an emulator over HTTP.

The clients live in an environment of their own, whose interpreter the variable
QJAX_CLIENTS_PYTHON names; without it, in the one that runs the tests.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from qjax.ionq.emulator import Emulator, Timing, serving

HERE = Path(__file__).parent
PACKAGES = ("qiskit_ionq", "cirq_ionq", "pennylane_ionq", "ionq_core", "qbraid")
PYTHON = os.environ.get("QJAX_CLIENTS_PYTHON")

Outcome = dict[str, Any]


@pytest.fixture(scope="session")
def emulators() -> Iterator[tuple[str, str]]:
    """Addresses of an emulator whose jobs finish at once, and of one whose jobs wait."""
    waiting = Timing(latency=3600)
    with (
        Emulator(seed=1) as quick,
        serving(quick) as url,
        Emulator(seed=2, timing=waiting) as slow,
        serving(slow) as waiting_url,
    ):
        yield url, waiting_url


@pytest.fixture(scope="session")
def outcomes(
    emulators: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Outcome]]:
    """Runs a client through all scenarios, once."""
    known: dict[str, dict[str, Outcome]] = {}
    if PYTHON is None and any(find_spec(package) is None for package in PACKAGES):
        pytest.skip("the clients are not installed, and QJAX_CLIENTS_PYTHON names no environment")
    folder = tmp_path_factory.mktemp("clients")  # with no .env, which qiskit-ionq would read
    secrets = ("IONQ", "QISKIT_IONQ", "CIRQ_IONQ", "PENNYLANE_IONQ")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(secrets)}

    def run(client: str) -> dict[str, Outcome]:
        if client not in known:
            script = str(HERE / f"drive_{client}.py")
            done = subprocess.run(
                [PYTHON or sys.executable, "-W", "ignore", script, *emulators],
                capture_output=True, text=True, cwd=folder, env=environment, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            known[client] = json.loads(done.stdout.splitlines()[-1])
        return known[client]

    return run
