"""How much of a model's work and of its parameters its quantum layers have."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

from qjax._checks import check_positive_int
from qjax._typing import Array, ArrayLike, as_float_array, float_dtype
from qjax.errors import ModelError
from qjax.nn._layer import QuantumLayer, pauli_features
from qjax.nn._sequential import QuantumSequential
from qjax.nn._table import count_parameters, entries, text_table

__all__ = ["ComputeSplit", "LayerShare", "compute_split"]


@dataclass(frozen=True)
class LayerShare:
    """What one layer has of a training step.

    Attributes:
        name: place and class of the layer; the last row of a split is called "loss".
        is_quantum: whether its work is a circuit.
        flops: floating-point operations.
        seconds: of a step; None if nothing was timed.
        parameters: trainable numbers.
    """

    name: str
    is_quantum: bool
    flops: float
    seconds: float | None
    parameters: int


@dataclass(frozen=True)
class ComputeSplit:
    """The shares of all layers; `print` shows them as a table.

    Attributes:
        layers: one row per layer, and last the loss with what no layer accounts for.
    """

    layers: tuple[LayerShare, ...]

    @property
    def flops(self) -> float:
        """Floating-point operations of the whole step."""
        return sum(layer.flops for layer in self.layers)

    @property
    def seconds(self) -> float | None:
        """Seconds of the whole step; None if nothing was timed."""
        times = [layer.seconds for layer in self.layers if layer.seconds is not None]
        return sum(times) if times else None

    @property
    def parameters(self) -> int:
        """Trainable numbers of the model."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def quantum_flops_share(self) -> float:
        """Share of the operations that quantum layers do."""
        return _ratio(sum(layer.flops for layer in self._quantum), self.flops)

    @property
    def quantum_time_share(self) -> float | None:
        """Share of the time that quantum layers take; None if nothing was timed."""
        if self.seconds is None:
            return None
        return _ratio(sum(layer.seconds or 0.0 for layer in self._quantum), self.seconds)

    @property
    def quantum_parameter_share(self) -> float:
        """Share of the parameters that are in quantum layers; 0 if there are no parameters."""
        return _ratio(sum(layer.parameters for layer in self._quantum), self.parameters)

    @property
    def _quantum(self) -> list[LayerShare]:
        return [layer for layer in self.layers if layer.is_quantum]

    def __str__(self) -> str:
        header = ("layer", "quantum", "flops", "%", "ms", "%", "parameters", "%")
        rows = [self._row(layer) for layer in self.layers]
        shares = (self.quantum_flops_share, self.quantum_time_share, self.quantum_parameter_share)
        flops, seconds, parameters = (_percent(share) for share in shares)
        rows.append(("quantum", "", "", flops, "", seconds, "", parameters))
        return text_table(header, rows)

    def _row(self, layer: LayerShare) -> tuple[str, ...]:
        share, time = None, "-"
        if layer.seconds is not None and self.seconds is not None:
            share, time = _ratio(layer.seconds, self.seconds), f"{1e3 * layer.seconds:.3f}"
        return (
            layer.name,
            "yes" if layer.is_quantum else "no",
            f"{layer.flops:.3g}",
            _percent(_ratio(layer.flops, self.flops)),
            time,
            _percent(share),
            str(layer.parameters),
            _percent(_ratio(layer.parameters, self.parameters)),
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def compute_split(
    model: nnx.Module, x: ArrayLike, *, timed: bool = True, repeats: int = 20
) -> ComputeSplit:
    """How operations, time and parameters of a training step are spread over the layers.

    A step is the mean cross-entropy of the model's outputs and its gradient in all parameters. The
    model is grown layer by layer: a layer's figure is what the step costs with it minus what it
    cost without it, so that it holds the layer's forward run and its part of the backward run. The
    last row, "loss", holds the cross-entropy and the cost of a call as such.

    A `QuantumSequential` is one circuit, so its layers cannot be run one by one. It is grown in the
    same way: every prefix of it is read in Z on the qubits that the last layer reads, and the
    last layer's figure also has what its own reading costs more. The engine may find a longer
    circuit cheaper than a shorter one; a negative difference counts as zero, and the figures are
    scaled so that they add up to that of the whole stack.

    Operations are those that XLA's cost analysis reports for a program before optimisation:
    additions and multiplications, not sines or exponentials. XLA counts the body of a loop once;
    here it counts as often as it runs (a loop whose length depends on data counts once).

    Times are medians of compiled calls, taken in turns so that a slow moment of the machine hits
    all programs alike; a difference of a few per cent of the step is noise.

    Args:
        model: a quantum layer, or an `nnx.Sequential` of quantum and other layers; Sequentials may
            be nested. Its state is left as it is.
        x: inputs (batch, ...).
        timed: whether to compile and time the programs as well, which takes seconds to minutes.
        repeats: how often each program is timed.

    Returns:
        The split. Of the outputs (batch, ..., k), k are taken for class scores.

    Raises:
        ModelError: if quantum layers are hidden in another module, or the inputs have no batch
            axis.

    Example:
        >>> from qjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(
        ...     nn.QuantumFeatureExtractor(4, rngs=rngs), nn.DecodingLayer(12, 3, rngs=rngs)
        ... )
        >>> split = nn.compute_split(model, jnp.ones((8, 16)), timed=False)
        >>> [(row.name, row.parameters) for row in split.layers]
        [('0 QuantumFeatureExtractor', 24), ('1 DecodingLayer', 36), ('loss', 0)]
        >>> 0.5 < split.quantum_flops_share < 1, split.quantum_parameter_share
        (True, 0.4)
    """
    inputs = as_float_array(x)
    if inputs.ndim < 2:
        raise ModelError(
            f"Argument `x` must have shape (batch, ...), but has shape {inputs.shape}."
        )
    check_positive_int(repeats, name="repeats", error=ModelError)
    groups = _groups(model)
    programs = _programs(model, groups, inputs)
    flops = _spread([_flops(program) for program in programs], groups)
    seconds = _spread(_seconds(programs, repeats), groups) if timed else [None] * len(flops)
    parts = [part for group in groups for part in group]
    rows = [
        LayerShare(
            part.name, isinstance(part.layer, QuantumLayer), f, s, count_parameters(part.layer)
        )
        for part, f, s in zip(parts, flops, seconds, strict=False)
    ]
    return ComputeSplit((*rows, LayerShare("loss", False, flops[-1], seconds[-1], 0)))


# --- the programs ---------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A layer, as the last one of a part of the model.

    Attributes:
        name: of its row.
        layer: itself.
        before: how many layers of the model come before it, or before the stack that it is in.
        inner: in a stack, how many of the stack's layers there are up to it; None if the model is
            run to the end of a whole layer.
    """

    name: str
    layer: Any
    before: int
    inner: int | None = None


def _groups(model: Any) -> list[list[_Part]]:
    """One group of parts per layer of the model: its inner layers, or itself."""
    groups = []
    for i, entry in enumerate(entries(model)):
        if not isinstance(entry.layer, QuantumSequential):
            groups.append([_Part(f"{entry.place} {entry.kind}", entry.layer, i)])
            continue
        inner = list(entry.layer.layers)
        names = [f"{entry.place}.{j} {type(layer).__name__}" for j, layer in enumerate(inner)]
        counts = [*range(1, len(inner)), None]
        parts = zip(names, inner, counts, strict=True)
        groups.append([_Part(name, layer, i, count) for name, layer, count in parts])
    return groups


def _run(layers: Sequence[Any], part: _Part | None, values: Array) -> Array:
    """Outputs of the model up to a part."""
    if part is None:
        return values
    for layer in layers[: part.before]:
        values = layer(values)
    layer = layers[part.before]
    return layer(values) if part.inner is None else _read(layer, part.inner, values)


def _read(stack: QuantumSequential, count: int, values: Array) -> Array:
    """Z after the first layers of a stack, on the qubits that its last layer reads."""
    *_, place, _ = stack._places()
    circuit = QuantumSequential(*list(stack.layers)[:count]).circuit(values)
    return stack.layers[-1].evaluate(circuit, pauli_features(place, ("Z",)))


class _Program(NamedTuple):
    """A function and what it is called with."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def _programs(model: nnx.Module, groups: Sequence[Sequence[_Part]], x: Array) -> list[_Program]:
    """Value and gradient of nothing, of each part, and of the loss alone."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def outputs(params: Any, rest: Any, x: Array, part: _Part | None) -> Array:
        whole = nnx.merge(graph, params, rest, copy=True)
        return _run([entry.layer for entry in entries(whole)], part, x)

    def step(params: Any, rest: Any, x: Array, weights: Array, part: _Part | None) -> Any:
        return jax.value_and_grad(lambda p: jnp.vdot(outputs(p, rest, x, part), weights))(params)

    programs, ones = [], x
    for part in (None, *(part for group in groups for part in group)):
        shape = jax.eval_shape(partial(outputs, part=part), params, rest, x)
        ones = jnp.ones(shape.shape, float_dtype())
        programs.append(_Program(partial(step, part=part), (params, rest, x, ones)))
    return [*programs, _Program(jax.value_and_grad(_loss), (ones,))]


def _loss(scores: Array) -> Array:
    labels = jnp.zeros(scores.shape[:-1], int)
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()


# --- the figures ----------------------------------------------------------------------------------


def _flops(program: _Program) -> float:
    """Floating-point operations, every loop as often as it runs."""
    traced = jax.jit(program.function).trace(*program.arguments)
    cost: Any = traced.lower().cost_analysis()
    return cost.get("flops", 0.0) + _repeated(traced.jaxpr.jaxpr)


def _repeated(jaxpr: Any) -> float:
    """Operations of all turns of all loops but the first, which XLA counts."""
    extra = 0.0
    for equation in jaxpr.eqns:
        for inner in _inner(equation):
            repeated = _repeated(inner.jaxpr)
            extra += repeated
            turns = _uncounted_turns(equation)
            if turns:
                body: Any = jax.jit(jaxpr_as_fun(inner)).lower(*inner.in_avals)
                extra += turns * (body.cost_analysis().get("flops", 0.0) + repeated)
    return extra


def _uncounted_turns(equation: Any) -> int:
    """Turns of a loop that XLA leaves out: it counts those written out, and the rest of them."""
    if equation.primitive.name != "scan":
        return 0
    length, unroll = equation.params["length"], int(equation.params["unroll"])
    return max(length - length % unroll - unroll, 0)


def _inner(equation: Any) -> Iterator[Any]:
    """The programs that an equation stands for: those it holds, or the engine's own."""
    if equation.primitive.name.startswith("qjax_"):
        run = partial(equation.primitive.impl, **equation.params)
        yield jax.make_jaxpr(run)(*(v.aval for v in equation.invars))
        return
    for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_jaxpr):
        if isinstance(value, ClosedJaxpr):
            yield value
        elif isinstance(value, Jaxpr):
            yield ClosedJaxpr(value, ())


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)


