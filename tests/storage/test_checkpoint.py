import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import zarr

from qjax.errors import RunError
from qjax.storage import (
    _arrays,
    _checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    remove_unfinished,
    save_checkpoint,
)


class Pair(NamedTuple):
    left: Any
    right: Any


def same_bits(one: Any, other: Any) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        assert jax.random.key_impl(one) == jax.random.key_impl(other)
        return same_bits(jax.random.key_data(one), jax.random.key_data(other))
    one, other = np.asarray(one), np.asarray(other)
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return one.tobytes() == other.tobytes()


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


RANDOM = np.random.default_rng(0)
LEAVES = {
    "float16": RANDOM.normal(size=5).astype(np.float16),
    "float32": RANDOM.normal(size=(3, 2)).astype(np.float32),
    "float64": RANDOM.normal(size=(2, 1, 2)),
    "complex64": (RANDOM.normal(size=4) + 1j * RANDOM.normal(size=4)).astype(np.complex64),
    "complex128": RANDOM.normal(size=4) + 1j * RANDOM.normal(size=4),
    "bool": np.array([True, False, True]),
    "int8": np.array([-128, 127], np.int8),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint64": np.array([2**64 - 1], np.uint64),
    "bfloat16": RANDOM.normal(size=(2, 3)).astype(ml_dtypes.bfloat16),
    "float8": RANDOM.normal(size=7).astype(ml_dtypes.float8_e4m3fn),
    "int4": np.arange(-8, 8).astype(ml_dtypes.int4),
    "scalar": np.float32(0.1),
    "empty": np.zeros((0, 3), np.int32),
    "special": np.array([0.0, -0.0, np.inf, -np.inf, np.nan]),
    "payload": np.array([0x7FF8DEADBEEF0001], np.uint64).view(np.float64),
    "zeros": np.zeros((300, 300)),
    "large": RANDOM.normal(size=(100, 60, 30)),
    "transposed": np.arange(12.0).reshape(3, 4).T,
}


class TestRoundTrip:
    @pytest.mark.parametrize("name", LEAVES)
    def test_exact_in_dtype_and_bits(self, tmp_path: Path, name: str) -> None:
        leaf = LEAVES[name]
        save_checkpoint(tmp_path, 1, {"a": leaf})
        assert same_bits(load_checkpoint(tmp_path, like={"a": leaf}).tree["a"], leaf)

    def test_all_at_once_in_any_tree(self, tmp_path: Path) -> None:
        tree = Pair([LEAVES, None, ()], {"x": {"y": jnp.arange(3)}, "n": 3, "f": 0.5})
        save_checkpoint(tmp_path, 1, tree)
        restored = load_checkpoint(tmp_path, like=tree).tree
        assert jax.tree.structure(restored) == jax.tree.structure(tree)
        pairs = zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True)
        assert all(same_bits(one, np.asarray(other)) for one, other in pairs)

    @pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
    @pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
    def test_typed_keys(self, tmp_path: Path, implementation: Any, shape: tuple[int, ...]) -> None:
        keys = jax.random.split(jax.random.key(7, impl=implementation), shape)
        tree = {"key": keys, "words": np.arange(3, dtype=np.uint32)}
        save_checkpoint(tmp_path, 1, tree)
        like = jax.eval_shape(lambda: tree)
        for wanted in (tree, like):
            assert same_bits(load_checkpoint(tmp_path, like=wanted).tree["key"], keys)

    def test_arrays_are_fresh_and_writable(self, tmp_path: Path) -> None:
        tree = {"a": np.arange(3.0), "b": np.arange(3.0)}
        save_checkpoint(tmp_path, 1, tree)
        restored = load_checkpoint(tmp_path, like=tree).tree
        restored["a"][:] = 7
        assert restored["b"].tolist() == [0, 1, 2]

    def test_without_like(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, 4, Pair(np.arange(2), {"x": np.ones(1)}), {"epoch": 2})
        step, tree, metadata = load_checkpoint(tmp_path)
        assert (step, metadata) == (4, {"epoch": 2})
        assert list(tree) == [".left", ".right['x']"]

    def test_is_readable_by_zarr_alone(self, tmp_path: Path) -> None:
        folder = save_checkpoint(tmp_path, 1, {"large": LEAVES["large"], "small": np.arange(3)})
        group = zarr.open_group(folder / "arrays.zarr", mode="r")
        assert group.metadata.zarr_format == 3
        arrays: dict[str, Any] = dict(group.arrays())
        np.testing.assert_array_equal(arrays["leaf-000000"][...], LEAVES["large"])
        np.testing.assert_array_equal(arrays["packed-int64"][...], np.arange(3))

    def test_small_leaves_are_packed(self, tmp_path: Path) -> None:
        folder = save_checkpoint(tmp_path, 1, {str(i): np.ones(3) for i in range(200)})
        assert len(files_of(folder)) == 4  # group, array, chunk, manifest

    def test_large_leaves_have_several_chunks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_arrays, "CHUNK_BYTES", 100_000)
        tree = {"large": LEAVES["large"]}
        folder = save_checkpoint(tmp_path, 1, tree)
        assert len(list((folder / "arrays.zarr" / "leaf-000000" / "c").rglob("0"))) > 5
        assert same_bits(load_checkpoint(tmp_path, like=tree).tree["large"], LEAVES["large"])

    def test_refuses_what_is_no_array(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"must hold arrays of numbers, but `\['a'\]` has dtype"):
            save_checkpoint(tmp_path, 1, {"a": "text"})
        assert os.listdir(tmp_path) == []


