"""A quantum and a classical way to the same outputs, mixed or chosen between."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from qjax._checks import check_choice, check_real
from qjax._typing import Array, ArrayLike, float_dtype, is_concrete
from qjax.errors import ModelError
from qjax.nn._layer import as_input, output_of

__all__ = ["AdaptiveChoice", "AdaptiveLayer", "ChoiceRecord"]

_MODES = ("quantum", "classical", "learned", "auto")
_KEPT = 64  # choices that the record holds
_ROUNDING = 1e-5  # of sums in single precision


class ChoiceRecord(nnx.Variable):
    """An `nnx.Variable` that holds what an `AdaptiveLayer` chose; never trained."""


class AdaptiveChoice(NamedTuple):
    """One choice and what it was made from.

    Attributes:
        quantum: whether the quantum layer was chosen.
        cost_usd: what a call of it would cost; None if that was not given.
        queue_seconds: how long it would wait; likewise.
        standard_error: of its outputs; likewise.
    """

    quantum: bool
    cost_usd: float | None
    queue_seconds: float | None
    standard_error: float | None


class AdaptiveLayer(nnx.Module):
    """Gives the outputs of a quantum layer, of a classical one, or a mixture of both.

    Modes:

    - `quantum`, `classical`: always that one.
    - `learned`: w quantum(x) + (1 - w) classical(x), w = 1 / (1 + exp(-logit)) being trained.
    - `auto`: one of the two, as last decided by `choose` from cost, queue and shot noise. Until
      `choose` is called it is the quantum one. The choice is part of the state, so it takes effect
      in compiled code without compiling again, and the record of choices is saved with the model.

    Args:
        quantum: any module, as a rule a quantum layer.
        classical: a module with outputs of the same shape.
        mode: "quantum", "classical", "learned" or "auto".
        initial_weight: w at the start, in (0, 1).
        budget_usd: for "auto": what all calls that were decided for may cost together.
        max_queue_seconds: for "auto": longest wait.
        max_standard_error: for "auto": largest standard error of the quantum outputs.

    Attributes:
        logit: `nnx.Param` of shape (), for "learned".

    Raises:
        ModelError: if an argument is out of range, or the outputs have different shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from qjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> layer = nn.AdaptiveLayer(
        ...     nn.QuantumPooling(4), nnx.Linear(4, 2, rngs=rngs), "auto", max_queue_seconds=60
        ... )
        >>> layer.choose(queue_seconds=300.0).quantum
        False
        >>> layer(jnp.zeros(4)).tolist()  # the linear layer's
        [0.0, 0.0]
    """

    def __init__(
        self,
        quantum: nnx.Module,
        classical: nnx.Module,
        mode: str = "learned",
        *,
        initial_weight: float = 0.5,
        budget_usd: float | None = None,
        max_queue_seconds: float | None = None,
        max_standard_error: float | None = None,
    ):
        check_choice(mode, _MODES, name="mode", error=ModelError)
        for name, module in (("quantum", quantum), ("classical", classical)):
            if not isinstance(module, nnx.Module):
                raise ModelError(
                    f"Argument `{name}` must be an nnx.Module, but is {type(module).__name__}."
                )
        initial_weight = check_real(initial_weight, name="initial_weight", error=ModelError)
        if not 0 < initial_weight < 1:
            raise ModelError(
                "Argument `initial_weight` must be strictly between 0 and 1, "
                f"but is {initial_weight!r}."
            )
        self.quantum, self.classical, self.mode = quantum, classical, mode
        self.initial_weight = initial_weight
        limits = {
            "budget_usd": budget_usd,
            "max_queue_seconds": max_queue_seconds,
            "max_standard_error": max_standard_error,
        }
        for name, value in limits.items():
            if value is not None and mode != "auto":
                raise ModelError(
                    f"Argument `{name}` must not be given with mode={mode!r}, which chooses "
                    f"nothing, but is {value!r}. Use mode='auto'."
                )
            setattr(self, name, None if value is None else _check_quantity(value, name))
        if mode == "learned":
            logit = math.log(initial_weight / (1 - initial_weight))
            self.logit = nnx.Param(jnp.asarray(logit, float_dtype()))
        if mode == "auto":
            self.use_quantum = ChoiceRecord(jnp.asarray(True))
            self.num_choices = ChoiceRecord(jnp.asarray(0))
            self.spent_usd = ChoiceRecord(jnp.asarray(0.0, float_dtype()))
            columns = len(AdaptiveChoice._fields)
            self.record = ChoiceRecord(jnp.full((_KEPT, columns), jnp.nan, float_dtype()))

    @property
    def weight(self) -> Array:
        """Weight of the quantum layer in the outputs, in [0, 1]."""
        if self.mode == "learned":
            return jax.nn.sigmoid(self.logit[...])
        if self.mode == "auto":
            return self.use_quantum[...].astype(float_dtype())
        return jnp.asarray(float(self.mode == "quantum"), float_dtype())

    def choose(
        self,
        *,
        cost_usd: float | None = None,
        queue_seconds: float | None = None,
        standard_error: float | None = None,
    ) -> AdaptiveChoice:
        """Decides which layer the next calls use, and records it; for mode "auto", outside of jit.

        The quantum layer is chosen if nothing that is limited exceeds its limit: the cost with all
        that was spent on earlier choices the budget, the wait and the standard error their
        maxima.

        Args:
            cost_usd: what the quantum layer would cost until the next choice; with a budget.
            queue_seconds: how long it would wait; with `max_queue_seconds`.
            standard_error: of its outputs, 1 / sqrt(shots) at most; with `max_standard_error`.

        Raises:
            ModelError: if the mode is another, or a limit has no reading to compare with.
        """
        if self.mode != "auto":
            raise ModelError(f"Only mode='auto' chooses, but `mode` is {self.mode!r}.")
        readings = {
            "cost_usd": (cost_usd, "budget_usd", self._spent()),
            "queue_seconds": (queue_seconds, "max_queue_seconds", 0.0),
            "standard_error": (standard_error, "max_standard_error", 0.0),
        }
        quantum = True
        numbers: dict[str, Any] = dict.fromkeys(readings)
        for name, (value, limit_name, already) in readings.items():
            limit = getattr(self, limit_name)
            if value is not None:
                numbers[name] = _check_quantity(value, name)
            elif limit is not None:
                raise ModelError(
                    f"Argument `{name}` must be given, since the layer has {limit_name}={limit}."
                )
            if limit is not None and value is not None:
                quantum = quantum and already + numbers[name] <= limit * (1 + _ROUNDING)
        choice = AdaptiveChoice(quantum, **numbers)
        self._write(choice)
        return choice

    def _spent(self) -> float:
        if not is_concrete(self.spent_usd[...]):
            raise ModelError("`choose` runs on the host and cannot be traced. Call it before jit.")
        return float(self.spent_usd[...])

    def _write(self, choice: AdaptiveChoice) -> None:
        row = [float(choice.quantum), *(np.nan if v is None else float(v) for v in choice[1:])]
        place = int(self.num_choices[...]) % _KEPT
        self.record[...] = self.record[...].at[place].set(np.asarray(row))
        self.num_choices[...] = self.num_choices[...] + 1
        self.use_quantum[...] = jnp.asarray(choice.quantum)
        if choice.quantum and choice.cost_usd is not None:
            self.spent_usd[...] = self.spent_usd[...] + choice.cost_usd

    def choices(self) -> list[AdaptiveChoice]:
        """The last choices, at most 64, oldest first; none in other modes than "auto"."""
        if self.mode != "auto":
            return []
        count = int(self.num_choices[...])
        rows = np.asarray(self.record[...])
        ordered = [rows[i % _KEPT] for i in range(max(0, count - _KEPT), count)]
        return [
            AdaptiveChoice(bool(row[0]), *(None if np.isnan(v) else float(v) for v in row[1:]))
            for row in ordered
        ]

    def __call__(self, x: ArrayLike) -> Array:
        """Maps (..., features) to the outputs of the layers, (..., outputs)."""
        values = as_input(x)
        if self.mode == "learned":
            outputs = self.quantum(values), self.classical(values)
            _check_shapes(*outputs)
            return self.weight * outputs[0] + (1 - self.weight) * outputs[1]
        chosen = self.mode == "quantum" if self.mode != "auto" else self.use_quantum[...]
        if not is_concrete(chosen):
            _check_shapes(output_of(self.quantum, values), output_of(self.classical, values))
            modules = (self.quantum, self.classical)
            return nnx.cond(chosen, lambda q, c, v: q(v), lambda q, c, v: c(v), *modules, values)
        if not chosen:
            return self.classical(values)
        result = self.quantum(values)
        _check_shapes(result, output_of(self.classical, values))
        return result


def _check_shapes(quantum: Any, classical: Any) -> None:
    if quantum.shape != classical.shape:
        raise ModelError(
            "Arguments `quantum` and `classical` must give outputs of one shape, but give "
            f"{quantum.shape} and {classical.shape}."
        )


def _check_quantity(value: Any, name: str) -> float:
    number = check_real(value, name=name, error=ModelError)
    if number < 0:
        raise ModelError(f"Argument `{name}` must be at least 0, but is {value!r}.")
    return number
