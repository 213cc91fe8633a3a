"""The tables: markdown for people and JSON beside it; every number comes from the run."""

import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench._compare import CellResult, Row
from bench._workloads import WORKLOADS

__all__ = ["cell_table", "describe_machine", "write_report"]

COLUMNS = (
    "peer",
    "precision",
    "compile, s",
    "first step, s",
    "steady, ms",
    "steady / qjax",
    "first / qjax",
    "peak, MiB",
    "first run, MiB",
    "XLA, MiB",
    "values",
)

LEGEND = """\
- **compile**: tracing, lowering and compiling, where the library has that step.
- **first step**: from gates and numbers to the first result in a fresh process, imports excluded,
  compiling included; the median of several processes, which take turns, if `--starts` says so.
- **steady**: median of later calls, over rounds in which the peers take turns.
- **/ qjax**: the peer's time over qjax's; above 1, qjax is faster.
- **peak**: resident memory at its highest up to the end of the first step, less that of the idle
  process after its imports. **first run**: how far its first run, once prepared and compiled,
  goes above what is resident before. **XLA**: what the compiled program says it needs for
  temporaries and outputs.
- **values**: largest difference from the reference; a row with another result says MISMATCH.
"""


def describe_machine() -> dict[str, Any]:
    """What the numbers depend on besides versions."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "memory_gib": _memory_gib(),
    }


def write_report(
    results: list[CellResult], command: str, output: Path, limits: dict[str, Any]
) -> None:
    """Writes the markdown, and the JSON beside it.

    Args:
        results: what was measured so far.
        command: the command line that repeats it.
        output: the markdown file.
        limits: how long was measured.
    """
    machine, date = describe_machine(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    output.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "date": date,
        "command": command,
        "machine": machine,
        "limits": limits,
        "peers": _about(results),
        "cells": [result.to_json() for result in results],
    }
    output.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    parts = [_head(date, command, machine, results), LEGEND]
    parts += [cell_table(result) for result in results]
    output.write_text("\n".join(parts))


def _head(date: str, command: str, machine: dict[str, Any], results: list[CellResult]) -> str:
    lines = [
        "# Comparison",
        "",
        f"`{command}`, {date}.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, {machine['architecture']}.",
        "",
        "| peer | how | Python | versions |",
        "| --- | --- | --- | --- |",
    ]
    for name, about in _about(results).items():
        versions = ", ".join(f"{key} {value}" for key, value in about["versions"].items())
        lines.append(f"| {name} | {about['engine']} | {about['python']} | {versions} |")
    return "\n".join(lines) + "\n"


def _about(results: Iterable[CellResult]) -> dict[str, dict[str, Any]]:
    rows = (row for result in results for row in result.rows)
    return {row.peer: row.about for row in rows if row.about}


def cell_table(result: CellResult) -> str:
    """One cell as a heading and a table."""
    ours = next((row for row in result.rows if row.peer == "qjax" and row.steady), None)
    lines = [
        f"## {result.cell.workload}: {result.cell.label()}",
        "",
        f"{WORKLOADS[result.cell.workload].summary}. "
        f"Values are compared with those of {result.reference or 'nobody'}.",
        "",
        _line(COLUMNS),
        _line(["---"] * len(COLUMNS)),
    ]
    lines += [_line(_fields(row, ours, result.reference)) for row in result.rows]
    return "\n".join(lines) + "\n"


def _line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _fields(row: Row, ours: Row | None, reference: str) -> list[str]:
    first = row.first
    compile_s = first["trace_s"] + first["compile_s"] if "compile_s" in first else None
    ours_first = ours.first.get("first_s") if ours is not None else None
    timed = row.status != "reference"
    return [
        row.peer,
        row.about.get("precision", "-"),
        _number(compile_s),
        _number(first.get("first_s") if timed else None),
        _number(row.steady, 1e3),
        _ratio(row.steady, None if ours is None else ours.steady),
        _ratio(first.get("first_s") if timed else None, ours_first),
        _mebibytes(first.get("peak_bytes") if timed else None),
        _mebibytes(first.get("run_bytes") if timed else None),
        _mebibytes(first.get("xla_bytes")),
        _verdict(row, reference),
    ]


def _verdict(row: Row, reference: str) -> str:
    if row.status in ("unsupported", "not installed", "failed", "MISMATCH"):
        name = f"**{row.status}**" if row.has_failed else row.status
        return f"{name}: {row.reason}".replace("|", "\\|")
    if row.difference is None:
        return "the reference" if row.peer == reference else "not compared"
    return f"agree ({row.difference:.0e})"


def _number(seconds: float | None, scale: float = 1.0) -> str:
    return "-" if seconds is None else f"{seconds * scale:.3g}"


def _ratio(theirs: float | None, ours: float | None) -> str:
    return "-" if theirs is None or not ours else f"{theirs / ours:.2f}"


def _mebibytes(count: float | None) -> str:
    if count is None:
        return "-"
    return f"{count / 2**20:.1f}" if count < 10 * 2**20 else f"{count / 2**20:.0f}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
