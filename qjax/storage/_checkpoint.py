"""Checkpoints: any pytree of arrays as a Zarr 3 group, exact in dtype and bits.

A checkpoint is a ZIP archive ``step-000000042.zip`` with the Zarr group ``arrays.zarr`` and
``manifest.json``, which names every leaf and every file with its checksum; one with large leaves is
a folder ``step-000000042`` with the same. It is written under a temporary name, synced, and
renamed: what has the final name is whole. When to save, and what to keep, is decided by the caller.
"""

import hashlib
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np

from qjax.errors import RunError
from qjax.storage._archive import MAX_BYTES, ArchiveWriter
from qjax.storage._arrays import (
    Compression,
    HostTree,
    Layout,
    LeafRecord,
    as_record,
    check_compression,
    copy_to_host,
    named_leaves,
    read_leaves,
    write_arrays,
)
from qjax.storage._files import disk_errors
from qjax.storage._place import MANIFEST, Place, PlaceLike, as_place
from qjax.storage._store import GROUP, FileEntry, damage

__all__ = [
    "Checkpoint",
    "CheckpointInfo",
    "Mode",
    "Which",
    "best_first",
    "inspect_checkpoints",
    "list_checkpoints",
    "load_checkpoint",
    "make_header",
    "read_info",
    "read_infos",
    "restore",
    "save_checkpoint",
    "write_checkpoint",
]

FORMAT = "qjax-checkpoint"
VERSION = 4  # the first with archives

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

Mode: TypeAlias = Literal["min", "max"]
Which: TypeAlias = int | Literal["latest", "best"]


