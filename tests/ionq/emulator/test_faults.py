"""Faults: each kind over real HTTP, by rate and by script, and the same from the same seed."""

import json
from collections.abc import Iterator

import httpx
import pytest

from qjax.errors import QjaxError
from qjax.ionq.emulator import Emulator, Fault, VirtualClock, read_faults, serving
from qjax.ionq.emulator._faults import FaultPlan
from tests.ionq.emulator.conftest import KEY, circuit_job


def fired(rules, requests, seed=0):
    """For each request the kind of the fault, or None."""
    plan = FaultPlan(rules, seed)
    found = []
    for method, path in requests:
        fault, _ = plan.choose(method, path)
        found.append(None if fault is None else fault.kind)
    return found


POST, GET = ("POST", "/v0.4/jobs"), ("GET", "/v0.4/jobs")


class TestPlan:
    def test_rate_and_seed(self):
        rules = [Fault(kind="status", rate=0.2)]
        first = fired(rules, [GET] * 2000, seed=3)
        assert first == fired(rules, [GET] * 2000, seed=3)
        assert first != fired(rules, [GET] * 2000, seed=4)
        assert abs(first.count("status") - 400) < 5 * (2000 * 0.2 * 0.8) ** 0.5

    def test_script_counts_only_matching_requests(self):
        rules = [Fault(kind="reset", script=(1, 3), method="post", path="/v0.4/jobs")]
        requests = [GET, POST, GET, POST, POST, POST]
        assert fired(rules, requests) == [None, "reset", None, None, "reset", None]

    def test_times_limits_and_the_first_rule_decides(self):
        rules = [Fault(kind="html", rate=1, times=1), Fault(kind="reset", rate=1)]
        assert fired(rules, [GET] * 3) == ["html", "reset", "reset"]

    def test_path_is_a_pattern(self):
        rules = [Fault(kind="slow", rate=1, path="/v0.4/jobs/[^/]+/results/.*")]
        paths = ["/v0.4/jobs", "/v0.4/jobs/x", "/v0.4/jobs/x/results/probabilities"]
        assert fired(rules, [("GET", path) for path in paths]) == [None, None, "slow"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kind": "loud", "rate": 1}, "Argument `kind` must be one of"),
            ({"kind": "slow", "rate": 2}, "`rate` must be between 0 and 1"),
            ({"kind": "slow"}, "needs a `rate` or a `script`"),
            ({"kind": "status", "rate": 1, "status": 200}, "from 400 to 599"),
            ({"kind": "slow", "rate": 1, "seconds": -1}, "must not be negative"),
            ({"kind": "slow", "rate": 1, "path": "("}, "must be a pattern"),
            ({"kind": "slow", "rate": 1, "path": 3}, "`path` must be a string, but is 3"),
            ({"kind": "slow", "rate": 1, "method": ["POST"]}, "`method` must be a string"),
            ({"kind": "failed", "rate": 1, "code": None}, "`code` must be a string, but is None"),
            ({"kind": "status", "rate": 1, "status": "503"}, "`status` must be an integer"),
            ({"kind": "status", "rate": 1, "retry_after": -1}, "`retry_after` must not be neg"),
            ({"kind": "slow", "rate": 1, "times": 1.5}, "`times` must be an integer"),
            ({"kind": "slow", "script": (0,)}, "`script` must be at least 1"),
        ],
    )
    def test_errors(self, options, message):
        with pytest.raises(QjaxError, match=message):
            Fault(**options)


class TestCommandLine:
    def test_short(self):
        found = read_faults("429=0.1:2, 503=0.2,lost=0.05,slow=0.1:3")
        assert found == [
            Fault(kind="status", status=429, rate=0.1, retry_after=2),
            Fault(kind="status", status=503, rate=0.2),
            Fault(kind="reset", rate=0.05, after=True, method="POST", path="/v0.4/jobs"),
            Fault(kind="slow", rate=0.1, seconds=3),
        ]

    def test_json_and_file(self, tmp_path):
        text = '[{"kind": "status", "status": 500, "script": [1, 2]}]'
        file = tmp_path / "faults.json"
        file.write_text(text)
        assert (
            read_faults(text)
            == read_faults(str(file))
            == [Fault(kind="status", status=500, script=(1, 2))]
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("loud=0.1", "must be a status or one of"),
            ("slow=much", "must look like"),
            ("[{]", "cannot be read"),
            ('[{"kind": "slow", "often": 1}]', "with the fields"),
            ("no-such-file", "cannot be read"),
        ],
    )
    def test_errors(self, text, message):
        with pytest.raises(QjaxError, match=message):
            read_faults(text)


def _read_into(received: bytearray, answer: httpx.Response) -> None:
    for part in answer.iter_raw():
        received += part


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(clock=VirtualClock(), seed=1) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[httpx.Client]:
    with serving(emulator) as url, httpx.Client(base_url=url, headers=KEY) as client:
        yield client


