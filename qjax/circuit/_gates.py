"""The gate table: one row a gate, and the few gates whose arguments need a function of their own.

To add a gate, add a row here and re-export its name; drawing, inverse, control, gradients,
simulation and the test sweep follow from the row.
"""

from collections.abc import Iterable
from functools import reduce
from inspect import Parameter as Argument
from inspect import Signature
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_choice, check_numbers, check_positive_int, check_qubits
from qjax._typing import Array, ArrayLike, is_concrete
from qjax.circuit._kind import Gate
from qjax.circuit._operation import Operation, make_operation
from qjax.circuit._parameter import Slot
from qjax.errors import CircuitError
from qjax.observables import PAULI_MATRICES, as_pauli_sum, word_matrix

__all__ = ["Evolution", "GateConstructor", "PauliRotation", "Unitary"]


class GateConstructor:
    """Callable that makes operations of one gate: angles first, then qubits, controls in front."""

    def __init__(self, kind: Gate, num_controls: int, formula: str):
        assert kind.parameters is not None and kind.num_targets is not None
        self.kind = kind
        self.num_controls = num_controls
        self.formula = formula
        self.__name__ = self.__qualname__ = "C" * num_controls + kind.name
        self.__module__ = __name__
        angles = kind.parameters
        controls = ("control",) if num_controls == 1 else ("control0", "control1")[:num_controls]
        single = kind.num_targets == 1
        targets = (("target",) if num_controls else ("qubit",)) if single else ("qubit0", "qubit1")
        names = (*angles, *controls, *targets)
        self.__signature__ = Signature(
            [Argument(name, Argument.POSITIONAL_OR_KEYWORD) for name in names]
        )
        values = [f"0.{i + 3}" for i in range(len(angles))]
        call = ", ".join([*values, *(str(q) for q in range(len(names) - len(angles)))])
        listed = "".join(f"    {a}: angle in radians, a number or (...).\n" for a in angles)
        listed += "".join(f"    {q}: qubit.\n" for q in names[len(angles) :])
        self.__doc__ = (
            f"{self.__name__} gate: {formula}.\n\nArgs:\n{listed}\n"
            "Raises:\n    CircuitError: on a wrong number of qubits or repeated qubits.\n\n"
            f"Example:\n    >>> import qjax as qj\n    >>> qj.{self.__name__}({call})\n"
            f"    {self.__name__}({call})\n"
        )

    def __call__(self, *arguments: Any, **named: Any) -> Operation:
        try:
            bound = self.__signature__.bind(*arguments, **named)
        except TypeError:
            raise CircuitError(
                f"{self.__name__} takes the arguments {self.__signature__}, angles first, then "
                f"qubits, but got {arguments + tuple(named.items())!r}."
            ) from None
        values = tuple(bound.arguments.values())
        num_angles = len(self.kind.parameters or ())
        return make_operation(
            self.kind, values[:num_angles], values[num_angles:], num_controls=self.num_controls
        )

    def __reduce__(self):
        return self.__name__  # pickled as a name of this module

    def __repr__(self) -> str:
        return f"<gate {self.__name__}{self.__signature__}>"


def _row(
    name: str, formula: str, matrix: Any, parameters: tuple[str, ...] = (), num_targets: int = 1,
    **flags: Any,
) -> GateConstructor:  # fmt: skip
    kind = Gate(name=name, num_targets=num_targets, parameters=parameters, matrix=matrix, **flags)
    return GateConstructor(kind, 0, formula)


def _controlled(gate: GateConstructor, num_controls: int = 1) -> GateConstructor:
    ones = "all controls are 1" if num_controls > 1 else "the control is 1"
    return GateConstructor(gate.kind, num_controls, f"{gate.kind.name} where {ones}")


def _stack(rows: list[list[Any]]) -> Array:
    """Stacks entries of shape (...) to a matrix (..., K, K)."""
    entries = [entry for row in rows for entry in row]
    shape = np.broadcast_shapes(*(np.shape(e) for e in entries))
    dtype = jnp.result_type(*entries)
    flat = jnp.stack([jnp.broadcast_to(jnp.asarray(e, dtype), shape) for e in entries], axis=-1)
    return flat.reshape((*shape, len(rows), len(rows)))


