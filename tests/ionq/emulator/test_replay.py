"""Recorded requests of six clients get answers that these clients would take."""

import json
from pathlib import Path

import pytest

from tests.ionq.emulator.replay import replay

pytest.importorskip("openqasm3")

GOLDEN = Path(__file__).parents[2] / "golden" / "ionq-requests"
FILES = sorted(GOLDEN.glob("*.json"))


def test_there_are_recordings_of_all_clients():
    assert len(FILES) >= 12
    names = {file.name.split("_")[0] for file in FILES}
    assert {"cirq", "ionqcore", "pennylane", "qbraid", "qiskit", "qiskithead"} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_request_is_answered_compatibly(file):
    number, differences = replay(file)
    assert number > 0
    assert differences == []


def test_the_comparison_sees_a_missing_key_another_type_and_another_status(tmp_path):
    record = json.loads((GOLDEN / "ionqcore_bell_sync.json").read_text())
    bodies = [exchange["response"]["body"] for exchange in record["exchanges"]]
    bodies[1]["surprise"] = 1
    bodies[1]["backend"] = 3
    record["exchanges"][2]["response"]["status"] = 202
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(record))
    _, differences = replay(changed)
    found = {(difference.exchange, difference.place) for difference in differences}
    assert found == {(2, ".backend"), (2, ".surprise"), (3, "")}
