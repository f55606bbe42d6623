"""What hands runs over goes on, whatever one of them meets."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from pollinator.executors.base import Job
from pollinator.executors.kubernetes import submission
from pollinator.executors.kubernetes.api import Api
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.manifest import Wish
from pollinator.executors.kubernetes.submission import Submission
from pollinator.executors.kubernetes.volume import Volume
from pollinator.executors.kubernetes.watcher import Watcher
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.cluster import Cluster, Where
from support.scripted_executor import until


class Ends(Volume):
    """An attempt that ends while what belongs to its Job is made."""

    run: Handover

    async def objects(self, job: Job, attempt: int) -> list[Manifest]:
        self.run.end({"reason": "preempted"})
        self.run.go_on()
        return []


async def test_what_was_made_for_one_attempt_is_not_taken_for_that_of_the_next(tmp_path: Path) -> None:
    job = Job("x", RunSpec(project="demo", nodes=1, processes_per_node=1), tmp_path / "runs" / "x")
    job.workspace.mkdir(parents=True)
    data = Ends("files", tmp_path, tmp_path, os.geteuid(), os.getegid())
    run = data.run = Handover(job, data)
    run.is_job("first")
    wish = Wish(job, 1, "e", 1, 5000, {})
    api = Api(Cluster(Where("", "", "runs")), "a=b")
    made = Submission(api, Watcher(api, lambda run: True), data, lambda _: wish, lambda _: {}, "e")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        made.submit(run)
        while run.attempt < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        task.cancel()

    assert not run.whole


async def test_a_defect_that_one_run_meets_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "FIRST_PAUSE_S", 0.01)
    job = Job("x", RunSpec(project="demo", nodes=1, processes_per_node=1), tmp_path / "runs" / "x")
    job.workspace.mkdir(parents=True)
    data = Volume("files", tmp_path, tmp_path, os.geteuid(), os.getegid())
    tries = 0

    def wish(run: Handover) -> Wish:
        nonlocal tries
        tries += 1
        raise ValueError("no closing quotation")

    api = Api(Cluster(Where("", "", "runs")), "a=b")
    made = Submission(api, Watcher(api, lambda run: True), data, wish, lambda _: {}, "e")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        made.submit(Handover(job, data))
        while tries < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        task.cancel()

    assert tries >= 2


class Told(Volume):
    """Takes a word, in a thread."""

    words: tuple[str, ...] = ()

    def tell(self, job: Job, attempt: int, name: str, text: str) -> None:
        self.words += (text,)


async def test_no_thread_is_left_of_one_that_has_ended(tmp_path: Path) -> None:
    job = Job("x", RunSpec(project="demo", nodes=1, processes_per_node=1), tmp_path / "runs" / "x")
    job.workspace.mkdir(parents=True)
    data = Told("files", tmp_path, tmp_path, os.geteuid(), os.getegid())
    api = Api(Cluster(Where("", "", "runs")), "a=b")
    wish = Wish(job, 1, "e", 1, 5000, {})
    made = Submission(api, Watcher(api, lambda run: True), data, lambda _: wish, lambda _: {}, "e")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        made.tell(Handover(job, data), "stop", "cancel")
        await until(lambda: data.words == ("cancel",), "it is told")
        task.cancel()

    # Although it is still held here.
    await until(lambda: not _threads(), "its threads have ended")


def _threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("kubernetes")]
