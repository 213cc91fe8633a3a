"""A small model; run as a module, the command `qjax` with that model under the name "tiny"."""

from flax import nnx

from qjax.cli import main
from qjax.nn import DecodingLayer, QuantumFeatureExtractor, models


def tiny(*, num_features: int, num_classes: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """A linear map to 4 amplitudes, a circuit on 2 qubits, and a linear readout."""
    return nnx.Sequential(
        nnx.Linear(num_features, 4, rngs=rngs),
        QuantumFeatureExtractor(2, depth=1, rngs=rngs),
        DecodingLayer(6, num_classes, rngs=rngs),
    )


if __name__ == "__main__":
    models.MODELS["tiny"] = tiny
    main()
