"""The command `qjax`: trains a model, scores it, and says where it runs.

It joins layers, training, storage and data. Modules with slow imports are imported by the
command that needs them, so that ``qjax --help`` answers at once.
"""

import gc
import sys
from collections.abc import Sequence

from qjax.cli._clock import process_start, read_clock
from qjax.errors import QjaxError

__all__ = ["main"]

EXIT_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        arguments: what follows the program's name; by default, those of this process.

    Raises:
        SystemExit: always; 0 after success, 2 after an error, which is one line on stderr.
    """
    start = process_start() if arguments is None else read_clock()
    try:
        from qjax.cli._app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        _fail(f'The command needs {error.name}; install it with `pip install "qjax-qml[cli]"`.')
    try:
        run(sys.argv[1:] if arguments is None else list(arguments), start)
    except QjaxError as error:
        _fail(str(error))
    finally:
        if arguments is None:
            gc.freeze()  # or the collection of all objects at exit takes a second


def _fail(message: str) -> None:
    sys.stdout.flush()
    print(f"qjax: {message}", file=sys.stderr)
    raise SystemExit(EXIT_ERROR)
