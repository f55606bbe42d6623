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
from pollinator.v1.run_pb2 import ProjectSource, StartRunRequest, WatchRunRequest
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire import places
from pollinator.wire.channel import open_channel
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


async def test_a_run_never_makes_the_loop_wait_and_leaves_nothing(
    channel: grpc.aio.Channel, tmp_path: Path
) -> None:
    for tree in ("src", "data", "result"):
        (tmp_path / "cfs" / tree).mkdir(parents=True)
    (tmp_path / "project.yaml").write_text(SPEC.format(name="demo"))
    (tmp_path / "cfs/src/main.py").write_text("print('hello')\n")
    runs = RunServiceStub(channel)
    source = ProjectSource(root=str(tmp_path))

    begun = await runs.StartRun(
        StartRunRequest(request_id=str(uuid.uuid4()), project=source), wait_for_ready=True, timeout=20
    )
    output = b""
    async for message in runs.WatchRun(WatchRunRequest(run_id=begun.run.id, output=True, follow=True)):
        output += message.output.data

    assert b"hello\n" == output
