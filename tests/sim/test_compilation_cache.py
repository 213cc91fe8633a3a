"""`use_compilation_cache`: a second process finds every program of the first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import qjax as qj
from qjax.errors import CacheError, QjaxError
from qjax.sim._compilation_cache import _user_cache

PROGRAM = """
import collections, json, sys
import jax, jax.numpy as jnp
import qjax as qj

events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))
jnp.zeros(3) + 1  # JAX has compiled before the folder is named
folder = qj.use_compilation_cache(*sys.argv[1:])
circuit = qj.Circuit(2, [qj.RY(0.3, 0), qj.CX(0, 1), qj.BitFlip(0.1, 0)])
print(json.dumps({
    "folder": str(folder),
    "value": float(qj.expectation(circuit, qj.Z(1))),
    "hits": events["/jax/compilation_cache/cache_hits"],
    "misses": events["/jax/compilation_cache/cache_misses"],
}))
"""


def run(*arguments: str, **environment: str) -> dict:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=plain | environment,
    )
    return json.loads(done.stdout)


def test_second_process_compiles_nothing(tmp_path):
    folder = tmp_path / "a" / "b"
    first = run(str(folder))
    kept = sorted(path.name for path in folder.iterdir())
    second = run(str(folder))
    assert first["folder"] == str(folder)
    assert first["hits"] == 0 < first["misses"]
    assert kept
    assert second["misses"] == 0 < second["hits"] == first["misses"]
    assert second["value"] == first["value"]
    names = {path.name for path in folder.iterdir() if not path.name.endswith("-atime")}
    assert names == {name for name in kept if not name.endswith("-atime")}


def test_default_folder(tmp_path):
    assert run(XDG_CACHE_HOME=str(tmp_path))["folder"] == str(tmp_path / "qjax" / "compiled")
    assert any((tmp_path / "qjax" / "compiled").iterdir())


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")],
)
def test_default_folder_of_a_platform(platform, expected, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    assert _user_cache() == Path.home() / expected


def test_folder_that_cannot_be_written(tmp_path):
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(
        CacheError, match="for compiled programs cannot be written: Not a directory"
    ):
        qj.use_compilation_cache(blocked / "cache")
    assert jax.config.jax_compilation_cache_dir == before  # pyright: ignore[reportAttributeAccessIssue]
    assert issubclass(CacheError, QjaxError) and issubclass(CacheError, OSError)