class Checkpoint(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: the number that it was saved under.
        tree: the pytree, with NumPy arrays (typed random keys as JAX arrays) for leaves; without
            `like`, a dictionary from leaf name to array.
        metadata: what was saved with it.
    """

    step: int
    tree: Any
    metadata: dict[str, Any]


class CheckpointInfo(NamedTuple):
    """What a checkpoint says of itself, without its arrays.

    Attributes:
        step: the number that it was saved under.
        epoch: how many epochs were done, or None if that was not told.
        metrics: what was measured by then, such as ``{"val_loss": 0.3}``.
        keep: whether it was marked to be kept for good.
        metadata: what was saved with it.
        created: when, in ISO 8601 and UTC; empty in format 1.
        leaves: name, shape and dtype of each array.
        num_bytes: size of all its files but the manifest.
        problem: why it cannot be used, or empty if its manifest is sound.
    """

    step: int
    epoch: int | None = None
    metrics: Mapping[str, float] = {}
    keep: bool = False
    metadata: Mapping[str, Any] = {}
    created: str = ""
    leaves: Sequence[LeafRecord] = ()
    num_bytes: int = 0
    problem: str = ""


def save_checkpoint(
    path: PlaceLike,
    step: int,
    tree: Any,
    metadata: Mapping[str, Any] | None = None,
    *,
    epoch: int | None = None,
    metrics: Mapping[str, Any] | None = None,
    compression: Compression = "zstd",
) -> str:
    """Saves a pytree of arrays as the checkpoint of `step` below `path`, and waits for the disk.

    It takes no lock: use `CheckpointManager` where several processes may write.

    Args:
        path: folder of the checkpoints, created if need be, or a Zarr store.
        step: non-negative number of the checkpoint; must be a new one.
        tree: pytree of arrays: any NumPy dtype of numbers, bfloat16 and the other small floats,
            0-d and empty arrays, typed random keys, Python numbers.
        metadata: JSON values to keep with it.
        epoch: how many epochs are done, to find it by.
        metrics: numbers by name, to find the best by.
        compression: of large arrays: ``"zstd"``, or None for none.

    Returns:
        Where the checkpoint lies: a file ``step-….zip``, or a folder if a leaf has a mebibyte.

    Raises:
        RunError: if a leaf is not an array, the step exists, or the disk refuses (full,
            read-only, no permission). Earlier checkpoints are then intact and nothing half
            written remains.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from qjax.storage import load_checkpoint, save_checkpoint
        >>> folder = tempfile.mkdtemp()
        >>> _ = save_checkpoint(folder, 3, {"theta": np.arange(4.0)}, {"epoch": 1})
        >>> step, tree, metadata = load_checkpoint(folder)
        >>> step, tree["['theta']"], metadata
        (3, array([0., 1., 2., 3.]), {'epoch': 1})
    """
    check_compression(compression)
    place = as_place(path)
    header = make_header(step, epoch=epoch, metrics=metrics, metadata=metadata)
    if step in place.steps():
        raise RunError(f"Checkpoint `{place.name_of(step)}` must be a new one, but exists.")
    write_checkpoint(place, header, copy_to_host(tree), compression)
    return place.name_of(step)


def load_checkpoint(
    path: PlaceLike,
    step: Which = "latest",
    *,
    epoch: int | None = None,
    like: Any = None,
    best_metric: str = "val_loss",
    best_mode: Mode = "min",
) -> Checkpoint:
    """Loads a checkpoint after verifying every byte of it.

    It needs no lock: the run may be going on.

    Args:
        path: folder of the checkpoints, or a Zarr store.
        step: number of the checkpoint, ``"latest"`` or ``"best"``.
        epoch: instead of a step, the newest checkpoint after this many epochs.
        like: pytree of the same structure as the one saved, with arrays or
            `jax.ShapeDtypeStruct` for leaves; names, shapes and dtypes must agree. By default
            the tree is a dictionary from leaf name to array.
        best_metric: which metric ``"best"`` goes by.
        best_mode: whether ``"min"`` or ``"max"`` of it is best.

    Raises:
        RunError: if there is no such checkpoint, it is damaged or incomplete, written by a newer
            qjax, or does not fit `like`.
    """
    info, tree = restore(as_place(path), step, epoch, like, best_metric, best_mode)
    return Checkpoint(info.step, tree, dict(info.metadata))


def list_checkpoints(path: PlaceLike) -> list[int]:
    """Lists the steps that have a committed checkpoint, in ascending order."""
    return as_place(path).steps()


def inspect_checkpoints(path: PlaceLike) -> list[CheckpointInfo]:
    """Reads what the checkpoints below `path` say of themselves, by step, and no array.

    It needs no lock: the run may be going on. A checkpoint that cannot be used is listed with its
    `problem`.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from qjax.storage import inspect_checkpoints, save_checkpoint
        >>> folder = tempfile.mkdtemp()
        >>> _ = save_checkpoint(folder, 3, {"theta": np.zeros((4, 2), np.float32)})
        >>> [info] = inspect_checkpoints(folder)
        >>> info.step, [(leaf.name, leaf.shape, leaf.dtype) for leaf in info.leaves]
        (3, [("['theta']", [4, 2], 'float32')])
    """
    return read_infos(as_place(path))


def make_header(
    step: int,
    *,
    epoch: int | None = None,
    metrics: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Checks and copies what a manifest says beside its arrays."""
    for name, value in (("step", step), ("epoch", 0 if epoch is None else epoch)):
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise RunError(f"Argument `{name}` must be an integer, but is {value!r}.")
        if value < 0:
            raise RunError(f"Argument `{name}` must not be negative, but is {value}.")
    try:
        measured = {str(name): float(value) for name, value in (metrics or {}).items()}
    except (TypeError, ValueError):
        raise RunError(f"Argument `metrics` must hold numbers, but is {metrics!r}.") from None
    try:
        copied = json.loads(json.dumps(dict(metadata or {})))
    except (TypeError, ValueError) as error:
        raise RunError(f"Argument `metadata` must hold JSON values, but {error}.") from None
    return {
        "step": int(step),
        "epoch": None if epoch is None else int(epoch),
        "metrics": measured,
        "keep": bool(keep),
        "metadata": copied,
    }


def write_checkpoint(
    place: Place, header: Mapping[str, Any], tree: HostTree, compression: Compression
) -> CheckpointInfo:
    """Writes and commits a checkpoint.

    Raises:
        RunError: if the place refuses; nothing half written remains if that can be deleted.
    """
    body = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **header,
    }
    with disk_errors("Checkpoint", lambda: place.name_of(header["step"])):
        if tree.layout.large or tree.layout.small_bytes > MAX_BYTES:
            files = _write_folder(place, body, tree, compression)
        else:
            files = _write_archive(place, body, tree)
    return _as_info(body, tree.layout.records, files)


