"""Many followers and an editor on one daemon: all are served, and nobody else has to wait."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time

import pytest

from pollinator.v1.daemon_pb2 import GetInfoRequest
from pollinator.v1.daemon_pb2_grpc import DaemonServiceStub
from pollinator.v1.run_pb2 import GetRunRequest, RunState
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.channel import open_channel
from support.sandbox import Sandbox, sandbox

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FOLLOWERS = 64
MEDIAN_S = 0.1
"""A unary call must be answered within this time at the median, whoever follows meanwhile."""

PRINTS = """\
import os, time
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.01)
for number in range(400):
    print("line", number, "." * 100)
    if number % 100 == 50:
        print("burst " * 40_000)
    time.sleep(0.01)
"""


def printed() -> bytes:
    lines: list[str] = []
    for number in range(400):
        lines.append(f"line {number} {'.' * 100}\n")
        if number % 100 == 50:
            lines.append("burst " * 40_000 + "\n")
    return "".join(lines).encode()


async def test_all_followers_get_everything_and_a_call_meanwhile_is_answered_soon(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sandbox.project(program=PRINTS)
    go = sandbox.folder / "go"
    run = sandbox.cli("run", "--env", f"GO={go}", cwd=root).stdout.decode().strip()
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.crowd", str(sandbox.socket), run, str(root), str(FOLLOWERS)),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
    )
    await served(sandbox, FOLLOWERS)
    go.touch()
    took_s = await calls_until_the_end(sandbox, run)
    async with asyncio.timeout(30):
        told = json.loads((await crowd.communicate())[0])

    median = statistics.median(took_s)
    slowest = statistics.quantiles(took_s, n=20)[-1]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{FOLLOWERS} followers and {told['visits']} visits: {len(took_s)} calls meanwhile, "
            f"median {median * 1e3:.1f} ms, 95 % below {slowest * 1e3:.1f} ms\n"
        )
    ((digest, states, followers),) = told["seen"]
    assert (hashlib.sha256(printed()).hexdigest(), FOLLOWERS) == (digest, followers)
    assert str(RunState.RUN_STATE_SUCCEEDED) == states.split()[-1]
    assert told["visits"] > 10
    assert len(took_s) > 20
    assert median < MEDIAN_S


async def served(sandbox: Sandbox, streams: int) -> None:
    """Return when the daemon has so many streams."""
    async with open_channel(f"unix:{sandbox.socket}") as channel:
        daemon = DaemonServiceStub(channel)
        while (await daemon.GetInfo(GetInfoRequest(), timeout=10)).active_calls < streams:
            pass


async def calls_until_the_end(sandbox: Sandbox, run: str) -> list[float]:
    """How long each of many calls took, made one after another until the run had ended."""
    took_s: list[float] = []
    async with open_channel(f"unix:{sandbox.socket}") as channel:
        runs = RunServiceStub(channel)
        state = RunState.RUN_STATE_UNSPECIFIED
        while state not in (RunState.RUN_STATE_SUCCEEDED, RunState.RUN_STATE_FAILED):
            began = time.perf_counter()
            state = (await runs.GetRun(GetRunRequest(run_id=run), timeout=30)).run.state
            took_s.append(time.perf_counter() - began)
    return took_s
