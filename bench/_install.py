"""One virtual environment per peer, so that no library bounds the versions of another."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench._registry import Peer

__all__ = ["CACHE", "ROOT", "Environment", "prepare_environment"]

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".bench"


@dataclass(frozen=True)
class Environment:
    """Where a peer runs, or why it cannot."""

    python: Path | None
    problem: str = ""


def prepare_environment(peer: Peer, *, fresh: bool = False) -> Environment:
    """Finds a peer's environment, or makes it.

    Args:
        peer: whose.
        fresh: make it again, with the newest versions of today.
    """
    if not peer.requirements:
        return _own_environment(peer)
    folder = CACHE / peer.home
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "installed"
    if done.exists() and not fresh:
        return Environment(python)
    print(f"installing {' '.join(peer.requirements)} for {peer.home}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    problem = _install(folder, python, peer.requirements)
    if problem:
        return Environment(None, problem)
    done.touch()
    return Environment(python)


def _own_environment(peer: Peer) -> Environment:
    missing = [name for name in peer.reports if find_spec(_module(name)) is None]
    if missing:
        return Environment(None, f"{missing[0]} is not installed here: `pip install -e .`")
    return Environment(Path(sys.executable))


def _module(distribution: str) -> str:
    return {"qjax-qml": "qjax"}.get(distribution, distribution)


def _install(folder: Path, python: Path, requirements: tuple[str, ...]) -> str:
    """The reason of a failure, or an empty string."""
    log = folder.with_suffix(".log")
    log.parent.mkdir(exist_ok=True)
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with log.open("w") as out:
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), *pip, *requirements],
        ):
            if subprocess.run(command, stdout=out, stderr=out).returncode:
                return _reason(log)
    return ""


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text().splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    version = ".".join(map(str, sys.version_info[:2]))
    return f"does not install on Python {version}: {(errors or lines or ['no message'])[-1]}"
