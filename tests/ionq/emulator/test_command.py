"""The command `qjax ionq emulate`, in a process of its own."""

import signal
import subprocess
import sys

import httpx
import pytest

from tests.ionq.emulator.conftest import KEY, circuit_job

pytest.importorskip("typer")


def test_it_serves_until_it_is_interrupted(tmp_path):
    options = ["--port", "0", "--latency", "0.01", "--seed", "3", "--store", str(tmp_path)]
    options += ["--faults", "slow=0.5:0.001", "--clock", "realistic"]
    process = subprocess.Popen(
        [sys.executable, "-m", "qjax.cli", "ionq", "emulate", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("IonQ emulator on http://127.0.0.1:")
        url = line.split()[3]
        with httpx.Client(base_url=url, headers=KEY, timeout=60) as client:
            about = client.get(f"{url.removesuffix('/v0.4')}/emulator").json()
            assert (about["seed"], about["latency"], about["realistic"]) == (3, 0.01, True)
            assert client.post("/jobs", json=circuit_job()).status_code == 201
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert list(tmp_path.glob("job-*.json"))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--faults", "loud=1"], "must be a status or one of"),
        (["--clock", "slow"], "must be fast or realistic"),
    ],
)
def test_errors(options, message):
    done = subprocess.run(
        [sys.executable, "-m", "qjax.cli", "ionq", "emulate", *options],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
