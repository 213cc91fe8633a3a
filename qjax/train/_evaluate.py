"""Loss and accuracy over a whole set, in batches of one shape."""

from typing import NamedTuple

import jax
import numpy as np

from qjax.train._batches import batches
from qjax.train._learner import Learner, Totals, TrainState

__all__ = ["EVALUATION_BATCH_SIZE", "Evaluation", "evaluate", "mean_totals"]

EVALUATION_BATCH_SIZE = 512


class Evaluation(NamedTuple):
    """How a model does on a set.

    Attributes:
        loss: mean loss; cross-entropy in nats by default.
        accuracy: share of right answers, 0 to 1; NaN with a loss of your own.
    """

    loss: float
    accuracy: float


def evaluate(
    learner: Learner,
    state: TrainState,
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int = EVALUATION_BATCH_SIZE,
) -> Evaluation:
    """Scores the model on all samples.

    One program serves every set and state that is scored with the same `batch_size`.

    Args:
        learner: the model.
        state: its parameters.
        x: inputs of shape (n, features).
        y: classes of shape (n,).
        batch_size: samples per batch; the last one is padded.

    Raises:
        RunError: if there are no samples or `batch_size` is below 1.

    Example:
        >>> import numpy as np, optax
        >>> from flax import nnx
        >>> from qjax.train import Learner, evaluate
        >>> learner = Learner(nnx.Linear(2, 4, rngs=nnx.Rngs(0)), optax.adam(0.1))
        >>> result = evaluate(learner, learner.start(), np.zeros((8, 2)), np.zeros(8, int))
        >>> round(result.loss, 3)  # log 4: all classes are alike
        1.386
    """
    return mean_totals([learner.score(state, batch) for batch in batches(x, y, batch_size)], len(x))


def mean_totals(totals: list[Totals], num_samples: int) -> Evaluation:
    """Joins the totals of batches that hold `num_samples` samples."""
    sums = np.asarray(jax.device_get(totals), np.float64).sum(axis=0)  # (2,)
    return Evaluation(float(sums[0] / num_samples), float(sums[1] / num_samples))
