"""Runs in a cluster, with their files on a volume: ranks on several nodes, and all ways in which they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import yaml

from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.conformance.client import CALL_S
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.run_pb2 import RunState
from support.executing import ExecutorProcess
from support.kubernetes.kinds import JOB
from support.kubernetes.schemas import check
from support.kubernetes.sites import Site
from support.kubernetes_runs import ended, executor_in, explained, nothing_left

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MIB = 1 << 20
SHOWS = """\
import os, time
rank, world = os.environ["RANK"], int(os.environ["WORLD_SIZE"])
open("result/" + rank, "w").write(rank)
while len(os.listdir("result")) < world: time.sleep(0.01)
print("rank", rank, "of", world, "on node", os.environ["POLLINATOR_NODE_RANK"])
"""
WAITS = "import time; print('up'); time.sleep(120)"


@pytest.fixture
async def executor(cluster: Site) -> AsyncIterator[ExecutorProcess]:
    """One for each test: what it did in the namespace is seen."""
    async with executor_in(cluster) as one:
        yield one


async def pods(cluster: Site) -> list[str]:
    """Names of the pods, in the order of their nodes."""
    return sorted(each["metadata"]["name"] for each in await asyncio.to_thread(cluster.all, "pods"))


async def test_six_ranks_on_three_nodes_print_and_leave_their_results(
    cluster: Site, executor: ExecutorProcess
) -> None:
    followed = await executor.run(SHOWS, nodes=3, processes_per_node=2)

    assert ("SUCCEEDED", "UNSPECIFIED", 0) == ended(followed)
    lines = {rank: b"rank %d of 6 on node %d\n" % (rank, rank // 2) for rank in range(6)}
    assert lines == followed.output
    results = await executor.results(followed.run)
    assert {b"%d" % rank: b"%d" % rank for rank in range(6)} == {
        name: body for name, (_, _, body) in results.items()
    }
    await nothing_left(cluster)


async def test_ranks_see_their_own_files_and_nothing_else_of_the_run(executor: ExecutorProcess) -> None:
    program = """\
import os
print(sorted(os.listdir("/pollinator")), sorted(os.listdir("/pollinator/control")))
for path in ("src/new", "/pollinator/request.pb"):
    try:
        open(path, "w")
    except OSError as error:
        print(path, error.strerror)
