"""Executors for layers: where expectation values come from, if not from the exact simulator."""

from collections.abc import Sequence

from flax import nnx

from qjax._checks import check_positive_int
from qjax._typing import Array
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.nn._layer import Executor, kept_executor
from qjax.observables import PauliSum
from qjax.sim import expectation
from qjax.transforms import NoiseModel, dilate, insert_noise

__all__ = ["DilationExecutor", "NoisyExecutor", "ShotExecutor"]


class NoisyExecutor(nnx.Module):
    """Inserts a noise model into every circuit before it runs.

    Args:
        noise: the model. Its strengths are part of the state of the layer, but are not trained.
        executor: what runs the noisy circuit; the exact simulator (a density matrix) if not given.

    Raises:
        ModelError: if `noise` is no `NoiseModel`.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> from qjax.nn import AmplitudeEncoding, NoisyExecutor
        >>> noise = qj.NoiseModel().readout(0.1, 0.1)
        >>> layer = AmplitudeEncoding(1, ("Z",), executor=NoisyExecutor(noise))
        >>> layer(jnp.array([1.0, 0.0])).round(3).tolist()
        [0.8...]
    """

    def __init__(self, noise: NoiseModel, executor: Executor | None = None):
        if not isinstance(noise, NoiseModel):
            raise ModelError(
                f"Argument `noise` must be a qjax.NoiseModel, but is {type(noise).__name__}."
            )
        self.noise = nnx.data(noise)
        self.executor = kept_executor(executor)

    @property
    def shots(self) -> int | None:
        """Of the executor that runs the noisy circuit; None if it has no such number."""
        return getattr(self.executor, "shots", None)

    def __call__(self, circuit: Circuit, observables: Sequence[PauliSum]) -> Array:
        """Expectation values (..., m) of m observables."""
        return (self.executor or expectation)(insert_noise(circuit, self.noise), observables)


class ShotExecutor(nnx.Module):
    """Estimates expectation values from a number of shots, fresh ones at every call.

    Every basis is measured with `shots` shots of its own. The derivative has no shot noise; see
    `qjax.expectation` with method="shots". Like `nnx.Dropout` the executor counts its keys in a
    stream of random numbers, so a layer that holds it is compiled by `nnx.jit`, or split into its
    structure and its state; `jax.jit` of the layer itself cannot move the stream. Every sample of a
    batch has shots of its own; under `nnx.vmap` that takes `nnx.split_rngs`.

    Args:
        shots: how many per measurement basis.
        rngs: random streams; every call takes a key from "shots".

    Raises:
        ModelError: if `shots` is below 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from qjax.nn import AmplitudeEncoding, ShotExecutor
        >>> layer = AmplitudeEncoding(1, ("X",), executor=ShotExecutor(100, rngs=nnx.Rngs(0)))
        >>> x = jnp.array([1.0, 0.0])
        >>> bool(layer(x) != layer(x)), bool(abs(layer(x)) < 0.5)
        (True, True)
    """

    def __init__(self, shots: int, *, rngs: nnx.Rngs):
        self.shots = check_positive_int(shots, name="shots", error=ModelError)
        if self.shots < 2:
            raise ModelError(f"Argument `shots` must be at least 2, but is {shots}.")
        self.stream = rngs.shots.fork()

    def __call__(self, circuit: Circuit, observables: Sequence[PauliSum]) -> Array:
        """Estimates (..., m) of m expectation values."""
        key = self.stream()
        return expectation(circuit, observables, method="shots", shots=self.shots, key=key).value


class DilationExecutor(nnx.Module):
    """Replaces channels by gates on ancilla qubits before a circuit runs, as a device needs it.

    The values are the same, and so are derivatives, except in a strength that is exactly 0 or 1:
    see `qjax.transforms.dilate`, which also says how many ancillas a channel takes.

    Args:
        executor: what runs the circuit of gates; the exact simulator if not given.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax.nn import DilationExecutor, QuantumNonlinearity
        >>> layer = QuantumNonlinearity(1, strength=0.5, executor=DilationExecutor())
        >>> layer(jnp.array([jnp.pi])).round(3).tolist()  # Z, X, Y
        [0.0, 0.0, 0.0]
    """

    def __init__(self, executor: Executor | None = None):
        self.executor = kept_executor(executor)

    @property
    def shots(self) -> int | None:
        """Of the executor that runs the circuit of gates; None if it has no such number."""
        return getattr(self.executor, "shots", None)

    def __call__(self, circuit: Circuit, observables: Sequence[PauliSum]) -> Array:
        """Expectation values (..., m) of m observables."""
        return (self.executor or expectation)(dilate(circuit), observables)
