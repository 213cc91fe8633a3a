"""qjax against other simulators; run with `pytest -m peers`."""
