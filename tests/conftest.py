"""Settings shared by all tests: deterministic Hypothesis, and double precision on request.

Compiling takes most of the time. A program that one test has compiled is read from disk by the next
that needs it: in both workers, and in the processes that tests start. LLVM optimises nothing, which
is faster to compile and changes no result; what XLA itself does stays as it is. XLA_FLAGS and
JAX_COMPILATION_CACHE_DIR say otherwise where they are set.
"""

import os
import shutil
import tempfile

CACHE = "JAX_COMPILATION_CACHE_DIR"
OWN_CACHE = None if CACHE in os.environ else tempfile.mkdtemp(prefix="qjax-tests-")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
if OWN_CACHE is not None:  # before JAX is imported; the workers inherit it
    os.environ |= {
        CACHE: OWN_CACHE,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

import jax  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    max_examples=12,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("deterministic")


def pytest_unconfigure():
    """Deletes the compiled programs, where this process made the folder."""
    if OWN_CACHE is not None:
        shutil.rmtree(OWN_CACHE, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs of one file leave memory before the next.

    Each takes a few memory maps, of which Linux gives a process 65,530; a process that runs out
    of them dies.
    """
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Runs the test in double precision."""
    with jax.enable_x64(True):
        yield
