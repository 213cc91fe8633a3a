"""Leaves of a pytree to and from the arrays of one Zarr 3 group.

Small leaves are packed, byte after byte, into one array of one chunk, since each array costs
milliseconds; large ones have an array of their own. Dtypes that Zarr lacks are stored as unsigned
integers of the same width.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import zarr
from zarr.abc.buffer import Buffer
from zarr.abc.store import Store
from zarr.codecs import ZstdCodec
from zarr.storage import MemoryStore

from qjax.errors import RunError

__all__ = [
    "Compression",
    "HostTree",
    "Layout",
    "LeafRecord",
    "as_record",
    "check_compression",
    "copy_to_host",
    "named_leaves",
    "read_leaves",
    "write_arrays",
]

Compression: TypeAlias = Literal["zstd"] | None

SMALL_BYTES = 1 << 20
CHUNK_BYTES = 4 << 20
ARRAYS_AT_ONCE = 4
PACKED = "packed"  # formats 1 and 2 had an array "packed-<dtype>" for each dtype
CHUNK = f"{PACKED}/c/0"
KEY_PREFIX = "key:"
NATIVE = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}


class LeafRecord(NamedTuple):
    """Where one leaf lies.

    Attributes:
        name: its path in the pytree, as `jax.tree_util.keystr` writes it.
        shape: its shape; for typed random keys, that of the keys.
        dtype: its dtype, or ``"key:<implementation>"`` for typed random keys.
        array: name of the Zarr array.
        offset: index of its first element there, which is a byte in the array of small leaves.
    """

    name: str
    shape: list[int]
    dtype: str
    array: str = ""
    offset: int = 0


@dataclass(frozen=True, eq=False)  # one object for all checkpoints, to know it by
class Layout:
    """Where the leaves of a pytree go in a Zarr group; the same for every checkpoint of a run.

    Attributes:
        records: where each lies.
        files: what Zarr says of the group and of its array of small leaves, by name.
        small: which leaves are packed.
        small_bytes: how long they are together.
        large: which have an array of their own, by name of that.
    """

    records: tuple[LeafRecord, ...]
    files: dict[str, bytes]
    small: list[int]
    small_bytes: int
    large: dict[str, int]


class HostTree(NamedTuple):
    """A pytree in host memory: its leaves, in dtypes that Zarr has, and where they go."""

    layout: Layout
    leaves: list[np.ndarray]

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the group without its large leaves."""
        chunk = b"".join(self.leaves[number].data for number in self.layout.small)
        return {**self.layout.files, CHUNK: chunk} if chunk else self.layout.files

    @property
    def large(self) -> dict[str, np.ndarray]:
        """The large leaves, by name of their arrays."""
        return {name: self.leaves[number] for name, number in self.layout.large.items()}


def named_leaves(tree: Any) -> dict[str, Any]:
    """Names each leaf of a pytree by its path."""
    leaves, structure = jax.tree.flatten(tree)
    return dict(zip(_names(tree, structure), leaves, strict=True))


def as_record(name: str, leaf: Any) -> LeafRecord:
    """Describes a leaf (an array, a Python number or a `jax.ShapeDtypeStruct`)."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return LeafRecord(name, list(leaf.shape), _dtype_name(leaf.dtype))


def copy_to_host(tree: Any) -> HostTree:
    """Brings all leaves into host memory, so that nothing done to them later is seen.

    NumPy arrays are copied. JAX arrays never change; those already on the host are held as they
    are, which keeps JAX from giving their memory away where they are donated.

    Raises:
        RunError: if a leaf is not an array of numbers.
    """
    leaves, structure = jax.tree.flatten(tree)
    words = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in leaves]
    if any(isinstance(word, jax.Array) for word in words) and jax.default_backend() != "cpu":
        _begin_copies(words)  # or they would wait for each other
    data = [_on_host(word) for word in words]
    about = [
        each if leaf is word else leaf for leaf, word, each in zip(leaves, words, data, strict=True)
    ]
    layout = _lay_out(
        _names(tree, structure),
        tuple(each.shape for each in about),
        tuple(each.dtype for each in about),
        tuple(each.nbytes for each in data),
    )
    return HostTree(layout, [_as_storable(each) for each in data])


def check_compression(compression: Any) -> None:
    """Raises unless it is one that `write_arrays` takes."""
    if compression not in ("zstd", None):
        raise RunError(f"Argument `compression` must be 'zstd' or None, but is {compression!r}.")


def write_arrays(store: Store, arrays: Mapping[str, np.ndarray], compression: Compression) -> None:
    """Writes arrays into a store that holds a Zarr group.

    Raises:
        OSError: if the store refuses.
    """
    group = zarr.open_group(store, mode="r+", zarr_format=3)
    with ThreadPoolExecutor(ARRAYS_AT_ONCE) as pool:
        writes = [pool.submit(_write_array, group, *a, compression) for a in arrays.items()]
        for write in writes:
            write.result()


def read_leaves(store: Store, records: Sequence[LeafRecord]) -> dict[str, Any]:
    """Reads the leaves described by `records`; arrays are fresh and writable."""
    group = zarr.open_group(store, mode="r", zarr_format=3)
    names = list(dict.fromkeys(record.array for record in records))
    with ThreadPoolExecutor(ARRAYS_AT_ONCE) as pool:
        arrays = pool.map(lambda name: _read_array(group, name), names)
        stored = dict(zip(names, arrays, strict=True))
    return {record.name: _restore(record, stored[record.array]) for record in records}


def _names(tree: Any, structure: Any) -> tuple[str, ...]:
    try:
        return _names_of(structure)
    except Exception:  # it cannot be hashed, or checks what it is built from
        return _path_names(tree)


@lru_cache(maxsize=16)  # JAX takes longer over the names than over all the rest of a small state
def _names_of(structure: Any) -> tuple[str, ...]:
    return _path_names(structure.unflatten([object()] * structure.num_leaves))


def _path_names(tree: Any) -> tuple[str, ...]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return tuple(jax.tree_util.keystr(path) for path, _ in leaves)


@lru_cache(maxsize=16)
def _lay_out(
    names: tuple[str, ...],
    shapes: tuple[tuple[int, ...], ...],
    dtypes: tuple[Any, ...],
    sizes: tuple[int, ...],
) -> Layout:
    """Decides where leaves of so many bytes go: the small ones one behind the other."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RunError(
            f"Argument `tree` must have leaves of different names, but several are `{twice}`. Give "
            "the children of that node keys of their own."
        )
    records, small, large, filled = [], [], {}, 0
    for number, (name, shape, dtype) in enumerate(zip(names, shapes, dtypes, strict=True)):
        if not _is_key_dtype(dtype) and _storage_dtype(dtype) is None:
            raise RunError(
                f"Argument `tree` must hold arrays of numbers, but `{name}` has dtype {dtype}."
            )
        array, offset = PACKED, filled
        if sizes[number] < SMALL_BYTES:
            small.append(number)
            filled += sizes[number]
        else:
            array, offset = f"leaf-{number:06d}", 0
            large[array] = number
        records.append(LeafRecord(name, list(shape), _dtype_name(dtype), array, offset))
    return Layout(tuple(records), _files(filled if small else None), small, filled, large)