def _rx(theta: Array) -> Array:
    c, s = jnp.cos(theta / 2), -1j * jnp.sin(theta / 2)
    return _stack([[c, s], [s, c]])


def _ry(theta: Array) -> Array:
    c, s = jnp.cos(theta / 2), jnp.sin(theta / 2)
    return _stack([[c, -s], [s, c]])


def _rz(theta: Array) -> Array:
    phase = jnp.exp(-0.5j * theta)
    return _stack([[phase, 0], [0, phase.conj()]])


def _p(phi: Array) -> Array:
    return _stack([[1, 0], [0, jnp.exp(1j * phi)]])


def _u(theta: Array, phi: Array, lam: Array) -> Array:
    c, s = jnp.cos(theta / 2), jnp.sin(theta / 2)
    return _stack(
        [
            [c + 0j, -s * jnp.exp(1j * lam)],
            [s * jnp.exp(1j * phi), c * jnp.exp(1j * (phi + lam))],
        ]
    )


def _pauli_rotation(word: str, theta: Array) -> Array:
    """cos(theta/2) I - i sin(theta/2) P."""
    pauli = word_matrix(
        tuple((i, c) for i, c in enumerate(word) if c != "I"), len(word)
    )  # (2**k, 2**k)
    half = (theta / 2)[..., None, None]
    rotation: Any = -1j * pauli
    if not rotation.imag.any():  # an odd number of Y: a real rotation
        rotation = rotation.real
    dtype = jnp.result_type(half.dtype, np.complex64 if np.iscomplexobj(rotation) else half.dtype)
    identity = jnp.eye(len(pauli), dtype=half.dtype)
    return jnp.cos(half) * identity + jnp.sin(half) * jnp.asarray(rotation, dtype=dtype)


def _rotation_row(name: str, word: str) -> GateConstructor:
    return _row(
        name, f"exp(-i theta/2 {'(x)'.join(word)})", lambda theta: _pauli_rotation(word, theta),
        ("theta",), 2, rotation=True, diagonal=word == "ZZ",
    )  # fmt: skip


_SQRT_HALF = np.sqrt(0.5)
_SWAP = np.eye(4, dtype=complex)[[0, 2, 1, 3]]
_ISWAP = np.diag([1, 1j, 1j, 1]) @ _SWAP

# fmt: off
I = _row("I", "the identity", PAULI_MATRICES["I"], diagonal=True, real=True, hermitian=True)  # noqa: E741
X = _row("X", "[[0, 1], [1, 0]]", PAULI_MATRICES["X"], real=True, hermitian=True)
Y = _row("Y", "[[0, -i], [i, 0]]", PAULI_MATRICES["Y"], hermitian=True)
Z = _row("Z", "diag(1, -1)", PAULI_MATRICES["Z"], diagonal=True, real=True, hermitian=True)
H = _row("H", "[[1, 1], [1, -1]] / sqrt(2)", np.array([[1, 1], [1, -1 + 0j]]) * _SQRT_HALF, real=True, hermitian=True)
S = _row("S", "diag(1, i)", np.diag([1, 1j]), diagonal=True)
T = _row("T", "diag(1, exp(i pi/4))", np.diag([1, np.exp(0.25j * np.pi)]), diagonal=True)
SX = _row("SX", "[[1+i, 1-i], [1-i, 1+i]] / 2, a square root of X", np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2)
RX = _row("RX", "exp(-i theta/2 X)", _rx, ("theta",), rotation=True)
RY = _row("RY", "exp(-i theta/2 Y)", _ry, ("theta",), real=True, rotation=True)
RZ = _row("RZ", "exp(-i theta/2 Z)", _rz, ("theta",), diagonal=True, rotation=True)
P = _row("P", "diag(1, exp(i phi))", _p, ("phi",), diagonal=True, rotation=True)
U = _row("U", "[[c, -exp(i lam) s], [exp(i phi) s, exp(i (phi + lam)) c]], c, s = cos, sin(theta/2)", _u, ("theta", "phi", "lam"))
SWAP = _row("SWAP", "exchanges two qubits", _SWAP, (), 2, real=True, hermitian=True)
ISWAP = _row("ISWAP", "exchanges two qubits, with a factor i on |01> and |10>", _ISWAP, (), 2)
RXX = _rotation_row("RXX", "XX")
RYY = _rotation_row("RYY", "YY")
RZZ = _rotation_row("RZZ", "ZZ")
CX, CY, CZ, CH = (_controlled(gate) for gate in (X, Y, Z, H))
CRX, CRY, CRZ, CP = (_controlled(gate) for gate in (RX, RY, RZ, P))
CCX = _controlled(X, 2)
CSWAP = _controlled(SWAP)
# fmt: on

