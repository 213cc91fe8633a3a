"""One file per library: `prepare(problem)` returns the program that the harness times.

A peer is one row in `bench/_registry.py` and one file `_<name>.py` here with `ENGINE` (how it
computes, in a few words), `PRECISION` and `prepare`. What a library cannot do raises `Unsupported`
with the reason. Files `_shared_*.py` hold what several peers need.
"""
