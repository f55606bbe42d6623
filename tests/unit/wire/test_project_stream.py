"""The client's side of WatchProject: it goes on by cursor, over real sockets."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from pollinator.v1 import project_pb2_grpc
from pollinator.v1.project_pb2 import WatchProjectRequest, WatchProjectResponse
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import Run
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import NotFound, PollinatorError
from pollinator.wire.serving import ErrorInterceptor, bind_unix, make_server
from pollinator.wire.streams import follow_project

LAST = 6
ALL = WatchProjectRequest(root="/demo", runs=True)


class Counting(project_pb2_grpc.ProjectServiceServicer):
    """Its runs are numbers, and a cursor is the last one. Each entry of ``cuts`` breaks one call off."""

    def __init__(self, cuts: list[int]) -> None:
        self._cuts = cuts
        self.cursors: list[str] = []
        self.refuses = False

    async def WatchProject(  # noqa: N802
        self, request: WatchProjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[WatchProjectResponse]:
        if self.refuses:
            raise NotFound("no project is open there", reason="project_missing")
        self.cursors.append(request.cursor)
        left = self._cuts.pop(0) if self._cuts else -1
        for number in range(int(request.cursor or "0") + 1, LAST + 1):
            # A heartbeat has no cursor, as a daemon may leave it out that was not asked for runs.
            for message in (WatchProjectResponse(), self._told(number, request)):
                if left == 0:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
                left -= 1
                yield message

    def _told(self, number: int, request: WatchProjectRequest) -> WatchProjectResponse:
        return WatchProjectResponse(
            runs=[Run(id=str(number))],
            cursor=str(number),
            complete=not request.cursor and number == 1,
        )


@asynccontextmanager
async def serving(service: Counting) -> AsyncGenerator[ProjectServiceStub]:
    with tempfile.TemporaryDirectory(prefix="pol-") as folder:
        socket = Path(folder, "s.sock")
        server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
        project_pb2_grpc.add_ProjectServiceServicer_to_server(service, server)
        bind_unix(server, socket)
        await server.start()
        channel = open_channel(f"unix:{socket}")
        try:
            yield ProjectServiceStub(channel)
        finally:
            await channel.close()
            await server.stop(0)


def runs_of(messages: list[WatchProjectResponse]) -> list[str]:
    return [run.id for message in messages for run in message.runs]


@pytest.mark.parametrize("cuts", [[], [0], [1, 1, 2], [2, 0, 3, 1], [12]])
async def test_every_change_is_told_once_wherever_the_call_is_cut(cuts: list[int]) -> None:
    told: list[PollinatorError] = []

    async def on_cut(error: PollinatorError) -> None:
        told.append(error)

    async with serving(Counting(list(cuts))) as stub:
        messages = [message async for message in follow_project(stub, ALL, patience_s=20, on_cut=on_cut)]

    assert [str(number) for number in range(1, LAST + 1)] == runs_of(messages)
    assert 1 == sum(message.complete for message in messages)
    assert len(told) == sum(cut < 2 * LAST for cut in cuts)


async def test_it_goes_on_from_the_last_cursor_and_leaves_the_callers_request_alone() -> None:
    request = WatchProjectRequest(root="/demo", runs=True, cursor="2")
    service = Counting([3])
    async with serving(service) as stub:
        messages = [message async for message in follow_project(stub, request, patience_s=20)]

    assert ["3", "4", "5", "6"] == runs_of(messages)
    assert (["2", "3"], "2") == (service.cursors, request.cursor)


async def test_what_the_daemon_refuses_is_raised() -> None:
    service = Counting([])
    service.refuses = True
    async with serving(service) as stub:
        with pytest.raises(NotFound, match="no project is open there"):
            await anext(follow_project(stub, ALL, patience_s=20))