_PAULI_ROTATION = Gate(
    name="PauliRotation",
    num_targets=None,
    parameters=("theta",),
    matrix=_pauli_rotation,
    diagonal=lambda word: set(word) <= {"I", "Z"},
    real=lambda word: word.count("Y") % 2 == 1,
    rotation=True,
)


def PauliRotation(theta: Any, word: str, qubits: Any) -> Operation:
    """Rotation exp(-i theta/2 P) generated by a Pauli word P.

    Args:
        theta: angle in radians, a number or (...).
        word: letters in "IXYZ", one per qubit.
        qubits: the qubits, in the order of the letters.

    Raises:
        CircuitError: if the letters are others, or not as many as the qubits.

    Example:
        >>> import qjax as qj
        >>> qj.PauliRotation(0.3, "XYZ", (0, 1, 2))
        PauliRotation('XYZ', 0.3, 0, 1, 2)
    """
    where = check_qubits(qubits)
    if not isinstance(word, str) or not set(word) <= set("IXYZ") or len(word) != len(where):
        raise CircuitError(
            f"Argument `word` must have one letter of 'IXYZ' per qubit, but is {word!r} for the "
            f"qubits {where!r}."
        )
    return make_operation(_PAULI_ROTATION, (theta,), where, detail=word)


_UNITARY = Gate(
    name="Unitary", num_targets=None, data_rank=2, matrix=lambda matrix: jnp.asarray(matrix)
)


def Unitary(matrix: ArrayLike, qubits: Any) -> Operation:
    """Gate given by its matrix.

    Args:
        matrix: (..., 2**k, 2**k) unitary.
        qubits: k qubits, the first one the most significant bit of the matrix.

    Raises:
        CircuitError: if the shape does not fit or the matrix is not unitary (to 1e-4).

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> qj.Unitary(jnp.array([[0, 1], [1, 0]]), 0)
        Unitary(0)
    """
    where = check_qubits(qubits)
    size = 2 ** len(where)
    array = matrix if isinstance(matrix, jax.Array) else np.asarray(matrix)
    if array.ndim < 2 or array.shape[-2:] != (size, size):
        raise CircuitError(
            f"Argument `matrix` must have shape (..., {size}, {size}) for the qubits {where!r}, "
            f"but has shape {array.shape}."
        )
    check_numbers(
        array,
        lambda u: abs(u @ u.conj().swapaxes(-1, -2) - np.eye(size)) < 1e-4,
        "Argument `matrix` must be unitary, but its product with its adjoint is not the identity.",
        CircuitError,
    )
    return make_operation(_UNITARY, (), where, data=array)


def _evolution(detail: tuple, *angles: Array) -> Array:
    """exp(-i sum_k a_k P_k) for the words of an evolution, or its product formula."""
    words, scheme = detail
    if scheme is not None:
        return _product_formula(words, scheme, angles)
    size = len(words[0])
    paulis = np.stack(
        [word_matrix(tuple((i, c) for i, c in enumerate(w) if c != "I"), size) for w in words]
    )
    stacked = jnp.stack(jnp.broadcast_arrays(*angles), axis=-1)
    dtype = jnp.result_type(stacked.dtype, np.complex64)
    return jax.scipy.linalg.expm(
        -1j * jnp.tensordot(stacked.astype(dtype), jnp.asarray(paulis, dtype), axes=1)
    )


