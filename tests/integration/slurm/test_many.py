"""Two hundred runs at once cost no more questions than one, and each of them ends as it should."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.slurm.pace import Pace
from pollinator.v1.run_pb2 import RunState
from support.clusters import calls, counting
from support.executing import started
from support.slurm import Slurm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RUNS = 200


@pytest.mark.parametrize("name", ["slurm", "slurm_with_accounting"])
async def test_two_hundred_runs_at_once_share_one_question(
    request: pytest.FixtureRequest, name: str, tmp_path: Path
) -> None:
    cluster: Slurm = request.getfixturevalue(name)
    asked = tmp_path / "bin"
    counting(cluster, asked)
    environment = {**cluster.env, "PATH": f"{asked}:{os.environ['PATH']}"}
    codes = [number % 3 for number in range(RUNS)]
    async with started("slurm", **environment) as executor:
        snapshot = await executor.publish({b"f": b""})
        specs = [make_spec(command=f"sh -c 'exit {code}'", source="", cpu_millis=1000) for code in codes]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(executor.launch(spec, snapshot)) for spec in specs]
        ids = [task.result().id for task in tasks]
        async with asyncio.TaskGroup() as group:
            ends = [group.create_task(executor.follow(each)) for each in ids]
        ended = [end.result().run for end in ends]
        rows = cluster.run("squeue", "-ht", "all", "-o", "%j").split()
        jobs = Counter(row.removeprefix("pollinator-") for row in rows)

    assert codes == [run.outcome.exit_code for run in ended]
    states = {RunState.RUN_STATE_SUCCEEDED, RunState.RUN_STATE_FAILED}
    assert states == {run.state for run in ended}
    assert [1] * RUNS == [jobs[each] for each in ids]
    rounds = calls(asked, "squeue")
    assert all(later - earlier >= Pace().quick_s for earlier, later in pairwise(rounds))
    # The probe asks once as well.
    assert len(calls(asked, "sacct")) <= len(rounds) + 1
