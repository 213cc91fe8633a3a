"""The command `qjax ionq emulate`, in a process of its own."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.ionq.emulator.conftest import KEY, circuit_job

pytest.importorskip("typer")

from qjax.cli import main


@contextmanager
def command(*options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The command in a process, and a client that speaks with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qjax.cli", "ionq", "emulate", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("IonQ emulator on http://127.0.0.1:")
        with httpx.Client(base_url=line.split()[3], headers=KEY, timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str]) -> str:
    """What the process writes about its errors once it is interrupted."""
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)[1]


def shots(client: httpx.Client) -> list[str]:
    """Those of a noisy job."""
    body = circuit_job(noise={"model": "aria-1"}, shots=40)
    job = client.post("/jobs", json=body).json()["id"]
    deadline = time.monotonic() + 60
    while client.get(f"/jobs/{job}").json()["status"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return client.get(f"/jobs/{job}/results/shots").json()


def test_it_serves_until_it_is_interrupted_and_draws_the_same_again(tmp_path):
    options = ["--latency", "0.01", "--seed", "3", "--store", str(tmp_path)]
    with command(*options, "--faults", "slow=0.5:0.001", "--clock", "realistic") as pair:
        process, client = pair
        about = client.get(str(client.base_url).removesuffix("v0.4/") + "emulator").json()
        assert (about["seed"], about["latency"], about["realistic"]) == (3, 0.01, True)
        drawn = shots(client)
        assert interrupt(process) == ""
    assert list(tmp_path.glob("job-*.json"))
    with command("--seed", "3") as (_, client):
        assert shots(client) == drawn
        assert shots(client) != drawn  # the second job has other shots


def test_an_interrupt_does_not_wait_for_a_slow_answer():
    with command("--faults", "slow=1:3600") as (process, client):
        address = client.base_url.host, client.base_url.port
        assert address[1] is not None
        with socket.create_connection(address) as waiting:
            waiting.sendall(
                b"GET /v0.4/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: apiKey k\r\n\r\n"
            )
            own = str(client.base_url).removesuffix("v0.4/") + "emulator"
            deadline = time.monotonic() + 60
            while not client.get(own).json()["requests"]:
                assert time.monotonic() < deadline
            client.close()
            err = interrupt(process)
            assert "Traceback" not in err
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--faults", "loud=1"], "must be a status or one of"),
        (["--clock", "slow"], "must be fast or realistic"),
        (["--port", "99999"], "Invalid value for '--port'"),
        (["--port", "-1"], "Invalid value for '--port'"),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--latency", "-1"], "Invalid value for '--latency'"),
    ],
)
def test_errors(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["ionq", "emulate", *options])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_port_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stopped:
            main(["ionq", "emulate", "--port", str(port)])
    assert stopped.value.code == 2
    message = f"qjax: The emulator cannot listen on 127.0.0.1:{port}"
    assert capsys.readouterr().err.startswith(message)
