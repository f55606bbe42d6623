"""What is known of a run on its way through a cluster, from one attempt to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.volume import Volume
from pollinator.v1.spec_pb2 import RunSpec


@pytest.fixture
def run(tmp_path: Path) -> Handover:
    spec = RunSpec(project="demo", nodes=1, processes_per_node=1, command="python3 x", requeue=True)
    job = Job("x", spec, tmp_path / "state" / "runs" / "x")
    (job.workspace / "control" / "1").mkdir(parents=True)
    (job.workspace / "control" / "1" / "0").write_text("began\nran\nending time\nusage - 0 0 0\ndone\n")
    return Handover(job, Volume("files", tmp_path, tmp_path / "state", os.geteuid(), os.getegid()))


def test_another_attempt_begins_with_nothing_although_the_disk_is_full(run: Handover) -> None:
    run.is_job("first")
    run.read(0.0)
    assert run.done
    run.end({"reason": "time_limit"})
    # Nothing can be written there.
    (run.path / "job.new").mkdir()
    run.go_on()
    again = Handover(run.job, run.data)

    for each in (run, again):
        assert (2, "", False, None) == (each.attempt, each.uid, each.done, each.record)
