"""What ProjectService does about stores and not about files: collecting, checking, pinning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from pollinator.daemon.garbage.check import SNAPSHOT_MISSING
from pollinator.daemon.runs.home import not_kept
from pollinator.daemon.runs.keeping import Keeping, place_of
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.mend import Mending
from pollinator.daemon.runs.tidy import Tidying
from pollinator.daemon.sync.projects import OpenProject
from pollinator.v1.project_pb2 import (
    Checked,
    CheckStoreRequest,
    CheckStoreResponse,
    CollectRequest,
    CollectResponse,
    PinRunRequest,
    PinRunResponse,
    StoreProgress,
)
from pollinator.wire.errors import PollinatorError, WrongState

TELL_S = 0.2
"""How often progress is told."""

_Result = TypeVar("_Result")


class Upkeep:
    """The bodies of those calls."""

    def __init__(self, log: RunLog, keeping: Keeping, tidying: Tidying, mending: Mending) -> None:
        self._runs = log
        self._keeping = keeping
        self._tidying = tidying
        self._mending = mending

    def pinned(self) -> set[str]:
        """Ids of the runs that are kept whatever their age."""
        return self._keeping.pinned()

    def sealed(self, project: OpenProject) -> None:
        """It has another head."""
        self._keeping.soon(place_of(project))

    async def collect(self, project: OpenProject, request: CollectRequest) -> AsyncIterator[CollectResponse]:
        """Collect, and tell how far it is."""
        told = _Told()
        done = await self._tidying.begin(project, told.note, dry_run=request.dry_run)
        async for progress in told.until(done):
            yield CollectResponse(progress=progress)
        yield CollectResponse(collected=done.result())

    async def check(
        self, project: OpenProject, request: CheckStoreRequest
    ) -> AsyncIterator[CheckStoreResponse]:
        """Check, and tell how far it is."""
        told = _Told()
        outcome: list[Checked | PollinatorError] = []

        async def check() -> None:
            try:
                mending = self._mending
                outcome.append(
                    await mending.check(
                        project, told.note, read_data=request.read_data, repair=request.repair
                    )
                )
            except PollinatorError as error:
                # A group would wrap it, and nobody else is in this one.
                outcome.append(error)

        async with asyncio.TaskGroup() as group:
            async for progress in told.until(group.create_task(check(), name="check")):
                yield CheckStoreResponse(progress=progress)
        for each in outcome:
            if isinstance(each, PollinatorError):
                raise each
            for flaw in each.flaws if request.repair else ():
                if flaw.code == SNAPSHOT_MISSING:
                    self._keeping.give_up(flaw.key, flaw.runs)
            yield CheckStoreResponse(checked=each)

    async def pin(self, request: PinRunRequest) -> PinRunResponse:
        """Keep a run whatever its age, or let go of it."""
        run = self._runs.find(request.run_id)
        if not run.HasField("snapshot") and not request.unpin:
            raise WrongState(
                f"run {run.id} was never sealed, so there is nothing to keep", reason="not_sealed"
            )
        if not request.unpin and await self._keeping.lost(run):
            raise not_kept(run, "they were removed")
        self._keeping.pin(run, unpin=request.unpin)
        return PinRunResponse(run_id=run.id)


class _Told:
    """How far work on another thread is."""

    def __init__(self) -> None:
        self._last: StoreProgress | None = None

    def note(self, doing: str, done: int, total: int) -> None:
        """Called on the thread that works."""
        self._last = StoreProgress(doing=doing, done=done, total=total)

    async def until(self, done: asyncio.Future[_Result]) -> AsyncIterator[StoreProgress]:
        """What was noted, now and then, until the work is done."""
        while not done.done():
            await asyncio.wait([done], timeout=TELL_S)
            last, self._last = self._last, None
            if last is not None:
                yield last
