"""IonQ: native gates, compiler, client and emulator.

Bit order, turns and everything else that IonQ does its own way is converted here and nowhere else.
"""

from qjax.ionq._machines import GATESETS, MACHINES, Machine, find_machine
from qjax.ionq._native import GPI, GPI2, MS, ZZ

__all__ = ["GATESETS", "GPI", "GPI2", "MACHINES", "MS", "ZZ", "Machine", "find_machine"]
