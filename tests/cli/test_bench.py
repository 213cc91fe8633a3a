import re

import jax
import numpy as np
import pytest

from qjax.cli import _bench
from qjax.cli._bench import CASES, SMOKE, Case, measure, program
from tests.cli.conftest import Command
from tests.support import oracle
from tests.support.oracle import Op

Z_WORDS = ("ZII", "IZI", "IIZ")


def ops(theta: np.ndarray, x: np.ndarray | None) -> list[Op]:
    """The layer, gate by gate."""
    n = theta.shape[1]
    found = [] if x is None else [Op("RY", (q,), (float(x[q]),)) for q in range(n)]
    for layer in theta:
        for q in range(n):
            found += [Op("RY", (q,), (float(layer[q, 0]),)), Op("RZ", (q,), (float(layer[q, 1]),))]
        found += [Op("CX", (q, (q + 1) % n)) for q in range(n)]
    return found


def cache_is_on() -> bool:
    return jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]


class TestCommand:
    def test_smoke(self, qjax: Command) -> None:
        done = qjax("bench", "--smoke")
        assert not done.code
        lines = done.out.splitlines()
        assert lines[0].split()[:4] == ["task", "qubits", "batch", "layers"]
        rows = [line.split() for line in lines[1 : 1 + len(SMOKE)]]
        assert [row[:2] for row in rows] == [[c.task, str(c.num_qubits)] for c in SMOKE]
        for row in rows:
            compile_s, first_s, steady_ms = (float(text) for text in row[4:7])
            assert compile_s <= first_s
            assert steady_ms < 1e3 * first_s
        assert re.search(r"\d+ cores, \w+", done.out)
        assert f"jax {jax.__version__}," in done.out

    def test_help_names_it(self, qjax: Command) -> None:
        assert "bench" in qjax("--help").out
        assert "--smoke" in qjax("bench", "--help").out

    def test_without_the_option_the_full_sizes_run(
        self, qjax: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        monkeypatch.setattr(_bench, "bench", lambda cases, _: seen.extend(cases))
        assert not qjax("bench").code
        assert tuple(seen) == CASES

    def test_the_cache_of_programs_is_off_while_it_runs(
        self, qjax: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = cache_is_on()
        seen = []

        def spy(case: Case) -> _bench.Measured:
            seen.append(cache_is_on())
            return measure(case)

        monkeypatch.setattr(_bench, "measure", spy)
        qjax("bench", "--smoke")
        assert seen == [False] * len(SMOKE)
        assert cache_is_on() == before


class TestCases:
    def test_forward_is_every_z(self) -> None:
        function, (theta, xs) = program(Case("forward", 3, 2, 2))
        values = function(theta, xs)
        assert values.shape == (2, 3)
        for x, row in zip(np.asarray(xs), np.asarray(values), strict=True):
            state = oracle.statevector(3, ops(np.asarray(theta), x))
            wanted = [oracle.expectation(state, {word: 1.0}) for word in Z_WORDS]
            np.testing.assert_allclose(row, wanted, atol=1e-5)

    def test_gradient_is_that_of_the_mean_loss(self) -> None:
        function, (theta, xs) = program(Case("gradient", 3, 2, 2))
        loss, gradient = function(theta, xs)
        assert gradient.shape == theta.shape
        step = 1e-2
        raised, lowered = (function(theta.at[1, 2, 0].add(h), xs)[0] for h in (step, -step))
        slope = float(raised - lowered) / (2 * step)
        assert float(gradient[1, 2, 0]) == pytest.approx(slope, abs=1e-3)
        assert np.isfinite(loss)

    def test_one_state_has_no_input(self) -> None:
        function, arguments = program(Case("forward", 3, 0, 2))
        state = oracle.statevector(3, ops(np.asarray(arguments[0]), None))
        wanted = [oracle.expectation(state, {word: 1.0}) for word in Z_WORDS]
        np.testing.assert_allclose(function(*arguments), wanted, atol=1e-5)