def _product_formula(
    words: tuple[str, ...], scheme: tuple[int, int], angles: tuple[Array, ...]
) -> Array:
    """The product of Pauli rotations that stands for an evolution, the first word acting first."""
    steps, order = scheme
    once = [
        _pauli_rotation(word, angle * (2 / (steps * order)))
        for word, angle in zip(words, angles, strict=True)
    ]
    with jax.default_matmul_precision("highest"):
        step = reduce(lambda done, turn: turn @ done, once + (once[::-1] if order == 2 else []))
        complete = jnp.linalg.matrix_power(step, steps)
    return complete.astype(jnp.result_type(complete.dtype, np.complex64))


_EVOLUTION = Gate(name="Evolution", num_targets=None, parameters=None, matrix=_evolution)

_LARGEST_EXACT = 6


def _commute(a: str, b: str) -> bool:
    return sum(x != y and "I" not in (x, y) for x, y in zip(a, b, strict=True)) % 2 == 0


def Evolution(
    H: Any, t: Any, *, method: str = "auto", steps: int = 10, order: int = 2
) -> Operation:
    """Time evolution exp(-i H t) under a Hamiltonian, on the qubits that it touches.

    Where all words of H commute, it is a product of Pauli rotations and exact. Else `exact`
    exponentiates the matrix of H, and `trotter` is the product formula

        order 1: (prod_k exp(-i c_k P_k t/r))^r,
        order 2: (prod_k exp(-i c_k P_k t/2r) prod_k' exp(-i c_k' P_k' t/2r))^r, k' descending,

    of error O(t^2/r) and O(t^3/r^2).

    Args:
        H: Pauli sum with real coefficients.
        t: time, a number, (...) or a parameter slot; hbar = 1.
        method: "exact" (at most 6 qubits unless the words commute), "trotter", or "auto": exact
            up to 6 qubits, Trotter above.
        steps: number r of Trotter steps.
        order: of the product formula, 1 or 2.

    Raises:
        CircuitError: if H has no qubits, or too many for the method.
        ObservableError: if H is not a Pauli sum.

    Example:
        >>> import qjax as qj
        >>> ising = qj.Z(0) @ qj.Z(1) + 0.5 * qj.X(0) + 0.5 * qj.X(1)
        >>> qj.Circuit(2, [qj.Evolution(ising, 0.3)]).count_operations()
        {'Evolution': 1}

    References:
        Suzuki, J. Math. Phys. 26, 601 (1985).
    """
    check_choice(method, ("auto", "exact", "trotter"), name="method")
    check_choice(str(order), ("1", "2"), name="order")
    check_positive_int(steps, name="steps")
    hamiltonian = as_pauli_sum(H, name="H")
    if np.iscomplexobj(hamiltonian.coefficients) or jnp.iscomplexobj(hamiltonian.coefficients):
        raise CircuitError("Argument `H` must have real coefficients, but they are complex.")
    qubits = hamiltonian.qubits
    if not qubits:
        raise CircuitError("Argument `H` must act on at least one qubit, but is a constant.")
    words = tuple("".join(dict(word).get(q, "I") for q in qubits) for word in hamiltonian.words)
    if all(_commute(a, b) for a, b in combinations(words, 2)):
        scheme: tuple[int, int] | None = (1, 1)
    elif method == "trotter" or (method == "auto" and len(qubits) > _LARGEST_EXACT):
        scheme = (steps, order)
    elif len(qubits) > _LARGEST_EXACT:
        raise CircuitError(
            f"Argument `method` must not be 'exact' above {_LARGEST_EXACT} qubits, but H acts on "
            f"{len(qubits)}. Use method='trotter'."
        )
    else:
        scheme = None
    angles = _term_angles(hamiltonian.coefficients, t)
    return make_operation(_EVOLUTION, angles, qubits, detail=(words, scheme))


def _term_angles(coefficients: Any, t: Any) -> tuple[Any, ...]:
    """c_k t for every term, each (...)."""
    terms: Iterable[Any] = [coefficients[..., k] for k in range(coefficients.shape[-1])]
    if isinstance(t, Slot):
        if not is_concrete(coefficients) or coefficients.ndim > 1:
            raise CircuitError(
                "Argument `H` must have known coefficients where `t` is a parameter slot."
            )
        return tuple(t * float(c) for c in terms)
    time = t if isinstance(t, jax.Array) else np.asarray(t)
    return tuple(c * time for c in terms)
