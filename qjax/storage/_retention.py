"""Which checkpoints stay."""

from collections.abc import Sequence
from dataclasses import dataclass

from qjax.storage._checkpoint import CheckpointInfo, Mode, best_first

__all__ = ["Retention"]


@dataclass(frozen=True)
class Retention:
    """Keeps the newest, the best, some at intervals, and those marked.

    Attributes:
        last: how many of the newest.
        every: those whose epoch is a multiple of this, or None.
        best: how many of the best.
        metric: which metric the best go by.
        mode: whether its minimum or maximum is best.
    """

    last: int
    every: int | None
    best: int
    metric: str
    mode: Mode

    def doomed(self, infos: Sequence[CheckpointInfo]) -> list[int]:
        """Returns the steps to delete.

        One that cannot be read is never deleted, and does not count as one of the newest.

        Args:
            infos: all checkpoints, by step.
        """
        sound = [info for info in infos if not info.problem]
        stay = {info.step for info in sound[-self.last :]}
        stay |= {info.step for info in best_first(sound, self.metric, self.mode)[: self.best]}
        stay |= {info.step for info in sound if info.keep or self._is_at_interval(info)}
        return [info.step for info in sound if info.step not in stay]

    def _is_at_interval(self, info: CheckpointInfo) -> bool:
        return self.every is not None and info.epoch is not None and info.epoch % self.every == 0
