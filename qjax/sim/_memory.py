"""Memory: what is available, what a state needs, and batches that run in parts that fit."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from qjax._checks import check_positive_int
from qjax._typing import complex_dtype
from qjax.errors import MemoryLimitError, QjaxError

__all__ = ["available_memory", "batch_map", "check_memory"]

ALWAYS_FITS = 2**26  # bytes; smaller needs are not checked, which keeps small calls fast
SHARE = 0.5  # of the available memory that a part of a batch may take
SAMPLE_SIZE = 8  # of the batch that tells how memory grows

_ROOT = Path("/")


def available_memory() -> int:
    """Bytes that an array on the default device may still take."""
    device = jax.config.jax_default_device or jax.local_devices()[0]  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(device, str):
        device = jax.local_devices(backend=device)[0]
    statistics = None if device.platform == "cpu" else device.memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    return _host_memory(_ROOT)


def _host_memory(root: Path) -> int:
    """What the kernel calls available, within the limits of the control groups of the process."""
    rooms = [_machine_memory(root), *_group_rooms(root)]
    return max(min(rooms), 0)


def _machine_memory(root: Path) -> int:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:  # no /proc: the memory that the machine has
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**63 - 1


def _group_rooms(root: Path) -> Iterator[int]:
    """Limit minus usage of each control group that holds the process, versions 1 and 2."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = "", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
            yield from _room(root / "sys/fs/cgroup" / mount / str(folder).lstrip("/"), *names)


