"""Gates that rename basis states, as affine maps of bits and as lookups."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qjax.sim._bits import affine_bit_map, inverse, joined, look_up
from qjax.sim._layout import COMPONENT

RNG = np.random.default_rng(3)
X = np.array([[0, 1], [1, 0]])
CX = np.eye(4)[[0, 1, 3, 2]]
SWAP = np.eye(4)[[0, 2, 1, 3]]
CCX = np.eye(8)[[0, 1, 2, 3, 4, 5, 7, 6]]
GATES = [(CX, (0, 1)), (X, (2,)), (SWAP, (3, 1)), (CX, (2, 0)), (CX, (3, 2)), (X, (0,))]


def bits_of(number, count):
    """Most significant first."""
    return np.array([(number >> (count - 1 - i)) & 1 for i in range(count)])


def embedded(matrix, sites, count):
    """A matrix on some sites as one on all, entry by entry."""
    whole = np.zeros((2**count, 2**count))
    for column in range(2**count):
        before = bits_of(column, count)
        for row, value in enumerate(matrix[:, int("".join(map(str, before[list(sites)])), 2)]):
            after = before.copy()
            after[list(sites)] = bits_of(row, len(sites))
            whole[int("".join(map(str, after)), 2), column] += value
    return whole


@pytest.mark.parametrize("matrix", [X, CX, SWAP, CX @ SWAP, np.kron(X, CX)], ids=str)
def test_is_recognised_and_maps_every_basis_state(matrix):
    found = affine_bit_map(matrix)
    assert found is not None
    count = len(found.shift)
    for number in range(2**count):
        image = int(np.argmax(matrix[:, number]))
        expected = (found.linear @ bits_of(number, count) + found.shift) % 2
        np.testing.assert_array_equal(bits_of(image, count), expected)


@pytest.mark.parametrize(
    "matrix",
    [CCX, -X, np.diag([1, -1]), np.ones((2, 2)) / np.sqrt(2), np.array([[0, -1j], [1j, 0]])],
    ids=["a Toffoli is not affine", "sign", "phase", "no permutation", "Y"],
)
def test_anything_else_is_not(matrix):
    assert affine_bit_map(matrix) is None


def test_joined_maps_are_the_product_and_have_an_inverse():
    maps = [(affine_bit_map(matrix), sites) for matrix, sites in GATES]
    whole = joined(maps, range(4))  # pyright: ignore[reportArgumentType]
    back = inverse(whole)
    product = reduce(lambda done, gate: embedded(gate[0], gate[1], 4) @ done, GATES, np.eye(16))
    for number in range(16):
        image = (whole.linear @ bits_of(number, 4) + whole.shift) % 2
        np.testing.assert_array_equal(image, bits_of(int(np.argmax(product[:, number])), 4))
        np.testing.assert_array_equal((back.linear @ image + back.shift) % 2, bits_of(number, 4))


ORDERS = {
    "one order": ((COMPONENT, 0, 1, 2, 3, 4), (COMPONENT, 0, 1, 2, 3, 4)),
    "real": ((0, 1, 2, 3, 4), (4, 2, 0, 1, 3)),
    "axes move": ((1, COMPONENT, 4, 0, 2, 3), (3, 0, COMPONENT, 4, 1, 2)),
    "component last": ((0, 1, 2, 3, 4, COMPONENT), (4, COMPONENT, 0, 1, 2, 3)),
}


@pytest.mark.parametrize("sites", [(0, 1, 2, 3), (1, 4, 0, 2), (0,)])
@pytest.mark.parametrize("case", ORDERS)
def test_look_up_is_the_matrix_and_a_transposition(case, sites):
    before, after = ORDERS[case]
    gates = GATES if len(sites) > 1 else [(X, (0,))]
    local = joined([(affine_bit_map(m), s) for m, s in gates], range(len(sites)))  # pyright: ignore
    state = RNG.normal(size=(*(2,) * len(before), 3))
    expected = state.transpose([before.index(a) for a in sorted(before)] + [len(before)])
    lead = 2 if COMPONENT in before else 1
    flat = expected.reshape(lead, 32, 3)
    for matrix, acted_on in gates:
        flat = np.einsum("ij,ajb->aib", embedded(matrix, [sites[s] for s in acted_on], 5), flat)
    tensor = flat.reshape((*(2,) * len(before), 3))
    expected = tensor.transpose([sorted(before).index(a) for a in after] + [len(before)])
    found = look_up(jnp.asarray(state.reshape(-1, 3)), before, after, sites, local)
    np.testing.assert_array_equal(found, expected.reshape(-1, 3).astype(found.dtype))


def test_way_back_is_a_lookup_too():
    """No scatter, which XLA runs number by number."""
    before, after = ORDERS["axes move"]
    local = joined([(affine_bit_map(m), s) for m, s in GATES], range(4))  # pyright: ignore
    state = jnp.asarray(RNG.normal(size=(64, 3)))
    moved, pull = jax.vjp(lambda s: look_up(s, before, after, range(4), local), state)
    np.testing.assert_array_equal(pull(moved)[0], state)
    mapped = jax.vmap(lambda s: look_up(s, before, after, range(4), local), -1, -1)
    np.testing.assert_array_equal(mapped(state[..., None])[..., 0], moved)
    assert "scatter" not in str(jax.make_jaxpr(pull)(moved))


def test_places_are_the_same_listed_or_computed(monkeypatch):
    state = jnp.asarray(RNG.normal(size=(32, 2)))
    local = joined([(affine_bit_map(m), s) for m, s in GATES], range(4))  # pyright: ignore
    order = tuple(range(5))
    listed = look_up(state, order, order, range(4), local)
    monkeypatch.setattr("qjax.sim._bits.LARGEST_LITERAL", 0)
    np.testing.assert_array_equal(look_up(state, order, order, range(4), local), listed)
