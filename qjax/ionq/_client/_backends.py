"""Machines and their measurements as the service tells of them, as frozen values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qjax.ionq._client._fields import Fields, Raw
from qjax.ionq._errors import ResponseError

__all__ = [
    "Backend",
    "Characterization",
    "CharacterizationPage",
]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A machine or the simulator.

    Attributes:
        name: such as "qpu.forte-1".
        status: "available", "unavailable" or "retired".
        qubits: how many.
        degraded: whether it runs below its usual quality.
        average_queue_ms: milliseconds; a poor guide.
        last_updated: when this was written.
        characterization_id: of its newest characterisation.
        gates: of the gateset `qis`.
        native_gates: of the gateset `native`.
        error_mitigations: that it offers.
        noise_models: of the simulator.
        location: where it stands.
        raw: the whole JSON.
    """

    name: str
    status: str
    qubits: int
    degraded: bool = False
    average_queue_ms: float | None = None
    last_updated: datetime | None = None
    characterization_id: str | None = None
    gates: tuple[str, ...] = ()
    native_gates: tuple[str, ...] = ()
    error_mitigations: tuple[str, ...] = ()
    noise_models: tuple[str, ...] = ()
    location: str | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "Backend":
        """Reads the JSON."""
        fields = Fields(data, "backend")
        return cls(
            name=fields.text("backend"),
            status=fields.text("status"),
            qubits=fields.integer("qubits"),
            degraded=fields.flag("degraded"),
            average_queue_ms=fields.real_or_none("average_queue_time"),
            last_updated=fields.time_or_none("last_updated"),
            characterization_id=fields.text_or_none("characterization_id"),
            gates=fields.texts("supported_gates"),
            native_gates=fields.texts("supported_native_gates"),
            error_mitigations=fields.texts("supported_error_mitigations"),
            noise_models=fields.texts("noise_models"),
            location=fields.text_or_none("location"),
            raw=fields.data,
        )

    @property
    def is_qpu(self) -> bool:
        """Whether it is a machine rather than the simulator."""
        return self.name.startswith("qpu")


def _medians(name: str) -> Callable[[Fields], dict[str, float]]:
    """Reads {"1q": {"median": 0.99}} or {"1q": 0.99}, dropping what has no number."""

    def read(fields: Fields) -> dict[str, float]:
        found: dict[str, float] = {}
        for key, entry in fields.mapping(name).items():
            value = entry.get("median") if isinstance(entry, Mapping) else entry
            if isinstance(value, int | float):
                found[key] = float(value)
        return found

    return read


def _pair(entry: Any) -> tuple[int, int]:
    """Two qubits that a gate can join."""
    good = isinstance(entry, list) and len(entry) == 2 and all(isinstance(q, int) for q in entry)
    if not good:
        raise ResponseError(
            "The field `connectivity` of the service's characterisation must be a list of pairs of "
            f"qubits, but holds {str(entry)[:40]!r}."
        )
    return entry[0], entry[1]


@dataclass(frozen=True, kw_only=True)
class Characterization:
    """A day's measurement of a machine.

    Attributes:
        id: of the record.
        backend: which machine.
        date: when.
        qubits: how many.
        connectivity: pairs of qubits that a two-qubit gate can join.
        fidelity: medians, by "spam", "1q" and "2q".
        timing: seconds, by "readout", "reset", "1q", "2q", "t1" and "t2".
        raw: the whole JSON.
    """

    id: str
    backend: str
    date: datetime | None
    qubits: int | None
    connectivity: tuple[tuple[int, int], ...] = field(repr=False)
    fidelity: Mapping[str, float]
    timing: Mapping[str, float]
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> "Characterization":
        """Reads the JSON."""
        fields = Fields(data, "characterisation")
        return cls(
            id=fields.text("id"),
            backend=fields.text("backend"),
            date=fields.time_or_none("date"),
            qubits=fields.integer_or_none("qubits"),
            connectivity=fields.each("connectivity", _pair),
            fidelity=_medians("fidelity")(fields),
            timing=_medians("timing")(fields),
            raw=fields.data,
        )


@dataclass(frozen=True, kw_only=True)
class CharacterizationPage:
    """Some characterisations, newest first.

    Attributes:
        characterizations: of this page.
        pages: how many pages there are.
    """

    characterizations: tuple[Characterization, ...]
    pages: int | None = None

    @classmethod
    def from_json(cls, data: Any) -> "CharacterizationPage":
        """Reads the JSON."""
        fields = Fields(data, "characterisations")
        records = fields.each("characterizations", Characterization.from_json)
        return cls(characterizations=records, pages=fields.integer_or_none("pages"))