class TestChoice:
    @pytest.fixture(autouse=True)
    def three(self, tmp_path: Path) -> None:
        for step in (2, 30, 100):
            save_checkpoint(tmp_path, step, {"a": np.full(2, step)})

    def test_list(self, tmp_path: Path) -> None:
        assert list_checkpoints(tmp_path) == [2, 30, 100]
        assert list_checkpoints(tmp_path / "nowhere") == []

    def test_latest_and_by_number(self, tmp_path: Path) -> None:
        assert load_checkpoint(tmp_path).step == 100
        assert load_checkpoint(tmp_path, 30).tree["['a']"].tolist() == [30, 30]

    def test_unknown_step(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="a checkpoint of step 3, but holds 2, 30, 100"):
            load_checkpoint(tmp_path, 3)

    def test_none_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="nowhere` must hold a checkpoint, but holds none"):
            load_checkpoint(tmp_path / "nowhere")

    def test_existing_step_is_refused_and_kept(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="step-000000030` must be a new one, but exists"):
            save_checkpoint(tmp_path, 30, {"a": np.zeros(2)})
        assert load_checkpoint(tmp_path, 30).tree["['a']"].tolist() == [30, 30]

    def test_negative_step(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="`step` must not be negative, but is -1"):
            save_checkpoint(tmp_path, -1, {})

    def test_prune(self, tmp_path: Path) -> None:
        prune_checkpoints(tmp_path, 2)
        assert list_checkpoints(tmp_path) == [30, 100]
        assert len(os.listdir(tmp_path)) == 2
        with pytest.raises(RunError, match="`keep` must be at least 1, but is 0"):
            prune_checkpoints(tmp_path, 0)

    def test_unfinished_folders_do_not_count(self, tmp_path: Path) -> None:
        unfinished = tmp_path / ".step-000000200.0123abcd.tmp"
        shutil.copytree(tmp_path / "step-000000100", unfinished)
        assert load_checkpoint(tmp_path).step == 100
        remove_unfinished(tmp_path)
        assert list_checkpoints(tmp_path) == [2, 30, 100]
        assert not unfinished.exists()
        remove_unfinished(tmp_path / "nowhere")


