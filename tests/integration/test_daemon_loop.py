"""The daemon in the test's own process: the rules for tests watch its loop, threads, files and tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from pollinator.daemon.app import serve
from pollinator.daemon.settings import load_settings
from pollinator.v1.project_pb2 import (
    CloseProjectRequest,
    ListProjectsRequest,
    OpenProjectRequest,
    WatchProjectRequest,
)
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import ListRunsRequest, ProjectSource, StartRunRequest, WatchRunRequest
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire import places
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import InvalidInput
from pollinator.wire.status import to_error
from support.sandbox import SPEC


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A connection to a daemon that serves on this loop, and ends when the test does."""
    state = places.private_dir(places.state_dir())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(load_settings(), state, state / "daemon.log", stop), name="daemon")
        async with open_channel(f"unix:{places.daemon_socket()}") as opened:
            yield opened
        stop.set()
    end_executor(state / "executors/local/executor.lock")


def end_executor(lock: Path) -> None:
    """It outlives its daemon, which here is this process."""
    with contextlib.suppress(FileNotFoundError):
        pid = int(lock.read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def a_project(root: Path) -> Path:
    """A program that greets."""
    for tree in ("src", "data", "result"):
        (root / "cfs" / tree).mkdir(parents=True)
    (root / "project.yaml").write_text(SPEC.format(name="demo"))
    (root / "cfs/src/main.py").write_text("print('hello')\n")
    return root


async def printed(runs: RunServiceStub, run_id: str) -> bytes:
    """All that a run prints until its end."""
    output = b""
    async for message in runs.WatchRun(WatchRunRequest(run_id=run_id, output=True, follow=True)):
        output += message.output.data
    return output


async def test_a_run_never_makes_the_loop_wait_and_leaves_nothing(
    channel: grpc.aio.Channel, tmp_path: Path
) -> None:
    runs = RunServiceStub(channel)
    source = ProjectSource(root=str(a_project(tmp_path)))

    begun = await runs.StartRun(
        StartRunRequest(request_id=str(uuid.uuid4()), project=source), wait_for_ready=True, timeout=20
    )

    assert b"hello\n" == await printed(runs, begun.run.id)


async def test_whatever_links_lead_to_a_project_it_is_one(channel: grpc.aio.Channel, tmp_path: Path) -> None:
    root, link = a_project(tmp_path / "real"), tmp_path / "link"
    link.symlink_to(root)
    projects, runs = ProjectServiceStub(channel), RunServiceStub(channel)

    opened = await projects.OpenProject(OpenProjectRequest(root=str(link)), wait_for_ready=True, timeout=20)
    begun = [
        (await runs.StartRun(StartRunRequest(request_id=str(uuid.uuid4()), project=source))).run
        for source in (ProjectSource(root=str(root)), ProjectSource(root=f"{link}/cfs/.."))
    ]
    listed = await projects.ListProjects(ListProjectsRequest())
    found = await runs.ListRuns(ListRunsRequest(root=str(link)))
    watching = projects.WatchProject(WatchProjectRequest(root=str(link), runs=True))
    told = await anext(aiter(watching))
    watching.cancel()
    await asyncio.gather(*(printed(runs, run.id) for run in begun))
    await projects.CloseProject(CloseProjectRequest(root=str(link)))

    assert [str(root)] == [project.root for project in listed.projects]
    assert (str(root), {str(root)}) == (opened.project.root, {run.root for run in begun})
    ids = {run.id for run in begun}
    assert (ids, ids) == ({run.id for run in found.runs}, {run.id for run in told.runs})
    assert not (await projects.ListProjects(ListProjectsRequest())).projects


async def test_a_project_that_was_moved_and_left_a_link_is_forgotten_by_the_name_it_has(
    channel: grpc.aio.Channel, tmp_path: Path
) -> None:
    root = a_project(tmp_path / "here")
    projects = ProjectServiceStub(channel)
    await projects.OpenProject(OpenProjectRequest(root=str(root)), wait_for_ready=True, timeout=20)
    root.rename(tmp_path / "there")
    root.symlink_to(tmp_path / "there")

    await projects.CloseProject(CloseProjectRequest(root=str(root)))

    assert not (await projects.ListProjects(ListProjectsRequest())).projects


@pytest.mark.parametrize("root", ["here", "/a\0b", ""])
async def test_what_is_no_folder_is_refused(channel: grpc.aio.Channel, root: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ProjectServiceStub(channel).OpenProject(
            OpenProjectRequest(root=root), wait_for_ready=True, timeout=20
        )

    error = to_error(caught.value)
    assert (InvalidInput, "bad_path") == (type(error), error.reason)