class TestOverHttp:
    """One server for all; the rules are replaced through its own endpoint."""

    def rules(self, client, *rules):
        root = str(client.base_url).removesuffix("/v0.4/")
        answer = httpx.put(f"{root}/emulator/faults", json=list(rules))
        assert answer.status_code == 200, answer.text

    def report(self, client):
        root = str(client.base_url).removesuffix("/v0.4/")
        return httpx.get(f"{root}/emulator/faults").json()

    def jobs(self, emulator):
        return [job.id for job in emulator.store.newest_first()]

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 409])
    def test_statuses(self, client, status):
        self.rules(client, {"kind": "status", "status": status, "script": [1], "retry_after": 2})
        answer = client.get("/jobs")
        assert answer.status_code == status and answer.headers["retry-after"] == "2"
        assert answer.headers["x-qjax-emulator"]
        assert answer.json()["statusCode"] == status
        assert client.get("/jobs").status_code == 200
        report = self.report(client)
        assert report["counts"] == {str(status): 1}
        (entry,) = report["injected"]
        assert (entry["method"], entry["path"], entry["after"]) == ("GET", "/v0.4/jobs", False)

    def test_without_retry_after(self, client):
        self.rules(client, {"kind": "status", "status": 429, "script": [1]})
        assert "retry-after" not in client.get("/jobs").headers

    def test_pages(self, client):
        self.rules(client, {"kind": "status", "status": 502, "script": [1], "page": True},
                   {"kind": "html", "script": [2]})  # fmt: skip
        first, second = client.get("/jobs"), client.get("/jobs")
        assert (first.status_code, second.status_code) == (502, 200)
        for answer in (first, second):
            assert answer.headers["content-type"].startswith("text/html")
            assert answer.text.startswith("<!DOCTYPE html>")

    def test_an_error_before_and_after_acceptance(self, client, emulator):
        before = self.jobs(emulator)
        rule = {"kind": "status", "status": 504, "method": "POST"}
        self.rules(client, {**rule, "script": [1]}, {**rule, "script": [2], "after": True})
        assert client.post("/jobs", json=circuit_job()).status_code == 504
        assert self.jobs(emulator) == before
        assert client.post("/jobs", json=circuit_job()).status_code == 504
        assert len(self.jobs(emulator)) == len(before) + 1

    def test_reset(self, client, emulator):
        before = self.jobs(emulator)
        self.rules(client, {"kind": "reset", "script": [1]})
        with pytest.raises(httpx.TransportError):
            client.post("/jobs", json=circuit_job())
        assert self.jobs(emulator) == before
        assert client.get("/jobs").status_code == 200

    def test_a_reply_lost_after_acceptance(self, client, emulator):
        before = self.jobs(emulator)
        self.rules(client, {"kind": "reset", "after": True, "script": [1], "method": "POST"})
        with pytest.raises(httpx.TransportError):
            client.post("/jobs", json=circuit_job(name="lost"))
        after = self.jobs(emulator)
        assert len(after) == len(before) + 1
        assert client.get(f"/jobs/{after[0]}").json()["name"] == "lost"

    def test_truncated(self, client):
        self.rules(client, {"kind": "truncated", "script": [1]})
        with pytest.raises(httpx.TransportError):
            client.get("/backends/simulator")

    def test_half_of_the_body_arrives(self, client):
        self.rules(client, {"kind": "truncated", "script": [1]})
        received = bytearray()
        with client.stream("GET", "/backends/simulator") as answer:
            with pytest.raises(httpx.TransportError):
                _read_into(received, answer)
            assert 0 < len(received) < int(answer.headers["content-length"])
        with pytest.raises(json.JSONDecodeError):
            json.loads(received)

    def test_slow_answers_are_of_requests_that_were_done(self, client, emulator):
        before, now = self.jobs(emulator), emulator.clock.now()
        self.rules(client, {"kind": "slow", "seconds": 30, "script": [1]})
        assert client.post("/jobs", json=circuit_job()).status_code == 201
        assert emulator.clock.now() == now + 30
        assert len(self.jobs(emulator)) == len(before) + 1

    def test_unlisted(self, client, emulator):
        self.rules(client, {"kind": "unlisted", "seconds": 5, "script": [1]})
        job_id = client.post("/jobs", json=circuit_job()).json()["id"]

        def listed():
            return any(job["id"] == job_id for job in client.get("/jobs").json()["jobs"])

        assert client.get(f"/jobs/{job_id}").status_code == 200
        assert not listed()
        emulator.clock.advance(5)
        assert listed()

    def test_failed(self, client, emulator):
        self.rules(client, {"kind": "failed", "code": "SystemCancel", "script": [1]})
        ids = [client.post("/jobs", json=circuit_job()).json()["id"] for _ in range(2)]
        emulator.settle()
        failed, fine = (client.get(f"/jobs/{name}").json() for name in ids)
        assert failed["status"] == "failed" and failed["failure"]["code"] == "SystemCancel"
        assert fine["status"] == "completed"
        assert self.report(client)["counts"] == {"failed": 1}

    def test_rules_that_do_not_fit(self, client):
        root = str(client.base_url).removesuffix("/v0.4/")
        answer = httpx.put(f"{root}/emulator/faults", json=[{"kind": "loud", "rate": 1}])
        assert answer.status_code == 400 and "kind" in answer.json()["message"]
        rule = {"kind": "status", "rate": 1, "retry_after": "soon"}
        answer = httpx.put(f"{root}/emulator/faults", json=[rule])
        assert answer.status_code == 400 and "retry_after" in answer.json()["message"]
        assert client.get("/jobs").status_code == 200


def test_in_process_a_reset_is_an_exception(make):
    call = make(faults=[Fault(kind="reset", script=(1,))])
    with pytest.raises(ConnectionResetError, match="as its faults ask"):
        call("GET", "/jobs")