class TestMismatch:
    SAVED = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4)}

    @pytest.mark.parametrize(
        ("like", "message"),
        [
            ({"a": SAVED["a"]}, r"its leaf `\['b'\]` is not wanted"),
            ({**SAVED, "c": 0}, r"it has no leaf `\['c'\]`"),
            (
                {**SAVED, "a": np.zeros((3, 2), np.float32)},
                r"its leaf `\['a'\]` has shape \[2, 3\], but \[3, 2\] is wanted",
            ),
            (
                {**SAVED, "b": np.zeros(4, np.float32)},
                r"its leaf `\['b'\]` has dtype float64, but float32 is wanted",
            ),
        ],
    )
    def test_is_named(self, tmp_path: Path, like: Any, message: str) -> None:
        save_checkpoint(tmp_path, 1, self.SAVED)
        with pytest.raises(RunError, match=f"step-000000001` does not fit: {message}"):
            load_checkpoint(tmp_path, like=like)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


class TestDamage:
    TREE = {"small": np.arange(5.0), "large": LEAVES["large"], "n": np.int32(3)}
    FILES = (
        "arrays.zarr/leaf-000000/c/0/0/0",
        "arrays.zarr/leaf-000000/zarr.json",
        "manifest.json",
        "arrays.zarr/packed-float64/c/0",
        "arrays.zarr/packed-float64/zarr.json",
        "arrays.zarr/packed-int32/c/0",
        "arrays.zarr/packed-int32/zarr.json",
        "arrays.zarr/zarr.json",
    )

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        save_checkpoint(tmp_path, 1, {"a": np.zeros(1)})
        return save_checkpoint(tmp_path, 2, self.TREE)

    def test_these_are_the_files(self, folder: Path) -> None:
        assert files_of(folder) == sorted(self.FILES)

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
    def test_is_found_and_named(
        self, folder: Path, name: str, harm: Callable[[Path], None]
    ) -> None:
        harm(folder / name)
        with pytest.raises(RunError, match="step-000000002` is damaged.*Move the folder") as caught:
            load_checkpoint(folder.parent, like=self.TREE)
        assert name in str(caught.value)
        assert load_checkpoint(folder.parent, 1).step == 1

    def test_manifest_without_json_object(self, folder: Path) -> None:
        (folder / "manifest.json").write_text("[]")
        with pytest.raises(RunError, match=r"`manifest\.json` cannot be read"):
            load_checkpoint(folder.parent)

    def test_newer_format(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "version": 2}))
        with pytest.raises(RunError, match="has format 2, but this qjax reads up to 1. Update"):
            load_checkpoint(folder.parent)


class TestFullDisk:
    """The disk refuses at every point of a save in turn."""

    @pytest.mark.parametrize(
        ("module", "function"),
        [
            (_checkpoint, "write_leaves"),
            (_checkpoint, "write_atomic"),
            (_checkpoint, "sync_tree"),
            (os, "rename"),
        ],
    )
    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (errno.ENOSPC, "No space left on device. Free some space"),
            (errno.EROFS, "Read-only file system. The file system is read-only"),
            (errno.EACCES, "Permission denied. Check the permissions"),
        ],
    )
    def test_is_named_and_leaves_the_rest(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        module: Any,
        function: str,
        number: int,
        reason: str,
    ) -> None:
        save_checkpoint(tmp_path, 1, {"a": np.arange(3)})

        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(module, function, refuse)
        with pytest.raises(RunError, match=f"step-000000002` could not be written: {reason}") as e:
            save_checkpoint(tmp_path, 2, {"a": np.arange(3)})
        assert e.value.errno == number
        monkeypatch.undo()
        assert os.listdir(tmp_path) == ["step-000000001"]
        assert load_checkpoint(tmp_path).tree["['a']"].tolist() == [0, 1, 2]

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="Not a directory. A part of the path is a file"):
            save_checkpoint(tmp_path / "file" / "checkpoints", 1, {"a": np.zeros(1)})

    def test_the_kernel_refuses(self, tmp_path: Path) -> None:
        resource = pytest.importorskip("resource")
        save_checkpoint(tmp_path, 1, {"a": np.arange(3)})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(RunError, match=r"step-000000002` could not be written: File too"):
                save_checkpoint(tmp_path, 2, {"a": LEAVES["large"]})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert os.listdir(tmp_path) == ["step-000000001"]
        assert load_checkpoint(tmp_path).step == 1
