"""The columns of a metrics dataset: their names, types and version, and rows as Arrow tables.

A column is only ever added, never renamed or given another meaning: files of every version are
read with the newest columns, with nulls where an old file has none. When rows are committed, and
where to, is decided elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from operator import index
from threading import Lock
from typing import Any, NamedTuple, get_type_hints

import jax.numpy as jnp
import pyarrow as pa

from qjax.errors import RunError

__all__ = [
    "METRICS_SCHEMA",
    "METRICS_VERSION",
    "VERSION_KEY",
    "MetricColumns",
    "TrainingMetrics",
    "in_newest_schema",
]

METRICS_VERSION = 2
VERSION_KEY = b"qjax.metrics.version"


@dataclass(frozen=True, kw_only=True)
class TrainingMetrics:
    """One row of metrics: of a step, or (with step -1) of an epoch.

    What is left out is null. Times are in milliseconds, memory in 10**6 bytes.

    Attributes:
        epoch: counted from 1.
        step: counted from 1 over the whole run; -1 in the row of an epoch.
        timestamp: when, with its time zone; filled in when the row is logged.
        train_loss: cross-entropy in nats (or what the learner minimises).
        val_loss: the same on the validation set.
        train_accuracy: share of the training samples that are classified rightly.
        val_accuracy: the same on the validation set.
        grad_norm: Euclidean norm of the gradient over all parameters.
        grad_max: largest entry of the gradient.
        grad_min: smallest entry of the gradient.
        circuits_executed: how many circuits ran; on a simulator, one per sample.
        batch_time_ms: wall time of the step.
        throughput_samples_per_sec: samples per second of wall time.
        circuit_execution_time_ms: time that circuits ran.
        qubits_used: qubits of the circuits.
        shots_per_circuit: shots of each circuit; null where expectations are exact.
        backend: what ran the circuits.
        queue_time_ms: time that circuits waited for the backend.
        cost_usd: price in US dollars.
        credits_used: price in the backend's own unit.
        cpu_percent: processor time of this process over wall time; 100 is one core. This column
            and the next two are measured when rows are committed, and stand in the last of them.
        memory_mb: resident memory of this process.
        device_memory_mb: memory in use on the devices; null where they do not tell.
        gradient_norms: norm of the gradient of each group of parameters; a column
            ``grad_norm/<group>`` for each.
        free: further columns: numbers and strings.

    Example:
        >>> from qjax.storage import TrainingMetrics
        >>> row = TrainingMetrics(
        ...     epoch=1, step=3, train_loss=0.7, gradient_norms={"angles": 0.1}, free={"rate": 0.05}
        ... )
        >>> row.as_row()
        {'epoch': 1, 'step': 3, 'train_loss': 0.7, 'grad_norm/angles': 0.1, 'rate': 0.05}
    """

    epoch: int
    step: int
    timestamp: datetime | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    train_accuracy: float | None = None
    val_accuracy: float | None = None
    grad_norm: float | None = None
    grad_max: float | None = None
    grad_min: float | None = None
    circuits_executed: int | None = None
    batch_time_ms: float | None = None
    throughput_samples_per_sec: float | None = None
    circuit_execution_time_ms: float | None = None
    qubits_used: int | None = None
    shots_per_circuit: int | None = None
    backend: str | None = None
    queue_time_ms: float | None = None
    cost_usd: float | None = None
    credits_used: float | None = None
    cpu_percent: float | None = None
    memory_mb: float | None = None
    device_memory_mb: float | None = None
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    free: Mapping[str, float | str] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """Returns the columns that are not null, by name."""
        columns = {name: getattr(self, name) for name in METRICS_SCHEMA.names}
        row = {name: value for name, value in columns.items() if value is not None}
        row |= {f"grad_norm/{group}": norm for group, norm in self.gradient_norms.items()}
        return row | dict(self.free)


class _Kind(NamedTuple):
    """What a column holds: its Arrow type, Python types that need no check, and the conversion.

    `convert` makes of a value a `plain` one, or raises.
    """

    text: str
    arrow: pa.DataType
    ready: frozenset[type]
    plain: type
    convert: Any


def _as_integer(value: Any, bits: int = 64) -> int:
    if isinstance(value, bool):
        raise TypeError
    number = index(value)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise OverflowError
    return number


def _as_number(value: Any) -> float:
    if isinstance(value, str):  # float() would read it
        raise TypeError
    return float(value)


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # a lone surrogate cannot be
    return str(value)


def _as_time(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError
    return value


_NULL = frozenset({type(None)})

_INTEGER = _Kind("an integer of 64 bits", pa.int64(), _NULL, int, _as_integer)
_EPOCH = _Kind("an integer of 32 bits", pa.int32(), _NULL, int, partial(_as_integer, bits=32))
_NUMBER = _Kind("a number", pa.float64(), _NULL | {float}, float, _as_number)
_TEXT = _Kind("a string", pa.string(), _NULL, str, _as_text)
_TIME = _Kind("a time with its zone", pa.timestamp("us", tz="UTC"), _NULL, datetime, _as_time)

_KINDS = {
    int: _INTEGER,
    int | None: _INTEGER,
    float | None: _NUMBER,
    str | None: _TEXT,
    datetime | None: _TIME,
}


def _fixed_kinds() -> dict[str, _Kind]:
    hints = get_type_hints(TrainingMetrics)
    names = (item.name for item in fields(TrainingMetrics) if hints[item.name] in _KINDS)
    return {name: _KINDS[hints[name]] for name in names} | {"epoch": _EPOCH}


_FIXED = _fixed_kinds()

METRICS_SCHEMA = pa.schema(
    [(name, kind.arrow) for name, kind in _FIXED.items()],
    metadata={VERSION_KEY: str(METRICS_VERSION).encode()},
)


class MetricColumns:
    """The columns of one dataset: those of `METRICS_SCHEMA` and the free ones met so far.

    A free column takes its type, number or string, from its first value and keeps it.

    Args:
        schema: columns to begin with, as a part of the dataset has them.
    """

    def __init__(self, schema: pa.Schema = METRICS_SCHEMA) -> None:
        free = {item.name: _free_kind_of(item) for item in schema if item.name not in _FIXED}
        self._kinds = _FIXED | free
        self._lock = Lock()

    def check(self, row: Mapping[str, Any]) -> None:
        """Raises unless `row` fits, and takes note of its new columns.

        Arrays of shape () are let through without waiting for their value.

        Raises:
            RunError: if a value has another type than its column, or `epoch` or `step` is missing.
        """
        kinds = self._kinds
        new = {}
        for name, value in row.items():
            kind = kinds.get(name)
            if kind is None:
                if value is not None:
                    new[name] = value
            elif type(value) not in kind.ready:
                _check_value(name, value, kind)
        if row.get("epoch") is None or row.get("step") is None:
            raise RunError(f"Argument `row` must have `epoch` and `step`, but has {list(row)}.")
        if new:
            self._add(new)

    def plain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Converts a row that was checked to Python's numbers, strings and times; nulls go.

        Raises:
            Exception: whatever the value of an array raises that could not be computed.

        Example:
            >>> import numpy as np
            >>> from qjax.storage import MetricColumns
            >>> columns = MetricColumns()
            >>> row = {"epoch": 1, "step": np.int64(3), "val_loss": None, "rate": np.float32(0.5)}
            >>> columns.check(row)
            >>> columns.plain(row)
            {'epoch': 1, 'step': 3, 'rate': 0.5}
        """
        kinds = self._kinds
        return {
            name: value if type(value) is (kind := kinds[name]).plain else kind.convert(value)
            for name, value in row.items()
            if value is not None
        }

    def as_table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Converts rows that were checked; columns that a row leaves out are null.

        Raises:
            Exception: whatever the value of an array raises that could not be computed.
        """
        kinds = self._kinds
        arrays = [_as_array(rows, name, kind) for name, kind in kinds.items()]
        schema = pa.schema(
            [(name, kind.arrow) for name, kind in kinds.items()], METRICS_SCHEMA.metadata
        )
        return pa.table(arrays, schema=schema)

    def _add(self, values: Mapping[str, Any]) -> None:
        with self._lock:  # another thread may add the same
            kinds = dict(self._kinds)
            for name, value in values.items():
                kind = kinds.setdefault(name, _free_kind(name, value))
                _check_value(name, value, kind)
            self._kinds = kinds


def in_newest_schema(table: pa.Table) -> pa.Table:
    """Gives a part of any version the columns of `METRICS_SCHEMA`, and its free ones behind."""
    fixed = [
        table[item.name].cast(item.type)
        if item.name in table.column_names
        else pa.nulls(table.num_rows, item.type)
        for item in METRICS_SCHEMA
    ]
    free = [item for item in table.schema if item.name not in _FIXED]
    schema = pa.schema([*METRICS_SCHEMA, *free], METRICS_SCHEMA.metadata)
    return pa.table([*fixed, *(table[item.name] for item in free)], schema=schema)


def _as_array(rows: Sequence[Mapping[str, Any]], name: str, kind: _Kind) -> pa.Array:
    ready, convert = kind.ready, kind.convert
    values = [row.get(name) for row in rows]
    if values.count(None) == len(values):
        return pa.nulls(len(values), kind.arrow)
    return pa.array([v if type(v) in ready else convert(v) for v in values], kind.arrow)


def _free_kind_of(item: pa.Field) -> _Kind:
    return _TEXT if item.type == pa.string() else _NUMBER


def _free_kind(name: Any, value: Any) -> _Kind:
    if not isinstance(name, str) or not name or not _is_unicode(name):
        raise RunError(f"Argument `row` must have names for columns, but has {name!r}.")
    return _TEXT if isinstance(value, str) else _NUMBER


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _check_value(name: str, value: Any, kind: _Kind) -> None:
    if kind is _NUMBER and _is_array_of_one_number(value):
        return
    try:
        kind.convert(value)
    except (TypeError, ValueError, OverflowError):
        raise RunError(
            f"Column `{name}` of `row` must hold {kind.text}, but holds {value!r}."
        ) from None


def _is_array_of_one_number(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    if dtype is None or value.shape != ():
        return False
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer))