def _seconds(programs: Sequence[_Program], repeats: int) -> list[float]:
    """Median seconds of a call of each, once compiled, in turns."""
    compiled = [jax.jit(p.function).lower(*p.arguments).compile() for p in programs]
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(repeats + 1):
        for run, program, row in zip(compiled, programs, times, strict=True):
            start = perf_counter()
            jax.block_until_ready(run(*program.arguments))
            if turn:  # the first call of a program is slower
                row.append(perf_counter() - start)
    return [statistics.median(row) for row in times]


def _spread(figures: Sequence[float], groups: Sequence[Sequence[_Part]]) -> list[float]:
    """Figures of the growing model as one per part, and one for the loss.

    Args:
        figures: of nothing, up to each part, and of the loss.
        groups: the parts.
    """
    ends = np.cumsum([len(group) for group in groups])
    totals = _increments([figures[0], *(figures[end] for end in ends)])
    result: list[float] = []
    for group, end, total in zip(groups, ends, totals, strict=True):
        steps = _increments(figures[end - len(group) : end + 1])
        result += [step * _ratio(total, sum(steps)) for step in steps]
    return [*result, figures[0] + figures[-1]]


def _increments(figures: Sequence[float]) -> list[float]:
    """Differences of neighbours, none below zero, that add up to that of the ends if they can."""
    steps = np.maximum(np.diff(figures), 0.0)
    scale = _ratio(max(figures[-1] - figures[0], 0.0), steps.sum())
    return [float(step) for step in steps * scale]