print(os.getuid() != 0, os.path.exists("/var/run/secrets/kubernetes.io"))
"""
    followed = await executor.run(program)

    shown = followed.output[0].decode().splitlines()
    assert "['go', 'home', 'output', 'stop'" not in shown[0]
    assert shown[0].endswith("['0', 'go', 'stop']")
    assert "src/new Read-only file system" in shown
    assert "True False" == shown[-1]


async def test_one_rank_that_fails_ends_those_of_all_nodes(executor: ExecutorProcess) -> None:
    program = (
        "import os, sys, time; print('up'); time.sleep(1 if os.environ['RANK'] == '3' else 120); sys.exit(3)"
    )
    followed = await executor.run(program, nodes=3, processes_per_node=2)

    assert ("FAILED", "EXIT_CODE", 3) == ended(followed)
    assert 3 == followed.run.outcome.rank
    assert dict.fromkeys(range(6), b"up\n") == followed.output


async def test_one_rank_with_too_much_memory_ends_the_run_with_that_reason(executor: ExecutorProcess) -> None:
    program = (
        "import os, time\nprint('up')\n"
        "if os.environ['RANK'] == '2': held = b'x' * (300 << 20)\ntime.sleep(120)\n"
    )
    followed = await executor.run(program, nodes=2, processes_per_node=2, memory_bytes=100 * MIB)

    assert ("FAILED", "OUT_OF_MEMORY", 137) == ended(followed)
    assert followed.run.outcome.rank in (2, 3)


async def test_the_walltime_ends_a_run_of_several_nodes(cluster: Site, executor: ExecutorProcess) -> None:
    followed = await executor.run(WAITS, nodes=2, walltime_ms=4000)

    assert ("FAILED", "TIME_LIMIT", 143) == ended(followed)
    assert {0: b"up\n", 1: b"up\n"} == followed.output
    await nothing_left(cluster)


async def test_nothing_is_left_of_a_run_that_was_cancelled(cluster: Site, executor: ExecutorProcess) -> None:
    run = await executor.begin(WAITS, nodes=2, secrets={"TOKEN": "hunter2"})
    await executor.printed(run.id, b"up")
    await executor.cancel(run.id)
    followed = await executor.follow(run.id)

    assert "CANCELLED" == ended(followed)[0]
    await nothing_left(cluster)


async def test_what_would_be_made_is_shown_and_nothing_is_made(
    cluster: Site, executor: ExecutorProcess
) -> None:
    spec = make_spec(nodes=3, memory_bytes=100 * MIB, image=cluster.image)
    request = PreflightRequest(spec=spec, script=True)
    answer = await executor.about.Preflight(request, timeout=CALL_S)
    shown = yaml.safe_load(answer.script)

    assert ("Job", 3) == (shown["kind"], shown["spec"]["completions"])
    check(JOB, shown)
    assert [] == await asyncio.to_thread(cluster.left)


# Images


@pytest.mark.double_only("answers as registries that do not have an image")
@pytest.mark.parametrize(
    ("image", "word"),
    [
        ("registry.example/missing:1", "not found"),
        ("registry.example/private:1", "denied"),
        ("registry.example/Upper:1", "environment.docker"),
    ],
)
async def test_an_image_that_cannot_be_had_ends_the_run_with_what_the_registry_says(
    executor: ExecutorProcess, image: str, word: str
) -> None:
    if "Upper" in image:
        pytest.skip("it is refused before it is handed over")
    followed = await executor.run("print('ran')", image=image)

    assert ("FAILED", "IMAGE") == ended(followed)[:2]
    assert image in followed.run.outcome.detail
    assert any(each in followed.run.outcome.detail.lower() for each in (word, "authoriz"))
    assert {} == followed.output


async def test_an_image_that_is_nowhere_ends_the_run(cluster: Site) -> None:
    async with executor_in(cluster, {"kubernetes.start": "8"}) as executor:
        followed = await executor.run("print('ran')", image="x.invalid/nowhere/at-all:1")

    assert ("FAILED", "IMAGE") == ended(followed)[:2]
    assert "x.invalid/nowhere/at-all:1" in followed.run.outcome.detail


@pytest.mark.double_only("has an image come when it is told to")
async def test_that_an_image_is_pulled_is_said_meanwhile(cluster: Site, executor: ExecutorProcess) -> None:
    run = await executor.begin("print('ran')", image="registry.example/slow:1")
    told = await explained(executor, run.id, "image_pulling")
    cluster.double.images_come()
    followed = await executor.follow(run.id)

    assert "registry.example/slow:1" in told
    assert {0: b"ran\n"} == followed.output


# What others do


async def test_a_pod_that_others_delete_ends_the_run_and_is_named(
    cluster: Site, executor: ExecutorProcess
) -> None:
    run = await executor.begin(WAITS, nodes=2)
    await executor.printed(run.id, b"up", rank=1)
    name = (await pods(cluster))[1]
    await asyncio.to_thread(cluster.delete, "pods", name)
    followed = await executor.follow(run.id)

    assert ("FAILED", "NODE_FAILED") == ended(followed)[:2]
    assert name in followed.run.outcome.detail
    assert 1 == followed.run.outcome.rank
    assert {0: b"up\n", 1: b"up\n"} == followed.output


async def test_a_node_that_is_drained_ends_the_run_with_that_reason(
    cluster: Site, executor: ExecutorProcess
) -> None:
    run = await executor.begin(WAITS)
    await executor.printed(run.id, b"up")
    node = (await executor.get(run.id)).nodes[0]
    await asyncio.to_thread(cluster.drain, node)
    followed = await executor.follow(run.id)

    assert ("FAILED", "PREEMPTED") == ended(followed)[:2]
    assert "drained" in followed.run.outcome.detail


async def test_a_job_that_others_delete_is_cancelled_and_it_is_said_who_did_not(
    cluster: Site, executor: ExecutorProcess
) -> None:
    run = await executor.begin(WAITS)
    await executor.printed(run.id, b"up")
    (job,) = await asyncio.to_thread(cluster.all, "jobs")
    await asyncio.to_thread(cluster.delete, "jobs", job["metadata"]["name"])
    followed = await executor.follow(run.id)

    assert "CANCELLED" == ended(followed)[0] or "NODE_FAILED" == ended(followed)[1]
    assert "by somebody else" in followed.run.outcome.detail


async def test_the_api_may_be_away_while_a_run_goes_on(cluster: Site, executor: ExecutorProcess) -> None:
    program = "import time\nfor number in range(40): print('line', number); time.sleep(0.1)\n"
    run = await executor.begin(program)
    await executor.printed(run.id, b"line 3\n")

    def away() -> None:
        with cluster.stopped():
            asyncio.run(asyncio.sleep(2))

    await asyncio.to_thread(away)
    followed = await executor.follow(run.id)

    assert {0: b"".join(b"line %d\n" % number for number in range(40))} == followed.output
    assert ("SUCCEEDED", "UNSPECIFIED", 0) == ended(followed)
    await nothing_left(cluster)


async def test_a_run_that_was_asked_for_while_the_api_was_away_begins_when_it_is_back(
    cluster: Site, executor: ExecutorProcess
) -> None:
    await executor.limits()
    with cluster.stopped():
        run = await executor.begin("print('ran')")
        told = await explained(executor, run.id, "api_unreachable")
    followed = await executor.follow(run.id)

    assert "wait" in told
    assert {0: b"ran\n"} == followed.output


@pytest.mark.double_only("loses nodes")
async def test_a_node_that_is_lost_ends_the_run(cluster: Site, executor: ExecutorProcess) -> None:
    with cluster.double.settings(node_grace_s=1, toleration_s=1):
        run = await executor.begin(WAITS)
        await executor.printed(run.id, b"up")
        node = (await executor.get(run.id)).nodes[0]
        cluster.double.crash(node)
        try:
            followed = await executor.follow(run.id)
        finally:
            cluster.double.come_back(node)

    assert ("FAILED", "NODE_FAILED") == ended(followed)[:2]
    assert node in followed.run.outcome.detail


# Waiting


async def test_memory_that_no_node_has_is_refused_before_it_is_handed_over(
    cluster: Site, executor: ExecutorProcess
) -> None:
    most = (await executor.limits()).memory_bytes
    with pytest.raises(Exception, match=r"cannot run in this cluster"):
        await executor.begin("print('ran')", memory_bytes=2 * most)
    assert [] == await asyncio.to_thread(cluster.left)


@pytest.mark.double_only("refuses to tell of nodes")
async def test_memory_that_no_node_has_is_told_where_nodes_are_not_to_be_seen(cluster: Site) -> None:
    cluster.double.deny("list nodes")
    async with executor_in(cluster) as executor:
        run = await executor.begin("print('ran')", memory_bytes=64 << 40)
        # That nodes are not to be seen may be found out later than what the scheduler says.
        told = await explained(executor, run.id, "insufficient_memory", "it may never start")
        await executor.cancel(run.id)
        followed = await executor.follow(run.id)

    assert "64 TiB" in told
    assert "CANCELLED" == ended(followed)[0]
    await nothing_left(cluster)


async def test_pods_that_the_quota_does_not_let_in_are_told_of(
    cluster: Site, executor: ExecutorProcess
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    await asyncio.to_thread(cluster.create, quota)
    run = await executor.begin("print('ran')")
    told = await explained(executor, run.id, "quota")
    await asyncio.to_thread(cluster.delete, "resourcequotas", "none")
    followed = await executor.follow(run.id)

    assert "exceeded quota" in told
    assert {0: b"ran\n"} == followed.output


# Many


async def test_a_hundred_runs_at_once_share_one_watch_and_few_requests(cluster: Site) -> None:
    async with executor_in(cluster) as executor:
        runs = [await executor.begin("print('ran')") for _ in range(100)]
        async with asyncio.timeout(150):
            ends = [await executor.follow(run.id) for run in runs]
        await nothing_left(cluster)
        executor.ask_to_end()
        await executor.ended()
        said = executor.log.read_text().rpartition("asked of the cluster: ")[2].splitlines()[0]
    asked: dict[str, int] = json.loads(said)

    assert {RunState.RUN_STATE_SUCCEEDED} == {each.run.state for each in ends}
    assert 100 == asked["create jobs"]
    assert asked["delete jobs"] <= 100
    assert asked["watch pods"] + asked["watch jobs"] < 20
    assert sum(asked.values()) < 300, asked