def _write_folder(
    place: Place, body: Mapping[str, Any], tree: HostTree, compression: Compression
) -> Mapping[str, FileEntry]:
    draft = place.begin(body["step"])
    try:
        draft.write(tree.files)
        write_arrays(draft, tree.large, compression)
        place.commit(body["step"], draft, _manifest(body, tree.layout, draft.entries))
    except BaseException:
        place.discard(draft)
        raise
    return draft.entries


def _write_archive(
    place: Place, body: Mapping[str, Any], tree: HostTree
) -> Mapping[str, FileEntry]:
    archive = ArchiveWriter()
    for name, content in tree.files.items():
        archive.add(f"{GROUP}/{name}", content)
    files = dict(archive.entries)
    archive.add(MANIFEST, _manifest(body, tree.layout, files))
    place.put(body["step"], archive.close())
    return files


def read_infos(place: Place) -> list[CheckpointInfo]:
    """Reads all manifests."""
    return [read_info(place, step) for step in place.steps()]


def read_info(place: Place, step: int) -> CheckpointInfo:
    """Reads one manifest; if it cannot be used, that is the `problem` of what is returned."""
    try:
        with disk_errors("Checkpoint", lambda: place.name_of(step), "read"):
            return _info_of(_read_manifest(place, step))
    except RunError as error:
        return CheckpointInfo(step, problem=str(error))


def best_first(infos: Sequence[CheckpointInfo], metric: str, mode: Mode) -> list[CheckpointInfo]:
    """Sorts those that have a finite value of a metric; of equals, the earlier is better."""
    sign = -1 if mode == "max" else 1
    having = [info for info in infos if math.isfinite(info.metrics.get(metric, math.nan))]
    return sorted(having, key=lambda info: (sign * info.metrics[metric], info.step))


def restore(
    place: Place, step: Which, epoch: int | None, like: Any, metric: str, mode: Mode
) -> tuple[CheckpointInfo, Any]:
    """Chooses a checkpoint and loads it; see `load_checkpoint`."""
    while True:
        chosen = _choose(place, step, epoch, metric, mode)
        try:
            return _load(place, chosen, like)
        except RunError as error:
            if chosen in place.steps():
                raise
            if chosen == step:
                raise RunError(
                    f"Checkpoint `{place.name_of(chosen)}` was deleted by its writer while it was "
                    "read. Choose a later one."
                ) from error


def _choose(place: Place, step: Which, epoch: int | None, metric: str, mode: Mode) -> int:
    steps = place.steps()
    if not steps:
        raise RunError(f"Folder `{place.name}` must hold a checkpoint, but holds none.")
    if epoch is not None:
        return _choose_epoch(place, step, epoch)
    if step == "latest":
        return steps[-1]
    if step == "best":
        ranked = best_first(read_infos(place), metric, mode)
        if not ranked:
            raise RunError(
                f"Folder `{place.name}` must hold a checkpoint with the metric `{metric}`, but "
                f"none of its {len(steps)} has one."
            )
        return ranked[0].step
    if isinstance(step, str):
        raise RunError(f"Argument `step` must be a number, 'latest' or 'best', but is {step!r}.")
    if step not in steps:
        raise RunError(
            f"Folder `{place.name}` must hold a checkpoint of step {step}, but holds "
            f"{', '.join(map(str, steps))}."
        )
    return step


def _choose_epoch(place: Place, step: Which, epoch: int) -> int:
    if step != "latest":
        raise RunError(f"Arguments `step` and `epoch` exclude each other, but are {step}, {epoch}.")
    infos = read_infos(place)
    steps = [info.step for info in infos if info.epoch == epoch]
    if not steps:
        epochs = sorted({info.epoch for info in infos if info.epoch is not None})
        raise RunError(
            f"Folder `{place.name}` must hold a checkpoint of epoch {epoch}, but holds "
            f"{', '.join(map(str, epochs)) or 'none with an epoch'}."
        )
    return steps[-1]


