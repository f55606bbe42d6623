"""Runs that want further attempts get them also where Slurm ended their job, and have one job at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from pollinator.executors.conformance.client import Followed
from pollinator.v1.run_pb2 import OutcomeReason, Run, RunState
from support.executing import ExecutorProcess
from support.executing import started as executing
from support.s3_servers import started
from support.sandbox import wait_until
from support.slurm import Slurm
from support.slurm_files import Options

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ATTEMPTS = """\
import os, time
with open("result/attempts", "a+") as file:
    file.write("x")
    file.flush()
    file.seek(0)
    attempt = len(file.read())
changed = open("src/main.py").read().endswith("# changed")
print("attempt", attempt, changed, os.path.exists("data/kept"), flush=True)
with open("src/main.py", "a") as source:
    source.write("# changed")
open("data/kept", "w").close()
if attempt < int(os.environ["ENOUGH"]):
    time.sleep(100)
"""
LIMIT_S = 90.0
"""So long Slurm may take to see that the time of a job is over."""
TWO = b"attempt 1 False False\nattempt 2 False True\n"
FIRST = "PartitionName=first Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF"
LAST = "PartitionName=last Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=CANCEL"


@pytest.fixture(scope="module")
def of_module() -> Iterator[Slurm]:
    """Jobs of one partition are cancelled for those of another."""
    preemption = ("PreemptType=preempt/partition_prio", "PreemptMode=CANCEL")
    cluster = started(lambda: Slurm(Options(partitions=(LAST, FIRST), extra=preemption)))
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(of_module: Slurm) -> Iterator[Slurm]:
    yield of_module
    of_module.clear()


@pytest.fixture
async def executor(cluster: Slurm) -> AsyncIterator[ExecutorProcess]:
    async with executing("slurm", **cluster.env) as one:
        yield one


def wishes(enough: int = 2, **changes: Any) -> dict[str, Any]:
    return {"environment": [{"name": "ENOUGH", "value": str(enough)}], "requeue": True, **changes}


def jobs_of(cluster: Slurm, run: str) -> list[str]:
    """Every job that Slurm ever had of a run, the oldest first."""
    rows = [row.split(" ", 1) for row in cluster.run("squeue", "-ht", "all", "-o", "%A %j").splitlines()]
    return sorted((job_id for job_id, name in rows if run in name), key=int)


async def first_attempt(executor: ExecutorProcess, **changes: Any) -> Run:
    run = await executor.begin(ATTEMPTS, **wishes(**changes))
    await executor.printed(run.id, b"attempt 1")
    await executor.reached(run.id, RunState.RUN_STATE_RUNNING)
    return run


def fail_node(cluster: Slurm, job: str) -> None:
    """Its node goes down, and Slurm does not put it back into the queue."""
    cluster.run("scontrol", "update", f"JobId={job}", "Requeue=0")
    cluster.set_node(cluster.job(job)["NodeList"], "DOWN")
    cluster.wait_for(job, "NODE_FAIL")


async def succeeded(executor: ExecutorProcess, run: Run, attempts: int = 2) -> Followed:
    """The end of a run whose last attempt had all that those before it left."""
    ended = await executor.follow(run.id)

    assert (RunState.RUN_STATE_SUCCEEDED, attempts) == (ended.run.state, ended.run.attempt), ended.run
    assert b"x" * attempts == (await executor.results(ended.run))[b"attempts"][2]
    return ended


async def test_a_run_whose_job_was_preempted_goes_on_as_the_same_job(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await first_attempt(executor)
    other = cluster.submit("#!/bin/sh\nsleep 100\n", "--partition=first", "--nodes=3", "--exclusive")
    # Waiting again, if nobody looked in between.
    cluster.wait_for(jobs_of(cluster, run.id)[0], "PREEMPTED", "PENDING")
    cluster.run("scancel", other)
    ended = await succeeded(executor, run)

    assert {0: TWO} == ended.output
    assert 1 == len(jobs_of(cluster, run.id))
    assert 2 == ended.states.count("RUNNING")
    assert "QUEUED" in ended.states[ended.states.index("RUNNING") :]


async def test_a_run_whose_time_was_over_in_slurm_goes_on_as_the_same_job(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await first_attempt(executor)
    job = jobs_of(cluster, run.id)[0]
    cluster.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    cluster.wait_for(job, "PENDING")
    # The new limit is that of the job from now on.
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")
    ended = await succeeded(executor, run)

    assert {0: TWO} == ended.output
    assert [job] == jobs_of(cluster, run.id)


async def test_a_run_whose_job_slurm_does_not_put_back_goes_on_as_another(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await first_attempt(executor)
    fail_node(cluster, jobs_of(cluster, run.id)[0])
    ended = await succeeded(executor, run)

    first, second = jobs_of(cluster, run.id)
    cluster.wait_for(second, "COMPLETED")

    assert {0: TWO} == ended.output
    assert "NODE_FAIL" == cluster.job(first)["JobState"]


async def test_a_run_whose_own_time_is_over_goes_on_where_slurm_puts_nothing_back(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await first_attempt(executor, walltime_ms=5000)
    cluster.run("scontrol", "update", f"JobId={jobs_of(cluster, run.id)[0]}", "Requeue=0")
    ended = await succeeded(executor, run)

    assert {0: TWO} == ended.output
    assert 2 == len(jobs_of(cluster, run.id))


async def test_there_are_no_more_jobs_than_it_says(executor: ExecutorProcess, cluster: Slurm) -> None:
    run = await first_attempt(executor, enough=9, max_requeues=1)
    fail_node(cluster, jobs_of(cluster, run.id)[0])
    await executor.printed(run.id, b"attempt 2")
    fail_node(cluster, jobs_of(cluster, run.id)[1])
    ended = await executor.follow(run.id)

    assert {0: TWO} == ended.output
    assert (RunState.RUN_STATE_FAILED, 2) == (ended.run.state, ended.run.attempt)
    assert OutcomeReason.OUTCOME_REASON_NODE_FAILED == ended.run.outcome.reason
    assert 2 == len(jobs_of(cluster, run.id))


async def test_a_run_that_wants_one_attempt_has_one(executor: ExecutorProcess, cluster: Slurm) -> None:
    run = await first_attempt(executor, requeue=False)
    fail_node(cluster, jobs_of(cluster, run.id)[0])
    ended = await executor.follow(run.id)

    assert OutcomeReason.OUTCOME_REASON_NODE_FAILED == ended.run.outcome.reason
    assert 1 == len(jobs_of(cluster, run.id))


@pytest.mark.parametrize("point", ["after_release", "before_sbatch", "after_sbatch", "after_job"])
async def test_an_executor_that_is_killed_on_the_way_submits_one_further_job(
    cluster: Slurm, point: str
) -> None:
    async with executing("slurm", **cluster.env) as executor:
        run = await first_attempt(executor)
        await executor.restart(POLLINATOR_CRASH_AT=point, **cluster.env)
        fail_node(cluster, jobs_of(cluster, run.id)[0])
        assert -9 == await executor.ended()
        await executor.start(**cluster.env)
        ended = await succeeded(executor, run)

    assert {0: TWO} == ended.output
    assert 2 == len(jobs_of(cluster, run.id))


async def test_an_executor_that_is_killed_after_slurm_put_a_job_back_leaves_it_there(cluster: Slurm) -> None:
    async with executing("slurm", **cluster.env) as executor:
        run = await first_attempt(executor)
        job = jobs_of(cluster, run.id)[0]
        await executor.restart(POLLINATOR_CRASH_AT="after_requeue", **cluster.env)
        cluster.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")
        assert -9 == await executor.ended(LIMIT_S)
        cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")
        await executor.start(**cluster.env)
        ended = await succeeded(executor, run)

    assert {0: TWO} == ended.output
    assert [job] == jobs_of(cluster, run.id)


async def test_a_run_that_is_cancelled_between_two_attempts_leaves_no_job(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await first_attempt(executor)
    job = jobs_of(cluster, run.id)[0]
    cluster.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    cluster.wait_for(job, "PENDING")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert RunState.RUN_STATE_CANCELLED == ended.run.state
    assert {0: b"attempt 1 False False\n"} == ended.output
    await asyncio.to_thread(wait_until, lambda: not cluster.queued(), "no job is left")
    assert [job] == jobs_of(cluster, run.id)
