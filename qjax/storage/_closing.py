"""What is closed at the end of a `with` block, without hiding the error that ended the block."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """Base of the writers of a run: a context manager whose exit is `close`."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as closing:
            if error is None:
                raise
            error.add_note(str(closing))  # the first error says why the block ended
