"""Compiled programs kept on disk, so that the next process need not compile them again."""

import os
import sys
import tempfile
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from qjax.errors import CacheError

__all__ = ["use_compilation_cache"]


def use_compilation_cache(path: str | os.PathLike[str] | None = None) -> Path:
    """Keeps every program that JAX compiles from now on in a folder, and looks there first.

    A process that runs the same circuits on the same versions and device then starts without
    compiling. This is a setting of JAX for the whole process, so call it once, at the top. Anybody
    who can write to the folder can run code as you.

    Args:
        path: folder, made if it does not exist; `qjax/compiled` in the user's cache folder if not
            given, which is `$XDG_CACHE_HOME` where that is set.

    Returns:
        The folder.

    Raises:
        CacheError: if it cannot be written.

    Example:
        >>> import os, tempfile, qjax as qj
        >>> before = jax.config.jax_compilation_cache_dir
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     str(qj.use_compilation_cache(folder)) == folder
        True
        >>> jax.config.update("jax_compilation_cache_dir", before)
    """
    folder = _user_cache() / "qjax" / "compiled" if path is None else Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CacheError(
            f"The folder `{folder}` for compiled programs cannot be written: {error.strerror}. "
            "Give another one as `path`."
        ) from error
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # JAX opens a folder once, at the first compilation
    return folder


def _user_cache() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path.home() / ".cache"
