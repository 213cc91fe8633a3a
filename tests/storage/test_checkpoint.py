import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from jax.experimental.layout import Format, Layout
from zarr.buffer import cpu
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ZipStore

from qjax.errors import RunError
from qjax.storage import CheckpointManager, _arrays, _checkpoint, _files, _place, list_checkpoints
from qjax.storage import save_checkpoint as save_by_name
from qjax.storage._checkpoint import inspect_checkpoints, load_checkpoint

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def save_checkpoint(*arguments: Any, **options: Any) -> Path:
    return Path(save_by_name(*arguments, **options))


class Pair(NamedTuple):
    left: Any
    right: Any


def same_bits(one: Any, other: Any) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        assert jax.random.key_impl(one) == jax.random.key_impl(other)
        return same_bits(jax.random.key_data(one), jax.random.key_data(other))
    one, other = np.asarray(one), np.asarray(other)
    other = other.astype(other.dtype.newbyteorder("="))
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    return one.tobytes() == other.tobytes()


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def members_of(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def write_members(archive: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def manifest_of(checkpoint: Path) -> dict[str, Any]:
    if checkpoint.is_dir():
        return json.loads((checkpoint / "manifest.json").read_text())
    return json.loads(members_of(checkpoint)["manifest.json"])


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
    "large": RANDOM.normal(size=(100, 60, 30)),  # 1.4 MB
    "big-endian": np.arange(3, dtype=">f4"),
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

    @pytest.mark.parametrize("compression", ["zstd", None])
    def test_with_and_without_compression(self, tmp_path: Path, compression: Any) -> None:
        tree = {"a": LEAVES["large"], "b": np.zeros(300_000), "c": np.zeros(())}
        save_checkpoint(tmp_path, 1, tree, compression=compression)
        [info] = inspect_checkpoints(tmp_path)
        assert (info.num_bytes < LEAVES["large"].nbytes + 300_000) == (compression == "zstd")
        restored = load_checkpoint(tmp_path, like=tree).tree
        assert all(same_bits(restored[name], tree[name]) for name in tree)

    def test_unknown_compression(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="`compression` must be 'zstd' or None, but is 'gzip'"):
            save_checkpoint(tmp_path, 1, {}, compression="gzip")

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

    def test_is_an_archive_that_zarr_reads_alone(self, tmp_path: Path) -> None:
        path = save_checkpoint(tmp_path, 1, {"small": np.arange(3)})
        assert path == tmp_path / "step-000000001.zip"
        assert os.listdir(tmp_path) == [path.name]
        with ZipStore(path, mode="r") as store:
            group = zarr.open_group(store, path="arrays.zarr", mode="r")
            arrays: dict[str, Any] = dict(group.arrays())
            np.testing.assert_array_equal(arrays["packed"][...].view(np.int64), np.arange(3))

    def test_is_a_folder_that_zarr_reads_alone_if_there_are_large_leaves(
        self, tmp_path: Path
    ) -> None:
        folder = save_checkpoint(tmp_path, 1, {"large": LEAVES["large"], "small": np.arange(3)})
        group = zarr.open_group(folder / "arrays.zarr", mode="r")
        assert group.metadata.zarr_format == 3
        arrays: dict[str, Any] = dict(group.arrays())
        np.testing.assert_array_equal(arrays["leaf-000000"][...], LEAVES["large"])
        np.testing.assert_array_equal(arrays["packed"][...].view(np.int64), np.arange(3))

    @pytest.mark.parametrize("length", [None, 0, 17])
    def test_small_leaves_are_what_zarr_would_write(self, length: int | None) -> None:
        files: dict[str, Any] = {}
        group = zarr.create_group(MemoryStore(files), zarr_format=3)
        small: list[np.ndarray] = []
        if length is not None:
            small = [np.arange(n, dtype=np.uint8) for n in (length % 5, length - length % 5)]
            group.create_array(
                "packed",
                data=np.concatenate(small),
                chunks=(max(1, length),),
                compressors=None,
                config={"write_empty_chunks": True},
            )
        written = {key: value.to_bytes() for key, value in files.items()}
        assert _arrays.copy_to_host(small).files == written

    def test_small_leaves_are_packed(self, tmp_path: Path) -> None:
        kinds = ("float32", "int8", "complex64", "bool", "float64")
        tree = {str(i): np.ones(3, kinds[i % len(kinds)]) for i in range(200)}
        members = members_of(save_checkpoint(tmp_path, 1, tree))
        assert list(members) == [
            *("arrays.zarr/zarr.json", "arrays.zarr/packed/zarr.json", "arrays.zarr/packed/c/0"),
            "manifest.json",
        ]
        restored = load_checkpoint(tmp_path, like=tree).tree
        assert all(same_bits(restored[name], tree[name]) for name in tree)
        assert all(leaf.flags.aligned and leaf.flags.writeable for leaf in restored.values())

    def test_is_a_folder_if_there_are_many_small_leaves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_checkpoint, "MAX_BYTES", 100)
        tree = {str(number): np.arange(5.0) + number for number in range(3)}
        assert save_checkpoint(tmp_path, 1, {"0": tree["0"], "1": tree["1"]}).suffix == ".zip"
        assert files_of(save_checkpoint(tmp_path, 2, tree)) == [
            *("arrays.zarr/packed/c/0", "arrays.zarr/packed/zarr.json", "arrays.zarr/zarr.json"),
            "manifest.json",
        ]
        restored = load_checkpoint(tmp_path, like=tree).tree
        assert all(same_bits(restored[name], tree[name]) for name in tree)

    def test_leaves_that_change_their_form_lie_elsewhere(self, tmp_path: Path) -> None:
        """What is kept of one layout is not taken for another one of the same structure."""
        trees: list[Any] = [
            {"a": np.ones(3, np.float32), "b": np.arange(2)},
            {"a": np.ones(3, np.float64), "b": np.arange(2)},
            {"a": np.ones((3, 1), np.float32), "b": np.arange(2)},
            {"a": np.ones(3, np.float32), "c": np.arange(2)},
            {"a": jax.random.key(3), "b": np.arange(2)},
            {"a": jax.random.key(3, impl="rbg"), "b": np.arange(2)},
            {"a": LEAVES["large"], "b": np.arange(2)},
            {"a": 1.5, "b": 2},
        ]
        for step, tree in enumerate(trees):
            save_checkpoint(tmp_path, step, tree)
        for step, tree in enumerate(trees):
            restored = load_checkpoint(tmp_path, step, like=tree).tree
            for name, leaf in tree.items():
                wanted = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
                assert same_bits(restored[name], wanted)

    def test_an_array_that_jax_lays_out_by_columns(self, tmp_path: Path) -> None:
        x = jnp.arange(12.0).reshape(3, 4)
        columns_first = Format(Layout(major_to_minor=(1, 0)), x.sharding)
        leaf = jax.jit(lambda x: 2 * x, out_shardings=columns_first)(x)
        assert not np.asarray(leaf).flags.c_contiguous
        save_checkpoint(tmp_path, 1, {"a": leaf})
        assert same_bits(load_checkpoint(tmp_path).tree["['a']"], 2 * x)

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
        with pytest.raises(RunError, match=r"has dtype datetime64"):
            save_checkpoint(tmp_path, 1, {"a": np.datetime64("2026-01-01")})
        assert os.listdir(tmp_path) == []

    def test_refuses_leaves_of_one_name(self, tmp_path: Path) -> None:
        """They would be read back as one."""

        @jax.tree_util.register_pytree_with_keys_class
        class Twins:
            def tree_flatten_with_keys(self) -> Any:
                key = jax.tree_util.GetAttrKey("a")
                return [(key, np.zeros(1)), (key, np.ones(1))], None

            @classmethod
            def tree_unflatten(cls, _: Any, children: Any) -> Any:
                return cls()

        with pytest.raises(RunError, match=r"different names, but several are `\.a`. Give the chi"):
            save_checkpoint(tmp_path, 1, Twins())

    def test_numpy_arrays_start_no_backend(self, tmp_path: Path) -> None:
        code = (
            "import sys, numpy as np\n"
            "from qjax.storage import load_checkpoint, save_checkpoint\n"
            "save_checkpoint(sys.argv[1], 1, {'a': np.arange(3)})\n"
            "assert load_checkpoint(sys.argv[1]).tree[\"['a']\"].tolist() == [0, 1, 2]\n"
        )
        environment = {**os.environ, "JAX_PLATFORMS": "nowhere"}
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)

    def test_empty_tree(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, 1, {"a": None})
        assert load_checkpoint(tmp_path, like={"a": None}).tree == {"a": None}


