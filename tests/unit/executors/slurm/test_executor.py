"""What the executor makes of the files of a run and of what Slurm told last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollinator.executors.base import Job
from pollinator.executors.containers.engines import ON_A_CLUSTER
from pollinator.executors.containers.use import Containers
from pollinator.executors.intent import INTENT
from pollinator.executors.records import Record, attempts, read_record, write_exit, write_json
from pollinator.executors.slurm import handover
from pollinator.executors.slurm.batch import INTERRUPTED, claim, verdict
from pollinator.executors.slurm.cluster import Cluster
from pollinator.executors.slurm.executor import SlurmExecutor
from pollinator.executors.slurm.handover import NUMBER, Handover
from pollinator.executors.slurm.pace import Pace
from pollinator.executors.slurm.probe import keep
from pollinator.executors.slurm.seen import BREAK
from pollinator.v1.run_pb2 import RunState
from pollinator.v1.spec_pb2 import RunSpec, Slurm
from pollinator.wire.errors import InvalidInput
from support.scripted_executor import until
from support.slurm_site import PROBE, site

PATIENT = Pace(quick_s=0.05, slow_s=1000.0, growth=100_000.0, share=1.0)
"""After one round with nothing new nobody is asked for a quarter of an hour."""


def job_in(folder: Path, *, requeue: bool = False, name: str = "run") -> Job:
    job = Job(name, RunSpec(nodes=1, processes_per_node=1, requeue=requeue), folder / "runs" / name)
    job.workspace.mkdir(parents=True)
    return job


@asynccontextmanager
async def at_work(folder: Path, squeue: str) -> AsyncGenerator[SlurmExecutor]:
    commands = site(folder / "bin", squeue=squeue)
    containers = Containers.create({"containers.engines": "none"}, ON_A_CLUSTER)
    executor = SlurmExecutor(Cluster(folder, commands, PATIENT), folder, Slurm(), containers)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(executor.serve())
        yield executor
        task.cancel()


async def test_slurm_is_asked_at_once_why_it_ended_a_job(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    calls = tmp_path / "calls"
    row = "7|7|$state|None|n1|0|0|N/A|N/A|".replace("|", BREAK)
    squeue = f'state=RUNNING; test ! -e {tmp_path}/ended || state=CANCELLED\necho "{row}"; echo . >> {calls}'
    write_json(job.workspace / NUMBER, {"job_id": "7"})
    write_json(job.workspace / "started.json", {"restarts": 0, "nodes": ["n1"]})
    async with at_work(tmp_path, squeue) as executor:
        await until(lambda: executor.observe(job).state == RunState.RUN_STATE_RUNNING, "it runs")
        await until(lambda: calls.exists() and len(calls.read_text().split()) >= 2, "nothing is new")
        (tmp_path / "ended").touch()
        write_exit(job.workspace, verdict(INTERRUPTED, 0, -15))
        await until(
            lambda: executor.observe(job).state == RunState.RUN_STATE_CANCELLED, "its end is known", 5
        )


async def test_a_job_that_slurm_cleans_up_after_has_ended_as_its_own_record_says(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    row = "7|7|COMPLETING|None|n1|0|0|N/A|N/A|".replace("|", BREAK)
    calls = tmp_path / "calls"
    write_json(job.workspace / NUMBER, {"job_id": "7"})
    write_json(job.workspace / "started.json", {"restarts": 0, "nodes": ["n1"]})
    async with at_work(tmp_path, f'echo "{row}"; echo . >> {calls}') as executor:
        executor.observe(job)
        await until(lambda: calls.exists() and len(calls.read_text().split()) >= 2, "Slurm was asked")
        before = executor.observe(job).state
        write_exit(job.workspace, verdict("exit_code", 0, 3))
        await until(lambda: executor.observe(job).outcome is not None, "its end is known", 5)
        after = executor.observe(job)

    assert RunState.RUN_STATE_SUCCEEDED != before
    assert after.outcome is not None
    assert (RunState.RUN_STATE_FAILED, 3) == (after.state, after.outcome.exit_code)


async def test_where_a_run_was_is_known_of_one_that_was_over_at_the_first_look(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    write_json(job.workspace / NUMBER, {"job_id": "7"})
    write_json(job.workspace / "started.json", {"restarts": 0, "nodes": ["n1", "n2"]})
    write_exit(job.workspace, verdict("", 0, 0))

    async with at_work(tmp_path, ":") as executor:
        seen = executor.observe(job)

    assert (RunState.RUN_STATE_SUCCEEDED, ("n1", "n2")) == (seen.state, seen.nodes)


async def test_the_more_runs_there_are_the_seldomer_files_of_each_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counted(path: Path) -> Record | None:
        read.append(path)
        return read_record(path)

    monkeypatch.setattr(handover, "read_record", counted)
    jobs = [job_in(tmp_path, name=f"run{number}") for number in range(3000)]
    containers = Containers.create({"containers.engines": "none"}, ON_A_CLUSTER)
    executor = SlurmExecutor(
        Cluster(tmp_path, site(tmp_path / "bin"), PATIENT), tmp_path, Slurm(), containers
    )
    for job in jobs:
        executor.observe(job)
    read.clear()
    for job in jobs:
        executor.observe(job)

    assert 1000 > len(read), "each is looked at once in half a minute"


@pytest.mark.parametrize("left", ["exit", "record", "claim", "nothing"])
def test_making_ready_for_another_job_may_be_repeated_from_anywhere(tmp_path: Path, left: str) -> None:
    """``left`` is what had been done last when the process was killed."""
    job = job_in(tmp_path, requeue=True)
    write_json(job.workspace / INTENT, {"time": 5.0})
    claim(job.workspace, "7")
    write_exit(job.workspace, verdict(INTERRUPTED, 0, -15))
    if left == "exit":
        write_json(job.workspace / NUMBER, {"job_id": "7"})
        write_json(job.workspace / "started.json", {"restarts": 0})
    else:
        write_json(job.workspace / NUMBER, {"job_id": "", "past": ["7"]})
    if left in ("claim", "nothing"):
        (job.workspace / "exit.json").replace(job.workspace / "attempt.1.json")
    if left == "nothing":
        (job.workspace / "claim").unlink()
    run = Handover(job, str)
    run.release()

    assert (1, False, True) == (attempts(job.workspace), run.goes_on, claim(job.workspace, "8"))
    assert (["7"], "", 0.0) == (run.past, run.job_id, run.intent.since)
    assert not {"started.json", "exit.json"} & {each.name for each in job.workspace.iterdir()}


def test_making_ready_leaves_alone_what_the_next_job_has_begun(tmp_path: Path) -> None:
    job = job_in(tmp_path, requeue=True)
    write_json(job.workspace / NUMBER, {"job_id": "", "past": ["7"]})
    write_json(job.workspace / INTENT, {"time": 5.0, "past": 1})
    write_json(job.workspace / "started.json", {"restarts": 0})
    claim(job.workspace, "8")
    run = Handover(job, str)
    run.release()

    assert (5.0, False) == (run.intent.since, claim(job.workspace, "9"))
    assert read_record(job.workspace / "started.json") is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [("slurm.modules", "--licenses='a"), ("slurm.directives", "--licenses='a"), ("slurm.poll", "often")],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_its_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SlurmExecutor.create(tmp_path, {name: value})

    assert "bad_settings" == caught.value.reason
    assert [name] == [each.where for each in caught.value.violations]


def test_an_executor_whose_cluster_does_not_take_its_settings_starts_all_the_same(tmp_path: Path) -> None:
    keep(tmp_path / "cluster.json", PROBE)

    executor = SlurmExecutor.create(tmp_path, {"slurm.partition": "gone", "containers.engines": "none"})

    with pytest.raises(InvalidInput) as refused:
        executor.preflight(RunSpec(nodes=1, processes_per_node=1))
    assert ["slurm.partition"] == [each.where for each in refused.value.violations]
