"""Leaves of a pytree to and from the arrays of one Zarr 3 group.

Small leaves of one dtype are packed into one array, since each array costs more than a
millisecond; large ones have an array of their own. Dtypes that Zarr lacks are stored as
unsigned integers of the same width.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from qjax.errors import RunError

__all__ = ["LeafRecord", "as_record", "read_leaves", "write_leaves"]

GROUP = "arrays.zarr"
SMALL_BYTES = 1 << 16
CHUNK_BYTES = 8 << 20
KEY_PREFIX = "key:"
NATIVE_KINDS = "biufc"


class LeafRecord(NamedTuple):
    """Where one leaf lies.

    Attributes:
        name: its path in the pytree, as `jax.tree_util.keystr` writes it.
        shape: its shape; for typed random keys, that of the keys.
        dtype: its dtype, or ``"key:<implementation>"`` for typed random keys.
        array: name of the Zarr array.
        offset: index of its first element there.
    """

    name: str
    shape: list[int]
    dtype: str
    array: str = ""
    offset: int = 0


def as_record(name: str, leaf: Any) -> LeafRecord:
    """Describes a leaf (an array, a Python number or a `jax.ShapeDtypeStruct`)."""
    if _is_key(leaf):
        return LeafRecord(name, list(leaf.shape), KEY_PREFIX + _key_implementation(leaf))
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return LeafRecord(name, list(leaf.shape), np.dtype(leaf.dtype).name)


def write_leaves(folder: Path, leaves: Mapping[str, Any]) -> list[LeafRecord]:
    """Writes the leaves into the new Zarr group `GROUP` in `folder`.

    Raises:
        RunError: if a leaf is not an array of numbers.
        OSError: if the disk refuses.
    """
    group = zarr.open_group(folder / GROUP, mode="w", zarr_format=3)
    packs: dict[str, list[np.ndarray]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    records = []
    for number, (name, leaf) in enumerate(leaves.items()):
        data = _as_storable(name, leaf)
        if data.nbytes < SMALL_BYTES:
            array, offset = f"packed-{data.dtype.name}", sizes[data.dtype.name]
            packs[data.dtype.name].append(data.reshape(-1))
            sizes[data.dtype.name] += data.size
        else:
            array, offset = f"leaf-{number:06d}", 0
            _write_array(group, array, data)
        records.append(as_record(name, leaf)._replace(array=array, offset=offset))
    for dtype, parts in packs.items():
        _write_array(group, f"packed-{dtype}", np.concatenate(parts))
    return records


def read_leaves(folder: Path, records: Sequence[LeafRecord]) -> dict[str, Any]:
    """Reads the leaves described by `records`; arrays are fresh and writable."""
    group = zarr.open_group(folder / GROUP, mode="r")
    stored = {record.array: _read_array(group, record.array) for record in records}
    return {record.name: _restore(record, stored[record.array]) for record in records}


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_implementation(leaf: Any) -> str:
    keys = leaf if isinstance(leaf, jax.Array) else jnp.empty((), leaf.dtype)
    return str(jax.random.key_impl(keys))


def _as_storable(name: str, leaf: Any) -> np.ndarray:
    data = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    data = np.ascontiguousarray(data).reshape(data.shape)  # 0-d would become 1-d
    if data.dtype.kind in NATIVE_KINDS:
        return data.astype(data.dtype.newbyteorder("="), copy=False)
    if _is_extension(data.dtype.name):
        return data.view(f"u{data.dtype.itemsize}")
    raise RunError(
        f"Argument `tree` must hold arrays of numbers, but `{name}` has dtype {data.dtype}."
    )


def _is_extension(dtype: str) -> bool:
    return hasattr(ml_dtypes, dtype)


def _restore(record: LeafRecord, stored: np.ndarray) -> Any:
    flat = stored.reshape(-1)
    if record.dtype.startswith(KEY_PREFIX):
        return _restore_keys(record, flat)
    data = flat[record.offset : record.offset + math.prod(record.shape)]
    dtype = np.dtype(getattr(ml_dtypes, record.dtype, record.dtype))
    return data.copy().view(dtype).reshape(record.shape)


def _restore_keys(record: LeafRecord, flat: np.ndarray) -> jax.Array:
    implementation = record.dtype.removeprefix(KEY_PREFIX)
    words = jax.random.key_data(jax.random.key(0, impl=implementation)).shape
    count = math.prod(record.shape) * math.prod(words)
    data = flat[record.offset : record.offset + count].reshape(*record.shape, *words)
    return jax.random.wrap_key_data(jnp.asarray(data), impl=implementation)


def _write_array(group: zarr.Group, name: str, data: np.ndarray) -> None:
    # A chunk that equals the fill value would not be written, and a lost one would not be missed.
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=_chunks(data.shape, data.dtype.itemsize),
        compressors=ZstdCodec(level=1),
        config={"write_empty_chunks": True},
    )
    if data.size:
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
