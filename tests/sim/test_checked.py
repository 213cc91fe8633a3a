"""`qjax.checked`: what cannot raise inside jit is reported all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import QjaxError

CASES = {
    "zero vector": (lambda v: qj.statevector(qj.amplitude_encoding(v)), [1.0, 0], [0.0, 0.0]),
    "NaN angle": (lambda v: qj.statevector(qj.angle_encoding(v)), [1.0, 0], [np.nan, 0.0]),
    "strength": (
        lambda v: qj.density_matrix(qj.Circuit(1, [qj.AmplitudeDamping(v[0], 0)])),
        *([1.0, 0.0], [1.5, 0.0]),
    ),
    "norm": (
        lambda v: qj.statevector(qj.Circuit(1, [qj.H(0)]), initial_state=v),
        *([0.6, 0.8], [1.0, 1.0]),
    ),
    "matrix": (
        lambda v: qj.statevector(qj.Circuit(1, [qj.Unitary(jnp.diag(v), 0)])),
        *([1.0, -1.0], [1.0, 2.0]),
    ),
    "outcome": (
        lambda v: qj.statevector(qj.Circuit(1, [qj.RX(v[0], 0), qj.Measure(0, postselect=1)])),
        *([1.0, 0.0], [0.0, 0.0]),
    ),
}


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap], ids=["jit", "vmap"])
@pytest.mark.parametrize("case", CASES)
def test_reports_inside_transformations(case, wrap):
    """Good values pass through unchanged, bad ones raise by name."""
    function, good, bad = CASES[case]
    good, bad = (jnp.array([v] if wrap is jax.vmap else v) for v in (good, bad))
    np.testing.assert_array_equal(qj.checked(wrap(function))(good), wrap(function)(good))
    wrap(function)(bad)
    with pytest.raises(QjaxError, match=r"must|probability zero"):
        qj.checked(wrap(function))(bad)


@pytest.mark.parametrize("case", CASES)
def test_leaves_no_trace_elsewhere(case):
    """An effect in the program would send each call of it through Python."""
    function, good, _ = CASES[case]
    assert not jax.make_jaxpr(function)(jnp.array(good)).effects


@pytest.mark.parametrize("case", CASES)
def test_one_jitted_function_with_and_without(case):
    """What was traced without checks is traced again with them, and the other way round."""
    function, good, bad = CASES[case]
    good, bad = jnp.array(good), jnp.array(bad)
    function = jax.jit(function)
    for _ in range(2):
        function(bad)
        with pytest.raises(QjaxError, match=r"must|probability zero"):
            qj.checked(function)(bad)
        np.testing.assert_array_equal(qj.checked(function)(good), function(good))
