"""A daemon behind another: to the one in front it is an executor, with the same stubs and promises."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.layout import lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.v1.run_pb2 import (
    GetRunRequest,
    Run,
    RunState,
    Secret,
    SnapshotSource,
    StartRunRequest,
    WatchRunRequest,
)
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.v1.spec_pb2 import EnvironmentVariable
from pollinator.v1.store_pb2 import OwnStore, StoreSettings
from pollinator.wire.channel import open_channel
from pollinator.wire.status import to_error
from pollinator.wire.streams import follow_run
from support.sandbox import Sandbox, sandbox

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROGRAM = """\
import os
print(os.environ["WORD"], len(os.environ["TOKEN"]))
open("result/r.txt", "w").write(os.environ["WORD"])
raise SystemExit(3)
"""


def source(earlier: Run, run_id: str) -> SnapshotSource:
    """The snapshot of a run, as another daemon hands it over: from the store that this one lends."""
    spec = earlier.spec
    spec.executor_names[:] = ["a-name-that-only-the-other-knows"]
    spec.environment.append(EnvironmentVariable(name="WORD", value="handed over"))
    own = StoreSettings(own=OwnStore())
    return SnapshotSource(run_id=run_id, snapshot=earlier.snapshot, store=own, spec=spec)


async def test_a_snapshot_that_another_hands_over_is_run_once(sandbox: Sandbox, tmp_path: Path) -> None:
    root = sandbox.project(program=PROGRAM)
    sealed = json.loads(sandbox.cli("run", "--json", cwd=root).stdout)["id"]
    sandbox.cli("wait", sealed, cwd=root)
    async with open_channel(f"unix:{sandbox.socket}") as channel:
        runs = RunServiceStub(channel)
        earlier = (await runs.GetRun(GetRunRequest(run_id=sealed), timeout=10)).run
        token = Secret(name="TOKEN", value="123")
        request = StartRunRequest(
            request_id="of-the-other", snapshot=source(earlier, "0other"), secrets=[token]
        )

        answers = await asyncio.gather(*(runs.StartRun(request, timeout=30) for _ in range(3)))
        output = b""
        async for message in follow_run(
            runs, WatchRunRequest(run_id="0other", output=True, follow=True), patience_s=10
        ):
            output += message.output.data
        ended = (await runs.GetRun(GetRunRequest(run_id="0other"), timeout=10)).run

    assert {"0other"} == {answer.run.id for answer in answers}
    assert b"handed over 3\n" == output
    assert (RunState.RUN_STATE_FAILED, 3, "") == (ended.state, ended.outcome.exit_code, ended.root)
    await asyncio.to_thread(fetch, sandbox, ended, tmp_path)
    assert "handed over" == (tmp_path / "r.txt").read_text()
    assert [] == list((root / "cfs/result").iterdir())
    assert sealed == json.loads(sandbox.cli("show", "latest", "--json", cwd=root).stdout)["id"]


def fetch(sandbox: Sandbox, run: Run, folder: Path) -> None:
    """Lay the results out from the store that the daemon lends, as the one in front does."""
    address = f"unix:{sandbox.socket}"
    store = PeerStore(grpc.insecure_channel(address), run.project, address)
    try:
        reader = SnapshotReader(store)
        lay_out(reader, reader.open(run.result).result, folder)
    finally:
        store.close()


async def test_a_snapshot_without_a_part_of_it_is_refused(sandbox: Sandbox) -> None:
    root = sandbox.project()
    sandbox.cli("run", "--follow", cwd=root)
    async with open_channel(f"unix:{sandbox.socket}") as channel:
        runs = RunServiceStub(channel)
        earlier = (await runs.GetRun(GetRunRequest(run_id="latest"), timeout=10)).run
        nameless, empty, aimless, odd = (source(earlier, "0other") for _ in range(4))
        nameless.ClearField("run_id")
        empty.ClearField("snapshot")
        aimless.ClearField("spec")
        odd.run_id = "../etc"

        reasons: list[str] = []
        for part in (nameless, empty, aimless, odd):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await runs.StartRun(StartRunRequest(request_id="r", snapshot=part), timeout=30)
            reasons.append(to_error(caught.value).reason)

    assert ["source_incomplete"] * 4 == reasons
