"""A checkpoint store in memory, iterators with a state, comparison by bits."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax.train import TrainState


def assert_same_bits(one: Any, other: Any) -> None:
    def check(a: Any, b: Any) -> None:
        assert _words(a).tobytes() == _words(b).tobytes()

    jax.tree.map(check, one, other)


def on_host(state: TrainState) -> TrainState:
    """Copies a state, as a checkpoint does."""
    return jax.tree.map(lambda leaf: leaf if _is_key(leaf) else np.array(leaf), state)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _words(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


class MemoryStore:
    """Keeps checkpoints as a file would: arrays copied, metadata as JSON text."""

    def __init__(self, every_epochs: int = 1) -> None:
        self.every_epochs = every_epochs
        self.saved: dict[int, tuple[TrainState, str, int, dict[str, float]]] = {}
        self.waits = 0

    def is_due(self, epoch: int) -> bool:
        return epoch % self.every_epochs == 0

    def save(
        self,
        step: int,
        tree: Any,
        *,
        epoch: int | None = None,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        assert step not in self.saved and epoch is not None
        text = json.dumps(dict(metadata or {}))
        self.saved[step] = on_host(tree), text, epoch, dict(metrics or {})

    def wait(self) -> None:
        self.waits += 1

    def steps(self) -> list[int]:
        return sorted(self.saved)

    def remove_after(self, step: int) -> None:
        self.saved = {saved: state for saved, state in self.saved.items() if saved <= step}

    def restore(self, step: Any, *, like: Any) -> Any:
        chosen = max(self.saved) if step == "latest" else step
        tree, text, *_ = self.saved[chosen]
        assert jax.tree.structure(tree) == jax.tree.structure(like)
        return SimpleNamespace(tree=tree, info=SimpleNamespace(metadata=json.loads(text)))


class Rows:
    """A sink that keeps the rows; it may raise at a chosen step, whose row it then lacks."""

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = OSError) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.stop_at, self.error = stop_at, error

    def write(self, row: Mapping[str, Any]) -> None:
        if self.stop_at is not None and row["step"] == self.stop_at:
            self.stop_at = None
            raise self.error
        self.rows.append(row)

    def truncate(self, last_epoch: int, last_step: int) -> None:
        self.rows = [
            row for row in self.rows if row["epoch"] <= last_epoch or 0 < row["step"] <= last_step
        ]

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["step"] != -1]


class Positioned:
    """Endless shuffled batches with the protocol of grain's iterators."""

    def __init__(self, x: np.ndarray, y: np.ndarray, size: int, stop: int | None = None) -> None:
        self._x, self._y, self._size, self._stop = x, y, size, stop
        self._next_index = 0
        self.drawn = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        if self._next_index == self._stop:
            raise StopIteration
        rows = np.random.default_rng(self._next_index).integers(0, len(self._x), self._size)
        self._next_index += 1
        self.drawn += 1
        return self._x[rows], self._y[rows]

    def get_state(self) -> dict[str, int]:
        return {"next_index": self._next_index}

    def set_state(self, state: dict[str, int]) -> None:
        self._next_index = state["next_index"]


class PositionedBytes(Positioned):
    """Likewise with a state of bytes, as grain's DataLoader has."""

    def get_state(self) -> Any:
        return json.dumps(super().get_state()).encode()

    def set_state(self, state: Any) -> None:
        super().set_state(json.loads(state))


class Passes:
    """An iterable whose every pass is a `Positioned` of its own."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __iter__(self) -> Positioned:
        return Positioned(*self._arguments)


class AsyncPasses(Passes):
    """The same, asynchronous and without a state."""

    __iter__ = None  # type: ignore[assignment]

    async def __aiter__(self) -> AsyncIterator[Any]:
        for batch in Positioned(*self._arguments):
            yield batch
