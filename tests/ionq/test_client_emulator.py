"""The client and the emulator, each a check of the other: a tour of the endpoints."""

import asyncio
from datetime import date

import numpy as np
import pytest

import qjax as qj
from qjax import ionq
from qjax.ionq import AsyncIonQClient, IonQNativeCompiler, PollSchedule
from qjax.ionq.emulator import Emulator, Timing, serving
from tests.support import oracle

ASYMMETRIC = qj.Circuit(3, [qj.RY(0.7, 0), qj.CX(0, 1), qj.RX(0.4, 2), qj.CP(0.9, 2, 0), qj.H(1)])
PAIR = qj.Circuit(2, [qj.RY(0.7, 0), qj.CX(0, 1)])
PROGRAM = """OPENQASM 3.0;
include "stdgates.inc";
bit[2] c;
qubit[2] q;
x q[0];
c[0] = measure q[0];
cx q[0], q[1];
reset q[0];
c[1] = measure q[1];
"""


def tour(test, **options):
    """Runs `await test(client)` against an emulator."""

    async def main(url):
        polling = PollSchedule(first=0.02, cap=0.1)
        async with AsyncIonQClient(
            "key", base_url=url, polling=polling, requests_per_second=None
        ) as client:
            return await test(client)

    with Emulator(seed=5, **options) as emulator, serving(emulator) as url:
        return asyncio.run(main(url))


def probabilities(circuit):
    ops = oracle.from_circuit(circuit)
    return oracle.probabilities(oracle.statevector(circuit.num_qubits, ops))


def test_circuits():
    async def visit(client):
        exact = await client.run(ASYMMETRIC, backend="simulator")
        np.testing.assert_allclose(exact.probability_vector(), probabilities(ASYMMETRIC), atol=1e-6)
        native = IonQNativeCompiler("zz").compile(ASYMMETRIC)
        found = await client.run(native.circuit, backend="simulator", gateset="native")
        np.testing.assert_allclose(found.probability_vector(), probabilities(ASYMMETRIC), atol=1e-5)
        created = await client.create_job(
            PAIR, backend="simulator", noise="forte-1", seed=3, shots=300
        )
        job = await client.wait_for_job(created.id)
        counted, table = await client.results(job), await client.memory(job)
        assert counted.counts() == table.outcomes.counts() and counted.shots == 300
        assert (await client.get_histogram(job.id, num_qubits=2)).counts() == counted.counts()
        again = await client.clone_job(job.id, shots=50)
        assert (await client.results(await client.wait_for_job(again.id))).shots == 50
        program = await client.create_job(PROGRAM, backend="simulator", shots=20)
        table = await client.memory(await client.wait_for_job(program.id))
        assert table.registers["c"].tolist() == [[1, 1]] * 20

    tour(visit)


def test_several_circuits_with_shots():
    """Every shot of each circuit, and a clone of one circuit, whose size is its own."""

    async def visit(client):
        created = await client.create_job(
            [PAIR, ASYMMETRIC], backend="simulator", noise="aria-1", seed=2, shots=40
        )
        job = await client.wait_for_job(created.id)
        tables, counted = await client.memory(job), await client.results(job)
        assert [table.bits.shape for table in tables] == [(40, 2), (40, 3)]
        for table, outcomes in zip(tables, counted, strict=True):
            assert table.outcomes.counts() == outcomes.counts()
        for place, child in enumerate(job.child_job_ids):
            clone = await client.clone_job(child, shots=20)
            outcomes = await client.results(await client.wait_for_job(clone.id))
            assert (outcomes.num_qubits, outcomes.shots) == (2 + place, 20)

    tour(visit)


def test_programs_are_not_debiased_unasked():
    async def visit(client):
        with pytest.raises(ionq.InvalidJobError, match="debiasing=True or debiasing=False"):
            await client.create_job(PROGRAM, backend="qpu.forte-1", shots=500)
        assert not (await client.list_jobs()).jobs
        created = await client.create_job(
            PROGRAM, backend="qpu.forte-1", shots=500, debiasing=False
        )
        job = await client.wait_for_job(created.id)
        cost = await client.get_cost(job.id)
        assert not job.debiased and cost.actual.value == pytest.approx(25.79, abs=0.01)

    tour(visit)


def test_jobs_and_money():
    async def visit(client):
        created = await client.create_job(
            [ASYMMETRIC, ASYMMETRIC], backend="qpu.forte-1", shots=100, tag="mine"
        )
        assert (await client.find_job("mine")) is not None
        job = await client.get_job(created.id)
        assert not job.is_finished and len(job.child_job_ids) == 2
        ids = [job.id async for job in client.iterate_jobs(limit=2)]
        assert len(ids) == len(set(ids)) and created.id in ids
        await client.cancel_job(created.id)
        with pytest.raises(ionq.JobCanceledError):
            await client.wait_for_job(created.id)
        await client.delete_job(created.id)
        with pytest.raises(ionq.NotFoundError):
            await client.get_job(created.id)
        estimate = await client.estimate_job(ASYMMETRIC, backend="qpu.forte-1", shots=500)
        assert estimate.debiased is not None and estimate.debiased > 6 * estimate.plain
        dry = await client.create_job(ASYMMETRIC, backend="qpu.forte-1", dry_run=True)
        priced = await client.wait_for_job(dry.id)
        cost = await client.get_cost(priced.id)
        assert cost.dry_run and cost.estimated is not None and cost.estimated.value > 25
        usage = await client.get_usage(date(2020, 1, 1), date(2100, 1, 1))
        assert usage.amount == 0

    tour(visit, timing=Timing(latency=60))


def test_machines_sessions_and_owner():
    async def visit(client):
        machines = {machine.name: machine for machine in await client.list_backends()}
        assert machines["qpu.forte-1"].is_qpu and not machines["simulator"].is_qpu
        page = await client.list_characterizations("qpu.forte-1", limit=1)
        record = page.characterizations[0]
        assert (await client.get_characterization("qpu.forte-1", record.id)).id == record.id
        session = await client.create_session("qpu.forte-1", job_count_limit=3)
        assert session.active and (await client.get_session(session.id)).id == session.id
        assert [s.id for s in await client.list_sessions(active=True)] == [session.id]
        assert (await client.list_session_jobs(session.id)).jobs == ()
        assert not (await client.end_session(session.id)).active
        assert (await client.whoami()).key_id

    tour(visit)


def test_failures():
    async def visit(client):
        with pytest.raises(ionq.NotFoundError, match="does not have sessions"):
            await client.create_session("qpu.forte-1")
        program = "OPENQASM 3.0;\nqubit[1] q;\nnonsense q[0];\n"
        with pytest.raises(ionq.IonQError) as caught:
            await client.run(program, backend="simulator")
        assert isinstance(caught.value, ionq.JobFailedError | ionq.BadRequestError)

    tour(visit, with_sessions=False)
