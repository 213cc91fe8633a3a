"""Threads that write while others compute."""

import os
from contextlib import suppress

__all__ = ["let_others_run"]


def let_others_run() -> None:
    """Makes the calling thread wait for a core that is free, or for its turn, when it wakes.

    By default a thread that was waiting for the disk takes the core of one that computes, and the
    others of a parallel kernel wait for that. Under `SCHED_BATCH` it does not. It keeps its fair
    share of the cores, which a lower priority would not: with Python's lock in hand, such a thread
    could stop the ones that it makes room for. Threads that it starts are alike. A policy that was
    chosen for the whole process stays, and systems that have no such policy, or refuse it,
    schedule as ever. Source: sched(7) of Linux.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    with suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
