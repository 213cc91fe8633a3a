"""Linear maps that keep a batch innermost, on the way there and on the way back.

Under `vmap`, `jnp.reshape` moves the batch axis to the front, and the derivative of a product with
a table leaves it in the middle. For states with the batch innermost either is a transposition of
all of it. The maps here are primitives, so that they have derivatives of every kind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from qjax._typing import Array

__all__ = ["combine_two", "linear_primitive", "product_inside", "reshape_inside"]


def reshape_inside(array: Array, shape: tuple[int, ...]) -> Array:
    """`jnp.reshape`, which under `vmap` brings the batch innermost.

    Args:
        array: any.
        shape: of the result, without -1.
    """
    assert prod(shape) == array.size
    return array if array.shape == shape else _reshape.bind(array, shape=shape)


def product_inside(table: np.ndarray, array: Array) -> Array:
    """table @ array over the first axis of an array, which under `vmap` brings the batch innermost.

    Args:
        table: (rows, K).
        array: (K, ...).

    Returns:
        (rows, ...).
    """
    assert table.shape[1] == array.shape[0]
    return _product.bind(array, table=_Table(table))


def combine_two(array: Array, weights: tuple[float, float]) -> Array:
    """weights[0] array[0] + weights[1] array[1], with no zeros made for derivatives.

    Args:
        array: (2, ...).
        weights: of the two.
    """
    return _combination.bind(array, weights=weights)


@dataclass(frozen=True, eq=False)
class _Table:
    """A constant, compared by identity."""

    values: np.ndarray


def _reshaped(array: Any, *, shape: tuple[int, ...]) -> Array:
    return jnp.reshape(array, shape)


def _multiplied(array: Any, *, table: _Table) -> Array:
    flat = jnp.reshape(array, (array.shape[0], -1))
    # Or XLA would multiply it out with a constant cotangent while it compiles, for seconds.
    values = lax.optimization_barrier(jnp.asarray(table.values, array.dtype))
    axes = (((1,), (0,)), ((), ()))
    found = lax.dot_general(values, flat, axes, precision=lax.Precision.HIGHEST)
    return jnp.reshape(found, (len(table.values), *array.shape[1:]))


def _combined(array: Any, *, weights: tuple[float, float]) -> Array:
    first, second = (w * lax.index_in_dim(array, i, keepdims=False) for i, w in enumerate(weights))
    return first + second


def _spread(array: Any, *, weights: tuple[float, float]) -> Array:
    return jnp.stack([w * array for w in weights])


def linear_primitive(
    name: str, impl: Callable, shape: Callable, back: Callable, more: Callable
) -> Any:
    """A primitive linear in its one operand.

    Args:
        name: of the primitive.
        impl: it as JAX code.
        shape: of the result, from that of the operand and the parameters.
        back: the cotangent of an operand of a given shape, from that of the result.
        more: parameters for an operand with a further, innermost axis of a given size.
    """
    primitive = Primitive(name)
    primitive.def_impl(impl)
    primitive.def_abstract_eval(
        lambda x, **options: ShapedArray(shape(x.shape, **options), x.dtype)
    )
    mlir.register_lowering(primitive, mlir.lower_fun(impl, multiple_results=False))

    def transpose(slope: Any, operand: Any, **options: Any) -> list[Any]:
        if type(slope) is ad.Zero:
            return [ad.Zero(operand.aval)]
        return [back(slope, operand.aval.shape, **options)]

    def batch(operands: Any, axes: Any, **options: Any) -> Any:
        moved = jnp.moveaxis(operands[0], axes[0], -1)
        result = primitive.bind(moved, **more(moved.shape[-1], **options))
        return result, result.ndim - 1

    ad.deflinear2(primitive, transpose)
    batching.primitive_batchers[primitive] = batch
    return primitive


_reshape = linear_primitive(
    "qjax_reshape",
    _reshaped,
    lambda before, *, shape: shape,
    lambda slope, before, *, shape: reshape_inside(slope, before),
    lambda size, *, shape: {"shape": (*shape, size)},
)
_product = linear_primitive(
    "qjax_product",
    _multiplied,
    lambda before, *, table: (len(table.values), *before[1:]),
    lambda slope, before, *, table: product_inside(table.values.T, slope),
    lambda size, *, table: {"table": table},
)
_combination = linear_primitive(
    "qjax_combination",
    _combined,
    lambda before, *, weights: before[1:],
    lambda slope, before, *, weights: _spreading.bind(slope, weights=weights),
    lambda size, *, weights: {"weights": weights},
)
_spreading = linear_primitive(
    "qjax_spreading",
    _spread,
    lambda before, *, weights: (2, *before),
    lambda slope, before, *, weights: combine_two(slope, weights),
    lambda size, *, weights: {"weights": weights},
)
