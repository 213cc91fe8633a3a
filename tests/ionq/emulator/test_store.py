"""Jobs on disk: they survive a restart, also one in mid-write."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from qjax.errors import RunError
from qjax.ionq.emulator import Emulator, Timing, VirtualClock
from tests.ionq.emulator.conftest import CNOT, KEY, H, circuit_job

X0 = {"gate": "x", "target": 0}
SEVERAL = {"type": "ionq.multi-circuit.v1", "input": {"circuits": [{"circuit": [X0]}] * 2}}


def test_everything_is_there_after_a_restart(make, tmp_path):
    clock = VirtualClock()
    first = make(clock=clock, folder=tmp_path)
    done = first.run(circuit_job(H, CNOT, metadata={"a": "b"}))
    parent = first.run(SEVERAL)
    deleted = first.post(circuit_job())
    first("DELETE", f"/jobs/{deleted}")
    session = first.post({"backend": "qpu.forte-1"}, "/sessions")
    first.emulator.settle()
    bill = first.get("/emulator/bill", own=True)
    first.emulator.close()

    second = make(clock=clock, folder=tmp_path)
    for job in (done, parent):
        assert second.get(f"/jobs/{job['id']}") == job
    assert second.get(f"/jobs/{done['id']}/results/probabilities") == {"0": 0.5, "3": 0.5}
    assert second("GET", f"/jobs/{deleted}").status_code == 404
    assert second.get(f"/sessions/{session}")["status"] == "created"
    assert second.get("/emulator/bill", own=True) == bill
    assert second.post(circuit_job()) not in {done["id"], parent["id"], deleted}


def test_new_jobs_after_a_restart_are_listed_page_by_page(make, tmp_path):
    first = make(folder=tmp_path)
    ids = [first.post(circuit_job()) for _ in range(2)]
    ids.append(first.post(SEVERAL))
    for _ in range(20):
        first.get("/jobs")
    first("DELETE", f"/jobs/{first.post(circuit_job())}")
    first.emulator.close()

    second = make(clock=first.clock, folder=tmp_path)
    ids += [second.post(circuit_job()) for _ in range(3)]
    numbers = [job.order for job in second.emulator.store.all()]
    assert len(set(numbers)) == len(numbers) == 9
    found, more = [], None
    while True:
        page = second.get("/jobs", params={"limit": 2} | ({"next": more} if more else {}))
        found += [job["id"] for job in page["jobs"]]
        more = page["next"]
        if more is None:
            break
    assert found == ids[::-1]


def test_jobs_in_flight_are_taken_up_again(make, tmp_path):
    clock = VirtualClock()
    noise = {"model": "aria-1"}
    body = circuit_job(
        {"gate": "gpi2", "target": 0, "phase": 0}, gateset="native", shots=50, noise=noise
    )
    whole = make(clock=clock, folder=tmp_path / "a", timing=Timing(latency=5))
    wanted = whole.run(body, seconds=6)
    cut = make(clock=VirtualClock(), folder=tmp_path / "b", timing=Timing(latency=5))
    job_id = cut.post(body)
    cut.emulator.settle()
    cut.emulator.close()
    file = tmp_path / "b" / f"job-{job_id}.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "plan": None, "result": None}))  # as before the work

    again = make(clock=cut.clock, folder=tmp_path / "b", timing=Timing(latency=5))
    again.emulator.settle()
    again.clock.advance(6)
    assert again.get(f"/jobs/{job_id}")["status"] == "completed"
    shots = [c.get(f"/jobs/{j}/results/shots") for c, j in ((whole, wanted["id"]), (again, job_id))]
    assert shots[0] == shots[1]  # the same seed, clock and order give the same shots


def test_drafts_and_children_without_a_parent_are_ignored(make, tmp_path):
    first = make(folder=tmp_path)
    parent = first.run(SEVERAL)
    first.emulator.close()
    (tmp_path / f"job-{parent['id']}.json").unlink()
    (tmp_path / "job-x.draft").write_text("{half")
    assert make(folder=tmp_path).get("/jobs")["jobs"] == []


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "job-x.json").write_text("{half")
    with pytest.raises(RunError, match="cannot be read"):
        Emulator(folder=tmp_path)


def test_a_killed_server_keeps_what_it_accepted(tmp_path):
    """Accepted jobs outlive a kill at any moment, and are finished by the next server."""
    script = (
        "import sys; from qjax.ionq.emulator import Emulator, serving\n"
        "with Emulator(folder=sys.argv[1]) as e, serving(e) as url:\n"
        "    print(url, flush=True); sys.stdin.read()\n"
    )

    def start() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    process, url = start()
    with httpx.Client(base_url=url, headers=KEY, timeout=60) as client:
        ids = [client.post("/jobs", json=circuit_job()).json()["id"] for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    process, url = start()
    try:
        with httpx.Client(base_url=url, headers=KEY, timeout=60) as client:
            deadline = time.monotonic() + 60
            states = set()
            while states != {"completed"} and time.monotonic() < deadline:
                states = {client.get(f"/jobs/{name}").json()["status"] for name in ids}
            assert states == {"completed"}
    finally:
        process.communicate(input="")
