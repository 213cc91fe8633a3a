"""The settings of a run: defaults, checks, and their file ``config.json``."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from qjax.errors import RunError
from qjax.storage import disk_errors, write_atomic

__all__ = ["RunConfig"]

FILE = "config.json"
VERSION = 1


@dataclass(frozen=True)
class RunConfig:
    """What defines a run; with the checkpoint, all that is needed to rebuild its model.

    Attributes:
        model: name of the model.
        dataset: name of the dataset.
        data_dir: folder of the dataset's files as an absolute path, or None to search.
        samples: how many of the first training images are used, or None for all.
        validation: share of them that is held out for validation, 0 for none.
        epochs: epochs in all.
        batch_size: samples per step.
        learning_rate: of the Adam optimiser at the start; it falls to zero along half a cosine.
        seed: of the initial parameters and the order of the samples.
    """

    model: str
    dataset: str = "digits"
    data_dir: str | None = None
    samples: int | None = None
    validation: float = 0.0
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.05
    seed: int = 0

    def check(self) -> Self:
        """Returns itself.

        Raises:
            RunError: if a number is out of range.
        """
        for name in ("samples", "epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RunError(f"Argument `{name}` must be at least 1, but is {value}.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise RunError(
                f"Argument `learning_rate` must be positive, but is {self.learning_rate}."
            )
        if not 0 <= self.validation < 1:
            raise RunError(
                f"Argument `validation` must be at least 0 and below 1, but is {self.validation}."
            )
        if not 0 <= self.seed < 2**32:
            raise RunError(f"Argument `seed` must be from 0 to 2**32 - 1, but is {self.seed}.")
        return self

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Returns the configuration with some settings replaced, checked."""
        return replace(self, **changes).check()

    def write(self, run_dir: Path) -> None:
        """Writes ``config.json``.

        Raises:
            RunError: if the disk refuses.
        """
        path = run_dir / FILE
        text = json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"
        with disk_errors("Configuration", path):
            write_atomic(path, text.encode())

    @classmethod
    def read(cls, run_dir: Path) -> Self:
        """Reads ``config.json``.

        Raises:
            RunError: if it is missing, damaged or written by a newer qjax.
        """
        path = run_dir / FILE
        try:
            entries = json.loads(path.read_bytes())
            version = entries.pop("version")
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(
                f"Folder `{run_dir}` must be a run directory, but has no `{FILE}`."
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"Configuration `{path}` is damaged and cannot be read.") from error
        if isinstance(version, int) and version > VERSION:
            raise RunError(
                f"Configuration `{path}` has format {version}, but this qjax reads up to "
                f"{VERSION}. Update qjax."
            )
        if not _is_complete(entries):
            raise RunError(
                f"Configuration `{path}` is damaged: its entries are not those of a run."
            )
        return cls(**entries).check()


def _is_complete(entries: Mapping[str, Any]) -> bool:
    if entries.keys() != {field.name for field in fields(RunConfig)}:
        return False
    kinds = {
        "model": str,
        "dataset": str,
        "data_dir": str | None,
        "samples": int | None,
        "epochs": int,
        "batch_size": int,
        "seed": int,
        "learning_rate": int | float,
        "validation": int | float,
    }
    return all(isinstance(entries[name], kind) for name, kind in kinds.items())
