"""The evolution of a state as three JAX primitives, so that every transformation composes.

    evolve      (params, data, state) -> result
    evolve_jvp  (params, data, state, result; tangents) -> tangent, linear in the tangents
    evolve_vjp  (params, data, state, result, slope) -> cotangents

The derivative of the first is the second, the transpose of the second is the third, and the
derivatives of these two are those of the JAX code that they stand for. A batch of any of them is
the same primitive with the batch as the innermost axis of its operands: the plan is made when a
program is lowered, and knows by then what is batched and how large the batch is.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from qjax._typing import Array, float_dtype
from qjax.circuit import Structure
from qjax.sim._adjoint import cotangents
from qjax.sim._engine import evolve
from qjax.sim._plan import Plan, Task, default_device, make_plan

__all__ = ["evolve_state", "pauli_size"]


# Of the states of a batch, in bytes, that go back at once: the C library takes the memory of larger
# ones from the system anew at every call, and clearing it costs as much as a third of the time.
LARGEST_PART = 2**22
LEAST_PART = 16  # samples


class _Spec(NamedTuple):
    """What is static about a call; operands are params, data and, if given, the state.

    Attributes:
        structure: of the circuit.
        mixed: whether the state is a density matrix.
        given: whether an initial state is among the operands.
        fuse: merge gates into blocks.
        max_bytes: of states that a gradient may keep; None for the default.
        longer: structure that may be run instead, see `make_plan`; None if there is no other.
        shapes: of the operands without batch.
        batch: number of samples, or None.
        batched: which operands have it, as their last axis.
        outer: further batches, mapped over the whole call: per batch, outermost first, its size
            and the operands (of the call at hand) that have it, as their first axis.
    """

    structure: Structure
    mixed: bool
    given: bool
    fuse: bool
    max_bytes: int | None
    longer: Structure | None
    shapes: tuple[tuple[int, ...], ...]
    batch: int | None = None
    batched: tuple[bool, ...] = ()
    outer: tuple[tuple[int, tuple[bool, ...]], ...] = ()

    @property
    def num_operands(self) -> int:
        """Params, data and state."""
        return len(self.shapes)

    def split(self, operands: Sequence[Any]) -> tuple[list, list, Any]:
        """Params, data and state."""
        leaves, extra = len(self.structure.leaves), len(self.structure.data_ranks)
        params, data = operands[:leaves], operands[leaves : leaves + extra]
        return list(params), list(data), operands[leaves + extra] if self.given else None

    def size(self) -> int:
        """Numbers of the result of one sample."""
        n = self.structure.num_qubits
        return pauli_size(self.structure) if self.mixed else 2 * 2**n

    def plan(self, real: bool) -> Plan:
        """The plan for this call."""
        leaves = len(self.structure.leaves)
        flags = self.batched or (False,) * self.num_operands
        extra = len(self.structure.data_ranks)
        task = Task(
            mixed=self.mixed,
            batch=self.batch or 1,
            given=self.given,
            real=real,
            leaves=frozenset(i for i in range(leaves) if flags[i]),
            data=frozenset(i for i in range(extra) if flags[leaves + i]),
            fuse=self.fuse,
            device=default_device(),
        )
        return make_plan(self.structure, task, longer=self.longer)


def pauli_size(structure: Structure) -> int:
    """Numbers of a density matrix: Pauli coefficients, for every outcome that matters later."""
    used = {name for step in structure.steps for name, _ in step.conditions}
    records = sum(
        step.kind.name == "Measure" and step.detail[0] in used and step.detail[1] is None
        for step in structure.steps
    )
    return 4**structure.num_qubits * 2**records


def _result_shape(spec: _Spec) -> tuple[int, ...]:
    inner = (spec.size(),) if spec.batch is None else (spec.size(), spec.batch)
    return (*(size for size, _ in spec.outer), *inner)


def _columns(state: Any, spec: _Spec) -> Any:
    """A state as (numbers, batch)."""
    if state is None:
        return None
    flat = state if spec.batch is not None and state.ndim == 2 else state.reshape(-1, 1)
    return jnp.broadcast_to(flat, (flat.shape[0], spec.batch or 1))


def _is_real(spec: _Spec) -> bool:
    """Whether the given state has real parts only."""
    return spec.given and not spec.mixed and spec.shapes[-1][0] == 2**spec.structure.num_qubits


def _run(*operands: Any, spec: _Spec) -> Array:
    """The evolution as JAX code."""
    params, data, state = spec.split(operands)
    plan = spec.plan(_is_real(spec))
    result = evolve(plan, params, data, _columns(state, spec), float_dtype())
    return result if spec.batch is not None else result[:, 0]


def _mapped(function: Callable, spec: _Spec) -> Callable:
    """Maps a function of operands over the outer batches."""
    bare = spec._replace(outer=())
    mapped = partial(function, spec=bare)
    for _, flags in reversed(spec.outer):
        mapped = jax.vmap(mapped, in_axes=tuple(0 if f else None for f in flags), out_axes=0)
    return mapped


def _evolve_impl(*operands: Any, spec: _Spec) -> Array:
    return _mapped(_run, spec)(*operands)


def _jvp_run(*operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> Array:
    count = spec.num_operands
    primals = operands[:count]
    given = iter(operands[count + 1 :])
    dots = [next(given) if t else jnp.zeros_like(p) for p, t in zip(primals, tangents, strict=True)]
    return jax.jvp(partial(_run, spec=spec), tuple(primals), tuple(dots))[1]


def _jvp_impl(*operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> Array:
    return _mapped(partial(_jvp_run, tangents=tangents), spec)(*operands)


def _vjp_run(*operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> list[Array]:
    parts = _num_parts(spec)
    if parts == 1:
        return _vjp_at_once(*operands, spec=spec, tangents=tangents)
    assert spec.batch is not None
    size = spec.batch // parts
    flags = (*spec.batched, True, True)
    wanted = [flag for flag, t in zip(spec.batched, tangents, strict=True) if t]

    def one(sums: list[Array], part: Array) -> tuple[list[Array], list[Array]]:
        some = [
            lax.dynamic_slice_in_dim(o, part * size, size, axis=o.ndim - 1) if flag else o
            for o, flag in zip(operands, flags, strict=True)
        ]
        found = _vjp_at_once(*some, spec=spec._replace(batch=size), tangents=tangents)
        shared = [f for f, flag in zip(found, wanted, strict=True) if not flag]
        own = [f for f, flag in zip(found, wanted, strict=True) if flag]
        return [a + b for a, b in zip(sums, shared, strict=True)], own

    slopes = [o for o, t in zip(operands, tangents, strict=False) if t]
    zeros = [jnp.zeros_like(o) for o, flag in zip(slopes, wanted, strict=True) if not flag]
    sums, stacked = lax.scan(one, zeros, jnp.arange(parts))
    shared = iter(sums)
    own = (jnp.moveaxis(s, 0, -2).reshape((*s.shape[1:-1], spec.batch)) for s in stacked)
    return [next(own) if flag else next(shared) for flag in wanted]


def _num_parts(spec: _Spec) -> int:
    """In how many parts a batch goes back: its states are then in few and small places."""
    if spec.batch is None or default_device() != "cpu":
        return 1
    most = LARGEST_PART // (spec.size() * jnp.dtype(float_dtype()).itemsize)
    possible = [p for p in range(1, spec.batch // LEAST_PART + 1) if spec.batch % p == 0] or [1]
    return next((p for p in possible if spec.batch // p <= most), possible[-1])


def _vjp_at_once(*operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> list[Array]:
    count = spec.num_operands
    params, data, state = spec.split(operands[:count])
    result, slope = operands[count:]
    plan = spec.plan(_is_real(spec))
    params_bar, data_bar, state_bar = cotangents(
        plan, params, data, _columns(state, spec), _columns(result, spec), _columns(slope, spec),
        float_dtype(), spec.max_bytes,
    )  # fmt: skip
    found = [*params_bar, *data_bar]
    if spec.given:
        flags = spec.batched or (False,) * count
        summed = state_bar if flags[-1] else state_bar.sum(axis=1)  # pyright: ignore
        found.append(summed)
    return [f for f, t in zip(found, tangents, strict=True) if t]


def _vjp_impl(*operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> list[Array]:
    return _mapped(partial(_vjp_run, tangents=tangents), spec)(*operands)


def _make(name: str, impl: Callable, abstract: Callable, *, multiple: bool) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = multiple
    static = ("spec", "tangents") if name != "qjax_evolve" else ("spec",)
    jitted = jax.jit(impl, static_argnames=static)
    primitive.def_impl(lambda *operands, **options: jitted(*operands, **options))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(impl, multiple_results=multiple))
    return primitive


def _evolve_abstract(*operands: Any, spec: _Spec, tangents: Any = None) -> Any:
    return ShapedArray(_result_shape(spec), float_dtype())


def _vjp_abstract(*operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> Any:
    shapes = []
    flags = spec.batched or (False,) * spec.num_operands
    for shape, operand, flag in zip(spec.shapes, operands, flags, strict=False):
        inner = (*shape, spec.batch) if flag else shape
        outer = tuple(size for size, _ in spec.outer)
        shapes.append(ShapedArray((*outer, *inner), operand.dtype))
    return [s for s, t in zip(shapes, tangents, strict=True) if t]


_evolve = _make("qjax_evolve", _evolve_impl, _evolve_abstract, multiple=False)
_evolve_jvp = _make("qjax_evolve_jvp", _jvp_impl, _evolve_abstract, multiple=False)
_evolve_vjp = _make("qjax_evolve_vjp", _vjp_impl, _vjp_abstract, multiple=True)


def _first_derivative(primals: Sequence[Any], dots: Sequence[Any], *, spec: _Spec) -> Any:
    result = _evolve.bind(*primals, spec=spec)
    tangents = tuple(type(d) is not ad.Zero for d in dots)
    if not any(tangents):
        return result, ad.Zero(result.aval)
    given = [d for d, t in zip(dots, tangents, strict=True) if t]
    places = [i for i, t in enumerate(tangents) if t]
    spec = _with_flags(spec, lambda flags: (*flags, True, *(flags[i] for i in places)))
    return result, _evolve_jvp.bind(*primals, result, *given, spec=spec, tangents=tangents)


def _with_flags(spec: _Spec, change: Callable[[tuple[bool, ...]], tuple[bool, ...]]) -> _Spec:
    """The spec for other operands: the outer batches say of each operand whether they map it."""
    return spec._replace(outer=tuple((size, change(flags)) for size, flags in spec.outer))


def _transpose(slope: Any, *operands: Any, spec: _Spec, tangents: tuple[bool, ...]) -> list:
    count = spec.num_operands
    known = operands[: count + 1]
    none: list[Any] = [None] * (count + 1)
    if type(slope) is ad.Zero:
        return none + [ad.Zero(o.aval) for o in operands[count + 1 :]]
    inner = _with_flags(spec, lambda flags: (*flags[: count + 1], True))
    found = _evolve_vjp.bind(*known, slope, spec=inner, tangents=tangents)
    for place, cotangent in enumerate(found):  # of what an outer batch shares, the sum over it
        shared = [not flags[count + 1 + place] for _, flags in spec.outer]
        axes = tuple(axis for axis, s in enumerate(shared) if s)
        none.append(jnp.sum(cotangent, axis=axes) if axes else cotangent)
    return none


def _later_derivative(impl: Callable) -> Callable:
    """Derivative of a derivative: that of the JAX code it stands for."""

    def rule(primals: Sequence[Any], dots: Sequence[Any], **static: Any) -> Any:
        full = tuple(
            jnp.zeros(np.shape(p), p.dtype) if type(d) is ad.Zero else d
            for p, d in zip(primals, dots, strict=True)
        )
        return jax.jvp(partial(impl, **static), tuple(primals), full)

    return rule


ad.primitive_jvps[_evolve] = _first_derivative
ad.primitive_jvps[_evolve_jvp] = _later_derivative(_jvp_impl)
ad.primitive_jvps[_evolve_vjp] = _later_derivative(_vjp_impl)
ad.primitive_transposes[_evolve_jvp] = _transpose


def _batch(primitive: Primitive, *, kind: str) -> Callable:
    def rule(operands: Sequence[Any], axes: Sequence[Any], *, spec: _Spec, **static: Any) -> Any:
        mapped = tuple(axis is not None for axis in axes)
        size = next(o.shape[a] for o, a, m in zip(operands, axes, mapped, strict=True) if m)
        inner = _inner_batch(kind, operands, axes, mapped, size, spec, static)
        if inner is not None:
            return inner(primitive)
        moved = [jnp.moveaxis(o, a, 0) if m else o
                 for o, a, m in zip(operands, axes, mapped, strict=True)]  # fmt: skip
        outer = spec._replace(outer=((size, mapped), *spec.outer))
        results = primitive.bind(*moved, spec=outer, **static)
        if primitive.multiple_results:
            return results, [0] * len(results)
        return results, 0

    return rule


def _inner_batch(
    kind: str, operands: Sequence[Any], axes: Sequence[Any], mapped: tuple[bool, ...], size: int,
    spec: _Spec, static: dict[str, Any],
) -> Callable | None:  # fmt: skip
    """The batch as innermost axis of the operands, where that is possible."""
    count = spec.num_operands
    if spec.outer:
        return None
    flags = spec.batched or (False,) * count
    params = count - (1 if spec.given else 0)
    if kind == "jvp":
        tangents = [i for i, t in enumerate(static["tangents"]) if t]
        primal_flags = mapped[:count]
        # a tangent of a number that the batch shares must be shared as well
        if any(m and not primal_flags[i]
               for m, i in zip(mapped[count + 1 :], tangents, strict=True)):  # fmt: skip
            return None
    if kind == "vjp":  # cotangents of what the batch shares would be summed over the batch
        for i, wanted in enumerate(static["tangents"]):
            if wanted and not mapped[i]:
                return None
    if spec.batch is None:
        return partial(_bind_inner, kind, operands, axes, mapped, size, spec, static)
    only_state = not any(flags[:params]) and not any(mapped[:params])
    alike = all(f == m for f, m in zip(flags, mapped[:count], strict=True))
    if not (only_state or alike):
        return None
    return partial(_bind_inner, kind, operands, axes, mapped, size, spec, static)


def _bind_inner(
    kind: str, operands: Sequence[Any], axes: Sequence[Any], mapped: tuple[bool, ...], size: int,
    spec: _Spec, static: dict[str, Any], primitive: Primitive,
) -> Any:  # fmt: skip
    count, old = spec.num_operands, spec.batch
    before = spec.batched or (False,) * count
    flags = tuple(b or m for b, m in zip(before, mapped[:count], strict=True))
    tangents = [i for i, t in enumerate(static.get("tangents", ())) if t]
    # per operand of the call: is it batched before, must it be batched now
    was, now = list(before), list(flags)
    if kind != "evolve":
        was.append(old is not None)
        now.append(True)
    if kind == "jvp":
        was += [before[i] for i in tangents]
        now += [flags[i] for i in tangents]
    if kind == "vjp":
        was.append(old is not None)
        now.append(True)
    inner = []
    for operand, axis, has, old_flag, new_flag in zip(
        operands, axes, mapped, was, now, strict=True
    ):
        if not new_flag:
            inner.append(operand)
            continue
        array = jnp.moveaxis(operand, axis, -1) if has else operand[..., None]
        lead = array.shape[: array.ndim - 1]
        if old is not None and not old_flag:
            array = array[..., None, :]
            lead = (*lead, old)
        if old is not None:
            base = lead[:-1]
            array = jnp.broadcast_to(array, (*base, old, size)).reshape((*base, old * size))
        else:
            array = jnp.broadcast_to(array, (*lead, size))
        inner.append(array)
    new = spec._replace(batch=size if old is None else old * size, batched=flags)
    results = primitive.bind(*inner, spec=new, **static)

    def back(result: Array) -> Array:
        return result if old is None else result.reshape((*result.shape[:-1], old, size))

    if not primitive.multiple_results:
        return back(results), results.ndim - (1 if old is None else 0)
    backs = [back(r) for r in results]
    return backs, [b.ndim - 1 for b in backs]


batching.primitive_batchers[_evolve] = _batch(_evolve, kind="evolve")
batching.primitive_batchers[_evolve_jvp] = _batch(_evolve_jvp, kind="jvp")
batching.primitive_batchers[_evolve_vjp] = _batch(_evolve_vjp, kind="vjp")


def evolve_state(
    structure: Structure,
    params: Sequence[Any],
    data: Sequence[Any],
    state: Array | None = None,
    *,
    mixed: bool = False,
    fuse: bool = True,
    max_bytes: int | None = None,
    longer: Structure | None = None,
) -> Array:
    """Runs the gates and channels of a circuit.

    Args:
        structure: of the circuit.
        params: per leaf an array (size,).
        data: further arrays without batch axes.
        state: initial state: (2**n,) real amplitudes, (2 * 2**n,) real parts then imaginary parts,
            or Pauli coefficients (4**n * 2**records,); |0...0> if not given.
        mixed: whether the state is a density matrix.
        fuse: merge gates into blocks; False is the reference path.
        max_bytes: of states that a gradient may keep to save time; 64 MiB if not given.
        longer: structure that may be run instead, where it is compiled faster.

    Returns:
        (2 * 2**n,) real parts then imaginary parts, or (4**n * 2**records,) Pauli coefficients.
    """
    dtype = float_dtype()
    operands = [jnp.asarray(p).astype(dtype) for p in params]
    operands += [jnp.asarray(d) for d in data]
    if state is not None:
        operands.append(state.astype(dtype))
    shapes = tuple(tuple(o.shape) for o in operands)
    longer = None if longer == structure else longer
    spec = _Spec(structure, mixed, state is not None, fuse, max_bytes, longer, shapes)
    assert prod(_result_shape(spec)) > 0
    return _evolve.bind(*operands, spec=spec)
