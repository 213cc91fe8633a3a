"""``python -m qjax.cli`` is the command `qjax`."""

from qjax.cli import main

main()
