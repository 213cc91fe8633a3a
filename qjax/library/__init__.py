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
from qjax.library._tensor_network import (
    ANGLES_PER_BLOCK,
    ANGLES_PER_NODE,
    convolutional,
    tree_pairs,
    tree_tensor,
)

__all__ = [
    "ANGLES_PER_BLOCK",
    "ANGLES_PER_NODE",
    "ENTANGLEMENTS",
    "amplitude_encoding",
    "angle_encoding",
    "basis_encoding",
    "convolutional",
    "data_reuploading",
    "entangled_pairs",
    "hardware_efficient",
    "iqp_encoding",
    "normalise",
    "strongly_entangling",
    "tree_pairs",
    "tree_tensor",
]