def _room(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    (most, *_), (used, *_) = _lines(group / limit) or [""], _lines(group / usage) or [""]
    if most.isdecimal() and used.isdecimal():  # "max" means no limit
        statistics = dict(line.split() for line in _lines(group / "memory.stat"))
        yield int(most) - int(used) + int(statistics.get(reclaimable, 0))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []


def _as_text(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def check_memory(
    num_qubits: int, *, mixed: bool, batch: int = 1, records: int = 0, remedy: str
) -> None:
    """Raises if the states of a simulation cannot fit, before any of them is allocated.

    What is counted is one complex array per state, the least that any simulation needs: even one
    on real numbers holds its state before and after an operation. A simulation may thus still run
    out of memory, but none is refused that would fit.

    Args:
        num_qubits: of the circuit.
        mixed: whether its state is a density matrix.
        batch: how many states are held at a time.
        records: axes that record measurement outcomes.
        remedy: what the user can do, a sentence.

    Raises:
        MemoryLimitError: if the states need more than is available.
    """
    axes = (2 if mixed else 1) * num_qubits + records
    needed = batch * 2**axes * complex_dtype().itemsize
    if needed <= ALWAYS_FITS:
        return
    available = available_memory()
    if needed <= available:
        return
    one, many = ("density matrix", "matrices") if mixed else ("state vector", "vectors")
    what = f"A {one}" if batch == 1 else f"{batch} {one.split()[0]} {many}"
    raise MemoryLimitError(
        f"{what} of {num_qubits} qubits {'needs' if batch == 1 else 'need'} at least "
        f"{_as_text(needed)} of memory, but {_as_text(available)} are available. {remedy}"
    )


def batch_map(
    f: Callable[[Any], Any], xs: Any, *, max_bytes: int | None = None, batch_size: int | None = None
) -> Any:
    """`jax.vmap(f)(xs)` in parts that fit into memory.

    Each part is as large as `max_bytes` allows, going by what XLA says that one call of `f` and
    its reverse mode take; `f` is compiled for that at two small sizes and at the size that is
    chosen, whenever the call is traced, so put it under `jax.jit`. The parts run one after the
    other, and reverse mode runs each part again instead of keeping what it computed, so that
    gradients fit too.

    Args:
        f: function of one sample. It may use values from outside, traced ones as well.
        xs: pytree of arrays with one common leading axis.
        max_bytes: what one part may take; half of the memory available now if not given. All of
            `xs` and of the results come on top. An outer `jax.vmap` multiplies it.
        batch_size: samples in a part, instead of measuring.

    Returns:
        What `jax.vmap(f)(xs)` returns. The random numbers are those of the keys in `xs`; nothing
        depends on the size of the parts.

    Raises:
        MemoryLimitError: if not even one sample fits.
        QjaxError: if `xs` has no common leading axis, the size is not positive, `max_bytes` and
            `batch_size` are both given, or this device does not say what memory a program needs.

    Example:
        >>> import jax.numpy as jnp, qjax as qj
        >>> def signal(theta):
        ...     return qj.expectation(qj.Circuit(1, [qj.RX(theta, 0)]), qj.Z(0))
        >>> qj.batch_map(signal, jnp.array([0.0, jnp.pi, 0.0]), batch_size=2).tolist()
        [1.0, -1.0, 1.0]
    """
    number = _leading_size(xs)
    if number == 0:
        raise QjaxError("Argument `xs` of batch_map must hold at least one sample, but is empty.")
    if batch_size is not None and max_bytes is not None:
        raise QjaxError("Arguments `max_bytes` and `batch_size` exclude each other; give one.")
    if batch_size is not None:
        size = check_positive_int(batch_size, name="batch_size", error=QjaxError)
    else:
        size = _fitting_size(f, xs, max_bytes)
    if size >= number:
        return jax.vmap(f)(xs)
    return lax.map(jax.checkpoint(f, prevent_cse=False), xs, batch_size=size)


def _leading_size(xs: Any) -> int:
    shapes = [jnp.shape(x) for x in jax.tree.leaves(xs)]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise QjaxError(
            "Argument `xs` must hold arrays with one common leading axis, but has the shapes "
            f"{shapes!r}."
        )
    return shapes[0][0]


def _fitting_size(f: Callable, xs: Any, max_bytes: int | None) -> int:
    """Largest number of samples whose program fits."""
    if max_bytes is None:
        limit = int(SHARE * available_memory())
    else:
        limit = check_positive_int(max_bytes, name="max_bytes", error=QjaxError)

    @cache
    def measure(size: int) -> int:
        return _measure(_Program(f, xs, size))

    one = measure(1)
    if one > limit:
        raise MemoryLimitError(
            f"One sample of batch_map needs about {_as_text(one)} of memory, but only "
            f"{_as_text(limit)} may be used. Use fewer qubits, or trajectories for noisy circuits"
            + (", or a larger `max_bytes`." if max_bytes is not None else ".")
        )
    return _largest_below(measure, one, limit, _leading_size(xs))


def _largest_below(measure: Callable[[int], int], one: int, limit: int, largest: int) -> int:
    """Largest size up to `largest` that a straight line puts below the limit, and that is.

    The line goes through size one and a small size; a size that turns out to need too much, as
    XLA may compile large batches in another way, takes the place of the small one.
    """
    probe = min(SAMPLE_SIZE, largest)
    while True:
        each = max((measure(probe) - one) / max(probe - 1, 1), 1)
        size = min(1 + int((limit - one) // each), largest)
        if size <= 1 or measure(size) <= limit:
            return size
        probe, largest = size, size - 1


class _Program:
    """`jax.vmap(f)` for some number of samples, its outer values turned into arguments."""

    def __init__(self, f: Callable, xs: Any, size: int):
        samples = jax.tree.map(lambda x: _shape_of(x, size), xs)
        closed = jax.make_jaxpr(jax.vmap(f))(samples)
        self.jaxpr = closed.jaxpr
        self.arguments = tuple(map(_shape_of, (*closed.consts, *jax.tree.leaves(samples))))

    def __call__(self, *arguments: Any) -> list[Any]:
        split = len(self.jaxpr.constvars)
        closed = ClosedJaxpr(self.jaxpr, arguments[:split])
        return jaxpr_as_fun(closed)(*arguments[split:])

    def reverse(self, *arguments: Any) -> Any:
        """The results, and a product with the transposed derivative."""
        places = [i for i, a in enumerate(arguments) if jnp.issubdtype(a.dtype, jnp.inexact)]

        def of_numbers(*numbers: Any) -> Any:
            known = dict(zip(places, numbers, strict=True))
            results = self(*(known.get(i, a) for i, a in enumerate(arguments)))
            return [r for r in results if jnp.issubdtype(r.dtype, jnp.inexact)], results

        smooth, pull, results = jax.vjp(of_numbers, *(arguments[i] for i in places), has_aux=True)
        return results, pull([jnp.ones_like(r) for r in smooth])


def _shape_of(x: Any, size: int | None = None) -> jax.ShapeDtypeStruct:
    kind = jax.typeof(x)
    return jax.ShapeDtypeStruct(kind.shape if size is None else (size, *kind.shape[1:]), kind.dtype)


def _measure(program: _Program) -> int:
    """Bytes that a program takes on the default device, in reverse mode where it has one."""
    try:
        lowered = jax.jit(program.reverse).lower(*program.arguments)
    except (ValueError, TypeError, NotImplementedError):  # no reverse mode, as in a while loop
        lowered = jax.jit(program).lower(*program.arguments)
    memory = lowered.compile().memory_analysis()
    if memory is None:
        raise QjaxError(
            "This device does not say how much memory a program needs. "
            "Give `batch_size` to batch_map."
        )
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(getattr(memory, part) for part in parts)
