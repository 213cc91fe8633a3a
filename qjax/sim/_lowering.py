"""From the steps of a circuit to factors: small matrices on the sites of the state.

A state vector of n qubits has n sites of dimension two. A density matrix is held by its Pauli
coefficients, n sites of dimension four, and one site of dimension two for every measurement
outcome that a later operation depends on. In both pictures everything that a circuit does is
linear, so one engine serves them.

For a state vector, gates are rewritten so that nearly every factor is either real or a diagonal of
phases, exact identities both: RX = S^dagger RY S, U = P RY P, Y = S X S^dagger, and so on. Real
matrices take half the work of complex ones, and all phases between two real stages are one pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from itertools import product
from math import pi, prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from qjax._typing import Array
from qjax.circuit import (
    Channel,
    Gate,
    PauliRotation,
    Reference,
    Step,
    Structure,
    channel_arguments,
    kind_matrix,
)
from qjax.errors import CircuitError
from qjax.observables import PAULI_MATRICES, word_matrix
from qjax.sim._bits import BitMap, affine_bit_map

__all__ = ["Factor", "Form", "lower_gate", "lower_mixed", "lower_pure", "pauli_transfer"]

LONGEST_REAL_WORD = 4  # letters of a Pauli rotation that is built as a matrix
LARGEST_NAMED = 5  # qubits of a named gate that is built as a matrix; above it becomes phases
LARGEST_MATRIX = 10  # qubits of a gate that is known by its matrix alone
LARGEST_TRANSFER = 4  # the same for a density matrix


@dataclass(frozen=True, eq=False)
class Form:
    """How the matrix of a factor depends on its numbers; compared by identity.

    Exactly one of `basis`, `columns` and `function` says how, save that the real diagonals (Z,
    CZ) have both of the first two.

    Attributes:
        name: as printed.
        dims: of its sites.
        basis: (features, K, K) float64 or complex128: the matrix is sum_f feature_f basis_f.
        features: per entry of `basis` "1", or "cos", "sin" of the angle, or "cos/2", "sin/2" of
            half of it.
        columns: per site two numbers: the matrix is diag exp(i angle prod_s columns[s][bit_s]).
        function: from (numbers, data) to the matrix (K, K).
        complex: whether the matrix has an imaginary part.
        unitary: whether its transpose undoes it.
        inner: factors that act in its stead on sites of dimension two (see `Block`).
    """

    name: str
    dims: tuple[int, ...]
    basis: np.ndarray | None = None
    features: tuple[str, ...] = ()
    columns: tuple[tuple[float, float], ...] | None = None
    function: Callable[[tuple, Any], Any] | None = None
    complex: bool = False
    unitary: bool = True
    inner: "tuple[Factor, ...]" = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """K, the product of the dimensions."""
        return prod(self.dims)

    @cached_property
    def bit_map(self) -> BitMap | None:
        """How a gate that only renames basis states, such as CX, does it; None for any other."""
        matrix = self.basis
        if matrix is None or len(matrix) > 1 or self.columns is not None or set(self.dims) != {2}:
            return None
        return affine_bit_map(matrix[0])


class Factor(NamedTuple):
    """A form on some sites of the state, and which numbers it takes.

    Attributes:
        form: of the matrix.
        sites: what it acts on, most significant first.
        references: of its numbers.
        data: index of a further array, or None.
    """

    form: Form
    sites: tuple[int, ...]
    references: tuple[Reference, ...] = ()
    data: int | None = None


ON = (0.0, 1.0)  # a control: acts where the bit is one
OFF = (1.0, 0.0)
SIGN = (1.0, -1.0)  # Z
_S, _H = np.diag([1, 1j]), np.array([[1, 1], [1, -1]]) * np.sqrt(0.5)
_ROTATION = PauliRotation(0.0, "Z", 0).kind
Conditions = tuple[tuple[int, int], ...]  # (site, value) of the outcomes that must hold


def _control(matrix: np.ndarray, values: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix where all controls have their values, and the identity elsewhere.

    Returns:
        The two summands, (acting, idle), on the controls and the matrix's own sites.
    """
    active = reduce(np.kron, [np.diag(ON if v else OFF) for v in values], np.eye(1))
    acting = np.kron(active, matrix)
    return acting, np.kron(np.eye(len(active)) - active, np.eye(len(matrix)))


