"""`import qjax` stays light: in a fresh process it loads JAX and none of the heavier parts."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "flax",
    "httpx",
    "matplotlib",
    "optax",
    "pooch",
    "pyarrow",
    "rich",
    "sklearn",
    "typer",
    "zarr",
}


def loaded_after(statement: str) -> set[str]:
    """The top-level modules in a fresh interpreter after it ran `statement`."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_import_loads_nothing_heavy() -> None:
    assert loaded_after("import qjax") & HEAVY == set()


@pytest.mark.parametrize(("namespace", "library"), [("nn", "flax"), ("storage", "zarr")])
def test_subpackage_brings_its_library(namespace: str, library: str) -> None:
    assert library in loaded_after(f"import qjax.{namespace}")
    assert library in loaded_after(f"import qjax; qjax.{namespace}")
