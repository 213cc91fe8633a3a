"""The client in a storm of faults of the emulator: each result once, each circuit billed once.

Set QJAX_STORM_JOBS=100 for the full size, 2,000 circuits; a run with `-s` prints the times.
"""

import asyncio
import os
import time
from collections import Counter

import numpy as np

import qjax as qj
from qjax.ionq import AsyncIonQClient, Backoff, PollSchedule, Submission, Timeouts
from qjax.ionq.emulator import Emulator, Fault, Timing, serving
from tests.support import oracle

JOBS = int(os.environ.get("QJAX_STORM_JOBS", "6"))
CIRCUITS = 20

FAULTS = [
    # So that even a small storm has submissions that are lost before and after acceptance, and one
    # that was accepted and shows up in the list only a while later.
    Fault(kind="reset", script=(2, 5), after=True, method="POST", path="/v0.4/jobs"),
    Fault(kind="status", status=520, script=(3,), method="POST", path="/v0.4/jobs"),
    Fault(kind="unlisted", seconds=1.0, script=(2,)),
    Fault(kind="unlisted", seconds=1.0, rate=0.1),
    # A fifth of all requests; what is answered after it was done loses an answer.
    Fault(kind="reset", rate=0.03, after=True, method="POST", path="/v0.4/jobs"),
    Fault(kind="status", status=429, retry_after=1, rate=0.03),
    Fault(kind="status", status=500, rate=0.03, after=True),
    Fault(kind="status", status=503, rate=0.02),
    Fault(kind="status", status=502, page=True, rate=0.02),
    Fault(kind="slow", seconds=2.0, rate=0.03),
    Fault(kind="reset", rate=0.03),
    Fault(kind="html", rate=0.02),
    Fault(kind="truncated", rate=0.02),
]
OPTIONS = {
    "timeouts": Timeouts(connect=1, read=1, write=1),
    "backoff": Backoff(first=0.25, cap=2, tries=40),
    "polling": PollSchedule(first=0.5, cap=2),
    "submission": Submission(window=2.5, resubmit=True, first_look=0.25, page_size=100),
    "requests_per_second": None,
    "deadline": 300.0,
}


def circuit(angles):
    turns = [qj.RY(angles[0], 0), qj.CX(0, 1), qj.RY(angles[1], 1), qj.CX(1, 2)]
    return qj.Circuit(3, [*turns, qj.RX(angles[2], 2)])


def run_all(faults, batches):
    """The outcomes of all circuits, the seconds they took, and the emulator's bill and report."""
    with Emulator(timing=Timing(latency=1.0), seed=3, faults=faults) as emulator:

        async def main(url):
            async with AsyncIonQClient("key", base_url=url, **OPTIONS) as client:
                return await asyncio.gather(
                    *(client.run(batch, backend="simulator") for batch in batches)
                )

        with serving(emulator) as url:
            start = time.perf_counter()
            found = asyncio.run(main(url))
            seconds = time.perf_counter() - start
        return found, seconds, emulator.bill(), emulator.faults.report()


def assert_billed_once(bill, batches):
    """Each circuit of each batch has one line, under one job."""
    circuits = Counter(line["circuit"] for line in bill)
    assert set(circuits.values()) == {1} and len(circuits) == JOBS * CIRCUITS
    jobs = Counter(line["parent_job_id"] for line in bill)
    assert set(jobs.values()) == {CIRCUITS} and len(jobs) == len(batches)


def assert_rough(injected):
    """At least a quarter of the submissions that went wrong had been accepted."""
    posts = [f for f in injected if f["method"] == "POST" and f["kind"] != "unlisted"]
    accepted = [f for f in posts if f["after"] or f["kind"] == "truncated"]
    assert len(accepted) >= 1 and 4 * len(accepted) >= len(posts) > len(accepted)
    assert any(f["kind"] == "unlisted" for f in injected)


def test_storm():
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (JOBS, CIRCUITS, 3))
    batches = [[circuit(one) for one in batch] for batch in angles]
    found, seconds, bill, report = run_all(FAULTS, batches)
    assert [len(batch) for batch in found] == [CIRCUITS] * JOBS
    for batch, answers in zip(batches, found, strict=True):
        for one, outcomes in zip(batch, answers, strict=True):
            ket = oracle.statevector(3, oracle.from_circuit(one))
            expected = oracle.probabilities(ket)
            np.testing.assert_allclose(outcomes.probability_vector(), expected, atol=1e-5)
    assert_billed_once(bill, batches)
    assert_rough(report["injected"])
    if JOBS >= 100:
        _, calm, _, _ = run_all([], batches)
        posts = sum(f["method"] == "POST" for f in report["injected"])
        print(  # noqa: T201
            f"\n{JOBS * CIRCUITS} circuits: {seconds:.1f} s, {calm:.1f} s without faults; "
            f"{len(report['injected'])} faults, {posts} of them at submissions: {report['counts']}"
        )