def _tidy(matrix: np.ndarray) -> np.ndarray:
    """Real where it is real."""
    return matrix if np.iscomplexobj(matrix) and np.imag(matrix).any() else np.real(matrix)


def _fixed(name: str, matrix: np.ndarray, dims: Sequence[int] = (), **flags: Any) -> Form:
    matrix = _tidy(np.asarray(matrix))
    dims = tuple(dims) or (2,) * (len(matrix).bit_length() - 1)
    return Form(
        name, dims, basis=matrix[None], features=("1",), complex=np.iscomplexobj(matrix), **flags
    )


@lru_cache(maxsize=4096)
def _fixed_form(name: str, controls: int) -> Form:
    """A named real matrix, with controls."""
    return _fixed("C" * controls + name, np.add(*_control(_REAL[name], (1,) * controls)))


_TURN = np.array([[np.cos(pi / 8), -np.sin(pi / 8)], [np.sin(pi / 8), np.cos(pi / 8)]])
_REAL = {
    "H": _H,
    "Z to H": _TURN.T,  # H = A Z A^T
    "H to Z": _TURN,
    "X": np.real(PAULI_MATRICES["X"]),
    "SWAP": np.eye(4)[[0, 2, 1, 3]],
    "project 0": np.diag(OFF),
    "project 1": np.diag(ON),
}


@lru_cache(maxsize=4096)
def _projector(value: int) -> Form:
    return _fixed(f"project {value}", _REAL[f"project {value}"], unitary=False)


@lru_cache(maxsize=4096)
def _rotation_form(word: str, controls: int) -> Form:
    """cos(theta/2) - i sin(theta/2) P where the controls are one."""
    pauli = word_matrix(tuple((i, c) for i, c in enumerate(word) if c != "I"), len(word))
    cosine, idle = _control(np.eye(len(pauli)), (1,) * controls)
    sine, _ = _control(_tidy(-1j * pauli), (1,) * controls)
    parts = [idle, cosine, sine] if controls else [cosine, sine]
    return Form(
        "C" * controls + f"R{word}",
        (2,) * (controls + len(word)),
        basis=np.stack(parts),
        features=("1", "cos/2", "sin/2")[-len(parts) :],
        complex=word.count("Y") % 2 == 0,
    )


@lru_cache(maxsize=4096)
def _phase_form(name: str, columns: tuple[tuple[float, float], ...], fixed: float | None) -> Form:
    """Phases: of an angle, or fixed (then a real diagonal has a matrix as well)."""
    basis = None
    if fixed is not None and len(columns) <= LARGEST_MATRIX:
        table = fixed * reduce(np.kron, [np.array(c) for c in columns])
        diagonal = np.diag(np.exp(1j * table)).round(15)
        basis = None if np.imag(diagonal).any() else np.real(diagonal)[None]
    return Form(
        name, (2,) * len(columns), columns=columns, basis=basis, complex=basis is None,
        features=("1",) if basis is not None else (),
    )  # fmt: skip


def _phase(name: str, sites: Sequence[int], columns: Any, angle: Any) -> Factor:
    """Phases by a fixed angle or by a reference to one."""
    if isinstance(angle, Reference):
        return Factor(_phase_form(name, tuple(columns), None), tuple(sites), (angle,))
    scaled = (tuple(angle * c for c in columns[0]), *columns[1:])
    return Factor(_phase_form(name, scaled, 1.0), tuple(sites))


def _scaled(reference: Reference, factor: float) -> Reference:
    return reference._replace(scale=reference.scale * factor, shift=reference.shift * factor)


def _expand_evolution(step: Step) -> list[Step]:
    """The Pauli rotations of a product formula; the step itself where it is exact."""
    words, scheme = step.detail
    if scheme is None:
        return [step]
    repeats, order = scheme
    share = 2 / (repeats * order) * (-1 if step.adjoint else 1)
    rotations = [
        step._replace(
            kind=_ROTATION, detail=word, references=(_scaled(reference, share),), adjoint=False
        )
        for word, reference in zip(words, step.references, strict=True)
    ]
    formula = (rotations + (rotations[::-1] if order == 2 else [])) * repeats
    return formula[::-1] if step.adjoint else formula


