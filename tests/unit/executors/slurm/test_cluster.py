"""A cluster is told apart from what one program of it printed: answers that are odd, late or missing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pollinator.executors.slurm.cluster import Cluster
from pollinator.executors.slurm.probe import keep
from pollinator.executors.slurm.seen import BREAK
from pollinator.v1.spec_pb2 import RunSpec, Slurm
from pollinator.wire.errors import InvalidInput, Unavailable
from support.scripted_executor import until
from support.slurm_site import PROBE, programs, site

DOWN = "echo 'slurm_load_partitions error: Unable to contact slurm controller (connect failure)' >&2; exit 1"


@pytest.mark.parametrize("printed", ["12", "12;tests", " 12 "])
async def test_the_id_of_a_job_is_read_with_or_without_its_cluster(tmp_path: Path, printed: str) -> None:
    cluster = Cluster(tmp_path, programs(tmp_path / "bin", sbatch=f"echo '{printed}'"))

    assert "12" == await cluster.submit("#!/bin/sh\n", tmp_path)


@pytest.mark.parametrize("printed", ["", "welcome to our cluster", "12_3"])
async def test_a_job_whose_id_cannot_be_read_may_be_there(tmp_path: Path, printed: str) -> None:
    cluster = Cluster(tmp_path, programs(tmp_path / "bin", sbatch=f"echo '{printed}'"))

    with pytest.raises(Unavailable) as unknown:
        await cluster.submit("#!/bin/sh\n", tmp_path)

    assert "submit_unknown" == unknown.value.reason


async def test_jobs_are_looked_for_in_the_queue_where_there_are_no_accounts(tmp_path: Path) -> None:
    row = BREAK.join(["9", "pollinator-run1", "(null)", ""])
    commands = programs(
        tmp_path / "bin",
        squeue=f"echo '{row}'",
        sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1",
    )

    assert ["9"] == await Cluster(tmp_path, commands).find("run1", 0.0)
    assert [] == await Cluster(tmp_path, commands).find("run2", 0.0)


async def test_nobody_says_that_there_is_no_job_while_the_accounts_are_down(tmp_path: Path) -> None:
    words = "sacct: error: Problem talking to the database: Connection refused"
    commands = programs(tmp_path / "bin", squeue="true", sacct=f"echo '{words}' >&2; exit 1")

    with pytest.raises(Unavailable):
        await Cluster(tmp_path, commands).find("run1", 0.0)


async def test_a_start_that_is_tested_is_read_in_local_time(tmp_path: Path) -> None:
    start = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    local = start.astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    told = f"echo 'sbatch: Job 7 to start at {local} using 6 processors on nodes n1' >&2"

    assert start == await Cluster(tmp_path, programs(tmp_path / "bin", sbatch=told)).test("#!/bin/sh\n")


async def test_a_start_in_a_thousand_years_is_no_estimate(tmp_path: Path) -> None:
    told = "echo 'sbatch: Job 7 to start at 3388-12-02T16:46:45 using 6 processors' >&2"

    assert await Cluster(tmp_path, programs(tmp_path / "bin", sbatch=told)).test("#!/bin/sh\n") is None


async def test_a_test_whose_answer_is_lost_has_submitted_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, programs(tmp_path / "bin", sbatch="kill -9 $$"))

    with pytest.raises(Unavailable) as lost:
        await cluster.test("#!/bin/sh\n")

    assert "slurm_down" == lost.value.reason


def test_before_the_limits_are_known_the_choice_is_slurms(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, programs(tmp_path / "bin"))

    assert not cluster.partition_for(RunSpec(nodes=99))
    assert "mine" == cluster.partition_for(RunSpec(nodes=99, slurm=Slurm(partition="mine")))
    assert [] == cluster.notices(RunSpec(nodes=99))
    assert not cluster.capabilities().HasField("cluster")


def test_limits_that_were_kept_are_used_at_once(tmp_path: Path) -> None:
    keep(tmp_path / "cluster.json", PROBE)
    cluster = Cluster(tmp_path, programs(tmp_path / "bin"))

    assert "debug" == cluster.partition_for(RunSpec(nodes=5))
    with pytest.raises(InvalidInput):
        cluster.partition_for(RunSpec(nodes=6))


async def test_limits_are_asked_for_again_after_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pollinator.executors.slurm.cluster.AGAIN_S", 0.1)
    refusal = "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1"
    count = f'case "$*" in *config) ;; *) echo >> {tmp_path}/probes;; esac'
    commands = site(tmp_path / "bin", sbatch=refusal)
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text(scontrol.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{count}\n"))
    cluster = Cluster(tmp_path, commands)

    def probes() -> int:
        # Each asks for partitions twice: for those of this user, and for all.
        return (tmp_path / "probes").read_text().count("\n") // 2 if (tmp_path / "probes").exists() else 0

    async with asyncio.TaskGroup() as group:
        running = group.create_task(cluster.run())
        await until(lambda: cluster.probe is not None, "the limits are known")
        assert 1 == probes()
        with pytest.raises(InvalidInput):
            await cluster.submit("#!/bin/sh\n", tmp_path)
        await until(lambda: probes() == 2, "they are asked for again")
        with pytest.raises(InvalidInput):
            cluster.partition_for(RunSpec(nodes=1, slurm=Slurm(partition="new")))
        await until(lambda: probes() == 3, "and when the limits that were known refuse a run")
        running.cancel()


async def test_a_cluster_that_is_down_keeps_the_limits_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pollinator.executors.slurm.cluster.AGAIN_S", 0.05)
    keep(tmp_path / "cluster.json", PROBE)
    commands = site(tmp_path / "bin", scontrol=f"echo >> {tmp_path}/probes; {DOWN}")
    cluster = Cluster(tmp_path, commands)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(cluster.run())
        await until((tmp_path / "probes").exists, "it is asked, for what is kept is old")
        await until(lambda: (tmp_path / "probes").read_text().count("\n") > 1, "and again")
        running.cancel()

    assert PROBE == cluster.probe
