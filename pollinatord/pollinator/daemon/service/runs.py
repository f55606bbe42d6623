"""RunService at the daemon."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Container
from typing import Any

import grpc

from pollinator.daemon.runs.log import DEFAULT_PAGE, RunLog
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.sync.projects import Projects
from pollinator.model.run import is_terminal
from pollinator.v1 import run_pb2_grpc
from pollinator.v1.run_pb2 import (
    CancelRequested,
    CancelRunRequest,
    CancelRunResponse,
    ForgetRunRequest,
    ForgetRunResponse,
    GetRunRequest,
    GetRunResponse,
    Heartbeat,
    ListRunsRequest,
    ListRunsResponse,
    Progress,
    ProgressKind,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
    StartRunResponse,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.wire.errors import NotFound, WrongState
from pollinator.wire.watching import HEARTBEAT_S, watch_run

MAX_PAGE = 1000


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """Starts, lists, follows and cancels the daemon's runs."""

    def __init__(
        self, log: RunLog, starter: RunStarter, projects: Projects, pinned: Callable[[], Container[str]]
    ) -> None:
        self._runs = log
        self._starter = starter
        self._projects = projects
        self._pinned = pinned

    async def StartRun(  # noqa: N802 - the protocol's name
        self, request: StartRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> StartRunResponse:
        """Accept a run and seal its files."""
        return StartRunResponse(run=self._told(await self._starter.start(request)))

    async def GetRun(  # noqa: N802
        self, request: GetRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRunResponse:
        """One run."""
        return GetRunResponse(run=self._told(self._runs.find(request.run_id, request.root)))

    async def ListRuns(  # noqa: N802
        self, request: ListRunsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListRunsResponse:
        """Runs, newest first."""
        size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        wanted = ListRunsRequest()
        wanted.CopyFrom(request)
        wanted.page_size = size + 1
        found = self._runs.select(wanted)
        token = found[size - 1].id if len(found) > size else ""
        pinned = self._pinned()
        return ListRunsResponse(runs=(with_pin(run, pinned) for run in found[:size]), next_page_token=token)

    async def WatchRun(  # noqa: N802
        self, request: WatchRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[WatchRunResponse]:
        """Follow a run; while it is being sealed, bytes on their way are told as well."""
        run = self._runs.find(request.run_id)
        request.run_id = run.id
        async for message in watch_run(self._runs, request):
            if message.WhichOneof("kind") == "run":
                message.run.pinned = run.id in self._pinned()
            yield message
            if message.WhichOneof("kind") == "run" and request.follow:
                async for progress in self._sealing(run.id, run.root):
                    yield progress

    async def CancelRun(  # noqa: N802
        self, request: CancelRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CancelRunResponse:
        """Record the wish; harmless when the run has ended or the wish is recorded already."""
        run = self._runs.find(request.run_id)
        if not is_terminal(run.state) and not run.cancel_requested:
            wish = CancelRequested(by=request.by, superseded=request.superseded)
            run = self._runs.append(run.id, RunEvent(cancel_requested=wish))
        return CancelRunResponse(run=self._told(run))

    async def ForgetRun(  # noqa: N802
        self, request: ForgetRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ForgetRunResponse:
        """Harmless: a daemon's runs are its user's history, which stays."""
        run = self._runs.find(request.run_id)
        if not is_terminal(run.state):
            raise WrongState(f"run {run.id} has not ended", reason="run_active")
        return ForgetRunResponse()

    def _told(self, run: Run) -> Run:
        return with_pin(run, self._pinned())

    async def _sealing(self, run_id: str, root: str) -> AsyncIterator[WatchRunResponse]:
        last_word = time.monotonic()
        while self._runs.get(run_id).state == RunState.RUN_STATE_SNAPSHOTTING:
            seen = self._runs.version(run_id)
            try:
                done, total = self._projects.get(root).worker.progress
            except NotFound:
                return
            if total:
                yield WatchRunResponse(progress=_upload(done, total))
                last_word = time.monotonic()
            elif time.monotonic() - last_word >= HEARTBEAT_S:
                # A large project is looked at before it is known what there is to read.
                yield WatchRunResponse(heartbeat=Heartbeat())
                last_word = time.monotonic()
            await self._runs.changed(run_id, seen, 0.2)


def with_pin(run: Run, pinned: Container[str]) -> Run:
    """The run with what its log does not know. What the log holds in memory is left alone."""
    if run.id not in pinned:
        return run
    told = Run(pinned=True)
    told.MergeFrom(run)
    return told


def _upload(done: int, total: int) -> Progress:
    return Progress(bytes_done=done, bytes_total=total, kind=ProgressKind.PROGRESS_KIND_UPLOAD)
