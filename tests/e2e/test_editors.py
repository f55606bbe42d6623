"""What editors ask of a real daemon: the live state of a project, and where a run that failed went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from pollinator.v1.daemon_pb2 import ShutdownRequest
from pollinator.v1.daemon_pb2_grpc import DaemonServiceStub
from pollinator.v1.project_pb2 import (
    CheckSpecRequest,
    ListFilesRequest,
    ListProblemsRequest,
    ReadFileRequest,
    WatchProjectRequest,
)
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import Run, RunState
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import PollinatorError
from pollinator.wire.status import to_error
from pollinator.wire.streams import follow_project
from support.sandbox import Sandbox, sandbox

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WAITS = """\
import os, time
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.01)
"""
FAILS = "def f():\n    raise ValueError('no')\n\n\nf()\n"


@asynccontextmanager
async def projects(sandbox: Sandbox) -> AsyncGenerator[ProjectServiceStub]:
    channel = open_channel(f"unix:{sandbox.socket}")
    try:
        yield ProjectServiceStub(channel)
    finally:
        await channel.close()


def watch(root: Path) -> WatchProjectRequest:
    return WatchProjectRequest(root=str(root), runs=True)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
async def test_a_project_is_followed_across_the_end_of_the_daemon(sandbox: Sandbox, killed: bool) -> None:
    root, go = sandbox.project(program=WAITS), sandbox.folder / "go"
    run_id = sandbox.cli("run", "--env", f"GO={go}", cwd=root).stdout.decode().strip()

    async def start_again(error: PollinatorError) -> None:
        await asyncio.to_thread(sandbox.cli, "daemon", "start", cwd=root)

    def stop() -> None:
        sandbox.cli("daemon", "stop", cwd=root)

    told: list[Run] = []
    complete: list[bool] = []
    async with projects(sandbox) as stub:
        messages = follow_project(stub, watch(root), patience_s=60, on_cut=start_again)
        async with asyncio.timeout(100), aclosing(messages):
            async for message in messages:
                complete += [True] if message.complete else []
                told += [run for run in message.runs if run not in told[-1:]]
                if RunState.RUN_STATE_RUNNING == told[-1].state and len(complete) == 1:
                    end = sandbox.kill_daemon if killed else stop
                    await asyncio.to_thread(end)
                elif RunState.RUN_STATE_RUNNING == told[-1].state:
                    go.touch()
                elif told[-1].HasField("end_time"):
                    break

    assert {run_id} == {run.id for run in told}
    assert [True, True] == complete
    assert RunState.RUN_STATE_SUCCEEDED == told[-1].state
    numbers = [run.last_seq for run in told]
    assert sorted(set(numbers)) == numbers


async def test_a_run_that_failed_names_the_line_in_the_file_that_is_edited(sandbox: Sandbox) -> None:
    root = sandbox.project(program=FAILS)
    ended = await asyncio.to_thread(sandbox.cli, "run", "--follow", cwd=root)
    async with projects(sandbox) as stub:
        found = await stub.ListProblems(ListProblemsRequest(run_id="latest", root=str(root)), timeout=30)

    assert 1 == ended.returncode
    assert [("cfs/src/main.py", 2), ("cfs/src/main.py", 5)] == [
        (each.path, each.line) for each in found.problems
    ]
    assert ("ValueError", "ValueError: no") == (found.problems[0].code, found.problems[0].message)


async def test_files_of_a_run_are_there_without_being_laid_out(sandbox: Sandbox) -> None:
    program = "open('result/out.csv', 'w').write('a,b\\n')\n"
    root = sandbox.project(program=program)
    await asyncio.to_thread(sandbox.cli, "run", "--follow", cwd=root)
    (root / "cfs/src/main.py").write_text("later\n")
    async with projects(sandbox) as stub:
        (run,) = (await anext(aiter(stub.WatchProject(watch(root))))).runs
        src = await stub.ListFiles(ListFilesRequest(run_id=run.id, tree="src"), timeout=30)
        result = await stub.ListFiles(ListFilesRequest(run_id=run.id, tree="result"), timeout=30)
        request = ReadFileRequest(run_id=run.id, path=b"src/main.py")
        pieces = [piece.data async for piece in stub.ReadFile(request, timeout=30)]
        checked = await stub.CheckSpec(CheckSpecRequest(root=str(root)), timeout=30)

    assert ([b"src/main.py"], [b"result/out.csv"]) == (
        [each.path for each in src.files],
        [each.path for each in result.files],
    )
    assert program.encode() == b"".join(pieces)
    assert not checked.problems


async def test_an_editor_that_looks_on_keeps_no_daemon_from_being_replaced(sandbox: Sandbox) -> None:
    root = sandbox.project()
    await asyncio.to_thread(sandbox.cli, "run", "--follow", cwd=root)
    channel = open_channel(f"unix:{sandbox.socket}")
    call = ProjectServiceStub(channel).WatchProject(watch(root))
    messages = aiter(call)
    await anext(messages)
    await DaemonServiceStub(channel).Shutdown(ShutdownRequest(only_if_idle=True), timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in messages:
            pass
    await channel.close()

    assert to_error(caught.value).retryable
