"""The cluster that tests start is a real one: nodes, users, memory limits, accounting, outages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.people import ground
from support.sandbox import wait_until
from support.slurm import Slurm

__all__ = ["ground"]

pytestmark = pytest.mark.integration

SCRIPT = "#!/bin/sh\n"


def test_a_job_runs_on_each_of_three_nodes(slurm: Slurm, tmp_path: Path) -> None:
    script = f"{SCRIPT}srun sh -c 'echo $SLURM_PROCID $SLURMD_NODENAME'\n"

    job = slurm.submit(script, "--nodes=3", "--ntasks-per-node=1", f"--output={tmp_path}/out")
    slurm.wait_for(job, "COMPLETED")

    assert [f"{rank} {node}" for rank, node in enumerate(slurm.nodes)] == sorted(
        (tmp_path / "out").read_text().splitlines()
    )


def test_other_users_submit_as_well(slurm: Slurm, ground: Path) -> None:
    job = slurm.submit(f"{SCRIPT}id -un\n", f"--output={ground}/out", user="nobody")
    slurm.wait_for(job, "COMPLETED")

    assert "nobody\n" == (ground / "out").read_text()


def test_a_job_outlives_an_outage_of_the_controller(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(f"{SCRIPT}until test -e {tmp_path}/go; do sleep 0.05; done\n", "--output=/dev/null")
    slurm.wait_for(job, "RUNNING")
    slurm.stop_controller()
    refused = slurm.call("scontrol", "ping")
    slurm.start_controller()
    (tmp_path / "go").touch()

    assert refused.returncode != 0
    assert "COMPLETED" == slurm.wait_for(job, "COMPLETED", "FAILED", "NODE_FAIL")["JobState"]


def test_nodes_go_down_and_come_back(slurm: Slurm) -> None:
    slurm.set_node("n2", "DOWN")
    down = slurm.node_state("n2")
    slurm.clear()

    assert ("down", "idle") == (down, slurm.node_state("n2"))


def test_the_kernel_holds_a_job_to_its_memory(slurm_with_cgroup: Slurm, tmp_path: Path) -> None:
    script = f"{SCRIPT}exec python3 -c 'bytearray(range(100)) * 3_000_000'\n"

    job = slurm_with_cgroup.submit(script, "--mem=50M", f"--output={tmp_path}/out")

    shown = slurm_with_cgroup.wait_for(job, "OUT_OF_MEMORY", "COMPLETED", "FAILED")
    assert "OUT_OF_MEMORY" == shown["JobState"]


def test_accounts_are_enforced_and_jobs_are_accounted_for(slurm_with_accounting: Slurm) -> None:
    refused = slurm_with_accounting.call("sbatch", "--account=others", "--wrap=true")
    job = slurm_with_accounting.submit(f"{SCRIPT}exit 3\n", "--account=project", "--output=/dev/null")
    slurm_with_accounting.wait_for(job, "FAILED")

    assert "Invalid account" in refused.stderr
    assert "project" == slurm_with_accounting.run("sacct", "-nXPj", job, "-o", "Account").strip()


def test_nothing_is_left_of_a_cluster_that_was_stopped(tmp_path: Path) -> None:
    cluster = Slurm()
    script = f"{SCRIPT}trap '' TERM\necho $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid\n"
    job = cluster.submit(f"{script}while :; do sleep 0.1; done\n", "--output=/dev/null")
    cluster.wait_for(job, "RUNNING")
    wait_until((tmp_path / "pid").exists, "the job runs")
    cluster.stop()

    assert not cluster.folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
