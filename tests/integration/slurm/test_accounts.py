"""The end of a job is known from the accounts as well, and nothing is made up while they are down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pollinator.executors.slurm.seen import JobSeen
from pollinator.wire.errors import Unavailable
from support.clusters import PACE, calls, cluster_at_work, ended, has, script
from support.s3_servers import started
from support.scripted_executor import until
from support.slurm import Slurm
from support.slurm_files import Options

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """With accounts, and a controller that forgets jobs two seconds after their end."""
    cluster = started(lambda: Slurm(Options(accounting=True, extra=("MinJobAge=2",))))
    yield cluster
    cluster.stop()


def accounted(seen: JobSeen) -> bool:
    return seen.accounted


async def test_a_job_that_has_ended_has_its_steps(slurm: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(slurm, tmp_path) as cluster:
        job_id = await cluster.submit(script("srun sh -c 'exit 7'"), tmp_path)
        cluster.follow(job_id, time.time())
        seen = await has(cluster, job_id, accounted)

    assert ("FAILED", 7, False) == (seen.state, seen.exit_code, seen.gone)
    assert {("batch", 7), ("0", 7)} == {(step.name, step.exit_code) for step in seen.steps}


async def test_the_accounts_say_who_cancelled_a_job(slurm: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(slurm, tmp_path) as cluster:
        job_id = await cluster.submit(script("sleep 100"), tmp_path)
        cluster.follow(job_id, time.time())
        await has(cluster, job_id, lambda seen: seen.state == "RUNNING")
        slurm.run("scancel", job_id)
        seen = await has(cluster, job_id, accounted)

    assert ("CANCELLED", "0") == (seen.state, seen.cancelled_by)


async def test_a_job_that_the_controller_forgot_is_found_in_the_accounts(
    slurm: Slurm, tmp_path: Path
) -> None:
    began = time.time()
    job_id = slurm.submit(script("exit 5", "pollinator-old"))
    async with cluster_at_work(slurm, tmp_path) as cluster:
        cluster.follow(job_id)
        await has(cluster, job_id, accounted)
        async with asyncio.timeout(60):
            while slurm.call("squeue", "-h", "-t", "all", "-j", job_id).returncode == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

        assert [job_id] == await cluster.find("old", began)
        cluster.drop(job_id)
        cluster.follow(job_id)
        seen = await has(cluster, job_id, accounted)

    assert ("FAILED", 5, False) == (seen.state, seen.exit_code, seen.gone)


async def test_a_job_that_ends_while_the_accounts_are_down_is_not_lost(slurm: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(slurm, tmp_path) as cluster:
        go = tmp_path / "go"
        job_id = await cluster.submit(script(f"until test -e {go}; do sleep 0.05; done; exit 6"), tmp_path)
        cluster.follow(job_id, time.time())
        await has(cluster, job_id, lambda seen: seen.state == "RUNNING")
        slurm.stop_accounting()
        go.touch()
        without = await has(cluster, job_id, ended)
        with pytest.raises(Unavailable) as nobody_knows:
            await cluster.find("nobody", time.time())
        asked = len(calls(tmp_path / "bin", "sacct"))
        await until(lambda: len(calls(tmp_path / "bin", "sacct")) > asked, "it is asked again", 30)
        still = cluster.seen(job_id)
        slurm.start_accounting()
        seen = await has(cluster, job_id, accounted)

    assert ("FAILED", 6, False) == (without.state, without.exit_code, without.accounted)
    assert "slurm_accounting_down" == nobody_knows.value.reason
    assert still is not None
    assert not still.gone
    assert ("FAILED", 6) == (seen.state, seen.exit_code)


async def test_a_hundred_jobs_cost_one_question_of_each_kind_a_round(slurm: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(slurm, tmp_path) as cluster:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(cluster.submit(script(f"exit {number % 3}"), tmp_path))
                for number in range(100)
            ]
        job_ids = [task.result() for task in tasks]
        for job_id in job_ids:
            cluster.follow(job_id, time.time())
        codes = [(await has(cluster, job_id, accounted, 120)).exit_code for job_id in job_ids]

    assert [number % 3 for number in range(100)] == codes
    rounds = calls(tmp_path / "bin", "squeue")
    assert all(later - earlier >= PACE.quick_s for earlier, later in pairwise(rounds))
    # The probe asks once as well.
    assert len(calls(tmp_path / "bin", "sacct")) <= len(rounds) + 1
