"""What a model is made of: qubits, depth, gates and parameters, layer by layer."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
from flax import nnx

from qjax._typing import ArrayLike, as_float_array
from qjax.circuit import Circuit
from qjax.nn._adaptive import AdaptiveLayer
from qjax.nn._conv import QuantumConv2D
from qjax.nn._layer import QuantumLayer
from qjax.nn._sequential import QuantumSequential
from qjax.nn._table import Entry, count_parameters, entries, text_table
from qjax.transforms import dilate

__all__ = ["LayerSummary", "Summary", "summary"]


@dataclass(frozen=True)
class LayerSummary:
    """One row of a summary.

    Attributes:
        name: place and class of the layer.
        qubits: of its circuit; None if it has none.
        depth: of its circuit, its encoding included; likewise.
        gates: how often each operation occurs, by name; of several circuits, in all of them.
        parameters: trainable numbers.
        output_shape: None for a layer inside a `QuantumSequential`, which hands on a state.
        kept_qubits: how many it hands on, if it is inside one.
        ancillas: qubits that its channels take on top where they must run as gates, on a device
            that has no channels (`qjax.transforms.dilate`).
    """

    name: str
    qubits: int | None
    depth: int | None
    gates: dict[str, int]
    parameters: int
    output_shape: tuple[int, ...] | None = None
    kept_qubits: int | None = None
    ancillas: int = 0

    def _cells(self) -> tuple[str, ...]:
        state = f"{self.kept_qubits} qubits"
        more = f"+{self.ancillas}" if self.ancillas else ""
        return (
            self.name,
            "-" if self.qubits is None else f"{self.qubits}{more}",
            "-" if self.depth is None else str(self.depth),
            str(self.parameters),
            state if self.output_shape is None else str(self.output_shape),
            ", ".join(f"{count} {name}" for name, count in self.gates.items()) or "-",
        )


@dataclass(frozen=True)
class Summary:
    """The layers of a model; `print` and `nnx.display` show them as a table.

    Attributes:
        layers: one row per layer. The row of a `QuantumSequential` is followed by those of the
            layers in it.
        parameters: trainable numbers of the model.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int

    def __str__(self) -> str:
        header = ("layer", "qubits", "depth", "parameters", "output", "gates")
        total = ("total", "", "", str(self.parameters), "", "")
        rows = [layer._cells() for layer in self.layers]
        return text_table(header, [*rows, total], left=("output", "gates"))


def summary(model: nnx.Module, x: ArrayLike) -> Summary:
    """Lists the layers of a model with their circuits, parameters and output shapes.

    Nothing is computed: shapes and circuits are found by tracing.

    Args:
        model: a layer, or an `nnx.Sequential` of layers; Sequentials may be nested.
        x: inputs; only their shape matters.

    Returns:
        The summary. A circuit is the one that runs when the layer is called alone, with its
        encoding; within a `QuantumSequential` it is what the layer does to the state. Qubits are
        printed as 4+4 where channels take 4 ancillas on a device.

    Raises:
        ModelError: if the inputs do not fit the model.

    Example:
        >>> import jax.numpy as jnp
        >>> from qjax import nn
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(
        ...     nn.QuantumFeatureExtractor(2, depth=1, rngs=rngs), nn.DecodingLayer(6, 3, rngs=rngs)
        ... )
        >>> print(nn.summary(model, jnp.ones((8, 4))))
        layer                      qubits  depth  parameters  output  gates
        0 QuantumFeatureExtractor       2      4           4  (8, 6)  1 StatePreparation, 2 RY, ...
        1 DecodingLayer                 -      -          18  (8, 3)  -
        total                                             22
    """
    array = as_float_array(x)
    values: Any = jax.ShapeDtypeStruct(array.shape, array.dtype)
    rows: list[LayerSummary] = []
    for entry in entries(model, apart=False):
        output = _traced(entry.layer, lambda layer, v: layer(v), values)
        row = _row(f"{entry.place} {entry.kind}", entry.layer, _circuits(entry.layer, values))
        rows.append(replace(row, output_shape=output.shape))
        if isinstance(entry.layer, QuantumSequential):
            rows += _inner_rows(entry, values)
        values = output
    return Summary(tuple(rows), count_parameters(model))


def _traced(layer: Any, function: Any, values: Any) -> Any:
    """Shapes of function(layer, values), without a trace of it in the layer's state."""
    if not isinstance(layer, nnx.Module):  # a plain function, such as an activation
        return jax.eval_shape(partial(function, layer), values)
    graph, state = nnx.split(layer)
    return jax.eval_shape(lambda s, v: function(nnx.merge(graph, s, copy=True), v), state, values)


def _circuits(layer: Any, values: Any) -> list[Circuit]:
    """The circuits that run when a layer is called."""
    if isinstance(layer, AdaptiveLayer):
        return _circuits(layer.quantum, values)
    if isinstance(layer, QuantumConv2D):
        return _traced(layer, lambda m, v: [f.circuit(m.patches(v)) for f in m.filters], values)
    if isinstance(layer, QuantumLayer):
        return [_traced(layer, lambda m, v: m.circuit(v), values)]
    return []


def _inner_rows(entry: Entry, values: Any) -> list[LayerSummary]:
    rows = []
    for i, layer in enumerate(entry.layer.layers):
        circuits = [layer.operations()] if i else _circuits(layer, values)
        row = _row(f"{entry.place}.{i} {type(layer).__name__}", layer, circuits)
        rows.append(replace(row, kept_qubits=len(layer.kept_qubits)))
    return rows


def _row(name: str, layer: Any, circuits: list[Circuit]) -> LayerSummary:
    gates: Counter[str] = Counter()
    for circuit in circuits:
        gates.update(circuit.count_operations())
    return LayerSummary(
        name,
        max((circuit.num_qubits for circuit in circuits), default=None),
        max((circuit.depth for circuit in circuits), default=None),
        dict(gates),
        count_parameters(layer),
        ancillas=max(map(_count_ancillas, circuits), default=0),
    )


def _count_ancillas(circuit: Circuit) -> int:
    return jax.eval_shape(dilate, circuit).num_qubits - circuit.num_qubits
