"""No stale read: a run holds every write that finished before it was asked for, a thousand times in a row."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pollinator.v1.run_pb2 import ProjectSource, RunState, StartRunRequest, WatchRunRequest
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.channel import open_channel
from support.sandbox import Sandbox, sandbox

__all__ = ["sandbox"]
pytestmark = pytest.mark.e2e

PROJECTS = 4
RUNS_EACH = 250
SPEC = """\
projectname: {name}
conditions: {{executorNames: [local], cpu: 10m, mem: 50Mi, walltime: 60}}
environment: {{cmd: cat src/token}}
"""


def _in_place(path: Path, text: str) -> None:
    path.write_text(text)


def _by_rename(path: Path, text: str) -> None:
    """As most editors save."""
    new = path.with_name("token.new")
    new.write_text(text)
    new.replace(path)


def _without_truncating(path: Path, text: str) -> None:
    """Size and inode stay: only the time tells, and it may not have moved on."""
    with path.open("r+") as file:
        file.write(text)


def _after_removal(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


SAVES: Mapping[str, Callable[[Path, str], None]] = {
    "in place": _in_place,
    "by rename": _by_rename,
    "without truncating": _without_truncating,
    "after removal": _after_removal,
}


def token_project(sandbox: Sandbox, name: str) -> Path:
    root = sandbox.project(name)
    (root / "project.yaml").write_text(SPEC.format(name=name))
    (root / "cfs/src/token").write_text(secrets.token_hex(16))
    return root


async def printed(runs: RunServiceStub, root: Path) -> str:
    """What a run of the project as it is now prints."""
    source = ProjectSource(root=str(root))
    answer = await runs.StartRun(StartRunRequest(request_id=str(uuid.uuid4()), project=source))
    output = b""
    async for message in runs.WatchRun(WatchRunRequest(run_id=answer.run.id, output=True, follow=True)):
        output += message.output.data
        if message.event.state_changed.state == RunState.RUN_STATE_FAILED:
            pytest.fail(message.event.state_changed.outcome.detail)
    return output.decode()


@pytest.mark.timeout(600)
async def test_a_thousand_runs_each_print_the_token_written_just_before(sandbox: Sandbox) -> None:
    roots = [token_project(sandbox, f"tokens-{number}") for number in range(PROJECTS)]
    assert 0 == sandbox.cli("daemon", "start", cwd=roots[0]).returncode
    checked = 0

    async def check(root: Path) -> None:
        nonlocal checked
        saves = itertools.cycle(SAVES.items())
        for _ in range(RUNS_EACH):
            token = secrets.token_hex(16)
            name, save = next(saves)
            save(root / "cfs/src/token", token)
            seen = await printed(runs, root)

            assert token == seen, f"saved {name}, run {checked}"
            checked += 1

    async with open_channel(f"unix:{sandbox.socket}") as channel:
        runs = RunServiceStub(channel)
        async with asyncio.TaskGroup() as group:
            for root in roots:
                group.create_task(check(root))

    assert PROJECTS * RUNS_EACH == checked


@pytest.mark.timeout(120)
def test_the_command_line_runs_what_was_written_just_before(sandbox: Sandbox) -> None:
    root = token_project(sandbox, "tokens")
    for name, save in [*SAVES.items()] * 3:
        token = secrets.token_hex(16)
        save(root / "cfs/src/token", token)
        ended = sandbox.cli("run", "--follow", cwd=root)

        assert token.encode() == ended.stdout, f"saved {name}: {ended.stderr!r}"
