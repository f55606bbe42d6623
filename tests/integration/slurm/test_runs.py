"""Runs as jobs of a real Slurm, and all that can happen to them there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from pollinator.executors.conformance.asking import make_spec
from pollinator.v1.run_pb2 import OutcomeReason, Run, RunState
from support.executing import ExecutorProcess, started
from support.slurm import Slurm

pytestmark = pytest.mark.integration

PLACE = "import os; print(os.environ['RANK'], os.environ['SLURMD_NODENAME'])"
STAYS = """\
import os, time
open("result/begun", "a").write("x")
print("up", flush=True)
time.sleep(100)
"""
WAITS = """\
import os, time
print("up", flush=True)
while not os.path.exists("result/go"):
    time.sleep(0.05)
open("result/done", "w").write("done")
print("done")
"""


@pytest.fixture(params=["slurm", "slurm_with_accounting"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Slurm]:
    """With and without accounting. What a test leaves there is taken away."""
    found: Slurm = request.getfixturevalue(request.param)
    yield found
    found.clear()


@pytest.fixture
async def executor(cluster: Slurm) -> AsyncIterator[ExecutorProcess]:
    async with started("slurm", **cluster.env) as one:
        yield one


def ended_as(run: Run) -> tuple[str, str]:
    return (
        RunState.Name(run.state).removeprefix("RUN_STATE_"),
        OutcomeReason.Name(run.outcome.reason).removeprefix("OUTCOME_REASON_"),
    )


def jobs_of(cluster: Slurm, run: str) -> list[str]:
    """Every job that Slurm ever had of a run."""
    rows = [row.split(" ", 1) for row in cluster.run("squeue", "-ht", "all", "-o", "%A %j").splitlines()]
    return [job_id for job_id, name in rows if run in name]


async def job_of(cluster: Slurm, run: str) -> str:
    """Its job, once Slurm has it."""
    async with asyncio.timeout(30):
        while not (found := jobs_of(cluster, run)):  # noqa: ASYNC110 - asked of another process
            await asyncio.sleep(0.05)
    return found[0]


async def begun(executor: ExecutorProcess, program: str, **changes: Any) -> Run:
    """A run whose ranks are up."""
    run = await executor.begin(program, **changes)
    for rank in range(run.spec.nodes * run.spec.processes_per_node):
        await executor.printed(run.id, b"up", rank=rank)
    return run


async def test_six_ranks_on_three_nodes_each_say_where_they_are(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    program = f"{PLACE}; open('result/' + os.environ['RANK'], 'w').write('here')"
    ended = await executor.run(program, nodes=3, processes_per_node=2)

    expected = {rank: f"{rank} {cluster.nodes[rank // 2]}\n".encode() for rank in range(6)}
    assert expected == ended.output
    assert cluster.nodes == tuple(ended.run.nodes)
    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(ended.run)
    assert {b"%d" % rank for rank in range(6)} == set(await executor.results(ended.run))


async def test_one_rank_of_six_that_crashes_is_named(executor: ExecutorProcess) -> None:
    program = (
        "import os, signal, time\n"
        "if os.environ['RANK'] == '4': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "time.sleep(60)\n"
    )
    ended = await executor.run(program, nodes=3, processes_per_node=2)
    outcome = ended.run.outcome

    assert ("FAILED", "SIGNAL") == ended_as(ended.run)
    assert (11, 139, 4) == (outcome.signal, outcome.exit_code, outcome.rank)


async def test_the_exit_code_of_a_rank_is_that_of_the_run(executor: ExecutorProcess) -> None:
    ended = await executor.run("print('three'); raise SystemExit(3)")

    assert {0: b"three\n"} == ended.output
    assert ("FAILED", "EXIT_CODE") == ended_as(ended.run)
    assert 3 == ended.run.outcome.exit_code


async def test_memory_is_held_where_slurm_does_not(executor: ExecutorProcess) -> None:
    program = "import os, time\nheld = b'x' * (80 << 20)\nprint('survived', flush=True)\ntime.sleep(20)\n"
    alone = await executor.run(program.replace("20)\n", "1)\n"), memory_bytes=150 << 20)
    both = await executor.run(program, memory_bytes=150 << 20, processes_per_node=2)

    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(alone.run)
    assert ("FAILED", "OUT_OF_MEMORY") == ended_as(both.run)


# What others do


async def test_a_job_that_somebody_cancels_is_cancelled_and_its_results_come_home(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await begun(executor, STAYS, nodes=2)
    cluster.run("scancel", await job_of(cluster, run.id))
    ended = await executor.follow(run.id)

    assert ("CANCELLED", "UNSPECIFIED") == ended_as(ended.run)
    assert "cancelled in Slurm" in ended.run.outcome.detail
    assert {0: b"up\n", 1: b"up\n"} == ended.output
    assert b"begun" in await executor.results(ended.run)


async def test_a_waiting_job_that_somebody_cancels_is_cancelled(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await executor.begin(PLACE, slurm={"directives": ["--begin=now+1hour"]})
    cluster.run("scancel", await job_of(cluster, run.id))
    ended = await executor.follow(run.id)

    assert ("CANCELLED", "UNSPECIFIED") == ended_as(ended.run)
    assert {} == ended.output


@pytest.mark.timeout(120)
async def test_slurms_own_time_limit_is_named(executor: ExecutorProcess, cluster: Slurm) -> None:
    run = await begun(executor, STAYS, walltime_ms=0)
    cluster.run("scontrol", "update", f"JobId={await job_of(cluster, run.id)}", "EndTime=now+1")
    ended = await executor.follow(run.id)

    assert ("FAILED", "TIME_LIMIT") == ended_as(ended.run)
    assert b"begun" in await executor.results(ended.run)


async def test_a_node_that_goes_down_ends_the_run(executor: ExecutorProcess, cluster: Slurm) -> None:
    run = await begun(executor, STAYS, nodes=2)
    node = (await executor.reached(run.id, RunState.RUN_STATE_RUNNING)).nodes[1]
    cluster.set_node(node, "DOWN")
    ended = await executor.follow(run.id)

    assert ("FAILED", "NODE_FAILED") == ended_as(ended.run)
    assert b"begun" in await executor.results(ended.run)


@pytest.mark.timeout(120)
async def test_a_run_that_wants_another_attempt_after_a_failure_gets_it(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    program = STAYS.replace("time.sleep(100)", "time.sleep(os.path.getsize('result/begun') == 1 and 100)")
    run = await begun(executor, program, requeue=True)
    node = (await executor.reached(run.id, RunState.RUN_STATE_RUNNING)).nodes[0]
    job = await job_of(cluster, run.id)
    cluster.set_node(node, "DOWN")
    ended = await executor.follow(run.id)

    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(ended.run)
    assert 2 == ended.run.attempt
    assert [job] == jobs_of(cluster, run.id)
    assert {0: b"up\nup\n"} == ended.output


async def test_a_run_may_ask_for_all_the_time_that_a_partition_gives(executor: ExecutorProcess) -> None:
    # Limits are known once the cluster was asked for them.
    async with asyncio.timeout(30):
        while not (await executor.describe()).capabilities.cluster.partitions:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    spec = make_spec(walltime_ms=30 * 60_000, slurm={"partition": "short"})
    run = await executor.launch(spec, await executor.publish({b"main.py": PLACE.encode()}))
    ended = await executor.follow(run.id)

    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(ended.run)


# Outages


async def test_a_run_goes_on_and_ends_while_the_controller_is_away(
    executor: ExecutorProcess, cluster: Slurm
) -> None:
    run = await begun(executor, WAITS)
    await executor.reached(run.id, RunState.RUN_STATE_RUNNING)
    cluster.stop_controller()
    try:
        (executor.state / "runs" / run.id / "work" / "result" / "go").touch()
        ended = await executor.follow(run.id)
    finally:
        cluster.start_controller()

    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(ended.run)
    assert {0: b"up\ndone\n"} == ended.output


@pytest.mark.timeout(120)
async def test_a_run_waits_for_a_controller_that_is_away(executor: ExecutorProcess, cluster: Slurm) -> None:
    cluster.stop_controller()
    try:
        run = await executor.begin(PLACE)
        async with asyncio.timeout(40):
            while (await executor.get(run.id)).pending.code != "controller_down":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        cluster.start_controller()
    ended = await executor.follow(run.id)

    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(ended.run)
    assert 1 == len(jobs_of(cluster, run.id))


async def test_a_run_ends_while_the_accounts_are_away(
    slurm_with_accounting: Slurm,
) -> None:
    cluster = slurm_with_accounting
    async with started("slurm", **cluster.env) as executor:
        run = await begun(executor, STAYS)
        cluster.stop_accounting()
        try:
            cluster.run("scancel", await job_of(cluster, run.id))
            ended = await executor.follow(run.id)
            after = await executor.run(PLACE)
        finally:
            cluster.start_accounting()

    assert ("CANCELLED", "UNSPECIFIED") == ended_as(ended.run)
    assert ("SUCCEEDED", "UNSPECIFIED") == ended_as(after.run)


# Refusals


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"account": "others"}, "Invalid account"),
        ({"qos": "gold"}, "Invalid qos"),
        ({"partition": "nowhere"}, "invalid partition"),
        ({"directives": ["--no-such-thing=1"]}, "no-such-thing"),
    ],
    ids=["account", "qos", "partition", "directive"],
)
async def test_what_sbatch_refuses_ends_the_run_in_its_own_words(
    slurm_with_accounting: Slurm, wish: dict[str, object], words: str
) -> None:
    async with started("slurm", **slurm_with_accounting.env) as executor:
        run = await executor.launch(
            make_spec(slurm=wish), await executor.publish({b"main.py": b"print('ran')"})
        )
        ended = await executor.follow(run.id)

    assert ("FAILED", "LAUNCH") == ended_as(ended.run)
    assert words in ended.run.outcome.detail
    assert {} == ended.output


# Cancelling


async def test_cancelling_leaves_nothing_in_the_queue(executor: ExecutorProcess, cluster: Slurm) -> None:
    runs = await begun(executor, STAYS, nodes=3)
    waits = await executor.begin(PLACE, slurm={"directives": ["--begin=now+1hour"]})
    await job_of(cluster, waits.id)
    for each in (runs, waits):
        await executor.cancel(each.id)
    ended = [await executor.follow(each.id) for each in (runs, waits)]
    async with asyncio.timeout(30):
        while cluster.queued():  # noqa: ASYNC110 - asked of another process
            await asyncio.sleep(0.05)

    assert [("CANCELLED", "UNSPECIFIED")] * 2 == [ended_as(each.run) for each in ended]
    assert [{0: b"up\n", 1: b"up\n", 2: b"up\n"}, {}] == [each.output for each in ended]
