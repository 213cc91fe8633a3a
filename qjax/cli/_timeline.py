"""The timeline of a run as files: a picture, and a trace for Perfetto or Chrome."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qjax.storage import disk_errors, write_atomic
from qjax.train import STAGES, Span, Timeline

__all__ = ["as_trace", "write_timeline"]

PICTURE = "timeline.png"
TRACE = "timeline.json"
STEPS_SHOWN = 12


def write_timeline(run_dir: Path, title: str, timeline: Timeline) -> None:
    """Writes ``timeline.json``, which https://ui.perfetto.dev opens, and ``timeline.png``.

    Args:
        run_dir: the run directory.
        title: title of the picture.
        timeline: what was recorded; a run without a step leaves no files.

    Raises:
        RunError: if the disk refuses.
    """
    spans = timeline.spans
    if not spans:
        return
    trace = json.dumps(as_trace(spans, timeline.left_out)).encode()
    for name, content in ((TRACE, trace), (PICTURE, _draw(title, spans))):
        with disk_errors("Timeline", run_dir / name):
            write_atomic(run_dir / name, content)


def as_trace(spans: Sequence[Span], left_out: int = 0) -> dict[str, Any]:
    """Returns the spans in the trace event format, in microseconds since the first one.

    Args:
        spans: in the order in which they began.
        left_out: how many more there were.
    """
    start = spans[0].begin
    lanes = {lane: number for number, lane in enumerate(dict.fromkeys(s.lane for s in spans), 1)}
    names = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": lane}}
        for lane, number in lanes.items()
    ]
    events = [
        {
            "name": span.stage,
            "ph": "X",
            "pid": 1,
            "tid": lanes[span.lane],
            "ts": 1e6 * (span.begin - start),
            "dur": 1e6 * (span.end - span.begin),
        }
        for span in spans
    ]
    return {
        "traceEvents": names + events,
        "displayTimeUnit": "ms",
        "otherData": {"spans left out": left_out},
    }


def _draw(title: str, spans: Sequence[Span]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    whole, close = figure.subplots(2, 1)
    figure.suptitle(title)
    start, end = spans[0].begin, max(span.end for span in spans)
    _draw_lanes(whole, spans, start, end, "the whole run")
    _draw_lanes(close, spans, *_some_steps(spans), f"{STEPS_SHOWN} steps in the middle of it")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _some_steps(spans: Sequence[Span]) -> tuple[float, float]:
    """Returns the beginning and end of a few steps in the middle."""
    steps = [span for span in spans if span.stage == "submission"] or list(spans)
    # A step has two spans of submission: to the pipeline and to the device.
    first = max(0, len(steps) // 2 - STEPS_SHOWN)
    shown = steps[first : first + 2 * STEPS_SHOWN + 1]
    return shown[0].begin, shown[-1].end


def _draw_lanes(axes: Any, spans: Sequence[Span], begin: float, end: float, label: str) -> None:
    """Draws one lane per stage, labelled with the share of the time that it takes."""
    scale, unit = (1.0, "s") if end - begin > 1 else (1e3, "ms")
    shown = [span for span in spans if span.end > begin and span.begin < end]
    labels = []
    for lane, stage in enumerate(STAGES):
        parts = [(max(s.begin, begin), min(s.end, end)) for s in shown if s.stage == stage]
        bars = [(scale * (a - begin), scale * (b - a)) for a, b in parts]
        axes.broken_barh(bars, (lane - 0.4, 0.8), color=f"C{lane}", linewidth=0)
        share = sum(b - a for a, b in parts) / (end - begin)
        labels.append(f"{stage}\n{100 * share:.1f} %")
    axes.set_yticks(range(len(STAGES)), labels, fontsize="small")
    axes.set_ylim(len(STAGES) - 0.5, -0.5)
    axes.set_xlim(0, scale * (end - begin))
    axes.set_xlabel(f"{label}, {unit}")
    axes.grid(axis="x", alpha=0.3)
