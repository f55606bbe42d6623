"""One poller follows all jobs of a real cluster, through outages, ageing and everything that others do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pollinator.executors.slurm.cluster import Cluster
from pollinator.v1.run_pb2 import RunState
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, Unavailable
from support.clusters import PACE, calls, cluster_at_work, ended, has, script
from support.s3_servers import started
from support.scripted_executor import until
from support.slurm import Slurm
from support.slurm_files import Options

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Slurm]:
    """A cluster that forgets jobs two seconds after their end, and has no accounts."""
    cluster = started(lambda: Slurm(Options(extra=("MinJobAge=2",))))
    yield cluster
    cluster.stop()


@pytest.fixture
def cleared(slurm: Slurm) -> Iterator[Slurm]:
    yield slurm
    slurm.clear()


async def test_a_job_is_followed_from_the_queue_to_its_exit_code(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        go = tmp_path / "go"
        text = f"until test -e {go}; do sleep 0.05; done; exit 3"
        job_id = await cluster.submit(script(text, "test", "--nodes=2"), tmp_path)
        cluster.follow(job_id, time.time())
        running = await has(cluster, job_id, lambda seen: seen.state == "RUNNING")
        go.touch()
        seen = await has(cluster, job_id, ended)

    assert 2 == len(running.nodes)
    assert set(running.nodes) < set(cleared.nodes)
    assert ("FAILED", 3, 0, "NonZeroExitCode") == (seen.state, seen.exit_code, seen.signal, seen.reason)
    assert RunState.RUN_STATE_COLLECTING == seen.meaning.state
    assert seen.started is not None
    assert abs(time.time() - seen.started.timestamp()) < 60


async def test_a_job_that_others_cancel_is_seen_to_be(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        job_id = await cluster.submit(script("sleep 100"), tmp_path)
        cluster.follow(job_id)
        await has(cluster, job_id, lambda seen: seen.state == "RUNNING")
        cleared.run("scancel", job_id)
        seen = await has(cluster, job_id, ended)

    assert RunState.RUN_STATE_CANCELLED == seen.meaning.state


async def test_a_job_that_others_put_back_into_the_queue_has_restarted(
    cleared: Slurm, tmp_path: Path
) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        job_id = await cluster.submit(script("sleep 100", "test", "--requeue"), tmp_path)
        cluster.follow(job_id)
        await has(cluster, job_id, lambda seen: seen.state == "RUNNING")
        cleared.run("scontrol", "requeue", job_id)

        seen = await has(cluster, job_id, lambda seen: seen.restarts == 1)
        assert not seen.meaning.ended
        await cluster.cancel([job_id])
        await has(cluster, job_id, ended)


async def test_a_job_that_waits_has_its_reason_in_plain_words(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        await until(lambda: cluster.probe is not None, "the limits are known")
        job_id = await cluster.submit(script("sleep 100", "test", "--hold"), tmp_path)
        cluster.follow(job_id)
        seen = await has(cluster, job_id, lambda seen: seen.reason == "JobHeldUser")
        pending = cluster.explain(seen, RunSpec(nodes=1))
        cleared.run("scontrol", "release", job_id)
        await has(cluster, job_id, lambda seen: seen.state == "RUNNING")

    assert ("job_held_user", True) == (pending.code, "held by you" in pending.text)


async def test_the_limits_of_the_cluster_are_asked_and_kept(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        await until((tmp_path / "cluster.json").exists, "they are kept")
        told = cluster.capabilities()

        assert "debug" == cluster.partition_for(RunSpec(nodes=3))
        with pytest.raises(InvalidInput):
            cluster.partition_for(RunSpec(nodes=4))
    assert told.cluster.version.startswith("slurm ")
    assert (False, True) == (told.cluster.accounting, told.cluster.partitions[0].up)
    assert (3, ["fake"]) == (told.cluster.partitions[0].nodes, list(told.gpus))
    assert told.cluster.partitions == Cluster(tmp_path).capabilities().cluster.partitions


async def test_a_refusal_is_slurms_own_and_nothing_is_left_of_it(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        with pytest.raises(InvalidInput) as refused:
            await cluster.submit(script("true", "pollinator-refused", "--partition=nowhere"), tmp_path)

        assert "Invalid partition name specified" in refused.value.message
        assert [] == await cluster.find("refused", time.time())


async def test_jobs_are_found_by_the_run_in_their_name(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        began = time.time()
        first = await cluster.submit(script("true", "pollinator-run1"), tmp_path)
        second = await cluster.submit(script("true", "test", "--comment=pollinator:run1"), tmp_path)
        await cluster.submit(script("true", "pollinator-run10"), tmp_path)

        assert [first, second] == await cluster.find("run1", began)
        assert [] == await cluster.find("run2", began)


async def test_a_start_is_estimated_for_a_job_and_for_a_script(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        first = await cluster.submit(
            script("sleep 100", "test", "--nodes=3", "--exclusive", "--time=10"), tmp_path
        )
        second = await cluster.submit(
            script("true", "test", "--nodes=3", "--exclusive", "--time=1"), tmp_path
        )
        cluster.follow(first)
        running = await has(cluster, first, lambda seen: seen.state == "RUNNING")
        tested = await cluster.test(script("true", "test", "--nodes=3", "--exclusive", "--time=1"))
        async with asyncio.timeout(30):
            while (estimate := await cluster.estimate(second)) is None:  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.2)

        assert running.ends is not None
        assert tested is not None
        assert abs((estimate - running.ends).total_seconds()) < 120
        assert 0 <= (tested - running.ends).total_seconds() < 300
        assert await cluster.estimate("999999") is None
        with pytest.raises(InvalidInput) as refused:
            await cluster.test(script("true", "test", "--nodes=9"))
        assert "not available" in refused.value.message


async def test_cancelling_jobs_that_have_ended_is_no_error(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        job_id = await cluster.submit(script("true"), tmp_path)
        cluster.follow(job_id)
        await has(cluster, job_id, ended)

        await cluster.cancel([job_id, "999999"])
        await cluster.cancel([])


async def test_what_is_known_survives_an_outage_of_the_controller(cleared: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(cleared, tmp_path) as cluster:
        go = tmp_path / "go"
        job_id = await cluster.submit(script(f"until test -e {go}; do sleep 0.05; done; exit 4"), tmp_path)
        cluster.follow(job_id)
        await has(cluster, job_id, lambda seen: seen.state == "RUNNING")
        cleared.stop_controller()
        await until(lambda: cluster.trouble is not None, "the outage is noticed", 30)
        during = cluster.seen(job_id)
        with pytest.raises(Unavailable) as refused:
            await cluster.submit(script("true"), tmp_path)
        go.touch()
        cleared.start_controller()
        seen = await has(cluster, job_id, ended)

    assert during is not None
    assert ("RUNNING", False) == (during.state, during.gone)
    assert "slurm_down" == refused.value.reason
    assert ("FAILED", 4, None) == (seen.state, seen.exit_code, cluster.trouble)


async def test_a_job_that_the_controller_forgets_is_gone_with_its_end_kept(
    forgetful: Slurm, tmp_path: Path
) -> None:
    async with cluster_at_work(forgetful, tmp_path) as cluster:
        job_id = await cluster.submit(script("exit 5"), tmp_path)
        cluster.follow(job_id)
        await has(cluster, job_id, ended)
        seen = await has(cluster, job_id, lambda seen: seen.gone)

    assert ("FAILED", 5) == (seen.state, seen.exit_code)


async def test_two_hundred_jobs_cost_one_question_a_round(forgetful: Slurm, tmp_path: Path) -> None:
    async with cluster_at_work(forgetful, tmp_path) as cluster:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(cluster.submit(script(f"exit {number % 3}"), tmp_path))
                for number in range(200)
            ]
        job_ids = [task.result() for task in tasks]
        for job_id in job_ids:
            cluster.follow(job_id, time.time())
        codes = [(await has(cluster, job_id, ended, 120)).exit_code for job_id in job_ids]

    assert 200 == len(set(job_ids))
    assert [number % 3 for number in range(200)] == codes
    asked = calls(tmp_path / "bin", "squeue")
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert min(gaps) >= PACE.quick_s
    assert 1 == len(calls(tmp_path / "bin", "sacct")) - 1, "one for the probe, one that says there are none"
