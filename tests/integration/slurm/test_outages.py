"""A minute without the controller, or without the accounts, costs no run its job, its output or its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from pollinator.executors.conformance.asking import make_spec
from pollinator.v1.run_pb2 import RunState
from support.executing import started
from support.slurm import Slurm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

OUTAGE_S = 60.0
COUNTS = """\
import itertools, os, time
for number in itertools.count():
    print(os.environ["RANK"], number, flush=True)
    if os.path.exists("result/go") and os.environ["RANK"] == "0":
        open("result/ended", "w").write(str(number))
    if os.path.exists("result/ended"):
        break
    time.sleep(0.2)
print("done")
"""
OUTAGES: dict[str, tuple[Callable[[Slurm], None], Callable[[Slurm], None]]] = {
    "controller": (Slurm.stop_controller, Slurm.start_controller),
    "accounts": (Slurm.stop_accounting, Slurm.start_accounting),
}


@pytest.fixture
def cluster(slurm_with_accounting: Slurm) -> Iterator[Slurm]:
    yield slurm_with_accounting
    slurm_with_accounting.clear()


def jobs_of(cluster: Slurm, run: str) -> list[str]:
    """States of every job that Slurm ever had of a run."""
    rows = [row.split(" ", 1) for row in cluster.run("squeue", "-ht", "all", "-o", "%T %j").splitlines()]
    return [state for state, name in rows if run in name]


@pytest.mark.parametrize("part", list(OUTAGES))
async def test_a_minute_of_outage_costs_nothing(cluster: Slurm, part: str) -> None:
    stop, start = OUTAGES[part]
    async with started("slurm", **cluster.env) as executor:
        runs = await executor.begin(COUNTS, nodes=2, walltime_ms=240_000)
        await executor.printed(runs.id, b"1 5\n", rank=1)
        await executor.reached(runs.id, RunState.RUN_STATE_RUNNING)
        stop(cluster)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(OUTAGE_S))
                snapshot = await executor.publish({b"main.py": b"print('ran')"})
                comes = await executor.launch(make_spec(), snapshot)
            during = await executor.get(runs.id)
        finally:
            start(cluster)
        (executor.state / "runs" / runs.id / "work" / "result" / "go").touch()
        first, second = await executor.follow(runs.id), await executor.follow(comes.id)
        results = await executor.results(first.run)
        states = [jobs_of(cluster, each.id) for each in (runs, comes)]

    assert RunState.RUN_STATE_RUNNING == during.state
    assert [RunState.RUN_STATE_SUCCEEDED] * 2 == [each.run.state for each in (first, second)]
    for rank, output in first.output.items():
        lines = output.decode().splitlines()

        assert lines == [*(f"{rank} {number}" for number in range(len(lines) - 1)), "done"]
    last = int(results[b"ended"][2])
    assert f"0 {last}\ndone\n".encode() == first.output[0][-len(f"0 {last}\ndone\n") :]
    assert last > 0.5 * OUTAGE_S / 0.2
    assert {0: b"ran\n"} == second.output
    assert [1, 1] == [len(each) for each in states]
