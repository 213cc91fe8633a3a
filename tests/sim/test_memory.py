"""Memory: what is refused before it is allocated, what is available, and batches in parts."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax as qj
from qjax.errors import MemoryLimitError, QjaxError
from qjax.sim import _memory
from qjax.sim._memory import _host_memory, available_memory

GIB = 2**30


@pytest.fixture
def one_gib(monkeypatch):
    """A machine on which one GiB is free."""
    monkeypatch.setattr(_memory, "available_memory", lambda: GIB)


def layer(num_qubits, *more):
    return qj.Circuit(num_qubits, [*(qj.RY(0.1 * q, q) for q in range(num_qubits)), *more])


NOISY = qj.AmplitudeDamping(0.1, 0)


class TestRefusal:
    """A clear error instead of a crash."""

    def test_forty_qubits(self):
        """No machine has room for them."""
        with pytest.raises(MemoryLimitError, match="^A state vector of 40 qubits needs at least 8"):
            qj.expectation(layer(40), qj.Z(0))

    def test_density_matrix_of_twenty_qubits(self):
        """Neither for this, and the error says what to use instead."""
        message = (
            "A density matrix of 20 qubits needs at least 8.8 TB of memory, but .* are available. "
            "Use fewer qubits, or trajectories on state vectors"
        )
        with pytest.raises(MemoryLimitError, match=message):
            qj.density_matrix(layer(20))

    def test_text(self, one_gib):
        """Qubits, need, room and remedy."""
        message = (
            "A state vector of 28 qubits needs at least 2.1 GB of memory, but 1.1 GB are "
            "available. Use fewer qubits."
        )
        with pytest.raises(MemoryLimitError, match=f"^{re.escape(message)}$"):
            qj.statevector(layer(28))

    @pytest.mark.parametrize(
        "call",
        [
            lambda: qj.statevector(layer(28)),
            lambda: qj.statevector(layer(28, NOISY), key=jax.random.key(0)),
            lambda: qj.density_matrix(layer(14)),
            lambda: qj.expectation(layer(28), qj.Z(0)),
            lambda: qj.expectation(layer(14, NOISY), qj.Z(0)),
            lambda: qj.variance(layer(14, NOISY), qj.Z(0)),
            lambda: qj.probabilities(layer(28)),
            lambda: qj.probabilities(layer(14, NOISY)),
            lambda: qj.sample(layer(28), 10, jax.random.key(0)),
            lambda: qj.sample(layer(28, NOISY), 10, jax.random.key(0)),
            lambda: qj.counts(layer(28), 10, jax.random.key(0)),
            lambda: qj.partial_trace(layer(14, NOISY), 0),
            lambda: jax.jit(lambda: qj.statevector(layer(28)))(),
            lambda: jax.eval_shape(lambda: qj.statevector(layer(28))),
            lambda: jax.grad(lambda t: qj.expectation(layer(28, qj.RX(t, 0)), qj.Z(0)))(0.1),
            lambda: qj.expectation(
                layer(28, NOISY),
                qj.Z(0),
                method="trajectories",
                num_trajectories=2,
                key=jax.random.key(0),
            ),
        ],
    )
    def test_every_function_checks(self, call, one_gib):
        """When it is traced, whatever it returns."""
        with pytest.raises(MemoryLimitError):
            call()

    def test_batches_count(self, one_gib):
        """What is in the batch is held at a time."""
        circuit = qj.Circuit(20, [qj.RY(jnp.zeros(200), 0)])
        message = "^200 state vectors of 20 qubits need at least 1.7 GB .* qjax.batch_map"
        with pytest.raises(MemoryLimitError, match=message):
            qj.statevector(circuit)

    def test_recorded_outcomes_count(self, one_gib):
        """Each outcome that is used later doubles a density matrix; fixed ones do not."""

        def feed_forward(postselect):
            measure = [qj.Measure(q, f"m{q}", postselect=postselect) for q in range(2)]
            later = [qj.X(2).conditioned("m0"), qj.X(2).conditioned("m1"), qj.Reset(0)]
            return layer(13, *measure, *later)

        with pytest.raises(MemoryLimitError, match="density matrix of 13 qubits needs .* 2.1 GB"):
            jax.eval_shape(lambda: qj.expectation(feed_forward(None), qj.Z(0)))
        jax.eval_shape(lambda: qj.expectation(feed_forward(0), qj.Z(0)))

    def test_double_precision_counts(self, one_gib, x64):
        """Twice the bytes."""
        with pytest.raises(MemoryLimitError):
            qj.statevector(layer(27))

    def test_what_fits_is_not_refused(self, one_gib):
        """Exactly at the limit, by shape alone."""
        assert jax.eval_shape(lambda: qj.statevector(layer(27))).shape == (2**27,)

    def test_is_a_memory_error(self):
        """And one of ours."""
        assert issubclass(MemoryLimitError, MemoryError)
        assert issubclass(MemoryLimitError, QjaxError)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 16 kB\nMemFree: 1 kB\nMemAvailable:    8 kB\n"}


class TestAvailable:
    """Read from files that the kernel would write."""

    def test_this_machine(self):
        """A sane number."""
        assert 2**20 < available_memory() < 2**50

    def test_machine(self, tmp_path):
        """No control groups, no limits."""
        assert _host_memory(write(tmp_path, MEMINFO)) == 8192

    def test_without_proc(self, tmp_path):
        """Then at least the size of the machine is known."""
        assert _host_memory(tmp_path) > 2**20

    @pytest.mark.parametrize(("limit", "expected"), [("5000", 3100), ("max", 8192), ("1000", 0)])
    def test_version_two(self, tmp_path, limit, expected):
        """Limit minus usage, where the file cache does not count as used."""
        files = {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/b/memory.current": "9\n",
            "sys/fs/cgroup/a/memory.max": f"{limit}\n",
            "sys/fs/cgroup/a/memory.current": "2000\n",
            "sys/fs/cgroup/a/memory.stat": "anon 1900\ninactive_file 100\n",
        }
        assert _host_memory(write(tmp_path, MEMINFO | files)) == expected

    @pytest.mark.parametrize("folder", ["memory/job", "memory"])
    def test_version_one(self, tmp_path, folder):
        """Seen from outside or from inside the container."""
        files = {
            "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n",
            f"sys/fs/cgroup/{folder}/memory.limit_in_bytes": "6000\n",
            f"sys/fs/cgroup/{folder}/memory.usage_in_bytes": "1000\n",
            f"sys/fs/cgroup/{folder}/memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
        }
        assert _host_memory(write(tmp_path, MEMINFO | files)) == 5050


def value(x, weight=1.0):
    circuit = qj.Circuit(6, [*(qj.RY(weight * x[q], q) for q in range(6)), qj.CX(0, 5)])
    return qj.expectation(circuit, qj.Z(5))


XS = jnp.linspace(0.0, 2.0, 42).reshape(7, 6)

MANY = jnp.zeros((1000, 6))


def shapes_of(function, *arguments):
    """Leading sizes of all arrays (size, 6) in the program of a function."""
    text = str(jax.make_jaxpr(function)(*arguments))
    return {int(size) for size in re.findall(r"f32\[(\d+),6\]", text)}


class TestBatchMap:
    """`vmap` in parts."""

    @pytest.mark.parametrize("batch_size", [1, 3, 7, 100, None])
    def test_equals_vmap(self, batch_size):
        """Whatever the size of the parts, for pytrees in and out."""

        def f(sample):
            return {"value": value(sample["x"]), "twice": 2 * sample["k"]}

        xs = {"x": XS, "k": jnp.arange(7)}
        found = qj.batch_map(f, xs, batch_size=batch_size)
        expected = jax.vmap(f)(xs)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)

    def test_keys(self):
        """Random keys travel with the samples."""
        keys = jax.random.split(jax.random.key(0), 5)
        bits = qj.batch_map(lambda k: qj.sample(layer(3), 4, k), keys, batch_size=2)
        np.testing.assert_array_equal(bits, jax.vmap(lambda k: qj.sample(layer(3), 4, k))(keys))

    @pytest.mark.parametrize("limit", [50_000, 400_000])
    def test_largest_that_fits(self, limit):
        """The part fits, and a part a quarter larger would not."""

        def needed(size):
            return _memory._measure(_memory._Program(value, MANY, size))

        size = _memory._fitting_size(value, MANY, limit)
        assert 1 < size < len(MANY)
        assert needed(size) <= limit < needed(size + 1 + size // 4)

    def test_memory_that_does_not_grow_evenly(self):
        """The first guess is checked, and mended."""

        def needed(size):
            return 100 * size if size <= 10 else 1000 * size

        assert _memory._largest_below(needed, 100, 1000, 1000) == 10
        assert _memory._largest_below(needed, 100, 30_000, 1000) in range(25, 31)
        assert _memory._largest_below(needed, 100, 100, 1000) == 1
        assert _memory._largest_below(needed, 100, 10**9, 1000) == 1000

    def test_parts_are_as_large_as_they_may_be(self):
        """The limit shows in the program."""
        chosen = _memory._fitting_size(value, MANY, 10**5)
        assert chosen in shapes_of(lambda x: qj.batch_map(value, x, max_bytes=10**5), MANY)
        assert chosen not in shapes_of(lambda x: qj.batch_map(value, x, max_bytes=10**12), MANY)

    def test_default_is_a_share_of_what_is_available(self, monkeypatch):
        """Half of it."""
        monkeypatch.setattr(_memory, "available_memory", lambda: 200_000)
        chosen = _memory._fitting_size(value, MANY, None)
        assert chosen == _memory._fitting_size(value, MANY, 100_000) < len(MANY)

    @pytest.mark.parametrize("limit", [{"batch_size": 3}, {"max_bytes": 10**5}, {}])
    def test_inside_transformations(self, limit):
        """jit, grad and vmap, with values of theirs used inside `f`."""

        def total(weight, xs, mapped):
            return jnp.sum(mapped(lambda x: value(x, weight))(xs) ** 2)

        def parts(f):
            return lambda xs: qj.batch_map(f, xs, **limit)

        weights = jnp.array([0.7, 1.3])
        run = jax.vmap(jax.value_and_grad(total), (0, None, None))
        found = jax.jit(lambda w, x: run(w, x, parts))(weights, XS)
        np.testing.assert_allclose(found, run(weights, XS, jax.vmap), rtol=1e-4, atol=1e-5)

    def test_reverse_mode_keeps_one_part(self):
        """The memory of a gradient does not grow with the batch."""

        def needed(number):
            def loss(weight, xs):
                return jnp.sum(qj.batch_map(lambda x: value(x, weight), xs, batch_size=8))

            arguments = jnp.ones(()), jnp.zeros((number, 6))
            memory = jax.jit(jax.grad(loss)).lower(*arguments).compile().memory_analysis()
            assert memory is not None
            return memory.temp_size_in_bytes

        states = 8 * 2**6 * 8
        assert needed(800) - needed(80) < 720 * 8 * 6 < 90 * states

    def test_function_without_reverse_mode(self):
        """It is measured forwards."""

        def f(x):
            return jax.lax.while_loop(lambda v: v.sum() < 10, lambda v: v + 1, x)

        np.testing.assert_array_equal(qj.batch_map(f, XS), jax.vmap(f)(XS))

    def test_nothing_fits(self):
        """Not even one sample."""
        message = "One sample of batch_map needs about .* of memory, but only 100 bytes may be used"
        with pytest.raises(MemoryLimitError, match=message):
            qj.batch_map(value, XS, max_bytes=100)

    @pytest.mark.parametrize(
        ("xs", "arguments", "message"),
        [
            (XS, {"batch_size": 0}, "`batch_size` must be at least 1, but is 0"),
            (XS, {"batch_size": 1.5}, "`batch_size` must be an integer, but is 1.5"),
            (XS, {"max_bytes": -1}, "`max_bytes` must be at least 1, but is -1"),
            (XS, {"max_bytes": 1, "batch_size": 1}, "exclude each other; give one"),
            (XS[:0], {}, "`xs` of batch_map must hold at least one sample, but is empty"),
            ((), {}, r"one common leading axis, but has the shapes \[\]"),
            (1.0, {}, r"one common leading axis, but has the shapes \[\(\)\]"),
            ((XS, XS[1:]), {}, r"but has the shapes \[\(7, 6\), \(6, 6\)\]"),
        ],
    )
    def test_arguments(self, xs, arguments, message):
        """Each mistake by name."""
        with pytest.raises(QjaxError, match=message):
            qj.batch_map(value, xs, **arguments)

    def test_device_that_does_not_tell(self, monkeypatch):
        """Then the size must be given."""
        monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
        with pytest.raises(QjaxError, match="Give `batch_size` to batch_map"):
            qj.batch_map(value, XS)