class _GateLowering:
    """Factors of one gate on a state vector.

    `matrices` asks for phases of angles that a whole batch shares and for rotations that a whole
    batch shares as real matrices; angles that differ from sample to sample become phases instead,
    which apply to a batch in one elementwise pass.
    """

    def __init__(self, step: Step, sample: bool):
        self.step, self.sample = step, sample
        self.controls, self.targets = step.controls, step.targets
        self.on = (ON,) * len(step.controls)

    def phase(self, columns: Any, angle: Any) -> Factor:
        """A diagonal on the targets, where the controls are one."""
        return _phase(self.step.name, self.step.qubits, (*self.on, *columns), angle)

    def s(self, target: int, sign: int) -> Factor:
        """S or its adjoint on a target, whatever the controls."""
        return _phase("S" if sign > 0 else "S†", (target,), (ON,), sign * pi / 2)

    def named(self, name: str) -> list[Factor]:
        """X, H or SWAP with its controls; with many of them as phases between fixed gates."""
        if len(self.step.qubits) <= LARGEST_NAMED:
            return [Factor(_fixed_form(name, len(self.controls)), self.step.qubits)]
        *others, target = self.targets
        if name == "SWAP":  # CX, CX the other way round with all controls, CX
            (other,) = others
            turn = Factor(_fixed_form("X", 1), (other, target))
            around = self.step._replace(controls=(*self.controls, target), targets=(other,))
            return [turn, *_GateLowering(around, False).named("X"), turn]
        before, after = ("H", "H") if name == "X" else ("Z to H", "H to Z")
        middle = self.phase((ON,), pi)
        return [
            Factor(_fixed_form(before, 0), (target,)), middle,
            Factor(_fixed_form(after, 0), (target,)),
        ]  # fmt: skip

    def rotation(self, word: str, reference: Reference) -> list[Factor]:
        """exp(-i theta/2 P), controlled."""
        letters = [(t, c) for t, c in zip(self.targets, word, strict=True) if c != "I"]
        if not letters:  # a phase of the controls
            return [self.phase(((1.0, 1.0),) * len(word), _scaled(reference, -0.5))]
        many = len(letters) > LONGEST_REAL_WORD or len(self.step.qubits) > LARGEST_NAMED
        if self.sample or many or set(word) <= {"I", "Z"}:
            return self.diagonalised(letters, reference)
        sites, active = zip(*letters, strict=True)
        before, after = [], []
        if active.count("Y") % 2 == 0:  # turn one X into Y, or one Y into X
            place = next(i for i, c in enumerate(active) if c != "Z")
            sign = 1 if active[place] == "X" else -1
            before, after = [self.s(sites[place], sign)], [self.s(sites[place], -sign)]
            active = (*active[:place], "Y" if sign > 0 else "X", *active[place + 1 :])
        form = _rotation_form("".join(active), len(self.controls))
        return [*before, Factor(form, self.controls + sites, (reference,)), *after]

    def diagonalised(self, letters: list, reference: Reference) -> list[Factor]:
        """Each letter turned to Z, the phases, and back."""
        before: list[Factor] = []
        after: list[Factor] = []
        for site, letter in letters:
            hadamard = Factor(_fixed_form("H", 0), (site,))
            if letter == "Y":
                before += [self.s(site, -1), hadamard]
                after += [hadamard, self.s(site, 1)]
            elif letter == "X":
                before.append(hadamard)
                after.append(hadamard)
        sites = tuple(site for site, _ in letters)
        columns = (*self.on, *((SIGN,) * len(letters)))
        middle = _phase(self.step.name, self.controls + sites, columns, _scaled(reference, -0.5))
        return [*before, middle, *after]

    def factors(self) -> list[Factor]:
        step, name = self.step, self.step.kind.name
        sign = -1 if step.adjoint else 1
        word = _word(step)
        if name == "I":
            return []
        if word is not None:
            return self.rotation(word, _scaled(step.references[0], sign))
        if name in _FIXED_PHASES:
            return [self.phase((ON,), sign * _FIXED_PHASES[name])]
        if name in ("H", "X", "SWAP"):
            return self.named(name)
        if name == "P":
            return [self.phase((ON,), _scaled(step.references[0], sign))]
        if name == "Y":  # S X S^dagger
            (target,) = self.targets
            return [self.s(target, -1), *self.named("X"), self.s(target, 1)]
        if name == "SX":  # H S H, the phases controlled
            hadamard = Factor(_fixed_form("H", 0), self.targets)
            return [hadamard, self.phase((ON,), sign * pi / 2), hadamard]
        if name == "ISWAP":  # i on |01> and |10>: phases pi/4 (1 - Z Z)
            ones, signs = ((1.0, 1.0),) * 2, (SIGN,) * 2
            phases = [self.phase(ones, sign * pi / 4), self.phase(signs, -sign * pi / 4)]
            return [*self.named("SWAP"), *phases]
        if name == "U":
            return self.general_rotation()
        return [_dense(step)]

    def general_rotation(self) -> list[Factor]:
        """U(theta, phi, lam) = P(phi) RY(theta) P(lam)."""
        theta, phi, lam = self.step.references
        if self.step.adjoint:
            theta, phi, lam = (_scaled(r, -1) for r in (theta, lam, phi))
        turn = self.rotation("Y", theta)
        return [self.phase((ON,), lam), *turn, self.phase((ON,), phi)]


