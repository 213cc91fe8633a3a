"""The files of a timeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from qjax.cli._timeline import as_trace, write_timeline
from qjax.train import STAGES, Span, Timeline
from tests.cli.conftest import SETTINGS, Command

SPANS = [
    Span("submission", 10.0, 10.001, "MainThread"),
    Span("gradient and optimiser", 10.001, 10.004, "device"),
    Span("collection", 10.002, 10.005, "MainThread"),
]


class TestTrace:
    def test_holds_each_span_in_microseconds(self) -> None:
        trace = as_trace(SPANS, left_out=4)
        names = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
        events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
        read = [(e["name"], e["ts"], e["dur"], names[e["tid"]]) for e in events]
        for event, span in zip(read, SPANS, strict=True):
            expected = (span.stage, 1e6 * (span.begin - 10), 1e6 * (span.end - span.begin))
            assert event[0] == expected[0] and event[3] == span.lane
            assert event[1:3] == pytest.approx(expected[1:], abs=1e-3)
        assert trace["otherData"] == {"spans left out": 4}

    def test_of_nothing_leaves_no_files(self, tmp_path: Path) -> None:
        write_timeline(tmp_path, "title", Timeline())
        assert list(tmp_path.iterdir()) == []


class TestProfile:
    def test_writes_a_picture_and_a_trace(self, qjax: Command, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        done = qjax("train", *SETTINGS, "--epochs", "2", "--profile", "--run-dir", folder)
        assert not done.code, done.err
        assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        trace: dict[str, Any] = json.loads((folder / "timeline.json").read_text())
        events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
        assert {event["name"] for event in events} == set(STAGES)
        assert all(event["ts"] >= 0 and event["dur"] >= 0 for event in events)
        assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
        end = max(event["ts"] + event["dur"] for event in events)
        for lane in {event["tid"] for event in events}:
            assert sum(event["dur"] for event in events if event["tid"] == lane) <= end
        steps = sum(event["name"] == "gradient and optimiser" for event in events)
        assert steps == 2 * 5
