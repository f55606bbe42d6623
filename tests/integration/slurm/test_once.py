"""One run is one job of Slurm, whatever is killed and whichever answers are lost."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.executors.conformance.asking import make_spec, start_request
from pollinator.v1.run_pb2 import RunState
from support.executing import PROFILES, ExecutorProcess, started
from support.sandbox import wait_until
from support.slurm import Slurm

pytestmark = pytest.mark.integration

ONCE = "open('result/times', 'a').write('x'); print('ran')"
POINTS = PROFILES["slurm"].crash_points


@pytest.fixture
def cluster(slurm: Slurm) -> Iterator[Slurm]:
    yield slurm
    slurm.clear()


@pytest.fixture
def wrapped(cluster: Slurm, tmp_path: Path) -> dict[str, str]:
    """The environment of an executor whose sbatch is a script of the test, in ``tmp_path``."""
    real = shutil.which("sbatch")
    (tmp_path / "real").write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    (tmp_path / "real").chmod(0o755)
    return {**cluster.env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def sbatch(folder: Path, script: str) -> None:
    """What sbatch is from now on; ``real`` beside it is the real one."""
    made = folder / "sbatch.new"
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(0o755)
    made.rename(folder / "sbatch")


def jobs_of(cluster: Slurm, run: str) -> list[str]:
    rows = [row.split(" ", 1) for row in cluster.run("squeue", "-ht", "all", "-o", "%A %j").splitlines()]
    return [job_id for job_id, name in rows if run in name]


async def ask(executor: ExecutorProcess) -> str:
    request = start_request(make_spec(), await executor.publish({b"main.py": ONCE.encode()}))
    await executor.runs.StartRun(request, timeout=10)
    return request.snapshot.run_id


async def ran_once(executor: ExecutorProcess, cluster: Slurm, run: str) -> None:
    ended = await executor.follow(run)

    assert {0: b"ran\n"} == ended.output
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
    assert b"x" == (await executor.results(ended.run))[b"times"][2]
    assert 1 == len(jobs_of(cluster, run))


@pytest.mark.parametrize("point", [*POINTS, "after_intent", "before_exit_event", "after_collect"])
async def test_an_executor_that_is_killed_has_submitted_one_job(cluster: Slurm, point: str) -> None:
    async with started("slurm", dies_at=point, **cluster.env) as executor:
        request = start_request(make_spec(), await executor.publish({b"main.py": ONCE.encode()}))
        await asyncio.gather(executor.runs.StartRun(request, timeout=10), return_exceptions=True)
        assert -9 == await executor.ended()
        await executor.start(**cluster.env)
        await executor.runs.StartRun(request, timeout=10, wait_for_ready=True)

        await ran_once(executor, cluster, request.snapshot.run_id)


async def test_an_answer_of_sbatch_that_is_lost_leads_to_one_job(
    cluster: Slurm, wrapped: dict[str, str], tmp_path: Path
) -> None:
    sbatch(tmp_path, f'{tmp_path}/real "$@" > /dev/null; kill -9 $$')
    async with started("slurm", **wrapped) as executor:
        await ran_once(executor, cluster, await ask(executor))


async def test_an_sbatch_that_dies_before_it_has_submitted_is_tried_again(
    cluster: Slurm, wrapped: dict[str, str], tmp_path: Path
) -> None:
    again = f'exec {tmp_path}/real "$@"'
    sbatch(tmp_path, f"test -e {tmp_path}/died && {again}; touch {tmp_path}/died; kill -9 $$")
    async with started("slurm", **wrapped) as executor:
        await ran_once(executor, cluster, await ask(executor))


async def test_an_sbatch_that_outlives_its_executor_is_waited_for(
    cluster: Slurm, wrapped: dict[str, str], tmp_path: Path
) -> None:
    sbatch(
        tmp_path,
        f"cat > {tmp_path}/script; touch {tmp_path}/asked\n"
        f"until test -e {tmp_path}/go; do sleep 0.05; done\n"
        f'exec {tmp_path}/real "$@" < {tmp_path}/script',
    )
    async with started("slurm", **wrapped) as executor:
        run = await ask(executor)
        await asyncio.to_thread(wait_until, (tmp_path / "asked").exists, "sbatch is asked")
        await executor.restart(**wrapped)
        # Long enough for a second one, were it not waited for.
        await asyncio.sleep(4)
        (tmp_path / "go").touch()

        await ran_once(executor, cluster, run)


async def test_a_second_job_of_a_run_does_nothing(
    cluster: Slurm, wrapped: dict[str, str], tmp_path: Path
) -> None:
    sbatch(tmp_path, f'cat > {tmp_path}/script; {tmp_path}/real --hold "$@" < {tmp_path}/script')
    async with started("slurm", **wrapped) as executor:
        run = await ask(executor)
        await asyncio.to_thread(wait_until, lambda: len(jobs_of(cluster, run)) == 1, "it is submitted")
        place = executor.state / "runs" / run
        jobs = [cluster.submit((tmp_path / "script").read_text()) for _ in range(3)]
        for job in jobs:
            cluster.wait_for(job, "COMPLETED", "FAILED")
        ended = await executor.follow(run)
        results = await executor.results(ended.run)

        assert {0: b"ran\n"} == ended.output
        assert b"x" == results[b"times"][2]
        assert 2 == (place / "job.log").read_text().count("another job runs this")
        await asyncio.to_thread(wait_until, lambda: not cluster.queued(), "no job is left")


async def test_a_run_that_is_cancelled_while_sbatch_is_at_it_leaves_no_job(
    cluster: Slurm, wrapped: dict[str, str], tmp_path: Path
) -> None:
    sbatch(
        tmp_path,
        f"cat > {tmp_path}/script; touch {tmp_path}/asked\n"
        f"until test -e {tmp_path}/go; do sleep 0.05; done\n"
        f'exec {tmp_path}/real --begin=now+1hour "$@" < {tmp_path}/script',
    )
    async with started("slurm", **wrapped) as executor:
        run = await ask(executor)
        await asyncio.to_thread(wait_until, (tmp_path / "asked").exists, "sbatch is asked")
        await executor.cancel(run)
        (tmp_path / "go").touch()
        ended = await executor.follow(run)

        assert RunState.RUN_STATE_CANCELLED == ended.run.state
        await asyncio.to_thread(wait_until, lambda: not cluster.queued(), "no job is left")
