"""Ready-made models by name; each rebuilds from its name and two numbers, without pickle.

A model maps (batch, num_features) to (batch, num_classes) logarithms of class probabilities, up to
a constant per sample.
"""

from collections.abc import Callable

from flax import nnx

from qjax.errors import ModelError
from qjax.nn.models._qcnn import qcnn
from qjax.nn.models._quantum_conv import quantum_conv
from qjax.nn.models._quantum_features import quantum_features
from qjax.nn.models._quantum_first import quantum_first
from qjax.nn.models._reuploading import ReuploadingLayer, reuploading
from qjax.nn.models._tree_tensor import tree_tensor

__all__ = [
    "DEFAULT",
    "MODELS",
    "ReuploadingLayer",
    "create",
    "qcnn",
    "quantum_conv",
    "quantum_features",
    "quantum_first",
    "reuploading",
    "tree_tensor",
]

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "quantum-features": quantum_features,
    "quantum-first": quantum_first,
    "reuploading": reuploading,
    "qcnn": qcnn,
    "quantum-conv": quantum_conv,
    "tree-tensor": tree_tensor,
}

DEFAULT = "quantum-features"


def create(name: str, *, num_features: int, num_classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """Builds a model by name.

    Args:
        name: one of `MODELS`.
        num_features: length of the inputs.
        num_classes: length of the outputs.
        rngs: random streams for the initial parameters.

    Raises:
        ModelError: on an unknown name, numbers below one, or classes that do not fit the model.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn import models
        >>> model = models.create(
        ...     "quantum-first", num_features=64, num_classes=10, rngs=nnx.Rngs(0)
        ... )
        >>> model(jax.numpy.ones((2, 64))).shape
        (2, 10)
    """
    if not isinstance(name, str) or name not in MODELS:
        known = ", ".join(repr(model) for model in MODELS)
        raise ModelError(f"Argument `name` must be one of {known}, but is {name!r}.")
    return MODELS[name](num_features=num_features, num_classes=num_classes, rngs=rngs)
