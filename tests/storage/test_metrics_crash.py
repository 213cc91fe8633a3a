"""Processes that log metrics are killed at each step of a commit; what they committed is there.

`QJAX_KILLS` is how often in each phase, `QJAX_RANDOM_KILLS` how often at any moment; CI kills a
few times. `python -m tests.storage.test_metrics_crash FOLDER` kills as often and prints the counts.
"""

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.dataset
import pytest

from qjax.errors import RunError
from qjax.storage import read_metrics
from qjax.storage._journal import JOURNAL
from qjax.storage._logger import AsyncMetricsLogger
from tests.storage.metrics_child import (
    PART_ROWS,
    RANDOM,
    ROWS_PER_COMMIT,
    SYNCING,
    SYNCS_PER_COMMIT,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KILLS = int(os.environ.get("QJAX_KILLS", "4"))
RANDOM_KILLS = int(os.environ.get("QJAX_RANDOM_KILLS", "6"))
PHASES = ("writing", "before commit", "after commit", "after sync", "compacting", *SYNCING[:5])
PREPARED = ("truncating", "replaying")  # these need files to begin with
CHANGES = 10  # moments around a call to the disk while a journal is taken over
CUTS = 18  # moments around a call to the disk while a history is cut off
LONGEST = 300  # ms of logging until a kill at random
ROOT = Path(__file__).parents[2]


class Death(NamedTuple):
    """A process that was killed: where it wrote, and how it was told to die."""

    folder: Path
    phase: str
    number: int
    order: str = "right"


def kill(deaths: list[Death]) -> list[Death]:
    """Kills them all."""
    jobs = [json.dumps({**death._asdict(), "folder": str(death.folder)}) for death in deaths]
    subprocess.run(
        [sys.executable, "-m", "tests.storage.metrics_child"],
        input="\n".join(jobs).encode(),
        cwd=ROOT,
        check=True,
        timeout=1800,
    )
    return deaths


def all_deaths(folder: Path, kills: int, random_kills: int) -> list[Death]:
    moments = random.Random(0)
    # A new file begins with commits 1, 4, 7, ...; there is nothing to compact in these.
    commits = {phase: list(range(1, kills + 1)) for phase in PHASES}
    commits["compacting"] = [n for n in range(1, 3 * kills) if is_compacting(n)][:kills]
    commits["truncating"] = [1 + n % CUTS for n in range(kills)]
    commits["replaying"] = [1 + n % CHANGES for n in range(kills)]
    for phase in RANDOM:
        commits[phase] = [moments.randrange(LONGEST) for _ in range(random_kills)]
    planned = [(phase, number) for phase, numbers in commits.items() for number in numbers]
    return [Death(folder / str(n), *what) for n, what in enumerate(planned)]


def is_compacting(commit: int) -> bool:
    commits_per_part = -(-PART_ROWS // ROWS_PER_COMMIT)
    return commit % commits_per_part != 1


def numbers(path: Path) -> list[int]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [int(line.split()[0]) for line in lines if line.endswith("\n")]


def faults(death: Death) -> list[str]:
    """Says what is wrong with what a killed process left; nothing, if all is well."""
    try:
        steps = read_metrics(death.folder)["step"].to_pylist()
    except RunError as error:
        return [f"unreadable: {error}"]
    found = []
    if steps != list(range(1, len(steps) + 1)):
        found.append(f"not each row once and in order: {steps}")
    parts = pyarrow.dataset.dataset(death.folder / "metrics", format="parquet").to_table()
    plain = sorted(row["step"] for row in parts.to_pylist())
    has_journal = death.phase in (*SYNCING, "replaying")
    if plain != sorted(steps[: len(plain)] if has_journal else steps):
        found.append("a plain reader sees other rows")
    if death.phase == "truncating":
        return found + ([] if 15 <= len(steps) <= 50 else [f"{len(steps)} rows"])
    logged = len(numbers(death.folder / "logged"))
    committed = max(numbers(death.folder / "committed"), default=0)
    if not committed <= len(steps) <= logged:
        found.append(f"{len(steps)} rows of {committed} committed and {logged} logged")
    if death.phase not in RANDOM and logged - len(steps) > ROWS_PER_COMMIT:
        found.append(f"lost {logged - len(steps)} rows, more than one flush")
    return found


# What a commit in the wrong order leaves, by the order and the phase of the kill.
WRONG = {
    ("in place", "writing"): "unreadable: Metrics file",
    ("late", "before commit"): "3 rows of 6 committed and 9 logged",
    ("journal first", "before rename"): "12 rows of 18 committed and 18 logged",
}


@pytest.fixture(scope="module")
def all_killed(tmp_path_factory: pytest.TempPathFactory) -> list[Death]:
    folder = tmp_path_factory.mktemp("killed")
    cases = [*WRONG, *(("right", phase) for _, phase in WRONG)]
    wrong = [Death(folder / f"wrong {n}", phase, 3, o) for n, (o, phase) in enumerate(cases)]
    return kill([*all_deaths(folder, KILLS, RANDOM_KILLS), *wrong])


@pytest.fixture(scope="module")
def killed(all_killed: list[Death]) -> list[Death]:
    return [death for death in all_killed if not death.folder.name.startswith("wrong")]


def test_each_was_killed(killed: list[Death]) -> None:
    codes = [int((death.folder / "ended").read_text().split()[0]) for death in killed]
    count = KILLS * len(PHASES + PREPARED) + RANDOM_KILLS * len(RANDOM)
    assert codes == [-9] * count


@pytest.mark.parametrize("phase", [*PHASES, *PREPARED, *RANDOM])
def test_what_was_committed_is_there_once(killed: list[Death], phase: str) -> None:
    of_phase = [death for death in killed if death.phase == phase]
    assert len(of_phase) == (RANDOM_KILLS if phase in RANDOM else KILLS)
    assert {death: found for death in of_phase if (found := faults(death))} == {}


@pytest.mark.parametrize(
    ("phase", "rounds", "lost", "unseen"),
    [
        ("writing", 1, ROWS_PER_COMMIT, 0),
        ("before commit", 1, ROWS_PER_COMMIT, 0),
        ("compacting", 1, ROWS_PER_COMMIT, 0),
        ("after commit", 1, 0, ROWS_PER_COMMIT),
        ("after sync", 1, 0, ROWS_PER_COMMIT),
        ("appending", 1, ROWS_PER_COMMIT, 0),
        ("after append", 1, 0, ROWS_PER_COMMIT),
        ("before rename", SYNCS_PER_COMMIT, 0, 0),
        ("before removal", SYNCS_PER_COMMIT, 0, 0),
        ("after removal", SYNCS_PER_COMMIT, 0, 0),
    ],
)
def test_kills_hit_their_phase(
    killed: list[Death], phase: str, rounds: int, lost: int, unseen: int
) -> None:
    for death in killed:
        if death.phase == phase:
            logged = len(numbers(death.folder / "logged"))
            there = read_metrics(death.folder).num_rows
            committed = max(numbers(death.folder / "committed"), default=0)
            assert logged == ROWS_PER_COMMIT * rounds * death.number
            assert (logged - there, there - committed) == (lost, unseen)


def test_kills_while_truncating_come_at_each_stage(killed: list[Death]) -> None:
    left = [read_metrics(d.folder).num_rows for d in killed if d.phase == "truncating"]
    assert left[:CUTS] == sorted(left[:CUTS], reverse=True)
    assert set(left) >= ({50, 40, 30, 20, 15} if KILLS >= CUTS else {50})


def test_kills_while_replaying_come_before_and_after_it(killed: list[Death]) -> None:
    deaths = [death for death in killed if death.phase == "replaying"][:CHANGES]
    left = [(death.folder / "metrics" / JOURNAL).exists() for death in deaths]
    assert left == sorted(left, reverse=True)
    assert set(left) == ({True, False} if KILLS >= CHANGES else {True})


def test_a_run_that_goes_on_adds_to_it(killed: list[Death]) -> None:
    for death in killed:
        there = read_metrics(death.folder).num_rows
        with AsyncMetricsLogger(death.folder, hardware=False) as metrics:
            for step in (there + 1, there + 2):
                metrics.log({"epoch": 99, "step": step})
        steps = read_metrics(death.folder)["step"].to_pylist()
        assert steps == list(range(1, there + 3))


def test_a_commit_in_the_wrong_order_is_noticed(all_killed: list[Death]) -> None:
    deaths = [death for death in all_killed if death.folder.name.startswith("wrong")]
    assert len(deaths) == 2 * len(WRONG)
    for death in deaths:
        text = WRONG.get((death.order, death.phase))
        assert not faults(death) if text is None else text in faults(death)[0]


def lost_seconds(death: Death) -> float:
    """How old the oldest row that is lost was when the process died."""
    there = read_metrics(death.folder).num_rows
    lines = (death.folder / "logged").read_text().splitlines()
    ended = float((death.folder / "ended").read_text().split()[1])
    return ended - float(lines[there].split()[1]) if there < len(lines) else 0.0


def report(folder: Path) -> dict[str, Any]:
    """Kills as often as the environment says; returns the counts."""
    folder.mkdir(parents=True)
    deaths = kill(all_deaths(folder, KILLS, RANDOM_KILLS))
    counts = {
        phase: (len(group := list(deaths)), sum(bool(faults(death)) for death in group))
        for phase, deaths in itertools.groupby(deaths, key=lambda death: death.phase)
    }
    at_random = [death for death in deaths if death.phase == "random"]
    return {
        "kills, of them with a fault": counts,
        "at random: rows logged, in all": sum(
            len(numbers(death.folder / "logged")) for death in at_random
        ),
        "at random: age of the oldest lost row, ms": [
            round(1e3 * age, 1) for age in sorted(map(lost_seconds, at_random))
        ],
    }


if __name__ == "__main__":
    json.dump(report(Path(sys.argv[1])), sys.stdout, indent=1)
