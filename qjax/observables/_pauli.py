"""Sums of Pauli words with real or complex coefficients: the observables of qjax.

A word is a static tuple of (qubit, letter) pairs; the coefficients are one array, so a sum is a
pytree with a single leaf and can be differentiated and batched in its coefficients.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Union, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from qjax._checks import check_finite, check_qubits, check_qubits_in_range
from qjax._typing import Array, ArrayLike, complex_dtype, float_dtype, is_concrete
from qjax.errors import ObservableError

__all__ = ["PAULI_MATRICES", "PauliSum", "PauliWord", "SupportsPauliSum", "as_pauli_sum"]

PauliWord = tuple[tuple[int, str], ...]

PAULI_MATRICES = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1.0 + 0j, -1.0]),
}

_PRODUCTS = {  # letter * letter -> (phase, letter)
    ("X", "Y"): (1j, "Z"),
    ("Y", "Z"): (1j, "X"),
    ("Z", "X"): (1j, "Y"),
    ("Y", "X"): (-1j, "Z"),
    ("Z", "Y"): (-1j, "X"),
    ("X", "Z"): (-1j, "Y"),
}

_LARGEST_DENSE = 14


@runtime_checkable
class SupportsPauliSum(Protocol):
    """Anything that can stand for an observable, such as the gate X(0)."""

    def as_pauli_sum(self) -> "PauliSum":
        """Returns the observable that this object stands for."""
        ...


ObservableLike = Union["PauliSum", SupportsPauliSum]


def _multiply_words(a: PauliWord, b: PauliWord) -> tuple[complex, PauliWord]:
    letters = dict(a)
    phase: complex = 1
    for qubit, letter in b:
        present = letters.pop(qubit, None)
        if present is None:
            letters[qubit] = letter
        elif present != letter:
            factor, letters[qubit] = _PRODUCTS[present, letter]
            phase *= factor
    return phase, tuple(sorted(letters.items()))


def _xp(*arrays: Any) -> Any:
    """NumPy where all arrays are NumPy's, so that building observables costs no device work."""
    return np if all(isinstance(a, np.ndarray) for a in arrays) else jnp


def _collect(words: tuple[PauliWord, ...], coefficients: Any) -> "PauliSum":
    """Adds up the coefficients of equal words; keeps the order of first appearance."""
    distinct = tuple(dict.fromkeys(words))
    if len(distinct) < len(words):
        position = {word: i for i, word in enumerate(distinct)}
        table = np.zeros((len(words), len(distinct)))
        table[np.arange(len(words)), [position[word] for word in words]] = 1
        coefficients = coefficients @ _xp(coefficients).asarray(table, dtype=coefficients.dtype)
    known = isinstance(coefficients, np.ndarray) and np.iscomplexobj(coefficients)
    if known and not np.imag(coefficients).any():
        coefficients = np.real(coefficients)
    return PauliSum(distinct, coefficients)


