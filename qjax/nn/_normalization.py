"""Normalisation of expectation values between two quantum layers."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from qjax._checks import check_positive_int, check_real
from qjax._typing import Array, ArrayLike, float_dtype
from qjax.errors import ModelError
from qjax.nn._layer import as_input

__all__ = ["QuantumAwareNormalization"]


class QuantumAwareNormalization(nnx.Module):
    """Centres and scales expectation values, and keeps them valid inputs for the next encoding.

    As in batch normalisation, each feature has its mean m and variance v subtracted and divided
    out, those of the batch in training and running averages in evaluation. Three things are made
    for expectation values:

    - **Shot noise.** A value e estimated from N shots of +1 and -1 has the variance
      (1 - <e>**2) / N on top of that of the data, of which (1 - e**2) / (N - 1) is the unbiased
      estimate. Its mean w over the batch is subtracted from the variance, so that features are
      scaled by their signal v. Where there is more noise than signal they are scaled by the noise,
      so that it is not blown up.
    - **A floor.** A feature that hardly varies is not blown up either, by `epsilon`.
    - **Range.** The result is limit * tanh(z / limit), where
      z = (e - m) / sqrt(max(v, w) + epsilon): inside
      (-limit, limit): with the default, pi, an angle that does not wrap around.

    It has no trainable parameters: the angles that follow can shift and turn.

    Args:
        num_features: length of the inputs.
        shots: N, if the values come from shots.
        limit: largest absolute value of the outputs.
        momentum: weight of the old running average at every call in training, in [0, 1).
        epsilon: added to the variance.
        use_running_average: evaluate with running averages and leave them alone; `model.eval()`
            and `model.train()` of Flax switch it.

    Attributes:
        mean: `nnx.BatchStat` of shape (num_features,), running mean, at first 0.
        var: likewise, running variance without shot noise, at first 1; an estimate, which may be
            a little below 0.
        noise: likewise, running variance of the shot noise, at first 0.

    Raises:
        ModelError: if an argument is out of range, or the inputs have another length.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import QuantumAwareNormalization
        >>> norm = QuantumAwareNormalization(1)
        >>> norm(jnp.array([[-0.1], [0.1]])).round(2).tolist()
        [[-0.96...], [0.96...]]

    References:
        Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing
        internal covariate shift, ICML (2015).
    """

    def __init__(
        self,
        num_features: int,
        *,
        shots: int | None = None,
        limit: float = math.pi,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        use_running_average: bool = False,
    ):
        self.num_features = check_positive_int(num_features, name="num_features", error=ModelError)
        self.shots = (
            shots if shots is None else check_positive_int(shots, name="shots", error=ModelError)
        )
        if self.shots == 1:
            raise ModelError("Argument `shots` must be at least 2, but is 1.")
        self.limit = _check_above_zero(limit, "limit")
        self.epsilon = _check_above_zero(epsilon, "epsilon")
        self.momentum = check_real(momentum, name="momentum", error=ModelError)
        if not 0 <= self.momentum < 1:
            raise ModelError(
                f"Argument `momentum` must be at least 0 and below 1, but is {momentum!r}."
            )
        self.use_running_average = bool(use_running_average)
        self.mean = nnx.BatchStat(jnp.zeros(self.num_features, float_dtype()))
        self.var = nnx.BatchStat(jnp.ones(self.num_features, float_dtype()))
        self.noise = nnx.BatchStat(jnp.zeros(self.num_features, float_dtype()))

    def __call__(self, x: ArrayLike) -> Array:
        """Maps expectation values (..., num_features) to (..., num_features) in (-limit, limit)."""
        values = as_input(x)
        if values.ndim == 0 or values.shape[-1] != self.num_features:
            raise ModelError(
                f"Argument `x` must have {self.num_features} features, but has shape "
                f"{values.shape}."
            )
        running = (self.mean, self.var, self.noise)
        mean, var, noise = (statistic[...] for statistic in running)
        if not self.use_running_average:
            mean, var, noise = self._batch_statistics(values)
            keep = self.momentum
            for statistic, found in zip(running, (mean, var, noise), strict=True):
                statistic[...] = keep * statistic[...] + (1 - keep) * jax.lax.stop_gradient(found)
        scaled = (values - mean) / jnp.sqrt(jnp.maximum(var, noise) + self.epsilon)
        return self.limit * jnp.tanh(scaled / self.limit)

    def _batch_statistics(self, values: Array) -> tuple[Array, Array, Array]:
        """Mean, variance without shot noise, and that of the noise, over all axes but the last."""
        samples = values.size // self.num_features
        if samples < 2:
            raise ModelError(
                f"Argument `x` must hold at least 2 samples to train on, but has shape "
                f"{values.shape}. Call `eval()` on the model for one sample."
            )
        axes = tuple(range(values.ndim - 1))
        mean, var = values.mean(axis=axes), values.var(axis=axes)
        if self.shots is None:
            return mean, var, jnp.zeros_like(var)
        noise = (1 - values**2).mean(axis=axes) / (self.shots - 1)
        return mean, var - noise * (samples - 1) / samples, noise


def _check_above_zero(value: float, name: str) -> float:
    number = check_real(value, name=name, error=ModelError)
    if number <= 0:
        raise ModelError(f"Argument `{name}` must be above 0, but is {value!r}.")
    return number
