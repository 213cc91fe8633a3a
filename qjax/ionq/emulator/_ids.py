"""Identifiers: UUIDs of version 7, which are ordered in time, as the service makes them."""

import random
import uuid

__all__ = ["artifact_id", "new_id"]


def new_id(seconds: float, seed: int, order: int) -> str:
    """A UUID of version 7.

    Args:
        seconds: time since 1970.
        seed: of the emulator.
        order: how many identifiers it has made before; later ones sort later within a millisecond.

    Example:
        >>> first, second = new_id(1.0, 0, 1), new_id(1.0, 0, 2)
        >>> first < second, first[14]
        (True, '7')
    """
    noise = random.Random(f"{seed}/{order}").getrandbits(62)
    value = int(seconds * 1000) << 80 | 7 << 76 | (order & 0xFFF) << 64 | 2 << 62 | noise
    return str(uuid.UUID(int=value))


def artifact_id(job_id: str, form: str) -> str:
    """The identifier of one form of a job's results."""
    return str(uuid.uuid5(uuid.UUID(job_id), form))
