"""What the drivers of all clients share. Runs in the environment of the clients, without qjax.

A driver runs its client through all scenarios and prints one line of JSON: scenario -> what the
client returned, or the error that it raised; which faults were injected, and how many jobs created.
Outcomes are bit strings, qubit 0 first.
"""

import json
import sys
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

KEY = "any-key"
ANGLE = 0.6  # of the asymmetric circuit: X(0), RY(ANGLE, 1), CX(1, 2)
NATIVE = (0.1, (0.0, 0.25, 0.2), 0.3)  # GPI2 on 0, MS on 0 and 1, GPI2 on 1, all in turns
SHOTS = 20_000  # of the noisy job
SEED = 42
FEW = 100  # shots of the other jobs

Scenario = Callable[["Emulator"], Any]


class Emulator:
    """The two emulators that a driver talks to.

    Attributes:
        url: of the one whose jobs finish at once.
        waiting_url: of the one whose jobs wait for an hour before they start.
    """

    def __init__(self, url: str, waiting_url: str):
        self.url, self.waiting_url = url, waiting_url

    @property
    def host(self) -> str:
        """Address without the version of the API."""
        return self.url.removesuffix("/v0.4")

    @property
    def waiting_host(self) -> str:
        """Address of the one whose jobs wait, without the version of the API."""
        return self.waiting_url.removesuffix("/v0.4")

    def faults(self, *rules: dict[str, Any]) -> None:
        """Puts faults in force."""
        body = json.dumps(rules).encode()
        request = urllib.request.Request(f"{self.host}/emulator/faults", body, method="PUT")
        urllib.request.urlopen(request).close()

    def injected(self) -> list[str]:
        """Kinds or statuses of the faults that were injected since they were put in force."""
        with urllib.request.urlopen(f"{self.host}/emulator/faults") as answer:
            entries = json.load(answer)["injected"]
        return [str(entry.get("status", entry["kind"])) for entry in entries]

    def jobs(self) -> int:
        """How many jobs there are."""
        with urllib.request.urlopen(f"{self.host}/emulator") as answer:
            return json.load(answer)["jobs"]

    def fail_next(self) -> None:
        """Makes the next job fail."""
        self.faults({"kind": "failed", "code": "NotEnoughQubits", "script": [1]})

    def refuse_creation(self) -> None:
        """Answers the next creation of a job with 429."""
        rule = {"kind": "status", "status": 429, "method": "POST", "retry_after": 1}
        self.faults({**rule, "script": [1]})

    def refuse_look(self) -> None:
        """Answers the next look at a job with 503."""
        rule = {"kind": "status", "status": 503, "method": "GET", "path": "/v0.4/jobs/[^/]+"}
        self.faults({**rule, "script": [1]})


def first_qubit_first(weights: dict[Any, float], num_qubits: int) -> dict[str, float]:
    """Outcomes whose bit i is qubit i, as bit strings with qubit 0 first."""
    return {format(int(k), f"0{num_qubits}b")[::-1]: float(v) for k, v in weights.items() if v}


def main(scenarios: dict[str, Scenario]) -> None:
    """Runs all scenarios against the addresses on the command line."""
    emulator = Emulator(*sys.argv[1:3])
    found: dict[str, Any] = {}
    for name, scenario in scenarios.items():
        emulator.faults()
        before = emulator.jobs()
        try:
            found[name] = {"value": scenario(emulator)}
        except Exception as error:
            text = "".join(traceback.format_exception_only(error)).strip()
            found[name] = {"error": f"{type(error).__name__}: {text}"}
        found[name]["injected"] = emulator.injected()
        found[name]["created"] = emulator.jobs() - before
    sys.stdout.write(f"{json.dumps(found)}\n")
