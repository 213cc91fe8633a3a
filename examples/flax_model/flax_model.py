"""A Flax model of one classical and three quantum layers learns two interleaved half-moons."""

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from qjax import nn


class Classifier(nnx.Module):
    """A linear map to four angles, then one circuit: extract, pool to two qubits, read out."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(2, 4, rngs=rngs)
        self.circuit = nn.QuantumSequential(
            nn.QuantumFeatureExtractor(4, depth=2, encoding="angle", rngs=rngs),
            nn.QuantumPooling(4),
            nn.QuantumReadout(2, num_classes=2, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps points (batch, 2) to logarithms of class probabilities (batch, 2)."""
        return self.circuit(self.linear(x))


def half_moons(key: jax.Array, points: int) -> tuple[jax.Array, jax.Array]:
    """Draws points (points, 2) near two half-circles, and their classes (points,)."""
    angle_key, class_key, noise_key = jax.random.split(key, 3)
    angle = jax.random.uniform(angle_key, (points,), maxval=jnp.pi)
    label = jax.random.bernoulli(class_key, shape=(points,)).astype(int)
    upper = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    lower = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], axis=-1)
    noise = 0.1 * jax.random.normal(noise_key, (points, 2))
    return jnp.where(label[:, None] == 1, lower, upper) + noise, label


@nnx.jit
def train_step(
    model: Classifier, optimizer: nnx.Optimizer, x: jax.Array, label: jax.Array
) -> jax.Array:
    """One step on all points; returns the loss before it."""

    def loss(model: Classifier) -> jax.Array:
        scores = jnp.take_along_axis(model(x), label[:, None], axis=-1)
        return -scores.mean()

    value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return value


def count(model: nnx.Module, kind: type) -> int:
    """How many numbers the parameters of one kind hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, kind)))


def main(steps: int) -> None:
    """Trains, and prints the loss on the way and the accuracy on points not seen."""
    model = Classifier(rngs=nnx.Rngs(0))
    angles = count(model, nn.Angle)
    print(f"{angles} angles, {count(model, nnx.Param) - angles} classical parameters")
    optimizer = nnx.Optimizer(model, optax.adam(0.05), wrt=nnx.Param)
    x, label = half_moons(jax.random.key(1), 200)
    for step in range(steps):
        loss = train_step(model, optimizer, x, label)
        if step % 40 == 0 or step == steps - 1:
            print(f"step {step:4d}   loss {loss:.3f}")
    x, label = half_moons(jax.random.key(2), 1000)
    print(f"test accuracy {(model(x).argmax(axis=-1) == label).mean():.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="the small size that the tests run")
    options = parser.parse_args()
    main(steps=5 if options.smoke else options.steps)
