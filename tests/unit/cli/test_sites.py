"""An executor as lines of text."""

from __future__ import annotations

import pytest

from pollinator.cli.sites import describe_executor, reach_word, runs_text, trouble_line
from pollinator.v1.executor_pb2 import Capabilities, Cluster, Executor, Partition, Reach


def test_an_executor_that_waits_for_a_login_says_how() -> None:
    executor = Executor(
        name="lumi",
        reach=Reach.REACH_NEEDS_AUTH,
        health_detail="executor lumi needs a login",
        fix="pollinator executors login lumi",
    )

    lines = describe_executor(executor)

    assert "health:            does not answer: executor lumi needs a login" in lines
    assert "reach:             needs auth" in lines
    assert "what to do:        pollinator executors login lumi" in lines
    assert "lumi: needs auth: pollinator executors login lumi" == trouble_line(executor)


def test_an_executor_out_of_reach_is_one_line_with_the_reason() -> None:
    executor = Executor(name="lumi", reach=Reach.REACH_UNREACHABLE, health_detail="connection refused")

    assert "lumi: unreachable: connection refused" == trouble_line(executor)


def test_what_is_the_matter_does_not_repeat_the_name_and_the_address() -> None:
    told = "executor lumi at ssh://lumi cannot be reached: no route"
    executor = Executor(name="lumi", address="ssh://lumi", reach=Reach.REACH_UNREACHABLE, health_detail=told)

    assert "lumi: unreachable: cannot be reached: no route" == trouble_line(executor)


def test_trouble_of_several_lines_is_told_on_one() -> None:
    executor = Executor(name="lumi", reach=Reach.REACH_UNREACHABLE, health_detail="it ended\nno such setting")

    assert "lumi: unreachable: it ended: no such setting" == trouble_line(executor)


@pytest.mark.parametrize("reach", [Reach.REACH_IDLE, Reach.REACH_CONNECTING, Reach.REACH_CONNECTED])
def test_an_executor_that_is_well_is_no_trouble(reach: Reach.ValueType) -> None:
    assert "" == trouble_line(Executor(name="lumi", reach=reach))
    assert reach_word(Executor(reach=reach)) in ("idle", "connecting", "connected")


def test_a_cluster_is_told_with_a_table_of_its_partitions() -> None:
    cluster = Cluster(version="slurm 22.05.8", accounts=["project_1", "project_2"], accounting=True)
    cluster.partitions.append(
        Partition(
            name="gpu", max_walltime_ms=7_200_000, nodes=8, cpu_millis=64_000, gpus={"a100": 4}, up=True
        )
    )
    cluster.partitions.append(Partition(name="small", nodes=2, max_nodes=1, memory_bytes=2000 << 20))

    lines = describe_executor(Executor(name="lumi", capabilities=Capabilities(cluster=cluster)))

    assert "cluster:           slurm 22.05.8" in lines
    assert "accounts:          project_1, project_2" in lines
    assert [
        ["PARTITION", "UP", "NODES", "PER", "RUN", "TIME", "CORES", "MEMORY", "GPUS"],
        ["gpu", "yes", "8", "any", "2h00m", "64", "-", "4", "a100"],
        ["small", "no", "2", "1", "unlimited", "0", "1.95", "GiB", "-"],
    ] == [line.split() for line in lines[-3:]]


def test_of_kubernetes_nothing_is_told_that_only_slurm_has() -> None:
    cluster = Cluster(version="kubernetes v1.36.2")

    lines = describe_executor(Executor(name="lab", capabilities=Capabilities(cluster=cluster)))

    assert lines[-1] == "cluster:           kubernetes v1.36.2"


def test_nobody_knows_how_many_runs_one_out_of_reach_has() -> None:
    assert "2" == runs_text(Executor(active_runs=2, reach=Reach.REACH_CONNECTED))
    assert "-" == runs_text(Executor(reach=Reach.REACH_UNREACHABLE))


def test_settings_are_told_one_a_line() -> None:
    lines = describe_executor(Executor(settings={"slurm.qos": "high", "slurm.account": "p"}))

    assert "settings:          slurm.account=p\n                   slurm.qos=high" in lines
