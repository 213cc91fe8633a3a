"""Checkpoints: any pytree of arrays as a Zarr 3 group, exact in dtype and bits.

A checkpoint is a folder ``step-000000042`` with the Zarr group ``arrays.zarr`` and
``manifest.json``, which names every leaf and every file with its checksum. It is written under a
temporary name, the manifest last, synced, and renamed: a folder with the final name is whole.
When to save, and what to keep, is decided by the caller.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from qjax.errors import RunError
from qjax.storage._arrays import LeafRecord, as_record, read_leaves, write_leaves
from qjax.storage._files import disk_errors, sync_folder, sync_tree, write_atomic

__all__ = [
    "Checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "prune_checkpoints",
    "remove_unfinished",
    "save_checkpoint",
]

FORMAT = "qjax-checkpoint"
VERSION = 1
MANIFEST = "manifest.json"
STEP = re.compile(r"step-(\d{9,})")
UNFINISHED = re.compile(r"\.step-\d{9,}\.[0-9a-f]{8}\.tmp")


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


def save_checkpoint(
    path: str | Path, step: int, tree: Any, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Saves a pytree of arrays as the checkpoint of `step` below `path`.

    Args:
        path: folder of the checkpoints, created if need be.
        step: non-negative number of the checkpoint; must be a new one.
        tree: pytree of arrays: any NumPy dtype of numbers, bfloat16 and the other small floats,
            0-d and empty arrays, typed random keys, Python numbers.
        metadata: JSON values to keep with it.

    Returns:
        The folder of the checkpoint.

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
    path = Path(path)
    final = path / _folder_name(step)
    if final.exists():
        raise RunError(f"Checkpoint `{final}` must be a new one, but exists.")
    leaves = _named_leaves(tree)
    temporary = path / f".{final.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with disk_errors("Checkpoint", final):
            temporary.mkdir(parents=True)
            records = write_leaves(temporary, leaves)
            _write_manifest(temporary, step, records, dict(metadata or {}))
            sync_tree(temporary)
            os.rename(temporary, final)
            sync_folder(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final


def load_checkpoint(
    path: str | Path, step: int | Literal["latest"] = "latest", *, like: Any = None
) -> Checkpoint:
    """Loads a checkpoint after verifying every byte of it.

    Args:
        path: folder of the checkpoints.
        step: number of the checkpoint, or ``"latest"``.
        like: pytree of the same structure as the one saved, with arrays or
            `jax.ShapeDtypeStruct` for leaves; names, shapes and dtypes must agree. By default
            the tree is a dictionary from leaf name to array.

    Raises:
        RunError: if there is no such checkpoint, it is damaged or incomplete, written by a newer
            qjax, or does not fit `like`.
    """
    path = Path(path)
    folder = _folder_of(path, step)
    manifest = _read_manifest(folder)
    records = [LeafRecord(**entry) for entry in manifest["leaves"]]
    if like is not None:
        _check_fits(folder, records, like)
    _check_files(folder, manifest["files"])
    arrays = read_leaves(folder, records)
    return Checkpoint(manifest["step"], _as_tree(arrays, like), manifest["metadata"])


def list_checkpoints(path: str | Path) -> list[int]:
    """Lists the steps that have a committed checkpoint, in ascending order."""
    path = Path(path)
    if not path.is_dir():
        return []
    matches = (STEP.fullmatch(child.name) for child in path.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def prune_checkpoints(path: str | Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints.

    Each is first renamed to a temporary name, so that a kill leaves no half of it.

    Raises:
        RunError: if `keep` is below 1 or a folder cannot be deleted.
    """
    if keep < 1:
        raise RunError(f"Argument `keep` must be at least 1, but is {keep}.")
    path = Path(path)
    for step in list_checkpoints(path)[:-keep]:
        folder = path / _folder_name(step)
        doomed = path / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
        with disk_errors("Checkpoint", folder):
            os.rename(folder, doomed)
            shutil.rmtree(doomed)


