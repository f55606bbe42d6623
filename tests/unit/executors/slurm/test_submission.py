"""Runs are handed over once each, also when the disk is full or Slurm's answers are odd."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollinator.executors.base import Job
from pollinator.executors.slurm.cluster import Cluster
from pollinator.executors.slurm.handover import NUMBER, Handover
from pollinator.executors.slurm.submission import Submission
from pollinator.v1.spec_pb2 import RunSpec
from support.scripted_executor import until
from support.slurm_site import programs


def script() -> str:
    return "#!/bin/sh\n"


def a_run(folder: Path) -> Handover:
    folder.mkdir()
    return Handover(Job(folder.name, RunSpec(), folder), script)


@asynccontextmanager
async def working(folder: Path, **scripts: str) -> AsyncGenerator[Submission]:
    """A submission at work, for a cluster whose programs do what they are told."""
    made = Submission(Cluster(folder, programs(folder / "bin", **scripts)), 0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        yield made
        task.cancel()


async def test_a_run_that_is_withdrawn_while_the_disk_is_full_ends_when_it_has_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path / "r1")
    (run.path / "cancel").touch()
    (run.path / "exit.new").mkdir()
    async with working(tmp_path) as submission:
        submission.submit(run)
        submission.cancel(run)
        await until(lambda: bool(caplog.records), "it is said that it could not be written down")
        (run.path / "exit.new").rmdir()
        await until((run.path / "exit.json").exists, "the run has ended")

    assert "cancelled" == json.loads((run.path / "exit.json").read_text())["reason"]


async def test_a_refusal_that_cannot_be_written_down_is_told_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path / "r1")
    (run.path / "exit.new").mkdir()
    refusal = "echo 'sbatch: error: Invalid account' >&2; exit 1"
    async with working(tmp_path, sbatch=refusal) as submission:
        submission.submit(run)
        await until(lambda: bool(caplog.records), "it is said that it could not be written down")
        (run.path / "exit.new").rmdir()
        await until((run.path / "exit.json").exists, "the run has ended")

    assert "launch" == json.loads((run.path / "exit.json").read_text())["reason"]


async def test_a_run_that_may_have_a_job_is_not_refused_because_nobody_can_look(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r1")
    run.intent.note()
    words = "echo 'squeue: fatal: Unable to process configuration file' >&2; exit 1"
    async with working(tmp_path, squeue=words) as submission:
        submission.submit(run)
        await until(lambda: run.pending is not None, "it waits")

    assert not (run.path / "exit.json").exists()


async def test_nobody_waits_for_the_disk_while_a_run_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[threading.Thread] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(threading.current_thread())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    run = a_run(tmp_path / "r1")
    async with working(tmp_path, sbatch="echo 17", squeue="true") as submission:
        submission.submit(run)
        await until((run.path / NUMBER).exists, "the job is on disk")

    assert "17" == json.loads((run.path / NUMBER).read_text())["job_id"]
    assert (2, False) == (len(synced), threading.current_thread() in synced)


async def test_nothing_is_kept_of_runs_that_ended_without_a_job(tmp_path: Path) -> None:
    kept: list[weakref.ref[Handover]] = []
    async with working(tmp_path) as submission:
        for name in ("r1", "r2", "r3"):
            run = a_run(tmp_path / name)
            (run.path / "cancel").touch()
            submission.submit(run)
            submission.cancel(run)
            await until((run.path / "exit.json").exists, "the run has ended")
            submission.leave(run)
            kept.append(weakref.ref(run))
        await asyncio.sleep(0)
        gc.collect()

        assert kept[0]() is None
