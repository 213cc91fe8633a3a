"""Optional packages: found before the work begins, not after it."""

from importlib.util import find_spec

from qjax.errors import RunError

__all__ = ["check_installed"]


def check_installed(package: str, extra: str, purpose: str) -> None:
    """Raises unless a package can be imported.

    Args:
        package: its import name.
        extra: the extra of qjax that brings it.
        purpose: what needs it, to begin the message.

    Raises:
        RunError: if it is not installed, naming the extra.
    """
    if find_spec(package) is None:
        raise RunError(
            f'{purpose} needs {package}; install it with `pip install "qjax-qml[{extra}]"`.'
        )