_FIXED_PHASES = {"Z": pi, "S": pi / 2, "T": pi / 4}
_WORDS = {"RX": "X", "RY": "Y", "RZ": "Z", "RXX": "XX", "RYY": "YY", "RZZ": "ZZ"}


def _word(step: Step) -> str | None:
    """Pauli word of a rotation, or None."""
    return step.detail if step.kind is _ROTATION else _WORDS.get(step.kind.name)


def _gate_matrix(step: Step, numbers: tuple, data: Any) -> Any:
    assert isinstance(step.kind, Gate)
    return kind_matrix(step.kind, numbers, data, step.detail, step.adjoint)


@lru_cache(maxsize=4096)
def _dense_form(step: Step) -> Form:
    """A gate that is only known by its matrix, with its controls; `step` without its place."""

    def function(numbers: tuple, data: Any) -> Array:
        return _embed(jnp.asarray(_gate_matrix(step, numbers, data)), (1,) * len(step.controls))

    return Form(step.name, (2,) * len(step.qubits), function=function, complex=True)


def _embed(matrix: Array, values: tuple[int, ...]) -> Array:
    """A batch of matrices (..., K, K) where the leading sites have their values, else 1."""
    size, patterns = matrix.shape[-1], 2 ** len(values)
    place = int("".join(map(str, values)) or "0", 2)
    active = np.zeros((patterns, 1, patterns, 1))
    active[place, 0, place, 0] = 1
    idle = np.zeros((patterns, patterns))
    idle[np.arange(patterns), np.arange(patterns)] = np.arange(patterns) != place
    rest = np.einsum("ij,kl->ikjl", idle, np.eye(size)).reshape((patterns * size,) * 2)
    acting = jnp.asarray(active, matrix.dtype) * matrix[..., None, :, None, :]
    return acting.reshape((*matrix.shape[:-2], *rest.shape)) + jnp.asarray(rest, matrix.dtype)


def _dense(step: Step) -> Factor:
    if len(step.qubits) > LARGEST_MATRIX:
        raise CircuitError(
            f"{step.name} on {len(step.qubits)} qubits is too large to simulate as a matrix; the "
            f"largest has {LARGEST_MATRIX}. Decompose it into smaller gates."
        )
    return Factor(_dense_form(_placeless(step)), step.qubits, step.references, step.data)


def _placeless(step: Step) -> Step:
    """The step on qubits 0, 1, ..., without its numbers: one form serves all its places."""
    controls, size = len(step.controls), len(step.qubits)
    return step._replace(
        controls=tuple(range(controls)), targets=tuple(range(controls, size)),
        references=tuple(Reference(0, 0) for _ in step.references),
        data=None if step.data is None else 0, conditions=(),
    )  # fmt: skip


def _is_sample(step: Step, leaves: frozenset[int], data: frozenset[int]) -> bool:
    return step.data in data or any(r.leaf in leaves for r in step.references)


