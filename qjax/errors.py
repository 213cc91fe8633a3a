"""Every exception that qjax raises on purpose.

Each class also derives from the built-in exception that a caller would expect, so that
``except ValueError`` keeps working; catch `QjaxError` to catch them all.
"""

__all__ = [
    "CacheError",
    "CircuitError",
    "DataError",
    "EncodingError",
    "MemoryLimitError",
    "ModelError",
    "ObservableError",
    "QjaxError",
    "RunError",
    "StateError",
]


class QjaxError(Exception):
    """Base class of all errors raised by qjax.

    Example:
        >>> import qjax as qj
        >>> try:
        ...     qj.CX(0, 0)
        ... except qj.QjaxError as error:
        ...     print(error)
        Argument `qubits` must be distinct, but is (0, 0).
    """


class CircuitError(QjaxError, ValueError):
    """An operation or a circuit that cannot be built or run as asked."""


class ObservableError(QjaxError, ValueError):
    """An observable that is malformed, not Hermitian or does not fit its circuit."""


class EncodingError(QjaxError, ValueError):
    """Classical data that cannot be encoded into a quantum state as asked."""


class StateError(QjaxError, ValueError):
    """A state vector, density matrix or probability vector of the wrong shape or norm."""


class MemoryLimitError(QjaxError, MemoryError):
    """A simulation that needs more memory than there is, refused before anything is allocated."""


class ModelError(QjaxError, ValueError):
    """A layer or model whose configuration or input does not fit."""


class DataError(QjaxError, OSError):
    """A dataset that is missing, truncated or not what it should be."""


class RunError(QjaxError, OSError):
    """A training run, checkpoint or run directory that cannot be written, read or resumed."""


class CacheError(QjaxError, OSError):
    """A folder of compiled programs that cannot be written."""
