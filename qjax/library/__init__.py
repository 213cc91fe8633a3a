"""Ready-made circuits: encodings of data, and ansätze with trainable angles."""

from qjax.library._ansatz import hardware_efficient, strongly_entangling
from qjax.library._encoding import (
    amplitude_encoding,
    angle_encoding,
    basis_encoding,
    iqp_encoding,
    normalise,
)
from qjax.library._entanglement import ENTANGLEMENTS, entangled_pairs
from qjax.library._reuploading import data_reuploading

__all__ = [
    "ENTANGLEMENTS",
    "amplitude_encoding",
    "angle_encoding",
    "basis_encoding",
    "data_reuploading",
    "entangled_pairs",
    "hardware_efficient",
    "iqp_encoding",
    "normalise",
    "strongly_entangling",
]