def lower_gate(
    step: Step,
    sample_leaves: frozenset[int] = frozenset(),
    sample_data: frozenset[int] = frozenset(),
) -> list[Factor]:
    """Factors of a gate on a state vector.

    Args:
        step: of a circuit; its conditions are left to the caller.
        sample_leaves: arrays of angles that differ from sample to sample of a batch.
        sample_data: further arrays that do.
    """
    parts = _expand_evolution(step) if step.kind.name == "Evolution" else [step]
    factors: list[Factor] = []
    for part in parts:
        factors += _GateLowering(part, _is_sample(part, sample_leaves, sample_data)).factors()
    return factors


class _Outcomes:
    """What is known of measurement outcomes while a circuit is lowered."""

    def __init__(self, structure: Structure):
        self.used = {name for step in structure.steps for name, _ in step.conditions}
        self.site: dict[str, int] = {}
        self.fixed: dict[str, int] = {}
        self.next_site = structure.num_qubits

    def holds(self, step: Step) -> bool:
        """False if a post-selected outcome rules the step out."""
        return all(self.fixed.get(name, value) == value for name, value in step.conditions)

    def conditions(self, step: Step) -> Conditions:
        """Sites and values of the outcomes that the step depends on."""
        return tuple((self.site[n], v) for n, v in step.conditions if n in self.site)


def _relevant(structure: Structure, outcomes: _Outcomes) -> Any:
    for step in structure.steps:
        if outcomes.holds(step) and step.kind.name not in ("StatePreparation", "ReadoutError"):
            yield step


def lower_pure(
    structure: Structure,
    sample_leaves: frozenset[int] = frozenset(),
    sample_data: frozenset[int] = frozenset(),
) -> tuple[Factor, ...]:
    """Factors of a circuit of gates and post-selections on n sites of dimension two.

    Raises:
        CircuitError: if an operation does not keep the state pure.
    """
    outcomes = _Outcomes(structure)
    factors: list[Factor] = []
    for step in _relevant(structure, outcomes):
        if isinstance(step.kind, Gate):
            factors += lower_gate(step, sample_leaves, sample_data)
        elif step.kind.name == "Measure" and step.detail[1] is not None:
            name, value = step.detail
            outcomes.fixed[name] = value
            factors.append(Factor(_projector(value), step.targets))
        else:
            raise CircuitError(f"{step.name} does not keep a state pure.")
    return tuple(factors)


# Density matrices: r_P = Tr(P rho) for all Pauli words P, letters in the order IXYZ.


@lru_cache(maxsize=8)
def pauli_transfer(num_qubits: int) -> np.ndarray:
    """W with r = W vec(rho), (4**k, 4**k); vec(rho) = W^dagger r / 2**k."""
    letters = [PAULI_MATRICES[c] for c in "IXYZ"]
    words = [reduce(np.kron, chosen) for chosen in product(letters, repeat=num_qubits)]
    return np.stack([word.conj().reshape(-1) for word in words])


