"""Every example runs at its smoke size, as a user would start it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/*.py"))


def run(name: str, folder: Path, *options: str) -> str:
    script = ROOT / "examples" / name / f"{name}.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *options],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_examples() -> None:
    assert {"bell", "flax_model", "vqe_h2"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path, "--smoke")
    assert (ROOT / "examples" / name / "README.md").is_file()


def test_vqe_reaches_the_ground_state(tmp_path: Path) -> None:
    printed = run("vqe_h2", tmp_path)
    energies = {
        dtype: float(energy)
        for dtype, energy in re.findall(r"^(complex\d+) +(-\d\.\d+)", printed, re.MULTILINE)
    }
    exact = -1.1373060358
    assert abs(energies["complex64"] - exact) < 1e-5
    assert abs(energies["complex128"] - exact) < 1e-6
