"""The harness at toy size: qjax and a plain NumPy oracle, and peers that misbehave."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.__main__ import main
from bench._compare import Row, _choose_reference, tolerance
from bench._install import Environment, prepare_environment
from bench._registry import PEERS, Peer
from bench._worker import decode, encode
from bench._workloads import WORKLOADS, Cell, make_problem, select

ODD = Peer("odd", (), ("numpy",), module="tests.bench.odd_peer")


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Compares a peer that misbehaves with the oracle; exit status, its row, and the text."""
    monkeypatch.setitem(PEERS, "odd", ODD)

    def run(how: str, *more: str, workload: str = "w1-grad") -> tuple[int, dict[str, Any], str]:
        monkeypatch.setenv("ODD_PEER", how)
        output = tmp_path / "odd.md"
        options = ("--toy", "--peers", "odd,numpy", "--workloads", workload)
        status = main(["compare", *options, "--output", str(output), *more])
        (cell,) = json.loads(output.with_suffix(".json").read_text())["cells"]
        row = next(row for row in cell["rows"] if row["peer"] == "odd")
        return status, row, str(capsys.readouterr().out)

    return run


class TestQjaxAgainstTheOracle:
    # The others differ from these in what is asked for only; `compare --toy` runs them all.
    @pytest.mark.parametrize(
        "workload",
        ["w1-forward", "w1-train", "state-grad", "amplitude-grad", "reuploading", "noisy-grad"]
        + ["vqe", "sampling"],
    )
    def test_values_agree(self, workload: str, tmp_path: Path) -> None:
        output = tmp_path / "toy.md"
        options = ("--toy", "--peers", "qjax", "--rounds", "1", "--output", str(output))
        assert main(["compare", *options, "--workloads", workload]) == 0
        data = json.loads(output.with_suffix(".json").read_text())
        cells = [cell for cell in data["cells"] if cell["cell"]["workload"] == workload]
        assert len(cells) == 1
        assert cells[0]["reference"] == "numpy"
        row = next(row for row in cells[0]["rows"] if row["peer"] == "qjax")
        assert row["status"] == "ok"
        assert 0 < row["first"]["compile_s"] < row["first"]["first_s"]
        assert 0 < row["steady_s"] < row["first"]["first_s"]

    def test_first_steps_of_several_processes(self, tmp_path: Path) -> None:
        output = tmp_path / "toy.md"
        options = ("--toy", "--peers", "qjax", "--workloads", "w1-grad", "--starts", "3")
        assert main(["compare", *options, "--output", str(output)]) == 0
        data = json.loads(output.with_suffix(".json").read_text())
        row = next(row for row in data["cells"][0]["rows"] if row["peer"] == "qjax")
        times = sorted(each["first_s"] for each in row["starts"])
        assert len(set(times)) == 3
        assert row["first"]["first_s"] == times[1]

    def test_report(self, tmp_path: Path) -> None:
        output = tmp_path / "new" / "toy.md"
        command = ["compare", "--toy", "--peers", "qjax", "--workloads", "state-forward"]
        assert main([*command, "--output", str(output)]) == 0
        text = output.read_text()
        assert f"`python -m bench {' '.join(command)} --output {output}`" in text
        assert "| qjax | complex64 |" in text
        assert "agree (" in text
        assert "the reference" in text
        data = json.loads(output.with_suffix(".json").read_text())
        assert data["machine"]["cores"] > 0
        assert data["peers"]["qjax"]["versions"].keys() == set(PEERS["qjax"].reports)
        assert str(data["peers"]["qjax"]["versions"]["jax"]) in text


