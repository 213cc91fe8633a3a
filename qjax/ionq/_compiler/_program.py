"""Native gates whose numbers follow from angles that are given later.

Compiling yields phases that are linear in the unknown angles, in bits that say which side of a
range an angle lies on, and in products of both. Evaluating them is a few matrix products.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._typing import float_dtype
from qjax.circuit import Circuit, Leaf, Reference, Step, Structure
from qjax.ionq._compiler._emit import NativeGate
from qjax.ionq._native import GPI, GPI2, MS, ZZ
from qjax.transforms._linear import Linear, Number

__all__ = ["Program"]

_KINDS = {gate.kind.name: gate.kind for gate in (GPI, GPI2, MS, ZZ)}
_ROUNDING = 1e-6  # of phases in single precision


@dataclass(frozen=True, eq=False)
class Program:
    """Native gates and frames as forms in unknown angles.

    Attributes:
        num_qubits: size of the register.
        gates: the native gates; their numbers are in turns.
        frames: per ion the turn that is left to do.
        couplings: number of a coupling -> its angle in turns, where that is not known.
    """

    num_qubits: int
    gates: tuple[NativeGate, ...]
    frames: tuple[Number, ...]
    couplings: Mapping[int, Linear]

    @cached_property
    def structure(self) -> Structure:
        """The native circuit without its numbers."""
        steps, used = [], 0
        for gate in self.gates:
            size = len(gate.numbers)
            references = tuple(Reference(0, used + k) for k in range(size))
            steps.append(Step(_KINDS[gate.name], gate.qubits, references=references))
            used += size
        # Without gates the leaf is empty, but its array still carries the batch axes.
        return Structure(self.num_qubits, tuple(steps), (Leaf(used),))

    @cached_property
    def _outputs(self) -> list[Number]:
        numbers = [number for gate in self.gates for number in gate.numbers]
        return [*numbers, *self.frames]

    @cached_property
    def _is_phase(self) -> np.ndarray:
        """Which outputs matter modulo one; the last number of a coupling does not."""
        flags = [
            gate.name in ("GPI", "GPI2") or (gate.name == "MS" and k < 2)
            for gate in self.gates
            for k in range(len(gate.numbers))
        ]
        return np.array(flags + [True] * len(self.frames), dtype=bool)

    @property
    def unknowns(self) -> list[Any]:
        """The unknown angles, (leaf, index) each."""
        return self._forms.unknowns

    @cached_property
    def _forms(self) -> "_Forms":
        return _Forms(self._outputs, dict(self.couplings))

    def evaluate(
        self,
        values: Mapping[Hashable, Any],
        xp: Any = jnp,
        batch_shape: tuple[int, ...] = (),
    ) -> tuple[Circuit, Any]:
        """The native circuit and the frames for given angles.

        Args:
            values: array (..., size) of every leaf that the unknowns name.
            xp: jax.numpy, or numpy to stay on the host in double precision.
            batch_shape: what the batch axes of the values broadcast to, or more axes than they
                have, where values that the gates do not need have them.

        Returns:
            The circuit, and the frames (..., num_qubits) in turns, both with these axes.
        """
        if self._forms.unknowns:
            numbers = self._forms.evaluate(values, xp)
            numbers = numbers - xp.where(self._is_phase, _whole_turns(numbers, xp), 0)
        else:
            known = np.array([n for n in self._outputs if isinstance(n, float)])
            numbers = known - np.where(self._is_phase, _whole_turns(known, np), 0)
        numbers = xp.broadcast_to(numbers, (*batch_shape, numbers.shape[-1]))
        size = numbers.shape[-1] - len(self.frames)
        circuit = Circuit.from_structure(self.structure, (numbers[..., :size],))
        return circuit, numbers[..., size:]


class _Forms:
    """Linear forms in unknowns, bits and products, as matrices."""

    def __init__(self, outputs: list[Number], couplings: dict[int, Linear]):
        linear = [n for n in (*outputs, *couplings.values()) if isinstance(n, Linear)]
        keys: dict[Any, None] = dict.fromkeys(key for n in linear for key in n.terms)
        self.sets: list[Any] = [key[1] for key in keys if _tag(key) == "bit"]
        self.sets += [key[1] for key in keys if _tag(key) == "signed"]
        self.sets = list(dict.fromkeys(self.sets))
        self.products: list[Any] = [key for key in keys if _tag(key) == "signed"]
        plain = [key for key in keys if _tag(key) is None]
        plain += [key[2] for key in self.products]
        self.unknowns: list[Any] = list(dict.fromkeys(plain))
        self.couplings = list(couplings)
        self.angles = _matrix(list(couplings.values()), self.unknowns)
        bits = [(name, c) for name in ("negative", "odd") for c in self.couplings]
        self.parities = np.array([[bit in s for s in self.sets] for bit in bits], dtype=float)
        self.parities = self.parities.reshape(len(bits), len(self.sets))
        columns = [*self.unknowns, *(("size", c) for c in self.couplings)]
        columns += [*(("bit", s) for s in self.sets), *self.products]
        self.outputs = _matrix(outputs, columns)

    def evaluate(self, values: Mapping[Any, Any], xp: Any) -> Any:
        dtype = np.dtype(float) if xp is np else float_dtype()
        leaves = {leaf: xp.asarray(values[leaf], dtype) for leaf, _ in self.unknowns}
        chosen = [leaves[leaf][..., i] for leaf, i in self.unknowns]
        x = xp.stack(xp.broadcast_arrays(*chosen), axis=-1)
        turns = _apply(self.angles, x, xp)
        half_turns = xp.round(2 * turns)  # its derivative is zero
        rest = turns - half_turns / 2
        negative = (rest < 0).astype(dtype)
        odd = xp.mod(half_turns, 2)
        bits = xp.mod(xp.concatenate([negative, odd], axis=-1) @ self.parities.astype(dtype), 2)
        columns = [x, rest * (1 - 2 * negative), bits]
        if self.products:
            which = [self.sets.index(key[1]) for key in self.products]
            what = [self.unknowns.index(key[2]) for key in self.products]
            columns.append((1 - 2 * bits[..., np.array(which)]) * x[..., np.array(what)])
        return _apply(self.outputs, xp.concatenate(columns, axis=-1), xp)


def _whole_turns(numbers: Any, xp: Any) -> Any:
    """Turns beyond (-1/2, 1/2]; rounding errors do not make 1/2 a -1/2. The derivative is zero."""
    return xp.ceil(numbers - 0.5 - _ROUNDING)


def _tag(key: Any) -> str | None:
    """What a key stands for: an unknown has none."""
    return key[0] if key[0] in ("bit", "signed", "size") else None


def _matrix(numbers: list[Number], columns: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Constants (m,) and factors (len(columns), m) of linear forms."""
    place = {key: i for i, key in enumerate(columns)}
    factors = np.zeros((len(columns), len(numbers)))
    constants = np.zeros(len(numbers))
    for j, number in enumerate(numbers):
        constants[j] = number.constant if isinstance(number, Linear) else number
        if isinstance(number, Linear):
            for key, factor in number.terms.items():
                factors[place[key], j] = factor
    return constants, factors


def _apply(form: tuple[np.ndarray, np.ndarray], columns: Any, xp: Any) -> Any:
    constants, factors = (array.astype(columns.dtype) for array in form)
    if xp is np:
        return columns @ factors + constants
    return jnp.matmul(columns, factors, precision=jax.lax.Precision.HIGHEST) + constants