FLOATS = (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4)
NATIVE = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
DTYPES = [np.dtype(dtype) for dtype in (*NATIVE, *FLOATS)]


@st.composite
def any_bits(draw: st.DrawFn) -> np.ndarray:
    """An array of any dtype, shape and bits, so also any payload of a NaN."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    size = dtype.itemsize * int(np.prod(shape))
    content = draw(st.binary(min_size=size, max_size=size))
    if dtype.name in ("bool", "int4"):  # of these, not all bits mean something
        content = bytes(byte & 1 for byte in content)
    return np.frombuffer(content, dtype).reshape(shape)


class TestAnyTree:
    @settings(max_examples=25)
    @given(tree=st.lists(any_bits(), max_size=6), small=st.sampled_from([0, 9, 1 << 20]))
    def test_exact_in_dtype_and_bits(
        self, tmp_path_factory: pytest.TempPathFactory, tree: list[np.ndarray], small: int
    ) -> None:
        path = tmp_path_factory.mktemp("any")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_arrays, "SMALL_BYTES", small)
            patch.setattr(_arrays, "CHUNK_BYTES", 16)
            save_checkpoint(path, 1, tree)
        restored = load_checkpoint(path, like=tree).tree
        assert all(same_bits(*pair) for pair in zip(restored, tree, strict=True))
        assert all(leaf.flags.writeable for leaf in restored)


class TestGolden:
    """Checkpoints written by each format still load. `golden_tree` is what they hold."""

    @staticmethod
    def golden_tree() -> dict[str, Any]:
        return {
            "angles": np.linspace(-np.pi, np.pi, 6, dtype=np.float32).reshape(2, 3),
            "moments": {
                "half": np.arange(-2, 2, 0.5).astype(ml_dtypes.bfloat16),
                "count": np.int32(7),
            },
            "unitary": np.array([[1, 1j], [1j, 1]], np.complex64),
            "float8": np.array([0.5, -448.0], ml_dtypes.float8_e4m3fn),
            "payload": np.array([0x7FF8DEADBEEF0001], np.uint64).view(np.float64),
            "empty": np.zeros((0, 3), np.int64),
            "table": (np.arange(20_000) // 200).astype(np.uint32).reshape(100, 200),
            "key": jax.random.key(42),
        }

    @pytest.mark.parametrize("version", [1, 2, 3, 4])
    def test_loads(self, version: int) -> None:
        path = GOLDEN / f"checkpoint-v{version}"
        [checkpoint] = path.glob("step-000000003*")
        assert manifest_of(checkpoint)["version"] == version
        tree = self.golden_tree()
        step, restored, metadata = load_checkpoint(path, like=tree)
        assert (step, metadata["epoch"]) == (3, 2)
        pairs = zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True)
        assert all(same_bits(*pair) for pair in pairs)
        [info] = inspect_checkpoints(path)
        assert (info.epoch, info.problem) == (2, "")
        assert info.metrics == ({} if version == 1 else {"val_loss": 0.25})

    def test_newest_is_what_is_written(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, 3, self.golden_tree())
        [now], [golden] = inspect_checkpoints(tmp_path), inspect_checkpoints(self.newest())
        assert now.leaves == golden.leaves
        names = ("format", "version", "files")
        one, other = (
            manifest_of(path / "step-000000003.zip") for path in (tmp_path, self.newest())
        )
        assert one.keys() == other.keys()
        assert [one[n] for n in names[:2]] == [other[n] for n in names[:2]]
        assert one["files"].keys() == other["files"].keys()

    @staticmethod
    def newest() -> Path:
        return sorted(GOLDEN.glob("checkpoint-v*"))[-1]


class TestInspect:
    def test_names_shapes_dtypes_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree = {"a": LEAVES["bfloat16"], "key": jax.random.key(0), "b": LEAVES["large"]}
        folder = save_checkpoint(tmp_path, 4, tree, {"note": "x"})
        shutil.rmtree(folder / "arrays.zarr")  # not looked at
        [info] = inspect_checkpoints(tmp_path)
        assert (info.step, info.epoch, info.metadata, info.keep) == (4, None, {"note": "x"}, False)
        assert {leaf.name: (leaf.shape, leaf.dtype) for leaf in info.leaves} == {
            "['a']": ([2, 3], "bfloat16"),
            "['b']": ([100, 60, 30], "float64"),
            "['key']": ([], "key:threefry2x32"),
        }
        assert info.num_bytes > 1_000_000
        assert info.created.endswith("+00:00")

    def test_a_damaged_one_is_listed_with_its_problem(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, 1, {})
        write_members(save_checkpoint(tmp_path, 2, {}), {})
        (save_checkpoint(tmp_path, 3, {"a": LEAVES["large"]}) / "manifest.json").unlink()
        one, two, three = inspect_checkpoints(tmp_path)
        assert (one.step, one.problem, two.step, three.step) == (1, "", 2, 3)
        assert "step-000000002.zip` is damaged: it has no `manifest.json`" in two.problem
        assert "step-000000003` is damaged: it has no `manifest.json`" in three.problem


class TestReaders:
    """A run goes on and deletes what is being read."""

    @pytest.fixture(params=[2, 200_000])
    def vanishing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> Path:
        for step in (1, 2):
            save_checkpoint(tmp_path, step, {"a": np.full(request.param, step)})
        read = _place._Folder.read_manifest

        def read_too_late(place: Any, step: int) -> bytes | None:
            if step == 2 and 2 in place.steps():
                place.remove(2)
            return read(place, step)

        monkeypatch.setattr(_place._Folder, "read_manifest", read_too_late)
        return tmp_path

    def test_the_latest_is_chosen_anew(self, vanishing: Path) -> None:
        assert load_checkpoint(vanishing).step == 1

    def test_a_step_that_was_asked_for_is_an_error(self, vanishing: Path) -> None:
        with pytest.raises(RunError, match="step-000000002` was deleted by its writer while it"):
            load_checkpoint(vanishing, 2)


def memory_store() -> MemoryStore:
    return MemoryStore()


def fsspec_memory() -> FsspecStore:
    import fsspec

    fsspec.filesystem("memory").store.clear()
    return FsspecStore.from_url("memory://bucket/run")


class TestStores:
    """Stores that are no folder: an archive is one object, and a manifest comes last."""

    TREE = {"a": LEAVES["large"], "b": np.arange(3), "key": jax.random.key(1)}
    SMALL = {"b": np.arange(3), "key": jax.random.key(1)}

    @pytest.fixture(params=[memory_store, fsspec_memory])
    def store(self, request: pytest.FixtureRequest) -> Any:
        return request.param()

    @pytest.mark.parametrize("tree", [TREE, SMALL])
    def test_round_trip(self, store: Any, tree: Any) -> None:
        assert list_checkpoints(store) == []
        with CheckpointManager(store, keep_last=2, asynchronous=False) as manager:
            for step in (5, 6, 7):
                manager.save(step, tree, epoch=step)
            assert manager.steps() == [6, 7]
            assert sync(self.keys(store, "step-000000005")) == []
            manager.save(8, self.SMALL)
            manager.remove_after(7)
        assert list_checkpoints(store) == [7]
        restored = load_checkpoint(store, epoch=7, like=tree)
        assert restored.step == 7
        assert all(same_bits(restored.tree[name], tree[name]) for name in tree)
        with pytest.raises(RunError, match="step-000000007` must be a new one, but exists"):
            save_by_name(store, 7, tree)

    def test_an_archive_is_put_at_once(self, store: Any) -> None:
        save_by_name(store, 1, self.SMALL)
        assert sync(self.keys(store, "")) == ["step-000000001.zip"]
        [info] = inspect_checkpoints(store)
        assert (info.step, info.problem) == (1, "")

    def test_a_damaged_archive(self, store: Any) -> None:
        save_by_name(store, 1, self.SMALL)
        sync(store.set("step-000000001.zip", cpu.Buffer.from_bytes(b"0" * 40)))
        with pytest.raises(RunError, match="step-000000001` is damaged: it is no whole ZIP file"):
            load_checkpoint(store)

    def test_the_manifest_is_written_last(self, store: Any, monkeypatch: Any) -> None:
        order: list[str] = []
        write = type(store).set

        async def recorded(store: Any, key: str, value: Any) -> None:
            order.append(key)
            await write(store, key, value)

        monkeypatch.setattr(type(store), "set", recorded)
        save_by_name(store, 1, self.TREE)
        assert order[-1] == "step-000000001/manifest.json"
        assert len(order) == len(set(order)) > 5

    def test_what_a_kill_leaves_does_not_exist(self, store: Any) -> None:
        save_by_name(store, 1, self.TREE)
        save_by_name(store, 2, self.TREE)
        sync(store.delete("step-000000002/manifest.json"))
        assert list_checkpoints(store) == [1]
        assert load_checkpoint(store).step == 1
        CheckpointManager(store).close()
        assert sync(self.keys(store, "step-000000002")) == []
        assert list_checkpoints(store) == [1]
        save_by_name(store, 2, {"other": LEAVES["large"]})
        assert list(load_checkpoint(store, 2).tree) == ["['other']"]

    def test_damage_is_found(self, store: Any) -> None:
        save_by_name(store, 1, self.TREE)
        name = "step-000000001/arrays.zarr/packed/c/0"
        sync(store.set(name, cpu.Buffer.from_bytes(b"0" * 40)))
        with pytest.raises(RunError, match="is damaged: `arrays.zarr/packed/c/0` has 40 byt"):
            load_checkpoint(store)

    def test_an_error_leaves_nothing(self, store: Any, monkeypatch: Any) -> None:
        write = type(store).set

        async def refuse(store: Any, key: str, value: Any) -> None:
            if key.endswith("/c/0"):
                raise PermissionError(errno.EACCES, "no")
            await write(store, key, value)

        monkeypatch.setattr(type(store), "set", refuse)
        with pytest.raises(RunError, match="step-000000001` could not be written: Permission"):
            save_by_name(store, 1, self.TREE)
        assert sync(self.keys(store, "")) == []

    def test_a_local_store_is_a_folder(self, tmp_path: Path) -> None:
        save_by_name(LocalStore(tmp_path), 1, self.TREE)
        assert os.listdir(tmp_path) == ["step-000000001"]
        assert load_checkpoint(tmp_path).step == 1

    def test_an_address(self) -> None:
        fsspec_memory()
        save_by_name("memory://elsewhere", 1, self.TREE)
        assert list_checkpoints("memory://elsewhere") == [1]
        with pytest.raises(RunError, match="must be a plain path for a local folder"):
            list_checkpoints("file:///tmp")

    def test_what_cannot_hold_checkpoints(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="can write, delete and list.*copy that"):
            list_checkpoints(ZipStore(tmp_path / "a.zip", mode="w"))
        with pytest.raises(RunError, match="`path` must be a folder or a Zarr store, but is 3"):
            list_checkpoints(3)  # pyright: ignore[reportArgumentType]

    @staticmethod
    async def keys(store: Any, prefix: str) -> list[str]:
        return [key async for key in store.list_prefix(prefix)]


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

    def test_by_epoch(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, 200, {}, epoch=4)
        assert load_checkpoint(tmp_path, epoch=4).step == 200
        with pytest.raises(RunError, match="a checkpoint of epoch 5, but holds 4"):
            load_checkpoint(tmp_path, epoch=5)
        with pytest.raises(RunError, match="`step` and `epoch` exclude each other, but are 2, 4"):
            load_checkpoint(tmp_path, 2, epoch=4)

    def test_unknown_word(self, tmp_path: Path) -> None:
        word: Any = "newest"
        with pytest.raises(RunError, match="must be a number, 'latest' or 'best', but is 'newest'"):
            load_checkpoint(tmp_path, word)

    def test_no_best_without_its_metric(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="with the metric `val_loss`, but none of its 3 has one"):
            load_checkpoint(tmp_path, "best")

    def test_unknown_step(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="a checkpoint of step 3, but holds 2, 30, 100"):
            load_checkpoint(tmp_path, 3)

    def test_none_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="nowhere` must hold a checkpoint, but holds none"):
            load_checkpoint(tmp_path / "nowhere")

    def test_existing_step_is_refused_and_kept(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"step-000000030\.zip` must be a new one, but exists"):
            save_checkpoint(tmp_path, 30, {"a": np.zeros(2)})
        assert load_checkpoint(tmp_path, 30).tree["['a']"].tolist() == [30, 30]

    def test_negative_step(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="`step` must not be negative, but is -1"):
            save_checkpoint(tmp_path, -1, {})
        with pytest.raises(RunError, match="`step` must be an integer, but is 1.5"):
            save_checkpoint(tmp_path, 1.5, {})

    def test_metadata_that_is_not_json(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="`metadata` must hold JSON values, but Object of type"):
            save_checkpoint(tmp_path, 1, {}, {"a": np.zeros(1)})

    def test_unfinished_ones_do_not_count(self, tmp_path: Path) -> None:
        folder = save_checkpoint(tmp_path, 50, {"a": LEAVES["large"]})
        shutil.copytree(folder, tmp_path / ".step-000000200.0123abcd.tmp")
        shutil.copy(tmp_path / "step-000000100.zip", tmp_path / ".step-000000200.zip.tmp")
        assert load_checkpoint(tmp_path).step == 100
        CheckpointManager(tmp_path).close()
        assert list_checkpoints(tmp_path) == [2, 30, 50, 100]
        assert [name for name in os.listdir(tmp_path) if name.startswith(".step")] == []


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
        with pytest.raises(RunError, match=rf"step-000000001\.zip` does not fit: {message}. Bui"):
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
        "arrays.zarr/packed/c/0",
        "arrays.zarr/packed/zarr.json",
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
        with pytest.raises(RunError, match="step-000000002` is damaged.*Move it away") as caught:
            load_checkpoint(folder.parent, like=self.TREE)
        assert name in str(caught.value)
        assert load_checkpoint(folder.parent, 1).step == 1

    def test_manifest_without_json_object(self, folder: Path) -> None:
        (folder / "manifest.json").write_text("[]")
        with pytest.raises(RunError, match=r"`manifest\.json` cannot be read"):
            load_checkpoint(folder.parent)

    def test_newer_format(self, folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "version": 5}))
        with pytest.raises(RunError, match="has format 5, but this qjax reads up to 4. Update"):
            load_checkpoint(folder.parent)

    def test_a_file_that_may_not_be_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(LocalStore, "get", refuse)
        with pytest.raises(RunError, match="could not be read: Permission denied. Check the perm"):
            load_checkpoint(folder.parent)


class TestFullDisk:
    """The disk refuses at every point of a save in turn."""

    @pytest.mark.parametrize(
        ("module", "function", "leaf"),
        [
            (_files, "write_and_sync", "float16"),
            (_files, "sync_folder", "float16"),
            (os, "replace", "float16"),
            (_place, "write_synced", "large"),
            (_place, "sync_folder", "large"),
            (_place, "sync_folders", "large"),
            (os, "rename", "large"),
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
        leaf: str,
        number: int,
        reason: str,
    ) -> None:
        save_checkpoint(tmp_path, 1, {"a": np.arange(3)})

        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(module, function, refuse)
        with pytest.raises(RunError, match=f"step-000000002` could not be written: {reason}") as e:
            save_checkpoint(tmp_path, 2, {"a": LEAVES[leaf]})
        assert e.value.errno == number
        monkeypatch.undo()
        assert os.listdir(tmp_path) == ["step-000000001.zip"]
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
        assert os.listdir(tmp_path) == ["step-000000001.zip"]
        assert load_checkpoint(tmp_path).step == 1
