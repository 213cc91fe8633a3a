"""A convolution whose filters are circuits."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
from flax import nnx

from qjax._checks import check_choice, check_positive_int
from qjax._typing import Array, ArrayLike
from qjax.circuit import Circuit
from qjax.errors import ModelError
from qjax.nn._feature_extractor import Ansatz, QuantumFeatureExtractor
from qjax.nn._initializers import Initializer, uniform_angles
from qjax.nn._layer import Encoding, Executor, QuantumLayer, as_input, check_register

__all__ = ["QuantumConv2D"]

_PADDINGS = ("VALID", "SAME")


class QuantumConv2D(QuantumLayer):
    """Slides circuits over images: the same few angles see every patch.

    Each filter is a `QuantumFeatureExtractor` that takes the pixels of a patch as its features and
    returns its expectation values as channels of the output. All patches of all images of a batch
    are one batch of one circuit per filter.

    Args:
        in_features: channels of the images.
        kernel_size: (height, width) of a patch, or one number for both.
        strides: steps (down, right) from patch to patch, or one number for both.
        num_filters: how many circuits look at each patch, each with angles of its own.
        padding: "VALID": patches lie within the image; "SAME": the image is surrounded by zeros
            so that the output is as large as the image over the strides.
        depth: layers of the ansatz of each filter, as in `QuantumFeatureExtractor`.
        entanglement: of these layers, likewise.
        measurement_bases: letters of "Z", "X", "Y" that each filter reads.
        num_qubits: n; if not given, the fewest that hold a patch. A function as `encoding` needs
            it.
        encoding: of a patch, as in `QuantumFeatureExtractor`. Its features are its pixels row by
            row, the channels of a pixel together.
        keep_norm: for amplitude encoding, append a feature of value one to every patch. Without
            it a patch and one twice as bright look the same, and one without any light is an
            error.
        ansatz: of each filter, as in `QuantumFeatureExtractor`.
        angle_shape: of the angles of an ansatz of your own.
        executor: what computes expectation values; the exact simulator if not given.
        angle_init: draws the angles of each filter from a key and a shape.
        rngs: random streams; the angles take "params".

    Attributes:
        filters: the `num_filters` extractors.

    Raises:
        ModelError: if an argument is out of range, or the images do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from qjax.nn import QuantumConv2D
        >>> layer = QuantumConv2D(1, 3, strides=2, num_filters=2, rngs=nnx.Rngs(0))
        >>> layer.num_qubits  # 9 pixels and the one that keeps the norm
        4
        >>> layer(jnp.ones((5, 28, 28, 1))).shape  # 2 filters of 3 bases on 4 qubits
        (5, 13, 13, 24)

    References:
        Henderson et al., Quanvolutional neural networks: powering image recognition with quantum
        circuits, Quantum Machine Intelligence 2, 2 (2020).
    """

    def __init__(
        self,
        in_features: int,
        kernel_size: int | Sequence[int],
        *,
        strides: int | Sequence[int] = 1,
        num_filters: int = 1,
        padding: str = "VALID",
        depth: int = 3,
        entanglement: str = "full",
        measurement_bases: tuple[str, ...] = ("Z", "X", "Y"),
        num_qubits: int | None = None,
        encoding: Encoding = "amplitude",
        keep_norm: bool = True,
        ansatz: Ansatz = "hardware_efficient",
        angle_shape: Sequence[int] | None = None,
        executor: Executor | None = None,
        angle_init: Initializer = uniform_angles,
        rngs: nnx.Rngs,
    ):
        check_choice(padding, _PADDINGS, name="padding", error=ModelError)
        self.in_features = check_positive_int(in_features, name="in_features", error=ModelError)
        self.kernel_size = _pair(kernel_size, name="kernel_size")
        self.strides = _pair(strides, name="strides")
        self.num_filters = check_positive_int(num_filters, name="num_filters", error=ModelError)
        self.padding = padding
        self.keep_norm = bool(keep_norm)
        self.num_qubits = self._fitting_qubits(num_qubits, encoding)
        filters = [
            QuantumFeatureExtractor(
                self.num_qubits,
                depth,
                entanglement,
                measurement_bases,
                encoding=encoding,
                ansatz=ansatz,
                angle_shape=angle_shape,
                executor=executor,
                angle_init=angle_init,
                rngs=rngs,
            )
            for _ in range(self.num_filters)
        ]
        self.filters = nnx.List(filters)
        first = filters[0]
        self.depth, self.entanglement = first.depth, first.entanglement
        self.measurement_bases, self.encoding = first.measurement_bases, first.encoding
        self.ansatz, self.angle_shape = first.ansatz, first.angle_shape
        self.angle_init = angle_init

    @property
    def executor(self) -> Executor | None:
        """That of every filter."""
        return self.filters[0].executor

    @executor.setter
    def executor(self, executor: Executor | None) -> None:
        for each in self.filters:
            each.executor = executor

    def _fitting_qubits(self, num_qubits: int | None, encoding: Encoding) -> int:
        """The given number of qubits if a patch fits it, or else the fewest that it fits."""
        if not isinstance(encoding, str):
            if num_qubits is None:
                raise ModelError("Argument `num_qubits` must be given for an encoding of your own.")
            return check_register(num_qubits)
        features = prod(self.kernel_size) * self.in_features
        is_dense = encoding == "amplitude"
        if is_dense:
            features += self.keep_norm
        fewest = max(1, (features - 1).bit_length()) if is_dense else features
        n = fewest if num_qubits is None else check_register(num_qubits)
        if n < fewest or (n > fewest and not is_dense):
            raise ModelError(
                f"Argument `num_qubits` must be {'at least ' if is_dense else ''}{fewest} for the "
                f"{features} features of a patch in {encoding} encoding, but is {n}."
            )
        return n

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches in an image of this size."""
        sides = zip((height, width), self.kernel_size, self.strides, strict=True)
        if self.padding == "SAME":
            rows, columns = (-(-n // s) for n, _, s in sides)
        else:
            rows, columns = ((n - k) // s + 1 for n, k, s in sides)
        return rows, columns

    def patches(self, x: ArrayLike) -> Array:
        """The features of every patch of images (..., height, width, in_features).

        Returns:
            (..., rows, columns, features) array.
        """
        images = jnp.moveaxis(self._padded(as_input(x)), -1, 0)  # channels first: no small rows
        (height, width), (down, right) = self.kernel_size, self.strides
        last_row, last_column = (images.shape[-2] - height, images.shape[-1] - width)
        pixels = [
            images[..., i : i + last_row + 1 : down, j : j + last_column + 1 : right]
            for i in range(height)
            for j in range(width)
        ]
        if self.keep_norm and self.encoding == "amplitude":
            pixels.append(jnp.ones_like(pixels[0][:1]))
        return jnp.moveaxis(jnp.concatenate(pixels), 0, -1)

    def _padded(self, images: Array) -> Array:
        if images.ndim < 3 or images.shape[-1] != self.in_features:
            raise ModelError(
                f"Argument `x` must have shape (..., height, width, {self.in_features}), "
                f"but has shape {images.shape}."
            )
        if self.padding == "SAME":
            places = self.output_size(*images.shape[-3:-1])
            sides = zip(places, images.shape[-3:-1], self.kernel_size, self.strides, strict=True)
            missing = [max((count - 1) * s + k - n, 0) for count, n, k, s in sides]
            around = [(m // 2, m - m // 2) for m in missing]
            images = jnp.pad(images, [(0, 0)] * (images.ndim - 3) + [*around, (0, 0)])
        elif min(self.output_size(*images.shape[-3:-1])) < 1:
            raise ModelError(
                f"Argument `x` must hold images of at least {self.kernel_size} pixels, the "
                f"kernel_size, but has shape {images.shape}. Choose padding='SAME'."
            )
        return images

    def encode(self, x: ArrayLike) -> Circuit:
        """Circuit that encodes the patches, with batch axes (..., rows, columns)."""
        return self.filters[0].encode(self.patches(x))

    def circuit(self, x: ArrayLike) -> Circuit:
        """The circuit of the only filter for all patches, with batch axes (..., rows, columns).

        Raises:
            ModelError: if there are several filters.
        """
        return self._only_filter().circuit(self.patches(x))

    def operations(self) -> Circuit:
        """Never: the layer takes images, not a state.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "A QuantumConv2D takes images, not a state, so it must come first in a "
            "QuantumSequential."
        )

    def measure(self, circuit: Circuit, qubits: tuple[int, ...]) -> Array:
        """Expectation values (..., rows, columns, bases * n) after the circuit of the only filter.

        Raises:
            ModelError: if there are several filters.
        """
        return self._only_filter().measure(circuit, qubits)

    def _only_filter(self) -> QuantumFeatureExtractor:
        if self.num_filters > 1:
            raise ModelError(
                f"A QuantumConv2D of {self.num_filters} filters is no single circuit. Call it, or "
                "choose num_filters=1 in a QuantumSequential."
            )
        return self.filters[0]

    def __call__(self, x: ArrayLike) -> Array:
        """Maps images (..., height, width, in_features) to (..., rows, columns, features).

        The features are those of the first filter, basis by basis, then those of the next.
        """
        patches = self.patches(x)
        flat = patches.reshape(-1, patches.shape[-1])
        values = jnp.concatenate([each(flat) for each in self.filters], axis=-1)
        return values.reshape(*patches.shape[:-1], values.shape[-1])


def _pair(value: Any, *, name: str) -> tuple[int, int]:
    """Two positive ints from one or two."""
    values = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(values) != 2 or isinstance(value, str):
        raise ModelError(f"Argument `{name}` must be one integer or two, but is {value!r}.")
    first, second = (check_positive_int(v, name=name, error=ModelError) for v in values)
    return first, second