def remove_unfinished(path: str | Path) -> None:
    """Deletes what a killed process left half written or half deleted below `path`.

    Call it only when no other process writes there.
    """
    path = Path(path)
    if not path.is_dir():
        return
    for child in path.iterdir():
        if UNFINISHED.fullmatch(child.name):
            shutil.rmtree(child, ignore_errors=True)


def _folder_name(step: int) -> str:
    if step < 0:
        raise RunError(f"Argument `step` must not be negative, but is {step}.")
    return f"step-{step:09d}"


def _folder_of(path: Path, step: int | Literal["latest"]) -> Path:
    steps = list_checkpoints(path)
    if not steps:
        raise RunError(f"Folder `{path}` must hold a checkpoint, but holds none.")
    if step == "latest":
        return path / _folder_name(steps[-1])
    if step not in steps:
        raise RunError(
            f"Folder `{path}` must hold a checkpoint of step {step}, but holds "
            f"{', '.join(map(str, steps))}."
        )
    return path / _folder_name(step)


def _named_leaves(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _write_manifest(
    folder: Path, step: int, records: Sequence[LeafRecord], metadata: dict[str, Any]
) -> None:
    body = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        "metadata": metadata,
        "leaves": [record._asdict() for record in records],
        "files": _file_entries(folder),
    }
    text = json.dumps({**body, "sha256": _digest_of(body)}, indent=1)
    write_atomic(folder / MANIFEST, text.encode())


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        body = json.loads(path.read_bytes())
        digest = body.pop("sha256")
        version = body["version"]
    except FileNotFoundError:
        raise RunError(_damage(folder, f"it has no `{MANIFEST}`")) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(_damage(folder, f"`{MANIFEST}` cannot be read")) from error
    if isinstance(version, int) and version > VERSION:
        raise RunError(
            f"Checkpoint `{folder}` has format {version}, but this qjax reads up to {VERSION}. "
            "Update qjax."
        )
    if digest != _digest_of(body):
        raise RunError(_damage(folder, f"`{MANIFEST}` does not have its checksum"))
    return body


def _file_entries(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _file_entry(path) for path in files}


def _file_entry(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _check_files(folder: Path, entries: Mapping[str, Any]) -> None:
    for name, entry in entries.items():
        try:
            found = _file_entry(folder / name)
        except FileNotFoundError:
            raise RunError(_damage(folder, f"its file `{name}` is missing")) from None
        except OSError as error:
            raise RunError(_damage(folder, f"its file `{name}` cannot be read")) from error
        if found["bytes"] != entry["bytes"]:
            raise RunError(
                _damage(folder, f"`{name}` has {found['bytes']} bytes and not {entry['bytes']}")
            )
        if found != entry:
            raise RunError(_damage(folder, f"its file `{name}` does not have its checksum"))


def _damage(folder: Path, reason: str) -> str:
    return (
        f"Checkpoint `{folder}` is damaged: {reason}. Move the folder away to go on from an "
        "earlier checkpoint."
    )


def _digest_of(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_fits(folder: Path, records: Sequence[LeafRecord], like: Any) -> None:
    saved = {record.name: record for record in records}
    wanted = {name: as_record(name, leaf) for name, leaf in _named_leaves(like).items()}
    for name, record in wanted.items():
        if name not in saved:
            raise RunError(f"Checkpoint `{folder}` does not fit: it has no leaf `{name}`.")
        for what in ("shape", "dtype"):
            mine, theirs = getattr(record, what), getattr(saved[name], what)
            if mine != theirs:
                raise RunError(
                    f"Checkpoint `{folder}` does not fit: its leaf `{name}` has {what} {theirs}, "
                    f"but {mine} is wanted."
                )
    if extra := saved.keys() - wanted.keys():
        raise RunError(
            f"Checkpoint `{folder}` does not fit: its leaf `{min(extra)}` is not wanted."
        )


def _as_tree(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    if like is None:
        return dict(arrays)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    return structure.unflatten([arrays[jax.tree_util.keystr(path)] for path, _ in leaves])
