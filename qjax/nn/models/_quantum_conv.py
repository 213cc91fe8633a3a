"""Images through a quantum convolution, under a linear readout."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod

from flax import nnx

from qjax._checks import check_positive_int
from qjax._typing import Array, ArrayLike
from qjax.errors import ModelError
from qjax.nn._conv import QuantumConv2D
from qjax.nn._decoding import DecodingLayer
from qjax.nn._initializers import Initializer, uniform_angles
from qjax.nn._layer import Executor, as_input

__all__ = ["quantum_conv"]

BRIGHTNESS = 3.0  # of a white pixel beside the feature of value one that keeps a patch's norm


@dataclass(frozen=True)
class AsImages:
    """Turns flat images (..., side**2) of pixels in [0, 1] into (..., side, side, 1), brighter."""

    side: int

    def __call__(self, x: ArrayLike) -> Array:
        """The images.

        Raises:
            ModelError: if the inputs have another length.
        """
        values = as_input(x)
        if values.ndim == 0 or values.shape[-1] != self.side**2:
            raise ModelError(
                f"Argument `x` must have {self.side**2} features, the pixels of an image, but has "
                f"shape {values.shape}."
            )
        return BRIGHTNESS * values.reshape(*values.shape[:-1], self.side, self.side, 1)


def flatten(features: Array) -> Array:
    """Joins rows, columns and features (..., rows, columns, features) to one axis."""
    return features.reshape(*features.shape[:-3], prod(features.shape[-3:]))


def quantum_conv(
    *,
    num_features: int,
    num_classes: int,
    kernel_size: int | Sequence[int] = 3,
    strides: int | Sequence[int] | None = None,
    num_filters: int = 4,
    depth: int = 3,
    entanglement: str = "full",
    angle_init: Initializer = uniform_angles,
    executor: Executor | None = None,
    rngs: nnx.Rngs,
) -> nnx.Sequential:
    """Small circuits look at every patch of an image; Z of their qubits, a projection.

    The projection has no bias. Most of the parameters are in it, most of the work in the circuits.

    Args:
        num_features: pixels of the inputs, which are square images with pixels in [0, 1].
        num_classes: length of the outputs.
        kernel_size: of a patch.
        strides: from patch to patch; if not given, a fourteenth of the image, at least 1.
        num_filters: circuits per patch.
        depth: layers of each circuit.
        entanglement: of its layers, as in `QuantumFeatureExtractor`.
        angle_init: draws the angles from a key and a shape.
        executor: what computes expectation values; the exact simulator if not given.
        rngs: random streams for the initial parameters.

    Raises:
        ModelError: if an argument is out of range, or the images are not square.

    Example:
        >>> from flax import nnx
        >>> from qjax.nn.models import quantum_conv
        >>> model = quantum_conv(num_features=784, num_classes=10, rngs=nnx.Rngs(0))
        >>> _, conv, _, head = model.layers
        >>> conv.num_qubits, conv.strides, head.num_features  # 13 x 13 patches, 4 filters, 4 qubits
        (4, (2, 2), 2704)
    """
    num_features = check_positive_int(num_features, name="num_features", error=ModelError)
    num_classes = check_positive_int(num_classes, name="num_classes", error=ModelError)
    side = isqrt(num_features)
    if side**2 != num_features:
        raise ModelError(
            "Argument `num_features` must be a square, the number of pixels of a square image, "
            f"but is {num_features}."
        )
    conv = QuantumConv2D(
        1,
        kernel_size,
        strides=max(1, side // 14) if strides is None else strides,
        num_filters=num_filters,
        depth=depth,
        entanglement=entanglement,
        measurement_bases=("Z",),
        executor=executor,
        angle_init=angle_init,
        rngs=rngs,
    )
    rows, columns = conv.output_size(side, side)
    if min(rows, columns) < 1:
        raise ModelError(
            f"Argument `kernel_size` must be at most the size of the images, {side} x {side}, but "
            f"is {kernel_size!r}."
        )
    outputs = rows * columns * conv.num_filters * conv.num_qubits
    head = DecodingLayer(outputs, num_classes, value_range=(-2.0, 2.0), rngs=rngs)
    return nnx.Sequential(AsImages(side), conv, flatten, head)
