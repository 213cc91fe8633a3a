"""The service's results, both generations, as outcomes with qubit 0 leftmost.

The older generation numbers outcomes with qubit 0 as the least significant bit; `from_ionq_order`
is the one place where that is turned round. The newer one writes bit strings with qubit 0 first,
which is qjax's order already. The frames that a native circuit leaves behind are rotations about
Z and do not change any outcome.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qjax.ionq._errors import ResponseError
from qjax.ionq._outcomes import Outcomes, ShotTable, check_width

__all__ = ["from_ionq_order", "is_outcomes", "read_outcomes", "read_shots"]

OUTPUT = "output_all"
_LARGEST_DRIFT = 1e-3  # by which probabilities may miss a sum of one


def from_ionq_order(keys: np.ndarray, num_qubits: int) -> np.ndarray:
    """Outcomes with qubit 0 as the least significant bit, as ones with it most significant.

    Args:
        keys: (m,) int64, each of at most n bits.
        num_qubits: n.

    Returns:
        (m,) int64, the n bits of each key in reverse.

    Example:
        >>> from_ionq_order(np.array([1, 3, 4]), 3).tolist()
        [4, 6, 1]
    """
    turned = np.zeros_like(keys)
    for bit in range(num_qubits):
        turned |= ((keys >> bit) & 1) << (num_qubits - 1 - bit)
    return turned


def is_outcomes(payload: Any) -> bool:
    """Whether JSON looks like outcomes of one circuit rather than an error or several circuits."""
    if not isinstance(payload, Mapping) or not payload:
        return False
    return _newer(payload) is not None or all(
        isinstance(v, int | float) and _is_number(k) for k, v in payload.items()
    )


def _is_number(text: Any) -> bool:
    """Whether a key or an entry is a whole number in the digits 0 to 9, not absurdly long."""
    return re.fullmatch(r"[0-9]{1,40}", str(text)) is not None


def _indices(numbers: Iterable[Any], num_qubits: int) -> np.ndarray:
    """The service's numbers of outcomes, in qjax's order."""
    check_width(num_qubits)
    values = [int(number) for number in numbers]
    largest = max(values, default=0)
    if largest >= 1 << num_qubits:
        raise ResponseError(
            f"The results hold the outcome {largest}, which {num_qubits} qubits cannot give."
        )
    return from_ionq_order(np.array(values, np.int64), num_qubits)


def read_outcomes(
    payload: Any,
    *,
    num_qubits: int | None = None,
    shots: int | None = None,
    counted: bool = False,
    register: str = OUTPUT,
) -> Outcomes:
    """Probabilities or a histogram of one circuit.

    Args:
        payload: {"0": 0.5, "3": 0.5}, or bit strings under registers.
        num_qubits: of the circuit; needed for the older form, whose keys do not tell.
        shots: behind probabilities; None if they are exact.
        counted: whether the numbers are counts.
        register: which one, of the newer form.

    Raises:
        ResponseError: if it is neither form, or the numbers are no probabilities.
    """
    registers = _newer(payload)
    if registers is not None:
        table = registers.get(register)
        if not isinstance(table, Mapping):
            known = ", ".join(sorted(registers))
            raise ResponseError(f"The results have no register {register!r}, but: {known}.")
        texts = [str(key).replace(" ", "") for key in table]
        if not texts or {len(t) for t in texts} != {len(texts[0])} or set("".join(texts)) - {*"01"}:
            raise ResponseError(f"The outcomes of register {register!r} are not bit strings.")
        width = len(texts[0])
        check_width(width)
        indices = np.array([int(text, 2) for text in texts], np.int64)
        values = list(table.values())
    else:
        if not is_outcomes(payload):
            raise ResponseError("The results are not a table of outcomes.")
        if num_qubits is None:
            raise ResponseError(
                "The service does not say how many qubits these results have. Pass `num_qubits`."
            )
        width = num_qubits
        indices, values = _indices(payload, width), list(payload.values())
    weights = _weights(values, counted)
    total = int(weights.sum()) if counted else shots
    return Outcomes.from_weights(width, indices, weights, total)


def _newer(payload: Any) -> Mapping[str, Any] | None:
    """The registers, if this is the newer form."""
    if isinstance(payload, Mapping):
        for name in ("probabilities", "histogram"):
            inner = payload.get(name)
            if isinstance(inner, Mapping) and isinstance(inner.get("registers"), Mapping):
                return inner["registers"]
    return None


def _weights(values: list[Any], counted: bool) -> np.ndarray:
    if not all(isinstance(v, int | float) and -1e-9 <= v < 1e300 for v in values):
        raise ResponseError("The results hold a weight that is not a number of at least zero.")
    weights = np.maximum(np.array(values, np.float64), 0.0)
    if counted and (weights != np.round(weights)).any():
        raise ResponseError("The histogram holds a count that is not a whole number.")
    if not counted and abs(weights.sum() - 1) > _LARGEST_DRIFT:
        raise ResponseError(f"The probabilities add up to {weights.sum():.6f}, not to one.")
    return weights


def read_shots(payload: Any, *, num_qubits: int | None = None) -> ShotTable:
    """Every shot of one circuit.

    Args:
        payload: ["0", "3", ...], or {"shots": [{"registers": {"c": [0, 1], ...}}, ...]}.
        num_qubits: of the circuit; needed for the older form, whose numbers do not tell.

    Raises:
        ResponseError: if it is neither form.
    """
    rows = payload.get("shots") if isinstance(payload, Mapping) else None
    if isinstance(rows, list) and rows:
        return _read_registers(rows)
    if not isinstance(payload, list) or not payload:
        raise ResponseError("The results are not a list of shots.")
    if num_qubits is None:
        raise ResponseError(
            "The service does not say how many qubits these shots have. Pass `num_qubits`."
        )
    if not all(_is_number(value) for value in payload):
        raise ResponseError("The results hold a shot that is not a whole number.")
    indices = _indices(payload, num_qubits)
    places = np.arange(num_qubits - 1, -1, -1)
    return ShotTable(((indices[:, None] >> places) & 1).astype(np.uint8), {})


def _read_registers(rows: list[Any]) -> ShotTable:
    first = rows[0].get("registers") if isinstance(rows[0], Mapping) else None
    if not isinstance(first, Mapping) or not first:
        raise ResponseError("The results hold a shot without registers.")
    try:
        tables = {
            name: np.array([row["registers"][name] for row in rows], np.uint8) for name in first
        }
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ResponseError("The shots do not all have the same registers of bits.") from None
    if any(table.ndim != 2 or (table > 1).any() for table in tables.values()):
        raise ResponseError("The registers of the shots must be lists of bits.")
    declared = {name: table for name, table in tables.items() if name != OUTPUT}
    if OUTPUT in tables:
        return ShotTable(tables[OUTPUT], declared)
    if len(declared) != 1:
        raise ResponseError(f"The shots have no register {OUTPUT!r}.")
    return ShotTable(next(iter(declared.values())), declared)
