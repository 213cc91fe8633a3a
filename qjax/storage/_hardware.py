"""What a process uses of the machine: processor, memory, memory of the devices."""

import jax
import psutil

__all__ = ["HardwareMeter"]

MEGA = 10**6


class HardwareMeter:
    """Measures this process; a call returns the hardware columns of a row of metrics.

    Example:
        >>> from qjax.storage import HardwareMeter
        >>> measured = HardwareMeter()()
        >>> list(measured), measured["memory_mb"] > 0
        (['cpu_percent', 'memory_mb', 'device_memory_mb'], True)
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # later calls give the share since this one

    def __call__(self) -> dict[str, float | None]:
        """Measures; processor time is that since the last call."""
        return {
            "cpu_percent": self._process.cpu_percent(),
            "memory_mb": self._process.memory_info().rss / MEGA,
            "device_memory_mb": _device_memory(),
        }


def _device_memory() -> float | None:
    stats = [device.memory_stats() for device in jax.local_devices()]
    used = [entries["bytes_in_use"] for entries in stats if entries]
    return sum(used) / MEGA if used else None
