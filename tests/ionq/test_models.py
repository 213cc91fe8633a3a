"""Models of the service's answers: wrong, unknown and differently spelt fields."""

import json
import re
from pathlib import Path

import pytest

from qjax import ionq
from qjax.ionq import Job, ResponseError

GOLDEN = Path(__file__).parents[1] / "golden" / "ionq"


def dry_run():
    """A finished job as it was answered."""
    exchanges = json.loads((GOLDEN / "qiskit_dry_run.json").read_text())["exchanges"]
    return Job.from_json([e["body"] for e in exchanges if re.search("/jobs/[^/]+$", e["path"])][-1])


class TestModels:
    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"id": None}, "the service's job lacks the field `id`"),
            ({"status": 3}, "field `status` of the service's job must be str, but is int '3'"),
            ({"submitted_at": "soon"}, "field `submitted_at` of the service's job must be a date"),
            ({"shots": "many"}, "field `shots` of the service's job must be a whole number"),
            ({"shots": float("inf")}, "field `shots` of the service's job must be a whole number"),
            ({"shots": 1.5}, "field `shots` of the service's job must be a whole number"),
            ({"shots": "9" * 5000}, "field `shots` of the service's job must be a whole number"),
            ({"execution_duration_ms": 10**400}, "`execution_duration_ms` .* must be a finite num"),
            (
                {"child_job_ids": [1]},
                "`child_job_ids` of the service's job must be a list of texts",
            ),
            ({"stats": []}, "service's stats must be an object, but is list"),
            ({"results": {"x": None}}, "service's result link must be an object, but is null"),
        ],
    )
    def test_wrong_fields_are_named(self, changes, text):
        body = dry_run().raw | changes
        with pytest.raises(ResponseError, match=re.compile(text, re.IGNORECASE)):
            Job.from_json(body)

    @pytest.mark.parametrize("pairs", [[[1]], [3], [["0", "1"]], [[0, 1, 2]]])
    def test_connectivity_is_of_pairs(self, pairs):
        body = {"id": "C", "backend": "qpu.aria-1", "connectivity": pairs}
        with pytest.raises(ResponseError, match="must be a list of pairs of qubits, but holds"):
            ionq.Characterization.from_json(body)

    def test_unknown_fields_are_kept(self):
        body = dict(dry_run().raw) | {"novelty": 1}
        job = Job.from_json(body)
        assert job.raw["novelty"] == 1 and job == dry_run()

    def test_numbers_may_be_text(self):
        body = dict(dry_run().raw) | {"shots": "250"}
        assert Job.from_json(body).shots == 250

    def test_actual_cost_under_either_name(self):
        amount = {"value": 24.83, "unit": "usd"}
        for name in ("cost", "actual_cost"):
            read = ionq.JobCost.from_json({"dry_run": False, name: amount})
            assert read.actual == ionq.Cost(value=24.83, unit="usd") and read.estimated is None

    def test_rates_by_the_second(self):
        rates = {"rates": [{"sku": "x", "unit": "compute_second", "unit_cost": 2.5}]}
        body = {"estimated_total_cost": 5, "estimated_unit": "usd", "rate_card": rates}
        assert ionq.CostEstimate.from_json(body).rate_second == 2.5