def _load(place: Place, step: int, like: Any) -> tuple[CheckpointInfo, Any]:
    name = place.name_of(step)
    with disk_errors("Checkpoint", name, "read"):
        body = _read_manifest(place, step)
        info = _info_of(body)
        if like is not None:
            _check_fits(name, info.leaves, like)
        arrays = read_leaves(place.open(step, body["files"]), info.leaves)
    return info, _as_tree(arrays, like)


def _manifest(body: Mapping[str, Any], layout: Layout, files: Mapping[str, FileEntry]) -> bytes:
    """Encodes the manifest, which is `_canonical` of it all and then its checksum."""
    body = {**body, "files": files}
    before = _canonical({name: value for name, value in body.items() if name < "leaves"})
    after = _canonical({name: value for name, value in body.items() if name > "leaves"})
    members = f'{before[1:-1]},"leaves":{_leaves_text(layout)},{after[1:-1]}'
    return f'{{{members},"sha256":"{_digest(f"{{{members}}}")}"}}'.encode()


@lru_cache(maxsize=16)  # the longest part of a manifest, and the same for each step
def _leaves_text(layout: Layout) -> str:
    return _canonical([record._asdict() for record in layout.records])


def _read_manifest(place: Place, step: int) -> dict[str, Any]:
    name = place.name_of(step)
    content = place.read_manifest(step)
    if content is None:
        raise RunError(damage(name, f"it has no `{MANIFEST}`"))
    try:
        body = json.loads(content)
        digest = body.pop("sha256")
        version = body["version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(damage(name, f"`{MANIFEST}` cannot be read")) from error
    if isinstance(version, int) and version > VERSION:
        raise RunError(
            f"Checkpoint `{name}` has format {version}, but this qjax reads up to {VERSION}. "
            "Update qjax."
        )
    if digest != _digest(_canonical(body)):
        raise RunError(damage(name, f"`{MANIFEST}` does not have its checksum"))
    return body


def _digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()


def _info_of(body: Mapping[str, Any]) -> CheckpointInfo:
    return _as_info(body, tuple(LeafRecord(**entry) for entry in body["leaves"]), body["files"])


def _as_info(
    body: Mapping[str, Any], leaves: Sequence[LeafRecord], files: Mapping[str, FileEntry]
) -> CheckpointInfo:
    metadata = body["metadata"]
    return CheckpointInfo(
        step=body["step"],
        epoch=body.get("epoch", metadata.get("epoch")),  # format 1 had it in the metadata alone
        metrics=body.get("metrics", {}),
        keep=body.get("keep", False),
        metadata=metadata,
        created=body.get("created", ""),
        leaves=leaves,
        num_bytes=sum(entry["bytes"] for entry in files.values()),
    )


def _check_fits(name: str, records: Sequence[LeafRecord], like: Any) -> None:
    saved = {record.name: record for record in records}
    wanted = {leaf: as_record(leaf, value) for leaf, value in named_leaves(like).items()}
    for leaf, record in wanted.items():
        if leaf not in saved:
            raise RunError(_misfit(name, f"it has no leaf `{leaf}`"))
        for what in ("shape", "dtype"):
            mine, theirs = getattr(record, what), getattr(saved[leaf], what)
            if mine != theirs:
                reason = f"its leaf `{leaf}` has {what} {theirs}, but {mine} is wanted"
                raise RunError(_misfit(name, reason))
    if extra := saved.keys() - wanted.keys():
        raise RunError(_misfit(name, f"its leaf `{min(extra)}` is not wanted"))


def _misfit(name: str, reason: str) -> str:
    return (
        f"Checkpoint `{name}` does not fit: {reason}. Build the model and the optimiser that it "
        "was saved with."
    )


def _as_tree(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    if like is None:
        return dict(arrays)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    return structure.unflatten([arrays[jax.tree_util.keystr(path)] for path, _ in leaves])
