"""A local stand-in for IonQ's cloud, for development and tests without an account.

It needs the extra `emulator`. Nothing of qjax uses it unless told its address.
"""

from qjax.ionq.emulator._app import emulator_app
from qjax.ionq.emulator._clock import Clock, SystemClock, Timing, VirtualClock
from qjax.ionq.emulator._emulator import Emulator
from qjax.ionq.emulator._faults import Fault, read_faults
from qjax.ionq.emulator._serve import serve, serving

__all__ = [
    "Clock",
    "Emulator",
    "Fault",
    "SystemClock",
    "Timing",
    "VirtualClock",
    "emulator_app",
    "read_faults",
    "serve",
    "serving",
]
