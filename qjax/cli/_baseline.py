"""The linear model that every run is measured against."""

import warnings

import numpy as np

from qjax.data import Dataset

__all__ = ["linear_accuracies"]

MAX_ITERATIONS = 300  # 60,000 images take half a minute


def linear_accuracies(data: Dataset) -> tuple[float, float]:
    """Fits scikit-learn's logistic regression to the training part, on the same inputs.

    Returns:
        Its accuracy on the training and on the test part.
    """
    if len(np.unique(data.train_y)) < 2:
        only = data.train_y[0]
        return 1.0, float(np.mean(data.test_y == only))
    from sklearn.linear_model import LogisticRegression  # slow to import

    warnings.filterwarnings("ignore", message="lbfgs failed to converge")
    model = LogisticRegression(max_iter=MAX_ITERATIONS).fit(data.train_x, data.train_y)
    return (
        float(model.score(data.train_x, data.train_y)),
        float(model.score(data.test_x, data.test_y)),
    )
