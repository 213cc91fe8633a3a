"""Benchmarks of qjax; `python -m bench compare` runs the comparison with other libraries."""