@jax.tree_util.register_pytree_with_keys_class
class PauliSum:
    """A weighted sum of Pauli words, sum_k c_k P_k.

    Build it from gates, `0.5 * Z(0) @ Z(1) + X(0)`, or from `PauliSum.from_strings`. `@`
    multiplies operators (a tensor product where the qubits differ), `+`, `-`, `*` and `/` do
    what they say.

    Args:
        words: one tuple of (qubit, letter) pairs per term, letters in "XYZ", qubits ascending;
            the empty tuple is the identity.
        coefficients: (..., number of terms), real or complex.

    Raises:
        ObservableError: on letters, qubits or shapes that do not fit.

    Example:
        >>> import qjax as qj
        >>> 0.5 * qj.Z(0) @ qj.Z(1) - qj.X(0)
        0.5*Z(0)@Z(1) - 1*X(0)
    """

    __slots__ = ("coefficients", "words")
    words: tuple[PauliWord, ...]
    coefficients: Any

    def __init__(self, words: Iterable[PauliWord], coefficients: ArrayLike):
        checked_words = []
        for word in words:
            letters = [letter for _, letter in word]
            if not set(letters) <= {"X", "Y", "Z"}:
                raise ObservableError(
                    f"Argument `words` must use the letters X, Y and Z, but has {letters!r}."
                )
            qubits = check_qubits(tuple(qubit for qubit, _ in word))
            checked_words.append(tuple(sorted(zip(qubits, letters, strict=True))))
        array: Any = coefficients
        if not isinstance(array, np.ndarray | jax.Array):
            array = np.asarray(array)
        if array.dtype.kind not in "fc":
            array = array.astype(float_dtype())
        if array.ndim == 0 or array.shape[-1] != len(checked_words):
            raise ObservableError(
                f"Argument `coefficients` must have shape (..., {len(checked_words)}), one number "
                f"per word, but has shape {array.shape}."
            )
        check_finite(array, name="coefficients", error=ObservableError)
        self.words = tuple(checked_words)
        self.coefficients = array

    @staticmethod
    def from_strings(terms: Mapping[str, Any]) -> "PauliSum":
        """Builds a sum from strings with one letter per qubit, qubit 0 first.

        Args:
            terms: string over "IXYZ" -> coefficient, all strings of one length.

        Raises:
            ObservableError: on another letter or on strings of several lengths.

        Example:
            >>> PauliSum.from_strings({"ZZ": 0.5, "XI": 1.0})
            0.5*Z(0)@Z(1) + 1*X(0)
        """
        if len({len(text) for text in terms}) > 1:
            raise ObservableError(
                f"Argument `terms` must have strings of one length, but has {list(terms)!r}."
            )
        words = [tuple((q, c) for q, c in enumerate(text) if c != "I") for text in terms]
        values = list(terms.values())
        if all(is_concrete(value) for value in values):
            return _collect(tuple(words), np.asarray(values))
        return _collect(tuple(words), jnp.stack([jnp.asarray(value) for value in values]))

    @staticmethod
    def from_matrix(matrix: ArrayLike, qubits: Iterable[int] | None = None) -> "PauliSum":
        """Expands a Hermitian matrix in Pauli words, c_P = Tr(P M) / 2**n.

        Args:
            matrix: (2**n, 2**n), Hermitian, n at most 6, concrete.
            qubits: the n qubits that it acts on; 0..n-1 if not given.

        Raises:
            ObservableError: if the matrix is not Hermitian or of another shape.

        Example:
            >>> import jax.numpy as jnp
            >>> PauliSum.from_matrix(jnp.array([[1.0, 0], [0, -1]]))
            1*Z(0)
        """
        array = np.asarray(matrix)
        size = array.shape[0] if array.ndim == 2 else 0
        if array.ndim != 2 or size not in {2**k for k in range(1, 7)} or array.shape[1] != size:
            raise ObservableError(
                "Argument `matrix` must have shape (2**n, 2**n) with n between 1 and 6, "
                f"but has shape {array.shape}."
            )
        if not np.allclose(array, array.conj().T, atol=1e-6):
            raise ObservableError("Argument `matrix` must be Hermitian, but is not.")
        num_qubits = size.bit_length() - 1
        where = tuple(range(num_qubits)) if qubits is None else check_qubits(tuple(qubits))
        if len(where) != num_qubits:
            raise ObservableError(
                f"Argument `qubits` must name {num_qubits} qubits, but is {where!r}."
            )
        words, values = [], []
        for index in np.ndindex(*(4,) * num_qubits):
            letters = ["IXYZ"[i] for i in index]
            word = tuple((q, c) for q, c in zip(where, letters, strict=True) if c != "I")
            value = np.trace(word_matrix(tuple(enumerate(letters)), num_qubits) @ array) / size
            if abs(value) > 1e-12:
                words.append(tuple(sorted(word)))
                values.append(value.real)
        return PauliSum(words or [()], np.asarray(values or [0.0]))

    def as_pauli_sum(self) -> "PauliSum":
        """Returns itself."""
        return self

    @property
    def num_terms(self) -> int:
        """Number of distinct words."""
        return len(self.words)

    @property
    def qubits(self) -> tuple[int, ...]:
        """Qubits on which any word differs from the identity, ascending."""
        return tuple(sorted({qubit for word in self.words for qubit, _ in word}))

    def matrix(self, num_qubits: int | None = None) -> Array:
        """The sum as a dense matrix.

        Args:
            num_qubits: size of the register; the smallest that fits if not given.

        Returns:
            (..., 2**n, 2**n) complex array.

        Raises:
            ObservableError: above 14 qubits.
        """
        fitting = max(self.qubits, default=0) + 1
        size = fitting if num_qubits is None else num_qubits
        check_qubits_in_range(self.qubits, size, what="PauliSum.matrix")
        if size > _LARGEST_DENSE:
            raise ObservableError(
                f"Argument `num_qubits` must be at most {_LARGEST_DENSE} for a dense matrix, "
                f"but is {size}."
            )
        total: Any = 0
        for i, word in enumerate(self.words):
            total = total + (
                jnp.asarray(self.coefficients)[..., i, None, None]
                * jnp.asarray(word_matrix(word, size), dtype=complex_dtype())
            )
        return jnp.asarray(total, dtype=complex_dtype())

    def __add__(self, other: Any) -> "PauliSum":
        if not isinstance(other, SupportsPauliSum):
            return NotImplemented
        second = other.as_pauli_sum()
        xp = _xp(self.coefficients, second.coefficients)
        batch = np.broadcast_shapes(self.coefficients.shape[:-1], second.coefficients.shape[:-1])
        parts = [xp.broadcast_to(s.coefficients, batch + (s.num_terms,)) for s in (self, second)]
        return _collect(self.words + second.words, xp.concatenate(parts, axis=-1))

    def __radd__(self, other: Any) -> "PauliSum":
        if isinstance(other, int | float) and other == 0:
            return self  # so that sum(...) works
        return NotImplemented

    def __mul__(self, scalar: Any) -> "PauliSum":
        if isinstance(scalar, SupportsPauliSum):
            raise ObservableError("Operators are multiplied with `@`, not with `*`.")
        number = scalar if isinstance(scalar, jax.Array) else np.asarray(scalar)
        return PauliSum(self.words, self.coefficients * number[..., None])

    __rmul__ = __mul__

    def __truediv__(self, scalar: Any) -> "PauliSum":
        return self * (1 / scalar)

    def __neg__(self) -> "PauliSum":
        return self * -1.0

    def __sub__(self, other: Any) -> "PauliSum":
        if not isinstance(other, SupportsPauliSum):
            return NotImplemented
        return self + -other.as_pauli_sum()

    def __matmul__(self, other: Any) -> "PauliSum":
        if not isinstance(other, SupportsPauliSum):
            return NotImplemented
        second = other.as_pauli_sum()
        products = [_multiply_words(a, b) for a in self.words for b in second.words]
        phases = np.asarray([phase for phase, _ in products])
        phases = phases if np.imag(phases).any() else np.real(phases)
        outer = self.coefficients[..., :, None] * second.coefficients[..., None, :]
        flat = outer.reshape((*outer.shape[:-2], len(products)))
        dtype = complex_dtype() if np.iscomplexobj(phases) else flat.dtype
        return _collect(
            tuple(word for _, word in products), flat * phases.astype(dtype, copy=False)
        )

    def __repr__(self) -> str:
        text = ""
        known = is_concrete(self.coefficients) and self.coefficients.ndim == 1
        for i, word in enumerate(self.words):
            name = "@".join(f"{letter}({qubit})" for qubit, letter in word) or "I"
            value = np.asarray(self.coefficients)[i] if known else None
            if value is None:
                text += f"{' + ' if text else ''}c[{i}]*{name}"
            elif np.iscomplexobj(value):
                text += f"{' + ' if text else ''}({value:.6g})*{name}"
            else:
                sign = "-" if value < 0 else "+"
                lead = f" {sign} " if text else ("-" if value < 0 else "")
                text += f"{lead}{abs(value):.6g}*{name}"
        return text

    def tree_flatten_with_keys(self):
        """Flattens to the coefficients, with the words as static structure."""
        return ((jax.tree_util.GetAttrKey("coefficients"), self.coefficients),), self.words

    @classmethod
    def tree_unflatten(cls, words, children) -> "PauliSum":
        """Inverse of `tree_flatten_with_keys`, without checks."""
        self = object.__new__(cls)
        self.words = words
        (self.coefficients,) = children
        return self


def word_matrix(word: PauliWord, num_qubits: int) -> np.ndarray:
    """Dense matrix of one Pauli word on `num_qubits` qubits, in complex128."""
    letters = dict(word)
    matrix = np.ones((1, 1), dtype=complex)
    for qubit in range(num_qubits):
        matrix = np.kron(matrix, PAULI_MATRICES[letters.get(qubit, "I")])
    return matrix


def as_pauli_sum(observable: Any, *, name: str = "observables") -> PauliSum:
    """Returns the Pauli sum that `observable` stands for.

    Raises:
        ObservableError: if it is neither a Pauli sum nor a Pauli gate.
    """
    if not isinstance(observable, SupportsPauliSum):
        raise ObservableError(
            f"Argument `{name}` must be Pauli gates or sums of them, such as Z(0) @ Z(1), "
            f"but holds {observable!r}."
        )
    return observable.as_pauli_sum()
