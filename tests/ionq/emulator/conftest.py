"""An emulator that is called in-process, under a clock that the tests move."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from qjax.ionq.emulator import Emulator, VirtualClock, emulator_app  # noqa: E402

KEY = {"Authorization": "apiKey a-key"}
H = {"gate": "h", "target": 0}
CNOT = {"gate": "cnot", "control": 0, "target": 1}


def circuit_job(*gates: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a job of one circuit, a Bell pair if no gates are given."""
    options = {key: more.pop(key) for key in ("gateset", "qubits") if key in more}
    given = {"circuit": list(gates) or [H, CNOT], **options}
    return {"type": "ionq.circuit.v1", "backend": "simulator", "input": given, **more}


class Caller:
    """Calls an emulator's application."""

    def __init__(self, emulator: Emulator):
        self.emulator = emulator
        self.app = emulator_app(emulator)
        clock = emulator.clock
        assert isinstance(clock, VirtualClock)
        self.clock = clock

    def __call__(self, method: str, path: str, *, own: bool = False, **options: Any):
        """One request; paths are below the API unless `own`."""

        async def ask():
            transport = httpx.ASGITransport(self.app)
            base = "http://emulator" + ("" if own else "/v0.4")
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                headers = {**KEY, **options.pop("headers", {})}
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> Any:
        """The body of an answer that must be 200."""
        answer = self("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, body: Any, path: str = "/jobs") -> str:
        """Creates something and returns its identifier."""
        answer = self("POST", path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def run(self, body: Any, seconds: float = 0.0) -> dict[str, Any]:
        """Posts a job, lets it run and returns what became of it."""
        job_id = self.post(body)
        self.emulator.settle()
        self.clock.advance(seconds)
        return self.get(f"/jobs/{job_id}")

    def refused(self, body: Any, path: str = "/jobs") -> str:
        """The message with which a body is refused with 400."""
        answer = self("POST", path, json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"] == "Bad Request"
        return answer.json()["message"]


@pytest.fixture
def make() -> Iterator[Callable[..., Caller]]:
    """Makes emulators, and closes them at the end."""
    made: list[Emulator] = []

    def build(**options: Any) -> Caller:
        options = {"clock": VirtualClock(), "seed": 1, **options}
        made.append(Emulator(**options))
        return Caller(made[-1])

    yield build
    for emulator in made:
        emulator.close()


@pytest.fixture
def call(make: Callable[..., Caller]) -> Caller:
    """An emulator with its defaults."""
    return make()
