"""How a training step of the design's model is spread over its layers, beside the design's figures.

The model is `quantum-first` for 14 x 14 images and 10 classes; see `qjax.nn.compute_split` for what
a layer's operations and time are. Ends with 1 if less than 0.60 of the time, of the operations or
of the parameters is quantum. Writes `bench/results/split.md` and `split.json`. With --toy it does
neither: calls as such then take longer than the circuits.
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _timing import arguments, machine
from flax import nnx

from qjax.nn import ComputeSplit, compute_split, models

AIM = 0.60
OUTPUT = Path(__file__).parent / "results" / "split.md"
COMMAND = "python bench/bench_split.py"

# The design's row, its share of compute in per cent, and the row of the model that does that work.
DESIGN = (
    ("flatten", 5, None),  # the images come flat
    ("extractor", 40, "0.0 QuantumFeatureExtractor"),
    ("pooling", 15, "0.1 QuantumPooling"),
    ("extractor", 30, "0.2 QuantumFeatureExtractor"),
    ("readout", 5, "0.3 QuantumReadout"),
    ("decoding", 5, None),  # the readout returns scores
    ("(loss and call)", None, "loss"),
)
HEADER = ("layer", "row", "design, %", "time, %", "operations, %", "parameters, %", "ms", "flops",
          "parameters")  # fmt: skip


def measured(batch: int, features: int, classes: int, repeats: int) -> ComputeSplit:
    """The split of a batch of random images."""
    model = models.create(
        "quantum-first", num_features=features, num_classes=classes, rngs=nnx.Rngs(0)
    )
    images = np.random.default_rng(0).uniform(size=(batch, features))
    return compute_split(model, images, repeats=repeats)


def shares(split: ComputeSplit) -> dict[str, float]:
    """What is quantum, of the whole."""
    time = split.quantum_time_share
    assert time is not None
    return {
        "time": time,
        "operations": split.quantum_flops_share,
        "parameters": split.quantum_parameter_share,
    }


def table(split: ComputeSplit) -> str:
    """Markdown: one line per row of the design, and what is quantum."""
    rows = {row.name: row for row in split.layers}
    assert set(rows) == {name for _, _, name in DESIGN if name is not None}
    seconds = split.seconds or 0.0
    lines = [HEADER, ("---",) * len(HEADER)]
    for what, design, name in DESIGN:
        row = rows[name] if name is not None else None
        cells = ("-",) * 6
        if row is not None and row.seconds is not None:
            cells = (
                f"{100 * row.seconds / seconds:.1f}",
                f"{100 * row.flops / split.flops:.1f}",
                f"{100 * row.parameters / split.parameters:.1f}",
                f"{1e3 * row.seconds:.2f}",
                f"{row.flops:.3g}",
                str(row.parameters),
            )
        lines.append((what, name or "-", "-" if design is None else str(design), *cells))
    quantum = [f"{100 * share:.1f}" for share in shares(split).values()]
    lines.append(("**quantum**", "", "", *quantum, "", "", ""))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Prints a table per batch size; returns 1 if a share misses the aim."""
    options = arguments(__doc__ or "")
    batches, features, classes, repeats = (32, 256), 196, 10, 100
    if options.toy:
        batches, features, classes, repeats = (8,), 16, 4, 5
    splits = {batch: measured(batch, features, classes, repeats) for batch in batches}
    parts = [f"Batch of {batch}:\n\n{table(split)}" for batch, split in splits.items()]
    missed = [
        f"batch of {batch}: {share:.2f} of {what}"
        for batch, split in splits.items()
        for what, share in shares(split).items()
        if share < AIM
    ]
    verdict = "; ".join(missed) or f"All shares are at least {AIM:.2f}."
    print(machine(), *parts, verdict, sep="\n\n")
    if not options.toy:
        _write(parts, splits, verdict)
    return int(bool(missed) and not options.toy)


def _write(parts: list[str], splits: dict[int, ComputeSplit], verdict: str) -> None:
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    head = f"# Shares of a training step\n\n`{COMMAND}`, {when}.\n\n{machine()}."
    OUTPUT.write_text("\n\n".join([head, *parts, verdict]) + "\n")
    content: dict[str, Any] = {
        "command": COMMAND,
        "when": when,
        "machine": machine(),
        "aim": AIM,
        "batches": [
            {"batch": batch, "quantum": shares(split), "layers": [asdict(r) for r in split.layers]}
            for batch, split in splits.items()
        ],
    }
    OUTPUT.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
