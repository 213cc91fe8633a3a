"""Factors of unitaries multiplied again, near and at every degenerate point."""

import numpy as np
import pytest

from qjax.errors import CircuitError
from qjax.linalg import kak_factors, split_kronecker, zyz_angles
from tests.support import oracle
from tests.support.strategies import random_unitary

SMALL = (0.0, 1e-15, 1e-12, 1e-9, 1e-5)
CLASSES = {  # coordinates of the interaction, and how many are not zero
    "identity": ((0, 0, 0), 0),
    "cx": ((np.pi / 4, 0, 0), 1),
    "iswap": ((np.pi / 4, np.pi / 4, 0), 2),
    "swap": ((np.pi / 4, np.pi / 4, np.pi / 4), 3),
    "root of swap": ((np.pi / 8, np.pi / 8, np.pi / 8), 3),
    "partial": ((0, 0, 0.3), 1),
    "two": ((0.3, 0, -0.2), 2),
    "outside": ((1.3, -2.2, 4.0), 3),
}


def interaction(coordinates):
    generator = sum(
        c * oracle.word_matrix(w) for c, w in zip(coordinates, ("XX", "YY", "ZZ"), strict=True)
    )
    return oracle.evolution(generator, -1.0)


def zyz(theta, phi, lam, phase):
    rz = lambda t: oracle.evolution(oracle.PAULIS["Z"], t / 2)  # noqa: E731
    return np.exp(1j * phase) * rz(phi) @ oracle.evolution(oracle.PAULIS["Y"], theta / 2) @ rz(lam)


@pytest.mark.parametrize("start", [0.0, np.pi])
@pytest.mark.parametrize("small", SMALL)
def test_zyz_near_the_poles(start, small):
    """To full precision, though sum or difference of two angles is all noise there."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        angles = (start + small, *rng.uniform(-3, 3, 3))
        matrix = zyz(*angles) + rng.normal(size=(2, 2)) * 1e-17
        np.testing.assert_allclose(zyz(*zyz_angles(matrix)), matrix, atol=3e-15)


def test_zyz_of_random_unitaries():
    for seed in range(50):
        matrix = random_unitary(1, seed)
        theta, *rest = zyz_angles(matrix)
        assert 0 <= theta <= np.pi
        np.testing.assert_allclose(zyz(theta, *rest), matrix, atol=1e-14)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("small", SMALL)
def test_kak(name, small):
    """Product of the factors, range and number of coordinates, with local gates around."""
    coordinates, count = CLASSES[name]
    for seed in range(5):
        outer, inner = (
            np.kron(random_unitary(1, seed + k), random_unitary(1, seed + k + 50)) for k in (0, 99)
        )
        matrix = outer @ interaction(np.array(coordinates) + small) @ inner
        found = kak_factors(matrix)
        product = np.kron(*found.left) @ interaction(found.coordinates) @ np.kron(*found.right)
        np.testing.assert_allclose(np.exp(1j * found.phase) * product, matrix, atol=1e-12)
        assert all(-np.pi / 4 - 1e-11 < c <= np.pi / 4 + 1e-11 for c in found.coordinates)
        if small < 1e-13:
            assert sum(abs(c) > 1e-11 for c in found.coordinates) == count
        for local in (*found.left, *found.right):
            np.testing.assert_allclose(local @ local.conj().T, np.eye(2), atol=1e-13)


def test_kak_of_random_unitaries():
    for seed in range(100):
        matrix = random_unitary(2, seed)
        found = kak_factors(matrix)
        product = np.kron(*found.left) @ interaction(found.coordinates) @ np.kron(*found.right)
        np.testing.assert_allclose(np.exp(1j * found.phase) * product, matrix, atol=1e-12)


COMMON = {
    "identity": np.eye(4),
    "cx": np.eye(4)[[0, 1, 3, 2]],
    "cx upwards": np.eye(4)[[0, 3, 2, 1]],
    "cz": np.diag([1, 1, 1, -1]),
    "swap": np.eye(4)[[0, 2, 1, 3]],
    "iswap": np.diag([1, 1j, 1j, 1]) @ np.eye(4)[[0, 2, 1, 3]],
    "rxx": interaction((-np.pi / 4, 0, 0)),
    "cs": np.diag([1, 1, 1, 1j]),
    "h, then cx": np.eye(4)[[0, 1, 3, 2]] @ np.kron([[1, 1], [1, -1]], np.eye(2)) * np.sqrt(0.5),
    "h on both": np.kron([[1, 1], [1, -1]], [[1, 1], [1, -1]]) / 2,
}


@pytest.mark.parametrize("name", COMMON)
def test_rounding_errors_choose_nothing(name, monkeypatch):
    """Neither those of the matrix nor those of the eigenvectors, which no machine has alike."""
    wanted = kak_factors(COMMON[name])
    eigh = np.linalg.eigh
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(4, 4)) * 1e-16
        monkeypatch.setattr(np.linalg, "eigh", lambda m, e=noise: eigh(m + e + e.T))
        found = kak_factors(COMMON[name] * (1 + 1j * noise[0, 0]) + 1j * noise * rng.normal())
        for one, other in zip(
            [*found.left, *found.right, found.coordinates],
            [*wanted.left, *wanted.right, wanted.coordinates],
            strict=True,
        ):
            np.testing.assert_allclose(one, other, atol=1e-11)


def test_split_kronecker():
    """Up to the phase that it loses."""
    for seed in range(20):
        product = np.kron(random_unitary(1, seed), random_unitary(1, seed + 50))
        found = np.kron(*split_kronecker(product))
        phase = np.vdot(found, product)
        np.testing.assert_allclose(found * phase / abs(phase), product, atol=1e-14)


def test_what_is_no_unitary():
    with pytest.raises(CircuitError, match=r"must have shape \(4, 4\), but has shape \(2, 2\)"):
        kak_factors(np.eye(2))
    with pytest.raises(CircuitError, match="must be unitary, but its product with its adjoint"):
        zyz_angles(np.ones((2, 2)))
    with pytest.raises(CircuitError, match="must be unitary"):
        kak_factors(np.full((4, 4), np.nan))