def _transfer_of(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Real transfer matrix of rho -> sum A rho B^dagger over the pairs (A, B)."""
    num_qubits = len(pairs[0][0]).bit_length() - 1
    table = pauli_transfer(num_qubits)
    whole = sum(np.kron(a, b.conj()) for a, b in pairs)
    return np.real(table @ whole @ table.conj().T) / 2**num_qubits


def _transfer_basis(name: str, basis: Sequence[np.ndarray], features: Sequence[str]) -> Form:
    """Transfer matrix of a gate sum_f feature_f M_f, its products of half angles written out."""
    parts: dict[str, list] = {"1": [], "cos/2": [], "sin/2": [], "cos": [], "sin": []}
    weights: dict[str, list[float]] = {key: [] for key in parts}

    def add(feature: str, a: np.ndarray, b: np.ndarray, weight: float = 1.0) -> None:
        parts[feature].append(weight * _transfer_of([(a, b)]))
        weights[feature].append(weight)

    for (f, a), (g, b) in product(list(zip(features, basis, strict=True)), repeat=2):
        if "1" in (f, g):
            add(g if f == "1" else f, a, b)
        elif f == g:  # cos^2 = (1 + cos)/2, sin^2 = (1 - cos)/2
            add("1", a, b, 0.5)
            add("cos", a, b, 0.5 if f == "cos/2" else -0.5)
        else:
            add("sin", a, b, 0.5)
    summed = {key: sum(tables) for key, tables in parts.items() if tables}
    kept = [key for key, table in summed.items() if np.abs(table).max() > 1e-15]
    size = len(basis[0]).bit_length() - 1
    return Form(name, (4,) * size, basis=np.stack([summed[k] for k in kept]), features=tuple(kept))


@lru_cache(maxsize=4096)
def _transfer_form(step: Step) -> Form:
    """Transfer matrix of a placeless gate with its controls."""
    controls = (1,) * len(step.controls)
    word = _word(step)
    if word is not None or step.kind.name == "P":
        pauli = (
            PAULI_MATRICES["Z"]
            if word is None
            else word_matrix(tuple((i, c) for i, c in enumerate(word) if c != "I"), len(word))
        )
        sign = -1 if step.adjoint else 1
        if word is None and controls:  # exp(i phi/2) up to a phase of the whole
            active = _control(np.diag(ON), controls)[0]
            cosine, sine = np.eye(len(active)), sign * 1j * (2 * active - np.eye(len(active)))
            return _transfer_basis(step.name, [cosine, sine], ["cos/2", "sin/2"])
        cosine, idle = _control(np.eye(len(pauli)), controls)
        sine = _control(-1j * sign * pauli, controls)[0]
        basis = [idle, cosine, sine] if controls else [cosine, sine]
        return _transfer_basis(step.name, basis, ["1", "cos/2", "sin/2"][-len(basis) :])
    if not step.references and step.data is None:
        matrix = np.add(*_control(np.asarray(_gate_matrix(step, (), None)), controls))
        dims = (4,) * len(step.qubits)
        return _fixed(step.name, _transfer_of([(matrix, matrix)]), dims)
    dense = _dense_form(step).function
    assert dense is not None

    def function(numbers: tuple, data: Any) -> Any:
        matrix = dense(numbers, data)
        pairs = matrix[..., :, None, :, None] * matrix.conj()[..., None, :, None, :]
        squared = pairs.reshape((*matrix.shape[:-2], *(s**2 for s in matrix.shape[-2:])))
        return _to_transfer(squared, len(step.qubits))

    return Form(step.name, (4,) * len(step.qubits), function=function)


def _to_transfer(superoperator: Any, num_qubits: int) -> Any:
    """Real transfer matrix of a superoperator on vec(rho)."""
    whole = jnp.asarray(superoperator)
    table = pauli_transfer(num_qubits)
    dtype = jnp.result_type(whole.dtype, np.complex64)
    left, right = jnp.asarray(table, dtype), jnp.asarray(table.conj().T / 2**num_qubits, dtype)
    product = jnp.matmul(jnp.matmul(left, whole.astype(dtype), precision="highest"), right,
                         precision="highest")  # fmt: skip
    return product.real


@lru_cache(maxsize=4096)
def _channel_form(step: Step) -> Form:
    kind = step.kind
    assert isinstance(kind, Channel)
    size = len(step.targets)

    def function(numbers: tuple, data: Any) -> Array:
        arguments = channel_arguments(kind, numbers, data, step.detail)
        return _to_transfer(kind.superoperator(*arguments), size)

    return Form(step.name, (4,) * size, function=function, unitary=False)


@lru_cache(maxsize=4096)
def _conditioned(form: Form, values: tuple[int, ...]) -> Form:
    """The form where recorded outcomes have the given values."""
    dims = (2,) * len(values) + form.dims
    if form.basis is not None:
        parts = {"1": _control(np.eye(form.size), values)[1]}
        for name, part in zip(form.features, form.basis, strict=True):
            parts[name] = parts.get(name, 0) + _control(part, values)[0]
        return Form(
            form.name, dims, basis=np.stack(list(parts.values())), features=tuple(parts),
            unitary=form.unitary,
        )  # fmt: skip
    inner = form.function
    assert inner is not None

    def function(numbers: tuple, data: Any) -> Array:
        return _embed(inner(numbers, data), values)

    return Form(form.name, dims, function=function, unitary=form.unitary)


def _record_form() -> Form:
    """Measurement into a fresh site: |0, a, b> -> delta_ab |a, a, a> on (record, row, column)."""
    matrix = np.zeros((8, 8))
    matrix[0, 0] = matrix[7, 3] = 1
    table = np.kron(np.eye(2), pauli_transfer(1))
    return _fixed("record", np.real(table @ matrix @ table.conj().T) / 2, (2, 4), unitary=False)


_RECORD = _record_form()
_DEPHASE = _fixed("dephase", np.diag([1.0, 0, 0, 1]), (4,), unitary=False)
_PROJECT = tuple(
    _fixed(f"project {v}", _transfer_of([(np.diag(c), np.diag(c))]), (4,), unitary=False)
    for v, c in enumerate((OFF, ON))
)


def _split_gate(step: Step, conditions: Conditions, num_qubits: int) -> Factor:
    """A gate too large for a transfer matrix: first on the rows, then its conjugate on the columns.

    The factors inside act on sites of dimension two: rows, columns, records.
    """
    n = num_qubits
    records = tuple(n + site for site, _ in conditions)  # after rows and columns
    flips = [
        Factor(_fixed_form("X", 0), (site,))
        for site, (_, value) in zip(records, conditions, strict=True)
        if value == 0
    ]

    def on(offset: int) -> list[Factor]:
        moved = step._replace(
            controls=(*records, *(offset + c for c in step.controls)),
            targets=tuple(offset + t for t in step.targets),
        )
        return lower_gate(moved)

    inner = (*flips, *on(0), *map(_conjugate, on(n)), *flips)
    form = Form(step.name, (), unitary=False, inner=inner)
    return Factor(form, (*(site for site, _ in conditions), *step.qubits))


def _conjugate(factor: Factor) -> Factor:
    return factor._replace(form=_conjugate_form(factor.form))


@lru_cache(maxsize=4096)
def _conjugate_form(form: Form) -> Form:
    if form.columns is not None:
        first = (-form.columns[0][0], -form.columns[0][1])
        return Form(
            form.name + "*", form.dims, columns=(first, *form.columns[1:]), basis=form.basis,
            features=form.features, complex=form.complex,
        )  # fmt: skip
    if not form.complex:
        return form
    function = form.function
    assert function is not None

    def conjugated(numbers: tuple, data: Any) -> Any:
        return function(numbers, data).conj()

    return Form(form.name + "*", form.dims, function=conjugated, complex=True)


def lower_mixed(structure: Structure) -> tuple[tuple[Factor, ...], tuple[int, ...]]:
    """Factors of any circuit on its Pauli coefficients, and the dimension of every site."""
    outcomes = _Outcomes(structure)
    factors: list[Factor] = []
    for step in _relevant(structure, outcomes):
        conditions = outcomes.conditions(step)
        if isinstance(step.kind, Gate | Channel):
            parts = _expand_evolution(step) if step.kind.name == "Evolution" else [step]
            factors += [_lower_mixed_step(part, conditions, structure) for part in parts]
        else:
            factors.append(_lower_measurement(step, outcomes))
    records = outcomes.next_site - structure.num_qubits
    return tuple(factors), (4,) * structure.num_qubits + (2,) * records


def _lower_mixed_step(step: Step, conditions: Conditions, structure: Structure) -> Factor:
    if isinstance(step.kind, Gate):
        if len(step.qubits) > LARGEST_TRANSFER:
            return _split_gate(step, conditions, structure.num_qubits)
        form = _transfer_form(_placeless(step))
    else:
        form = _channel_form(_placeless(step))
    if conditions:
        form = _conditioned(form, tuple(value for _, value in conditions))
    sites = (*(site for site, _ in conditions), *step.qubits)
    return Factor(form, sites, step.references, step.data)


def _lower_measurement(step: Step, outcomes: _Outcomes) -> Factor:
    name, postselect = step.detail
    if postselect is not None:
        outcomes.fixed[name] = postselect
        return Factor(_PROJECT[postselect], step.targets)
    if name not in outcomes.used:
        return Factor(_DEPHASE, step.targets)
    outcomes.site[name] = outcomes.next_site
    outcomes.next_site += 1
    return Factor(_RECORD, (outcomes.site[name], *step.targets))