def _begin_copies(leaves: Sequence[Any]) -> None:
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and not _is_host(leaf.sharding):
            leaf.copy_to_host_async()


@lru_cache(maxsize=64)
def _is_host(sharding: jax.sharding.Sharding) -> bool:
    return all(device.platform == "cpu" for device in sharding.device_set)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and _is_key_dtype(leaf.dtype)


@cache
def _is_key_dtype(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _on_host(leaf: Any) -> np.ndarray:
    return (np.asarray if isinstance(leaf, jax.Array) else np.array)(leaf, order="C")


def _as_storable(data: np.ndarray) -> np.ndarray:
    dtype = _storage_dtype(data.dtype)
    assert dtype is not None  # `_lay_out` refuses the others
    if dtype == data.dtype:
        return data
    return data.astype(dtype) if data.dtype.name in NATIVE else data.view(dtype)


@cache
def _storage_dtype(dtype: np.dtype) -> np.dtype | None:
    if dtype.name in NATIVE:
        return dtype.newbyteorder("=")
    return np.dtype(f"u{dtype.itemsize}") if hasattr(ml_dtypes, dtype.name) else None


@cache  # NumPy takes longer over a name than over copying a small array
def _dtype_name(dtype: Any) -> str:
    if _is_key_dtype(dtype):
        return f"{KEY_PREFIX}{jax.random.key_impl(jnp.empty((), dtype))}"
    return np.dtype(dtype).name


def _restore(record: LeafRecord, stored: np.ndarray) -> Any:
    flat = stored.reshape(-1)
    if record.dtype.startswith(KEY_PREFIX):
        return _restore_keys(record, flat)
    dtype = np.dtype(getattr(ml_dtypes, record.dtype, record.dtype))
    return _take(record, flat, math.prod(record.shape), dtype).reshape(record.shape)


def _restore_keys(record: LeafRecord, flat: np.ndarray) -> jax.Array:
    implementation = record.dtype.removeprefix(KEY_PREFIX)
    words = jax.random.key_data(jax.random.key(0, impl=implementation))
    shape = (*record.shape, *words.shape)
    data = _take(record, flat, math.prod(shape), words.dtype).reshape(shape)
    return jax.random.wrap_key_data(jnp.asarray(data), impl=implementation)


def _take(record: LeafRecord, flat: np.ndarray, count: int, dtype: np.dtype) -> np.ndarray:
    """The `count` numbers of a leaf from the array that holds it."""
    length = count * dtype.itemsize // flat.dtype.itemsize
    data = flat[record.offset : record.offset + length]
    own = data if data.size == flat.size else data.copy()  # a copy is aligned as well
    return own.view(dtype)


def _files(length: int | None) -> dict[str, bytes]:
    """What Zarr says of a group with an array of so many bytes in one chunk; None for no array.

    A chunk that is not compressed is the bytes themselves.
    """
    files: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(files), zarr_format=3)
    if length is not None:
        group.create_array(
            PACKED,
            shape=(length,),
            dtype=np.uint8,
            chunks=(max(1, length),),
            compressors=None,
        )
    return {key: value.to_bytes() for key, value in files.items()}


def _write_array(group: zarr.Group, name: str, data: np.ndarray, compression: Compression) -> None:
    # A chunk that equals the fill value would not be written, and a lost one would not be missed.
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=_chunks(data.shape, data.dtype.itemsize),
        compressors=ZstdCodec(level=1) if compression == "zstd" else None,
        config={"write_empty_chunks": True},
    )
    array[...] = data


def _read_array(group: zarr.Group, name: str) -> np.ndarray:
    array = group[name]
    assert isinstance(array, zarr.Array)  # the manifest's checksums have been verified
    return np.asarray(array[...])


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    # Splits the leading axes until a chunk fits.
    chunks = [max(1, n) for n in shape]
    for axis in range(len(chunks)):
        rest = itemsize * math.prod(chunks[axis + 1 :])
        chunks[axis] = min(chunks[axis], max(1, CHUNK_BYTES // rest))
    return tuple(chunks)