class TestPeersThatMisbehave:
    @pytest.mark.parametrize("workload", ["w1-forward", "w1-grad", "w1-train", "sampling"])
    def test_wrong_values_fail_the_comparison(self, odd: Any, workload: str) -> None:
        how = "nan" if workload == "sampling" else "wrong"
        status, row, text = odd(how, workload=workload)
        assert status == 1
        assert row["status"] == "MISMATCH"
        assert "**MISMATCH**: differs from numpy by" in text

    def test_what_it_prints_does_not_disturb(self, odd: Any) -> None:
        status, row, _ = odd("prints")
        assert (status, row["status"]) == (0, "ok")
        assert len(row["rounds"]) == 2

    def test_unsupported_is_a_row_and_no_failure(self, odd: Any) -> None:
        status, row, text = odd("refuses")
        assert (status, row["status"], row["reason"]) == (0, "unsupported", "no such thing")
        assert "unsupported: no such thing" in text

    def test_an_exception_is_a_row_and_a_failure(self, odd: Any) -> None:
        status, row, text = odd("raises")
        assert (status, row["status"], row["reason"]) == (1, "failed", "RuntimeError: a bug")
        assert "**failed**: RuntimeError: a bug" in text

    @pytest.mark.parametrize("how", ["dies", "dies-later"])
    def test_a_dead_process_is_a_row(self, odd: Any, how: str) -> None:
        status, row, _ = odd(how)
        assert (status, row["reason"]) == (1, "the process ended with status 3")

    def test_it_may_take_too_long(self, odd: Any) -> None:
        status, row, _ = odd("hangs", "--limit", "3")
        assert (status, row["reason"]) == (1, "not done after 3 s")


class TestReference:
    def test_the_oracle_then_double_precision_then_the_first(self) -> None:
        names = {"qjax": "complex64", "horqrux": "complex128", "numpy": "complex128"}
        peers = {name: (PEERS[name], None) for name in names}
        rows = {name: Row(name, about={"precision": each}) for name, each in names.items()}
        for given, wanted in [(3, "numpy"), (2, "horqrux"), (1, "qjax"), (0, "")]:
            values = {name: {} for name in list(names)[:given]}
            assert _choose_reference(peers, rows, values) == wanted


class TestInstall:
    def test_a_peer_that_does_not_install_is_a_row(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(PEERS, "odd", ODD)
        missing = Environment(None, "does not install on Python 3.11: no such thing")

        def prepare(peer: Peer) -> Environment:
            return missing if peer is ODD else prepare_environment(peer)

        monkeypatch.setattr("bench.__main__.prepare_environment", prepare)
        options = ("--toy", "--peers", "odd", "--workloads", "w1-forward")
        assert main(["compare", *options]) == 0
        assert f"not installed: {missing.problem}" in capsys.readouterr().out

    def test_own_environment(self) -> None:
        found = prepare_environment(Peer("x", (), ("surely-not-there",)))
        assert found.python is None
        assert "surely-not-there is not installed here" in found.problem


class TestCommandLine:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["--peers", "nope"], "Argument `peers` has 'nope'; choose from qjax, numpy"),
            (["--workloads", "nope"], "Argument `workloads` has 'nope'; choose from w1-forward"),
            (["--sizes", "8xmany"], "Argument `sizes` must hold n, nxBATCH or nxBATCHxLAYERS"),
            (["--sizes", "1"], "with n of 2 or more"),
        ],
    )
    def test_bad_options(
        self, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["compare", *options]) == 2
        assert text in capsys.readouterr().err


class TestWorkloads:
    def test_a_prefix_stands_for_all_of_a_kind(self) -> None:
        names = {cell.workload for cell in select(["w1", "vqe"], [])}
        assert names == {"w1-forward", "w1-grad", "w1-train", "vqe"}

    def test_sizes(self) -> None:
        cells = select(["w1-grad"], ["4", "8x256", "16x1x64"])
        sizes = [(cell.qubits, cell.batch, cell.layers) for cell in cells]
        assert sizes == [(4, 32, 4), (8, 256, 4), (16, 1, 64)]

    @pytest.mark.parametrize("workload", sorted(WORKLOADS))
    def test_the_same_numbers_in_every_process(self, workload: str) -> None:
        cell = WORKLOADS[workload].toy[0]
        first, second = make_problem(cell), make_problem(cell)
        assert first.gates == second.gates
        np.testing.assert_array_equal(first.theta, second.theta)
        np.testing.assert_array_equal(first.theta, first.theta.astype(np.float32))

    def test_tolerance_of_samples_is_their_scatter(self) -> None:
        means = np.zeros(3)
        assert tolerance(Cell("sampling", 3, shots=20_000), means) == pytest.approx(0.06)
        assert tolerance(Cell("w1-forward", 3), means) < 1e-4


def test_arrays_travel_exactly() -> None:
    array = np.array([[0.1, -0.0], [np.inf, 1e-300]])
    data = json.loads(json.dumps(encode(array)))
    np.testing.assert_array_equal(decode(data), array)
    assert decode(json.loads(json.dumps(encode(np.array(0.5))))).shape == ()
