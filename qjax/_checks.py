"""Argument checks: one function per kind of argument, each raising one clear message.

What is static (qubit numbers, shapes) is checked when an object is built. What is a number
is checked at once where it is concrete; inside a transformation it is checked only under
`qjax.checked`. Elsewhere not even an effect of the check is left in the program, which would send
every call of a jitted function through Python instead of JAX's compiled dispatch.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from operator import index
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from qjax._typing import is_concrete
from qjax.errors import CircuitError, QjaxError

P = ParamSpec("P")
R = TypeVar("R")

MAX_NUM_QUBITS = 40

# Part of the key of JAX's caches, so that what was traced without checks is traced again with them.
_checks_traced = jax.make_user_context(False)


def check_qubits(qubits: Any, *, name: str = "qubits") -> tuple[int, ...]:
    """Returns `qubits` as a tuple of distinct non-negative ints."""
    if isinstance(qubits, Sequence | np.ndarray | range):
        values = tuple(qubits)
    else:
        values = (qubits,)
    try:
        result = tuple(index(q) for q in values)
    except TypeError:
        raise CircuitError(
            f"Argument `{name}` must hold integers, but is {qubits!r}. "
            "Gates take their angles first, then their qubits: RX(theta, 0)."
        ) from None
    if any(q < 0 for q in result):
        raise CircuitError(f"Argument `{name}` must not be negative, but is {qubits!r}.")
    if len(set(result)) != len(result):
        raise CircuitError(f"Argument `{name}` must be distinct, but is {result!r}.")
    return result


def check_qubits_in_range(qubits: tuple[int, ...], num_qubits: int, *, what: str) -> None:
    """Raises unless every qubit exists in a register of `num_qubits`."""
    if any(q >= num_qubits for q in qubits):
        raise CircuitError(
            f"Argument `qubits` of {what} must be below num_qubits={num_qubits}, but is {qubits!r}."
        )


def check_num_qubits(num_qubits: Any) -> int:
    """Returns `num_qubits` as an int between 1 and `MAX_NUM_QUBITS`."""
    try:
        value = index(num_qubits)
    except TypeError:
        raise CircuitError(
            f"Argument `num_qubits` must be an integer, but is {num_qubits!r}."
        ) from None
    if not 1 <= value <= MAX_NUM_QUBITS:
        raise CircuitError(
            f"Argument `num_qubits` must be between 1 and {MAX_NUM_QUBITS}, but is {value}."
        )
    return value


def check_choice(value: Any, choices: Sequence[str], *, name: str, error: type = CircuitError):
    """Raises unless `value` is one of `choices`."""
    if value not in choices:
        options = ", ".join(repr(choice) for choice in choices)
        raise error(f"Argument `{name}` must be one of {options}, but is {value!r}.")


def check_positive_int(value: Any, *, name: str, error: type = CircuitError) -> int:
    """Returns `value` as an int of at least 1."""
    try:
        result = index(value)
    except TypeError:
        raise error(f"Argument `{name}` must be an integer, but is {value!r}.") from None
    if result < 1:
        raise error(f"Argument `{name}` must be at least 1, but is {result}.")
    return result


def check_real(value: Any, *, name: str, error: type = CircuitError) -> float:
    """Returns a real number, Python's, NumPy's or JAX's, as a finite float."""
    try:
        result = np.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError):
        result = np.nan
    if not np.isfinite(result):
        raise error(f"Argument `{name}` must be a finite number, but is {value!r}.")
    return result


def check_numbers(
    values: Any, predicate: Callable[[Any], Any], message: str, error: type[QjaxError]
) -> None:
    """Raises `error(message)` unless `predicate(values)` holds for all numbers in `values`.

    Concrete values raise at once. Traced values raise only under `qjax.checked`.

    Args:
        values: an array, or a tuple of arrays.
        predicate: called with NumPy arrays or with tracers, as `values` are; returns booleans.
        message: the text of the error, without braces.
        error: the class to raise.
    """
    parts = values if isinstance(values, tuple) else (values,)
    if all(is_concrete(part) for part in parts):
        concrete = tuple(np.asarray(part) for part in parts)
        if not np.all(predicate(concrete if isinstance(values, tuple) else concrete[0])):
            raise error(message)
    elif _checks_traced.value:
        from jax.experimental import checkify  # costs import time; only traced checks need it

        checkify.check(jnp.all(predicate(values)), message)


def check_finite(values: Any, *, name: str, error: type[QjaxError]) -> None:
    """Raises unless every number in `values` is finite."""
    check_numbers(
        values,
        lambda v: abs(v) < np.inf,  # False for NaN as well
        f"Argument `{name}` must be finite, but holds NaN or infinity.",
        error,
    )


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Makes the value checks inside `function` raise even under jit, vmap and grad.

    Values that are known only inside a transformation cannot raise by themselves: there a zero
    vector encodes as |0...0>, a post-selection of probability zero gives a zero state, and NaN
    travels through. `checked` reports them, at the cost of running the checks.

    Args:
        function: any function that calls qjax; it may be jitted or batched itself.

    Returns:
        A function of the same signature.

    Raises:
        QjaxError: from the returned function, with the text of the first check that failed.

    Example:
        >>> import jax, qjax as qj
        >>> @jax.jit
        ... def encode(x):
        ...     return qj.statevector(qj.amplitude_encoding(x))
        >>> encode(jax.numpy.zeros(2)).real.tolist()
        [1.0, 0.0]
        >>> try:
        ...     qj.checked(encode)(jax.numpy.zeros(2))
        ... except qj.QjaxError as error:
        ...     print(error)
        Argument `x` must not be the zero vector, which has no direction to encode.
    """
    from jax.experimental import checkify

    transformed = checkify.checkify(function, errors=checkify.user_checks)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _checks_traced(True):
            error, result = transformed(*args, **kwargs)
        text = error.get()
        if text is not None:
            raise QjaxError(text.removesuffix(" (`check` failed)"))
        return result

    return run
