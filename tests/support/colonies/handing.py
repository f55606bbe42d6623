"""Our executor that hands runs over to a colony, as a process of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from pollinator.executors.conformance.asking import make_spec, start_request
from pollinator.executors.conformance.trees import Listing
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.run_pb2 import Run, RunState, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from support.executing import CALL_S, ExecutorProcess, Profile
from support.sandbox import Sandbox

PROFILE = Profile(kind="colonies")


class Handing(ExecutorProcess):
    """It, and the colony that its runs are for."""

    def __init__(self, colony: Colony, box: Sandbox, specs: Mapping[str, Any]) -> None:
        super().__init__("colonies", box, specs, PROFILE)
        self.colony = colony

    async def request(
        self, program: str = "", data: Listing | None = None, **changes: Any
    ) -> StartRunRequest:
        """A request for a run of one small program."""
        snapshot = await self.publish({b"main.py": program.encode()}, data or {})
        return self.of(make_spec(**changes), snapshot)

    def of(
        self, spec: RunSpec, snapshot: SnapshotRef, settings: StoreSettings | None = None
    ) -> StartRunRequest:
        """A request for a run of a snapshot."""
        request = start_request(self.spec(spec), snapshot, settings=settings)
        request.snapshot.colony.CopyFrom(self.colony)
        return request

    async def ask(self, request: StartRunRequest) -> Run:
        """Start it."""
        return (await self.runs.StartRun(request, timeout=CALL_S, wait_for_ready=True)).run

    async def begins(self, program: str = "", data: Listing | None = None, **changes: Any) -> Run:
        """Start a run of one small program."""
        return await self.ask(await self.request(program, data, **changes))

    async def reaches(self, name: str, state: str, attempt: int = 1) -> Run:
        """A run, once it is in this state."""
        wanted = RunState.Value(f"RUN_STATE_{state}")
        async with asyncio.timeout(30), aclosing(self.messages(name, output=False)) as messages:
            async for _ in messages:
                run = await self.get(name)
                if run.state == wanted and run.attempt == attempt:
                    return run
        raise AssertionError(f"it never was {state}: {await self.get(name)}")


@asynccontextmanager
async def handing(colony: Colony, **specs: Any) -> AsyncGenerator[Handing]:
    """One in a sandbox of its own; its runs say these besides."""
    under_test = Handing(colony, Sandbox(Path(tempfile.mkdtemp(prefix="pol-"))), specs)
    try:
        await under_test.start()
        yield under_test
    finally:
        await under_test.close()
