"""The order of bits of libraries in which qubit 0 is the least significant one."""

import numpy as np

__all__ = ["reversed_bits"]


def reversed_bits(amplitudes: np.ndarray, qubits: int) -> np.ndarray:
    """Amplitudes (batch, 2**n) with qubit 0 as the least significant bit, complex."""
    cube = amplitudes.reshape((-1,) + (2,) * qubits)
    turned = cube.transpose(0, *range(qubits, 0, -1))
    return turned.reshape(-1, 2**qubits).astype(complex)
