"""AmplitudeEncoding: the encoding alone, and first in a stack."""

import numpy as np
import pytest
from flax import nnx

from qjax.errors import ModelError
from qjax.nn import AmplitudeEncoding, QuantumReadout, QuantumSequential
from tests.nn.checks import checked_jacobians, log_scores, prepared, readings, rotations
from tests.support import oracle

X = np.array([0.3, -0.8, 0.1])


def test_reads_the_encoded_state(x64):
    """Filled up with zeros; two bases, basis-major."""
    layer = AmplitudeEncoding(2, ("X", "Z"))
    expected = readings(oracle.statevector(2, prepared(X, 2)), "XZ")
    np.testing.assert_allclose(layer(X), expected, atol=1e-12)


def test_first_in_a_stack(x64):
    """The readout acts on what it encodes."""
    readout = QuantumReadout(2, 3, rngs=nnx.Rngs(0))
    ket = oracle.statevector(2, [*prepared(X, 2), *rotations(readout.theta[...])])
    found = QuantumSequential(AmplitudeEncoding(2), readout)(X)
    np.testing.assert_allclose(found, log_scores(oracle.probabilities(ket), 3), atol=1e-12)


def test_gradient_in_the_inputs(x64):
    """Every amplitude moves some reading; there are no parameters."""
    in_parameters, in_x = checked_jacobians(AmplitudeEncoding(2), X)
    assert in_parameters == [] and np.all(np.abs(in_x).max(axis=0) > 1e-2)


@pytest.mark.parametrize(
    ("num_qubits", "bases", "text"),
    [
        (0, ("Z",), "`num_qubits` must be between 1 and 40, but is 0"),
        (2, ("W",), "`measurement_bases` must hold distinct letters"),
    ],
)
def test_bad_arguments(num_qubits, bases, text):
    """By name."""
    with pytest.raises(ModelError, match=text):
        AmplitudeEncoding(num_qubits, bases)


def test_too_many_features():
    """No silent loss."""
    with pytest.raises(ModelError, match="between 1 and 4 features for amplitude encoding on 2"):
        AmplitudeEncoding(2)(np.ones(5))
