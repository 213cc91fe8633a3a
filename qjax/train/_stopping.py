"""When a run has stopped getting better."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from qjax._checks import check_choice, check_positive_int
from qjax.errors import RunError
from qjax.train._results import EpochResult

__all__ = ["EarlyStopping", "Monitor", "Patience"]

Monitor: TypeAlias = Literal["val_loss", "val_accuracy", "train_loss", "train_accuracy"]

MONITORS = ("val_loss", "val_accuracy", "train_loss", "train_accuracy")


class Patience(NamedTuple):
    """How long a run has waited for something better.

    Attributes:
        best: the best value so far, or None before the first.
        waited: epochs since then.
    """

    best: float | None = None
    waited: int = 0


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Ends a run after `patience` epochs in a row without a better value.

    Args:
        monitor: the value: ``"val_loss"``, ``"val_accuracy"``, ``"train_loss"`` or
            ``"train_accuracy"``.
        patience: how many such epochs are too many.
        min_delta: by how much a value must be better than the best to count.
        mode: whether ``"min"`` or ``"max"`` is better; by default, what fits the monitor.

    Raises:
        RunError: if an argument does not fit.

    Example:
        >>> from qjax.train import EarlyStopping, EpochResult
        >>> stopping = EarlyStopping(monitor="train_loss", patience=2)
        >>> patience = stopping.start()
        >>> for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.7], start=1):
        ...     patience = stopping.after(patience, EpochResult(epoch, loss, 1.0, None, 1.0))
        >>> patience, stopping.is_over(patience)
        (Patience(best=0.5, waited=2), True)

    References:
        L. Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade (1998).
    """

    monitor: Monitor = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    mode: Literal["min", "max"] | None = None

    def __post_init__(self) -> None:
        check_choice(self.monitor, MONITORS, name="monitor", error=RunError)
        check_positive_int(self.patience, name="patience", error=RunError)
        if self.mode is not None:
            check_choice(self.mode, ("min", "max"), name="mode", error=RunError)
        if not (isinstance(self.min_delta, int | float) and 0 <= self.min_delta < math.inf):
            raise RunError(
                f"Argument `min_delta` must be a number of at least 0, but is {self.min_delta!r}."
            )

    @property
    def needs_validation(self) -> bool:
        """Whether the value is one of the validation set."""
        return self.monitor.startswith("val_")

    @property
    def needs_classes(self) -> bool:
        """Whether the value is an accuracy."""
        return self.monitor.endswith("accuracy")

    def start(self) -> Patience:
        """Returns the patience before the first epoch."""
        return Patience()

    def after(self, patience: Patience, result: EpochResult) -> Patience:
        """Returns the patience after an epoch."""
        value = self._value(result)
        best = patience.best
        if best is None or math.isnan(best) or self._is_better(value, best):
            return Patience(value, 0)
        return Patience(best, patience.waited + 1)

    def is_over(self, patience: Patience) -> bool:
        """Whether the run should end."""
        return patience.waited >= self.patience

    def _is_better(self, value: float, best: float) -> bool:
        mode = self.mode or ("max" if self.needs_classes else "min")
        return value < best - self.min_delta if mode == "min" else value > best + self.min_delta

    def _value(self, result: EpochResult) -> float:
        if self.needs_validation:
            assert result.validation is not None  # checked when the run began
            return getattr(result.validation, self.monitor.removeprefix("val_"))
        return getattr(result, self.monitor)
